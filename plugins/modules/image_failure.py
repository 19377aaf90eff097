#!/usr/bin/python
"""Ansible module: says why an image of the stack could not be had, as people need to read it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_failure
short_description: Explain a failed build or pull of an image
author: The developers of gaiaflow-setup (!UNKNOWN)
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

EXAMPLES = r"""
- name: Pull an image
  block:
    - name: Pull it
      community.docker.docker_image_pull:
        name: postgres:18.6
  rescue:
    - name: Explain why it failed
      gaiaflow.setup.image_failure:
        image: postgres:18.6
        failure: "{{ ansible_failed_result }}"
"""

RETURN = r"""
msg:
  description: What failed, and why.
  returned: always
  type: str
hint:
  description: What to do next.
  returned: always
  type: str
details:
  description: The end of a build's output.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.build import explain, explain_pull, last_step, output_of


def main() -> None:
    """Run the module."""
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
