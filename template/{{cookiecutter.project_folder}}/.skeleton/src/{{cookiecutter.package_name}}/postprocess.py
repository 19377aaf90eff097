"""Decide what becomes of a trained model."""

from __future__ import annotations

from typing import Any


def accept(training: dict[str, Any], maximum_error: float) -> dict[str, Any]:
    """Let a model pass that is good enough. Register it in MLflow here once it is a model of your own.

    Args:
        training: what `train` returned.
        maximum_error: the largest mean absolute error to accept, in the target's unit.

    Returns:
        The model, for `predict`.

    Raises:
        ValueError: the model isn't good enough.
    """
    error = training["metrics"]["mean_absolute_error"]
    if error > maximum_error:
        raise ValueError(f"mean absolute error {error:.3g} of run {training['run_id']} is above {maximum_error}")
    return dict(training["model"])
