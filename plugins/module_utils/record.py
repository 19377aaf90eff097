"""What is kept of an instance: its record, and what the last start has written of its services."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .common import kept, read_whole
from .errors import SetupError

# What each runtime keeps of the services that it runs.
DEFINITIONS = {"native": "services.json", "docker": "containers.json"}
PORT_RANGE = range(1, 65536)
# The kernel allows 107 bytes for a socket's path; the longest name that is put there has 20.
LONGEST_SOCKET_DIRECTORY = 85
# What services keep can't be had again, this aside.
CACHES = ("matplotlib",)


class LostFileError(SetupError):
    """A file is gone or broken that can't be made anew."""


def is_record(content: dict[str, Any]) -> bool:
    """Whether this is an instance's record."""
    ports, texts = content.get("ports"), ("directory", "sockets", "runtime", "containers")
    return (
        isinstance(ports, dict)
        and all(type(port) is int and port in PORT_RANGE for port in ports.values())
        and all(isinstance(content.get(name, ""), str) for name in texts)
        and content.get("runtime", "native") in DEFINITIONS
        and isinstance(content.get("project") or "", str)
        and isinstance(content.get("urls"), dict)
    )


def holds_data(directory: Path, stores: Iterable[str] | None = None) -> bool:
    """Return whether the instance holds data that a service has made.

    Args:
        directory: The instance's directory.
        stores: Directories of its `data`; all when it isn't given.
    """
    found = [one for one in (directory / "data").glob("*/") if one.name not in CACHES]
    chosen = [one for one in found if stores is None or one.name in stores]
    return any(not entry.name.startswith(".") for one in chosen for entry in one.iterdir())


def kept_record(directory: Path) -> dict[str, Any]:
    """Return the record of an instance; nothing where there is none, or neither it nor its copy can be read.

    A directory that was moved is where it is now. One that was copied has processes and containers of its own, too:
    those in the record are the other one's, which may go on running.
    """
    record: dict[str, Any] = kept(directory / "instance.json", is_record)
    other = Path(record.get("directory") or directory)
    if other == directory or (other.exists() and directory.exists() and other.samefile(directory)):
        return record
    record = {**record, "directory": str(directory)}
    if other.exists():
        record |= {"sockets": str(socket_directory(directory)), "containers": prefix_of(directory)}
    return record


def socket_directory(directory: Path) -> Path:
    """Return where an instance's sockets are: inside its directory, or in a private place with a short path."""
    inside = directory / "run"
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_DIRECTORY:
        return inside
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    # Not in TMPDIR: shells differ in it.
    return Path("/tmp") / f"gaiaflow-{os.geteuid()}-{digest}"


def prefix_of(directory: Path) -> str:
    """Return what the names of an instance's containers start with; no two directories share it.

    Args:
        directory: The instance's directory.
    """
    return f"gaiaflow-{directory.name}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:6]}"


def own_record(directory: Path) -> dict[str, Any]:
    """Return the record of the instance that is asked of.

    Raises:
        LostFileError: It is gone or broken, with its copy, while there is data that it says the ports and project of.
    """
    path, record = directory / "instance.json", kept_record(directory)
    if not record and (path.exists() or holds_data(directory)):
        raise LostFileError(
            f"{path} {'holds no record of an instance' if path.exists() else 'is gone'}, and so is the copy of it: it"
            " is not known any more which project and ports the instance has.",
            f"Put it back from a backup. To keep the data and give the instance new ports, remove {path}, if it is"
            f" there, and put {directory / 'data'} elsewhere meanwhile.",
        )
    return record


def definition_of(directory: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return what the last start has written of the services.

    Raises:
        LostFileError: It is gone or broken, so that nothing can be asked of the services, which may be running.
    """
    path = directory / "config" / DEFINITIONS[record.get("runtime", "native")]
    hint = "Nothing is lost with it: gaiaflow-setup mlops --start writes it anew."
    definition: dict[str, Any] = read_whole(path)
    if path.exists() and not (
        isinstance(definition.get("environments"), dict) and isinstance(definition.get("services"), dict)
    ):
        raise LostFileError(f"{path} isn't what a start has written.", hint)
    if not definition and holds_data(directory):
        raise LostFileError(f"{path} is gone.", hint)
    base = Path(definition.get("environments", {}).get("base", "/"), "bin", "python")
    if definition and not os.access(base, os.X_OK):
        raise LostFileError(
            f"{base} leads to no Python: the environment was removed, or the Python that it links to.",
            "gaiaflow-setup mlops --start makes it anew.",
        )
    return definition
