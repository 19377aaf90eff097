"""Where the data comes from: CSV files in `data/`. Put your own source here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .utils import data_dir

if TYPE_CHECKING:
    import pandas as pd


def read_table(csv: str) -> pd.DataFrame:
    """Read a file in `data/`.

    Args:
        csv: the file's name.
    """
    import pandas as pd

    return pd.read_csv(data_dir() / csv)


def load_data(csv: str) -> dict[str, Any]:
    """Describe the data for the tasks that follow. They read it again: only small values go through XCom.

    Args:
        csv: as for `read_table`.

    Returns:
        `csv`, the number of `rows` and the names of the `columns`.
    """
    table = read_table(csv)
    return {"csv": csv, "rows": len(table), "columns": [str(column) for column in table.columns]}
