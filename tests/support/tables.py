"""Rows of a table as a test's parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest


def rows(table: Mapping[str, Any], regular: Collection[str]) -> list[Any]:
    """Return a table's rows as parameters, named as they are there; all but the regular ones are marked thorough.

    Args:
        table: The rows by name; a tuple is one row of several parameters.
        regular: The names of those that stand for their kind.

    Raises:
        ValueError: There is no row of a name.
    """
    if unknown := set(regular) - table.keys():
        raise ValueError(f"There is no row {', '.join(sorted(unknown))}.")
    return [
        pytest.param(
            *(row if isinstance(row, tuple) else (row,)), id=name, marks=[] if name in regular else pytest.mark.thorough
        )
        for name, row in table.items()
    ]
