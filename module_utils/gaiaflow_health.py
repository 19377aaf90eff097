"""How a service of the stack shows that it works: the kinds of `health` in the catalogue, asked on this host."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import socket
import time
import urllib.request
from typing import Any

PROBE_SECONDS = 3
MOST_SLOWNESS = 4.0


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


def get(url: str) -> bytes:
    """The body behind an address on loopback.

    Args:
        url: The address.

    Raises:
        OSError: It doesn't answer with 200.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PROBE_SECONDS) as answer:
        body: bytes = answer.read()
    return body


def bucket_answers(port: int, bucket: str, keys: dict[str, str]) -> bool:
    """Whether the S3 server lets us, with our keys, list the bucket, or the buckets where none is named."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = f"http://127.0.0.1:{port}/" + (f"{bucket}?list-type=2&max-keys=1" if bucket else "")
    request = AWSRequest("GET", url, headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    SigV4Auth(Credentials(keys["access_key"], keys["secret_key"]), "s3", "us-east-1").add_auth(request)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=dict(request.headers)), timeout=PROBE_SECONDS):
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
    return datetime.datetime.fromisoformat(beat).timestamp() >= started


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
            return bucket_answers(port, health["s3_bucket"], keys)
        if "heartbeat" in health:
            return heartbeat_since(url, health["heartbeat"], started)
        if "path" in health:
            get(url)
            return True
        return port_answers(port)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False
