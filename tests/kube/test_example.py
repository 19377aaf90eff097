"""The generated project's example, trained in every environment of this machine: the same results, and nothing left."""

from __future__ import annotations

import subprocess

import pytest
from clusters import Cluster
from example_runs import ARTIFACT_MIB, Run, add_values_dag, run_in, without_ids
from stack import PACKAGE, objects, wait_until


@pytest.fixture(scope="module")
def runs(cluster: Cluster) -> dict[str, Run]:
    """The example, run in each environment."""
    add_values_dag(cluster.stack.project)
    cluster.cluster("--build-only", timeout=1200)
    return {name: run_in(cluster, name) for name in ("dev", "dev_docker", "prod_local")}


@pytest.mark.parametrize("environment", ["dev_docker", "prod_local"])
def test_results_are_the_same_in_every_environment(runs: dict[str, Run], environment: str) -> None:
    assert without_ids(runs[environment].results) == without_ids(runs["dev"].results)
    assert runs[environment].values == runs["dev"].values


def test_each_run_registers_a_model_with_its_artifacts_in_s3(cluster: Cluster, runs: dict[str, Run]) -> None:
    assert [run.version for run in runs.values()] == ["1", "2", "3"]
    found = objects(cluster.stack)
    for run in runs.values():
        run_id = run.results["model.train"]["run_id"]
        assert any(run_id in key and size for key, size in found.items()), run_id
        assert [size for key, size in found.items() if run.artifact_run in key] == [ARTIFACT_MIB * 1024 * 1024]
    models = [key for key, size in found.items() if key.endswith("/model.pkl") and size]
    assert len(models) == len(runs)


def test_no_pod_and_no_container_is_left(cluster: Cluster, runs: dict[str, Run]) -> None:
    assert runs
    # Kubernetes removes a pod some moments after it was told to.
    wait_until(lambda: not cluster.get("-n", cluster.kept["namespace"], "pods")["items"], 45, "no pod is left")
    left = subprocess.run(["docker", "ps", "--all", "--format", "{{.Image}}"], capture_output=True, text=True).stdout
    assert not [image for image in left.split() if PACKAGE in image]


def test_forbidden_is_in_no_log(cluster: Cluster, runs: dict[str, Run]) -> None:
    assert runs
    logs = (cluster.stack.directory / "data" / "airflow" / "logs").rglob("*.log")
    said = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
    assert not [line for line in said if "forbidden" in line.lower() or " 403" in line]
