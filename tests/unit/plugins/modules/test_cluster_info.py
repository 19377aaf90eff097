"""What the probe of the cluster says of a profile and its certificates, and for how long it waits."""

from __future__ import annotations

import datetime
import json
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from certificates import make_certificate


@pytest.fixture
def info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with Minikube's home in a directory of the test's own."""
    from ansible_collections.gaiaflow.setup.plugins.modules import cluster_info

    monkeypatch.setenv("MINIKUBE_HOME", str(tmp_path))
    cluster_info.profile_directory("p").mkdir(parents=True)
    return cluster_info


def add(info: ModuleType, name: str, hours: float) -> None:
    """Add a certificate to the profile that ends in so many hours."""
    (info.profile_directory("p") / name).write_bytes(make_certificate(datetime.timedelta(hours=hours)))


@pytest.mark.parametrize(("hours", "named"), [(23, True), (-1, True), (25, False)])
def test_certificates_that_end_within_a_day_are_named(info: ModuleType, hours: float, named: bool) -> None:
    add(info, "apiserver.crt.0815", hours)
    add(info, "client.crt", 26280)
    assert ("this start renews them" in info.expiry_problem(info.certificates_end("p"))) is named


def test_what_is_no_certificate_ends_never(info: ModuleType) -> None:
    assert info.expiry_problem(info.certificates_end("p")) == ""
    (info.profile_directory("p") / "client.crt").write_text("nothing")
    assert info.certificates_end("p") is None


@pytest.mark.parametrize(
    ("said", "host"),
    [
        ('{"Host": "Running"}', "Running"),
        ('[{"Host": "Running"}, {"Host": "Stopped"}]', "Running"),
        ("null", None),
        ("[]", None),
        ("[null]", None),
        ('{"specversion": "1.0"}', None),
        ("E1130 something went wrong", None),
        ("", None),
    ],
)
def test_status_that_minikube_does_not_tell_is_none(
    info: ModuleType, tmp_path: Path, said: str, host: str | None
) -> None:
    minikube = tmp_path / "minikube"
    minikube.write_text(f"#!/bin/sh\necho '{said}'\n")
    minikube.chmod(0o755)
    assert info.ask_minikube(str(minikube), "p", "").get("Host") == host


JOBS = {
    "goes on": ({"started": True, "finished": False}, 0, (True, False)),
    "has ended well": ({"rc": 0}, 0, (False, False)),
    "has failed": ({"rc": 80, "failed": True}, 0, (False, True)),
    "takes too long": ({"started": True, "finished": False}, 700, (False, True)),
}


@pytest.mark.parametrize("case", JOBS)
def test_start_in_the_background(info: ModuleType, tmp_path: Path, case: str) -> None:
    content, age, expected = JOBS[case]
    file = tmp_path / "job"
    file.write_text(json.dumps(content))
    os.utime(file, (time.time() - age,) * 2)
    job = info.Job(str(file), 600)
    assert (job.runs(), job.has_failed()) == expected


def test_waiting_ends_with_a_start_that_fails(info: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "job"
    file.write_text(json.dumps({"started": True}))

    def is_there() -> bool:
        file.write_text(json.dumps({"rc": 80}))
        return False

    begun = time.monotonic()
    assert not info.awaited(is_there, 30, info.Job(str(file), 600))
    assert time.monotonic() - begun < 10


def test_waiting_goes_on_while_a_start_does(info: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "job"
    file.write_text(json.dumps({"started": True}))
    looks = iter([False, False, True])
    assert info.awaited(lambda: next(looks), 0, info.Job(str(file), 600))


class EngineWithNode:
    """An engine that has the node of a profile, and what is in it."""

    def __init__(self, address: str = "192.168.49.2", files: tuple[str, ...] = (), *, running: bool = True) -> None:
        self.address, self.files, self.running = address, files, running

    def get(self, path: str) -> dict[str, Any]:
        """Return the node's container."""
        assert path == "/containers/p/json"
        networks = {"p": {"IPAddress": self.address}}
        return {"State": {"Running": self.running}, "NetworkSettings": {"Networks": networks}}

    def read(self, path: str) -> bytes:
        """Return a file of it."""
        if path.rpartition("=")[2] not in self.files:
            raise OSError(path)
        return b"archive"


@pytest.fixture
def profile(info: ModuleType, tmp_path: Path) -> Path:
    """A profile's directory with the certificates of its administrator."""
    directory: Path = info.profile_directory("p")
    for file in (tmp_path / ".minikube/ca.crt", directory / "client.crt", directory / "client.key"):
        file.write_text(f"{file.name}\n")
    return directory


@pytest.mark.parametrize(
    ("kept", "port"), [({}, 8443), ({"Nodes": [{"Port": 0}]}, 8443), ({"Nodes": [{"Port": 7443}]}, 7443)]
)
def test_node_is_reached_by_its_address_and_the_profiles_certificates(
    info: ModuleType, profile: Path, kept: dict[str, Any], port: int
) -> None:
    (profile / "config.json").write_text(json.dumps(kept))
    found = info.node_access(EngineWithNode(), "p")
    assert found.server == f"https://192.168.49.2:{port}"
    assert (found.authority, found.certificate) == ("ca.crt\n", "client.crt\n\nclient.key\n")


def test_node_without_address_or_certificates_is_not_there_yet(info: ModuleType, profile: Path) -> None:
    assert info.node_access(EngineWithNode(address=""), "p") is None
    (profile / "client.key").unlink()
    assert info.node_access(EngineWithNode(), "p") is None


@pytest.mark.parametrize(
    ("engine", "there"),
    [
        (EngineWithNode(files=("/lib/systemd/system/kubelet.service",)), True),
        (EngineWithNode(files=("/lib/systemd/system/kubelet.service",), running=False), False),
        (EngineWithNode(), False),
    ],
)
@pytest.mark.usefixtures("profile")
def test_node_with_its_kubelet_runs(info: ModuleType, engine: EngineWithNode, there: bool) -> None:
    assert info.has_kubelet(engine, "p") is there


@pytest.mark.parametrize(
    ("kept", "server"),
    [
        ({"server": "https://192.168.49.2:8443", "api": {}}, "https://192.168.49.2:8443"),
        (
            {"server": "https://192.168.49.2:8443", "api": {"name": "kubernetes"}, "stack_at": {"api": 6443}},
            "https://kubernetes:6443",
        ),
    ],
)
def test_kubeconfig_of_airflow_leads_to_the_cluster_or_the_forwarder(
    info: ModuleType, kept: dict[str, Any], server: str
) -> None:
    assert info.server_of_airflow(kept) == server
