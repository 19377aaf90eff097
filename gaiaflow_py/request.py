"""What a user asks for, as data: one request is one run of one playbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATES = {"start": "started", "stop": "stopped", "restart": "restarted", "export-compose": "exported"}
"""What can be done to a stack, and the state that the role brings about."""

CLUSTER_STATES = {
    "start": "started",
    "stop": "stopped",
    "restart": "restarted",
    "delete": "absent",
    "build-only": "built",
    "create-config-only": "configured",
    "create-secrets": "declared",
}
"""What can be done to the cluster."""

SECRET_STATES = {"create": "present", "delete": "absent", "list": "listed"}
"""What can be done to secrets."""


def given(**said: Any) -> dict[str, Any]:
    """Return the variables that something was said about, with paths as text.

    Args:
        said: Variables by name; None, or what is empty, where nothing was said.
    """
    return {name: str(value) if isinstance(value, Path) else value for name, value in said.items() if value}


@dataclass(frozen=True)
class RunOptions:
    """Options that every playbook command takes.

    Attributes:
        inventory: An inventory of the user's, or None for this machine.
        limit: Ansible's host pattern, or None.
        extra_vars: The user's variables.
        var_files: The user's files of variables.
        check: Say what would change, change nothing.
        diff: Show the differences in files.
        json: Print one JSON document and nothing else on standard output.
        verbosity: 0 for the progress display, 1 and more for Ansible's own output.
        progress: Show what runs now, on standard error.
        become_password: What sudo asks for, or None.
    """

    inventory: str | None = None
    limit: str | None = None
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    var_files: tuple[Path, ...] = ()
    check: bool = False
    diff: bool = False
    json: bool = False
    verbosity: int = 0
    progress: bool = True
    become_password: str | None = field(default=None, repr=False)

    @property
    def is_for_ansible(self) -> bool:
        """Whether only a run of the playbook does what they say; of variables, that is the command's to know."""
        return bool(self.inventory or self.limit or self.var_files or self.verbosity or self.become_password)


@dataclass(frozen=True)
class Request:
    """One run of one playbook.

    Attributes:
        playbook: The playbook's name, without directory and suffix.
        command: What the user asked for, as it is named in messages.
        variables: What the playbook is told.
        options: How to run it.
        locks: Names of the local instances that the run works on alone.
        leaves_nothing: The run removes the user's data directory, so the log is kept elsewhere.
        strict: What is left for later is a failure.
        is_question: The run only looks, and soon ends: nothing of how it went on is left on the screen.
    """

    playbook: str
    command: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    options: RunOptions = RunOptions()
    locks: tuple[str, ...] = ()
    leaves_nothing: bool = False
    strict: bool = False
    is_question: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the run is about this machine only."""
        return self.options.inventory is None

    @property
    def held(self) -> tuple[str, ...]:
        """The instances to lock: none when nothing changes, or when it changes elsewhere."""
        return self.locks if self.is_local and not self.options.check else ()


def mlops(
    action: str,
    options: RunOptions,
    *,
    instance: str | None = None,
    project: Path | None = None,
    services: Sequence[str] = (),
    jupyter_port: int | None = None,
    runtime: str | None = None,
    **more: Any,
) -> Request:
    """Return the request that does something to the services of one instance of the stack.

    Args:
        action: What to do.
        options: How to run it.
        instance: The instance's name, or None for the default one.
        project: The project to wire it to.
        services: The services meant; all when empty.
        jupyter_port: JupyterLab's port.
        runtime: Where the services run.
        more: Other variables of the role.
    """
    variables = given(
        mlops_instance=instance,
        mlops_project=project,
        mlops_services=list(services),
        mlops_port_overrides=given(jupyter=jupyter_port),
        mlops_runtime=runtime,
        mlops_state=STATES[action],
        **more,
    )
    return Request("mlops", f"mlops --{action}", variables, options, (instance or "default",))


def build_image(project: Path, options: RunOptions, *, always: bool = False, cache: bool = True) -> Request:
    """Return the request that builds a project's image.

    Args:
        project: The project.
        options: How to run it.
        always: Build it though nothing has changed.
        cache: Use the layers of earlier builds.
    """
    variables = {"project_image_project": str(project), "project_image_always": always, "project_image_cache": cache}
    return Request("images", "images", variables, options)


def cluster(
    action: str,
    options: RunOptions,
    *,
    instance: str | None = None,
    project: Path | None = None,
    kubeconfig: Path | None = None,
    context: str | None = None,
    force_new: bool = False,
) -> Request:
    """Return the request that does something to the cluster.

    Args:
        action: What to do.
        options: How to run it.
        instance: The instance of the stack that is connected, or None for the default one.
        project: The project whose image and secrets are meant; the instance's when None.
        kubeconfig: The kubeconfig of a cluster in place of Minikube's.
        context: The context in it.
        force_new: Delete a Minikube profile first.
    """
    variables = given(
        cluster_instance=instance,
        cluster_project=project,
        cluster_kubeconfig=kubeconfig,
        cluster_context=context,
        cluster_force_new=force_new,
        cluster_state=CLUSTER_STATES[action],
    )
    return Request("cluster", f"cluster --{action}", variables, options, (instance or "default",))


def secrets(action: str, options: RunOptions, name: str = "", **said: Any) -> Request:
    """Return the request that makes a secret or replaces it, deletes one, or lists them without their values.

    Args:
        action: What to do.
        options: How to run it.
        name: The secret's name.
        said: The role's other variables, without its name before theirs.
    """
    variables = {f"kube_secret_{variable}": value for variable, value in given(name=name, **said).items()}
    variables["kube_secret_state"] = SECRET_STATES[action]
    return Request("secrets", f"secrets {action}", variables, options, is_question=action == "list")
