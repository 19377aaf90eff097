"""Use the registered model."""

from __future__ import annotations

from typing import Any

from .dataloader import TARGET, read_table


def predict(dataset: dict[str, Any], rows: dict[str, list[int]], model: dict[str, Any]) -> list[dict[str, int]]:
    """Predict the class of the test rows with a version of the registered model.

    Args:
        dataset: what `load_data` returned.
        rows: what `split` returned.
        model: what `register` returned.

    Returns:
        For each row its number, the `actual` and the `predicted` class.
    """
    import mlflow.pyfunc

    table = read_table(dataset["csv"]).iloc[rows["test"]]
    loaded = mlflow.pyfunc.load_model(f"models:/{model['name']}/{model['version']}")
    predicted = loaded.predict(table.drop(columns=TARGET))
    return [
        {"row": row, "actual": int(actual), "predicted": int(guess)}
        for row, actual, guess in zip(rows["test"], table[TARGET], predicted, strict=True)
    ]
