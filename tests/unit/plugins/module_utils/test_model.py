"""Which model is meant, whether it can be served, and what an instance knows of those that it serves."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from gaiaflow_py.commands.models import command
from gaiaflow_py.request import Request

MLMODEL = """flavors:
  python_function:
    env:
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
    python_version: 3.12.4
  sklearn:
    sklearn_version: 1.9.1
mlflow_version: 3.17.2
signature:
  inputs: '[{"type": "double", "name": "alcohol", "required": true}]'
  outputs: '[{"type": "long"}]'
"""
SERVICES: dict[str, Any] = {
    "mlflow": {"pages": {"mlflow": 39000}},
    "models": {"pages": {}, "first_port": 39001},
}
WINE = {"name": "wine", "version": "3", "alias": "champion", "files": "wine/3-0a1b2c3d"}


@pytest.fixture
def models() -> ModuleType:
    """What the modules know of models."""
    from ansible_collections.gaiaflow.setup.plugins.module_utils import model

    return model


@pytest.mark.parametrize(
    ("text", "name", "alias", "version"),
    [
        ("wine", "wine", "", ""),
        ("wine@champion", "wine", "champion", ""),
        ("My Wine/12", "My Wine", "", "12"),
    ],
)
def test_model_is_named_with_an_alias_or_a_version(
    models: ModuleType, text: str, name: str, alias: str, version: str
) -> None:
    assert models.asked_for(text) == models.Asked(name, alias, version)


@pytest.mark.parametrize("text", ["", "@champion", "wine@", "wine/latest", "models:/wine/1", "wine@a@b", "wine/1@a"])
def test_what_names_no_model_is_refused(models: ModuleType, text: str) -> None:
    with pytest.raises(models.ModelError, match="names no model"):
        models.asked_for(text)


@pytest.mark.parametrize(
    ("name", "program"),
    [("wine_project", "models-wine-project"), ("  Ein Wein! ", "models-ein-wein"), ("x" * 50, "models-" + "x" * 50)],
)
def test_program_is_named_after_the_model(models: ModuleType, name: str, program: str) -> None:
    assert models.program_of(name) == program


@pytest.mark.parametrize("name", ["葡萄酒", "x" * 51])
def test_name_that_leaves_nothing_to_call_it_by_is_refused(models: ModuleType, name: str) -> None:
    with pytest.raises(models.ModelError, match="letters a-z and digits"):
        models.program_of(name)


def test_python_of_the_model_is_known(models: ModuleType) -> None:
    assert models.check_model_file(MLMODEL, "Version 3 of 'wine'") == "3.12"


@pytest.mark.parametrize(
    ("there", "instead", "reason"),
    [
        ("  python_function:", "  other:", "python_function"),
        ("signature:\n", "signature: null\n", "no signature"),
        ("signature:\n", "other:\n", "no signature"),
        ("mlflow_version: 3.17.2", "mlflow_version: 2.22.0", "logged with MLflow 2"),
    ],
)
def test_model_that_cannot_be_served_is_refused(models: ModuleType, there: str, instead: str, reason: str) -> None:
    assert there in MLMODEL
    with pytest.raises(models.ModelError, match=reason) as refused:
        models.check_model_file(MLMODEL.replace(there, instead), "Version 3 of 'wine'")
    assert "Version 3 of 'wine'" in str(refused.value) and "Log it again" in refused.value.hint


@pytest.mark.parametrize(
    ("given", "complete"),
    [
        ("mlflow==3.17.2\npandas==3.1\n", "mlflow==3.17.2\npandas==3.1\n"),
        ("pandas\nMLflow-skinny\n", "pandas\nMLflow-skinny\n"),
        ("pandas\nmlflow-plugin==1", "pandas\nmlflow-plugin==1\nmlflow-skinny==3.17.2\n"),
        ("", "mlflow-skinny==3.17.2\n"),
    ],
)
def test_requirements_name_mlflows_server(models: ModuleType, given: str, complete: str) -> None:
    assert models.complete_requirements(given, models.mlflow_of(MLMODEL)) == complete


def test_versions_of_python_are_no_text(models: ModuleType) -> None:
    assert models.older("3.9", "3.13") == models.older("3.13", "3.9") == "3.9"


def test_served_model_gets_the_first_free_port_and_keeps_it(models: ModuleType, tmp_path: Path) -> None:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import ports

    known = ports.known_ports(models.with_models(SERVICES, {"models-a": {}, "models-b": {}}), ())
    directory = tmp_path / "instances" / "default"
    given = ports.choose_ports(known, {}, {"models-b": 39002}, directory, tmp_path)
    assert given == {"mlflow": 39000, "models-a": 39001, "models-b": 39002}
    moved = ports.choose_ports(known, {"models-a": 39010}, given, directory, tmp_path)
    assert moved["models-a"] == 39010


def test_model_whose_files_were_deleted_is_served_no_more(models: ModuleType, tmp_path: Path) -> None:
    record = {"models": {"models-wine": WINE}}
    assert models.kept_models(record, tmp_path) == {}
    lock = tmp_path / "data" / "models" / WINE["files"] / "model.txt"
    lock.parent.mkdir(parents=True)
    lock.write_text("")
    assert models.kept_models(record, tmp_path) == record["models"]


def test_models_with_the_same_needs_share_an_environment(models: ModuleType, tmp_path: Path) -> None:
    served = {"models-wine": WINE, "models-beer": {**WINE, "files": "beer/1-0a1b2c3d"}}
    for one in served.values():
        lock = models.lock_of(one, tmp_path)
        lock.parent.mkdir(parents=True)
        lock.write_text("pandas==3.1.1\n")
    wine, beer = models.environments_of(served, tmp_path, tmp_path / "environments")
    assert (wine.name, beer.name) == ("models-wine", "models-beer")
    assert wine.directory == beer.directory
    models.lock_of(served["models-beer"], tmp_path).write_text("pandas==3.1.2\n")
    assert models.environments_of(served, tmp_path, tmp_path / "environments")[1].directory != wine.directory


@pytest.mark.parametrize(
    ("words", "state", "more"),
    [
        (["serve", "wine@champion"], "served", {}),
        (["serve", "wine", "--port", "5010"], "served", {"models_port": 5010}),
        (["stop", "wine"], "stopped", {}),
        (["image", "wine", "-b"], "built", {"model_image_always": True}),
        (["deploy", "wine"], "deployed", {}),
        (["deploy", "wine", "--rollback"], "rolled_back", {}),
        (["deploy", "wine", "--delete", "--yes"], "undeployed", {}),
    ],
)
def test_command_is_a_run_of_the_playbook(
    monkeypatch: pytest.MonkeyPatch, words: list[str], state: str, more: dict[str, Any]
) -> None:
    asked: list[Request] = []
    monkeypatch.setattr("gaiaflow_py.commands._run.run", asked.append)
    done = CliRunner().invoke(command, [*words, "--instance", "second"], standalone_mode=False)
    assert done.exception is None
    assert (asked[0].playbook, asked[0].locks) == ("models", ("second",))
    name = words[1]
    assert asked[0].variables == {"models_name": name, "models_state": state, "models_instance": "second", **more}


def test_rollback_and_deletion_exclude_one_another() -> None:
    done = CliRunner().invoke(command, ["deploy", "wine", "--rollback", "--delete"])
    assert done.exit_code == 2 and "--rollback and --delete" in done.output


def test_deletion_asks_and_nobody_there_is_no_answer() -> None:
    done = CliRunner().invoke(command, ["deploy", "wine", "--delete", "--json"])
    assert done.exit_code == 2 and "--yes" in json.dumps(done.output)
