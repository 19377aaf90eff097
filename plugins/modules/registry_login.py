#!/usr/bin/python
"""Ansible module: logs in to an image registry for one run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_login
short_description: Log in to an image registry for one run, and find an image there
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Writes Docker's settings for a login that the environment or AWS gives, into a directory that only this run uses.
    A login that Docker itself has needs none of that. In Amazon's registry the repository is made, with immutable tags.
  - With I(push), an upload is begun and given up, which tells whether the login may push.
options:
  registry:
    description: The registry's host.
    type: str
    required: true
  repository:
    description: The repository in it.
    type: str
    required: true
  reference:
    description: The image's tag or digest.
    type: str
    required: true
  push:
    description: Whether an image that isn't there must be allowed to be pushed.
    type: bool
    default: false
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
- name: Log in to the registry, and find the image
  gaiaflow.setup.registry_login:
    registry: registry.example
    repository: team/wine
    reference: 1.2.0
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
from ..module_utils.registry_login import find_image, prepare


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "str", "required": True},
            "repository": {"type": "str", "required": True},
            "reference": {"type": "str", "required": True},
            "push": {"type": "bool", "default": False},
            "directory": {"type": "path", "required": True},
            "ecr_region": {"type": "str", "default": ""},
            "make": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        told = prepare(module.params, check=module.check_mode)
        found = {"digest": "", "content": ""}
        if not told["missing"]:
            found = find_image(module.params, told["docker_config"], push=module.params["push"])
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint or "Try again later.")
    module.exit_json(**told, **found)


if __name__ == "__main__":
    main()
