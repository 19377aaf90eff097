"""The generated project's example, trained in every environment of this machine: the same results, and nothing left."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

import pytest
from clusters import Cluster
from stack import CHECKOUT, PACKAGE, Airflow, Mlflow, objects, wait_until

TASKS = ("load_data", "split", "model.train", "model.register", "predict")
OWN_TO_A_RUN = {"run_id", "model_uri", "version", "uri"}


def without_ids(value: Any) -> Any:
    """Return a task's result without what MLflow numbers anew in each run."""
    if isinstance(value, dict):
        return {key: without_ids(one) for key, one in value.items() if key not in OWN_TO_A_RUN}
    return value


def run_in(cluster: Cluster, environment: str) -> tuple[dict[str, Any], str, float]:
    """Run the example in an environment; return the tasks' results, the model's version, and the seconds it took."""
    command = [str(CHECKOUT / "gaiaflow-setup"), "mlops", "--restart", "--service", "airflow"]
    subprocess.run(
        [*command, "--instance", cluster.stack.instance],
        env={**os.environ, **cluster.environment, "GAIAFLOW_ENV": environment},
        check=True,
        capture_output=True,
        timeout=300,
    )
    airflow, begun = Airflow(cluster.stack), time.monotonic()
    run_id = airflow.run_dag(f"{PACKAGE}_example")
    taken = time.monotonic() - begun
    results = {task: airflow.xcom(f"{PACKAGE}_example", run_id, task) for task in TASKS}
    return results, str(Mlflow(cluster.stack).latest_version(PACKAGE)["version"]), taken


@pytest.fixture(scope="module")
def runs(cluster: Cluster) -> dict[str, tuple[dict[str, Any], str, float]]:
    """The example, run in each environment."""
    return {name: run_in(cluster, name) for name in ("dev", "dev_docker", "prod_local")}


def test_results_are_the_same_in_every_environment(runs: dict[str, tuple[dict[str, Any], str, float]]) -> None:
    results = {name: without_ids(run[0]) for name, run in runs.items()}
    assert results["dev_docker"] == results["dev"]
    assert results["prod_local"] == results["dev"]


def test_each_run_registers_a_model_with_its_artifacts_in_s3(
    cluster: Cluster, runs: dict[str, tuple[dict[str, Any], str, float]]
) -> None:
    assert [run[1] for run in runs.values()] == ["1", "2", "3"]
    found = objects(cluster.stack)
    for results, _, _ in runs.values():
        run_id = results["model.train"]["run_id"]
        assert any(run_id in key and size for key, size in found.items()), run_id
    models = [key for key, size in found.items() if key.endswith("/model.pkl") and size]
    assert len(models) == len(runs)


def test_no_pod_and_no_container_is_left(cluster: Cluster, runs: dict[str, tuple[dict[str, Any], str, float]]) -> None:
    assert runs
    # Kubernetes removes a pod some moments after it was told to.
    wait_until(lambda: not cluster.get("-n", cluster.kept["namespace"], "pods")["items"], 45, "no pod is left")
    left = subprocess.run(["docker", "ps", "--all", "--format", "{{.Image}}"], capture_output=True, text=True).stdout
    assert not [image for image in left.split() if PACKAGE in image]


def test_forbidden_is_in_no_log(cluster: Cluster, runs: dict[str, tuple[dict[str, Any], str, float]]) -> None:
    assert runs
    logs = (cluster.stack.directory / "data" / "airflow" / "logs").rglob("*.log")
    said = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
    assert not [line for line in said if "forbidden" in line.lower() or " 403" in line]
