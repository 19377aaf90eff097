"""Which ports an instance gets, where others of the user have theirs without listening on them."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path
from types import ModuleType

import pytest

SEAWEEDFS = {
    "pages": {"s3": 39000},
    "internal_ports": {"master": 39004},
    "second_ports": {"offset": 10000, "of": ["master"]},
}
SERVICES = {"minio": SEAWEEDFS, "mlflow": {"pages": {"mlflow": 39005}}}


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, noting ports in a directory of the test's own."""
    from ansible_collections.gaiaflow.setup.plugins.module_utils import ports as module

    monkeypatch.setattr(module, "RESERVATIONS", tmp_path / "gaiaflow-{user}-ports")
    return module


def record_ports(directory: Path, ports: dict[str, int]) -> None:
    """Write the record of an instance that has these ports."""
    directory.mkdir(parents=True)
    (directory / "instance.json").write_text(json.dumps({"ports": ports, "urls": {}}))


def reserve(instance: ModuleType, directory: Path, ports: dict[str, int]) -> None:
    """Give an instance these ports."""
    with instance.reserving_ports(directory, instance.known_ports(SERVICES, ())):
        record_ports(directory, ports)


def test_stopped_instance_of_another_home_keeps_its_ports(instance: ModuleType, tmp_path: Path) -> None:
    first, second = tmp_path / "a home/instances/theirs", tmp_path / "another/instances/mine"
    reserve(instance, first, {"master": 39004, "mlflow": 39005})
    known = instance.known_ports(SERVICES, ())
    with instance.reserving_ports(second, known):
        reserved = instance.reserved_elsewhere(second)
        assert reserved == {39004, 49004, 39005}
        assert instance.Ports(second, known, reserved).free_from("master", 39004, set()) == 39006
    assert instance.reserved_elsewhere(first) == set()


def test_unused_port_that_another_instance_has_noted_is_given_up(instance: ModuleType, tmp_path: Path) -> None:
    ports = instance.Ports(tmp_path, instance.known_ports(SERVICES, ()), {39004})
    assert not ports.can_keep("mlflow", 39004) and ports.can_keep("mlflow", 39005)
    # It is the instance's own process that listens: what runs isn't moved.
    ports.listeners[39004] = 1
    ports.holder = lambda name, port: None
    assert ports.can_keep("mlflow", 39004)


def test_instances_of_one_home_keep_their_ports(instance: ModuleType, tmp_path: Path) -> None:
    record_ports(tmp_path / "instances/theirs", {"mlflow": 39005})
    known = instance.known_ports(SERVICES, ())
    assert instance.reserved_in(tmp_path, tmp_path / "instances/mine", known) == {39005}
    assert instance.reserved_in(tmp_path, tmp_path / "instances/theirs", known) == set()


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
    with (
        pytest.raises(ValueError, match="belongs to another user"),
        instance.reserving_ports(tmp_path, instance.known_ports(SERVICES, ())),
    ):
        pass


def choose(instance: ModuleType, directory: Path, **asked: object) -> dict[str, int]:
    """Return the ports that an instance gets."""
    known = instance.known_ports(SERVICES, ["minio", "mlflow"])
    chosen: dict[str, int] = instance.choose_ports(known, asked, {}, directory, directory.parents[1])
    return chosen


def test_first_instance_gets_the_catalogues_ports_and_the_next_gets_free_ones(
    instance: ModuleType, tmp_path: Path
) -> None:
    first = choose(instance, tmp_path / "instances/default")
    assert first == {"s3": 39000, "mlflow": 39005, "master": 39004}
    record_ports(tmp_path / "instances/default", first)
    second = choose(instance, tmp_path / "instances/second")
    assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize(
    ("name", "port", "message"),
    [
        ("s4", 1, "no port named 's4'; the ports are s3, mlflow, master"),
        ("s3", "x", "'x' is no port for s3"),
        ("s3", 65536, "65536 is no port for s3"),
        ("master", 60000, "60000 is too high for master: 10000 above it"),
        ("s3", 39005, "39005 is asked for twice"),
    ],
)
def test_port_that_cannot_be_is_refused(
    instance: ModuleType, tmp_path: Path, name: str, port: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        choose(instance, tmp_path / "instances/default", **{name: port})


def test_port_that_somebody_else_uses_is_refused(instance: ModuleType, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(instance.PortTakenError, match=rf"Port {port} \(mlflow\) is taken by "):
            choose(instance, tmp_path / "instances/default", mlflow=port)
