"""The stack from Python: what `gaiaflow-setup mlops`, `cluster` and `secrets create` do, as methods and a function."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gaiaflow_py import instance as instances
from gaiaflow_py import pushed, request, runner
from gaiaflow_py.errors import InputError, InterruptedRunError, RunError
from gaiaflow_py.events import RunResult
from gaiaflow_py.options import INSTANCE, SERVICES
from gaiaflow_py.paths import OF_PROJECT, usable
from gaiaflow_py.request import Request, RunOptions


class MlopsManager:
    """Airflow, MLflow, S3 and JupyterLab on this machine.

    Args:
        project: The project whose DAGs are run.
        instance: Which instance of the stack.
        services: The services meant ("airflow", "mlflow", "minio", "jupyter"); all when empty.
        jupyter_port: JupyterLab's port.
        progress: Show what runs now, on standard error.

    Raises:
        InputError: A value isn't allowed.
        RunError: By its actions: one failed.
        BusyError: By its actions: another run works on the same instance.
    """

    def __init__(
        self,
        project: str | Path | None = None,
        instance: str = "default",
        services: Sequence[str] = (),
        jupyter_port: int | None = None,
        *,
        progress: bool = False,
    ) -> None:
        path = Path(project).expanduser().absolute() if project is not None else None
        check(path, instance, services, jupyter_port)
        self.instance = instance
        self._project = path
        self._services, self._jupyter_port = tuple(services), jupyter_port
        self._options = RunOptions(progress=progress)

    def start(self, *, delete_volumes: bool = False) -> RunResult:
        """Start the services and return when they answer.

        Args:
            delete_volumes: Delete their data first. Nobody is asked.
        """
        return self._change("start", delete_volumes)

    def stop(self, *, delete_volumes: bool = False) -> RunResult:
        """Stop the services.

        Args:
            delete_volumes: Delete their data, too. Nobody is asked.
        """
        return self._change("stop", delete_volumes)

    def restart(self, *, delete_volumes: bool = False) -> RunResult:
        """Stop the services and start them again.

        Args:
            delete_volumes: Delete their data in between. Nobody is asked.
        """
        return self._change("restart", delete_volumes)

    def build_image(self, *, always: bool = False, cache: bool = True) -> str:
        """Build the project's image, if what goes into it has changed, and return its name.

        Args:
            always: Build it though nothing has changed.
            cache: Use the layers of earlier builds.

        Raises:
            InputError: No project was given.
            RunError: It failed.
        """
        if self._project is None:
            raise InputError("There is no project to build an image of; give MlopsManager one.")
        return perform(request.build_image(self._project, self._options, always=always, cache=cache)).image

    def status(self) -> list[dict[str, Any]]:
        """Return the services' states: name, state, health, url, uptime_s (seconds) and memory_bytes.

        Raises:
            GaiaflowError: They can't be found out.
        """
        found = instances.find(self.instance)
        return found.states() if found else []

    def credentials(self) -> dict[str, Any]:
        """Return user names, passwords and tokens for each service.

        Raises:
            InputError: There is no such instance yet.
        """
        return instances.load(self.instance).credentials()

    def urls(self) -> dict[str, str]:
        """Return where the services answer.

        Raises:
            InputError: There is no such instance yet.
        """
        return dict(instances.load(self.instance).urls)

    def logs(self, service: str) -> dict[str, Path]:
        """Return the log files of a service's programs.

        Args:
            service: The service's name.

        Raises:
            InputError: There is no such instance or log yet.
        """
        return instances.load(self.instance).logs(service)

    @classmethod
    def main(cls, argv: Sequence[str] | None = None, *, project: str | Path) -> NoReturn:
        """Do what `gaiaflow-setup mlops` does, for one project, and exit with its exit code.

        Args:
            argv: The options; the process's own when None.
            project: The project whose DAGs are run, unless the options name another.
        """
        from gaiaflow_py.cli import run

        arguments = sys.argv[1:] if argv is None else argv
        sys.exit(run(["mlops", "--project", str(project), *arguments]))

    def _change(self, action: str, delete_volumes: bool) -> RunResult:
        return perform(
            request.mlops(
                action,
                self._options,
                instance=self.instance,
                project=self._project,
                services=self._services,
                jupyter_port=self._jupyter_port,
                mlops_delete_volumes=delete_volumes,
            )
        )


class MinikubeManager:
    """The Kubernetes on this machine that the stack's Airflow starts pods in.

    Args:
        project: The project whose image is built; the instance's when None.
        instance: Which instance of the stack is connected.
        kubeconfig: The kubeconfig of a cluster in place of Minikube's.
        context: The context in it.
        progress: Show what runs now, on standard error.

    Raises:
        InputError: A value isn't allowed.
        RunError: By its actions: one failed.
        BusyError: By its actions: another run works on the same instance.
    """

    def __init__(
        self,
        project: str | Path | None = None,
        instance: str = "default",
        kubeconfig: str | Path | None = None,
        context: str | None = None,
        *,
        progress: bool = False,
    ) -> None:
        path = Path(project).expanduser().absolute() if project is not None else None
        check(path, instance, (), None)
        file = Path(kubeconfig).expanduser().absolute() if kubeconfig is not None else None
        if file is not None and not file.is_file():
            raise InputError(f"The kubeconfig '{file}' doesn't exist.")
        self._said: dict[str, Any] = {"instance": instance, "project": path, "kubeconfig": file, "context": context}
        self._options = RunOptions(progress=progress)

    def start(self, *, force_new: bool = False) -> RunResult:
        """Start the cluster, connect the stack with it, and put the project's image into it.

        Args:
            force_new: Delete the profile first, with all that is in it. Nobody is asked.
        """
        return perform(self._request("start", force_new=force_new))

    def stop(self) -> RunResult:
        """Stop the cluster; what is in it stays."""
        return perform(self._request("stop"))

    def restart(self) -> RunResult:
        """Stop the cluster and start it again."""
        return perform(self._request("restart"))

    def delete(self) -> RunResult:
        """Delete the cluster with all that is in it. Nobody is asked."""
        return perform(self._request("delete"))

    def build_image(self) -> RunResult:
        """Build the project's image, and push it to where the cluster pulls from."""
        wanted = self._request("build-only")
        return pushed.find_unchanged(wanted) or perform(wanted)

    def create_secrets(self) -> RunResult:
        """Make the secrets that the project declares.

        Raises:
            RunError: It failed.
        """
        return perform(self._request("create-secrets"))

    def create_config(self) -> RunResult:
        """Write the kubeconfig that Airflow uses.

        Raises:
            RunError: It failed.
        """
        return perform(self._request("create-config-only"))

    @classmethod
    def main(cls, argv: Sequence[str] | None = None, *, project: str | Path) -> NoReturn:
        """Do what `gaiaflow-setup cluster` does, for one project, and exit with its exit code.

        Args:
            argv: The options; the process's own when None.
            project: The project whose image and secrets are meant, unless the options name another.
        """
        from gaiaflow_py.cli import run

        arguments = sys.argv[1:] if argv is None else argv
        sys.exit(run(["cluster", "--project", str(project), *arguments]))

    def _request(self, action: str, *, force_new: bool = False) -> Request:
        return request.cluster(action, self._options, **self._said, force_new=force_new)


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
    said = {"instance": instance, "namespace": namespace, "kubeconfig": file, "context": context}
    options = RunOptions(progress=progress)
    return perform(request.secrets("create", options, secret_name, data=dict(secret_data), **said))


def perform(wanted: Request) -> RunResult:
    """Run a playbook, and return how it ended if that was well.

    Args:
        wanted: What to run.

    Raises:
        RunError: It failed.
        InterruptedRunError: A signal ended it.
        BusyError: Another run works on the same instance.
    """
    result = runner.run(wanted)
    if result.status == "interrupted":
        raise InterruptedRunError(result, result.signum)
    if result.status == "failed":
        raise RunError(result)
    return result


def check(project: Path | None, instance: str, services: Sequence[str], jupyter_port: int | None) -> None:
    """Refuse what can be told to be wrong before anything runs.

    Args:
        project: A project's directory.
        instance: An instance's name.
        services: Services' names.
        jupyter_port: JupyterLab's port.

    Raises:
        InputError: A value isn't allowed.
    """
    if project is not None and not usable("project", project, OF_PROJECT).is_dir():
        raise InputError(f"The project directory '{project}' doesn't exist.")
    if not INSTANCE.fullmatch(instance):
        raise InputError(f"'{instance}' is not an instance's name: a-z, 0-9 and hyphens, 31 at most.")
    for service in services:
        if service not in SERVICES:
            raise InputError(f"There is no service '{service}'. There are: {', '.join(SERVICES)}.")
    if jupyter_port is not None and not 1 <= jupyter_port <= 65535:
        raise InputError(f"{jupyter_port} is not a port: 1 to 65535 are.")
