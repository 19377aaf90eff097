"""Releases to a company whose Airflow runs in the cluster: by a project's own workflow, and by hand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from act import Act
from airflow_in_cluster import CDR, REGISTRY, TEAM
from clusters import Cluster
from companies import AUTHOR, build_wheel
from git_over_http import GitServer, git
from stack import CHECKOUT

BUILD = CHECKOUT / "tests" / "release" / "build"
# The registry of these tests asks for none, and the workflow takes GitHub's own where it is given none.
LOGIN = {"REGISTRY_USER": "releases", "REGISTRY_PASSWORD": "none-is-asked-for"}


@dataclass
class Releases:
    """What makes releases.

    Attributes:
        cluster: The cluster that they end up in.
        act: The runner of workflows.
        git: The server with the central DAG repository.
    """

    cluster: Cluster
    act: Act
    git: GitServer

    def by_workflow(self, project: Path, tag: str) -> None:
        """Publish a release as on GitHub; AssertionError with the workflow's log when it fails."""
        git("-C", str(project), "tag", tag)
        name = project.name.replace(" ", "-")
        described = {"name": name, "full_name": f"{TEAM}/{name}", "private": True, "default_branch": "main"}
        payload = {"action": "published", "release": {"tag_name": tag}, "repository": described}
        done = self.act.run(project, "release", payload, project / ".github" / "workflows" / "release.yml")
        assert done.returncode == 0, done.stdout

    def by_hand(self, project: Path) -> dict[str, Any]:
        """Release what is committed; return what was said of it."""
        self._release("image", project)
        return self._release("dags", project)

    def roll_back(self, project: Path, version: str) -> dict[str, Any]:
        """Go back to an earlier version; return what was said of it."""
        return self._release("rollback", project, version)

    def _release(self, *words: Any) -> dict[str, Any]:
        # The stack's Airflow is the company's, too: its own environment parses the DAGs as well as a new one.
        action, project, *more = words
        airflow = f"dag_repository_python={self.cluster.stack.program('airflow', 'python')}"
        options = ["--project", str(project), "-e", airflow, "--json"]
        done = self.cluster.setup("release", action, *more, *options, GAIAFLOW_CDR_TOKEN=self.git.token)
        told: dict[str, Any] = json.loads(done.stdout)["release"]
        return told


def make_releases(cluster: Cluster, server: GitServer, directory: Path) -> Releases:
    """Build the runner of workflows, and the wheel of the product that they install.

    Args:
        cluster: The cluster that releases end up in.
        server: The server with the central DAG repository.
        directory: An empty directory.
    """
    built = subprocess.run([BUILD], stdout=subprocess.PIPE, text=True, check=True, timeout=1800).stdout
    tools, wheels = Path(built.strip()), directory / "wheels"
    wheels.mkdir()
    (tools / "cache").mkdir(exist_ok=True)
    wheel = build_wheel(wheels)
    variables = {"GAIAFLOW_SETUP": f"gaiaflow-setup[aws] @ file:///wheels/{wheel.name}", "ATTESTATIONS": "false"}
    secrets = {**LOGIN, "CDR_TOKEN": server.token}
    return Releases(cluster, Act(tools / "bin/act", tools / "cache", wheels, directory, variables, secrets), server)


def begin_repository(project: Path) -> None:
    """Commit all of a project, as it is, to a new repository; act knows its name by GitHub's addresses alone."""
    git("init", "--quiet", "--initial-branch=main", str(project))
    git(
        "-C",
        str(project),
        "remote",
        "add",
        "origin",
        f"https://github.com/{TEAM}/{project.name.replace(' ', '-')}.git",
    )
    commit(project, "Begin")
    git("-C", str(project), "tag", "begun")


def end_repository(project: Path) -> None:
    """Bring a project back to its first commit, and forget the others."""
    git("-C", str(project), "reset", "--quiet", "--hard", "begun")
    shutil.rmtree(project / ".git")


def say_where(server: GitServer, project: Path, settings: str) -> None:
    """Say in prod.yaml where a project runs and its releases go, and commit it.

    Args:
        server: The server with the central DAG repository.
        project: The project's directory.
        settings: What prod.yaml says beside that.
    """
    (dags,) = (project / "dags").glob("*_dags")
    release = {"registry": f"{REGISTRY}/{TEAM}", "dag_repository": server.url(CDR), "owners": ["@team"]}
    (dags / "prod.yaml").write_text(settings + yaml.safe_dump({"release": release}))
    commit(project, "Say where it runs in production")


def commit(project: Path, message: str) -> None:
    """Commit all that has changed in a project."""
    git("-C", str(project), "add", "--all")
    git("-C", str(project), "commit", "--quiet", "--message", message, **AUTHOR)


def raise_version(project: Path, version: str) -> None:
    """Give a project another version, and commit all that has changed."""
    (source,) = (project / "src").glob("*/__init__.py")
    source.write_text(re.sub(r'(__version__.*= ")[^"]+', rf"\g<1>{version}", source.read_text()))
    commit(project, f"Version {version}")
