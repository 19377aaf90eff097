"""`gaiaflow-setup release`, to a real registry with a login, and to git's own HTTP server with one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import releases as made
import yaml
from git_over_http import git
from releases import CDR, NAME, PACKAGE, Releases

REPOSITORY = f"team/{NAME}/{PACKAGE}"
FOLDER = f"dags/{NAME}"

pytestmark = pytest.mark.skipif(bool(made.lacking()), reason=made.lacking() or "-")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    """Everything, made once."""
    with made.available(tmp_path_factory.mktemp("releases")) as releases:
        yield releases


@pytest.fixture
def releases(kept: Releases) -> Iterator[Releases]:
    """Everything, as before the first release."""
    kept.reset()
    yield kept
    kept.reset()


def test_a_release_and_again(releases: Releases) -> None:
    checked = releases.told("release", "check")
    assert checked["release"]["dags"] == [f"{PACKAGE}_starter"] and not checked["release"]["digest"]
    assert releases.registry.tags(REPOSITORY) == [] and releases.git.pushes == 0

    image = releases.told("release", "image")["release"]
    assert image["digest"] == releases.registry.digest(REPOSITORY, "0.1.0")
    assert image["reference"] == f"{releases.registry.host}/{REPOSITORY}@{image['digest']}"

    dags = releases.told("release", "dags")["release"]
    assert releases.subjects() == [f"Release {NAME} 0.1.0", "Begin the central DAG repository"]
    assert dags["commit"] == releases.cdr("rev-parse", "main") and dags["branch"] == "main"
    assert releases.show(f"{FOLDER}/{PACKAGE}_dags/image.txt") == image["reference"]
    assert yaml.safe_load(releases.show(f"{FOLDER}/{PACKAGE}_dags/prod.yaml")) == {"namespace": "team-a"}
    record = yaml.safe_load(releases.show(f"{FOLDER}/release.yaml"))
    assert record["version"] == "0.1.0" and record["dags"] == [f"{PACKAGE}_starter"] == dags["dags"]
    assert record["commit"] == git("-C", str(releases.project), "rev-parse", "HEAD")
    (line,) = yaml.safe_load(releases.show(f"releases/{NAME}.yaml"))
    assert (line["by"], line["action"], line["version"]) == ("octo-ada", "release", "0.1.0")
    assert f"/{FOLDER}/ @team" in releases.show("CODEOWNERS").splitlines()

    before = releases.cdr("rev-parse", "main"), releases.git.pushes
    for action in ("check", "image", "dags"):
        again = releases.told("release", action)
        assert again["hosts"]["localhost"]["changed"] == 0, action
        assert again["release"]["digest"] == image["digest"]
    assert (releases.cdr("rev-parse", "main"), releases.git.pushes) == before
