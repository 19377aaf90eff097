#!/usr/bin/python
"""Ansible module: how the services of one instance are, in either runtime."""

from __future__ import annotations

DOCUMENTATION = r"""
module: services_info
short_description: Query the services of an instance
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Asks supervisord or the Docker engine, and every service by its health check, all at once; changes nothing.
  - Runs with the Python of the environment that holds psutil.
options:
  runtime:
    description: What runs the services.
    type: str
    choices: [native, docker]
    required: true
  directory:
    description: The instance's directory.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Query the services
  gaiaflow.setup.services_info:
    runtime: native
    directory: "{{ mlops_record_result.record.directory }}"
"""

RETURN = r"""
services:
  description: name, service, state, health, url, uptime_s and memory_bytes of each; null where a figure isn't known.
  returned: always
  type: list
  elements: dict
"""

import xmlrpc.client
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.common import end_with_run
from ..module_utils.runtime import implementation


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "runtime": {"type": "str", "choices": ["native", "docker"], "required": True},
            "directory": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    end_with_run()
    runtime = implementation(module.params["runtime"])
    try:
        services = runtime(Path(module.params["directory"])).status()
    except (OSError, ValueError, xmlrpc.client.Error) as error:
        message, hint = runtime.explain(error)
        module.fail_json(msg=message, **({"hint": hint} if hint else {}))
    module.exit_json(changed=False, services=services)


if __name__ == "__main__":
    main()
