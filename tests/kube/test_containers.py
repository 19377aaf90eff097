"""The stack in containers: its Airflow reaches the cluster, runs tasks in pods, and pods reach its MLflow and S3."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator

import pytest
from boxes import start
from clusters import Cluster
from stack import SUMMARY, Airflow, Stack, objects

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module", autouse=True)
def rest_afterwards(boxes: Cluster) -> Iterator[None]:
    """Stop the stack in containers after these tests: its health checks alone take a quarter of a core."""
    yield
    boxes.stack.run("mlops", "--stop")


def test_tasks_run_in_pods_and_reach_mlflow_and_s3(boxes: Cluster, stack: Stack) -> None:
    airflow = Airflow(boxes.stack)
    run = airflow.run_dag("boxes")
    port = boxes.stack.record["ports"]["mlflow"]
    kubernetes, mlflow = airflow.xcom("boxes", run, "where")
    assert kubernetes.startswith("tcp://")
    assert mlflow == f"http://host.minikube.internal:{port}"
    stored = airflow.xcom("boxes", run, "store")
    assert [size for key, size in objects(boxes.stack, native=stack).items() if stored in key] == [2 * 1024 * 1024]


def test_a_connected_stack_in_containers_changes_nothing_when_it_starts_again(boxes: Cluster) -> None:
    assert start(boxes) == 0
    summary = SUMMARY.search(boxes.cluster("--start").stdout)
    assert summary and summary[2] == "0"


def test_kubeconfig_is_read_by_the_containers_user_alone(boxes: Cluster) -> None:
    file = boxes.connection / "kubeconfig"
    user = 50000 if os.geteuid() == 0 else os.geteuid()
    assert (file.stat().st_mode & 0o777, file.stat().st_uid) == (0o600, user)
    assert json.loads(file.read_text())["clusters"][0]["cluster"]["server"].startswith("https://kubernetes:")


def test_status_shows_the_cluster(boxes: Cluster) -> None:
    rows = boxes.stack.services()
    assert rows["kubernetes"]["health"] == rows["cluster-forwarder"]["health"] == "healthy"


def test_forwarder_listens_on_gateways_and_loopback_alone(boxes: Cluster) -> None:
    address = f"http://127.0.0.1:{boxes.stack.record['ports']['forwarder']}/"
    listening = json.load(urllib.request.urlopen(address, timeout=5))["listening"]
    gateways = {one.rpartition(":")[0] for one in listening}
    assert len(listening) == 3
    assert boxes.kept["forward"]["address"] in gateways
    assert all(one.startswith(("172.", "192.168.")) for one in gateways)
