"""The credentials of an instance: made as the catalogue says, and added to those that are there."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SERVICES: dict[str, dict[str, Any]] = {
    "one": {"credentials": {"one": {"user": "admin", "password": {"random": "urlsafe", "bytes": 18}}}},
    "two": {
        "credentials": {
            "two": {"key": {"random": "hex", "bytes": 6, "prefix": "gaiaflow-"}},
            "internal": {"fernet": {"random": "fernet", "bytes": 32}},
        }
    },
    "three": {"credentials": {"internal": {"other": {"random": "hex", "bytes": 4}}}},
    "four": {},
}


@pytest.fixture
def credentials() -> ModuleType:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import credentials

    return credentials


def test_each_value_is_made_as_it_is_described(credentials: ModuleType) -> None:
    made = credentials.generate(credentials.wanted_credentials(SERVICES))
    assert made["one"]["user"] == "admin" and len(made["one"]["password"]) == 24
    assert made["two"]["key"].startswith("gaiaflow-") and len(made["two"]["key"]) == len("gaiaflow-") + 12
    assert len(base64.urlsafe_b64decode(made["internal"]["fernet"])) == 32
    assert set(made["internal"]) == {"fernet", "other"}
    assert credentials.generate(credentials.wanted_credentials(SERVICES)) != made


def test_new_service_adds_its_credentials_and_keeps_the_others(credentials: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    before = {"one": SERVICES["one"]}
    assert credentials.keep_credentials(file, before, check_mode=False)
    kept = json.loads(file.read_text())
    assert not credentials.keep_credentials(file, before, check_mode=False)
    assert credentials.keep_credentials(file, SERVICES, check_mode=False)
    now = json.loads(file.read_text())
    assert now["one"] == kept["one"] and set(now) == {"one", "two", "internal"}
    assert file.stat().st_mode & 0o777 == 0o600


def test_check_mode_writes_nothing(credentials: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    assert credentials.keep_credentials(file, SERVICES, check_mode=True)
    assert not file.exists()


def test_what_somebody_takes_out_of_the_file_comes_back_from_its_copy(credentials: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    credentials.keep_credentials(file, SERVICES, check_mode=False)
    before = json.loads(file.read_text())
    file.write_text(json.dumps({group: values for group, values in before.items() if group != "one"}))
    assert credentials.keep_credentials(file, SERVICES, check_mode=False)
    assert json.loads(file.read_text()) == before


def test_credentials_without_which_data_cannot_be_opened_are_not_made_anew(
    credentials: ModuleType, tmp_path: Path
) -> None:
    services = {**SERVICES, "one": {**SERVICES["one"], "data": ["store"]}}
    (tmp_path / "data/store").mkdir(parents=True)
    (tmp_path / "data/store/file").touch()
    with pytest.raises(credentials.LostFileError, match="is gone, and so is the copy"):
        credentials.keep_credentials(tmp_path / "credentials.json", services, check_mode=False)
    assert not (tmp_path / "credentials.json").exists()
