#!/usr/bin/env bash
# Print the images of docker-compose.yml by their digests, as lines of .env. Docker pulls them.
set -euo pipefail

pin() {
  local name=$1 image=$2 found
  docker pull --quiet "$image" >/dev/null || { echo "pin-images: $image could not be pulled" >&2; exit 1; }
  found=$(docker image inspect --format '{{index .RepoDigests 0}}' "$image")
  if [[ $found != *@sha256:* ]]; then
    echo "pin-images: $image has no digest here: remove it (docker image rm $image), then try again" >&2
    exit 1
  fi
  echo "$name=$found"
}

pin PYTHON_IMAGE python:3.11.14-slim-bookworm
pin LOCALSTACK_IMAGE localstack/localstack:4.14.0
