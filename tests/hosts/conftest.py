"""What the tests on hosts share: one reason to skip them, and a beginning of what takes long."""

from __future__ import annotations

from pathlib import Path

import preparation
import pytest
from host_fixtures import make_host as make_host

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests that this machine can't run, and begin to make what the others need."""
    for item in items:
        fixtures = getattr(item, "fixturenames", [])
        if HERE not in item.path.parents or not preparation.NEEDED_BY.keys() & set(fixtures):
            continue
        if reason := preparation.lacking():
            item.add_marker(pytest.mark.skip(reason=reason))
        elif not config.option.collectonly:
            preparation.begin(fixtures)
