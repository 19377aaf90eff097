"""Runs one function of the project in a container on this machine. Imported only for `dev_docker`."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import docker
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import DeviceRequest

from . import pod_states, runner
from .container_log import ContainerLog, split_lines
from .resources import GPU, to_number
from .results import ResultLines, read_outcome
from .task_factory import collect_arguments

RUNNER_MODULE = f"{__package__.removesuffix('_dags')}.runner"
# In the container's own file system, where it can be read once the container has ended.
OUTCOME = "/tmp/gaiaflow-outcome.json"
# Where MLflow and S3 are, and how to log in: the container is in this machine's network, so these hold there, too.
HANDED_ON = ("MLFLOW_", "AWS_")
LABEL = "gaiaflow/task"
INTERVAL = 0.25


class FunctionDockerOperator(BaseOperator):  # type: ignore[misc]
    """A container that calls one function.

    It gets the function and hands back the result as a pod does: see `pod_operator`.

    Args:
        func_path: `module.path:function`.
        func_kwargs: the function's arguments.
        xcom_pull_tasks: arguments that other tasks computed.
        run_params: defaults of the DAG run's params; None if the function doesn't get them.
        image: the image to run.
        env: `dev_docker`.
        env_vars: more environment variables.
        env_secrets: names of Kubernetes secrets, which aren't to be had here.
        amounts: requests, which mean nothing here, and limits.
        operator_args: what every operator takes.
    """

    def __init__(
        self,
        *,
        func_path: str,
        func_kwargs: dict[str, Any],
        xcom_pull_tasks: dict[str, dict[str, str]],
        run_params: dict[str, Any] | None,
        image: str,
        env: str,
        env_vars: dict[str, str],
        env_secrets: list[str],
        amounts: dict[str, dict[str, str]],
        **operator_args: Any,
    ) -> None:
        super().__init__(**operator_args)
        self.func_path = func_path
        self.func_kwargs = func_kwargs
        self.xcom_pull_tasks = xcom_pull_tasks
        self.run_params = run_params
        self.image = image
        self.given_env_vars = env_vars
        self.env_secrets = env_secrets
        self.limits = amounts["limits"]
        self.container: Container | None = None
        self.killed = False

    def execute(self, context: Any) -> Any:
        """Make the container, wait for its end, and return the function's result."""
        if self.env_secrets:
            self.log.warning(
                "The secrets %s are in a cluster, and dev_docker has none: give the function what it needs by env_vars",
                self.env_secrets,
            )
        arguments = collect_arguments(self.func_path, self.func_kwargs, self.xcom_pull_tasks, context, self.run_params)
        marker = f"gaiaflow-result-{secrets.token_hex(8)}"
        try:
            self.engine = docker.from_env(environment={**_find_engine(), **os.environ})
            self._remove_earlier(context)
            self.container = self._create(arguments, marker, context)
            return self._see_through(marker)
        except APIError as error:
            raise AirflowException(f"Docker's engine refuses: {error.explanation or error}") from None
        except (DockerException, OSError) as error:
            raise AirflowException(f"Docker's engine doesn't answer: {error}. See gaiaflow-setup doctor") from None

    def on_kill(self) -> None:
        """Remove the container. Airflow calls this from a signal handler, and lets `execute` go on afterwards."""
        self.killed = True
        if self.container:
            self._remove(self.container)

    def _create(self, arguments: str, marker: str, context: Any) -> Container:
        call = {runner.FUNC_PATH: self.func_path, runner.FUNC_KWARGS: arguments, runner.OUTCOME_FILE: OUTCOME}
        if self.do_xcom_push:
            call[runner.RESULT_MARKER] = marker
        here = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
        gpus = int(self.limits.get(GPU, 0))
        self._check_killed()
        try:
            return self.engine.containers.create(
                self.image,
                ["python", "-m", RUNNER_MODULE],
                environment={**here, **self.given_env_vars, **call},
                network_mode="host",
                mem_limit=int(to_number(self.limits["memory"])),
                # With swap on top, a task would never reach its limit.
                memswap_limit=int(to_number(self.limits["memory"])),
                nano_cpus=int(min(to_number(self.limits["cpu"]), os.cpu_count() or 1) * 1e9),
                device_requests=[DeviceRequest(count=gpus, capabilities=[["gpu"]])] if gpus else None,
                labels={LABEL: _name(context)},
            )
        except ImageNotFound:
            raise AirflowFailException(
                f"the image {self.image} is not on this machine's Docker engine. Build it: gaiaflow-setup images"
            ) from None

    def _see_through(self, marker: str) -> Any:
        """Wait for the container's end, and return the function's result; no container is left."""
        container = self.container
        assert container is not None
        try:
            self.log.info("Running container %s of image %s", container.short_id, self.image)
            container.start()
            result = ResultLines(marker)
            log = ContainerLog(self._open_log, result, self.log)
            log.follow()
            while self._state()["Status"] in ("created", "running", "paused"):
                self._check_killed()
                log.pass_on(1 - INTERVAL)
                time.sleep(INTERVAL)
            log.finish()
            return self._read_result(result)
        except NotFound:
            self._check_killed()
            raise AirflowException(f"container {container.short_id} was removed while the task ran") from None
        finally:
            self._remove(container)

    def _check_killed(self) -> None:
        if self.killed:
            raise AirflowException("the task was told to end, and its container with it") from None

    def _state(self) -> dict[str, Any]:
        assert self.container is not None
        self.container.reload()
        state: dict[str, Any] = self.container.attrs["State"]
        return state

    def _open_log(self, follow: bool, seconds: int | None) -> Iterable[bytes]:
        assert self.container is not None
        since = {"since": int(time.time()) - seconds} if seconds else {}
        log: Iterable[bytes] = self.container.logs(stream=True, follow=follow, timestamps=True, **since)
        return log

    def _read_result(self, lines: ResultLines) -> Any:
        state = self._state()
        if state["ExitCode"] == 137 and not state["OOMKilled"]:
            # The engine learns of the reason by another way than of the end.
            time.sleep(1)
            state = self._state()
        outcome = self._read_outcome()
        code = state["ExitCode"]
        if code != 0 or not outcome or "error" in outcome:
            self._check_killed()
            reason = "OOMKilled" if state["OOMKilled"] else state["Error"]
            end = pod_states.End(code, reason, "" if outcome else self._last_words())
            error = outcome.get("error") if outcome else None
            text = pod_states.describe_failure(end, error, self.limits["memory"])
            raise AirflowException(f"{self.func_path} failed in a container of {self.image}: {text}")
        if not self.do_xcom_push:
            return None
        try:
            return outcome["result"] if "result" in outcome else lines.join(outcome)
        except ValueError as error:
            raise AirflowException(f"the result of {self.func_path} was lost: {error}") from None

    def _read_outcome(self) -> dict[str, Any] | None:
        assert self.container is not None
        try:
            pieces, _ = self.container.get_archive(OUTCOME)
        except NotFound:
            return None
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            return read_outcome(file.read().decode() if file else None)

    def _last_words(self) -> str:
        assert self.container is not None
        return "\n".join(split_lines([self.container.logs(tail=40)]))[-2000:]

    def _remove_earlier(self, context: Any) -> None:
        """Remove the container of a try whose process was killed."""
        if context["ti"].try_number > 1:
            for container in self.engine.containers.list(all=True, filters={"label": f"{LABEL}={_name(context)}"}):
                self._remove(container)

    def _remove(self, container: Container) -> None:
        try:
            container.remove(force=True, v=True)
        except NotFound:
            return
        except (APIError, OSError) as error:
            if "already in progress" not in str(error):
                self.log.warning("Container %s is left behind: %s", container.short_id, error)


def _find_engine() -> dict[str, str]:
    """Return where this machine's engine is, as gaiaflow-setup looks for it; nothing where the usual place will do."""
    user = os.geteuid()
    places = ("/var/run/docker.sock", f"/run/user/{user}/docker.sock", Path.home() / ".docker/desktop/docker.sock")
    found = next((place for place in places if Path(place).exists()), None)
    return {"DOCKER_HOST": f"unix://{found}"} if found else {}


def _name(context: Any) -> str:
    """Name one task of one run in one Airflow."""
    ti = context["ti"]
    parts = [os.environ.get("AIRFLOW_HOME", ""), ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]
