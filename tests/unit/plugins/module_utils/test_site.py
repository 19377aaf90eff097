"""What a site's answer means: the file can be had, later, or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.gaiaflow.setup.plugins.module_utils.site import ask


class Answer(BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "state"),
    [(200, "ok"), (403, "refused"), (404, "refused"), (407, "unreachable"), (429, "unreachable"), (503, "unreachable")],
)
def test_a_status_tells_whether_the_site_is_in_trouble(site: str, status: int, state: str) -> None:
    answer = ask(f"{site}/{status}", 5)
    assert answer["state"] == state
    assert state == "ok" or f"{site}/{status} answers {status}" in answer["reason"]


def test_a_site_that_does_not_answer_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        answer = ask(f"http://127.0.0.1:{closed.getsockname()[1]}/x", 5)
    assert answer["state"] == "unreachable" and "Connection refused" in answer["reason"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = ask(f"http://127.0.0.1:{silent.getsockname()[1]}/x", 1)
    assert answer["state"] == "unreachable" and "timed out" in answer["reason"]


def test_a_wrong_address_is_refused(tmp_path: Path) -> None:
    assert "is no address" in ask("minikube/releases", 5)["reason"]
    assert ask((tmp_path / "absent").as_uri(), 5)["state"] == "refused"
    (tmp_path / "there").touch()
    assert ask((tmp_path / "there").as_uri(), 5)["state"] == "ok"
