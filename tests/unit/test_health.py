"""How long a start is waited for, on machines that keep up and on others."""

from __future__ import annotations

import importlib
import time
from types import ModuleType

import pytest
from doctor_machine import load_shared


@pytest.fixture
def health() -> ModuleType:
    load_shared()
    return importlib.import_module("ansible.module_utils.gaiaflow_health")


@pytest.mark.parametrize(("load", "waited"), [(0.5, 10), (2.0, 10), (4.0, 20), (100.0, 40)])
def test_a_busy_machine_gets_more_time_and_not_for_ever(
    health: ModuleType, monkeypatch: pytest.MonkeyPatch, load: float, waited: int
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    patience = health.Patience(10)
    while not patience.ended():
        clock[0] += 0.25
    assert patience.waited == waited
