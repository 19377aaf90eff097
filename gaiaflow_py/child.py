"""Runs ansible-playbook so that it ends when the wrapper does, whatever ends the wrapper.

Usage: child.py PRIVATE_DIRECTORY PARENT_PID [LOCK_FILE...] -- ANSIBLE_ARGUMENT...

The wrapper holds the other end of this process's terminal. When the wrapper is gone, even by kill -9, the kernel
sends SIGHUP: the run is then interrupted as by Ctrl-C, which ends the running modules, too. The lock files are held
until the last worker has ended, so that the next run can wait for that.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType


def _hang_up(_signum: int, _frame: FrameType | None) -> None:
    """The terminal is gone, so writing to it would fail: write nowhere, and end as by Ctrl-C."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.kill(os.getpid(), signal.SIGINT)


def main(argv: list[str]) -> None:
    """Runs ansible-playbook in this process.

    Args:
        argv: The arguments, as in the module's usage.
    """
    signal.signal(signal.SIGHUP, _hang_up)
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
        if os.getppid() != parent:
            shutil.rmtree(private, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
