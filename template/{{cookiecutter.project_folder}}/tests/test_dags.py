"""The DAGs, as Airflow reads them. Skipped where Airflow isn't installed."""

import importlib

import pytest

from {{ cookiecutter.package_name }} import __version__

PROJECT = "{{ cookiecutter.package_name }}"


def test_image_has_the_version_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAIAFLOW_IMAGE", raising=False)
    settings = importlib.reload(importlib.import_module(f"{PROJECT}_dags"))
    assert settings.IMAGE == f"{PROJECT}:{__version__}"


@pytest.mark.parametrize("name", ["starter"{% if cookiecutter.include_example %}, "example"{% endif %}])
def test_dag(name: str) -> None:
    pytest.importorskip("airflow")
    dag = importlib.import_module(f"{PROJECT}_dags.{name}_dag").dag
    assert dag.dag_id == f"{PROJECT}_{name}"
    assert len(dag.tasks) > 1
    assert all(task.upstream_task_ids or task.downstream_task_ids for task in dag.tasks)
