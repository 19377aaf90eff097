#!/usr/bin/python
"""Ansible module: logs in to an image registry for one run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_login
short_description: Log in to an image registry for one run
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Writes Docker's settings for a login that the environment or AWS gives, into a directory that only this run uses.
    A login that Docker itself has needs none of that. In Amazon's registry the repository is made, with immutable tags.
options:
  registry:
    description: The registry's host.
    type: str
    required: true
  repository:
    description: The repository in it.
    type: str
    required: true
  directory:
    description: The directory for Docker's settings.
    type: path
    required: true
  ecr_region:
    description: The AWS region of a registry whose host doesn't tell.
    type: str
    default: ""
  make:
    description: Whether a repository that is missing is made.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Log in to the registry
  gaiaflow.setup.registry_login:
    registry: registry.example
    repository: team/wine
    directory: "{{ release_workspace.path }}"
  register: release_login
"""

RETURN = r"""
docker_config:
  description: The directory of Docker's settings to use; empty where the user's own do.
  returned: always
  type: str
missing:
  description: Whether the repository isn't there yet, and has to be made before a push.
  returned: always
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SetupError
from ..module_utils.registry_login import prepare


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "str", "required": True},
            "repository": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "ecr_region": {"type": "str", "default": ""},
            "make": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        told = prepare(module.params, check=module.check_mode)
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    module.exit_json(**told)


if __name__ == "__main__":
    main()
