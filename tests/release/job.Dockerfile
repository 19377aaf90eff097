# What GitLab's jobs run in, under the name that .gitlab-ci.yml has as long as the tests run.
FROM python:3.13-slim
# As the official one has it.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY forward.py /usr/local/bin/
ENTRYPOINT ["python3", "/usr/local/bin/forward.py"]
