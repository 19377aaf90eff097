"""Tasks in pods of a real cluster, and in containers: their values, their results of every size, and how they fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, is_running
from probe import HARD, PASSWORD, PROBE
from stack import PACKAGE, wait_until

pytestmark = pytest.mark.usefixtures("tools")

# Seconds after which a cause is named at the latest, also on a busy machine. Where it isn't recognised, a grace period
# of 30 s or a limit of minutes passes; at rest it is a few seconds.
SOON_S = 25


@dataclass
class Tasks:
    """A process that runs tasks.

    Attributes:
        cluster: Where pods run.
        image: The project's image.
        process: The process.
        log: What the last task logged.
    """

    cluster: Cluster
    image: str
    process: subprocess.Popen[str]
    log: str = ""

    def begin(self, function: str, arguments: dict[str, Any] | None = None, **options: Any) -> None:
        """Begin a task."""
        call = {"task_id": "task", "func_path": f"{PACKAGE}.probe:{function}", "func_kwargs": arguments or {}}
        call |= {"image": self.image, "env": "prod_local", **options}
        assert self.process.stdin
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """Return what came out of the task, once it has ended."""
        assert self.process.stdout
        lines: list[str] = []
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                self.log = "".join(lines)
                outcome: dict[str, Any] = json.loads(line.removeprefix("ANSWER "))
                return outcome
            lines.append(line)
        raise AssertionError("".join(lines))

    def run(self, function: str, arguments: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Run a task, and return what came out of it."""
        self.begin(function, arguments, **options)
        return self.end()

    def pods(self) -> list[dict[str, Any]]:
        """Return the pods of tasks."""
        selector = f"gaiaflow/stack={self.cluster.kept['stack']}"
        found = self.cluster.get("pods", "-n", self.cluster.kept["namespace"], "-l", selector)
        pods: list[dict[str, Any]] = found["items"]
        return pods

    def running_pod(self) -> str:
        """Return the name of the pod whose container runs, once there is one."""

        def running() -> str:
            return next((pod["metadata"]["name"] for pod in self.pods() if is_running(pod)), "")

        name: str = wait_until(running, 60, "a pod runs")
        return name

    def no_pod_is_left(self) -> bool:
        """Tell whether all pods have gone, within a few seconds."""
        return bool(wait_until(lambda: not self.pods(), 20, "no pod is left"))


@pytest.fixture(scope="module")
def start(cluster: Cluster) -> Iterator[Callable[[], Tasks]]:
    """Start a process that runs tasks, of an image with the probe in it."""
    project = cluster.stack.project
    (project / "src" / PACKAGE / "probe.py").write_text(PROBE)
    cluster.cluster("--build-only", timeout=1200)
    (image,) = cluster.kept["images"]
    environment = {
        **cluster.stack.environment,
        "AIRFLOW_HOME": str(project / ".airflow"),
        "PYTHONPATH": os.pathsep.join([str(project / "dags"), str(project / "src")]),
        "GAIAFLOW_CLUSTER": str(cluster.connection / "cluster.json"),
        "GAIAFLOW_KUBECONFIG": str(cluster.connection / "kubeconfig"),
        # What a proxy would make of the cluster's address.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "",
    }
    script = str(Path(__file__).parents[1] / "support" / "run_tasks.py")
    processes = []

    def start() -> Tasks:
        command = [cluster.stack.program("airflow", "python"), script, PACKAGE]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, env=environment, text=True, **pipes)  # type: ignore[call-overload]
        processes.append(process)
        return Tasks(cluster, image, process)

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def tasks(start: Callable[[], Tasks]) -> Tasks:
    """One process that runs tasks."""
    return start()


@pytest.mark.parametrize("env", ["dev", "dev_docker", "prod_local"])
def test_values(tasks: Tasks, env: str) -> None:
    outcome = tasks.run("give", {"value": HARD}, env=env)
    assert "value" in outcome, outcome
    (text,) = outcome["value"].values()
    # Compared as text, as nan isn't equal to itself and 0.0 is equal to -0.0.
    assert repr(json.loads(text)) == repr(HARD)


@pytest.mark.parametrize("env", ["dev", "dev_docker", "prod_local"])
def test_params(tasks: Tasks, env: str) -> None:
    outcome = tasks.run("give_params", params={"rows": 1, "seed": 0}, env=env)
    assert outcome["value"] == {"rows": 2, "seed": 0}


# What fits into a termination message, plain or compressed, and what just doesn't; and the limit.
SIZES = (2000, 2031, 2032, 2044, 2048, 2052, 4096, 5500, 30_000, 33_000, 1_048_574)


@pytest.mark.parametrize("env", ["dev_docker", "prod_local"])
@pytest.mark.parametrize(
    ("size", "alphabet"),
    [*((size, "") for size in SIZES), (87_381, "🍷é")],
)
def test_result_of_every_size(tasks: Tasks, env: str, size: int, alphabet: str) -> None:
    given = {"size": size, **({"alphabet": alphabet} if alphabet else {})}
    here = tasks.run("letters", given, env="dev")["value"]
    outcome = tasks.run("letters", given, env=env)
    assert outcome.get("value") == here and len(here) == size
    assert "gaiaflow-result" not in tasks.log


@pytest.mark.parametrize("env", ["dev", "dev_docker", "prod_local"])
def test_result_that_is_too_long(tasks: Tasks, env: str) -> None:
    text = tasks.run("letters", {"size": 1_048_575}, env=env)["text"]
    assert "takes 1048577 bytes as JSON; allowed are 1048576. Hand over where the data is, not the data" in text
    assert tasks.run("letters", {"size": 2_000_000}, env=env, xcom_push=False)["value"] is None


@pytest.mark.parametrize("env", ["dev_docker", "prod_local"])
def test_log_is_complete(tasks: Tasks, env: str) -> None:
    assert tasks.run("write", {"lines": 20_000}, env=env)["value"] is None
    assert [f"line {number:06d}" in tasks.log for number in (0, 1, 9_999, 19_999)] == [True] * 4
    assert tasks.log.count("xxxxx") >= 20_000


FAILURES: list[tuple[str, dict[str, Any], dict[str, Any], str, list[str]]] = [
    (
        "fail",
        {"message": "my é🍷"},
        {},
        "AirflowException",
        ["exit code 1", "probe.py", "ValueError: my é🍷"],
    ),
    ("leave", {"code": 3}, {}, "AirflowException", ["exit code 3", "SystemExit: 3"]),
    ("leave", {"code": 0}, {}, "AirflowException", ["exit code 1", "SystemExit: 0"]),
    (
        "leave_at_once",
        {"code": 0},
        {},
        "AirflowException",
        ["exit code 0, and gave no outcome", "images"],
    ),
    ("leave_at_once", {"code": 5}, {}, "AirflowException", ["exit code 5, and said nothing"]),
    ("give", {}, {}, "AirflowException", ["probe:give(value)", "missing a required argument: 'value'"]),
    ("nothing", {}, {}, "AirflowException", ["has no 'nothing'"]),
    (
        "use_memory",
        {"mebibytes": 200},
        {"resources": {"limits": {"memory": "64Mi"}}},
        "AirflowException",
        ["limit of 64Mi", "exit code 137", "resources"],
    ),
]


@pytest.mark.parametrize("env", ["dev_docker", "prod_local"])
@pytest.mark.parametrize(("function", "arguments", "options", "error", "parts"), FAILURES)
def test_failure(
    tasks: Tasks,
    env: str,
    function: str,
    arguments: dict[str, Any],
    options: dict[str, Any],
    error: str,
    parts: list[str],
) -> None:
    outcome = tasks.run(function, arguments, env=env, env_vars={"PASSWORD": PASSWORD}, **options)
    assert outcome.get("error") == error, outcome
    assert not [part for part in parts if part not in outcome["text"]], outcome["text"]
    assert outcome["seconds"] < SOON_S
    assert PASSWORD not in tasks.log + outcome["text"]


CANNOT_START: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"image": "Not A Name"}, "AirflowFailException", ["the image Not A Name", "InvalidImageName"]),
    ({"image": "127.0.0.1:1/a/b:1"}, "AirflowException", ["127.0.0.1:1/a/b:1", "ErrImagePull", "--build-only"]),
    ({"secrets": ["nope"]}, "AirflowFailException", ['secret "nope" not found', "gaiaflow-setup secrets create nope"]),
    (
        {"resources": {"requests": {"memory": "1000Gi"}}},
        "AirflowException",
        ["Insufficient memory", "memory 1000Gi", "resources"],
    ),
    ({"resources": {"gpu": 1}}, "AirflowException", ["Insufficient nvidia.com/gpu", "nvidia.com/gpu 1"]),
]


@pytest.mark.parametrize(("options", "error", "parts"), CANNOT_START)
def test_pod_that_cannot_start(tasks: Tasks, options: dict[str, Any], error: str, parts: list[str]) -> None:
    outcome = tasks.run("give", {"value": 1}, env_vars={"PASSWORD": PASSWORD}, **options)
    assert outcome.get("error") == error, outcome
    assert not [part for part in parts if part not in outcome["text"]], outcome["text"]
    assert outcome["seconds"] < SOON_S
    assert PASSWORD not in tasks.log + outcome["text"]
    assert tasks.no_pod_is_left()


def test_image_that_the_registry_does_not_have(tasks: Tasks) -> None:
    (pulled,) = tasks.cluster.kept["images"].values()
    image = pulled.partition("@")[0] + ":nope"
    outcome = tasks.run("give", {"value": 1}, image=image)
    assert outcome["error"] == "AirflowFailException", outcome
    assert image in outcome["text"] and "gaiaflow-setup cluster --build-only" in outcome["text"]
    assert outcome["seconds"] < SOON_S


def test_image_that_the_engine_does_not_have(tasks: Tasks) -> None:
    outcome = tasks.run("give", {"value": 1}, image="my-project/nope:1", env="dev_docker")
    assert outcome["error"] == "AirflowFailException"
    assert "my-project/nope:1" in outcome["text"] and "gaiaflow-setup images" in outcome["text"]


def test_environment_of_a_pod(tasks: Tasks) -> None:
    """A secret's value arrives as it is; of one name, the task's own variables count more than its secrets."""
    namespace = tasks.cluster.kept["namespace"]
    literals = ["--from-literal=KEY=$$a $(NAME) 'é\\", "--from-literal=MLFLOW_DISABLE_TELEMETRY=mine"]
    tasks.cluster.kubectl("-n", namespace, "create", "secret", "generic", "test-creds", *literals)
    try:
        names = ["KEY", "MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY", "OWN"]
        own = {"OWN": "$(KEY) $$", "KEY": "other"}
        address = f"http://host.minikube.internal:{tasks.cluster.stack.record['ports']['mlflow']}"
        outcome = tasks.run("environment", {"names": names}, secrets=["test-creds"])
        assert outcome["value"] == ["$$a $(NAME) 'é\\", address, "mine", None]
        outcome = tasks.run("environment", {"names": names}, secrets=["test-creds"], env_vars=own)
        assert outcome["value"] == ["other", address, "mine", "$(KEY) $$"]
    finally:
        tasks.cluster.kubectl("-n", namespace, "delete", "secret", "test-creds")


def test_deleted_pod_is_a_failure(tasks: Tasks) -> None:
    tasks.begin("sleep", {"seconds": 120})
    pod = tasks.running_pod()
    began = time.monotonic()
    tasks.cluster.kubectl("-n", tasks.cluster.kept["namespace"], "delete", "pod", pod)
    outcome = tasks.end()
    assert outcome["error"] == "AirflowException", outcome
    # The runner ends on SIGTERM: no grace period passes.
    assert time.monotonic() - began < SOON_S


def test_next_try_goes_on_with_the_pod_of_a_killed_one(start: Callable[[], Tasks], tasks: Tasks) -> None:
    killed = start()
    killed.begin("sleep", {"seconds": 25})
    pod = killed.running_pod()
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    outcome = tasks.run("sleep", {"seconds": 25}, try_number=2)
    assert outcome["value"] == pod
    assert "asleep" in tasks.log
    assert tasks.no_pod_is_left()


def test_next_try_does_not_go_on_with_another_call(start: Callable[[], Tasks], tasks: Tasks) -> None:
    killed = start()
    killed.begin("sleep", {"seconds": 120})
    pod = killed.running_pod()
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    outcome = tasks.run("sleep", {"seconds": 1}, try_number=2)
    assert outcome["value"] != pod
    assert tasks.no_pod_is_left()


def test_task_goes_on_when_its_cluster_was_away(tasks: Tasks) -> None:
    tasks.begin("sleep", {"seconds": 45})
    pod = tasks.running_pod()
    node = tasks.cluster.get("nodes")["items"][0]["metadata"]["name"]
    subprocess.run(["docker", "pause", node], check=True, capture_output=True)
    time.sleep(35)
    subprocess.run(["docker", "unpause", node], check=True, capture_output=True)
    assert tasks.end()["value"] == pod
    assert tasks.no_pod_is_left()
