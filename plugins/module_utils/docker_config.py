"""The user's settings of Docker's command line (~/.docker): what is left over in them, and the settings without it.

Docker Desktop writes its credential helper and its context there, also into a WSL distribution's files. When it goes,
they stay: every pull and build then fails, or asks an engine that isn't there. Pure functions; nobody here writes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMES = {list: "an array", dict: "an object", str: "a string", bool: "true or false", int: "a number"}
# What Docker's command line and its engine read, by name; all elements of an object are under "".
TYPES_OF_CLIENT: Mapping[str, Any] = {
    "auths": {"": dict}, "credHelpers": {"": str}, "credsStore": str, "currentContext": str, "HttpHeaders": {"": str},
    "proxies": {"": {"": str}}, "plugins": {"": {"": str}}, "cliPluginsExtraDirs": [str], "aliases": {"": str},
    "features": {"": str}, "detachKeys": str, "psFormat": str, "imagesFormat": str, "experimental": str,
}  # fmt: skip
TYPES_OF_ENGINE: Mapping[str, Any] = {
    "dns": [str], "dns-opts": [str], "dns-search": [str], "hosts": [str], "group": str, "proxies": {"": str},
    "data-root": str, "exec-root": str, "exec-opts": [str], "storage-driver": str, "storage-opts": [str],
    "log-driver": str, "log-level": str, "log-opts": {"": str}, "labels": [str], "insecure-registries": [str],
    "registry-mirrors": [str], "default-runtime": str, "runtimes": {"": dict}, "features": {"": bool},
    "default-ulimits": {"": dict}, "default-address-pools": [dict], "builder": dict, "bip": str, "bridge": str,
    "mtu": int, "max-concurrent-downloads": int, "max-concurrent-uploads": int, "debug": bool, "experimental": bool,
    "icc": bool, "ip-forward": bool, "ip-masq": bool, "iptables": bool, "ip6tables": bool, "ipv6": bool,
    "live-restore": bool, "no-new-privileges": bool, "selinux-enabled": bool, "tls": bool, "tlsverify": bool,
    "userland-proxy": bool, "cgroup-parent": str, "default-cgroupns-mode": str, "pidfile": str, "userns-remap": str,
}  # fmt: skip


def read_config(path: Path) -> dict[str, Any]:
    """Return the settings in a config.json; none where there is no file, or an empty one, as for Docker itself.

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


def wrong_types(content: dict[str, Any], types: Mapping[str, Any]) -> list[str]:
    """Return what of the settings has another type than Docker reads there: it ends with an error on each of them.

    Args:
        content: The settings.
        types: The types of those that are known; a list or mapping with one type stands for all its elements.

    Returns:
        A description of each, by the name of the setting.
    """
    return [
        f"{name} is {_type_of(value)} and not {_name(types[name])}"
        for name, value in content.items()
        if name in types and not _is_of(value, types[name])
    ]


def well_typed(content: dict[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without those that have another type than Docker reads there.

    Args:
        content: The settings; they aren't changed.
        types: The types of those that are known.
    """
    return {name: value for name, value in content.items() if name not in types or _is_of(value, types[name])}


def _is_of(value: Any, expected: Any) -> bool:
    """Whether a value is of a type; Docker takes null for what isn't there."""
    if value is None:
        return True
    if isinstance(expected, list):
        return isinstance(value, list) and all(_is_of(one, expected[0]) for one in value)
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(_is_of(one, expected[""]) for one in value.values())
    # To Python, true is a number, too.
    return isinstance(value, expected) and (expected is bool or not isinstance(value, bool))


def _name(expected: Any) -> str:
    """Return what JSON calls a type."""
    if isinstance(expected, type):
        return NAMES[expected]
    element = expected[0] if isinstance(expected, list) else expected[""]
    return f"{NAMES[type(expected)]} in which each element is {_name(element)}"


def _type_of(value: Any) -> str:
    """Return a value as it is named in a message: with its content, as far as that is short."""
    text = json.dumps(value)
    return text if len(text) <= 40 else NAMES.get(type(value), "a number")


def missing_helpers(config: dict[str, Any], search_path: str) -> list[str]:
    """Return the credential helpers that the settings name and that aren't there.

    Args:
        config: The settings.
        search_path: The directories where Docker would look, as in PATH.

    Returns:
        Their names as the settings give them ("desktop" is the program docker-credential-desktop), each once, sorted.
    """
    named = [config.get("credsStore"), *_of_registries(config).values()]
    helpers = {one for one in named if isinstance(one, str) and one}
    return sorted(one for one in helpers if not shutil.which(f"docker-credential-{one}", path=search_path))


def without_helpers(config: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the settings without some credential helpers.

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
    """Return the context that the settings choose, if it leads nowhere.

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
    """Return the settings with Docker's default context.

    Args:
        config: The settings; they aren't changed.

    Returns:
        All but the choice of a context. The contexts themselves stay.
    """
    return {key: value for key, value in config.items() if key != "currentContext"}


def _of_registries(config: dict[str, Any]) -> dict[str, Any]:
    """Return the helpers of single registries."""
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
