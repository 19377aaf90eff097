"""What interrupted and killed runs have left."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..common import COMPLETE, unlocked
from .core import Context, Finding, Repair, check, instances_of, wrong
from .machine import instance_of

RUN_DIRECTORIES = "gaiaflow-run-*"
# A run that has just begun may not have locked its directory yet.
YOUNG_S = 60.0

# Each of these holds the locks of what it gives, so that nobody begins to use what the caller removes.


@contextlib.contextmanager
def dead_supervisors(home: Path) -> Iterator[dict[str, list[Path]]]:
    """Give the instances whose supervisord is gone, with what it left.

    Args:
        home: Where the stack is kept.
    """
    found = {}
    with contextlib.ExitStack() as locks:
        for directory, record in instances_of(home).items():
            sockets = Path(record.get("sockets") or directory / "run")
            left = [path for path in (sockets / "supervisord.pid", sockets / "supervisor.sock") if path.exists()]
            # Whoever starts the instance's services holds its lock.
            is_free = bool(left) and locks.enter_context(unlocked(directory / ".lock"))
            if is_free and not is_supervised(directory, sockets / "supervisord.pid"):
                found[directory.name] = left
        yield found


def is_supervised(directory: Path, pid_file: Path) -> bool:
    """Return whether the process of the pid file lives and is the instance's own."""
    try:
        process = Path("/proc") / str(int(pid_file.read_text()))
    except (OSError, ValueError):
        return False
    return process.exists() and (not os.access(process / "environ", os.R_OK) or instance_of(process) == str(directory))


@contextlib.contextmanager
def half_made(home: Path) -> Iterator[list[Path]]:
    """Give the environments without the mark that is written last, if nobody is making them now.

    Args:
        home: Where the stack is kept.
    """
    root = home / "environments"
    with unlocked(root / ".lock") as is_free:
        found = sorted(path for path in root.glob("*-*") if path.is_dir() and not (path / COMPLETE).exists())
        yield found if is_free else []


@contextlib.contextmanager
def old_runs(temporary: Path, uid: int) -> Iterator[list[Path]]:
    """Give the private directories of a user's runs that have ended.

    Args:
        temporary: Where temporary files are.
        uid: The user's number.
    """
    found = []
    with contextlib.ExitStack() as locks:
        for path in sorted(temporary.glob(RUN_DIRECTORIES)):
            with contextlib.suppress(OSError):
                state = path.lstat()
                is_old = state.st_uid == uid and time.time() - state.st_mtime > YOUNG_S
                found += [path] * (is_old and locks.enter_context(unlocked(path / "owner")))
        yield found


@check("supervisors", "supervisors left over")
def check_supervisors(context: Context) -> Finding | None:
    """Check for pid files and sockets that killed supervisords left."""
    with dead_supervisors(context.home) as found:
        left = [path for paths in found.values() for path in paths]
    if not found:
        return None
    names = ", ".join(found)
    message = f"The supervisord of {names} is gone, and its pid file or socket is still there."
    why = "It was killed, or the machine went down: the services don't run, or nobody watches them."
    repair = "; ".join(f"gaiaflow-setup mlops --start --instance {name}" for name in found)
    return wrong(message, why, repair, Repair(removed(left), {"home": str(context.home)}))


@check("environments", "environments left over")
def check_environments(context: Context) -> Finding | None:
    """Check for environments whose making was interrupted."""
    with half_made(context.home) as found:
        repair = Repair(removed(found), {"home": str(context.home)})
        return unused(found, "of half-made environments", context.home / "environments" / "NAME", repair)


@check("runs", "runs left over")
def check_runs(context: Context) -> Finding | None:
    """Check for private directories of runs that were killed."""
    with old_runs(context.temporary, context.uid) as found:
        repair = Repair(removed(found), {"temporary": str(context.temporary), "user": context.user})
        return unused(found, "of runs that were killed", context.temporary / RUN_DIRECTORIES, repair)


def unused(found: list[Path], whose: str, where: Path, repair: Repair) -> Finding | None:
    """Return what is said of directories that nobody needs any more."""
    if not found:
        return None
    number = f"{len(found)} directories" if len(found) > 1 else "A directory"
    message = f"{number} {whose} {'are' if len(found) > 1 else 'is'} left: {', '.join(path.name for path in found)}."
    return wrong(message, "Nobody uses them; they take room.", f"rm -r {where}", repair)


def removed(paths: list[Path]) -> str:
    """Return what is said when these were removed."""
    return f"Removed: {', '.join(map(str, paths))}."
