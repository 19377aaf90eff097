# The image of one Python environment: of the lock file that ENVIRONMENT names.
# Its build context is roles/mlops/files; runs with BuildKit and without.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
# Where packages come from: said to this stage alone, so that the image keeps nothing of it.
ARG UV_DEFAULT_INDEX
ARG UV_INDEX
ARG UV_INDEX_STRATEGY
ARG UV_INSECURE_HOST
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV UV_NO_CACHE=1 UV_LINK_MODE=copy UV_HTTP_TIMEOUT=120 UV_SYSTEM_CERTS=true VIRTUAL_ENV=/opt/gaiaflow/environment
COPY locks/uv.txt /tmp/locks/
RUN pip install --no-cache-dir --require-hashes --requirement /tmp/locks/uv.txt && uv venv --quiet "$VIRTUAL_ENV"
ARG ENVIRONMENT
COPY locks/${ENVIRONMENT}.txt /tmp/locks/environment.txt
RUN uv pip install --quiet --require-hashes --requirements /tmp/locks/environment.txt
# The project's own dependencies, one in a line; what is locked stays as it is.
ARG PROJECT_DEPENDENCIES=""
RUN [ -z "$PROJECT_DEPENDENCIES" ] || { printf '%s\n' "$PROJECT_DEPENDENCIES" >/tmp/project.txt \
    && uv pip install --quiet --constraints /tmp/locks/environment.txt --requirements /tmp/project.txt; }
# It halves every start. A file that is no Python of this version fails alone, and is no concern of ours.
ARG NOT_COMPILED
RUN python -m compileall -q -j 0 -x "$NOT_COMPILED" "$VIRTUAL_ENV/lib" >/tmp/compile.log || true
# Their modes don't depend on those of the checkout.
COPY programs /opt/gaiaflow/programs
RUN chmod -R a+rX /opt/gaiaflow/programs

FROM ${BASE_IMAGE}
ARG ENVIRONMENT
LABEL org.opencontainers.image.title="gaiaflow ${ENVIRONMENT}"
COPY --from=build /opt/gaiaflow /opt/gaiaflow
# The stack's directories appear at their own places, which for root's stack are below this one.
RUN chmod 0711 /root
ENV PATH=/opt/gaiaflow/environment/bin:$PATH HOME=/tmp
# Any user id will do, and the stack gives that of its owner; group 0 as with other images of which this is true.
USER 50000:0
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s \
    CMD ["python", "-I", "-S", "/opt/gaiaflow/programs/check_service.py", "/run/gaiaflow/service.json"]
ENTRYPOINT ["python", "-I", "-S", "/opt/gaiaflow/programs/run_service.py", "/run/gaiaflow/service.json"]
