"""Ending a run of Ansible, with everything it has running."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

POLL_S = 0.05

INSISTENCE = ((3.0, signal.SIGINT), (5.0, signal.SIGTERM), (10.0, signal.SIGKILL))
"""What tasks get that an interrupted run leaves running, and after how many seconds more."""


def _table() -> dict[int, tuple[int, int]]:
    """Returns parent and session of every live process, by its id."""
    table = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            state, parent, _group, session = entry.read_text().rpartition(")")[2].split()[:4]
            if state not in "ZX":
                table[int(entry.parent.name)] = int(parent), int(session)
    return table


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
        """Asks ansible-playbook to end as by Ctrl-C: it passes that on to its tasks, and all tidy up."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)
            self.note_tasks()
            os.kill(self.pid, signal.SIGINT)
            os.kill(self.pid, signal.SIGCONT)

    def note_tasks(self) -> None:
        """Notes what tasks run now, to know their processes once ansible-playbook has left them."""
        self._sessions |= {p for p, (parent, session) in _table().items() if parent == self.pid and session == p}

    def end_tasks(self) -> None:
        """Ends what is left of an interrupted run: Python loses an interrupt that comes while it imports something."""
        for seconds, signum in INSISTENCE:
            if self.wait(seconds):
                return
            self.send(signum)

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
        for pid in self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _alive(self) -> list[int]:
        me = os.getpid()
        return [pid for pid, (_parent, session) in _table().items() if session in self._sessions and pid != me]
