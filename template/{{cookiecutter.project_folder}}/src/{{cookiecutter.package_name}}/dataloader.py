"""Where the data comes from: the wine data that scikit-learn ships, or a CSV file of your own in `data/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .utils import data_dir

if TYPE_CHECKING:
    import pandas as pd

TARGET = "target"


def read_table(csv: str | None = None) -> pd.DataFrame:
    """Read the data.

    Args:
        csv: a file in `data/` with one column named `target` (the class) and numbers in all others; None for the
            wine data.

    Returns:
        One row a sample, one column a feature, and the column `target`.

    Raises:
        ValueError: the file has no column `target`.
    """
    import pandas as pd
    from sklearn.datasets import load_wine

    if csv is None:
        return load_wine(as_frame=True).frame
    table = pd.read_csv(data_dir() / csv)
    if TARGET not in table.columns:
        raise ValueError(f"{csv} has no column {TARGET!r}; it has {list(table.columns)}")
    return table


def load_data(csv: str | None = None) -> dict[str, Any]:
    """Describe the data for the tasks that follow. They read it again: only small values go through XCom.

    Args:
        csv: as for `read_table`.

    Returns:
        `csv`, the number of `rows`, the names of the `features`, and how many rows each of the `classes` has.
    """
    table = read_table(csv)
    counts = table[TARGET].value_counts().sort_index()
    return {
        "csv": csv,
        "rows": len(table),
        "features": [str(column) for column in table.columns if column != TARGET],
        "classes": {str(name): int(count) for name, count in counts.items()},
    }
