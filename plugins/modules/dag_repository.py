#!/usr/bin/python
"""Ansible module: a project's folder in a checkout of the central DAG repository."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dag_repository
short_description: Change a project's folder in a checkout of the central DAG repository
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Changes files only; what commits and pushes them are the tasks around it.
options:
  directory:
    description: The checkout.
    type: path
    required: true
  state:
    description:
      - C(placed) puts a project's DAGs there, C(restored) those of an earlier version, C(absent) removes them.
      - C(recorded) writes what their parsing gave into the project's record, and refuses what collides with another
        project.
    type: str
    choices: [placed, restored, recorded, absent]
    required: true
  project:
    description: The project's name.
    type: str
    required: true
  release:
    description: What is released, as M(gaiaflow.setup.release_info) tells it.
    type: dict
    default: {}
  image:
    description: The image by its digest.
    type: str
    default: ""
  version:
    description: The version to restore.
    type: str
    default: ""
  by:
    description: Who does it.
    type: str
    default: ""
  parsed:
    description: What C(parse_dags.py) tells, by the project.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Put a project's DAGs into the checkout
  gaiaflow.setup.dag_repository:
    directory: /home/me/airflow-dags
    state: placed
    project: wine
    release: "{{ release_info }}"
    image: registry.example/team/wine@sha256:0815

- name: Remove a project
  gaiaflow.setup.dag_repository:
    directory: /home/me/airflow-dags
    state: absent
    project: wine
"""

RETURN = r"""
different:
  description: Whether the folder, its record or its owners are others now; true where the task itself hides that.
  returned: always
  type: bool
log:
  description: The project's log, as it was before.
  returned: in the states C(placed) and C(restored)
  type: list
  elements: dict
record:
  description: What is in the project's folder.
  returned: where the project is there
  type: dict
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dag_repository import (
    Cdr,
    FindingsError,
    examine,
    git_in,
    note_dags,
    place,
    refuse_other_source,
    remove,
    restore,
)
from ..module_utils.errors import SetupError


def change(given: dict[str, Any]) -> dict[str, Any]:
    """Bring a project's folder to its state, and return what the module tells.

    Args:
        given: The module's options.
    """
    cdr, project, state = Cdr(Path(given["directory"])), given["project"], given["state"]
    if state == "absent":
        removed = remove(cdr, project, given["by"])
        return {"changed": removed, "different": removed}
    if state == "recorded":
        before = cdr.record(project)
        record = note_dags(cdr, project, given["parsed"][project])
        if findings := [one for one in examine(cdr, {}) if one.project == project]:
            raise FindingsError(findings)
        return {"changed": record != before, "different": record != before, "record": asdict(record)}
    log = cdr.log(project)
    if state == "placed":
        changed, record = place(cdr, given["release"], given["image"])
    else:
        refuse_other_source(cdr.record(project), given["release"])
        changed, record = restore(cdr, project, given["version"], given["by"], git_in(cdr.root))
    return {"changed": changed, "different": changed, "record": asdict(record), "log": log}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "state": {"type": "str", "required": True, "choices": ["placed", "restored", "recorded", "absent"]},
            "project": {"type": "str", "required": True},
            "release": {"type": "dict", "default": {}},
            "image": {"type": "str", "default": ""},
            "version": {"type": "str", "default": ""},
            "by": {"type": "str", "default": ""},
            "parsed": {"type": "dict", "default": {}},
        }
    )
    try:
        told = change(module.params)
    except FindingsError as error:
        module.fail_json(msg=str(error), hint=error.hint, details=error.details)
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint or "Correct it.")
    except OSError as error:
        module.fail_json(msg=f"The central DAG repository can't be changed: {error}", hint="Check the directory.")
    module.exit_json(**told)


if __name__ == "__main__":
    main()
