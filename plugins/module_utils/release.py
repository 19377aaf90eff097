"""What a release is made of: a project, its version, its tag, and who releases it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .errors import SetupError
from .image import content_digest, find_package, image_name, package_version, project_name
from .prod import Stage, read_stage
from .shell import user_environment

VERSION_TAG = re.compile(r"v?\d.*")


class ReleaseError(SetupError):
    """A project can't be released as it is."""


def examine(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be released, and where to.

    Args:
        parameters: `project`, `package`, `stage`, `base`, `tag`, `tagged`: whether the tag must be the version, and
            `committed`: whether all must be committed.

    Raises:
        SetupError: The project, its version, its tag or its `prod.yaml` is wrong.
    """
    project = Path(parameters["project"]).absolute()
    name = project_name(project)
    package = find_package(project, parameters["package"])
    version = package_version(package)
    image = image_name(name, package.name, version)
    environment = user_environment()
    repository = Repository(project, environment)
    if parameters["tagged"]:
        refuse_tag(find_tags(repository, environment, parameters["tag"]), version)
    if parameters["committed"]:
        refuse_uncommitted(repository)
    stage = read_stage(dags_of(project, package.name) / "prod.yaml", parameters["stage"])
    return {
        "project": name,
        "package": package.name,
        "version": version,
        "content": content_digest(project, parameters["base"]),
        "dags": str(project / "dags"),
        "tracked": repository.tracked("dags"),
        "commit": repository.ask("rev-parse", "HEAD"),
        "source": source_of(repository, environment),
        **where_to(stage, image),
        **who(repository, environment),
    }


def where_to(stage: Stage, image: str) -> dict[str, Any]:
    """Return where a release goes.

    Args:
        stage: The stage.
        image: The image's name without the registry.

    Raises:
        ReleaseError: No registry is named.
    """
    registry = stage.release["registry"]
    if not registry:
        raise ReleaseError(
            "prod.yaml names no registry for the project's image.",
            "Add to it: release: {registry: registry.example.com/team} (docs/releases.md).",
        )
    repository, _, version = f"{registry}/{image}".rpartition(":")
    host, _, path = repository.partition("/")
    return {
        "stage": stage.name,
        "pods": stage.pods,
        "release": stage.release,
        "after": stage.others.get(stage.release["after"], {}),
        "image": f"{repository}:{version}",
        "image_here": image,
        "image_version": version,
        "registry": host,
        "repository": path,
    }


def dags_of(project: Path, package: str) -> Path:
    """Return the directory of a project's DAGs.

    Args:
        project: The project.
        package: Its package.

    Raises:
        ReleaseError: It isn't there.
    """
    directory = project / "dags" / f"{package}_dags"
    if not directory.is_dir():
        raise ReleaseError(f"{project} has no DAGs: {directory} is missing.", "Make a project: gaiaflow-setup new.")
    return directory


class Repository:
    """The git repository that a project is in, if it is in one.

    Args:
        directory: The project.
        environment: The user's environment.

    Raises:
        ReleaseError: Git refuses to look at it.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.environment = {**environment, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
        try:
            found = self._run("rev-parse", "--is-inside-work-tree")
        except FileNotFoundError:
            raise ReleaseError("There is no git on this machine.", "Install it: apt-get install git.") from None
        if found.returncode and "not a git repository" not in found.stderr:
            raise ReleaseError(f"Git refuses to look at {directory}: {found.stderr.strip()}", "Do what it says.")
        self.exists = not found.returncode

    def ask(self, *words: str) -> str:
        """Return what git says to a question, without its last newline; nothing where it doesn't know.

        Args:
            words: The question.
        """
        if not self.exists:
            return ""
        done = self._run(*words)
        return "" if done.returncode else done.stdout.removesuffix("\n")

    def must_tell(self, *words: str) -> str:
        """Return what git says; nothing outside of a repository.

        Args:
            words: The question.

        Raises:
            ReleaseError: Git fails.
        """
        if not self.exists:
            return ""
        done = self._run(*words)
        if done.returncode:
            raise ReleaseError(f"Git can't tell what is committed: {done.stderr.strip()}", "Do what it says.")
        return done.stdout.removesuffix("\n")

    def tracked(self, folder: str) -> list[str] | None:
        """Return the files of a folder that are in git, None outside of a repository.

        Args:
            folder: The folder, below the project.
        """
        return self.must_tell("ls-files", "-z", "--", folder).split("\0") if self.exists else None

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(self.directory), *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)


def find_tags(repository: Repository, environment: Mapping[str, str], given: str) -> list[str]:
    """Return the tags that a release is made for: given, a workflow's, or those on the commit that name a version.

    Args:
        repository: The project's repository.
        environment: The user's environment.
        given: A tag that the user names, or nothing.
    """
    of_workflow = environment.get("GITHUB_REF_NAME", "") if environment.get("GITHUB_REF_TYPE") == "tag" else ""
    if named := given or of_workflow or environment.get("CI_COMMIT_TAG", ""):
        return [named]
    return [tag for tag in repository.ask("tag", "--points-at", "HEAD").split() if VERSION_TAG.fullmatch(tag)]


def refuse_tag(tags: list[str], version: str) -> None:
    """Refuse tags of which none is the package's version.

    Args:
        tags: The tags; none is allowed.
        version: The package's version.

    Raises:
        ReleaseError: They differ.
    """
    if tags and not any(tag.removeprefix("v") == version for tag in tags):
        raise ReleaseError(
            f"The tag is {' and '.join(tags)}, and the package's __version__ is {version}.",
            "Correct __version__ in the package, or make the release from another tag.",
        )


def refuse_uncommitted(repository: Repository) -> None:
    """Refuse a project with changes that are not committed: nobody could tell what was released.

    Args:
        repository: The project's repository.

    Raises:
        ReleaseError: There are such changes.
    """
    changed = repository.must_tell("status", "--porcelain", "--", ".").splitlines()
    if changed:
        listed = ", ".join(line[3:] for line in changed[:5]) + (", ..." if len(changed) > 5 else "")
        raise ReleaseError(
            f"The project has changes that are not committed: {listed}.", "Commit them, or take them back."
        )


def source_of(repository: Repository, environment: Mapping[str, str]) -> str:
    """Return where the project's code is kept, without a password; nothing where it isn't known.

    Args:
        repository: The project's repository.
        environment: The user's environment.
    """
    if environment.get("GITHUB_SERVER_URL") and environment.get("GITHUB_REPOSITORY"):
        return f"{environment['GITHUB_SERVER_URL']}/{environment['GITHUB_REPOSITORY']}"
    address = environment.get("CI_PROJECT_URL") or repository.ask("remote", "get-url", "origin")
    parts = urlsplit(address)
    if parts.scheme in ("http", "https"):
        address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return address.rstrip("/").removesuffix(".git")


def who(repository: Repository, environment: Mapping[str, str]) -> dict[str, str]:
    """Return who releases: a workflow's actor, else whoever git knows.

    Args:
        repository: The project's repository.
        environment: The user's environment.
    """
    actor = environment.get("GITHUB_ACTOR") or environment.get("GITLAB_USER_LOGIN", "")
    name = actor or repository.ask("config", "user.name") or environment.get("USER", "") or "unknown"
    hidden = f"{actor}@users.noreply.github.com" if environment.get("GITHUB_ACTOR") else ""
    email = environment.get("GITLAB_USER_EMAIL") or hidden or repository.ask("config", "user.email")
    return {"by": name, "email": email or f"{re.sub(r'[^A-Za-z0-9.-]', '-', name)}@localhost"}
