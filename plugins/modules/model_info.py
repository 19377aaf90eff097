#!/usr/bin/python
"""Ansible module: which version of a registered model is meant, and whether it can be served."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_info
short_description: Say which version of a registered model is meant, and whether it can be served
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Asks MLflow, and reads only. A model, alias or version that isn't there is refused by name, with those that are; a
    model that has no signature is refused, too.
options:
  model:
    description: NAME for the newest version, NAME@ALIAS or NAME/VERSION.
    type: str
    required: true
  tracking_uri:
    description: MLflow's address.
    type: str
    required: true
  start_command:
    description: What starts MLflow, where it doesn't answer.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Examine the model
  gaiaflow.setup.model_info:
    model: wine@champion
    tracking_uri: http://127.0.0.1:5000
    start_command: gaiaflow-setup mlops --start
"""

RETURN = r"""
model:
  description: name, version and alias; C(program), what it is called where it is served; C(place), where MLflow has its
    files; C(files), their directory in C(data/models); C(python), the version of Python that it was logged with.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SetupError
from ..module_utils.model import Registry, look


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "model": {"type": "str", "required": True},
            "tracking_uri": {"type": "str", "required": True},
            "start_command": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    registry = Registry(module.params["tracking_uri"], f"Start it: {module.params['start_command']}")
    try:
        found = look(registry, module.params["model"])
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    module.exit_json(changed=False, model=found)


if __name__ == "__main__":
    main()
