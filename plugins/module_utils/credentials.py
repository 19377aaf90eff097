"""An instance's credentials: made as the catalogue says, and kept in a private file with a copy."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .common import copy_of, read_whole, write_private
from .record import LostFileError, holds_data

Credentials = dict[str, dict[str, str]]
Services = Mapping[str, Mapping[str, Any]]

RANDOM: Mapping[str, Callable[[int], str]] = {
    "urlsafe": secrets.token_urlsafe,
    "hex": secrets.token_hex,
    "fernet": lambda number: base64.urlsafe_b64encode(secrets.token_bytes(number)).decode(),
}
"""How a value is made of so many random bytes."""


def wanted_credentials(services: Services) -> dict[str, dict[str, Any]]:
    """Return what credentials there are to be; `internal` ones are the services' own and are never shown.

    Args:
        services: What is said of each service, as `mlops_service_NAME` has it.
    """
    wanted: dict[str, dict[str, Any]] = {}
    for service in services.values():
        for group, values in service.get("credentials", {}).items():
            wanted.setdefault(group, {}).update(values)
    return wanted


def generate(wanted: Mapping[str, Mapping[str, Any]]) -> Credentials:
    """Return credentials that nobody else has."""
    return {group: {name: make(value) for name, value in values.items()} for group, values in wanted.items()}


def make(value: str | Mapping[str, Any]) -> str:
    """Return a value as it stands, or a random one as it is described.

    Args:
        value: The value; or `random`, a key of RANDOM, `bytes`, and a `prefix` if there is one.
    """
    if isinstance(value, str):
        return value
    return str(value.get("prefix", "")) + RANDOM[value["random"]](int(value["bytes"]))


def keep_credentials(path: Path, services: Services, check_mode: bool) -> bool:
    """Add the credentials that are missing and correct the file's mode; return whether that was needed.

    Args:
        path: The file.
        services: What is said of each service, as `mlops_service_NAME` has it.
        check_mode: Whether nothing is written.

    Raises:
        LostFileError: Some are gone or broken, in their copy, too, while there is data that only they open.
    """
    present = present_credentials(path)
    for service in services.values():
        missing = set(service.get("credentials", {})) - set(present)
        if missing and holds_data(path.parent, service.get("data")):
            raise LostFileError(
                f"{path} {'is broken' if path.exists() else 'is gone'}, and so is the copy of it: only with the"
                " passwords in it can the stack's databases and objects be opened.",
                "Put it back from a backup, or give the data up: gaiaflow-setup mlops --restart --delete-volume",
            )
    generated = generate(wanted_credentials(services))
    complete = {**present, **{group: {**values, **present.get(group, {})} for group, values in generated.items()}}
    private = path.exists() and path.stat().st_mode & 0o777 == 0o600
    if private and complete == read_whole(path):
        keep_copy(path, complete, check_mode)
        return False
    if not check_mode:
        write_private(path, json.dumps(complete, indent=2) + "\n")
    keep_copy(path, complete, check_mode)
    return True


def present_credentials(path: Path) -> Credentials:
    """Return the credentials of a file; those that somebody has taken out, from its copy.

    Args:
        path: The file.
    """
    contents = [content for content in (read_whole(copy_of(path)), read_whole(path)) if are_credentials(content)]
    return {group: values for content in contents for group, values in content.items()}


def are_credentials(content: Mapping[str, Any]) -> bool:
    """Return whether these are credentials."""
    return all(
        isinstance(group, dict) and all(value and isinstance(value, str) for value in group.values())
        for group in content.values()
    )


def keep_copy(path: Path, content: Mapping[str, Any], check_mode: bool) -> None:
    """Keep a copy of what a file is to hold.

    Args:
        path: The file.
        content: What it is to hold.
        check_mode: Whether nothing is written.
    """
    copy = copy_of(path)
    if not check_mode and read_whole(copy) != content:
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(copy, json.dumps(content, indent=2) + "\n")
