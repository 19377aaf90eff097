"""What hands a job of GitHub Actions its OIDC token: act has none (nektos/act 2500), so the tests bring this one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from loopback import JsonHandler, serving

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
        return make_token(
            {"alg": "HS256"}, claims, lambda signed: hmac.digest(self.key.encode(), signed, hashlib.sha256)
        )

    @contextmanager
    def running(self) -> Iterator[TokenEndpoint]:
        """Serve on a free port of loopback."""
        with serving(_Handler, self) as self.port:
            yield self


class _Handler(JsonHandler):
    owner: TokenEndpoint

    def do_GET(self) -> None:
        if not secrets.compare_digest(self.headers.get("Authorization", ""), f"bearer {self.owner.bearer}"):
            self.send_error(401)
            return
        (audience,) = parse_qs(urlsplit(self.path).query).get("audience", ["nobody"])
        self.owner.audiences.append(audience)
        self.answer({"value": self.owner.token(audience)})


def make_token(header: Mapping[str, str], claims: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """Return a signed token (JWT).

    Args:
        header: What it says of its signature.
        claims: What it says.
        sign: Makes the signature.
    """
    signed = ".".join(encode(json.dumps(part).encode()) for part in ({"typ": "JWT", **header}, claims))
    return f"{signed}.{encode(sign(signed.encode()))}"


def encode(content: bytes) -> str:
    """Return bytes as tokens and their keys have them."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
