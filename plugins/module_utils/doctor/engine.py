"""Which Docker engine this machine has, and whether it answers."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..engine import Engine

ANSWER_S = 2.0


class FoundEngine:
    """The engine of this machine, looked for once for all checks.

    Args:
        sockets: Where one may listen; the first is the system's.
    """

    def __init__(self, sockets: Iterable[Path]) -> None:
        self.sockets = tuple(map(str, sockets))
        self.socket = ""
        self._state = ""
        self._version: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def state(self) -> str:
        """Return C(up), C(denied) (it answers, but not to this user), C(hangs) or C(down)."""
        with self._lock:
            if not self._state:
                self._find()
            return self._state

    @property
    def version(self) -> str:
        """Return its version; empty unless it is up."""
        return str(self._version.get("Version", "")) if self.state == "up" else ""

    @property
    def client(self) -> Engine | None:
        """Return what to ask it by; None unless it is up."""
        return Engine(self.socket, ANSWER_S) if self.state == "up" else None

    def _find(self) -> None:
        states: dict[str, str] = {}
        for path in self.sockets:
            states[path] = self._try(path)
            if states[path] == "up":
                break
        best = min(states, key=lambda path: ("up", "hangs", "denied", "down").index(states[path]), default="")
        self.socket, self._state = best, states.get(best, "down")

    def _try(self, path: str) -> str:
        try:
            self._version = Engine(path, ANSWER_S).get("/version")
        except PermissionError:
            return "denied"
        except TimeoutError:
            return "hangs"
        except OSError:
            return "down"
        return "up"


def answers(path: str) -> bool:
    """Return whether an engine answers at the socket, if only to say no.

    Args:
        path: The socket.
    """
    try:
        Engine(path, ANSWER_S).get("/version")
    except PermissionError:
        return Path(path).exists()
    except OSError:
        return False
    return True
