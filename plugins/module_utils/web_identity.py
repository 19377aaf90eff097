"""The token by which AWS trusts a job of GitHub Actions. It holds for minutes, so each run asks for one of its own."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import MutableMapping
from pathlib import Path

from ansible.module_utils.urls import open_url

from .common import write_private
from .errors import SetupError

ANSWER_S = 30.0
AUDIENCE = "sts.amazonaws.com"
URL, BEARER = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"
# By any of these, AWS's own means have a login already.
OTHERS = (TOKEN_FILE, "AWS_ACCESS_KEY_ID", "AWS_PROFILE")


class WebIdentityError(SetupError):
    """The platform gives no token."""


def identify(environment: MutableMapping[str, str], directory: Path) -> None:
    """Let AWS's own means use this job's token, where the job may have one, names a role, and has no other login.

    Args:
        environment: Where the platform says whom to ask, and where AWS's own means look for the token.
        directory: A directory that only this run uses, for the token.

    Raises:
        WebIdentityError: The platform gives no token.
    """
    address, bearer = environment.get(URL, ""), environment.get(BEARER, "")
    if not (address and bearer and environment.get("AWS_ROLE_ARN")) or any(environment.get(one) for one in OTHERS):
        return
    file = directory / "aws-token"
    write_private(file, ask(f"{address}&audience={AUDIENCE}", bearer))
    environment[TOKEN_FILE] = str(file)


def ask(address: str, bearer: str) -> str:
    """Return a token.

    Args:
        address: Where the platform gives it, with the audience that it is for.
        bearer: What this job shows for it.

    Raises:
        WebIdentityError: The platform gives none.
    """
    shown = {"Authorization": f"bearer {bearer}"}
    try:
        # A login that a .netrc has for the host would replace the bearer.
        with open_url(address, headers=shown, timeout=ANSWER_S, use_netrc=False) as answer:
            return str(json.load(answer)["value"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise WebIdentityError(
            f"The platform gives this job no token for AWS: {reason}.",
            "Give the job the permission id-token: write, and run it again.",
        ) from error
