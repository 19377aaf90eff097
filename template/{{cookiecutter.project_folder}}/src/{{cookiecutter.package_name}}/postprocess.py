"""Decide what becomes of a trained model."""

from __future__ import annotations

from typing import Any

from .utils import PROJECT


def register(training: dict[str, Any], minimum_accuracy: float = 0.8) -> dict[str, Any]:
    """Register a model that is good enough, as the next version of this project's model.

    Args:
        training: what `train` returned.
        minimum_accuracy: what it must reach on the test rows, 0 to 1.

    Returns:
        The registered model's `name` and `version`.

    Raises:
        ValueError: the model isn't good enough.
    """
    import mlflow

    accuracy = training["metrics"]["accuracy"]
    if accuracy < minimum_accuracy:
        raise ValueError(f"accuracy {accuracy:.3f} of run {training['run_id']} is below {minimum_accuracy}")
    registered = mlflow.register_model(training["model_uri"], PROJECT)
    return {"name": PROJECT, "version": int(registered.version)}
