#!/usr/bin/python
"""Ansible module: the troubles that are known of machines with Docker, Minikube and the stack, found and mended."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_doctor
short_description: Find, explain and repair known troubles
description:
  - Runs all checks at once, each in a thread of its own and with a limit of five seconds, and changes nothing
    unless O(fix).
  - Repairs what the user may repair, and looks again. What only root may repair is named in RV(for_root), for a
    second task with C(become).
  - In check mode nothing is ever repaired.
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
  fix:
    description: Repair what is wrong and can be repaired.
    type: bool
    default: false
  only:
    description: The ids of the checks that are run; all when empty.
    type: list
    elements: str
    default: []
  root:
    description: Where the machine's files are.
    type: path
    default: /
"""

RETURN = r"""
findings:
  description:
    - What each check found; C(id), C(title), C(state), C(message), C(why) and C(repair).
    - C(state) is C(ok), C(wrong), C(fixed) or C(unknown).
  returned: always
  type: list
for_root:
  description: The ids of what O(fix) would repair if it were root.
  returned: always
  type: list
sudo:
  description: Whether the user becomes root without being asked for a password.
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
from ansible.module_utils.gaiaflow_doctor.catalogue import CHECKS
from ansible.module_utils.gaiaflow_doctor.core import Check, Context, Doctor, is_root

SUDO_S = 5.0


def chosen(only: list[str]) -> list[Check]:
    """The checks of these ids."""
    known = [check.id for check in CHECKS]
    strange = [one for one in only if one not in known]
    if strange:
        raise ValueError(f"There is no check {strange[0]!r}; the checks are {', '.join(known)}.")
    return [check for check in CHECKS if not only or check.id in only]


def context(params: dict[str, Any]) -> Context:
    """What the checks are told."""
    account = pwd.getpwnam(params["user"]) if params["user"] else pwd.getpwuid(os.geteuid())
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
    """The ports as numbers."""
    for name, port in ports.items():
        if not str(port).isdigit() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{port!r} is no port for {name}: a port is a whole number from 1 to 65535.")
    return {name: int(port) for name, port in ports.items()}


def becomes_root() -> bool:
    """Whether sudo works without a password."""
    if is_root() or not shutil.which("sudo"):
        return bool(is_root())
    try:
        done = subprocess.run(
            ["sudo", "-n", "true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=SUDO_S
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> None:
    """Runs the module."""
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
            "fix": {"type": "bool", "default": False},
            "only": {"type": "list", "elements": "str", "default": []},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    try:
        about, checks = context(module.params), chosen(module.params["only"])
    except KeyError:
        module.fail_json(msg=f"There is no user {module.params['user']!r} on this machine.", hint="See doctor_user.")
    except ValueError as error:
        module.fail_json(msg=str(error), hint="See the variables of the role doctor.")
    doctor = Doctor(about, checks)
    doctor.look()
    fix = module.params["fix"] and not module.check_mode
    if fix:
        doctor.mend()
    for_root = doctor.for_root()
    findings = doctor.report()
    for finding in findings:
        if finding["state"] == "wrong":
            module.warn(f"{finding['title']}: {finding['message']} What to do: {finding['repair']}")
    module.exit_json(
        changed=bool(doctor.done),
        findings=findings,
        for_root=for_root,
        sudo=bool(fix and for_root and becomes_root()),
        home=str(about.home),
        user=about.user,
        user_home=str(about.user_home),
    )


if __name__ == "__main__":
    main()
