"""What README promises a newcomer: the stack starts, the example trains a model, and its pages open."""

from __future__ import annotations

import pytest
from browser import open_airflow, open_jupyter, open_minio, open_mlflow
from playwright.sync_api import Page
from stack import PACKAGE, SERVICES, Mlflow, Stack, objects

# Where a browser has to be installed, that is done while the stack starts.
pytestmark = pytest.mark.usefixtures("browser")


def test_every_service_is_healthy(stack: Stack) -> None:
    services = stack.services()
    assert set(services) == SERVICES
    assert all(row["health"] == "healthy" for row in services.values()), services
    # Root's PostgreSQL is another user's: inside a container its figure isn't known.
    unknown = {name for name, row in services.items() if row["memory_bytes"] is None}
    assert unknown <= {"postgres"}
    assert all(row["memory_bytes"] > 10**6 for name, row in services.items() if name not in unknown), services


def test_example_dag_trains_and_registers_a_model(stack: Stack, trained: str) -> None:
    version = Mlflow(stack).latest_version(PACKAGE)
    run = Mlflow(stack).get("runs/get", run_id=version["run_id"])["run"]
    assert run["data"]["params"]
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert any(0.8 < value <= 1 for value in metrics.values()), metrics
    stored = objects(stack)
    assert any(name.endswith("MLmodel") and size > 100 for name, size in stored.items()), stored
    assert any(name.endswith(".png") and size > 1000 for name, size in stored.items()), stored


def test_pages_open_in_a_browser(stack: Stack, trained: str, page: Page) -> None:
    open_airflow(page, stack, PACKAGE)
    open_mlflow(page, stack, PACKAGE)
    open_minio(page, stack)
    open_jupyter(page, stack)
