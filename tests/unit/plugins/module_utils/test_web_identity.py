"""The token by which AWS trusts a job of GitHub Actions: asked for only where nothing else logs in."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from token_endpoint import TokenEndpoint

from ansible_collections.gaiaflow.setup.plugins.module_utils import web_identity

ROLE = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/releases"}
FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint("repo:team/project:environment:release").running() as endpoint:
        yield endpoint


def claims(token: str) -> dict[str, str]:
    """Return what a token says."""
    found: dict[str, str] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


def test_token_is_in_a_file_that_only_its_owner_reads(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    environment = {**endpoint.variables, **ROLE}
    web_identity.identify(environment, tmp_path)
    file = Path(environment[FILE])
    assert claims(file.read_text())["aud"] == "sts.amazonaws.com"
    assert file.parent == tmp_path and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert endpoint.audiences == ["sts.amazonaws.com"]


@pytest.mark.parametrize(
    "differs",
    [
        {"AWS_ROLE_ARN": ""},
        {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": ""},
        {FILE: "/given"},
        {"AWS_ACCESS_KEY_ID": "key"},
        {"AWS_PROFILE": "team"},
    ],
)
def test_no_token_is_asked_for_without_need(endpoint: TokenEndpoint, tmp_path: Path, differs: dict[str, str]) -> None:
    environment = {**endpoint.variables, **ROLE, **differs}
    before = dict(environment)
    web_identity.identify(environment, tmp_path)
    assert environment == before and endpoint.audiences == [] and list(tmp_path.iterdir()) == []


def test_refusal_says_what_to_do_and_shows_no_secret(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    environment = {**endpoint.variables, **ROLE, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "another-bearer"}
    with pytest.raises(web_identity.WebIdentityError, match="no token for AWS") as refusal:
        web_identity.identify(environment, tmp_path)
    assert "id-token: write" in refusal.value.hint
    assert "another-bearer" not in str(refusal.value)
