"""Runs a role of the checkout with the real ansible-playbook, on this machine, and tells what its tasks said."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[1]


def interpreter() -> str:
    """This Python, by a path without a space: Ansible calls none that has one."""
    if " " not in sys.executable:
        return sys.executable
    environment = Path(sys.executable).parents[1]
    link = Path(tempfile.gettempdir()) / f"gaiaflow-tests-{hashlib.sha256(os.fsencode(environment)).hexdigest()[:8]}"
    with contextlib.suppress(FileExistsError):
        link.symlink_to(environment)
    return str(link / "bin" / Path(sys.executable).name)


# The interpreter is named, so that Ansible needn't look for one on the role's PATH.
LOCAL = f"ansible_connection=local ansible_python_interpreter={interpreter()}"


@dataclass
class Played:
    """What a playbook came to.

    Attributes:
        code: Its exit code.
        tasks: What each task that ran returned, by name.
        stats: Ansible's counts.
    """

    code: int
    tasks: dict[str, dict[str, Any]]
    stats: dict[str, int]

    @property
    def failure(self) -> dict[str, Any]:
        """What the task that failed returned."""
        # One that was rescued comes before the one that ended the run.
        return [one for one in self.tasks.values() if one.get("failed")][-1]

    @property
    def message(self) -> str:
        """What the task that failed says."""
        return self._lines()[0]

    @property
    def hint(self) -> str:
        """What it says to do next: a task can give a hint in the second line of its message alone."""
        return str(self.failure.get("hint", "")) or self._lines()[1]

    def _lines(self) -> list[str]:
        lines = self.failure["msg"]
        return [str(line) for line in lines] if isinstance(lines, list) else [str(lines), ""]

    @property
    def deferred(self) -> dict[str, str]:
        """The reasons why something is left for later, by component."""
        lists = [value for task in self.tasks.values() for key, value in task.items() if key.endswith("deferred")]
        found = [one for each in lists for one in each]
        assert all(one["finish"] for one in found)
        return {one["component"]: one["reason"] for one in found}


def play(
    directory: Path,
    role: str,
    variables: dict[str, Any],
    *options: str,
    tasks_from: str = "main",
    path: str | None = None,
    **environment: str,
) -> Played:
    """Play a role.

    Args:
        directory: Where the playbook is written; its `home` is the user's home.
        role: The role's name.
        variables: Its variables.
        options: Further options of ansible-playbook.
        tasks_from: Which of the role's task files is played.
        path: The PATH that the role sees; by default this process's.
        environment: Further environment variables.
    """
    command, whole = prepare(directory, role, variables, *options, tasks_from=tasks_from, path=path)
    environment = {**whole, **environment}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout.lstrip().startswith("{"), done.stdout + done.stderr
    told = json.loads(done.stdout[done.stdout.index("{") :])
    tasks = {task["task"]["name"]: task["hosts"]["localhost"] for one in told["plays"] for task in one["tasks"]}
    return Played(done.returncode, tasks, told["stats"]["localhost"])


def interrupt(
    directory: Path,
    role: str,
    variables: dict[str, Any],
    until: Callable[[], object],
    signum: signal.Signals,
    path: str | None = None,
    spare: tuple[str, ...] = (),
) -> None:
    """Play a role, and end Ansible with all that it has running in the middle.

    Args:
        directory: Where the playbook is written; its `home` is the user's home.
        role: The role's name.
        variables: Its variables.
        until: Tells when the middle is reached.
        signum: The signal that ends them.
        path: The PATH that the role sees; by default this process's.
        spare: Programs that live on.
    """
    command, environment = prepare(directory, role, variables, path=path)
    process = psutil.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not until():
        assert process.poll() is None and time.monotonic() < deadline, "the role has ended, or waits in vain"
        time.sleep(0.02)
    running = [one for one in (*process.children(recursive=True), process) if name_of(one) not in spare]
    for one in running:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signum)
    _, left = psutil.wait_procs(running, timeout=60)
    assert not left


def name_of(process: psutil.Process) -> str:
    """A process's name, or nothing when it has ended."""
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def prepare(
    directory: Path,
    role: str,
    variables: dict[str, Any],
    *options: str,
    tasks_from: str = "main",
    path: str | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Write a playbook, and return the command that plays it and its environment."""
    playbook = directory / "playbook.yml"
    task = {"ansible.builtin.import_role": {"name": f"gaiaflow.setup.{role}", "tasks_from": tasks_from}}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    (directory / "variables.json").write_text(json.dumps(variables))
    (directory / "home").mkdir(exist_ok=True)
    (directory / "inventory.ini").write_text(f"localhost {LOCAL}\n")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    given = ["-i", str(directory / "inventory.ini"), "-e", f"@{directory / 'variables.json'}"]
    environment = {
        "PATH": path or os.environ["PATH"],
        "HOME": str(directory / "home"),
        "LANG": "C.UTF-8",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
    }
    return [program, *given, *options, str(playbook)], environment
