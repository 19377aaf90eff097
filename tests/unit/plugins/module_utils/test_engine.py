"""The client of the Docker engine's API, against a server at a socket that answers as engines do, and as others do."""

from __future__ import annotations

import json
import os
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SAID = {
    "/refused": (409, b'{"message": "container is running"}'),
    "/plain": (500, b"no JSON"),
    "/broken": (200, b"<html>"),
    "/nothing": (204, b""),
}


@pytest.fixture(scope="module")
def client() -> ModuleType:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import engine

    return engine


class Answer(BaseHTTPRequestHandler):
    """Say what it was asked for, or what the path tells it to say."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = {"method": self.command, "body": json.loads(body) if body else None}
        status, content = SAID.get(self.path, (200, json.dumps(asked).encode()))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "socket"


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        path = str(Path(directory, "docker.sock"))
        with socketserver.ThreadingUnixStreamServer(path, Answer) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield path
            server.shutdown()


def test_what_is_asked_and_what_is_answered(client: ModuleType, path: str) -> None:
    engine = client.Engine(path)
    assert engine.get("/containers/json") == {"method": "GET", "body": None}
    assert engine.post("/containers/create", {"Image": "a"}) == {"method": "POST", "body": {"Image": "a"}}
    assert engine.delete("/containers/1") == {"method": "DELETE", "body": None}
    assert engine.post("/nothing") is None


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [("/refused", 409, "container is running"), ("/plain", 500, "no JSON"), ("/broken", 0, "no Docker engine")],
)
def test_a_refusal_names_status_and_message(
    client: ModuleType, path: str, asked: str, status: int, message: str
) -> None:
    with pytest.raises(client.EngineError, match=message) as caught:
        client.Engine(path).get(asked)
    assert caught.value.status == status
    assert not status or str(status) in str(caught.value)


def test_one_who_speaks_no_http_is_no_engine(client: ModuleType) -> None:
    class Other(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(b"SSH-2.0-OpenSSH\r\n")

    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        path = str(Path(directory, "docker.sock"))
        with socketserver.ThreadingUnixStreamServer(path, Other) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with pytest.raises(client.EngineError, match="no Docker engine"):
                client.Engine(path).get("/version")
            server.shutdown()


def test_silence_and_absence_are_told_apart(client: ModuleType) -> None:
    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        path = str(Path(directory, "docker.sock"))
        with pytest.raises(FileNotFoundError):
            client.Engine(path).get("/version")
        with socketserver.UnixStreamServer(path, Answer), pytest.raises(TimeoutError):
            client.Engine(path, timeout=0.2).get("/version")
        with pytest.raises(ConnectionRefusedError):
            client.Engine(path).get("/version")


def test_the_engine_is_found_where_docker_host_says_or_in_the_usual_places(
    client: ModuleType, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/other.sock")
    assert client.own_socket() == "/run/other.sock"
    monkeypatch.setenv("DOCKER_HOST", "ssh://far")
    with pytest.raises(client.EngineElsewhere, match="ssh://far"):
        client.own_socket()
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("HOME", str(tmp_path))
    desktop = tmp_path / ".docker/desktop"
    desktop.mkdir(parents=True)
    desktop.joinpath("docker.sock").symlink_to(path)
    monkeypatch.setattr(client, "SOCKET", str(tmp_path / "nowhere.sock"))
    assert client.own_socket() in {str(desktop / "docker.sock"), f"/run/user/{os.geteuid()}/docker.sock"}
    monkeypatch.setattr(client, "SOCKET", path)
    assert client.own_socket() == path
