#!/usr/bin/python
"""Ansible module: Miniforge in the user's home, and one environment in it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_conda
short_description: Have Miniforge and an environment of a project
description:
  - Downloads the installer, checks its checksum and runs it, where there is no conda. One that is there is used as it
    is. A site that can't be reached is no error; the installation is deferred.
  - Makes an environment from the project's C(environment.yml), or with Python alone, and brings it up to that file
    when it has changed. An environment of that name which somebody else made is left alone.
  - Needs no root and changes no shell's settings.
options:
  directory:
    description: Where Miniforge is or will be.
    type: path
    required: true
  version:
    description: The version to install.
    type: str
    required: true
  url:
    description: The installer; C({machine}) becomes x86_64 or aarch64.
    type: str
    required: true
  sha256:
    description: The installer's checksums by machine.
    type: dict
    required: true
  environment:
    description: The environment's name.
    type: str
    required: true
  python:
    description: The version of Python in an environment without an C(environment.yml).
    type: str
    required: true
  project:
    description: The directory in which an C(environment.yml) may be.
    type: path
    default: ""
  timeout:
    description: Seconds that the site may be silent for.
    type: int
    default: 30
"""

RETURN = r"""
environment:
  description: The environment's directory.
  returned: always
  type: str
deferred:
  description: What is left for later, with C(component), C(reason) and C(finish).
  returned: when the site can't be reached
  type: dict
"""

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gaiaflow import end_with_run, locked, report_progress
from ansible.module_utils.gaiaflow_download import DownloadError, UnreachableError, download, opened

MARK = ".gaiaflow-setup"
LAST_LINES = 15


class Conda:
    """Miniforge and its environment, as they are wanted.

    Args:
        params: The module's parameters.
    """

    def __init__(self, params: dict[str, Any]) -> None:
        self.directory = Path(params["directory"]).absolute()
        self.version, self.timeout = params["version"], params["timeout"]
        self.url = params["url"].replace("{machine}", platform.machine())
        self.sha256 = params["sha256"].get(platform.machine(), "")
        self.name, self.python = params["environment"], params["python"]
        self.environment = self.directory / "envs" / self.name
        self.specification = Path(params["project"]) / "environment.yml" if params["project"] else Path("/nonexistent")

    @property
    def installed(self) -> bool:
        """Whether there is a conda, made to its end."""
        return (self.directory / "bin" / "conda").exists() and not half_made(self.directory)

    @property
    def wanted(self) -> str:
        """What the environment holds, as a digest."""
        content = self.specification.read_bytes() if self.specification.exists() else f"python={self.python}".encode()
        return hashlib.sha256(content).hexdigest()

    @property
    def made(self) -> bool:
        """Whether the environment is as it is wanted, or somebody else's; without a file, one that is there does."""
        if not self.environment.is_dir() or half_made(self.environment):
            return False
        mark = self.environment / MARK
        return not (mark.exists() and self.specification.exists()) or mark.read_text() == self.wanted

    def install(self, lock: int) -> None:
        """Installs Miniforge; it can't be moved afterwards, so it is made in its place."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        installer = self.directory.with_name(f".{self.directory.name}.installer.sh")
        with making(self.directory):
            report_progress(f"downloading Miniforge {self.version}")
            download(self.url, self.sha256, installer, self.timeout)
            try:
                report_progress(f"installing Miniforge {self.version}")
                run(["bash", str(installer), "-b", "-p", str(self.directory)], "Miniforge's installer", lock)
            finally:
                installer.unlink()

    def make(self, lock: int) -> None:
        """Makes the environment, or brings it up to its file."""
        mamba = str(self.directory / "bin" / "mamba")
        report_progress(f"making the environment {self.name}")
        there = self.environment.is_dir() and not half_made(self.environment)
        with nullcontext() if there else making(self.environment):
            run([mamba, *self.arguments(there)], f"mamba, which makes the environment {self.name},", lock)
            (self.environment / MARK).write_text(self.wanted)

    def arguments(self, there: bool) -> list[str]:
        """What mamba is told."""
        common = ["--yes", "--prefix", str(self.environment)]
        if not self.specification.exists():
            return ["create", *common, f"python={self.python}"]
        action = ["update", "--prune"] if there else ["create"]
        return ["env", *action, *common, "--file", str(self.specification)]


def half_made(directory: Path) -> bool:
    """Whether an interrupted run of ours left it."""
    return making_mark(directory).exists()


def making_mark(directory: Path) -> Path:
    """The file that is there as long as the directory is being made."""
    return directory.with_name(f".{directory.name}.making")


@contextmanager
def making(directory: Path) -> Iterator[None]:
    """Marks the directory as being made; removes it when that fails."""
    if directory.exists() and not half_made(directory) and any(directory.iterdir()):
        raise DownloadError(f"{directory} is there, and nothing that gaiaflow-setup made")
    mark = making_mark(directory)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    shutil.rmtree(directory, ignore_errors=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():  # or the next run removes the rest
            mark.unlink()
        raise
    mark.unlink()


def run(command: list[str], what: str, lock: int) -> None:
    """Runs a program; its complaint becomes ours. It holds the lock, too: if it outlives this module, others wait."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[lock],
        text=True,
        errors="replace",
    )
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-LAST_LINES:])
        raise DownloadError(f"{what} ended with code {done.returncode}:\n{tail}")


def ensure(conda: Conda, check_mode: bool) -> bool:
    """Brings both to their wanted state; tells whether that was needed."""
    if conda.installed and conda.made:
        return False
    if check_mode:
        if not conda.installed:
            opened(conda.url, conda.timeout).close()
        return True
    conda.directory.parent.mkdir(parents=True, exist_ok=True)
    with locked(conda.directory.with_name(f".{conda.directory.name}.lock")) as lock:
        if not conda.installed:
            conda.install(lock)
        if not conda.made:
            conda.make(lock)
    return True


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "url": {"type": "str", "required": True},
            "sha256": {"type": "dict", "required": True},
            "environment": {"type": "str", "required": True},
            "python": {"type": "str", "required": True},
            "project": {"type": "path", "default": ""},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    end_with_run()
    conda = Conda(module.params)
    result: dict[str, Any] = {"environment": str(conda.environment)}
    try:
        result["changed"] = ensure(conda, module.check_mode)
    except UnreachableError as error:
        finish = "gaiaflow-setup workstation --conda"
        result["deferred"] = {"component": f"Miniforge {conda.version}", "reason": str(error), "finish": finish}
    except (DownloadError, OSError) as error:
        hint = "Nothing half-made was left. The site is conda_url, a mirror of packages is set in ~/.condarc."
        module.fail_json(msg=f"{error}.", hint=hint)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
