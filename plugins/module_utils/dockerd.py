"""The Docker engine as a process, where no init starts it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

LOG = Path("/var/log/docker.log")


def launch() -> subprocess.Popen[bytes]:
    """Start dockerd, as a process that outlives this one."""
    environment = dict(os.environ)
    # A host that is a container itself can't switch IPv6 off, which the engine would otherwise insist on.
    if not os.access("/proc/sys/net", os.W_OK):
        environment["DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE"] = "1"
    with LOG.open("ab") as log:
        return subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
