"""A stack in containers that is connected with the tests' cluster."""

from __future__ import annotations

import subprocess
from dataclasses import replace

from clusters import Cluster
from example_runs import add_values_dag
from stack import CHECKOUT, PACKAGE, SUMMARY, Stack

INSTANCE = "boxes"
START = ("mlops", "--start", "--runtime", "docker", "--service", "airflow", "--service", "mlflow")
DAG = f"""\
# ruff: noqa
# fmt: off
import os
import sys
from pathlib import Path
sys.path.append(str(Path(__file__).absolute().parents[1]))
from airflow.sdk import DAG
from {PACKAGE}_dags import ENV, IMAGE
from {PACKAGE}_dags.task_factory import task_factory

MLFLOW = {{name: value for name, value in os.environ.items() if name == "MLFLOW_TRACKING_URI" and ENV == "prod"}}

with DAG("boxes", schedule=None):
    common = {{"image": IMAGE, "env": ENV, "env_vars": MLFLOW}}
    where = task_factory(task_id="where", func_path="{PACKAGE}.probe:environment",
                         func_kwargs={{"names": ["KUBERNETES_PORT", "MLFLOW_TRACKING_URI"]}}, **common)
    store = task_factory(task_id="store", func_path="{PACKAGE}.probe:store", func_kwargs={{"mebibytes": 2}}, **common)
    where >> store
"""


def start(cluster: Cluster) -> int:
    """Start the stack in containers, its tasks in pods; return how many tasks changed something."""
    command = [
        str(CHECKOUT / "gaiaflow-setup"),
        *START,
        "--instance",
        INSTANCE,
        "--project",
        str(cluster.stack.project),
    ]
    environment = {**cluster.environment, "GAIAFLOW_ENV": "prod_local"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    summary = SUMMARY.search(done.stdout)
    assert done.returncode == 0 and summary, done.stdout + done.stderr
    return int(summary[2])


def make_boxes(cluster: Cluster) -> Cluster:
    """Start a stack in containers beside the native one, and connect it with the cluster."""
    stack = Stack(home=cluster.home, project=cluster.stack.project, instance=INSTANCE)
    add_values_dag(stack.project)
    (stack.project / "dags" / f"{PACKAGE}_dags" / "boxes.py").write_text(DAG)
    found = replace(cluster, stack=stack)
    start(found)
    found.cluster("--start")
    start(found)
    return found


def remove_boxes(cluster: Cluster) -> None:
    """Remove that stack, also one that has not come up."""
    stack = Stack(home=cluster.home, project=cluster.stack.project, instance=INSTANCE)
    if stack.directory.exists():
        stack.run("uninstall", "--yes")


def image_of(boxes: Cluster, program: str) -> str:
    """Return the name of the image that the product has built for one of its programs."""
    label = f"label=gaiaflow.directory={boxes.stack.directory}"
    command = ["docker", "ps", "--all", "--filter", label, "--filter", f"label=gaiaflow.program={program}"]
    done = subprocess.run([*command, "--format", "{{.Image}}"], check=True, capture_output=True, text=True)
    return done.stdout.strip()
