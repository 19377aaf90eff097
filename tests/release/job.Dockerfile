# What GitLab's jobs run in, under the image's name that .gitlab-ci.yml has.
FROM python:3.13-slim
COPY forward.py /usr/local/bin/
ENTRYPOINT ["python3", "/usr/local/bin/forward.py"]
