"""Whether pods find a project's image as it is now, asked without Ansible: then `cluster --build-only` is done."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

from gaiaflow_py.errors import GaiaflowError
from gaiaflow_py.events import Counts, RunResult
from gaiaflow_py.instance import find
from gaiaflow_py.paths import content_root
from gaiaflow_py.request import Request

KNOWN = frozenset({"cluster_profile", "cluster_registry_port", "cluster_cpus", "cluster_memory_mb"})
"""The variables that are understood here, or say nothing of an image."""

DEFAULTS = ("roles/cluster/defaults/main.yml", "inventory/group_vars/all/versions.yml")


def find_unchanged(request: Request) -> RunResult | None:
    """Return how `cluster --build-only` ends where there is nothing to do; None where Ansible has to look.

    Whatever is unusual, or wrong, is Ansible's to find: it explains more.

    Args:
        request: The run of the playbook that may not be needed.
    """
    options, said = request.options, request.variables
    if options.is_for_ansible or options.check or "cluster_kubeconfig" in said:
        return None
    if not KNOWN.issuperset(options.extra_vars):
        return None
    try:
        found = find(said.get("cluster_instance", "default"))
    except GaiaflowError:
        return None
    project = said.get("cluster_project") or (found.project if found else None)
    if found is None or not project:
        return None
    image = _pushed_image(Path(project), found.directory / "config" / "cluster", {**_defaults(), **options.extra_vars})
    return RunResult(hosts={"localhost": Counts(ok=1)}, image=image) if image else None


def _defaults() -> dict[str, Any]:
    import yaml

    return {
        name: value
        for file in DEFAULTS
        for name, value in yaml.safe_load((content_root() / file).read_text(encoding="utf-8")).items()
    }


def _pushed_image(project: Path, connection: Path, settings: dict[str, Any]) -> str:
    """Return the image's name, if it needs no build, the registry has it, and the cluster answers to Airflow."""
    from ansible_collections.gaiaflow.setup.plugins.module_utils.common import read_whole
    from ansible_collections.gaiaflow.setup.plugins.module_utils.errors import SetupError
    from ansible_collections.gaiaflow.setup.plugins.module_utils.image import examine
    from ansible_collections.gaiaflow.setup.plugins.module_utils.kubernetes import read_connection
    from ansible_collections.gaiaflow.setup.plugins.module_utils.registry import Registry

    kept = read_whole(connection / "cluster.json")
    if (kept.get("kind"), kept.get("profile")) != ("minikube", settings["cluster_profile"]):
        return ""
    # By default what project_image_base is; another value of either is no variable that is understood here.
    wanted = {"project": project, "package": "", "base": settings["base_image"], "index": "", "always": False}
    try:
        state = examine(wanted)
        name: str = state["project_image"]
        called = kept["images"][name]
        is_kept = kept["image_ids"][name] == state["image_id"] and called in state["pushed_names"]
        registry, _, path = called.partition("/")
        if state["build"] or not is_kept or registry != f"127.0.0.1:{settings['cluster_registry_port']}":
            return ""
        repository, _, digest = path.partition("@")
        if not Registry(registry, repository).find(digest):
            return ""
        read_connection(connection).get(f"/api/v1/namespaces/{kept['namespace']}/pods?limit=1")
    except (SetupError, http.client.HTTPException, OSError, ValueError, KeyError):
        return ""
    return name
