"""What a release is made of: prod.yaml, tag, version, source, and what a registry says of an image."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.gaiaflow.setup.plugins.module_utils import prod, registry_login, release
from ansible_collections.gaiaflow.setup.plugins.module_utils.registry import Registry, RegistryError

STAGES = """
namespace: team-a
start_seconds: 60
check: {tasks: 4}
release: {registry: "reg.example:5000/team", dag_repository: "https://git.example/dags.git", owners: ["@acme/a"]}
stages:
  staging: {namespace: team-a-staging, release: {branch: staging}}
  production: {release: {deliver: pull_request, after: staging}}
"""


def write(tmp_path: Path, text: str) -> Path:
    """A prod.yaml."""
    path = tmp_path / "prod.yaml"
    path.write_text(text)
    return path


# ---- prod.yaml


def test_a_stage_counts_more_than_what_stands_above(tmp_path: Path) -> None:
    path = write(tmp_path, STAGES)
    staging, production = prod.read_stage(path, ""), prod.read_stage(path, "production")
    assert staging.name == "staging" and staging.pods == {"namespace": "team-a-staging", "start_seconds": 60}
    assert production.pods == {"namespace": "team-a", "start_seconds": 60}
    assert (staging.release["branch"], staging.release["deliver"], staging.release["after"]) == ("staging", "push", "")
    assert (production.release["branch"], production.release["deliver"]) == ("main", "pull_request")
    assert production.others["staging"] == staging.release
    assert staging.release["registry"] == production.release["registry"] == "reg.example:5000/team"


def test_a_file_without_stages_is_one_stage(tmp_path: Path) -> None:
    stage = prod.read_stage(write(tmp_path, "# nothing\n"), "")
    assert (stage.name, stage.pods, stage.release["registry"], stage.release["owners"]) == ("", {}, "", [])


@pytest.mark.parametrize(
    ("text", "stage", "says"),
    [
        ("[1]", "", "the file holds [1]; it takes a map"),
        ("a: [", "", "can't be read"),
        ("namespace: a", "staging", "has no stage 'staging'; it has no stages"),
        (STAGES, "live", "has no stage 'live'; it has: staging, production"),
        ("release: {regisrty: a}", "", "unknown key 'regisrty'"),
        ("release: {deliver: email}", "", "release.deliver is 'email'; it takes one of push, pull_request"),
        ("release: {registry: 'https://reg.example'}", "", "without https://"),
        ("release: {registry: [a]}", "", "it takes text"),
        ("release: {owners: team}", "", "a list of @name"),
        ("release: {owners: ['team']}", "", "a list of @name"),
        ("release: {dag_repository: 'https://u:p@git.example/d.git'}", "", "an address must hold no password"),
        ("release: {dag_repository: '--upload-pack=x'}", "", "can't begin with a hyphen"),
        ("release: {branch: '-d'}", "", "a branch's name"),
        ("stages: {Staging: {}}", "", "'Staging' is no stage's name"),
        ("stages: {a: {release: {after: b}}}", "", "a comes after 'b', which is no other stage"),
        ("stages: {a: {release: {registry: r}}, b: {}}", "", "several registries"),
        ("stages: {a: 1}", "", "stages.a holds 1"),
    ],
)
def test_what_is_wrong_in_it_is_named(tmp_path: Path, text: str, stage: str, says: str) -> None:
    with pytest.raises(prod.ProdFileError) as refused:
        prod.read_stage(write(tmp_path, text), stage)
    assert says in str(refused.value) and refused.value.hint


# ---- The checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a commit."""
    path = tmp_path / "checkout"
    for words in (
        ["init", "--quiet", "--initial-branch=main", str(path)],
        ["-C", str(path), "config", "user.name", "Ada"],
        ["-C", str(path), "config", "user.email", "ada@example.com"],
        ["-C", str(path), "commit", "--quiet", "--allow-empty", "--message", "Begin"],
    ):
        subprocess.run(["git", *words], check=True)
    return path


def git(checkout: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(checkout), *words], check=True)


@pytest.mark.parametrize(
    ("environment", "given", "tags", "found"),
    [
        ({}, "", [], []),
        ({}, "", ["v1.2.0", "nightly"], ["v1.2.0"]),
        ({}, "v9", ["v1.2.0"], ["v9"]),
        ({"GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v2"}, "", ["v1.2.0"], ["v2"]),
        ({"GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "main"}, "", [], []),
        ({"CI_COMMIT_TAG": "3.0"}, "", [], ["3.0"]),
    ],
)
def test_which_tag_counts(
    checkout: Path, environment: dict[str, str], given: str, tags: list[str], found: list[str]
) -> None:
    for tag in tags:
        git(checkout, "tag", tag)
    assert release.find_tags(release.Repository(checkout, {}), environment, given) == found


def test_the_tag_is_the_version() -> None:
    release.refuse_tag([], "1.2.0")
    release.refuse_tag(["1.2.0"], "1.2.0")
    release.refuse_tag(["v1.1.0", "v1.2.0"], "1.2.0")
    with pytest.raises(release.ReleaseError, match=r"The tag is v1\.3\.0, and the package's __version__ is 1\.2\.0"):
        release.refuse_tag(["v1.3.0"], "1.2.0")


def test_what_is_not_committed_is_refused(checkout: Path) -> None:
    repository = release.Repository(checkout, {"PATH": "/usr/bin:/bin"})
    release.refuse_uncommitted(repository)
    (checkout / "new.py").write_text("")
    with pytest.raises(release.ReleaseError, match=r"not committed: new\.py"):
        release.refuse_uncommitted(repository)


def test_a_project_outside_git_has_no_commit(tmp_path: Path) -> None:
    repository = release.Repository(tmp_path, {"PATH": "/usr/bin:/bin"})
    assert not repository.exists and repository.ask("rev-parse", "HEAD") == ""
    release.refuse_uncommitted(repository)


@pytest.mark.parametrize(
    ("remote", "environment", "source"),
    [
        ("https://user:secret@git.example/a/b.git", {}, "https://git.example/a/b"),
        ("git@git.example:a/b.git", {}, "git@git.example:a/b"),
        ("", {}, ""),
        ("x", {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b"}, "https://github.com/a/b"),
        ("x", {"CI_PROJECT_URL": "https://gitlab.example/a/b"}, "https://gitlab.example/a/b"),
    ],
)
def test_where_the_code_is_kept(checkout: Path, remote: str, environment: dict[str, str], source: str) -> None:
    if remote:
        git(checkout, "remote", "add", "origin", remote)
    assert release.source_of(release.Repository(checkout, {}), environment) == source


def test_who_releases(checkout: Path) -> None:
    repository = release.Repository(checkout, {})
    assert release.who(repository, {"GITHUB_ACTOR": "octo"}) == {
        "by": "octo", "email": "octo@users.noreply.github.com"
    }  # fmt: skip
    gitlab = {"GITLAB_USER_LOGIN": "fox", "GITLAB_USER_EMAIL": "fox@example.com"}
    assert release.who(repository, gitlab) == {"by": "fox", "email": "fox@example.com"}
    assert release.who(repository, {}) == {"by": "Ada", "email": "ada@example.com"}


# ---- The registry


@pytest.mark.parametrize(
    ("host", "given", "region"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "", "eu-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "", "cn-north-1"),
        ("ghcr.io", "", ""),
        ("evil-123456789012.dkr.ecr.eu-west-1.amazonaws.com.example", "", ""),
        ("127.0.0.1:5000", "eu-west-1", "eu-west-1"),
    ],
)
def test_which_registry_is_amazons(host: str, given: str, region: str) -> None:
    assert registry_login.region_of(host, given) == region


def test_a_login_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    assert registry_login.login_of_environment({}) is None
    with pytest.raises(RegistryError, match="GAIAFLOW_REGISTRY_USER is set without the other one"):
        registry_login.login_of_environment({"GAIAFLOW_REGISTRY_USER": "a"})
    login = registry_login.login_of_environment({"GAIAFLOW_REGISTRY_USER": "a", "GAIAFLOW_REGISTRY_PASSWORD": "b:c"})
    assert login
    registry_login.keep(str(tmp_path), "reg.example", login)
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
    assert registry_login.login_of("reg.example", str(tmp_path)) == ("a", "b:c")
    assert registry_login.login_of("other.example", str(tmp_path)) is None


def test_a_credential_helper_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"credHelpers": {"reg.example": "nowhere"}}')
    with pytest.raises(RegistryError, match=r"no login for reg\.example.*docker-credential-nowhere"):
        registry_login.login_of("reg.example", "")


def test_what_builds_need_of_the_users_settings_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    settings = {
        "auths": {"base.example": {"auth": "eDp5"}, "reg.example": {"auth": "b2xkOm9sZA=="}},
        "credHelpers": {"reg.example": "nowhere"}, "credsStore": "nowhere", "currentContext": "elsewhere",
        "proxies": {"default": {"httpProxy": "http://proxy.example"}},
    }  # fmt: skip
    (tmp_path / "user" / "config.json").write_text(json.dumps(settings))
    registry_login.keep(str(tmp_path), "reg.example", ("a", "b"))
    kept = json.loads((tmp_path / "config.json").read_text())
    assert registry_login.login_of("reg.example", str(tmp_path)) == ("a", "b")
    assert kept["auths"]["base.example"] == {"auth": "eDp5"} and kept["proxies"] == settings["proxies"]
    # Docker's command line asks no helper where this one is empty.
    assert kept["credHelpers"] == {"reg.example": ""} and kept["credsStore"] == "nowhere"
    assert kept["cliPluginsExtraDirs"] == [str(tmp_path / "user" / "cli-plugins")]
    # Its contexts are beside the user's own settings.
    assert "currentContext" not in kept


def test_settings_that_are_not_json_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RegistryError, match=r"config\.json can't be read"):
        registry_login.keep(str(tmp_path), "reg.example", ("a", "b"))


class Answers:
    """A registry's answers by request, where no real one would give them."""

    def __init__(self, **answers: tuple[int, dict[str, str], bytes]) -> None:
        self.answers, self.asked = answers, list[Any]()

    def open(self, request: Any, timeout: float) -> Any:
        self.asked.append(request)
        status, headers, body = self.answers[request.full_url.rpartition("/")[2].partition("?")[0]]
        if status >= 400:
            from urllib.error import HTTPError

            raise HTTPError(request.full_url, status, "", headers, io.BytesIO(body))  # type: ignore[arg-type]

        class Response(SimpleNamespace):
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                pass

        return Response(status=status, headers=headers, read=lambda: body)


def client(answers: Answers) -> Any:
    registry: Any = Registry("reg.example", "a/b", ("ada", "secret"))
    registry._opener = answers
    return registry


def test_labels_of_an_index_are_those_of_its_image_and_not_of_its_provenance() -> None:
    index = b"""{"manifests": [
        {"digest": "one", "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}, {"digest": "two"}]}"""
    answers = Answers(
        v1=(200, {}, index),
        two=(200, {}, b'{"config": {"digest": "three"}}'),
        three=(200, {}, b'{"config": {"Labels": {"gaiaflow.digest": "x"}}}'),
    )
    assert client(answers).labels("v1") == {"gaiaflow.digest": "x"}


def test_a_token_is_asked_for_where_the_registry_says() -> None:
    challenge = 'Bearer realm="https://auth.example/token",service="reg"'
    answers = Answers(v1=(401, {"WWW-Authenticate": challenge}, b""), token=(200, {}, b'{"token": "t"}'))
    with pytest.raises(RegistryError, match="refuses the login"):
        client(answers).find("v1")
    _, asked, again = answers.asked
    assert asked.full_url.endswith("token?scope=repository%3Aa%2Fb%3Apull%2Cpush&service=reg")
    assert asked.unredirected_hdrs["Authorization"].startswith("Basic ")
    # What is redirected elsewhere gets none of it.
    assert again.unredirected_hdrs["Authorization"] == "Bearer t" and "Authorization" not in again.headers


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (403, b"", "refuses the login"),
        (500, b'{"errors": [{"code": "UNKNOWN", "message": "out of order"}]}', "answers 500: out of order"),
        (502, b"<html>", "answers 502."),
    ],
)
def test_what_a_registry_says_is_told(status: int, body: bytes, says: str) -> None:
    with pytest.raises(RegistryError) as refused:
        client(Answers(v1=(status, {}, body))).find("v1")
    assert says in str(refused.value) and refused.value.hint


def test_a_registry_that_is_away_is_named() -> None:
    with pytest.raises(RegistryError, match=r"The registry 127\.0\.0\.1:1 can't be reached"):
        Registry("127.0.0.1:1", "a/b").find("v1")
