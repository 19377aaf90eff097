"""Runs the DAGs of test_task_factory.py in a real Airflow. Run by its Python: DAG_FOLDER OUTPUT_FILE.

Pods are real in everything but Kubernetes: this takes the pod that the operator asks for, runs its command with its
environment, as a kubelet would expand it, and shows how it ended as the cluster would. tests/kube has the real one.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

PODS: dict[str, Any] = {}


def expand(value: str, known: dict[str, str]) -> str:
    """Expand $(NAME) and $$ as Kubernetes does; a name it doesn't know stays."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else known.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([\w.-]+)\)", replace, value)


class Cluster:
    """What the operator asks of Kubernetes' API."""

    def __init__(self, hook: KubernetesHook) -> None:
        self.hook = hook
        self.api_client: Any = ApiClient()
        self.pods: dict[str, Any] = {}
        self.logs: dict[str, str] = {}

    def create_namespaced_pod(self, namespace: str, body: Any, **options: Any) -> Any:
        """Run the pod."""
        name = body["metadata"]["name"]
        pod = self.api_client.deserialize(SimpleNamespace(data=json.dumps(body)), "V1Pod")
        ended = self.run(name, body["spec"]["containers"][0])
        status = k8s.V1ContainerStatus(
            name="base",
            state=k8s.V1ContainerState(terminated=ended),
            image="",
            image_id="",
            ready=False,
            restart_count=0,
        )
        pod.status = k8s.V1PodStatus(phase="Succeeded", container_statuses=[status])
        self.pods[name] = pod
        PODS[body["metadata"]["labels"]["task_id"]] = {
            "pod": body, "in_cluster": self.hook.in_cluster, "config_file": self.hook.config_file
        }  # fmt: skip
        return pod

    def run(self, name: str, container: Any) -> Any:
        """Run the container, and return how it ended."""
        variables: dict[str, str] = {}
        for variable in container["env"]:
            variables[variable["name"]] = expand(variable["value"], variables)
        with tempfile.TemporaryDirectory() as folder:
            outcome = Path(folder) / "termination-log"
            variables["GAIAFLOW_OUTCOME_FILE"] = str(outcome)
            command = [sys.executable, *container["command"][1:], *container.get("args", [])]
            environment = {"PYTHONPATH": os.environ["PYTHONPATH"], **variables}
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
            self.logs[name] = done.stdout.decode()
            message = outcome.read_text() if outcome.exists() else ""
            assert len(message.encode()) <= 2048
            return k8s.V1ContainerStateTerminated(exit_code=done.returncode, reason="Completed", message=message)

    def read_namespaced_pod(self, name: str, namespace: str, **options: Any) -> Any:
        """Return the pod."""
        return self.pods[name]

    def read_namespaced_pod_log(self, name: str, namespace: str, **options: Any) -> Any:
        """Return the pod's log, opened."""
        lines = [
            f"2026-01-01T00:00:00.{number:09d}Z {line}" for number, line in enumerate(self.logs[name].splitlines())
        ]
        return SimpleNamespace(stream=lambda: ["\n".join(lines).encode()])

    def delete_namespaced_pod(self, name: str, namespace: str, **options: Any) -> None:
        """Delete the pod."""
        del self.pods[name]


def main(dag_folder: str, output: str) -> None:
    clusters: list[Cluster] = []

    def connect(hook: KubernetesHook) -> Cluster:
        clusters.append(Cluster(hook))
        return clusters[-1]

    KubernetesHook.core_v1_client = property(connect)
    bag = DagBag(dag_folder)
    states = {dag_id: str(dag.test().state) for dag_id, dag in bag.dags.items()}
    left = [name for cluster in clusters for name in cluster.pods]
    Path(output).write_text(json.dumps({"errors": bag.import_errors, "states": states, "pods": PODS, "left": left}))


main(*sys.argv[1:])
