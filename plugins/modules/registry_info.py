#!/usr/bin/python
"""Ansible module: what a registry has of an image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_info
short_description: Ask a registry for an image
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only.
options:
  registry:
    description: The registry's host. HTTP is spoken to loopback alone.
    type: str
    required: true
  repository:
    description: The repository in it.
    type: str
    required: true
  reference:
    description: A tag or digest.
    type: str
    required: true
  docker_config:
    description: Where Docker's settings are, with the login; empty takes the user's.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Ask the registry for the image
  gaiaflow.setup.registry_info:
    registry: registry.example
    repository: team/wine
    reference: 1.2.0
  register: release_found
"""

RETURN = r"""
digest:
  description: The image's digest; empty where there is none.
  returned: always
  type: str
content:
  description: The digest of what went into it, as its label says.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SetupError
from ..module_utils.registry_login import find_image


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "str", "required": True},
            "repository": {"type": "str", "required": True},
            "reference": {"type": "str", "required": True},
            "docker_config": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        found = find_image(module.params, module.params["docker_config"])
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint or "Try again later.")
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
