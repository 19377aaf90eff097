#!/usr/bin/python
"""Ansible module: finds the troubles that are known of machines with Docker, Minikube and the stack."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_info
short_description: Find and explain known troubles
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Runs all checks at once, each in a thread of its own and with a limit of five seconds. Changes nothing.
  - What a role can repair is named in RV(repairs), with all that it needs for that.
options:
  home:
    description: Where the stack is kept.
    type: path
    required: true
  user:
    description: Whose troubles are looked for; by default the user that the module runs as.
    type: str
    default: ""
  user_home:
    description: That user's home directory, if it isn't the account's.
    type: path
    default: ""
  ports:
    description: The ports that the stack wants, by name.
    type: dict
    default: {}
  memory_mb:
    description: Megabytes of memory that the machine must have.
    type: int
    default: 3000
  disk_mb:
    description: Megabytes of disk that a new stack, and Docker's images, need.
    type: int
    default: 4000
  inotify_watches:
    description: The least that fs.inotify.max_user_watches must be.
    type: int
    default: 65536
  inotify_instances:
    description: The least that fs.inotify.max_user_instances must be.
    type: int
    default: 128
  minikube_profile:
    description: The Minikube profile that is looked at.
    type: str
    default: airflow
  only:
    description: The ids of the checks that are run; all when empty.
    type: list
    elements: str
    default: []
  leave_out:
    description: The ids of checks that are not run.
    type: list
    elements: str
    default: []
  ask_sudo:
    description: Find out whether the user becomes root without a password, if a repair takes root.
    type: bool
    default: false
  attempts:
    description:
      - The repairs that have been tried. What is well since then has the state C(fixed); what isn't says why.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: The check's id.
        type: str
        required: true
      become:
        description: Whether it was tried as root.
        type: bool
        default: false
      done:
        description: What was done; empty when it failed.
        type: str
        default: ""
      error:
        description: Why it failed; empty when it didn't.
        type: str
        default: ""
  root:
    description: Where the machine's files are.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: Look for what keeps containers from working
  gaiaflow.setup.doctor_info:
    home: /home/alice/.local/share/gaiaflow
    only: [docker_daemon, docker_socket, docker_group]
  register: found
"""

RETURN = r"""
findings:
  description:
    - What each check found; C(id), C(title), C(state), C(message), C(why) and C(repair).
    - C(state) is C(ok), C(wrong), C(fixed) or C(unknown).
  returned: always
  type: list
repairs:
  description:
    - What can be repaired and hasn't been tried; C(id), C(become) (whether it takes becoming root), C(done) (what is
      said of it afterwards) and C(data), which differs from check to check.
  returned: always
  type: list
sudo:
  description: Whether the user becomes root without being asked for a password, if O(ask_sudo) and a repair takes root.
  returned: always
  type: bool
home:
  description: Where the stack is kept, as an absolute path.
  returned: always
  type: str
user:
  description: Whose troubles were looked for.
  returned: always
  type: str
user_home:
  description: That user's home directory.
  returned: always
  type: str
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.doctor.catalogue import CHECKS
from ..module_utils.doctor.core import Check, Context, describe, describe_repair, examine, is_root
from ..module_utils.errors import SetupError

SUDO_S = 5.0


class SelectionError(SetupError):
    """The role's variables name something that isn't there."""

    def __init__(self, message: str, hint: str = "See the variables of the role doctor.") -> None:
        super().__init__(message, hint)


def select(only: list[str], leave_out: list[str]) -> list[Check]:
    """Return the checks to run.

    Args:
        only: The ids of the checks that are run; all when empty.
        leave_out: The ids of those that aren't.

    Raises:
        SelectionError: There is no such check.
    """
    known = [check.id for check in CHECKS]
    strange = [id for id in [*only, *leave_out] if id not in known]
    if strange:
        raise SelectionError(f"There is no check {strange[0]!r}; the checks are {', '.join(known)}.")
    return [check for check in CHECKS if (not only or check.id in only) and check.id not in leave_out]


def make_context(params: dict[str, Any]) -> Context:
    """Return what the checks are given.

    Raises:
        SelectionError: There is no such user, or a port is none.
    """
    try:
        account = pwd.getpwnam(params["user"]) if params["user"] else pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise SelectionError(f"There is no user {params['user']!r} on this machine.", "See doctor_user.") from error
    own = Path.home() if account.pw_uid == os.geteuid() else account.pw_dir
    return Context(
        root=Path(params["root"]),
        home=Path(params["home"]).absolute(),
        user=account.pw_name,
        user_home=Path(params["user_home"] or own),
        ports=checked_ports(params["ports"]),
        memory_mb=params["memory_mb"],
        disk_mb=params["disk_mb"],
        inotify={"max_user_watches": params["inotify_watches"], "max_user_instances": params["inotify_instances"]},
        minikube_profile=params["minikube_profile"],
    )


def checked_ports(ports: dict[str, Any]) -> dict[str, int]:
    """Return the ports as numbers.

    Raises:
        SelectionError: One is none.
    """
    for name, port in ports.items():
        if not str(port).isdigit() or not 1 <= int(port) <= 65535:
            raise SelectionError(f"{port!r} is no port for {name}: a port is a whole number from 1 to 65535.")
    return {name: int(port) for name, port in ports.items()}


def becomes_root() -> bool:
    """Return whether sudo works without a password."""
    if is_root() or not shutil.which("sudo"):
        return bool(is_root())
    try:
        done = subprocess.run(
            ["sudo", "-n", "true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=SUDO_S
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def look(context: Context, checks: list[Check], params: dict[str, Any]) -> dict[str, Any]:
    """Return the module's result.

    Args:
        context: What the checks are given.
        checks: The checks to run.
        params: The module's options.
    """
    found = examine(context, checks)
    tried = {attempt["id"]: attempt for attempt in params["attempts"]}
    empty = {"done": "", "error": ""}
    outcomes = {check.id: tried.get(check.id, empty) for check in checks}
    findings = [
        describe(check, found[check.id], outcomes[check.id]["done"], outcomes[check.id]["error"]) for check in checks
    ]
    repairs = [
        repair
        for check in checks
        if check.id not in tried and (repair := describe_repair(check, found[check.id])) is not None
    ]
    takes_root = any(repair["become"] for repair in repairs)
    return {
        "findings": findings,
        "repairs": repairs,
        "sudo": params["ask_sudo"] and takes_root and becomes_root(),
        "home": str(context.home),
        "user": context.user,
        "user_home": str(context.user_home),
    }


def main() -> None:
    """Run the module."""
    attempt = {
        "id": {"type": "str", "required": True},
        "become": {"type": "bool", "default": False},
        "done": {"type": "str", "default": ""},
        "error": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "user": {"type": "str", "default": ""},
            "user_home": {"type": "path", "default": ""},
            "ports": {"type": "dict", "default": {}},
            "memory_mb": {"type": "int", "default": 3000},
            "disk_mb": {"type": "int", "default": 4000},
            "inotify_watches": {"type": "int", "default": 65536},
            "inotify_instances": {"type": "int", "default": 128},
            "minikube_profile": {"type": "str", "default": "airflow"},
            "only": {"type": "list", "elements": "str", "default": []},
            "leave_out": {"type": "list", "elements": "str", "default": []},
            "ask_sudo": {"type": "bool", "default": False},
            "attempts": {"type": "list", "elements": "dict", "default": [], "options": attempt},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        result = look(make_context(params), select(params["only"], params["leave_out"]), params)
    except SelectionError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    for finding in result["findings"]:
        if finding["state"] == "wrong":
            module.warn(f"{finding['title']}: {finding['message']} What to do: {finding['repair']}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
