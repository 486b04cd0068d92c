# One image for every role: `docker run IMAGE` is the API; `work`, `relay`, `project`, `sandbox` are the others.
# What is in it comes from the lock files, by hash. It writes to .data and /tmp only, so it runs with --read-only.

FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv /tools && python -m venv --without-pip /app
# The locks change less often than the code, so their layers are kept. One package is there as source only: its wheel is
# made with the locked tools, and not with what an isolated build would fetch unlocked.
COPY requirements.txt infra/deploy/requirements-build.txt ./
RUN /tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-build.txt \
    && /tools/bin/pip wheel --no-cache-dir --disable-pip-version-check --require-hashes --no-build-isolation \
        --wheel-dir locked -r requirements.txt \
    && /tools/bin/pip --python /app/bin/python install --no-cache-dir --disable-pip-version-check --no-index --no-deps \
        locked/*.whl
COPY pyproject.toml README.md LICENSE ./
COPY domain/ domain/
COPY projections/ projections/
COPY consumers/ consumers/
COPY api/ api/
COPY infra/ infra/
RUN /tools/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-index --no-deps --no-build-isolation \
        --wheel-dir ours . \
    && /tools/bin/pip --python /app/bin/python install --no-cache-dir --disable-pip-version-check --no-index --no-deps \
        ours/*.whl \
    && /tools/bin/pip --python /app/bin/python check

FROM python:3.13-slim
LABEL org.opencontainers.image.title="application-manager-service" \
      org.opencontainers.image.description="Takes job applications, hands each job to its portal, tells how it went" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 app-manager \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/app-manager \
        --shell /usr/sbin/nologin app-manager \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/app-manager /var/lib/app-manager/.data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    PORT=8009 \
    SANDBOX_PORTAL_HOST=0.0.0.0
WORKDIR /var/lib/app-manager
USER 10001:10001
VOLUME ["/var/lib/app-manager/.data"]
# API, sandbox portal, and the metrics and probes of worker, relay and projector
EXPOSE 8009 8019 9109 9110 9111
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-P", "-m", "infra.health_probe", "live"]
ENTRYPOINT ["app-manager"]
CMD ["serve"]
