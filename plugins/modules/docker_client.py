#!/usr/bin/python
"""Ansible module: takes settings of Docker's command line back that lead nowhere."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_client
short_description: Take back settings of Docker's command line that lead nowhere
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Removes settings from a user's config.json. Everything else in it stays, and so do its owner, mode and order.
  - The file as it was is kept beside it, for its owner alone, as it may hold passwords.
options:
  path:
    description: The file, mostly ~/.docker/config.json.
    type: path
    required: true
  helpers:
    description: Names of credential helpers that C(credsStore) and C(credHelpers) no longer name.
    type: list
    elements: str
    default: []
  context:
    description: Whether the choice of a context is taken back, so that Docker's default one is used.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Forget the credential helper of Docker Desktop
  gaiaflow.setup.docker_client:
    path: /home/alice/.docker/config.json
    helpers: [desktop.exe]
"""

RETURN = r"""
backup_file:
  description: The file as it was.
  returned: changed and not in check mode
  type: str
"""

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.common import write_private
from ..module_utils.docker_config import read_config, without_context, without_helpers
from ..module_utils.errors import RepairError


def change(content: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without those that are taken back."""
    better: dict[str, Any] = without_helpers(content, params["helpers"])
    return without_context(better) if params["context"] else better


def write(module: AnsibleModule, path: Path, content: dict[str, Any]) -> str:
    """Write the settings in place of the old ones, and return the path where those are kept."""
    before = path.stat()
    kept: str = module.backup_local(str(path))
    Path(kept).chmod(0o600)
    # Indented as Docker does it.
    write_private(path, json.dumps(content, indent="\t") + "\n")
    path.chmod(before.st_mode & 0o7777)
    module.set_owner_if_different(str(path), before.st_uid, False)
    module.set_group_if_different(str(path), before.st_gid, False)
    return kept


def repair(module: AnsibleModule) -> dict[str, Any]:
    """Change the settings, and return the module's result.

    Raises:
        RepairError: They can't be read or written.
    """
    path = Path(module.params["path"])
    try:
        content = read_config(path)
        better = change(content, module.params)
        if better == content or module.check_mode:
            return {"changed": better != content}
        return {"changed": True, "backup_file": write(module, path, better)}
    except (OSError, ValueError) as error:
        raise RepairError(f"{path} can't be repaired: {error}", f"Correct {path} with an editor.") from error


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
    try:
        module.exit_json(**repair(module))
    except RepairError as error:
        module.fail_json(msg=str(error), hint=error.hint)


if __name__ == "__main__":
    main()
