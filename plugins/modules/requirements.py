#!/usr/bin/python
"""Ansible module: makes a Python environment from a file of requirements."""

from __future__ import annotations

DOCUMENTATION = r"""
module: requirements
short_description: Make a Python environment from a file of requirements
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - The environment stands in a directory named after a digest of the file, so that one that is there is right.
    Hashes are required where the file has any.
options:
  requirements:
    description: The file.
    type: path
    required: true
  directory:
    description: Where environments are kept.
    type: path
    required: true
  uv:
    description: The uv program.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Make the environment that parses DAGs
  gaiaflow.setup.requirements:
    requirements: /home/me/airflow-dags/requirements.txt
    directory: ~/.local/share/gaiaflow/cdr
    uv: /usr/local/bin/uv
"""

RETURN = r"""
python:
  description: The environment's Python.
  returned: always
  type: str
"""

import hashlib
import shutil
import sys
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.common import COMPLETE, locked
from ..module_utils.environments import Uv, run_uv, uv_of
from ..module_utils.errors import SetupError


def ensure(requirements: Path, root: Path, uv: str) -> tuple[bool, Path]:
    """Make the environment where it is missing; return whether it was, and its Python.

    Args:
        requirements: The file of requirements.
        root: Where environments are kept.
        uv: The uv program.

    Raises:
        SetupError: uv failed; nothing of the environment is left.
    """
    content = requirements.read_bytes()
    digest = hashlib.sha256(sys.version.encode() + content).hexdigest()[:12]
    directory = root / f"airflow-{digest}"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(root / ".lock"):
        if (directory / COMPLETE).is_file():
            return False, directory / "bin" / "python"
        shutil.rmtree(directory, ignore_errors=True)
        try:
            fill(directory, requirements, uv_of(uv, str(root.parent / "cache" / "uv")), hashed=b"--hash=" in content)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        (directory / COMPLETE).touch()
    return True, directory / "bin" / "python"


def fill(directory: Path, requirements: Path, uv: Uv, *, hashed: bool) -> None:
    """Install what the file of requirements lists."""
    run_uv([uv.program, "venv", "--quiet", "--python", sys.executable, str(directory)], uv.environment)
    install = [uv.program, "pip", "install", "--quiet", "--compile-bytecode", *uv.options]
    install += ["--python", str(directory / "bin" / "python"), *["--require-hashes"] * hashed]
    run_uv([*install, "--requirements", str(requirements)], uv.environment)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "requirements": {"type": "path", "required": True},
            "directory": {"type": "path", "required": True},
            "uv": {"type": "path", "required": True},
        }
    )
    given = module.params
    try:
        changed, python = ensure(Path(given["requirements"]), Path(given["directory"]), given["uv"])
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    except OSError as error:
        module.fail_json(msg=f"The environment can't be made: {error}", hint="Check the file and the directory.")
    module.exit_json(changed=changed, python=str(python))


if __name__ == "__main__":
    main()
