#!/usr/bin/python
"""Ansible module: a model's image, and whether it has to be built."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_image_info
short_description: Say whether and how a model's image is to be built
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only. The image carries a digest of all that went into it as a label; where it fits, nothing is to be built.
options:
  name:
    description: The image's name, with its tag.
    type: str
    required: true
  title:
    description: What the image is of.
    type: str
    required: true
  content:
    description: What goes into it, or names that.
    type: str
    required: true
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
- name: Examine the model's image
  gaiaflow.setup.model_image_info:
    name: gaiaflow-models/wine:3
    title: wine
    content: wine/3-0a1b2c3d
    base: python:3.13-slim
"""

RETURN = r"""
model_image:
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
labels:
  description: The image's labels.
  returned: always
  type: dict
pushed_names:
  description: What the image that is there is called in the registries it was pushed to.
  returned: always
  type: list
  elements: str
"""

import hashlib
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.build import has_buildkit, package_index
from ..module_utils.engine import Engine
from ..module_utils.errors import SetupError
from ..module_utils.image import DIGEST, ask_engine, engine_address


def examine(given: dict[str, Any]) -> dict[str, Any]:
    """Return whether and how the image is to be built."""
    digest = hashlib.sha256(f"{given['base']}\n{given['content']}".encode()).hexdigest()
    address = engine_address()
    api, there = ask_engine(Engine(address.removeprefix("unix://")), given["name"])
    labels = (there.get("Config") or {}).get("Labels") or {}
    build = given["always"] or labels.get(DIGEST) != digest
    index = package_index(given["index"]) if build else {}
    return {
        "model_image": given["name"],
        "build": build,
        "builder": "buildkit" if has_buildkit(api) else "api",
        "engine": address,
        "args": {"BASE_IMAGE": given["base"], **{key: index[key] for key in sorted(index) if key.startswith("PIP_")}},
        "pushed_names": there.get("RepoDigests") or [],
        "labels": {
            "org.opencontainers.image.title": given["title"],
            "org.opencontainers.image.version": given["name"].rpartition(":")[2],
            DIGEST: digest,
        },
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "title": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
            "base": {"type": "str", "required": True},
            "index": {"type": "str", "default": ""},
            "always": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        found = examine(module.params)
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
