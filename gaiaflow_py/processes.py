"""Ending a run of Ansible, with everything it has running."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil

POLL_S = 0.05

INSISTENCE = ((3.0, signal.SIGINT), (5.0, signal.SIGTERM), (10.0, signal.SIGKILL))
"""What tasks get that an interrupted run leaves running, and after how many seconds more."""


class AnsibleProcesses:
    """The processes of one ansible-playbook: its own session, and one session for each task that runs.

    What a task has put into a session of its own, a service for instance, isn't among them, nor is the caller.

    Args:
        pid: ansible-playbook's process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._sessions = {pid}

    def interrupt(self) -> None:
        """Ask ansible-playbook to end as by Ctrl-C: it passes that on to its tasks, and all tidy up."""
        with contextlib.suppress(psutil.NoSuchProcess):
            playbook = psutil.Process(self.pid)
            playbook.suspend()  # or it would begin another task
            self.note_tasks()
            playbook.send_signal(signal.SIGINT)
            playbook.resume()

    def note_tasks(self) -> None:
        """Note what tasks run now, to know their processes once ansible-playbook has left them."""
        children = psutil.Process(self.pid).children()
        self._sessions |= {child.pid for child in children if _session(child.pid) == child.pid}

    def end_tasks(self) -> None:
        """End what is left of an interrupted run: Python loses an interrupt that comes while it imports something."""
        for seconds, signum in INSISTENCE:
            if self.wait(seconds):
                return
            self.send(signum)

    def wait(self, seconds: float) -> bool:
        """Wait until all have ended.

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
        """Send a signal to whatever is left.

        Args:
            signum: The signal.
        """
        for process in self._alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signum)

    def _alive(self) -> list[psutil.Process]:
        mine = [process for process in psutil.process_iter(["status"]) if _session(process.pid) in self._sessions]
        ended = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return [one for one in mine if one.info["status"] not in ended and one.pid != os.getpid()]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
