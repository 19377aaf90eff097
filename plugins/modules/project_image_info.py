#!/usr/bin/python
"""Ansible module: a project's image, and whether it has to be built."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_image_info
short_description: Say what a project's image is called, and whether and how it is to be built
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only. The image carries a digest of all that went into it as a label; where it fits, nothing is to be built.
options:
  project:
    description: The project's directory.
    type: path
    required: true
  package:
    description: The package under src, where there are several.
    type: str
    default: ""
  base:
    description: The image that it is built on.
    type: str
    required: true
  index:
    description: Where packages come from; where it is empty, what the settings of uv and pip name.
    type: str
    default: ""
  always:
    description: Whether to build what is there already.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Examine the project and its image
  gaiaflow.setup.project_image_info:
    project: ~/my-project
    base: python:3.13-slim
  register: found
"""

RETURN = r"""
project_image:
  description: The image's name.
  returned: always
  type: str
build:
  description: Whether it is to be built.
  returned: always
  type: bool
builder:
  description: What to build it with, buildkit or api.
  returned: always
  type: str
engine:
  description: The engine's address.
  returned: always
  type: str
args:
  description: The build's arguments.
  returned: always
  type: dict
image_id:
  description: The id of the image that is there, or nothing.
  returned: always
  type: str
pushed_names:
  description: What the image that is there is called in the registries it was pushed to.
  returned: always
  type: list
  elements: str
labels:
  description: The image's labels.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SetupError
from ..module_utils.image import examine


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "path", "required": True},
            "package": {"type": "str", "default": ""},
            "base": {"type": "str", "required": True},
            "index": {"type": "str", "default": ""},
            "always": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        found = examine(module.params)
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint or "Correct it.")
    except (OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=f"The project can't be read: {error}", hint="Name a project: --project DIR.")
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
