#!/usr/bin/python
"""Ansible module: whether this machine can carry the stack."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check that the machine can carry the stack
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only. All that is missing is named in one message.
options:
  home:
    description: Where the stack is or will be kept.
    type: path
    required: true
  memory_mb:
    description: Megabytes of memory that the machine must have.
    type: int
    required: true
  disk_mb:
    description: Megabytes that must be free where the stack is kept, unless it is there already.
    type: int
    required: true
  controller:
    description: The processor of the machine that Ansible runs on; empty where that is this one.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Check that the machine can carry the stack
  gaiaflow.setup.preflight:
    home: ~/.local/share/gaiaflow
    memory_mb: 3000
    disk_mb: 4000
  register: machine
"""

RETURN = r"""
privileged:
  description: Whether tasks can become root without a password of the user's.
  returned: always
  type: bool
wsl:
  description: Whether this is a WSL distribution.
  returned: always
  type: bool
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.machine import ARCHITECTURES, existing, is_wsl, memory_mb

PYTHON_VERSIONS = ((3, 11), (3, 14))


def platform_problems(controller: str) -> Iterator[str]:
    """Yield what is wrong with the kind of machine."""
    if sys.platform != "linux":
        yield f"This is {platform.system()}; the stack runs on Linux, and on Windows inside WSL 2."
    if platform.machine() not in ARCHITECTURES:
        yield f"The processor is {platform.machine()}; allowed are {', '.join(sorted(ARCHITECTURES))}."
    elif controller and controller != platform.machine():
        yield (
            f"The processor is {platform.machine()}, and {controller} on the machine that Ansible runs on, from which"
            " programs are carried; use one of the same kind, or run gaiaflow-setup on the host itself."
        )
    lowest, highest = PYTHON_VERSIONS
    if not lowest <= sys.version_info[:2] <= highest:
        yield f"Python is {platform.python_version()}; allowed are 3.{lowest[1]} to 3.{highest[1]}."
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        yield "As root, PostgreSQL needs the program setpriv (package util-linux) to run as an ordinary user."


def resource_problems(home: Path, needed_memory: int, needed_disk: int) -> Iterator[str]:
    """Yield what the machine has too little of."""
    memory = memory_mb()
    if memory is not None and memory < needed_memory:
        yield f"There are {memory} MB of memory; {needed_memory} are needed (preflight_memory_mb)."
    place = existing(home)
    if not os.access(place, os.W_OK | os.X_OK):
        yield f"{place} is not writable; GAIAFLOW_HOME can name another directory."
        return
    free = shutil.disk_usage(place).free // 2**20
    if free < needed_disk and not (home / "environments").exists():
        yield f"On the disk of {place} {free} MB are free; {needed_disk} are needed (preflight_disk_mb)."


def is_privileged() -> bool:
    """Whether tasks can become root here and now."""
    if os.geteuid() == 0:
        return True
    sudo = shutil.which("sudo")
    return bool(sudo) and not subprocess.run([str(sudo), "-n", "true"], capture_output=True).returncode


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "memory_mb": {"type": "int", "required": True},
            "disk_mb": {"type": "int", "required": True},
            "controller": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    home = Path(module.params["home"]).absolute()
    problems = [
        *platform_problems(module.params["controller"]),
        *resource_problems(home, module.params["memory_mb"], module.params["disk_mb"]),
    ]
    if problems:
        module.fail_json(
            msg=" ".join(problems), hint="Nothing was changed. Correct this and run the same command again."
        )
    module.exit_json(changed=False, privileged=is_privileged(), wsl=is_wsl())


if __name__ == "__main__":
    main()
