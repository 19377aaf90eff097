"""Every form of a proxy that the field's clients accept, used by those clients in Airflow's own Python.

What the stack's own services listen on must be reached past the proxy whatever the form is: httpx, by which a task
reports its state, is among the clients.
"""

from __future__ import annotations

import json
import shutil
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from project_fixture import airflow_python
from service_run import RULES, run_service

CLIENTS = """
import json, subprocess, sys, urllib.request
import httpx, requests

def ask(client, url):
    try:
        if client == "httpx":
            return httpx.get(url, timeout=60).text
        if client == "requests":
            return requests.get(url, timeout=60).text
        if client == "urllib":
            return urllib.request.urlopen(url, timeout=60).read().decode()
        return subprocess.run(["curl", "-s", "-m", "5", url], capture_output=True, text=True).stdout
    except Exception as error:
        return repr(error)

print(json.dumps({client: [ask(client, url) for url in sys.argv[2:]] for client in sys.argv[1].split(",")}))
"""


class Answer(socketserver.StreamRequestHandler):
    """Answers any request with the server's name, and refuses to be a SOCKS proxy after noting that it was asked."""

    def handle(self) -> None:
        first = self.rfile.read(1)
        self.server.asked.append(first)  # type: ignore[attr-defined]
        if first == b"\x05":
            self.wfile.write(b"\x05\xff")
            return
        while self.rfile.readline().strip():
            pass
        body = self.server.name.encode()  # type: ignore[attr-defined]
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.name = name
        self.asked: list[bytes] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    proxy, service = Server("proxy"), Server("service")
    yield proxy, service
    for server in (proxy, service):
        server.shutdown()
        server.server_close()


HTTP_FORMS = [
    {"http_proxy": "http://127.0.0.1:{port}"},
    {"HTTP_PROXY": "http://127.0.0.1:{port}"},
    {"http_proxy": "127.0.0.1:{port}"},
    {"http_proxy": "localhost:{port}"},
    {"http_proxy": "//127.0.0.1:{port}"},
    {"http_proxy": "http://127.0.0.1:{port}/"},
    {"http_proxy": "http://user:pass%40word@127.0.0.1:{port}"},
    {"http_proxy": "user:password@127.0.0.1:{port}"},
    {"HTTP_PROXY": "HTTP://127.0.0.1:{port}"},
    {"all_proxy": "http://127.0.0.1:{port}"},
    {"http_proxy": "http://127.0.0.1:{port}", "no_proxy": ".corp", "NO_PROXY": "10.0.0.0/8"},
    {"http_proxy": "http://127.0.0.1:{port}", "no_proxy": "127.0.0.0/8"},
    {"http_proxy": "http://127.0.0.1:{port}", "no_proxy": "fd00::/8,[::1]"},
    {"http_proxy": "http://127.0.0.1:{port}", "NO_PROXY": "<local>;a:b:c"},
    {"http_proxy": "http://127.0.0.1:{port}", "NO_PROXY": "host:80 *.corp"},
]
SOCKS_FORMS = [
    {"all_proxy": "socks5://127.0.0.1:{port}"},
    {"ALL_PROXY": "socks5h://127.0.0.1:{port}"},
    {"http_proxy": "socks5h://user:password@127.0.0.1:{port}"},
]
# The rules leave them out, as httpx wouldn't even reach the stack's own services with them.
REFUSED_FORMS = [
    {"ALL_PROXY": "socks://127.0.0.1:{port}"},
    {"ALL_PROXY": "socks4://127.0.0.1:{port}"},
    {"http_proxy": "http://127.0.0.1:{port}:x"},
    {"https_proxy": "ftp://127.0.0.1:{port}"},
]


def answers(tmp_path: Path, users: dict[str, str], service: Server, proxy: Server) -> dict[str, list[str]]:
    """What each client gets from the stack's own service and from a host outside, in the user's environment."""

    from ansible_collections.gaiaflow.setup.plugins.module_utils import shell

    given = {name: value.replace("{port}", str(proxy.server_address[1])) for name, value in users.items()}
    clients = "httpx,requests,urllib" + ",curl" * bool(shutil.which("curl"))
    here = f"http://127.0.0.1:{service.server_address[1]}/"
    command = [str(airflow_python()), "-c", CLIENTS, clients, here, "http://outside.invalid/"]
    variables = {"PATH": "/usr/bin:/bin", **shell.seen(given, RULES).variables}
    output = run_service(tmp_path, variables, "", command=command)
    found: dict[str, list[str]] = json.loads(output.splitlines()[-1])
    return found


@pytest.mark.parametrize("users", HTTP_FORMS, ids=str)
def test_http_proxy_is_used_and_never_for_the_stack(
    tmp_path: Path, servers: tuple[Server, Server], users: dict[str, str]
) -> None:
    proxy, service = servers
    found = answers(tmp_path, users, service, proxy)
    # urllib has no ALL_PROXY.
    expected = ["service", "proxy"]
    if "all_proxy" in users:
        found.pop("urllib")
    assert {client: got for client, got in found.items() if got != expected} == {}


@pytest.mark.parametrize("users", SOCKS_FORMS, ids=str)
def test_socks_proxy_is_used_and_never_for_the_stack(
    tmp_path: Path, servers: tuple[Server, Server], users: dict[str, str]
) -> None:
    proxy, service = servers
    found = answers(tmp_path, users, service, proxy)
    assert {got[0] for got in found.values()} == {"service"}
    assert proxy.asked.count(b"\x05") >= 3, "httpx, requests and curl can use such a proxy"


@pytest.mark.parametrize("users", REFUSED_FORMS, ids=str)
def test_stack_is_reached_whatever_the_proxy_is(
    tmp_path: Path, servers: tuple[Server, Server], users: dict[str, str]
) -> None:
    proxy, service = servers
    assert {got[0] for got in answers(tmp_path, users, service, proxy).values()} == {"service"}
    assert proxy.asked == []


def test_no_proxy_for_anything(tmp_path: Path, servers: tuple[Server, Server]) -> None:
    proxy, service = servers
    users = {"http_proxy": "http://127.0.0.1:{port}", "NO_PROXY": "*"}
    assert {got[0] for got in answers(tmp_path, users, service, proxy).values()} == {"service"}
    assert proxy.asked == []
