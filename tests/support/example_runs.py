"""Runs of the generated project's example, and of a DAG whose values try hard, by Airflow's REST API."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusters import Cluster
from probe import HARD, PROBE
from stack import CHECKOUT, PACKAGE, Airflow, HasServices, Mlflow

TASKS = ("load_data", "split", "model.train", "model.register", "predict")
OWN_TO_A_RUN = {"run_id", "model_uri", "version", "uri"}
ARTIFACT_MIB = 200
VALUES = f"""\
# ruff: noqa
# fmt: off
import json
import os
import sys
from pathlib import Path
sys.path.append(str(Path(__file__).absolute().parents[1]))
from airflow.sdk import DAG
from {PACKAGE}_dags import ENV, IMAGE
from {PACKAGE}_dags.task_factory import task_factory

MLFLOW = {{name: value for name, value in os.environ.items() if name == "MLFLOW_TRACKING_URI" and ENV == "prod"}}

HARD = json.loads(Path(__file__).with_name("values.json").read_text())
with DAG("values", schedule=None):
    common = {{"image": IMAGE, "env": ENV}}
    give = task_factory(task_id="give", func_path="{PACKAGE}.probe:give", func_kwargs={{"value": HARD}}, **common)
    pass_on = task_factory(task_id="pass_on", func_path="{PACKAGE}.probe:give",
                           xcom_pull_tasks={{"value": {{"task": "give"}}}}, **common)
    store = task_factory(task_id="store", func_path="{PACKAGE}.probe:store", env_vars=MLFLOW,
                         func_kwargs={{"mebibytes": {ARTIFACT_MIB}}}, **common)
    give >> pass_on >> store
"""


@dataclass
class Run:
    """What came out of running both DAGs in one environment.

    Attributes:
        results: What the example's tasks returned.
        values: What the values became, as text.
        version: The registered model's version.
        artifact_run: The MLflow run with the large artifact.
        seconds: How long the example took.
    """

    results: dict[str, Any]
    values: str
    version: str
    artifact_run: str
    seconds: float


def without_ids(value: Any) -> Any:
    """Return a task's result without what MLflow numbers anew in each run."""
    if isinstance(value, dict):
        return {key: without_ids(one) for key, one in value.items() if key not in OWN_TO_A_RUN}
    return value


def add_values_dag(project: Path) -> None:
    """Add the DAG of values, and what its tasks call, to a project."""
    (project / "src" / PACKAGE / "probe.py").write_text(PROBE)
    dags = project / "dags" / f"{PACKAGE}_dags"
    (dags / "values.json").write_text(json.dumps(HARD))
    (dags / "values.py").write_text(VALUES)


def start_airflow(cluster: Cluster, environment: str) -> None:
    """Start the stack's own Airflow anew, with its DAGs' tasks in an environment."""
    command = [str(CHECKOUT / "gaiaflow-setup"), "mlops", "--restart", "--service", "airflow"]
    subprocess.run(
        [*command, "--instance", cluster.stack.instance],
        env={**os.environ, **cluster.environment, "GAIAFLOW_ENV": environment},
        check=True,
        capture_output=True,
        timeout=300,
    )


def run_in(cluster: Cluster, environment: str) -> Run:
    """Run the DAGs in an environment of the stack's own Airflow."""
    start_airflow(cluster, environment)
    return run_on(cluster.stack)


def run_on(owner: HasServices) -> Run:
    """Run the DAGs on an Airflow, and look at its MLflow."""
    airflow, begun = Airflow(owner), time.monotonic()
    run_id = airflow.run_dag(f"{PACKAGE}_example")
    taken = time.monotonic() - begun
    results = {task: airflow.xcom(f"{PACKAGE}_example", run_id, task) for task in TASKS}
    version = str(Mlflow(owner).latest_version(PACKAGE)["version"])
    run_id = airflow.run_dag("values")
    given = [airflow.xcom("values", run_id, task) for task in ("give", "pass_on")]
    return Run(results, repr(given), version, airflow.xcom("values", run_id, "store"), taken)
