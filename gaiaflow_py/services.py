"""How the services of this machine are, asked without Ansible: what `playbooks/status.yml` says of any host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gaiaflow_py.errors import GaiaflowError
from gaiaflow_py.paths import instances_dir
from gaiaflow_py.request import RunOptions

ENGINE_S = 45.0
"""How long the Docker engine may be silent for."""


def can_answer(options: RunOptions) -> bool:
    """Return whether these options need no run of the playbook.

    Args:
        options: What the user has given.
    """
    says_more = options.inventory or options.limit or options.extra_vars or options.var_files
    return not (says_more or options.verbosity or options.become_password)


def states(instance: str) -> list[dict[str, Any]]:
    """Return the services' states: name, state, health, url, uptime_s (seconds) and memory_bytes.

    Args:
        instance: The instance's name.

    Raises:
        GaiaflowError: They can't be found out.
    """
    from ansible_collections.gaiaflow.setup.plugins.module_utils import record

    directory = instances_dir() / instance
    try:
        kept = {"runtime": "native", **record.own_record(directory)}
        definition = record.definition_of(directory, kept)
    except record.LostFileError as error:
        raise GaiaflowError(str(error), error.hint) from error
    if not definition:
        return []
    return _in_containers(directory) if kept["runtime"] == "docker" else _supervised(directory, kept["sockets"])


def _supervised(directory: Path, sockets: str) -> list[dict[str, Any]]:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import supervisor

    stack = supervisor.Supervised(directory, f"{sockets}/supervisor.sock")
    try:
        stack.load_kept()
        return supervisor.status(stack)
    except (OSError, ValueError) as error:
        raise GaiaflowError(f"{type(error).__name__}: {error}", "Look with gaiaflow-setup doctor.") from error


def _in_containers(directory: Path) -> list[dict[str, Any]]:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import running

    try:
        return running.status(running.Containers(directory, "", ENGINE_S))
    except (OSError, ValueError) as error:
        raise GaiaflowError(*running.explain(error)) from error
