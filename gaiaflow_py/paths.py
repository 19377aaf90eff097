"""Where things are: the content that Ansible reads, and the user's data."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from gaiaflow_py.errors import InputError


def content_root() -> Path:
    """Returns the directory that holds playbooks, roles, inventory and template."""
    package = Path(__file__).resolve().parent
    installed = package / "content"
    return installed if installed.is_dir() else package.parent


def home() -> Path:
    """Returns the directory of everything that gaiaflow-setup keeps for this user."""
    configured = os.environ.get("GAIAFLOW_HOME")
    if configured:
        return Path(configured).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME")
    if data and Path(data).is_absolute():
        return Path(data) / "gaiaflow"
    return home_directory(os.environ) / ".local" / "share" / "gaiaflow"


def home_directory(given: Mapping[str, str]) -> Path:
    """Returns the user's home directory: as HOME says, if it says something absolute, else the system's.

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
    """Returns the directory with one directory per instance."""
    return home() / "instances"


def private_directory(path: Path) -> Path:
    """Makes a directory that only its owner can enter, if it isn't there.

    Args:
        path: The directory; missing parents are made in the same way.

    Returns:
        The same path.
    """
    if not path.is_dir():
        private_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path
