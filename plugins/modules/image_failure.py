#!/usr/bin/python
"""Ansible module: says why an image of the stack could not be had, as people need to read it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_failure
short_description: Explain a failed build or pull of an image
description:
  - Always fails, with the cause, what to do next, and the end of a build's output; for a rescue.
options:
  image:
    description: The image's name.
    type: str
    required: true
  base:
    description: What it is built on; empty for an image that was to be pulled.
    type: str
    default: ""
  failure:
    description: The result of the task that failed.
    type: dict
    required: true
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.build import explain, explain_pull, last_step, output_of


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "required": True},
            "base": {"type": "str", "default": ""},
            "failure": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    image, base, failure = (module.params[name] for name in ("image", "base", "failure"))
    output = last_step(output_of(failure)) if base else []
    refusal = explain(failure, output, image, base) if base else explain_pull(failure, image)
    module.fail_json(msg=str(refusal), hint=refusal.hint, details=output)


if __name__ == "__main__":
    main()
