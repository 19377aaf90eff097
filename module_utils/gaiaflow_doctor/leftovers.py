"""What interrupted and killed runs have left."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.gaiaflow_doctor.core import Context, Finding, plural, wrong
from ansible.module_utils.gaiaflow_doctor.docker import silent
from ansible.module_utils.gaiaflow_doctor.machine import instance_of
from ansible.module_utils.gaiaflow_engine import Engine

RUN_DIRECTORIES = "gaiaflow-run-*"
# A run that has just begun may not have locked its directory yet.
YOUNG_S = 60.0
COMPLETE = ".complete"
# Containers and networks carry their instance's directory, as its processes do in their environment.
LABEL = "gaiaflow.directory"


@contextlib.contextmanager
def unowned(path: Path) -> Iterator[bool]:
    """Whether nobody holds the lock; while the caller works, nobody else gets it."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
    except FileNotFoundError:
        yield True
    except OSError:
        yield False


# ---- Directories


def old_runs(context: Context) -> list[Path]:
    """Private directories of runs that have ended."""
    found = []
    for path in sorted(context.temporary.glob(RUN_DIRECTORIES)):
        with contextlib.suppress(OSError):
            state = path.lstat()
            if state.st_uid == context.uid and time.time() - state.st_mtime > YOUNG_S:
                with unowned(path / "owner") as free:
                    found += [path] * free
    return found


def look_for_runs(context: Context) -> Finding | None:
    """Runs that were killed leave their private directories."""
    return directories(old_runs(context), "of runs that were killed", context.temporary / "gaiaflow-run-*")


def half_made(context: Context) -> list[Path]:
    """Environments without the mark that is written last, if nobody is making them now."""
    root = context.home / "environments"
    with unowned(root / ".lock") as free:
        found = sorted(path for path in root.glob("*-*") if path.is_dir() and not (path / COMPLETE).exists())
        return found if free else []


def look_for_environments(context: Context) -> Finding | None:
    """Environments whose making was interrupted."""
    return directories(half_made(context), "of half-made environments", context.home / "environments" / "NAME")


def directories(found: list[Path], whose: str, where: Path) -> Finding | None:
    """What is said of directories that nobody needs any more."""
    if not found:
        return None

    def mend() -> str:
        for path in found:
            shutil.rmtree(path)
        return f"Removed: {', '.join(map(str, found))}."

    number = f"{len(found)} directories" if len(found) > 1 else "A directory"
    message = f"{number} {whose} {'are' if len(found) > 1 else 'is'} left: {', '.join(path.name for path in found)}."
    return wrong(message, "Nobody uses them; they take room.", f"rm -r {where}", mend)


# ---- Supervisors


def dead_supervisors(context: Context) -> dict[str, list[Path]]:
    """The instances whose supervisord is gone, with what it left."""
    found = {}
    for directory, record in context.instances().items():
        sockets = Path(record.get("sockets") or directory / "run")
        left = [path for path in (sockets / "supervisord.pid", sockets / "supervisor.sock") if path.exists()]
        if left and not is_supervised(directory, sockets / "supervisord.pid"):
            found[directory.name] = left
    return found


def is_supervised(directory: Path, pid_file: Path) -> bool:
    """Whether the process of the pid file lives and is the instance's own."""
    try:
        process = Path("/proc") / str(int(pid_file.read_text()))
    except (OSError, ValueError):
        return False
    return process.exists() and (not os.access(process / "environ", os.R_OK) or instance_of(process) == str(directory))


def look_for_supervisors(context: Context) -> Finding | None:
    """A supervisord that was killed leaves its pid file and its socket."""
    found = dead_supervisors(context)
    if not found:
        return None

    def mend() -> str:
        left = [path for paths in found.values() for path in paths]
        for path in left:
            path.unlink(missing_ok=True)
        return f"Removed: {', '.join(map(str, left))}."

    names = ", ".join(found)
    message = f"The supervisord of {names} is gone, and its pid file or socket is still there."
    why = "It was killed, or the machine went down: the services don't run, or nobody watches them."
    repair = "; ".join(f"gaiaflow-setup mlops --start --instance {name}" for name in found)
    return wrong(message, why, repair, mend)


# ---- Containers and networks


def orphans(context: Context, engine: Engine, kind: str) -> list[str]:
    """The ids of containers or networks of instances of this home that are no more."""
    question = urllib.parse.quote(json.dumps({"label": [LABEL]}))
    places = [(one["Id"], Path(one["Labels"][LABEL])) for one in engine.get(f"/{kind}?all=true&filters={question}")]
    return [one for one, place in places if place.parent == context.home / "instances" and not place.exists()]


def look_for_containers(context: Context) -> Finding | None:
    """Containers and networks that outlived their instance."""
    engine = context.engine.client
    if not engine:
        return silent(context)
    containers, networks = (orphans(context, engine, kind) for kind in ("containers/json", "networks"))
    if not containers and not networks:
        return None
    what = " and ".join(
        plural(len(ids), name) for ids, name in ((containers, "container"), (networks, "network")) if ids
    )

    def mend() -> str:
        for number in containers:
            engine.delete(f"/containers/{number}?force=true")
        for number in networks:
            engine.delete(f"/networks/{number}")
        return f"Removed {what}."

    commands = [f"docker rm -f {' '.join(one[:12] for one in containers)}"] if containers else []
    commands += [f"docker network rm {' '.join(one[:12] for one in networks)}"] if networks else []
    message = f"Docker has {what} of instances that no longer exist."
    return wrong(message, "They keep ports and memory.", " && ".join(commands), mend)
