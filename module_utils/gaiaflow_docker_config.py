"""The user's settings of Docker's command line (~/.docker): what is left over in them, and the settings without it.

Docker Desktop writes its credential helper and its context there, also into a WSL distribution's files. When it goes,
they stay: every pull and build then fails, or asks an engine that isn't there. Pure functions; nobody here writes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a config.json; none where there is no file, or an empty one, as for Docker itself.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        ValueError: It is no JSON object; the message names the file, the line and the column.
        OSError: It can't be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: byte {error.start} is no UTF-8") from error
    if not text.strip():
        return {}
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object (line 1, column 1)")
    return content


def missing_helpers(config: dict[str, Any], search_path: str) -> list[str]:
    """The credential helpers that the settings name and that aren't there.

    Args:
        config: The settings.
        search_path: The directories where Docker would look, as in PATH.

    Returns:
        Their names as the settings give them ("desktop" is the program docker-credential-desktop), each once, sorted.
    """
    named = {config.get("credsStore"), *_of_registries(config).values()}
    helpers = [one for one in named if isinstance(one, str) and one]
    return sorted(one for one in helpers if not shutil.which(f"docker-credential-{one}", path=search_path))


def without_helpers(config: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The settings without some credential helpers.

    Args:
        config: The settings; they aren't changed.
        names: What missing_helpers gave.

    Returns:
        All else, in its order. A credHelpers that would be empty goes, too.
    """
    left = dict(config)
    if left.get("credsStore") in names:
        del left["credsStore"]
    registries = {registry: helper for registry, helper in _of_registries(config).items() if helper not in names}
    if registries:
        left["credHelpers"] = registries
    elif _of_registries(config):
        del left["credHelpers"]
    return left


def stale_context(config: dict[str, Any], docker_directory: Path) -> str | None:
    """The context that the settings choose, if it leads nowhere.

    Args:
        config: The settings.
        docker_directory: Where contexts are kept, ~/.docker.

    Returns:
        Its name, when there is no such context, its socket isn't there, or it leads to a Windows pipe, which only
        Windows can open; else None. An engine that is reached over a network is never stale: that it is silent now
        says nothing.
    """
    name = config.get("currentContext")
    if not isinstance(name, str) or name in ("", "default"):
        return None
    host = _endpoint(docker_directory, name)
    if host is None:
        return name
    scheme, _, path = host.partition("://")
    is_stale = scheme == "npipe" or (scheme == "unix" and _is_absent(Path(path)))
    return name if is_stale else None


def without_context(config: dict[str, Any]) -> dict[str, Any]:
    """The settings with Docker's default context.

    Args:
        config: The settings; they aren't changed.

    Returns:
        All but the choice of a context. The contexts themselves stay.
    """
    return {key: value for key, value in config.items() if key != "currentContext"}


def _of_registries(config: dict[str, Any]) -> dict[str, Any]:
    """The helpers of single registries."""
    helpers = config.get("credHelpers")
    return helpers if isinstance(helpers, dict) else {}


def _is_absent(path: Path) -> bool:
    """Whether there is certainly no such file; one that may not be looked at could be there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _endpoint(docker_directory: Path, name: str) -> str | None:
    """Where a context's engine listens; None when there is no such context."""
    # Docker names a context's directory by the digest of its name.
    directory = docker_directory / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    try:
        content = json.loads((directory / "meta.json").read_text(encoding="utf-8"))
        host = content["Endpoints"]["docker"]["Host"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return str(host)
