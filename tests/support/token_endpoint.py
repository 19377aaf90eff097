"""What hands a job of GitHub Actions its OIDC token: act has none (nektos/act 2500), so the tests bring this one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from loopback import serving

LIFETIME_S = 300


@dataclass
class TokenEndpoint:
    """A token endpoint, which speaks as GitHub's does.

    Attributes:
        subject: Whom the tokens name, as `repo:OWNER/NAME:ref:refs/tags/TAG`.
        key: What signs the tokens.
        bearer: What a job must show to get one.
        audiences: Whom tokens were asked for, the oldest first.
    """

    subject: str
    key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    bearer: str = field(default_factory=lambda: f"bearer-{secrets.token_hex(16)}", repr=False)
    audiences: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def variables(self) -> dict[str, str]:
        """What GitHub sets in a job that may have tokens."""
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{self.port}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.bearer,
        }

    def token(self, audience: str) -> str:
        """Return a signed token."""
        now = int(time.time())
        claims = {"aud": audience, "sub": self.subject, "iat": now, "exp": now + LIFETIME_S}
        signed = ".".join(_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return f"{signed}.{_encode(hmac.new(self.key.encode(), signed.encode(), hashlib.sha256).digest())}"

    @contextmanager
    def running(self) -> Iterator[TokenEndpoint]:
        """Serve on a free port of loopback."""
        with serving(_Handler, self) as self.port:
            yield self


class _Handler(BaseHTTPRequestHandler):
    owner: TokenEndpoint

    def do_GET(self) -> None:
        if not secrets.compare_digest(self.headers.get("Authorization", ""), f"bearer {self.owner.bearer}"):
            self.send_error(401)
            return
        (audience,) = parse_qs(urlsplit(self.path).query).get("audience", ["nobody"])
        self.owner.audiences.append(audience)
        body = json.dumps({"value": self.owner.token(audience)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the tests' output is their own."""


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
