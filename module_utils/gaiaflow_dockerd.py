"""Starts dockerd on hosts where no init does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from ansible.module_utils.gaiaflow_engine import SOCKET, Engine

PID_FILE = Path("/var/run/docker.pid")
LOG = Path("/var/log/docker.log")
# With many containers on a busy machine, it takes a while; one that ends is seen at once.
START_S = 180.0
STOP_S = 20.0
ANSWER_S = 2.0
LOG_LINES = 20


class NotStarted(Exception):
    """The engine does not run; the message is the end of its log."""


def start_dockerd() -> None:
    """Starts dockerd, in place of the one that runs, and returns when it answers.

    Raises:
        NotStarted: It ended, or doesn't answer in time.
        OSError: There is no dockerd, or this user may not start it.
    """
    if pid := _running():
        _end(pid)
    environment = dict(os.environ)
    # A host that is a container itself can't switch IPv6 off, which the engine would otherwise insist on.
    if not os.access("/proc/sys/net", os.W_OK):
        environment["DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE"] = "1"
    with LOG.open("ab") as log:
        engine = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    deadline = time.monotonic() + START_S
    while not _answers():
        if engine.poll() is not None or time.monotonic() > deadline:
            raise NotStarted("\n".join(LOG.read_text(errors="replace").splitlines()[-LOG_LINES:]))
        time.sleep(0.2)


def _running() -> int:
    """The dockerd that runs; 0 when none does. A killed one leaves its file, and another process may get its number."""
    try:
        pid = int(PID_FILE.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return 0
    return pid if name == "dockerd" else 0


def _end(pid: int) -> None:
    """Ends a dockerd, by force when it hangs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + STOP_S
        while _running() and time.monotonic() < deadline:
            time.sleep(0.2)
        if not _running():
            return


def _answers() -> bool:
    try:
        Engine(SOCKET, ANSWER_S).get("/version")
    except OSError:
        return False
    return True
