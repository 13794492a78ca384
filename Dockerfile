# keyturn in one image, for `serve` and for `worker`. It runs as nobody special on a root file system that may be
# read-only: everything that it writes goes below /var/lib/keyturn (SQLite, keys) or to the database.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ARG TARGET=/opt/keyturn
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv "$TARGET" \
    && "$TARGET/bin/python" -m pip install -q --require-hashes --only-binary :all: -r requirements.lock \
    && python3 -m venv build-tools \
    && build-tools/bin/python -m pip install -q --require-hashes --only-binary :all: -r requirements-build.lock
COPY pyproject.toml manifest.yml README.md LICENSE ./
COPY bot ./bot
COPY commands ./commands
COPY adapters ./adapters
COPY playground ./playground
COPY runbooks ./runbooks
# Byte code is made here, because nothing can be written later; nobody checks it against its source, which cannot change.
RUN build-tools/bin/python -m hatchling build -t wheel -d dist \
    && "$TARGET/bin/python" -m pip install -q --no-deps --no-index dist/*.whl \
    && "$TARGET/bin/python" -m pip uninstall -q -y pip \
    && "$TARGET/bin/python" -m compileall -q -f -j 0 --invalidation-mode unchecked-hash "$TARGET/lib"

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="keyturn" \
      org.opencontainers.image.description="Rotates credentials by runbook, from Slack" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/keyturn /opt/keyturn
# OpenSSH's client verifies signed votes. It comes from the base image's distribution as that stands, with its fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/keyturn --create-home --shell /usr/sbin/nologin keyturn
ENV PATH=/opt/keyturn/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    KEYTURN_CONFIG=/etc/keyturn/keyturn.yml \
    KEYTURN_DATABASE_URL=sqlite:////var/lib/keyturn/keyturn.db \
    KEYTURN_KEYS=/var/lib/keyturn/keys \
    KEYTURN_HTTP=0.0.0.0:8080 \
    KEYTURN_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/keyturn
VOLUME ["/var/lib/keyturn"]
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["keyturn"]
CMD ["serve"]
