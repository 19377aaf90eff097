#!/usr/bin/python
"""Ansible module: remove credential helpers and the choice of a context from a user's settings of Docker."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_docker_client
short_description: Remove credential helpers and the choice of a context from a user's settings of Docker
description:
  - All else in the file stays, its mode and its owner too; a backup is kept beside it.
  - The file holds passwords, which reach neither Ansible nor a log nor a diff.
options:
  path:
    description: The settings, a C(config.json).
    type: path
    required: true
  helpers:
    description: The credential helpers that are to go.
    type: list
    elements: str
    default: []
  context:
    description: Whether the choice of a context is to go, so that Docker's default one is used.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Remove what Docker Desktop has left
  gaiaflow_docker_client:
    path: ~/.docker/config.json
    helpers: [desktop.exe]
    context: true
"""

RETURN = r"""
removed:
  description: The keys that are gone.
  returned: always
  type: list
  elements: str
"""

import json
import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gaiaflow_docker_config import read_config, without_context, without_helpers


def write(path: Path, config: dict[str, Any]) -> None:
    """Write the settings in place of the old ones, with their owner and mode; indented as Docker does it."""
    new, old = path.with_name(f".{path.name}.new"), path.stat()
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(config, indent="\t"))
    os.chown(new, old.st_uid, old.st_gid)
    new.chmod(old.st_mode & 0o7777)
    new.replace(path)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "helpers": {"type": "list", "elements": "str", "default": []},
            "context": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    try:
        before = read_config(path)
        after = without_helpers(before, module.params["helpers"])
        after = without_context(after) if module.params["context"] else after
        if after != before and not module.check_mode:
            module.backup_local(str(path))
            write(path, after)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"Docker's settings could not be repaired: {error}", hint=f"Check {path}.")
    module.exit_json(changed=after != before, removed=sorted(set(before) - set(after)))


if __name__ == "__main__":
    main()
