#!/usr/bin/python
"""Ansible module: what a release of a project is made of, and where it goes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: Say what a release of a project is made of, and where it goes
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only. Refuses a tag that isn't the package's version, and changes that are not committed.
options:
  project:
    description: The project's directory.
    type: path
    required: true
  package:
    description: The package under src, where there are several.
    type: str
    default: ""
  stage:
    description: The stage in prod.yaml; empty takes the first one.
    type: str
    default: ""
  tag:
    description: The tag that the release is made for; empty takes the workflow's, or one on the commit.
    type: str
    default: ""
  base:
    description: The image that the project's image is built on.
    type: str
    required: true
  committed:
    description: Whether changes that are not committed are refused.
    type: bool
    default: true
  tagged:
    description: Whether a tag that isn't the package's version is refused.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Examine the project
  gaiaflow.setup.release_info:
    project: /home/me/wine
    stage: production
    base: python:3.13-slim
  register: release_info
"""

RETURN = r"""
project:
  description: The project's name.
  returned: always
  type: str
version:
  description: The package's version.
  returned: always
  type: str
image:
  description: The image's name in the registry, by its version.
  returned: always
  type: str
content:
  description: A digest of all that goes into the image.
  returned: always
  type: str
pods:
  description: The stage's settings of pods.
  returned: always
  type: dict
release:
  description: Where the stage's release goes.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SetupError
from ..module_utils.release import examine


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "path", "required": True},
            "package": {"type": "str", "default": ""},
            "stage": {"type": "str", "default": ""},
            "tag": {"type": "str", "default": ""},
            "base": {"type": "str", "required": True},
            "committed": {"type": "bool", "default": True},
            "tagged": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        found = examine(module.params)
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint or "Correct it.")
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"The project can't be read: {error}", hint="Name a project: --project DIR.")
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
