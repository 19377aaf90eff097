"""Runs the DAGs of test_task_factory.py in a real Airflow. Run by its Python: DAG_FOLDER OUTPUT_FILE.

Pods are real in everything but Kubernetes: the operator builds the pod it would request, and this runs the pod's
command with the pod's environment, as a kubelet would expand it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes.client import ApiClient

PODS: dict[str, Any] = {}


def expand(value: str, known: dict[str, str]) -> str:
    """Expand $(NAME) and $$ as Kubernetes does; a name it doesn't know stays."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else known.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([\w.-]+)\)", replace, value)


def run_pod(operator: KubernetesPodOperator, context: Any) -> Any:
    client: Any = ApiClient()
    pod = client.sanitize_for_serialization(operator.build_pod_request_obj(context, dry_run=True))
    PODS[operator.task_id] = {
        "pod": pod, "in_cluster": operator.in_cluster, "config_file": operator.config_file, "retries": operator.retries
    }  # fmt: skip
    container = pod["spec"]["containers"][0]
    variables: dict[str, str] = {}
    for variable in container["env"]:
        variables[variable["name"]] = expand(variable["value"], variables)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "return.json"
        if "GAIAFLOW_RESULT_FILE" in variables:
            variables["GAIAFLOW_RESULT_FILE"] = str(result)
        command = [sys.executable, *container["command"][1:], *container.get("args", [])]
        subprocess.run(command, env={"PYTHONPATH": os.environ["PYTHONPATH"], **variables}, check=True)
        return json.loads(result.read_text()) if result.exists() else None


def main(dag_folder: str, output: str) -> None:
    KubernetesPodOperator.execute_sync = run_pod
    bag = DagBag(dag_folder)
    states = {dag_id: str(dag.test().state) for dag_id, dag in bag.dags.items()}
    Path(output).write_text(json.dumps({"errors": bag.import_errors, "states": states, "pods": PODS}))


main(*sys.argv[1:])
