# What BuildKit calls to write a bill of materials; Docker's own image of this name calls syft, too.
FROM python:3.13-slim
ENV SYFT_CHECK_FOR_APP_UPDATE=false
COPY syft scan.py /usr/local/bin/
ENTRYPOINT ["python3", "/usr/local/bin/scan.py"]
