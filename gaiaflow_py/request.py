"""What a user asks for, as data: one request is one run of one playbook."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Action = Literal["start", "stop", "restart", "export-compose"]
"""What can be done to a stack."""

ClusterAction = Literal["start", "stop", "restart", "delete", "build-only", "create-config-only", "create-secrets"]
"""What can be done to the cluster."""

CLUSTER_STATES: Mapping[ClusterAction, str] = {
    "start": "started",
    "stop": "stopped",
    "restart": "restarted",
    "delete": "absent",
    "build-only": "built",
    "create-config-only": "configured",
    "create-secrets": "declared",
}

STATES: Mapping[Action, str] = {
    "start": "started",
    "stop": "stopped",
    "restart": "restarted",
    "export-compose": "exported",
}


def given(**said: Any) -> dict[str, Any]:
    """Return the variables that something was said about, with paths as text.

    Args:
        said: Variables by name; None, or what is empty, where nothing was said.
    """
    return {name: str(value) if isinstance(value, Path) else value for name, value in said.items() if value}


def typed(command: str, *arguments: object, **said: Any) -> str:
    """Return a command with its arguments and options, as it can be typed again.

    Args:
        command: The command.
        arguments: Its arguments; None where one wasn't given.
        said: Options by name; a sequence is several of the same.
    """
    words = [shlex.quote(str(argument)) for argument in arguments if argument is not None]
    for option, value in given(**said).items():
        for one in [value] if isinstance(value, str) else value:
            words += [f"--{option}", shlex.quote(one)]
    return " ".join([command, *words])


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


@dataclass(frozen=True)
class Stack:
    """One instance of the stack, as far as the user said something about it.

    Attributes:
        instance: The instance's name, or None for the default one.
        project: The project to wire it to.
        services: The services meant; all when empty.
        jupyter_port: JupyterLab's port.
        runtime: Where the services run.
    """

    instance: str | None = None
    project: Path | None = None
    services: Sequence[str] = ()
    jupyter_port: int | None = None
    runtime: str | None = None

    def variables(self) -> dict[str, Any]:
        """Return the playbooks' variables, without those the user said nothing about."""
        return given(
            mlops_instance=self.instance,
            mlops_project=self.project,
            mlops_services=list(self.services),
            mlops_port_overrides=given(jupyter=self.jupyter_port),
            mlops_runtime=self.runtime,
        )

    def change(self, action: Action, options: RunOptions, *, delete_volumes: bool = False) -> Request:
        """Return the request that starts, stops or restarts the services.

        Args:
            action: What to do.
            options: How to run it.
            delete_volumes: Remove the services' data, too.
        """
        more = given(mlops_state=STATES[action], mlops_delete_volumes=delete_volumes)
        return Request("mlops", self._typed(f"mlops --{action}"), self.variables() | more, options, self._locks())

    def workstation(
        self,
        options: RunOptions,
        *,
        without: Sequence[str] = (),
        bundle: Path | None = None,
        conda: bool = False,
        strict: bool = False,
    ) -> Request:
        """Return the request that brings the whole machine to its wanted state.

        Args:
            options: How to run it.
            without: Components to leave out.
            bundle: The bundle to install from, without a network.
            conda: Install Miniforge, too.
            strict: What would be left for later is a failure.
        """
        more = given(workstation_without=list(without), bundle_file=bundle, conda_enabled=conda)
        command = self._typed("workstation")
        return Request("workstation", command, self.variables() | more, options, self._locks(), strict=strict)

    def status(self, options: RunOptions) -> Request:
        """Return the request that asks how the services are.

        Args:
            options: How to run it.
        """
        return Request("status", "status", self.variables(), options, is_question=True)

    def _typed(self, command: str) -> str:
        said = {"instance": self.instance, "project": self.project, "runtime": self.runtime}
        return typed(command, **said, service=self.services)

    def _locks(self) -> tuple[str, ...]:
        return (self.instance or "default",)


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


@dataclass(frozen=True)
class Cluster:
    """The cluster, as far as the user said something about it.

    Attributes:
        instance: The instance of the stack that is connected, or None for the default one.
        project: The project whose image and secrets are meant; the instance's when None.
        kubeconfig: The kubeconfig of a cluster in place of Minikube's.
        context: The context in it.
    """

    instance: str | None = None
    project: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None

    def change(self, action: ClusterAction, options: RunOptions, *, force_new: bool = False) -> Request:
        """Return the request that does something to the cluster.

        Args:
            action: What to do.
            options: How to run it.
            force_new: Delete a Minikube profile first.
        """
        variables = given(
            cluster_instance=self.instance,
            cluster_project=self.project,
            cluster_kubeconfig=self.kubeconfig,
            cluster_context=self.context,
            cluster_force_new=force_new,
            cluster_state=CLUSTER_STATES[action],
        )
        return Request("cluster", typed(f"cluster --{action}", **vars(self)), variables, options, self._locks())

    def _locks(self) -> tuple[str, ...]:
        return (self.instance or "default",)


@dataclass(frozen=True)
class Content:
    """What a secret is to hold.

    Attributes:
        data: Values by key.
        env_files: Files in the syntax of `.env`.
        files: Files by the key that holds their content.
    """

    data: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_files: tuple[Path, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Secrets:
    """The secrets of one instance's tasks.

    Attributes:
        instance: The instance, or None for the default one.
        namespace: Their namespace; the one of the instance's pods when None.
        kubeconfig: The kubeconfig of a cluster in place of this machine's.
        context: The context in it.
    """

    instance: str | None = None
    namespace: str | None = None
    kubeconfig: Path | None = None
    context: str | None = None

    def create(self, name: str, content: Content, options: RunOptions) -> Request:
        """Return the request that makes a secret, or replaces it.

        Args:
            name: Its name.
            content: What it is to hold.
            options: How to run it.
        """
        more = given(
            kube_secret_data=dict(content.data),
            kube_secret_env_files=list(map(str, content.env_files)),
            kube_secret_files=given(**content.files),
        )
        return self._request("create", "present", options, name, more)

    def delete(self, name: str, options: RunOptions) -> Request:
        """Return the request that deletes a secret.

        Args:
            name: Its name.
            options: How to run it.
        """
        return self._request("delete", "absent", options, name, {})

    def list(self, options: RunOptions) -> Request:
        """Return the request that tells all about the secrets but their values.

        Args:
            options: How to run it.
        """
        return self._request("list", "listed", options, "", {})

    def _request(self, action: str, state: str, options: RunOptions, name: str, more: Mapping[str, Any]) -> Request:
        variables = given(
            kube_secret_name=name,
            kube_secret_instance=self.instance,
            kube_secret_namespace=self.namespace,
            kube_secret_kubeconfig=self.kubeconfig,
            kube_secret_context=self.context,
            kube_secret_state=state,
            **more,
        )
        return Request(
            "secrets", typed(f"secrets {action}", name or None), variables, options, is_question=action == "list"
        )
