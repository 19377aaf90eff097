"""How Airflow reads what a pod or a container hands back; `runner` says how it is written."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from typing import Any


def read_outcome(message: str | None) -> dict[str, Any] | None:
    """Read what the runner wrote; None if that is something else, such as the end of a log."""
    try:
        outcome = json.loads(message or "")
        if isinstance(outcome, dict) and "zlib" in outcome:
            outcome = json.loads(zlib.decompress(base64.b64decode(outcome["zlib"])))
    except (ValueError, TypeError, zlib.error):
        return None
    known = isinstance(outcome, dict) and outcome.keys() & {"result", "error", "lines"}
    return outcome if known else None


class ResultLines:
    """The lines of a container's log that hold its result.

    Args:
        marker: what they begin with.
    """

    def __init__(self, marker: str) -> None:
        self.marker = marker
        self.parts: dict[int, str] = {}

    def takes(self, line: str) -> bool:
        """Keep a line that holds a part of the result; False for any other, which belongs into the log."""
        if not self.marker or not line.startswith(self.marker):
            return False
        words = line.split()
        if len(words) == 3 and words[1].isdigit():
            self.parts[int(words[1])] = words[2]
        return True

    def complete(self, outcome: dict[str, Any]) -> bool:
        """Tell whether all lines of the result are here."""
        return all(number in self.parts for number in range(outcome["lines"]))

    def join(self, outcome: dict[str, Any]) -> Any:
        """Put the result together.

        Raises:
            ValueError: some of it is missing, or isn't what was sent.
        """
        try:
            data = "".join(self.parts[number] for number in range(outcome["lines"]))
            text = zlib.decompress(base64.b64decode(data))
        except (KeyError, ValueError, zlib.error):
            text = b""
        if hashlib.sha256(text).hexdigest() != outcome["sha256"]:
            raise ValueError(f"it has {outcome['lines']} lines; {len(self.parts)} arrived, or not as they were sent")
        return json.loads(text)
