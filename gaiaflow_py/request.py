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
        """Returns the playbooks' variables, without those the user said nothing about."""
        said = {
            "mlops_instance": self.instance,
            "mlops_project": str(self.project) if self.project else None,
            "mlops_services": list(self.services),
            "mlops_port_overrides": {"jupyter": self.jupyter_port} if self.jupyter_port else None,
            "mlops_runtime": self.runtime,
        }
        return {name: value for name, value in said.items() if value}

    def typed(self, command: str) -> str:
        """Returns a command with the options that say which stack is meant, as it can be typed again.

        Args:
            command: The command, without them.
        """
        said = {"--instance": self.instance, "--project": self.project, "--runtime": self.runtime}
        words = [str(word) for option, value in said.items() if value for word in (option, value)]
        words += [word for service in self.services for word in ("--service", service)]
        return " ".join([command, *map(shlex.quote, words)])

    def change(self, action: Action, options: RunOptions, *, delete_volumes: bool = False) -> Request:
        """Returns the request that starts, stops or restarts the services.

        Args:
            action: What to do.
            options: How to run it.
            delete_volumes: Remove the services' data, too.
        """
        variables = self.variables() | {"mlops_state": STATES[action]}
        if delete_volumes:
            variables["mlops_delete_volumes"] = True
        return Request("mlops", self.typed(f"mlops --{action}"), variables, options, self._locks())

    def workstation(
        self,
        options: RunOptions,
        *,
        without: Sequence[str] = (),
        bundle: Path | None = None,
        conda: bool = False,
        strict: bool = False,
    ) -> Request:
        """Returns the request that brings the whole machine to its wanted state.

        Args:
            options: How to run it.
            without: Components to leave out.
            bundle: The bundle to install from, without a network.
            conda: Install Miniforge, too.
            strict: What would be left for later is a failure.
        """
        said = {
            "workstation_without": list(without),
            "bundle_file": str(bundle) if bundle else None,
            "conda_enabled": conda,
        }
        variables = self.variables() | {name: value for name, value in said.items() if value}
        return Request("workstation", self.typed("workstation"), variables, options, self._locks(), strict=strict)

    def status(self, options: RunOptions) -> Request:
        """Returns the request that asks how the services are.

        Args:
            options: How to run it.
        """
        return Request("status", "status", self.variables(), options, is_question=True)

    def _locks(self) -> tuple[str, ...]:
        return (self.instance or "default",)


def build_image(project: Path, options: RunOptions, *, always: bool = False, cache: bool = True) -> Request:
    """Returns the request that builds a project's image.

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
        said = {
            "cluster_instance": self.instance,
            "cluster_project": str(self.project) if self.project else None,
            "cluster_kubeconfig": str(self.kubeconfig) if self.kubeconfig else None,
            "cluster_context": self.context,
            "cluster_force_new": force_new,
        }
        variables = {name: value for name, value in said.items() if value} | {"cluster_state": CLUSTER_STATES[action]}
        return Request("cluster", self._typed(action), variables, options, (self.instance or "default",))

    def _typed(self, action: ClusterAction) -> str:
        said = {
            "--instance": self.instance,
            "--project": self.project,
            "--kubeconfig": self.kubeconfig,
            "--context": self.context,
        }
        words = [str(word) for option, value in said.items() if value for word in (option, value)]
        return " ".join([f"cluster --{action}", *map(shlex.quote, words)])


@dataclass(frozen=True)
class Given:
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

    def create(self, name: str, given: Given, options: RunOptions) -> Request:
        """Return the request that makes a secret, or replaces it.

        Args:
            name: Its name.
            given: What it is to hold.
            options: How to run it.
        """
        said = {
            "kube_secret_data": dict(given.data),
            "kube_secret_env_files": [str(path) for path in given.env_files],
            "kube_secret_files": {key: str(path) for key, path in given.files.items()},
        }
        return self._request("create", "present", options, name, said)

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
        said = {
            "kube_secret_name": name,
            "kube_secret_instance": self.instance,
            "kube_secret_namespace": self.namespace,
            "kube_secret_kubeconfig": str(self.kubeconfig) if self.kubeconfig else None,
            "kube_secret_context": self.context,
            **more,
        }
        variables = {key: value for key, value in said.items() if value} | {"kube_secret_state": state}
        command = " ".join(["secrets", action, *([shlex.quote(name)] if name else [])])
        return Request("secrets", command, variables, options, is_question=action == "list")


@dataclass(frozen=True)
class Models:
    """A registered model of one instance's MLflow.

    Attributes:
        name: The model, perhaps with an alias or a version: NAME, NAME@ALIAS or NAME/VERSION.
        instance: The instance, or None for the default one.
        kubeconfig: The kubeconfig of a cluster in place of Minikube's.
        context: The context in it.
    """

    name: str
    instance: str | None = None
    kubeconfig: Path | None = None
    context: str | None = None

    def serve(self, options: RunOptions, port: int | None = None) -> Request:
        """Return the request that serves it on this machine.

        Args:
            options: How to run it.
            port: Its port; a free one, or the one it has, when None.
        """
        return self._request("serve", "served", options, {"models_port": port})

    def stop(self, options: RunOptions) -> Request:
        """Return the request that serves it no more.

        Args:
            options: How to run it.
        """
        return self._request("stop", "stopped", options, {})

    def image(self, options: RunOptions, *, always: bool = False) -> Request:
        """Return the request that builds its image.

        Args:
            options: How to run it.
            always: Build it though it is there.
        """
        return self._request("image", "built", options, {"model_image_always": always})

    def deploy(self, options: RunOptions, state: str = "deployed") -> Request:
        """Return the request that serves it in the cluster.

        Args:
            options: How to run it.
            state: `deployed`, `rolled_back` or `undeployed`.
        """
        return self._request("deploy", state, options, {})

    def _request(self, action: str, state: str, options: RunOptions, more: Mapping[str, Any]) -> Request:
        said = {
            "models_instance": self.instance,
            "cluster_kubeconfig": str(self.kubeconfig) if self.kubeconfig else None,
            "cluster_context": self.context,
            **more,
        }
        variables = {key: value for key, value in said.items() if value}
        variables |= {"models_name": self.name, "models_state": state}
        command = f"models {action} {shlex.quote(self.name)}"
        return Request("models", command, variables, options, (self.instance or "default",))
