"""What the Docker engine answers at its socket."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ANSWER_S = 2.0


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self.path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self.path)


def ask(path: str, question: str, method: str = "GET") -> Any:
    """Returns the engine's answer.

    Args:
        path: Its socket.
        question: The path of its API.
        method: What to do with it.

    Raises:
        OSError: There is no answer, or none that an engine gives.
    """
    connection = SocketConnection(path)
    try:
        connection.request(method, question)
        response = connection.getresponse()
        body = response.read()
        if response.status >= 400:
            raise OSError(f"the engine answers {response.status}: {body[:200].decode(errors='replace')}")
        return json.loads(body) if body else None
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"no engine's answer: {error}") from error
    finally:
        connection.close()


class Engine:
    """The engine of this machine, asked once for all checks.

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
        """C(up), C(denied) (it answers, but not to this user), C(hangs) or C(down)."""
        with self._lock:
            if not self._state:
                self._find()
            return self._state

    @property
    def version(self) -> str:
        """Its version; empty unless it is up."""
        return str(self._version.get("Version", "")) if self.state == "up" else ""

    def ask(self, question: str, method: str = "GET") -> Any:
        """Returns the engine's answer, or None when it is not up.

        Args:
            question: The path of its API.
            method: What to do with it.

        Raises:
            OSError: There is no answer.
        """
        return ask(self.socket, question, method) if self.state == "up" else None

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
            self._version = ask(path, "/version")
        except PermissionError:
            return "denied"
        except TimeoutError:
            return "hangs"
        except OSError:
            return "down"
        return "up"


def answers(path: str) -> bool:
    """Whether an engine answers at the socket, if only to say no.

    Args:
        path: The socket.
    """
    try:
        ask(path, "/version")
    except PermissionError:
        return Path(path).exists()
    except OSError:
        return False
    return True
