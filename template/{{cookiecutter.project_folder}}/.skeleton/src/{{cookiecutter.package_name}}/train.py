"""Train a model, and let MLflow keep what came of it. For now it is the simplest one: the mean, whatever the input."""

from __future__ import annotations

from typing import Any

from .dataloader import read_table
from .utils import start_run


def train(dataset: dict[str, Any], rows: dict[str, list[int]], target: str) -> dict[str, Any]:
    """Train, measure, and log to MLflow. Put your own model here.

    Args:
        dataset: what `load_data` returned.
        rows: what `split` returned.
        target: the column with the numbers to predict.

    Returns:
        The MLflow `run_id`, the `model` (its mean) and the `metrics` (the mean absolute error, in the target's unit).
    """
    import mlflow

    values = read_table(dataset["csv"])[target]
    mean = float(values.iloc[rows["train"]].mean())
    metrics = {"mean_absolute_error": float((values.iloc[rows["test"]] - mean).abs().mean())}
    with start_run("train") as run:
        mlflow.log_params({"model": "mean", "target": target, "rows": dataset["rows"]})
        mlflow.log_metrics(metrics)
        return {"run_id": run.info.run_id, "model": {"mean": mean}, "metrics": metrics}
