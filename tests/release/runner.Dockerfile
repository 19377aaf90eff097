# What act's jobs run in: of a hosted runner's programs those that the workflows call, and no secret.
FROM python:3.13-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends curl docker-buildx docker-cli git jq \
    && rm -rf /var/lib/apt/lists/*
