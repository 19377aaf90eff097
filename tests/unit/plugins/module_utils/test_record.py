"""What is kept of an instance whose directory was copied or moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ansible_collections.gaiaflow.setup.plugins.module_utils.record import kept_record, prefix_of, socket_directory


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """The directory of an instance."""
    directory = tmp_path / "instances" / "default"
    directory.mkdir(parents=True)
    record = {
        "directory": str(directory), "sockets": str(directory / "run"), "containers": prefix_of(directory),
        "ports": {"airflow": 8080}, "urls": {}, "project": None,
    }  # fmt: skip
    (directory / "instance.json").write_text(json.dumps(record))
    return directory


def test_copy_is_an_instance_of_its_own(instance: Path) -> None:
    copy = shutil.copytree(instance, instance.with_name("copy"))
    record = kept_record(copy)
    assert record["directory"] == str(copy) and record["containers"] == prefix_of(copy) != prefix_of(instance)
    assert record["sockets"] == str(socket_directory(copy)) and record["ports"] == {"airflow": 8080}
    assert kept_record(instance)["directory"] == str(instance)


def test_moved_one_keeps_what_runs(instance: Path) -> None:
    before = kept_record(instance)
    moved = instance.rename(instance.with_name("moved"))
    assert kept_record(moved) == {**before, "directory": str(moved)}


def test_link_leads_to_the_same(instance: Path) -> None:
    link = instance.with_name("link")
    link.symlink_to(instance)
    assert kept_record(link) == kept_record(instance)


def test_no_record_is_none(tmp_path: Path) -> None:
    assert kept_record(tmp_path) == {}


def test_sockets_of_long_paths_are_not_where_shells_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("a" * 90)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert socket_directory(long).parent == Path("/tmp") and len(str(socket_directory(long))) < 85
