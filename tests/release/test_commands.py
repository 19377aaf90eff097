"""`gaiaflow-setup release`, to a real registry with a login, and to git's own HTTP server with one."""

from __future__ import annotations

import http.server
import json
import random
import re
import shutil
import threading
from collections.abc import Iterator
from typing import ClassVar

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

    dry = releases.told("release", "image", "--dry-run")
    assert dry["hosts"]["localhost"]["changed"] and releases.registry.tags(REPOSITORY) == []
    image = releases.told("release", "image")["release"]
    assert image["digest"] == releases.registry.digest(REPOSITORY, "0.1.0")
    assert image["reference"] == f"{releases.registry.host}/{REPOSITORY}@{image['digest']}"

    dry = releases.told("release", "dags", "--dry-run")
    assert dry["hosts"]["localhost"]["changed"] and releases.git.pushes == 0
    assert dry["release"]["dags"] == [f"{PACKAGE}_starter"]
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
    for action in ("image", "dags"):
        again = releases.told("release", action)
        assert again["hosts"]["localhost"]["changed"] == 0, action
        assert again["release"]["digest"] == image["digest"]
    assert (releases.cdr("rev-parse", "main"), releases.git.pushes) == before


def test_all_in_one_run(releases: Releases) -> None:
    dry = releases.told("release", "all", "--dry-run")
    assert dry["hosts"]["localhost"]["changed"] and dry["release"]["dags"] == [f"{PACKAGE}_starter"]
    assert releases.registry.tags(REPOSITORY) == [] and releases.git.pushes == 0

    releases.git.refuses_pushes = True
    assert "The git server refuses the push" in releases.refused("release", "all")
    assert releases.registry.tags(REPOSITORY) == ["0.1.0"] and len(releases.subjects()) == 1
    releases.git.refuses_pushes = False
    done = releases.told("release", "all")["release"]
    assert done["digest"] == releases.registry.digest(REPOSITORY, "0.1.0")
    assert done["commit"] == releases.cdr("rev-parse", "main")
    assert releases.show(f"{FOLDER}/{PACKAGE}_dags/image.txt") == done["reference"]

    releases.commit(version="0.2.0")
    second = releases.told("release", "all")["release"]
    assert releases.subjects()[:2] == [f"Release {NAME} 0.2.0", f"Release {NAME} 0.1.0"]
    assert releases.show(f"{FOLDER}/{PACKAGE}_dags/image.txt") == second["reference"] != done["reference"]
    log = yaml.safe_load(releases.show(f"releases/{NAME}.yaml"))
    assert [one["image"] for one in log] == [done["reference"], second["reference"]]
    again = releases.told("release", "all")
    assert again["hosts"]["localhost"]["changed"] == 0 and again["release"] == second

    releases.commit(
        version="0.3.0", broken="# Airflow parses what names it and a DAG.\nraise RuntimeError('not today')\n"
    )
    broken = releases.run("release", "all")
    assert broken.returncode == 1 and "broken.py: RuntimeError: not today" in broken.stderr
    assert releases.registry.tags(REPOSITORY) == ["0.1.0", "0.2.0"] and len(releases.subjects()) == 3


def test_a_version_never_changes_and_one_can_go_back(releases: Releases) -> None:
    releases.push_image()
    first = releases.told("release", "dags")["release"]
    tree = releases.cdr("rev-parse", f"main:{FOLDER}")
    (releases.project / "src" / PACKAGE / "new.py").write_text("NUMBER = 2\n")
    assert "changes that are not committed: src/" in releases.refused("release", "check")
    releases.commit()
    assert f"{NAME} 0.1.0 is in the registry with another content" in releases.refused("release", "image")
    git("-C", str(releases.project), "reset", "--quiet", "--hard", "HEAD~1")
    releases.commit(other="NUMBER = 3\n")
    assert f"{NAME} 0.1.0 is in the CDR with another content" in releases.refused("release", "dags")
    assert releases.git.pushes == 1 and releases.registry.tags(REPOSITORY) == ["0.1.0"]

    releases.commit(version="0.2.0")
    assert f"There is no image of {NAME} 0.2.0" in releases.refused("release", "dags")
    releases.told("release", "all")
    assert releases.told("release", "rollback", "0.1.0", "--dry-run")["hosts"]["localhost"]["changed"] == 1
    back = releases.told("release", "rollback", "0.1.0")["release"]
    assert (back["version"], back["reference"], back["dags"]) == ("0.1.0", first["reference"], first["dags"])
    assert releases.subjects()[0] == f"Roll back {NAME} to 0.1.0"
    assert releases.cdr("rev-parse", f"main:{FOLDER}") == tree
    actions = [one["action"] for one in yaml.safe_load(releases.show(f"releases/{NAME}.yaml"))]
    assert actions == ["release", "release", "rollback"]
    assert releases.told("release", "rollback", "0.1.0")["hosts"]["localhost"]["changed"] == 0
    never = releases.refused("release", "rollback", "0.0.9")
    assert "0.0.9 was never released here" in never and "0.1.0, 0.2.0" in never
    releases.registry.empty()
    assert f"The image of {NAME} 0.2.0 is gone" in releases.refused("release", "rollback", "0.2.0")
    assert len(releases.subjects()) == 4


def test_who_may_not_is_told_before_anything_is_pushed(releases: Releases) -> None:
    said = releases.refused("release", "image", GAIAFLOW_REGISTRY_PASSWORD="wrong")
    assert f"The registry {releases.registry.host} refuses the login" in said
    assert "The git server refuses the login" in releases.refused("release", "check", GAIAFLOW_CDR_TOKEN="wrong")
    sign = ["release", "all", "-e", "release_sign=true"]
    assert "Nobody vouches for this run" in releases.refused(*sign)
    if not shutil.which("cosign"):
        assert "There is no cosign" in releases.refused(*sign, SIGSTORE_ID_TOKEN="a token")
    assert releases.registry.tags(REPOSITORY) == [] and releases.git.pushes == 0

    releases.push_image()
    releases.git.refuses_pushes = True
    assert "The git server refuses the push" in releases.refused("release", "dags")
    assert len(releases.subjects()) == 1
    releases.git.refuses_pushes = False
    releases.told("release", "dags")
    assert releases.subjects()[0] == f"Release {NAME} 0.1.0"


def test_a_push_that_breaks_off_is_completed(releases: Releases) -> None:
    (releases.project / "src" / PACKAGE / "blob.bin").write_bytes(random.Random(1).randbytes(3 << 20))
    releases.commit()
    releases.registry.gate.bytes_left = 1 << 20
    assert "broke off" in releases.refused("release", "image")
    releases.registry.gate.bytes_left = None
    assert releases.registry.tags(REPOSITORY) == []
    releases.told("release", "image")
    assert releases.registry.tags(REPOSITORY) == ["0.1.0"]


MOVE = """#!/bin/sh
# While a push is on its way, the branch moves to what another one has made; git allows that to other processes alone.
env -u GIT_QUARANTINE_PATH -u GIT_OBJECT_DIRECTORY -u GIT_ALTERNATE_OBJECT_DIRECTORIES \\
    git update-ref refs/heads/main {commit}
rm "$0"
"""


def move_during_push(releases: Releases, project: str, version: str, *dags: str) -> None:
    """Have the branch move, during the next push, by a release of a project, with these DAGs."""
    checkout = releases.directory / "meanwhile"
    bare = str(releases.git.path(CDR))
    git("clone", "--quiet", bare, str(checkout))
    folder = checkout / "dags" / project
    folder.mkdir(parents=True, exist_ok=True)
    record = {"project": project, "package": "p", "version": version, "image": "i", "files": "f", "dags": list(dags)}
    (folder / "release.yaml").write_text(yaml.safe_dump(record))
    (checkout / "releases" / f"{project}.yaml").write_text(f"- {json.dumps(record)}\n")
    git("-C", str(checkout), "add", "--all")
    git("-C", str(checkout), "commit", "--quiet", "--message", f"Release {project} {version}", **made.AUTHOR)
    git("-C", str(checkout), "push", "--quiet", "--force", bare, "HEAD:refs/heads/meanwhile")
    hook = releases.git.path(CDR) / "hooks" / "pre-receive"
    hook.write_text(MOVE.format(commit=git("-C", str(checkout), "rev-parse", "HEAD")))
    hook.chmod(0o755)
    shutil.rmtree(checkout)


def test_two_releases_of_a_project_at_once(releases: Releases) -> None:
    releases.push_image()
    move_during_push(releases, NAME, "7.0.0")
    said = releases.refused("release", "dags")
    assert f"Another release of {NAME} was made at the same time: 7.0.0" in said
    assert releases.subjects()[0] == f"Release {NAME} 7.0.0"


@pytest.mark.thorough
def test_releases_of_two_projects_at_once(releases: Releases) -> None:
    releases.push_image()
    move_during_push(releases, "beer-project", "1.0.0")
    releases.told("release", "dags")
    assert releases.subjects()[:2] == [f"Release {NAME} 0.1.0", "Release beer-project 1.0.0"]

    releases.cdr("update-ref", "refs/heads/main", "begun")
    move_during_push(releases, "beer-project", "1.0.0", f"{PACKAGE}_starter")
    said = releases.refused("release", "dags")
    assert f"The DAG id '{PACKAGE}_starter' belongs to the project 'beer-project'" in said
    assert releases.subjects()[0] == "Release beer-project 1.0.0"


@pytest.mark.thorough
def test_stages_get_one_image_one_after_the_other(releases: Releases) -> None:
    releases.cdr("branch", "staging", "main")
    after = {"release": {"deliver": "pull_request", "after": "staging"}}
    releases.describe(stages={"staging": {"namespace": "s", "release": {"branch": "staging"}}, "production": after})
    image = releases.told("release", "image")["release"]
    assert image["stage"] == "staging"
    said = releases.refused("release", "dags", "--stage", "production")
    assert f"{NAME} 0.1.0 has not been released to staging with this image" in said
    releases.told("release", "dags")
    assert yaml.safe_load(releases.show(f"{FOLDER}/{PACKAGE}_dags/prod.yaml", "staging")) == {"namespace": "s"}

    branch = f"release/production/{NAME}-0.1.0"
    production = releases.told("release", "dags", "--stage", "production")
    assert production["deferred"][0]["component"] == "pull request"
    assert production["release"]["branch"] == branch and production["release"]["digest"] == image["digest"]
    assert yaml.safe_load(releases.show(f"{FOLDER}/{PACKAGE}_dags/prod.yaml", branch)) == {"namespace": "team-a"}
    assert len(releases.subjects()) == 1 and releases.registry.tags(REPOSITORY) == ["0.1.0"]
    pushes = releases.git.pushes
    for action in ("dags", "all"):
        assert releases.told("release", action, "--stage", "production")["release"]["digest"] == image["digest"]
        assert releases.git.pushes == pushes


class Requests(http.server.BaseHTTPRequestHandler):
    """What GitHub's API does with pull requests, as far as it is asked: nothing real can be had of it here."""

    open: ClassVar[list[dict[str, str]]] = []

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(200, self.open)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        made = {**asked, "html_url": "https://git.example/pull/7", "token": self.headers["Authorization"]}
        self.open.append(made)
        self.answer(201, made)

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.thorough
def test_a_pull_request_is_made_once(releases: Releases) -> None:
    releases.describe(deliver="pull_request", platform="github")
    releases.push_image()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Requests) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = ["release", "dags", "-e", f"dag_repository_api=http://127.0.0.1:{server.server_address[1]}"]
        told = [releases.told(*command) for _ in range(2)]
        wordy = releases.run(*command, "-vvv")
        assert wordy.returncode == 0 and releases.git.token not in wordy.stdout + wordy.stderr
        server.shutdown()
    assert [one["hosts"]["localhost"]["changed"] for one in told] == [2, 0]
    assert [one["release"]["pull_request"] for one in told] == ["https://git.example/pull/7"] * 2
    (made_once,) = Requests.open
    assert (made_once["head"], made_once["base"]) == (f"release/{NAME}-0.1.0", "main")
    assert made_once["title"] == f"Release {NAME} 0.1.0" and made_once["token"] == f"Bearer {releases.git.token}"
    assert releases.git.pushes == 1 and len(releases.subjects()) == 1
    assert {one["release"]["commit"] for one in told} == {releases.cdr("rev-parse", f"release/{NAME}-0.1.0")}


@pytest.mark.thorough
def test_nothing_secret_is_left_anywhere(releases: Releases) -> None:
    hidden = [releases.environment[name] for name in ("GAIAFLOW_REGISTRY_PASSWORD", "GAIAFLOW_CDR_TOKEN")]
    done = releases.run("release", "all", "-vvv")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    logs = "".join(path.read_text() for path in (releases.directory / "home" / "logs").iterdir())
    objects = releases.cdr("rev-list", "--objects", "--all")
    everything = releases.cdr("grep", "-I", "-e", "", *releases.cdr("rev-list", "--all").split())
    config = json.dumps(json.loads(made.docker("image", "inspect", f"{NAME}/{PACKAGE}:0.1.0")))
    assert not any(secret in text for secret in hidden for text in (said, logs, objects, everything, config))
    assert not list((releases.directory / "user").glob(".docker/*"))
    assert re.search(r"changed=2\b", said)
