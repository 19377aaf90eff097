"""Where things are: the content that Ansible reads, and the user's data."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping
from pathlib import Path

from gaiaflow_py.errors import InputError

REMOVE_S = 20.0
"""How long to go on removing what is still being written to."""

OF_HOME = '"$`\\#;%:{}'
"""Characters that mean something to what is handed paths below the home: PostgreSQL's shell, supervisord, Ansible."""

OF_PROJECT = "$:"
"""Characters that mean something to what is handed the project's path: Ansible's modules, and PYTHONPATH."""


def content_root() -> Path:
    """Return the directory that holds playbooks, roles, inventory and template."""
    root = Path(__file__).resolve().parents[1]
    is_checkout = (root / "playbooks").is_dir()
    return root if is_checkout else root / "ansible_collections" / "gaiaflow" / "setup"


def home() -> Path:
    """Return the directory of everything that gaiaflow-setup keeps for this user."""
    configured = os.environ.get("GAIAFLOW_HOME")
    if configured:
        return usable("GAIAFLOW_HOME", Path(configured).expanduser().absolute(), OF_HOME)
    data = os.environ.get("XDG_DATA_HOME")
    if data and Path(data).is_absolute():
        return usable("XDG_DATA_HOME", Path(data) / "gaiaflow", OF_HOME)
    return usable("HOME", home_directory(os.environ) / ".local" / "share" / "gaiaflow", OF_HOME)


def usable(name: str, path: Path, refused: str) -> Path:
    """Return a path, if every program that is handed it takes it as it is.

    Args:
        name: What says so: an option or a variable.
        path: The path.
        refused: Characters that mean something else to one of them.

    Raises:
        InputError: There is such a character, a control character, or what isn't UTF-8.
    """
    found = next((one for one in str(path) if one in refused or one < " " or "\x7f" <= one <= "\x9f"), None)
    if found is not None:
        message = f"{name} {str(path)!r} can't be used: {found!r} in it means something else to a program that gets it."
        raise InputError(message, f"Use a directory whose whole path has none of {' '.join(refused)}")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{name} {os.fsencode(path)!r} isn't in UTF-8.", "Give the directory another name.") from None
    return path


def home_directory(given: Mapping[str, str]) -> Path:
    """Return the user's home directory: as HOME says, if it says something absolute, else the system's.

    Args:
        given: The user's environment.

    Raises:
        InputError: Neither says one.
    """
    said = Path(given.get("HOME", ""))
    if said.is_absolute():
        return said
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise InputError("HOME isn't set, and the system knows no home directory for this user.", "Set HOME.") from None


def instances_dir() -> Path:
    """Return the directory with one directory per instance."""
    return home() / "instances"


def private_directory(path: Path) -> Path:
    """Make a directory that only its owner can enter, if it isn't there.

    Args:
        path: The directory; missing parents are made in the same way.

    Returns:
        The same path.
    """
    if not path.is_dir():
        private_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def remove_tree(directory: Path) -> None:
    """Remove a directory that a process may still be writing to as it ends.

    Args:
        directory: The directory; it may be gone already.
    """
    import shutil

    deadline = time.monotonic() + REMOVE_S
    while True:
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists() or time.monotonic() > deadline:
            return
        time.sleep(0.05)
