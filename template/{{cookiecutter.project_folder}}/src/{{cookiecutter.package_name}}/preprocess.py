"""From the data as it came to what a model is trained and tested on."""

from __future__ import annotations

from typing import Any

from .dataloader import TARGET, read_table


def split(dataset: dict[str, Any], test_fraction: float = 0.25, seed: int = 0) -> dict[str, list[int]]:
    """Choose which rows to train on and which to test with, each class in its share.

    Args:
        dataset: what `load_data` returned.
        test_fraction: how much to hold back for the test, between 0 and 1.
        seed: the same seed gives the same rows.

    Returns:
        The row numbers to `train` on and to `test` with.
    """
    from sklearn.model_selection import train_test_split

    table = read_table(dataset["csv"])
    train, test = train_test_split(
        list(range(len(table))), test_size=test_fraction, random_state=seed, stratify=table[TARGET]
    )
    return {"train": sorted(train), "test": sorted(test)}
