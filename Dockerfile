# The worker's image: what requirements.txt locks and this project, nothing that builds.
# Build argument: PYTHON_IMAGE, python:3.11.14-slim-bookworm by its digest (docs/how-to/deploy.md), from
# Docker Hub or a registry of your own. A tag can be moved to another image.
ARG PYTHON_IMAGE

# --- build ---------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS build
ARG PYTHON_IMAGE
RUN case "${PYTHON_IMAGE}" in \
      *@sha256:*) ;; \
      *) echo "PYTHON_IMAGE must name the base image by its digest: docs/how-to/deploy.md" >&2; exit 1 ;; \
    esac
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /build

# the lock changes less often than the code: its layer comes first
COPY requirements.txt requirements-build.txt ./
RUN python -m venv --without-pip /opt/user-worker \
 && pip install --require-hashes --only-binary :all: -r requirements-build.txt \
 && pip --python /opt/user-worker/bin/python install --require-hashes --only-binary :all: -r requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY domain domain
COPY application application
COPY adapters adapters
COPY worker worker
COPY operations operations
COPY console console
COPY cli cli
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
 && pip --python /opt/user-worker/bin/python install --no-deps --no-index wheels/*.whl \
 && /opt/user-worker/bin/python -m compileall -q /opt/user-worker/lib

# --- run -----------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}
# the base image's installers have nothing to do here
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip \
 && groupadd --gid 10001 worker \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin worker
COPY --from=build /opt/user-worker /opt/user-worker
# who may send what: docs/how-to/permissions.md
COPY deploy/permissions.toml /etc/user-worker/permissions.toml
# the file system may be read-only: bytecode is there already, /tmp may be a tmpfs
ENV PATH=/opt/user-worker/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
# Fargate gives an empty volume to root, unless the image says whose it is: here, everybody's
VOLUME ["/tmp"]
# a number, so that an orchestrator can see that it is not root
USER 10001:10001
STOPSIGNAL SIGTERM
# whether it lives, not whether AWS answers: a restart would not mend that; each look starts Python
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["user-worker", "health", "--live"]
ENTRYPOINT ["user-worker"]
CMD ["run"]
