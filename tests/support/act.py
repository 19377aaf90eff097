"""act: a project's workflows, run as GitHub runs them, in containers of this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RUNNER = "gaiaflow-test/runner:1"
# Where packages come from on this machine, and by whose certificates: jobs install from there, too.
SOURCES = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_STRATEGY",
    "UV_INSECURE_HOST", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
# Where the workflows install the product: tens of thousands of files, which would take the engine long to remove.
SCRATCH = "--tmpfs /tmp/gaiaflow:exec"
# A job's environments are gone with its container: linked from the cache, they cost no copying.
SETTINGS = {
    "UV_SYSTEM_CERTS": "1", "UV_LINK_MODE": "symlink", "UV_CACHE_DIR": "/cache/uv", "PIP_CACHE_DIR": "/cache/pip",
    "GAIAFLOW_HOME": "/cache/home",
}  # fmt: skip


@dataclass
class Act:
    """act, and what a repository's settings would hold.

    Attributes:
        program: act's program.
        cache: What jobs keep from one run to the next: packages.
        wheels: The folder that holds the product's wheel.
        directory: For the files that are handed to act.
        variables: The repository's variables.
        secrets: The repository's secrets.
        environment: More environment of all jobs.
        arguments: What was on any process's command line while it ran.
    """

    program: Path
    cache: Path
    wheels: Path
    directory: Path
    variables: dict[str, str]
    secrets: dict[str, str] = field(repr=False)
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    arguments: set[str] = field(default_factory=set, repr=False)

    def run(
        self, project: Path, event: str, payload: Mapping[str, Any], workflow: Path, *options: str, **secrets: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a workflow to its end.

        Args:
            project: The repository's checkout.
            event: What happened, such as `release`.
            payload: The event, as GitHub describes it.
            workflow: The workflow's file.
            options: More options, such as `--dryrun`.
            secrets: Secrets that differ in this run.
        """
        event_file = self.directory / "event.json"
        event_file.write_text(json.dumps(payload))
        places = {name: os.environ[name] for name in SOURCES if name in os.environ}
        command: Sequence[str | Path] = [
            self.program, event, "--directory", project, "--workflows", workflow, "--eventpath", event_file,
            "--platform", f"ubuntu-latest={RUNNER}", "--pull=false", "--rm", "--no-cache-server", "--actor", "octo",
            "--action-cache-path", self.directory / "actions",
            "--env-file", self._file("env", {**places, **SETTINGS, **self.environment}),
            "--var-file", self._file("variables", self.variables),
            "--secret-file", self._file("secrets", {**self.secrets, **secrets}),
            "--container-options", f"-v {self.wheels}:/wheels:ro -v {self.cache}:/cache {SCRATCH}", *options,
        ]  # fmt: skip
        with self._watched():
            return subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=1800
            )

    def _file(self, name: str, content: Mapping[str, str]) -> Path:
        file = self.directory / name
        file.touch(mode=0o600)
        file.write_text("".join(f"{key}={value}\n" for key, value in content.items()))
        return file

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Note the command lines of all processes of this machine: those in containers are among them."""
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(0.1):
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    try:
                        self.arguments.add((process / "cmdline").read_text(errors="replace"))
                    except OSError:
                        continue


def steps(log: str, outcome: str = "Success") -> list[str]:
    """Return the names of the steps that ended in this way.

    Args:
        log: What act printed.
        outcome: `Success` or `Failure`.
    """
    return re.findall(rf"{outcome} - Main (.+?)(?: \[[^\]]+\])?$", log, re.MULTILINE)
