#!/usr/bin/python
"""Ansible module: starts the Docker engine on a host where no init does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_dockerd
short_description: Start dockerd where no init does
description:
  - Starts dockerd in place of the one that runs, and returns when it answers. Always a change.
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gaiaflow_dockerd import LOG, NotStarted, start_dockerd


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        if not module.check_mode:
            start_dockerd()
    except NotStarted as error:
        module.fail_json(
            msg="The Docker engine does not start.", hint=f"{LOG} says why.", details=str(error).splitlines()
        )
    except OSError as error:
        module.fail_json(
            msg=f"The Docker engine can't be started: {error}", hint="Root may start it: -K asks for sudo's password."
        )
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
