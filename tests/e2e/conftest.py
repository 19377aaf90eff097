"""The one stack that the end-to-end tests share: started from nothing, in paths with a space."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import browser as browser
from browser import page as page
from stack import PACKAGE, STACK_ALONE, SUMMARY, Airflow, Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A started stack with the example project; nothing of it is left afterwards."""
    root = tmp_path_factory.mktemp("a home")
    stack = Stack(home=root / "gaiaflow home", project=root / "wine project", instance="e2e")
    done = stack.run("workstation", *STACK_ALONE, "--project", str(stack.project))
    summary = SUMMARY.search(done.stdout)
    assert summary, done.stdout
    assert int(summary[2]) > 0
    assert summary[4] == "0"
    yield stack
    if stack.directory.exists():
        stack.run("uninstall", "--yes")


@pytest.fixture(scope="session")
def trained(stack: Stack) -> str:
    """The id of a successful run of the example DAG."""
    return Airflow(stack).run_dag(f"{PACKAGE}_example")


@pytest.fixture
def airflow(stack: Stack) -> Airflow:
    """Airflow's API, signed in."""
    return Airflow(stack)
