"""A small content directory, to run the real command line and the real Ansible on playbooks of a test's own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[2] / "gaiaflow_py"

LAUNCHER_FILES = ("gaiaflow-setup", "plugins/module_utils/package_sources.py")


SERVICES = Path("roles/mlops/vars/main/services")


def copy_launcher(root: Path) -> None:
    """Copy the launcher into a checkout of a test's own, with what it calls as it installs.

    Args:
        root: The checkout.
    """
    for name in LAUNCHER_FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE.parent / name, root / name)


def mark_as_ready(root: Path) -> None:
    """Write what the launcher writes when the environment of a checkout is complete.

    Args:
        root: The checkout, with the launcher, its lock file and a `.venv`.
    """
    shutil.copy(root / "requirements" / "cli.txt", root / ".venv" / "requirements.txt")
    (collections,) = re.findall(r"^collections='(.*)'$", (root / "gaiaflow-setup").read_text(), re.MULTILINE)
    (root / ".venv" / "collections.txt").write_text(f"{collections}\n")


INVENTORY = """
all:
  hosts:
    localhost:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""


def script_of(package: Path, *arguments: str) -> list[str]:
    """Return the command line that runs gaiaflow-setup as the launcher does, from a package that isn't installed."""
    return [sys.executable, "-I", str(package / "isolated.py"), "gaiaflow_py", *arguments]


class Content:
    """A checkout with nothing but the command line and the test's own playbooks.

    Args:
        root: An empty directory for everything, the user's home included.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / "a check out"
        self.home = root / "data" / "gaiaflow"
        self.user = root / "user"
        self.temporary = root / "t"
        for directory in (self.root / "playbooks", self.root / "inventory", self.user, self.temporary):
            directory.mkdir(parents=True)
        for name in ("gaiaflow_py", "plugins", "ansible_collections"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PACKAGE.with_name(name), self.root / name, symlinks=True, ignore=ignored)
        shutil.copytree(PACKAGE.parent / SERVICES, self.root / SERVICES)
        (self.root / "inventory" / "local.yml").write_text(INVENTORY)
        (self.root / "ansible.cfg").write_text("[defaults]\ninject_facts_as_vars = False\n")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.user),
            "GAIAFLOW_HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(self.root),
            "LANG": "C.UTF-8",
        }

    def playbook(self, name: str, tasks: str) -> None:
        """Write a playbook of some tasks (given as YAML, without indentation)."""
        head = ["- hosts: all", "  gather_facts: false", "  tasks:"]
        body = "\n".join(head + [f"    {line}" for line in tasks.strip().splitlines()])
        (self.root / "playbooks" / f"{name}.yml").write_text(body + "\n")

    def checkouts_own(self, playbook: str, role: str) -> None:
        """Copy a playbook of the checkout, the role that it plays, and what that needs."""
        for name in (f"playbooks/{playbook}.yml", "ansible.cfg", "galaxy.yml", "inventory/group_vars/all/main.yml"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PACKAGE.parent / name, self.root / name)
        for name in ("shared", role):
            shutil.copytree(PACKAGE.parent / "roles" / name, self.root / "roles" / name)

    def instance(self, name: str = "default") -> Path:
        """Make what a started instance leaves behind."""
        directory = self.home / "instances" / name
        (directory / "logs").mkdir(parents=True)
        urls = {"airflow": "http://127.0.0.1:8080", "mlflow": "http://127.0.0.1:5000"}
        kept = {"ports": {"airflow": 8080}, "project": None, "runtime": "native", "urls": urls}
        (directory / "instance.json").write_text(json.dumps(kept))
        credentials = {
            "airflow": {"user": "admin", "password": "pw-of-airflow"},
            "internal": {"postgres": "never-shown"},
        }
        (directory / "credentials.json").write_text(json.dumps(credentials))
        return directory

    def stopped_instance(self, name: str = "default") -> Path:
        """Make what an instance leaves behind whose services have run, and are stopped."""
        directory = self.instance(name)
        record = json.loads((directory / "instance.json").read_text())
        (directory / "instance.json").write_text(json.dumps({**record, "sockets": str(directory / "run")}))
        python = directory / "base" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
        services = {
            "mlflow": {"service": "mlflow", "port": 1, "health": {"path": "/health"}, "url": "http://127.0.0.1:5000"},
            "postgres": {"service": "airflow", "port": 1, "health": {"tcp": True}},
        }
        (directory / "config").mkdir()
        definition = {"services": services, "environments": {"base": str(python.parents[1])}}
        (directory / "config" / "services.json").write_text(json.dumps(definition))
        return directory

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs gaiaflow-setup."""
        return [sys.executable, "-m", "gaiaflow_py", *arguments]

    def run(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run gaiaflow-setup to its end, with the given input and nobody at the keyboard."""
        return self._run(self.command(*arguments), input)

    def python(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a Python script that can import the package."""
        return self._run([sys.executable, "-c", script, *arguments], None)

    def _run(self, command: list[str], given: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment,
            cwd=self.user,  # not the checkout: Python would import that one's package
            input=given or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run a command with --json and return its document."""
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        document = json.loads(done.stdout)
        assert isinstance(document, dict)
        return document

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start gaiaflow-setup and leave it running."""
        with subprocess.Popen(
            self.command(*arguments), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.user, stdin=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)

    def logs(self) -> list[Path]:
        """Return the log files that were kept."""
        return sorted((self.home / "logs").glob("*.log"))

    def leftovers(self) -> list[Path]:
        """Return what is left in the temporary directory."""
        return list(self.temporary.iterdir())


@pytest.fixture
def content(tmp_path: Path) -> Content:
    """Return an empty content directory."""
    return Content(tmp_path)


def wait_for(condition: Callable[[], object], seconds: float = 120.0, met: Callable[[], object] = str) -> None:
    """Wait until a condition holds, and fail when it doesn't in time, with what was met instead."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain {met()}"
        time.sleep(0.05)


def is_running(*words: str) -> bool:
    """Return whether a live process has all these words in its command line."""
    return bool(processes(*words))


def processes(*words: str) -> list[int]:
    """Return the processes that have all these words in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = entry.read_text().split("\0")
            if all(word in line for word in words):
                found.append(int(entry.parent.name))
    return found
