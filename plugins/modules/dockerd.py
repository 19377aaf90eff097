#!/usr/bin/python
"""Ansible module: starts the Docker engine on a host where no init does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dockerd
short_description: Start dockerd where no init does
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Starts dockerd in place of the one that runs, and returns when it answers. Always a change.
"""

EXAMPLES = r"""
- name: Start the engine
  gaiaflow.setup.dockerd:
  become: true
"""

RETURN = r"""
details:
  description: The end of its log.
  returned: when it does not start
  type: list
  elements: str
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dockerd import LOG, launch
from ..module_utils.engine import SOCKET, Engine
from ..module_utils.errors import SetupError

PID_FILE = Path("/var/run/docker.pid")
# With many containers on a busy machine, it takes a while; one that ends is seen at once.
START_S = 180.0
STOP_S = 20.0
ANSWER_S = 2.0
LOG_LINES = 20


class StartError(SetupError):
    """The engine does not start.

    Args:
        message: What failed.
        hint: What to do next.
        details: The end of its log.
    """

    def __init__(self, message: str, hint: str, details: list[str] | None = None) -> None:
        super().__init__(message, hint)
        self.details = details or []


def start() -> None:
    """Start dockerd, in place of the one that runs, and return when it answers.

    Raises:
        StartError: It ended or doesn't answer in time, there is none, or this user may not start it.
    """
    try:
        if pid := running():
            end(pid)
        engine = launch()
    except OSError as error:
        hint = "Root may start it: -K asks for sudo's password."
        raise StartError(f"The Docker engine can't be started: {error}", hint) from error
    deadline = time.monotonic() + START_S
    while not answers():
        if engine.poll() is not None or time.monotonic() > deadline:
            log = LOG.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise StartError("The Docker engine does not start.", f"{LOG} says why.", log)
        time.sleep(0.2)


def running() -> int:
    """Return the dockerd that runs; 0 when none does.

    A killed one leaves its file, and another process may get its number.
    """
    try:
        pid = int(PID_FILE.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return 0
    return pid if name == "dockerd" else 0


def end(pid: int) -> None:
    """End a dockerd, by force when it hangs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + STOP_S
        while running() and time.monotonic() < deadline:
            time.sleep(0.2)
        if not running():
            return


def answers() -> bool:
    """Return whether the engine answers."""
    try:
        Engine(SOCKET, ANSWER_S).get("/version")
    except OSError:
        return False
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        if not module.check_mode:
            start()
    except StartError as error:
        module.fail_json(msg=str(error), hint=error.hint, details=error.details)
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
