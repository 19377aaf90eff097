"""The services, as the role mlops describes them: each in a file of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gaiaflow_py.paths import content_root


def _directory() -> Path:
    return content_root() / "roles" / "mlops" / "vars" / "main" / "services"


def service_names() -> tuple[str, ...]:
    """Return the names of all services."""
    return tuple(sorted(file.stem for file in _directory().glob("*.yml")))


def describe(service: str) -> dict[str, Any]:
    """Return what others need to know of a service; roles/mlops/vars/main/catalogue.yml says what that is.

    Args:
        service: Its name.
    """
    import yaml

    content = yaml.safe_load((_directory() / f"{service}.yml").read_text())
    described: dict[str, Any] = content[f"mlops_service_{service}"]
    return described


def environments() -> dict[str, bool]:
    """Return the services' Python environments by name, and whether each holds a project's dependencies, too."""
    from ansible_collections.gaiaflow.setup.plugins.module_utils.catalogue import environment_names

    return environment_names(map(describe, service_names()))
