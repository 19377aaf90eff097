"""The runtime docker: what a container shall be, how one differs from it, what has to be made, and what is written."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gaiaflow.setup.plugins.module_utils.container import (
    Container,
    Place,
    byte_number,
    compose,
    describe,
    differences,
)
from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime.base import Programs, Settings
from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime.container_files import ContainerFiles, files_of
from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime.docker import state_of, unframed
from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime.plan import Found, Plan, as_build, make_plan

PLACE = Place(Path("/i"), "gaiaflow-one-123456", "1000:1000", 15)
IMAGES = {"mlflow": "gaiaflow/mlflow:1"}
OWN: dict[str, Any] = {
    "service": "mlflow",
    "port": 5000,
    "health": {"path": "/health"},
    "environment": "mlflow",
    "command": ["mlflow"],
    "env": {"KEY": "@{minio.secret_key}"},
    "memory": "2g",
    "publish": [5000],
    "needs": ["minio"],
    "directories": ["/i/data/mlflow", "/i/data/mlflow/deeper"],
    "sees_project": True,
    "host_names": ["kubernetes"],
}
OTHER: dict[str, Any] = {
    "service": "minio",
    "port": 9000,
    "health": {"s3_bucket": "b"},
    "environment": "base",
    "image": "minio:1",
    "command": ["minio", "server", "$HOME"],
    "env": {"USER_FILE": "/run/gaiaflow/access_key"},
    "memory": "512m",
    "health_command": ["curl", "localhost"],
    "mounts": [{"source": "/i/data/objects", "target": "/data"}],
    "files": [{"path": "/run/gaiaflow/access_key", "text": "@{minio.access_key}"}],
    "stop_signal": "INT",
}
IMAGE = {
    "Id": "sha256:1",
    "Config": {
        "Env": ["PATH=/bin", "LANG=C"],
        "Labels": {"gaiaflow.image": "x"},
        "Cmd": ["of-image"],
        "Entrypoint": ["start"],
        "Healthcheck": {"Test": ["CMD", "ok"], "Interval": 5},
    },
}


def own(**changes: Any) -> Container:
    return describe("mlflow", {**OWN, **changes}, IMAGES, PLACE, "/project")


def other(**changes: Any) -> Container:
    return describe("minio", {**OTHER, **changes}, IMAGES, PLACE, "/project")


def made(container: Container, network: str = "n1") -> dict[str, Any]:
    """What an engine says of a container that it has made from the image, as Docker 20.10 does."""
    body = copy.deepcopy(container.body)
    host = body.pop("HostConfig")
    base = IMAGE["Config"]
    assert isinstance(base, dict)
    config = {**base, **body}
    if "Entrypoint" in body and "Cmd" not in body:
        config["Cmd"] = None
    config["Env"] = [*body.get("Env", []), *base["Env"]]
    config["Labels"] = {**base["Labels"], **body["Labels"]}
    for mount in host["Mounts"]:
        if not mount["ReadOnly"]:
            del mount["ReadOnly"]
    return {
        "Image": IMAGE["Id"],
        "Config": config,
        "HostConfig": {**host, "ExtraHosts": host["ExtraHosts"] or None, "PortBindings": host["PortBindings"] or None},
        "NetworkSettings": {"Networks": {host["NetworkMode"]: {"NetworkID": network}}},
        "State": {"Status": "running", "Running": True, "StartedAt": "2026-11-28T10:00:00.123456789Z"},
        "RestartCount": 0,
    }


# ---- What a container shall be


def test_container_has_the_least_that_it_needs() -> None:
    body = own().body
    host = body["HostConfig"]
    assert (body["User"], host["CapDrop"], host["SecurityOpt"]) == (
        "1000:1000",
        ["ALL"],
        ["no-new-privileges:true", "label=disable"],
    )
    assert host["PortBindings"] == {"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5000"}]}
    assert host["Memory"] == 2 * 1024**3
    assert {mount["Target"]: (mount["Source"], mount["ReadOnly"]) for mount in host["Mounts"]} == {
        "/run/gaiaflow": ("/i/config/containers/mlflow", True),
        "/etc/passwd": ("/i/config/containers/passwd", True),
        "/i/data/mlflow": ("/i/data/mlflow", False),
        "/project": ("/project", False),
    }
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"gaiaflow-one-123456": {"Aliases": ["mlflow"]}}


def test_our_own_image_is_told_nothing_that_it_reads_in_its_definition() -> None:
    assert not {"Cmd", "Env", "Entrypoint", "Healthcheck"} & set(own().body)
    assert "secret_key" not in json.dumps(own().body)


def test_another_image_is_told_what_to_run() -> None:
    body = other().body
    assert (body["Cmd"], body["Env"]) == (OTHER["command"], ["USER_FILE=/run/gaiaflow/access_key"])
    assert body["Healthcheck"]["Test"] == ["CMD", "curl", "localhost"]
    prepared = other(prepare={"command": ["sh", "-c", "a b"]}).body
    assert prepared["Entrypoint"] == ["sh", "-ec", 'sh -c \'a b\'; exec "$0" "$@"']


def test_container_in_the_hosts_network_is_in_no_other() -> None:
    container = own(network="host", publish=[])
    assert not container.is_in_network
    assert "NetworkingConfig" not in container.body


@pytest.mark.parametrize(("size", "number"), [("512m", 512 * 1024**2), ("2g", 2 * 1024**3), ("3K", 3072), ("100", 100)])
def test_sizes_of_memory_are_read(size: str, number: int) -> None:
    assert byte_number(size) == number


@pytest.mark.parametrize("size", ["", "lots", "g", "-1g", "1.5g"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(ValueError, match="mlops_task_memory"):
        byte_number(size)


# ---- How one differs


@pytest.mark.parametrize("container", [own(), other(), own(network="host", publish=[])], ids=["own", "other", "host"])
def test_container_that_was_made_as_described_does_not_differ(container: Container) -> None:
    assert differences(container, made(container), IMAGE) == {}


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"memory": "1g"}, {"memory", "labels"}),
        ({"publish": [5001]}, {"ports", "labels"}),
        ({"host_names": []}, {"host names", "labels"}),
        ({"directories": []}, {"mounts", "labels"}),
        ({"network": "host"}, {"network", "labels"}),
        ({"stop_signal": "INT"}, {"stop", "labels"}),
        # What the engine isn't told of, as the container reads it: the label has its digest.
        ({"command": ["another"]}, {"labels"}),
    ],
    ids=str,
)
def test_changed_entry_differs_in_what_it_changes(changes: dict[str, Any], differing: set[str]) -> None:
    assert set(differences(own(**changes), made(own()), IMAGE)) == differing


@pytest.mark.parametrize(
    ("meddle", "differing"),
    [
        (lambda found: found["Config"]["Env"].append("MEDDLED=yes"), "environment"),
        (lambda found: found["Config"].update(User="0"), "user"),
        (lambda found: found["Config"].update(Cmd=["sh"]), "command"),
        (lambda found: found["HostConfig"].update(CapDrop=None), "capabilities"),
        (lambda found: found["HostConfig"].update(SecurityOpt=None), "security"),
        (lambda found: found["HostConfig"]["Mounts"][0].pop("ReadOnly"), "mounts"),
        (lambda found: found["HostConfig"]["PortBindings"]["5000/tcp"][0].update(HostIp="0.0.0.0"), "ports"),
        (lambda found: found["HostConfig"].update(LogConfig={"Type": "none", "Config": {}}), "log"),
        (lambda found: found.update(Image="sha256:0"), "image"),
        (lambda found: found["NetworkSettings"].update(Networks={"bridge": {}}), "network"),
    ],
)
def test_container_that_somebody_else_made_under_our_labels_differs(meddle: Any, differing: str) -> None:
    found = made(own())
    meddle(found)
    assert set(differences(own(), found, IMAGE)) == {differing}


def test_what_is_not_there_differs() -> None:
    assert differences(own(), None, IMAGE) == {"container": ("absent", "present")}
    assert differences(own(), made(own()), None) == {"image": ("sha256:1", "gaiaflow/mlflow:1")}


def test_digest_is_of_the_whole_entry_and_of_nothing_else() -> None:
    assert own().body["Labels"] == own().body["Labels"]
    labels = {json.dumps(one.body["Labels"]) for one in (own(), own(env={"KEY": "b"}), own(health={"tcp": True}))}
    assert len(labels) == 3


# ---- What has to be made


def plan(found: Found, built: dict[str, Any] | None = None, **how: Any) -> Plan:
    given = {"network": "net", "present": ["net-mlflow"], "known": ["net-mlflow", "net-minio"], "rebuild": False}
    return make_plan([own()], found, built or {}, **{**given, **how})


BUILT = {"gaiaflow/mlflow:1": {"name": "gaiaflow/mlflow:1", "args": {"A": "1"}}}
HAS_IMAGE: dict[str, Any] = {"gaiaflow/mlflow:1": IMAGE}
LACKS_IMAGE: dict[str, Any] = {"gaiaflow/mlflow:1": None}


def test_nothing_has_to_be_made_of_what_is_there() -> None:
    found = plan(Found(HAS_IMAGE, {"mlflow": made(own())}, "n1"))
    assert not found.changes
    assert found.diff == []


def test_missing_image_and_network_come_before_the_containers() -> None:
    found = plan(Found(LACKS_IMAGE, {}, ""), BUILT)
    assert found.to_prepare == ["gaiaflow/mlflow:1", "net"]
    assert [one["before_header"] for one in found.diff] == ["gaiaflow/mlflow:1", "mlflow", "net"]


def test_image_that_is_not_built_here_is_pulled() -> None:
    found = plan(Found(LACKS_IMAGE, {}, "n1"))
    assert (found.to_build, found.to_pull) == ([], ["gaiaflow/mlflow:1"])


def test_image_is_built_again_where_that_is_asked_for() -> None:
    found = plan(Found(HAS_IMAGE, {"mlflow": made(own())}, "n1"), BUILT, rebuild=True)
    assert found.to_build == [BUILT["gaiaflow/mlflow:1"]]
    assert set(found.differing["mlflow"]) == {"image"}


@pytest.mark.parametrize(
    ("network", "rewritten", "what"),
    [("n2", [], "network"), ("n1", ["mlflow"], "definition")],
)
def test_container_that_would_not_work_any_more_is_made_anew(network: str, rewritten: list[str], what: str) -> None:
    found = plan(Found(HAS_IMAGE, {"mlflow": made(own())}, network, rewritten))
    assert set(found.differing["mlflow"]) == {what}


def test_container_without_a_service_is_removed() -> None:
    found = plan(Found(HAS_IMAGE, {"mlflow": made(own())}, "n1"), present=["net-mlflow", "net-gone"])
    assert found.to_remove == ["net-gone"]
    assert (found.diff[0]["before"], found.diff[0]["after"]) == ('"present"\n', "")


def test_container_that_nobody_would_start_again_is_told_and_not_made_anew() -> None:
    present = made(own())
    present["HostConfig"]["RestartPolicy"] = {"Name": "no"}
    found = plan(Found(HAS_IMAGE, {"mlflow": present}, "n1"))
    assert (found.differing, found.unkept) == ({}, {"mlflow": "no"})


def test_where_packages_come_from_makes_no_other_image() -> None:
    build = as_build(BUILT["gaiaflow/mlflow:1"], {"INDEX": "somewhere"})
    assert build["args"] == {"A": "1", "INDEX": "somewhere"}
    assert (build["name"], build["labels"]) == ("gaiaflow/mlflow:1", {"gaiaflow.image": "gaiaflow/mlflow"})


# ---- States and logs


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"Status": "running", "Running": True}, ("running", True, False, 60)),
        ({"Status": "restarting", "Running": True}, ("restarting", True, False, 60)),
        ({"Status": "exited", "Running": False}, ("stopped", False, True, 0)),
        ({"Status": "dead", "Running": False}, ("dead", False, True, 0)),
        ({"Status": "created", "Running": False}, ("created", False, False, 0)),
    ],
    ids=lambda given: given["Status"] if isinstance(given, dict) else "",
)
def test_states_of_the_engine_are_told(state: dict[str, Any], told: tuple[object, ...]) -> None:
    found = made(own())
    found["State"].update(state)
    shown = state_of(found, now=1795860060.0)
    assert (shown.name, shown.is_up, shown.is_over, shown.uptime_s) == told


def test_state_tells_whether_somebody_keeps_it_up_and_why_it_ends() -> None:
    found = made(own())
    assert state_of(found).is_kept
    found["HostConfig"]["RestartPolicy"] = {"Name": "no"}
    found["State"]["OOMKilled"] = True
    assert not state_of(found).is_kept
    assert state_of(found).fate == "runs out of its memory"


def test_log_is_read_out_of_its_frames() -> None:
    frames = b"".join(
        bytes([stream, 0, 0, 0, 0, 0, 0, len(text)]) + text for stream, text in ((1, b"a\n"), (2, b"b\n"))
    )
    assert unframed(frames) == b"a\nb\n"
    assert unframed(b"") == b""


# ---- What containers find on the host


CREDENTIALS = {
    "minio": {"access_key": "gaiaflow-1", "secret_key": "very-secret"},
    "airflow": {"password": "of-airflow"},
}
DEFINITION = {"working_directory": "/project", "services": {"mlflow": OWN, "minio": OTHER}}
PROGRAMS = Programs.of(DEFINITION)


def test_program_finds_its_own_credentials_and_no_others() -> None:
    files = files_of(PROGRAMS["mlflow"], "/project", CREDENTIALS)
    assert json.loads(files["credentials.json"]) == {"minio": {"secret_key": "very-secret"}}
    definition = json.loads(files["service.json"])
    assert definition["services"] == {"mlflow": OWN}
    assert definition["working_directory"] == "/project"
    assert "very-secret" not in files["service.json"]


def test_another_image_finds_its_files_filled_in() -> None:
    assert files_of(PROGRAMS["minio"], "/project", CREDENTIALS) == {"access_key": "gaiaflow-1"}


def test_definition_is_outdated_until_it_is_written(tmp_path: Path) -> None:
    place = Place(tmp_path, "net", "0:0", 15)
    (tmp_path / "config").mkdir()
    (tmp_path / "credentials.json").write_text(json.dumps(CREDENTIALS))
    programs = list(PROGRAMS.values())
    files = ContainerFiles(place, DEFINITION, Settings())
    assert files.outdated(programs) == ["mlflow", "minio"]
    files.write_definitions(programs)
    assert files.outdated(programs) == []
    assert (place.private("mlflow") / "credentials.json").stat().st_mode & 0o777 == 0o600
    (place.private("minio") / "access_key").write_text("another")
    assert ContainerFiles(place, DEFINITION, Settings()).outdated(programs) == ["minio"]


def test_new_instance_without_credentials_has_nothing_outdated(tmp_path: Path) -> None:
    files = ContainerFiles(Place(tmp_path, "net", "0:0", 15), DEFINITION, Settings(check_mode=True))
    assert files.outdated(list(PROGRAMS.values())) == []


# ---- As a Compose file


def test_compose_file_describes_the_same_container() -> None:
    services = compose("net", [own(), other()])["services"]
    assert services["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    assert services["mlflow"]["depends_on"] == {"minio": {"condition": "service_started"}}
    assert services["mlflow"]["extra_hosts"] == ["kubernetes:host-gateway"]
    assert not {"command", "environment", "healthcheck", "network_mode"} & set(services["mlflow"])
    minio = services["minio"]
    assert minio["command"] == ["minio", "server", "$$HOME"]
    assert minio["environment"] == {"USER_FILE": "/run/gaiaflow/access_key"}
    assert minio["healthcheck"] == {
        "test": ["CMD", "curl", "localhost"],
        "interval": "10s",
        "timeout": "5s",
        "start_period": "300s",
    }
    assert (minio["stop_signal"], minio["stop_grace_period"]) == ("SIGINT", "15s")
    assert minio["volumes"][-1] == {"type": "bind", "source": "/i/data/objects", "target": "/data", "read_only": False}


def test_compose_file_has_the_hosts_network_for_what_is_in_it() -> None:
    assert compose("net", [own(network="host")])["services"]["mlflow"]["network_mode"] == "host"
