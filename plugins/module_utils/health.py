"""How a service of the stack shows that it works: the kinds of `health` in the catalogue, asked on this host."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import http.client
import json
import os
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

PROBE_SECONDS = 3
OBJECTS_TRIED = 3
ALGORITHM, REGION, UNSIGNED = "AWS4-HMAC-SHA256", "us-east-1", "UNSIGNED-PAYLOAD"
MOST_SLOWNESS = 4.0
# What Airflow's executor writes of a task that could not be begun, and of one that was.
NOT_BEGUN, BEGUN = "Workload execution failed", "Workload finished"
LOG_BYTES = 262_144


def slowness() -> float:
    """How many programs there are for each processor: 1 on a machine that keeps up, and at most `MOST_SLOWNESS`."""
    return min(MOST_SLOWNESS, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


class Patience:
    """A deadline that comes later on a machine that has more to do than it can.

    Args:
        seconds: How long to wait on a machine that keeps up.
    """

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        self.began = self.before = time.monotonic()

    def ended(self) -> bool:
        """Whether it is over. To be asked again and again."""
        now = time.monotonic()
        self.left -= (now - self.before) / slowness()
        self.before = now
        return self.left < 0

    @property
    def waited(self) -> int:
        """Seconds since it began."""
        return int(time.monotonic() - self.began)


def get(url: str, headers: dict[str, str] | None = None) -> bytes:
    """Return the body behind an address on loopback.

    Args:
        url: The address.
        headers: The request's headers.

    Raises:
        OSError: It doesn't answer, or with an error.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=headers or {}), timeout=PROBE_SECONDS) as answer:
        body: bytes = answer.read()
    return body


def s3_get(port: int, path: str, keys: dict[str, str], headers: dict[str, str] | None = None) -> bytes:
    """Return what the S3 server answers to a request that is signed with our keys.

    Args:
        port: Where it answers on loopback.
        path: Bucket, key and query, encoded as in an address.
        keys: Its `access_key` and `secret_key`.
        headers: More of the request's headers.

    Raises:
        OSError: It doesn't answer, or with an error.
    """
    address, now = f"127.0.0.1:{port}", datetime.datetime.now(datetime.UTC)
    return get(f"http://{address}/{path}", {**signed(address, path, keys, now), **(headers or {})})


def signed(
    host: str, path: str, keys: dict[str, str], now: datetime.datetime, payload: str = UNSIGNED
) -> dict[str, str]:
    """Return the headers that sign a GET request for S3 (AWS Signature Version 4).

    botocore does the same, but takes longer to import than all that `status` does, and isn't where the wrapper runs.

    Args:
        host: The server, with its port.
        path: Bucket, key and query, encoded as in an address.
        keys: Its `access_key` and `secret_key`.
        now: The time, in UTC.
        payload: The body's digest.
    """
    name, _, query = path.partition("?")
    time_stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": host, "x-amz-content-sha256": payload, "x-amz-date": time_stamp}
    lines = [f"{key}:{value}" for key, value in headers.items()]
    canonical = "\n".join(
        ["GET", f"/{name}", "&".join(sorted(query.split("&"))), *lines, "", ";".join(headers), payload]
    )
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = "\n".join([ALGORITHM, time_stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{keys['secret_key']}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    del headers["host"]  # the client sends it by itself
    credential = f"{ALGORITHM} Credential={keys['access_key']}/{scope}"
    return {**headers, "Authorization": f"{credential}, SignedHeaders=host;{';'.join(headers)}, Signature={key.hex()}"}


def bucket_answers(port: int, bucket: str, keys: dict[str, str], made_later: bool = False) -> bool:
    """Whether the S3 server lets us list the bucket, if it is there or has to be, and read what is in it.

    A server may list before it can read, as names and contents are kept apart. One object that is broken for good
    says nothing about the server, so a few are tried.
    """
    try:
        listing = ElementTree.fromstring(s3_get(port, f"{bucket}?list-type=2&max-keys={OBJECTS_TRIED}", keys))
    except urllib.error.HTTPError as error:
        return made_later and error.code == http.client.NOT_FOUND
    names = [urllib.parse.quote(name.text or "", safe="/~") for name in listing.findall("{*}Contents/{*}Key")]
    return not names or any(object_answers(port, f"{bucket}/{name}", keys) for name in names)


def object_answers(port: int, path: str, keys: dict[str, str]) -> bool:
    """Whether the S3 server can read an object, or knows why it may not: it is empty, gone, or its key isn't ours."""
    try:
        s3_get(port, path, keys, {"Range": "bytes=0-0"})
    except urllib.error.HTTPError as error:
        return error.code < http.client.INTERNAL_SERVER_ERROR
    return True


def port_answers(port: int) -> bool:
    """Whether something accepts connections on the port."""
    with socket.create_connection(("127.0.0.1", port), timeout=PROBE_SECONDS):
        return True


def heartbeat_since(url: str, component: str, started: float) -> bool:
    """Whether Airflow calls the component healthy for a heartbeat that the running process itself gave."""
    report = json.loads(get(url))[component]
    if report["status"] != "healthy":
        return False
    beat = next(value for key, value in report.items() if key.endswith("heartbeat"))
    # Where the clock was set back since, the start lies ahead, and tells nothing.
    return started > time.time() or datetime.datetime.fromisoformat(beat).timestamp() >= started


def tasks_begin(log: Path, started: float) -> bool:
    """Whether Airflow's scheduler could begin the last task that it was to run: no heartbeat tells that it can't.

    Args:
        log: The scheduler's log.
        started: When the scheduler was started, in seconds since the epoch; what is older doesn't count.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return True
    failed = text.rfind(NOT_BEGUN)
    if failed <= text.rfind(BEGUN):
        return True
    line = text[text.rfind("\n", 0, failed) + 1 : failed]
    try:
        return datetime.datetime.fromisoformat(line.split()[0]).timestamp() < started
    except (IndexError, ValueError):
        return True


def answers(port: int, health: dict[str, Any], keys: dict[str, str], started: float) -> bool:
    """Whether a service answers its health check.

    Args:
        port: Where it answers on loopback.
        health: The catalogue's description of the check.
        keys: The S3 server's `access_key` and `secret_key`.
        started: When the service was started, in seconds since the epoch.
    """
    url = f"http://127.0.0.1:{port}{health.get('path', '')}"
    try:
        if "s3_bucket" in health:
            return bucket_answers(port, health["s3_bucket"], keys, health.get("made_later", False))
        if "heartbeat" in health:
            return heartbeat_since(url, health["heartbeat"], started)
        if "path" in health:
            get(url)
            return True
        return port_answers(port)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, ElementTree.ParseError):
        return False
