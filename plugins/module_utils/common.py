"""What the modules of this project share: one writer at a time, private files, progress lines, a process's owner."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import SetupError

# Every process of an instance carries its directory in this variable, so that none can be lost or mistaken.
INSTANCE_VARIABLE = "GAIAFLOW_INSTANCE_DIRECTORY"
# And in this one, which service it is of.
SERVICE_VARIABLE = "GAIAFLOW_SERVICE"
# The file that a Python environment gets when everything in it is in place.
COMPLETE = ".complete"


class ServiceError(SetupError):
    """A service did not reach its state.

    Args:
        message: What it did instead.
        details: The end of its log.
    """

    def __init__(self, message: str, details: str = "") -> None:
        hint = "`gaiaflow-setup logs NAME` shows its whole log; the other services were left as they are."
        super().__init__(message, hint)
        self.details = details


def end_with_run() -> None:
    """End this module, with what it has running, as soon as the run of Ansible that it is part of has ended.

    Over SSH without a terminal, as pipelining has it, a program would go on until it wants to tell its result, and find
    only then that nobody listens.
    """

    def watch() -> None:
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)  # an error is told without being asked for: that nobody listens
        output.poll()
        os.killpg(0, signal.SIGHUP)  # what a terminal would do

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold an exclusive lock, and give its descriptor; wait for a module of an interrupted run that still works.

    Args:
        path: The lock file; made if absent, in a directory that exists.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


@contextlib.contextmanager
def unlocked(path: Path) -> Iterator[bool]:
    """Give whether nobody holds a lock; as long as the caller works, nobody else gets it.

    Args:
        path: The lock file; where there is none, nobody holds it.
    """
    try:
        file = path.open()
    except FileNotFoundError:
        yield True
        return
    except OSError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            is_free = False
        else:
            is_free = True
        yield is_free


def path_in_home(text: str) -> Path:
    """Return a path, with the user's home for ~; an argument of type path would take a $ in it for a variable, too."""
    return Path(text).expanduser()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all.

    Args:
        path: The file.
        text: All that it shall hold.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one where there is no file.

    Args:
        path: The file.

    Raises:
        ValueError: The file holds something else; the message names the file.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


def read_whole(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where it isn't there, can't be read or holds something else.

    Args:
        path: The file.
    """
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def refusal_message(said: bytes) -> str:
    """Return what the Docker engine or an API server says in a refusal; their own are JSON, a proxy's may be anything.

    Args:
        said: The body of its answer.
    """
    try:
        return str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        return said[:200].decode(errors="replace")


def copy_of(path: Path) -> Path:
    """Where the copy is of a file that can't be made anew.

    Args:
        path: A file in an instance's directory.
    """
    return path.parent / "config" / "copies" / path.name


def kept(path: Path, is_valid: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return what a file holds, or if it is gone or broken what its copy does; nothing where there is neither.

    Args:
        path: A file in an instance's directory.
        is_valid: Tells whether a content can be what was written.
    """
    return next((content for one in (path, copy_of(path)) if (content := read_whole(one)) and is_valid(content)), {})


def s3_keys(directory: Path) -> dict[str, str]:
    """Return the S3 server's keys; none where the credentials can't be read.

    Args:
        directory: The instance's directory.
    """
    found = kept(directory / "credentials.json", lambda content: isinstance(content.get("minio"), dict))
    keys: dict[str, str] = found.get("minio", {})
    return keys


def report_progress(item: str = "", done: int = 0, total: int = 0, items: dict[str, bool] | None = None) -> None:
    """Tell the wrapper's display, where there is one, how far a long task is.

    Args:
        item: What it does now.
        done: How many of its parts are done.
        total: How many there are, if they can be counted.
        items: Its parts by name, and whether each is done; instead of the numbers.
    """
    file = os.environ.get("GAIAFLOW_PROGRESS_FILE")
    if file:
        step = {"at": time.monotonic(), "done": done, "total": total, "item": item, "items": items or {}}
        with contextlib.suppress(OSError), Path(file).open("a") as stream:
            stream.write(json.dumps(step) + "\n")
