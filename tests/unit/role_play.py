"""Runs a role of the checkout with the real ansible-playbook, on this machine, and tells what its tasks said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# The interpreter is named, so that Ansible needn't look for one on the role's PATH.
LOCAL = f"ansible_connection=local ansible_python_interpreter={sys.executable}"


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
        return next(one for one in self.tasks.values() if one.get("failed"))

    @property
    def deferred(self) -> dict[str, str]:
        """The reasons why something is left for later, by component."""
        found = [one for task in self.tasks.values() for one in task.get("deferred", [])]
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
    """Plays a role.

    Args:
        directory: Where the playbook is written; its `home` is the user's home.
        role: The role's name.
        variables: Its variables.
        options: Further options of ansible-playbook.
        tasks_from: Which of the role's task files is played.
        path: The PATH that the role sees; by default this process's.
        environment: Further environment variables.
    """
    playbook = directory / "playbook.yml"
    task = {"ansible.builtin.import_role": {"name": role, "tasks_from": tasks_from}}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    (directory / "variables.json").write_text(json.dumps(variables))
    (directory / "home").mkdir(exist_ok=True)
    (directory / "inventory.ini").write_text(f"localhost {LOCAL}\n")
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", directory / "inventory.ini", "-e", f"@{directory / 'variables.json'}", *options, playbook],
        env={
            "PATH": path or os.environ["PATH"],
            "HOME": str(directory / "home"),
            "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            **environment,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.lstrip().startswith("{"), done.stdout + done.stderr
    told = json.loads(done.stdout[done.stdout.index("{") :])
    tasks = {task["task"]["name"]: task["hosts"]["localhost"] for one in told["plays"] for task in one["tasks"]}
    return Played(done.returncode, tasks, told["stats"]["localhost"])
