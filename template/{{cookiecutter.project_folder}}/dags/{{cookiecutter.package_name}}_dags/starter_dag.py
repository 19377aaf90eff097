"""The smallest DAG: two tasks, and a value handed from one to the other. Start your own DAG from a copy of it."""

import sys
from pathlib import Path

# Airflow puts only the DAG folder itself on the path, and this project may be synced into a sub-folder of it.
if (parent := str(Path(__file__).absolute().parents[1])) not in sys.path:
    sys.path.append(parent)

from airflow.sdk import DAG

from {{ cookiecutter.package_name }}_dags import ENV, IMAGE
from {{ cookiecutter.package_name }}_dags.task_factory import task_factory

with DAG(
    dag_id="{{ cookiecutter.package_name }}_starter",
    description="Two tasks that hand over a value",
    schedule=None,
    catchup=False,
    tags=["{{ cookiecutter.package_name }}"],
) as dag:
    describe = task_factory(
        task_id="describe",
        func_path="{{ cookiecutter.package_name }}.starter:describe_environment",
        func_kwargs={"greeting": "hello"},
        image=IMAGE,
        env=ENV,
    )
    report = task_factory(
        task_id="report",
        func_path="{{ cookiecutter.package_name }}.starter:report",
        xcom_pull_tasks={"environment": {"task": "describe"}},
        image=IMAGE,
        env=ENV,
    )
    describe >> report
