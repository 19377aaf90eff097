"""Fifty tasks of one DAG in pods, while a pod, the API server and the node are taken away."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters import PROFILE, Cluster, is_running
from stack import PACKAGE, Airflow, wait_until

TASKS = 50
DAG = f"""
import sys
from pathlib import Path
sys.path.append(str(Path(__file__).absolute().parents[1]))
from airflow.sdk import DAG
from {PACKAGE}_dags import IMAGE
from {PACKAGE}_dags.task_factory import task_factory

with DAG("many", schedule=None, max_active_tasks=64):
    for number in range({TASKS}):
        task_factory(task_id=f"task_{{number}}", func_path="{PACKAGE}.starter:describe_environment",
                     func_kwargs={{"greeting": f"{{number}}"}}, image=IMAGE, env="prod_local",
                     resources="small", retries=6)
"""


def pods(cluster: Cluster) -> list[str]:
    """Return the names of the running pods of tasks."""
    found = cluster.get("-n", cluster.kept["namespace"], "pods")["items"]
    return [pod["metadata"]["name"] for pod in found if is_running(pod)]


def delete_a_pod(cluster: Cluster) -> None:
    """Delete a pod while its task runs."""
    names = wait_until(lambda: pods(cluster), 60, "a pod runs")
    cluster.kubectl("-n", cluster.kept["namespace"], "delete", "pod", names[0], "--grace-period=0", "--force")


def restart_api_server(cluster: Cluster) -> None:
    """End the API server's process; the kubelet starts it again."""
    subprocess.run(["docker", "exec", PROFILE, "pkill", "-KILL", "kube-apiserver"], check=True)


def restart_node(cluster: Cluster) -> None:
    """What a restart of the engine does: the node's container ends and begins again, and nobody calls Minikube."""
    subprocess.run(["docker", "restart", "--time=5", PROFILE], check=True, capture_output=True)


@pytest.fixture
def dag(cluster: Cluster) -> Path:
    """The file of the DAG."""
    file = next((cluster.stack.project / "dags").glob("*_dags")) / "many.py"
    file.write_text(DAG)
    return file


def test_fifty_tasks_succeed_whatever_is_taken_away(cluster: Cluster, dag: Path) -> None:
    airflow = Airflow(cluster.stack)
    airflow.wait_for_dag("many")
    airflow.call("PATCH", "dags/many", {"is_paused": False})
    run = airflow.call("POST", "dags/many/dagRuns", {"logical_date": None, "conf": {}})["dag_run_id"]
    tasks = f"dags/many/dagRuns/{run}/taskInstances?limit=100"

    def states() -> Counter[str]:
        return Counter(one["state"] for one in airflow.call("GET", tasks)["task_instances"])

    begun = time.monotonic()
    steps: dict[int, Callable[[Cluster], None]] = {8: delete_a_pod, 18: restart_api_server, 28: restart_node}

    def await_successes(number: int) -> None:
        wait_until(lambda: states()["success"] >= number, 300, f"{number} tasks have succeeded")

    for number, take_away in steps.items():
        await_successes(number)
        take_away(cluster)
    ended = wait_until(lambda: airflow.end_state("many", run), 600, "the run ends")
    assert ended == "success", airflow.describe_failures("many", run)
    print(f"{TASKS} tasks took {time.monotonic() - begun:.0f} s")
    assert states() == {"success": TASKS}
    values = {airflow.xcom("many", run, f"task_{number}")["greeting"] for number in range(TASKS)}
    assert values == {str(number) for number in range(TASKS)}
    wait_until(lambda: not cluster.get("-n", cluster.kept["namespace"], "pods")["items"], 60, "no pod is left")
    dag.unlink()
    # The node's restart takes the names away that Minikube has given it.
    assert cluster.address_of_host() == cluster.kept["forward"]["address"]
