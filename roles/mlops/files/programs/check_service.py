"""Tells whether the one service of a container works: `check_service.py SERVICE_JSON`, as the image's health check.

Standard library alone, and little of it, as the engine calls it every few seconds.
"""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path
from typing import Any

ANSWER_S = 4


def works(service: dict[str, Any]) -> bool:
    """Whether the service answers as its description's `health` says."""
    health = service["health"]
    connection = http.client.HTTPConnection(health.get("host", "127.0.0.1"), int(service["port"]), timeout=ANSWER_S)
    connection.request("GET", health["path"])
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != http.client.OK:
        return False
    return "heartbeat" not in health or json.loads(body)[health["heartbeat"]]["status"] == "healthy"


def main(description: str) -> None:
    """End with 0 if the service works."""
    (service,) = json.loads(Path(description).read_text())["services"].values()
    sys.exit(0 if works(service) else "The service doesn't answer its health check.")


if __name__ == "__main__":
    main(*sys.argv[1:])
