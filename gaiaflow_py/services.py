"""How the services of this machine are, asked without Ansible: what `playbooks/status.yml` says of any host."""

from __future__ import annotations

from typing import Any

from gaiaflow_py.errors import GaiaflowError
from gaiaflow_py.paths import instances_dir
from gaiaflow_py.request import RunOptions


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
    from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime import implementation

    directory = instances_dir() / instance
    try:
        kept = {"runtime": "native", **record.own_record(directory)}
        definition = record.definition_of(directory, kept)
    except record.LostFileError as error:
        raise GaiaflowError(str(error), error.hint) from error
    if not definition:
        return []
    runtime = implementation(kept["runtime"])
    try:
        found: list[dict[str, Any]] = runtime(directory).status()
    except (OSError, ValueError) as error:
        message, hint = runtime.explain(error)
        raise GaiaflowError(message, hint or "Look with gaiaflow-setup doctor.") from error
    return found
