"""One run at a time on one instance."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path

from gaiaflow_py.errors import BusyError
from gaiaflow_py.paths import instances_dir, private_directory

ORPHAN_PATIENCE_S = 30.0
"""How long to wait for the children of a run that was killed."""

POLL_S = 0.1


def run_lock(instance: str) -> Path:
    """Return the file that a run's Ansible process holds as long as it lives.

    Args:
        instance: The instance's name.
    """
    return instances_dir() / f".{instance}.run"


@contextlib.contextmanager
def held(instances: Sequence[str], command: str, say: Callable[[str], None], *, remove: bool = False) -> Iterator[None]:
    """Hold the locks of some instances.

    Args:
        instances: The instances' names; none is allowed.
        command: What is being done, for whoever has to wait.
        say: Takes a message when a killed run's children must be waited for.
        remove: Remove the lock files at the end.

    Raises:
        BusyError: Another run holds one of them.
    """
    with contextlib.ExitStack() as stack:
        for instance in instances:
            private_directory(instances_dir())
            path = instances_dir() / f".{instance}.lock"
            file = stack.enter_context(_acquire(path, instance))
            _wait_for_orphans(instance, say)
            _record(file, command)
            stack.callback(_release, file, path, run_lock(instance), remove)
        yield


def _acquire(path: Path, instance: str) -> TextIOWrapper:
    while True:
        file = _open(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{_holder(file)} is working on instance '{instance}'."
            file.close()
            raise BusyError(message, "Wait for it to end and run this again.") from None
        if _is_current(file, path):
            return file
        file.close()


def _open(path: Path) -> TextIOWrapper:
    path.touch(mode=0o600)
    return path.open("a+", encoding="utf-8")


def _is_current(file: TextIOWrapper, path: Path) -> bool:
    """Whoever held the lock before may have removed the file: a lock on that would mean nothing."""
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _holder(file: TextIOWrapper) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        since = datetime.fromisoformat(holder["since"]).strftime("%H:%M:%S")
        return f"`gaiaflow-setup {holder['command']}` (pid {holder['pid']}, since {since})"
    except (ValueError, KeyError):
        return "Another gaiaflow-setup"


def _record(file: TextIOWrapper, command: str) -> None:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "command": command, "since": since}))
    file.flush()


def _wait_for_orphans(instance: str, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + ORPHAN_PATIENCE_S
    told = False
    with _open(run_lock(instance)) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"A run on instance '{instance}' was killed, and what it started is still working."
                    raise BusyError(message, "Wait for it to end and run this again.") from None
            if not told:
                say(f"An earlier run on instance '{instance}' was killed; waiting for what it started to end.")
                told = True
            time.sleep(POLL_S)


def _release(file: TextIOWrapper, path: Path, run: Path, remove: bool) -> None:
    if remove:
        path.unlink(missing_ok=True)
        run.unlink(missing_ok=True)
    elif path.exists():
        file.truncate(0)
