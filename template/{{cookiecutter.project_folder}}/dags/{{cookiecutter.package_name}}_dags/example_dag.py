"""Train a classifier on real data, register it in MLflow, and predict with it."""

import os
import sys
from pathlib import Path

# Airflow puts only the DAG folder itself on the path, and this project may be synced into a sub-folder of it.
if (parent := str(Path(__file__).absolute().parents[1])) not in sys.path:
    sys.path.append(parent)

from airflow.sdk import DAG, TaskGroup

from {{ cookiecutter.package_name }}_dags import ENV, IMAGE
from {{ cookiecutter.package_name }}_dags.task_factory import task_factory

PACKAGE = "{{ cookiecutter.package_name }}"
# In `prod`, MLflow is where Airflow's own environment says; on this machine, tasks are told without this.
MLFLOW = {name: value for name, value in os.environ.items() if name == "MLFLOW_TRACKING_URI" and ENV == "prod"}

with DAG(
    dag_id=f"{PACKAGE}_example",
    description="Load, split, train, register, predict",
    schedule=None,
    catchup=False,
    tags=[PACKAGE],
) as dag:
    load_data = task_factory(
        task_id="load_data",
        func_path=f"{PACKAGE}.dataloader:load_data",
        image=IMAGE,
        env=ENV,
    )
    split = task_factory(
        task_id="split",
        func_path=f"{PACKAGE}.preprocess:split",
        func_kwargs={"test_fraction": 0.25, "seed": 0},
        xcom_pull_tasks={"dataset": {"task": "load_data"}},
        image=IMAGE,
        env=ENV,
    )
    with TaskGroup("model") as model:
        train = task_factory(
            task_id="train",
            func_path=f"{PACKAGE}.train:train",
            func_kwargs={"parameters": {"regularisation": 1.0, "max_iterations": 1000}},
            xcom_pull_tasks={"dataset": {"task": "load_data"}, "rows": {"task": "split"}},
            image=IMAGE,
            env=ENV,
            env_vars=MLFLOW,
        )
        register = task_factory(
            task_id="register",
            func_path=f"{PACKAGE}.postprocess:register",
            func_kwargs={"minimum_accuracy": 0.8},
            xcom_pull_tasks={"training": {"task": "model.train"}},
            image=IMAGE,
            env=ENV,
            env_vars=MLFLOW,
        )
        train >> register
    predict = task_factory(
        task_id="predict",
        func_path=f"{PACKAGE}.predict:predict",
        xcom_pull_tasks={
            "dataset": {"task": "load_data"},
            "rows": {"task": "split"},
            "model": {"task": "model.register"},
        },
        image=IMAGE,
        env=ENV,
        env_vars=MLFLOW,
    )
    load_data >> split >> model >> predict
