"""The example's steps on its real data, without a server."""

import json

import pytest

from {{ cookiecutter.package_name }} import dataloader, postprocess, preprocess, starter, train, utils


def test_hand_over() -> None:
    dataset = dataloader.load_data()
    assert dataset["rows"] == 178 and len(dataset["features"]) == 13
    rows = preprocess.split(dataset, test_fraction=0.25, seed=1)
    assert sorted(rows["train"] + rows["test"]) == list(range(178)) and len(rows["test"]) == 45
    assert json.loads(json.dumps([dataset, rows])) == [dataset, rows]


def test_model_learns() -> None:
    table = dataloader.read_table()
    rows = preprocess.split({"csv": None})
    model = train.fit(table.iloc[rows["train"]])
    testing = table.iloc[rows["test"]]
    assert train.evaluate(model, testing)["accuracy"] > 0.9
    assert train.plot_confusion(model, testing).axes


def test_bad_model_is_not_registered() -> None:
    with pytest.raises(ValueError, match=r"0\.500"):
        postprocess.register({"run_id": "r", "model_uri": "m", "metrics": {"accuracy": 0.5}})


def test_csv_needs_a_target(tmp_path, monkeypatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "my.csv").write_text("a,b\n1,2\n")
    monkeypatch.setenv("GAIAFLOW_PROJECT_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="target"):
        dataloader.load_data("my.csv")


def test_mlflow_address_is_needed(monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(RuntimeError, match="MLFLOW_TRACKING_URI"):
        utils.start_run("test")


def test_starter() -> None:
    assert "greeting: hi" in starter.report(starter.describe_environment("hi"))
