"""From the data as it came to what a model is trained and tested on."""

from __future__ import annotations

from typing import Any


def split(dataset: dict[str, Any], test_fraction: float = 0.25, seed: int = 0) -> dict[str, list[int]]:
    """Choose at random which rows to train on and which to test with.

    Args:
        dataset: what `load_data` returned.
        test_fraction: how much to hold back for the test, between 0 and 1.
        seed: the same seed gives the same rows.

    Returns:
        The row numbers to `train` on and to `test` with.
    """
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(list(range(dataset["rows"])), test_size=test_fraction, random_state=seed)
    return {"train": sorted(train), "test": sorted(test)}
