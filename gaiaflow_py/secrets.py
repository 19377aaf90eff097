"""Secrets of Kubernetes from Python: what `gaiaflow-setup secrets` does, as a function."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gaiaflow_py.errors import InputError
from gaiaflow_py.events import RunResult
from gaiaflow_py.manager import check, perform
from gaiaflow_py.request import Content, RunOptions, Secrets


def create_secrets(
    secret_name: str,
    secret_data: Mapping[str, str],
    *,
    instance: str = "default",
    namespace: str | None = None,
    kubeconfig: str | Path | None = None,
    context: str | None = None,
    progress: bool = False,
) -> RunResult:
    """Make a secret that tasks are given as environment variables, or replace it whole.

    Args:
        secret_name: The secret's name.
        secret_data: Its values by key.
        instance: Which instance of the stack it is for.
        namespace: Its namespace; the one of the instance's pods when None.
        kubeconfig: The kubeconfig of a cluster in place of this machine's.
        context: The context in it.
        progress: Show what runs now, on standard error.

    Raises:
        InputError: A value isn't text.
        RunError: It failed; the message names the reason and no value.
    """
    check(None, instance, (), None)
    for key, value in secret_data.items():
        if not isinstance(value, str):
            raise InputError(
                f"The value of {key} is of type {type(value).__name__}.", "Values are text: put it in quotes."
            )
    file = Path(kubeconfig).expanduser().absolute() if kubeconfig is not None else None
    secrets = Secrets(instance, namespace, file, context)
    return perform(secrets.create(secret_name, Content(data=dict(secret_data)), RunOptions(progress=progress)))
