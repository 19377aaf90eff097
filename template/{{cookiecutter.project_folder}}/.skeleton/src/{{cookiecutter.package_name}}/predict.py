"""Use the model."""

from __future__ import annotations


def predict(model: dict[str, float], rows: list[int]) -> list[float]:
    """Predict the target for some rows.

    Args:
        model: what `accept` returned.
        rows: their numbers; the mean doesn't depend on anything else.
    """
    return [model["mean"] for _ in rows]
