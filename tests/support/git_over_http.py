"""Repositories behind git's own HTTP backend, with a login, as a company's git server has them."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from loopback import serving


@dataclass
class GitServer:
    """A git server.

    Attributes:
        root: The folder with the bare repositories.
        user: Who may sign in.
        token: With what.
        refuses_pushes: Answer each push with 403, as a server does whose user may only read.
        pushes: How many pushes came in.
    """

    root: Path
    user: str = "x-access-token"
    token: str = field(default_factory=lambda: f"git-{secrets.token_hex(16)}", repr=False)
    refuses_pushes: bool = False
    pushes: int = 0
    port: int = 0

    def url(self, repository: str) -> str:
        """Return a repository's address."""
        return f"http://127.0.0.1:{self.port}/{repository}.git"

    def path(self, repository: str) -> Path:
        """Return where a repository is."""
        return self.root / f"{repository}.git"

    def create(self, repository: str) -> None:
        """Make an empty repository that takes pushes."""
        path = self.path(repository)
        git("init", "--quiet", "--bare", "--initial-branch=main", str(path))
        git("-C", str(path), "config", "http.receivepack", "true")

    def read(self, repository: str, *arguments: str) -> str:
        """Return what git says of a repository."""
        return git("-C", str(self.path(repository)), *arguments)

    def authorized(self, header: str) -> bool:
        """Return whether a request's header signs in."""
        wanted = base64.b64encode(f"{self.user}:{self.token}".encode()).decode()
        return secrets.compare_digest(header, f"Basic {wanted}")

    @contextmanager
    def running(self) -> Iterator[GitServer]:
        """Serve on a free port of loopback."""
        with serving(_Handler, self) as self.port:
            yield self


class _Handler(BaseHTTPRequestHandler):
    """Hands requests to `git http-backend`, which speaks CGI."""

    owner: GitServer
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_GET

    def _answer(self) -> None:
        if not self.owner.authorized(self.headers.get("Authorization", "")):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        if "git-receive-pack" in self.path and self.owner.refuses_pushes:
            self.send_error(403, "This account may not push")
            return
        if self.command == "POST" and self.path.endswith("/git-receive-pack"):
            self.owner.pushes += 1
        done = subprocess.run(
            ["git", "http-backend"], env=self._cgi(), input=self._body(), capture_output=True, check=True
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = [line.partition(": ")[::2] for line in head.decode().splitlines()]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _cgi(self) -> dict[str, str]:
        address = urlsplit(self.path)
        return {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.owner.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "PATH_INFO": address.path,
            "QUERY_STRING": address.query,
            "REMOTE_ADDR": self.client_address[0],
            "REMOTE_USER": self.owner.user,
            "REQUEST_METHOD": self.command,
        }

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the tests' output is their own."""


def git(*arguments: str, **environment: str) -> str:
    """Return what git prints; AssertionError with all of it when it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, f"git {arguments}: {done.stdout}{done.stderr}"
    return done.stdout.strip()
