#!/usr/bin/python
"""Ansible module: removes what interrupted and killed runs have left."""

from __future__ import annotations

DOCUMENTATION = r"""
module: leftovers
short_description: Remove what interrupted and killed runs have left
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Looks again and holds the locks meanwhile, so that nothing is removed that somebody has begun to use.
options:
  kind:
    description:
      - C(environments) are Python environments whose making was interrupted.
      - C(runs) are private directories of runs that have ended.
      - C(supervisors) are pid files and sockets of supervisords that are gone.
    type: str
    choices: [environments, runs, supervisors]
    required: true
  home:
    description: Where the stack is kept; needed but for C(runs).
    type: path
  temporary:
    description: Where temporary files are; needed for C(runs).
    type: path
  user:
    description: Whose runs; needed for C(runs).
    type: str
"""

EXAMPLES = r"""
- name: Remove half-made environments
  gaiaflow.setup.leftovers:
    kind: environments
    home: /home/alice/.local/share/gaiaflow

- name: Remove the private directories of killed runs
  gaiaflow.setup.leftovers:
    kind: runs
    temporary: /tmp
    user: alice
"""

RETURN = r"""
removed:
  description: The paths that were removed, or would be.
  returned: success
  type: list
"""

import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.doctor.leftovers import dead_supervisors, half_made, old_runs
from ..module_utils.errors import RepairError


@contextmanager
def leftovers(params: dict[str, Any]) -> Iterator[list[Path]]:
    """Give what is to be removed; nobody begins to use it as long as the caller works."""
    if params["kind"] == "environments":
        with half_made(Path(params["home"])) as environments:
            yield environments
    elif params["kind"] == "runs":
        with old_runs(Path(params["temporary"]), pwd.getpwnam(params["user"]).pw_uid) as runs:
            yield runs
    else:
        with dead_supervisors(Path(params["home"])) as supervisors:
            yield [path for paths in supervisors.values() for path in paths]


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it.

    Raises:
        RepairError: It can't be removed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RepairError(f"{path} can't be removed: {error}", f"Remove it yourself: sudo rm -r {path}") from error


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "kind": {"type": "str", "choices": ["environments", "runs", "supervisors"], "required": True},
            "home": {"type": "path"},
            "temporary": {"type": "path"},
            "user": {"type": "str"},
        },
        required_if=[
            ("kind", "environments", ("home",)),
            ("kind", "supervisors", ("home",)),
            ("kind", "runs", ("temporary", "user")),
        ],
        supports_check_mode=True,
    )
    try:
        with leftovers(module.params) as found:
            for path in () if module.check_mode else found:
                remove(path)
    except RepairError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    module.exit_json(changed=bool(found), removed=[str(path) for path in found])


if __name__ == "__main__":
    main()
