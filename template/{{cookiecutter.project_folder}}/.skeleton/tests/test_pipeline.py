"""The skeleton's steps on a small table, without a server."""

import pytest

from {{ cookiecutter.package_name }} import dataloader, postprocess, predict, preprocess, starter, utils


def test_hand_over(tmp_path, monkeypatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "my.csv").write_text("a,b\n" + "1,2\n" * 8)
    monkeypatch.setenv("GAIAFLOW_PROJECT_DIR", str(tmp_path))
    dataset = dataloader.load_data("my.csv")
    assert dataset == {"csv": "my.csv", "rows": 8, "columns": ["a", "b"]}
    rows = preprocess.split(dataset)
    assert sorted(rows["train"] + rows["test"]) == list(range(8)) and len(rows["test"]) == 2


def test_only_a_good_model_predicts() -> None:
    training = {"run_id": "r", "model": {"mean": 2.5}, "metrics": {"mean_absolute_error": 0.5}}
    assert predict.predict(postprocess.accept(training, maximum_error=1), rows=[3, 4]) == [2.5, 2.5]
    with pytest.raises(ValueError, match=r"0\.5"):
        postprocess.accept(training, maximum_error=0.1)


def test_mlflow_address_is_needed(monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(RuntimeError, match="MLFLOW_TRACKING_URI"):
        utils.start_run("test")


def test_starter() -> None:
    assert "greeting: hi" in starter.report(starter.describe_environment("hi"))
