"""Which ports an instance gets, where others of the user have theirs without listening on them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from doctor_machine import load_shared

MODULE = Path(__file__).parents[2] / "library" / "gaiaflow_instance.py"


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, noting ports in a directory of the test's own."""
    load_shared()
    spec = importlib.util.spec_from_file_location("gaiaflow_instance", MODULE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESERVATIONS", tmp_path / "gaiaflow-{user}-ports")
    return module


def record_ports(directory: Path, ports: dict[str, int]) -> None:
    """Write the record of an instance that has these ports."""
    directory.mkdir(parents=True)
    (directory / "instance.json").write_text(json.dumps({"ports": ports, "urls": {}}))


def reserve(instance: ModuleType, directory: Path, ports: dict[str, int]) -> None:
    """Give an instance these ports."""
    with instance.reserving_ports(directory):
        record_ports(directory, ports)


def test_stopped_instance_of_another_home_keeps_its_ports(instance: ModuleType, tmp_path: Path) -> None:
    first, second = tmp_path / "a home/instances/theirs", tmp_path / "another/instances/mine"
    reserve(instance, first, {"master": 39004, "mlflow": 39005})
    with instance.reserving_ports(second):
        reserved = instance.reserved_elsewhere(second)
        assert reserved == {39004, 49004, 39005}
        assert instance.Ports(second, reserved).free_from("master", 39004, set()) == 39006
    assert instance.reserved_elsewhere(first) == set()


def test_unused_port_that_another_instance_has_noted_is_given_up(instance: ModuleType, tmp_path: Path) -> None:
    ports = instance.Ports(tmp_path, {39004})
    assert not ports.can_keep("mlflow", 39004) and ports.can_keep("mlflow", 39005)
    # It is the instance's own process that listens: what runs isn't moved.
    ports.listeners[39004] = 1
    ports.holder = lambda name, port: None
    assert ports.can_keep("mlflow", 39004)


def test_instances_of_one_home_keep_their_ports(instance: ModuleType, tmp_path: Path) -> None:
    record_ports(tmp_path / "instances/theirs", {"mlflow": 39005})
    assert instance.reserved_in(tmp_path, tmp_path / "instances/mine") == {39005}
    assert instance.reserved_in(tmp_path, tmp_path / "instances/theirs") == set()


def test_removed_instance_reserves_nothing(instance: ModuleType, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    reserve(instance, first, {"mlflow": 39005})
    shutil.rmtree(first)
    assert instance.reserved_elsewhere(second) == set()
    reserve(instance, second, {})
    assert len(list(instance.own_reservations().glob("*.json"))) == 1


@pytest.mark.parametrize("content", ["", "[]", '{"directory": 1}', '{"directory": "/", "ports": ["x"]}', "\udcff"])
def test_what_is_no_note_reserves_nothing(instance: ModuleType, tmp_path: Path, content: str) -> None:
    place = tmp_path / "gaiaflow-4711-ports"
    place.mkdir()
    (place / "note.json").write_text(content, errors="surrogateescape")
    os.mkfifo(place / "pipe.json")
    assert instance.reserved_elsewhere(tmp_path) == set()


def test_place_of_another_user_is_refused(instance: ModuleType, tmp_path: Path) -> None:
    instance.own_reservations().symlink_to(tmp_path)
    with pytest.raises(ValueError, match="belongs to another user"), instance.reserving_ports(tmp_path):
        pass
