"""A small client of the Docker engine's API, over its socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

from .common import refusal_message

SOCKET = "/var/run/docker.sock"
ANSWER_S = 5.0


class EngineError(OSError):
    """The engine refuses, or what answers is no engine.

    Attributes:
        status: The HTTP status; 0 when what answers is no engine.
        message: What it says.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The Docker engine answers {status}: {message}" if status else message)
        self.status, self.message = status, message


class EngineElsewhere(OSError):
    """DOCKER_HOST names an engine that isn't this machine's."""


def own_socket() -> str:
    """Where this user's engine listens: as DOCKER_HOST says, else the system's, a rootless one's, or Docker Desktop's.

    Raises:
        EngineElsewhere: DOCKER_HOST names an engine on another machine.
    """
    address = os.environ.get("DOCKER_HOST", "")
    if address.startswith("unix://"):
        return address.removeprefix("unix://")
    if address:
        raise EngineElsewhere(f"DOCKER_HOST names an engine elsewhere ({address}); that of this machine is needed")
    places = (SOCKET, f"/run/user/{os.geteuid()}/docker.sock", str(Path.home() / ".docker/desktop/docker.sock"))
    return next((place for place in places if Path(place).is_socket()), SOCKET)


class Engine:
    """The engine behind a socket.

    All requests raise EngineError when the engine refuses them, and another OSError when nobody answers:
    PermissionError when this user may not ask, TimeoutError when the engine hangs.

    Args:
        socket: The path of its socket.
        timeout: Seconds that it may be silent for.
    """

    def __init__(self, socket: str = SOCKET, timeout: float = ANSWER_S) -> None:
        self.socket, self.timeout = str(socket), timeout

    def get(self, path: str) -> Any:
        """Return what the engine says of something.

        Args:
            path: A path of its API, such as `/containers/json`.
        """
        return self._ask("GET", path)

    def read(self, path: str) -> bytes:
        """Return what the engine says as it stands, such as a log.

        Args:
            path: A path of its API.
        """
        return self._send("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        """Have the engine do something, and return what it says; None when it says nothing.

        Args:
            path: A path of its API.
            body: What it is given, as JSON.
        """
        return self._ask("POST", path, body)

    def delete(self, path: str) -> Any:
        """Have the engine remove something, and return what it says; None when it says nothing.

        Args:
            path: A path of its API.
        """
        return self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        said = self._send(method, path, body)
        try:
            return json.loads(said) if said else None
        except ValueError as error:
            raise self._no_engine(error) from error

    def _no_engine(self, error: Exception) -> EngineError:
        return EngineError(0, f"What answers at {self.socket} is no Docker engine ({error!r})")

    def _send(self, method: str, path: str, body: Any = None) -> bytes:
        connection = SocketConnection(self.socket, self.timeout)
        content = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
            answer = connection.getresponse()
            said = answer.read()
            if answer.status >= 400:
                raise EngineError(answer.status, refusal_message(said))
            return said
        except http.client.HTTPException as error:
            raise self._no_engine(error) from error
        finally:
            connection.close()


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a socket of this machine.

    Args:
        path: The socket.
        timeout: Seconds that it may be silent for.
    """

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self.path)
        except OSError as error:
            error.filename = self.path
            raise
