"""Reads the catalogue of services (roles/mlops/vars/main/catalogue.yml) as one runtime wants it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

PLACEHOLDER = re.compile(r"@\{(\w+)\.(\w+)\}")
RUNTIMES = ("native", "docker")


def combine(*layers: dict[str, Any]) -> dict[str, Any]:
    """One description out of several: a later one's keys win, and environments are put together."""
    combined: dict[str, Any] = {}
    for layer in layers:
        combined.update({**layer, "env": {**combined.get("env", {}), **layer.get("env", {})}})
    return combined


def expand(services: dict[str, Any], bases: dict[str, Any], runtime: str) -> dict[str, Any]:
    """Return the services with what each takes over from its `base` and with what is said for this runtime alone.

    Args:
        services: The catalogue's entries by name.
        bases: What several entries share, by the name that their `base` gives.
        runtime: `native` or `docker`.

    Raises:
        KeyError: An entry's base is not among the bases.
    """
    expanded = {}
    for name, entry in services.items():
        base = bases[entry["base"]] if "base" in entry else {}
        if entry.get("only", runtime) != runtime:
            continue
        complete = combine(base, entry, base.get(runtime, {}), entry.get(runtime, {}))
        expanded[name] = {key: value for key, value in complete.items() if key not in {"base", "only", *RUNTIMES}}
    for entry in expanded.values():
        needed = entry.get("needs", [])
        entry["waits_for"] = [[host(one, runtime), int(expanded[one]["port"])] for one in needed]
        if runtime == "docker":
            entry["peers"] = sorted(expanded)
    return expanded


def environment_names(services: Iterable[dict[str, Any]]) -> dict[str, bool]:
    """Return the services' Python environments by name, and whether each holds a project's dependencies, too.

    Args:
        services: What is said of each service, as `mlops_service_NAME` has it.
    """
    environments = [one.get("environments", {}) for one in services]
    return {name: bool(how.get("with_project")) for one in environments for name, how in one.items()}


def host(name: str, runtime: str) -> str:
    """Where other services of the instance find this one."""
    return name if runtime == "docker" else "127.0.0.1"


def fill_in(text: str, credentials: dict[str, Any]) -> str:
    """Return a text with each `@{group.name}` replaced by that value of the credentials."""
    return PLACEHOLDER.sub(lambda match: str(credentials[match[1]][match[2]]), text)
