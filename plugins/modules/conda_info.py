#!/usr/bin/python
"""Ansible module: report what a user has of Miniforge, and of an environment in it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_info
short_description: Report what a user has of Miniforge, and of an environment in it
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only. It returns in one task what the role conda decides by, so that a converged host costs one task.
  - Where there is no Miniforge, its site is asked whether it has the installer; nothing is downloaded.
options:
  directory:
    description: Where Miniforge is or will be.
    type: path
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
  url:
    description: The installer; C({machine}) becomes x86_64 or aarch64. Where it is a file, nobody is asked.
    type: str
    required: true
  timeout:
    description: Seconds that the site may be silent for.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Examine Miniforge
  gaiaflow.setup.conda_info:
    directory: ~/miniforge3
    environment: gaiaflow
    python: "3.12"
    url: https://mirror.example.com/Miniforge3-Linux-{machine}.sh
  register: conda_found

- name: Show whether there is one
  ansible.builtin.debug:
    var: conda_found.kind
"""

RETURN = r"""
kind:
  description: >-
    C(installed); C(none), also where an installation was interrupted; or C(taken), where somebody else keeps something
    in the directory.
  returned: always
  type: str
directory:
  description: Where Miniforge is or will be, as an absolute path.
  returned: always
  type: str
missing_directories:
  description: The directory above it, where it isn't there.
  returned: always
  type: list
  elements: str
machine:
  description: The processor's architecture, as uname calls it.
  returned: always
  type: str
url:
  description: The installer's address for this host.
  returned: always
  type: str
site:
  description: >-
    What the site answered that was asked; C(state) is C(ok), C(unreachable) or C(refused), with C(reason) and C(hint).
  returned: always
  type: dict
environment:
  description: The environment.
  returned: always
  type: dict
  contains:
    kind:
      description: >-
        C(none), also where making it was interrupted; C(made); C(outdated), where the project's file has changed; or
        C(foreign), which somebody else made.
      type: str
    path:
      description: Its directory.
      type: str
    file:
      description: The project's C(environment.yml); empty where there is none.
      type: str
    digest:
      description: What it is to hold, as a digest.
      type: str
"""

import hashlib
import platform
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.site import ask

# What files/make_whole.sh writes: into what it has made, and beside what it has yet to complete.
STAMP = ".gaiaflow-setup"


def is_half_made(directory: Path) -> bool:
    """Return whether an interrupted run left it."""
    return directory.with_name(f".{directory.name}.making").exists()


def find_conda(directory: Path) -> str:
    """Return what there is of Miniforge."""
    if is_half_made(directory):
        return "none"
    if (directory / "bin" / "conda").exists():
        return "installed"
    return "taken" if directory.exists() and any(directory.iterdir()) else "none"


def find_environment(path: Path, file: Path | None, digest: str) -> str:
    """Return what there is of the environment; without a file, one that is there does."""
    if not path.is_dir() or is_half_made(path):
        return "none"
    stamp = path / STAMP
    if not stamp.exists():
        return "foreign"
    return "outdated" if file and stamp.read_text() != digest else "made"


def examine(params: dict[str, Any]) -> dict[str, Any]:
    """Return all that the role decides by."""
    directory = Path(params["directory"]).absolute()
    kind, url = find_conda(directory), params["url"].replace("{machine}", platform.machine())
    is_asked = kind == "none" and not url.startswith("file:")
    path, file = directory / "envs" / params["environment"], Path(params["project"], "environment.yml")
    file_there = file if params["project"] and file.exists() else None
    content = file_there.read_bytes() if file_there else f"python={params['python']}".encode()
    digest = hashlib.sha256(content).hexdigest()
    return {
        "kind": kind,
        "directory": str(directory),
        "missing_directories": [] if directory.parent.is_dir() else [str(directory.parent)],
        "machine": platform.machine(),
        "url": url,
        "site": ask(url, params["timeout"]) if is_asked else {"state": "ok", "reason": "", "hint": ""},
        "environment": {
            "kind": find_environment(path, file_there, digest),
            "path": str(path),
            "file": str(file_there or ""),
            "digest": digest,
        },
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "environment": {"type": "str", "required": True},
            "python": {"type": "str", "required": True},
            "project": {"type": "path", "default": ""},
            "url": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **examine(module.params))
    except OSError as error:
        module.fail_json(msg=f"It could not be told what there is of Miniforge: {error}", hint="Check conda_directory.")


if __name__ == "__main__":
    main()
