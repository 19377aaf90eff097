"""Runs ansible-playbook so that it ends when the wrapper does, whatever ends the wrapper.

Usage: isolated.py gaiaflow_py.child PRIVATE_DIRECTORY PARENT_PID [LOCK_FILE...] -- ANSIBLE_ARGUMENT...

The wrapper holds the other end of this process's terminal. When the wrapper is gone, even by kill -9, the kernel
sends SIGHUP: the run is then interrupted as by Ctrl-C, which ends the running modules, too. The lock files are held
until the last worker has ended, so that the next run can wait for that.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from gaiaflow_py.paths import remove_tree

if TYPE_CHECKING:
    from gaiaflow_py.processes import AnsibleProcesses

OPEN_FILES = 4096
"""How many files Ansible and the services may have open, where the system allows it."""


class _HangUp:
    """Ends the run as by Ctrl-C when the terminal is gone, once.

    The kernel may send the signal twice, and Ansible dies of a second interrupt without tidying up. The wrapper may
    still be the parent at that time: the kernel closes what an ending process had open first.
    """

    def __init__(self) -> None:
        self.seen = False
        self._processes: AnsibleProcesses | None = None

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        if self.seen:
            return
        self.seen = True
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)  # writing to the terminal would fail
        from gaiaflow_py.processes import AnsibleProcesses

        self._processes = AnsibleProcesses(os.getpid())
        self._processes.note_tasks()
        os.kill(os.getpid(), signal.SIGINT)

    def end_tasks(self) -> None:
        """End the tasks that the interrupt has not ended."""
        if self._processes is not None:
            self._processes.end_tasks()


def main(argv: list[str]) -> None:
    """Run ansible-playbook in this process.

    Args:
        argv: The arguments, as in the module's usage.
    """
    _be_usual()
    hang_up = _HangUp()
    signal.signal(signal.SIGHUP, hang_up)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end = argv.index("--")
    private, parent, locks, arguments = Path(argv[0]), int(argv[1]), argv[2:end], argv[end + 1 :]
    try:
        if os.getppid() == parent:
            (private / "pid").write_text(str(os.getpid()))
            for lock in locks:
                fcntl.flock(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
            from ansible.cli.playbook import main as ansible_playbook

            ansible_playbook(["ansible-playbook", *arguments])
    finally:
        if hang_up.seen or os.getppid() != parent:
            _tidy_up(hang_up, private)


def _be_usual() -> None:
    """Take back what a shell or a scheduler may have handed down that would change what Ansible does.

    A user whose files nobody else may read keeps that; what the product needs read by others, it says itself.
    """
    os.umask(os.umask(0) & 0o077 | 0o022)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _tidy_up(hang_up: _HangUp, private: Path) -> None:
    """End what still runs and remove the run's directory, and is not interrupted."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    hang_up.end_tasks()
    remove_tree(private)


if __name__ == "__main__":
    main(sys.argv[1:])
