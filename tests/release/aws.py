"""moto's ECR and STS on a port of loopback, in an environment of its own (aws.txt).

What moto leaves open is closed here: STS takes only tokens that the runner's own token endpoint has signed, for AWS and
for the repository that the role trusts.

Usage: aws.py PORT      with OIDC_KEY and OIDC_SUBJECT in the environment
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>InvalidIdentityToken</Code><Message>{reason}</Message></Error><RequestId>0</RequestId></ErrorResponse>"""
Start = Callable[[str, list[tuple[str, str]]], Any]


def claims(token: str) -> dict[str, str]:
    """Return what a token says, if its signature is right; ValueError otherwise."""
    head, body, signature = [*token.split("."), "", ""][:3]
    wanted = hmac.new(os.environ["OIDC_KEY"].encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(base64.urlsafe_b64encode(wanted).decode().rstrip("="), signature):
        raise ValueError("The token's signature is wrong")
    found: dict[str, str] = json.loads(base64.urlsafe_b64decode(body + "=="))
    return found


def refusal(form: dict[str, list[str]]) -> str:
    """Return why STS refuses a request for a role, or nothing."""
    try:
        found = claims(form.get("WebIdentityToken", [""])[0])
    except ValueError as error:
        return str(error)
    if found["aud"] != "sts.amazonaws.com":
        return f"Incorrect token audience: {found['aud']}"
    if not found["sub"].startswith(os.environ["OIDC_SUBJECT"]):
        return f"Not authorized to perform sts:AssumeRoleWithWebIdentity: {found['sub']}"
    return ""


class Aws:
    """moto, behind a look at the tokens that roles are asked for with."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        form = parse_qs(body.decode(errors="replace"))
        if form.get("Action") == ["AssumeRoleWithWebIdentity"] and (reason := refusal(form)):
            start("400 Bad Request", [("Content-Type", "text/xml")])
            return [REFUSED.format(reason=reason).encode()]
        answer: Iterable[bytes] = self._moto(environ, start)
        return answer


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), Aws(), threaded=True)
