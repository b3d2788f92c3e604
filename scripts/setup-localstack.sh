#!/usr/bin/env bash
# Start LocalStack in Docker, create the worker's table, queues and topic in it, and print the next
# steps. It can be run again at any time: existing resources stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "setup-localstack: $1" >&2
  exit 1
}

command -v docker >/dev/null || fail "needs Docker, which is not installed"
docker info >/dev/null 2>&1 || fail "Docker is installed but not running: start it, then try again"
docker compose version >/dev/null 2>&1 || fail "needs Docker Compose 2 (the command 'docker compose')"

docker compose up --detach --wait localstack || fail "LocalStack did not start: docker compose logs localstack"
docker compose build provision || fail "the worker's image could not be built"
docker compose run --rm provision || fail "the resources could not be made"

cat <<NEXT

LocalStack runs at http://127.0.0.1:${LOCALSTACK_PORT:-4566} and has the worker's resources. Next:

  export AWS_ENDPOINT_URL=http://127.0.0.1:${LOCALSTACK_PORT:-4566} AWS_DEFAULT_REGION=us-east-1
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  make install
  .venv/bin/user-worker run       # a worker here, or: docker compose up --detach worker
  .venv/bin/user-worker events    # in another terminal: what the worker publishes
  make down                       # stop LocalStack and forget its data
NEXT
