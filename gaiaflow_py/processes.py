"""Ending a run of Ansible, with everything it has running."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil

POLL_S = 0.05


class AnsibleProcesses:
    """The processes of one ansible-playbook: its own session, and one session for each task that runs.

    What a task has put into a session of its own, a service for instance, isn't among them.

    Args:
        pid: ansible-playbook's process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._sessions = {pid}

    def interrupt(self) -> None:
        """Asks ansible-playbook to end as by Ctrl-C: it passes that on to its tasks, and all tidy up."""
        with contextlib.suppress(psutil.NoSuchProcess):
            playbook = psutil.Process(self.pid)
            playbook.suspend()  # or it would begin another task
            self._sessions |= {child.pid for child in playbook.children() if _session(child.pid) == child.pid}
            playbook.send_signal(signal.SIGINT)
            playbook.resume()

    def wait(self, seconds: float) -> bool:
        """Waits until all have ended.

        Args:
            seconds: How long at most.

        Returns:
            Whether all have ended.
        """
        deadline = time.monotonic() + seconds
        while self._alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def send(self, signum: signal.Signals) -> None:
        """Sends a signal to whatever is left.

        Args:
            signum: The signal.
        """
        for process in self._alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signum)

    def _alive(self) -> list[psutil.Process]:
        mine = [process for process in psutil.process_iter(["status"]) if _session(process.pid) in self._sessions]
        return [process for process in mine if process.info["status"] not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
