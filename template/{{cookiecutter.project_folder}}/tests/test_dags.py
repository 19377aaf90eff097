"""The DAGs, as Airflow reads them. Skipped where Airflow isn't installed."""

import importlib
import shutil
import tomllib
from pathlib import Path

import pytest

from {{ cookiecutter.package_name }} import __version__

PROJECT = "{{ cookiecutter.package_name }}"


ROOT = Path(__file__).parents[1]


def test_image_is_named_after_project_package_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAIAFLOW_IMAGE", raising=False)
    settings = importlib.reload(importlib.import_module(f"{PROJECT}_dags"))
    name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    assert settings.IMAGE == f"{name}/{PROJECT}:{__version__}"


def test_image_of_dags_without_the_code_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = importlib.import_module(f"{PROJECT}_dags")
    folder = shutil.copytree(ROOT / "dags" / f"{PROJECT}_dags", tmp_path / f"{PROJECT}_dags")
    monkeypatch.setattr(settings, "__file__", str(folder / "__init__.py"))
    assert settings.find_image() is None
    (folder / "image.txt").write_text("registry.example/name:1\n")
    assert settings.find_image() == "registry.example/name:1"


@pytest.mark.parametrize("name", ["starter"{% if cookiecutter.include_example %}, "example"{% endif %}])
def test_dag(name: str) -> None:
    pytest.importorskip("airflow")
    dag = importlib.import_module(f"{PROJECT}_dags.{name}_dag").dag
    assert dag.dag_id == f"{PROJECT}_{name}"
    assert len(dag.tasks) > 1
    assert all(task.upstream_task_ids or task.downstream_task_ids for task in dag.tasks)


def test_airflow_imports_all_dags() -> None:
    processing = pytest.importorskip("airflow.dag_processing.dagbag")
    bag = processing.DagBag(ROOT / "dags")
    assert bag.import_errors == {}
    assert bag.dags
