# docker:dind's interface in front of this machine's engine: TLS on port 2376, with certificates in $DOCKER_TLS_CERTDIR.
FROM python:3.13-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssl socat \
    && rm -rf /var/lib/apt/lists/*
COPY serve_engine /usr/local/bin/
ENTRYPOINT ["serve_engine"]
