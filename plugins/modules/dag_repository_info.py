#!/usr/bin/python
"""Ansible module: what is in a checkout of the central DAG repository, and what is wrong with it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dag_repository_info
short_description: Examine a checkout of the central DAG repository
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only.
options:
  directory:
    description: The checkout.
    type: path
    required: true
  project:
    description: The project whose findings count; empty for all.
    type: str
    default: ""
  changed_paths:
    description: Paths that changed; the projects they are of are parsed whatever their records say.
    type: list
    elements: str
    default: []
  everything:
    description: Whether every project is parsed.
    type: bool
    default: false
  parsed:
    description: What C(parse_dags.py) tells, by the project.
    type: dict
    default: {}
  refuse:
    description: Whether a finding is a failure.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Find the projects whose DAGs have to be parsed
  gaiaflow.setup.dag_repository_info:
    directory: /home/me/airflow-dags
  register: dag_repository_found
"""

RETURN = r"""
projects:
  description: The projects that are there.
  returned: always
  type: list
  elements: str
unparsed:
  description: The projects whose DAGs have to be parsed.
  returned: always
  type: list
  elements: str
problems:
  description: What is wrong, with C(project), C(message) and C(hint).
  returned: always
  type: list
  elements: dict
log:
  description: The project's log.
  returned: always
  type: list
  elements: dict
by:
  description: Who commits here.
  returned: always
  type: str
email:
  description: The email address of commits.
  returned: always
  type: str
record:
  description: The project's record; empty where there is none.
  returned: always
  type: dict
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dag_repository import Cdr, Finding, FindingsError, examine, to_parse
from ..module_utils.errors import SetupError
from ..module_utils.release import Repository, who
from ..module_utils.shell import user_environment


def look(given: dict[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """Return what the module tells, and what is wrong.

    Args:
        given: The module's options.
    """
    cdr, project = Cdr(Path(given["directory"])), given["project"]
    unparsed = [] if project else to_parse(cdr, given["changed_paths"], everything=given["everything"])
    record = cdr.record(project) if project else None
    findings = [one for one in examine(cdr, given["parsed"]) if project in ("", one.project)]
    environment = user_environment()
    told = {
        "projects": cdr.folders(),
        "unparsed": unparsed,
        "problems": [asdict(one) for one in findings],
        "log": cdr.log(project) if project else [],
        "record": asdict(record) if record else {},
        **who(Repository(cdr.root, environment), environment),
    }
    return told, findings


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "project": {"type": "str", "default": ""},
            "changed_paths": {"type": "list", "elements": "str", "default": []},
            "everything": {"type": "bool", "default": False},
            "parsed": {"type": "dict", "default": {}},
            "refuse": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        told, findings = look(module.params)
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint or "Correct it.")
    except OSError as error:
        module.fail_json(msg=f"The central DAG repository can't be read: {error}", hint="Check the directory.")
    if module.params["refuse"] and findings:
        refusal = FindingsError(findings)
        module.fail_json(msg=str(refusal), hint=refusal.hint, details=refusal.details, **told)
    module.exit_json(changed=False, **told)


if __name__ == "__main__":
    main()
