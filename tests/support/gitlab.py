"""gitlab-ci-local: a project's pipeline, run as GitLab runs it, in containers of this machine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from act import SOURCES

# What a job and its service share, as a runner of GitLab's is told to.
CERTIFICATES = "gaiaflow-test-certificates"
# This machine's engine, which the service `docker` hands on, and what jobs keep.
SOCKET = "/var/run/docker.sock:/run/engine.sock"
SETTINGS = {"UV_SYSTEM_CERTS": "1", "UV_CACHE_DIR": "/cache/uv", "PIP_CACHE_DIR": "/cache/pip"}


@dataclass
class GitLab:
    """gitlab-ci-local, and what a project's settings would hold.

    Attributes:
        program: Its program.
        project: The project's checkout.
        directory: For all that is written.
        volumes: More volumes of the jobs, as Docker takes them.
        variables: The project's CI/CD variables.
    """

    program: Path
    project: Path
    directory: Path
    volumes: list[str]
    variables: dict[str, str] = field(repr=False)

    def run(self, *jobs: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a pipeline to its end.

        Args:
            jobs: These jobs alone.
            variables: Variables that differ in this run; GitLab's own among them, such as CI_COMMIT_TAG.
        """
        places = {name: os.environ[name] for name in SOURCES if name in os.environ}
        # In the file of variables, a value that begins with a slash is a file.
        given = [f"--variable={name}={value}" for name, value in {**places, **SETTINGS}.items()]
        volumes = [f"--volume={volume}" for volume in (f"{CERTIFICATES}:/certs", SOCKET, *self.volumes)]
        return self._call({**self.variables, **variables}, *given, *volumes, *jobs)

    def jobs(self, **variables: str) -> list[str]:
        """Return the names of the jobs that a pipeline has."""
        listed = self._call(variables, "--list-csv")
        assert listed.returncode == 0, listed.stdout
        return [line.partition(";")[0] for line in listed.stdout.splitlines() if ";" in line][1:]

    def _call(self, variables: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        file = self.directory / "gitlab-variables.yml"
        file.touch(mode=0o600)
        # YAML reads JSON.
        file.write_text(json.dumps(variables))
        # It takes paths that begin at the project.
        settings, state = (os.path.relpath(path, self.project) for path in (file, self.directory / "gitlab-state"))
        # A pipeline of a tag has no branch.
        unset = ["--unset-variable=CI_COMMIT_BRANCH"] if "CI_COMMIT_TAG" in variables else []
        command: list[str | Path] = [
            self.program, f"--home={self.directory}", f"--state-dir={state}", f"--variables-file={settings}",
            "--umask=false", "--pull-policy=if-not-present", "--helper-image=python:3.13-slim", *unset, *options,
        ]  # fmt: skip
        return subprocess.run(
            command, cwd=self.project, env={**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "0"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800, check=False,
        )  # fmt: skip
