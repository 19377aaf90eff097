"""A machine to be ill: a directory tree as its root, with a user's home, to be looked at and repaired."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from role_play import play

from ansible_collections.gaiaflow.setup.plugins.modules import doctor_info

CHECKOUT = Path(__file__).resolve().parents[2]
INSTANCE_VARIABLE = "GAIAFLOW_INSTANCE_DIRECTORY"
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="these repairs need root")


class Machine:
    """A machine whose files are in a directory.

    Args:
        directory: An empty directory with a short path: there will be sockets in it.
        capsys: What the module prints.
    """

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = directory / "root"
        self.user = self.root / "home" / "me"
        self.home = self.user / "gaiaflow"
        self.home.mkdir(parents=True)
        self.playbooks = directory / "play"
        self.playbooks.mkdir()
        self.capsys = capsys
        self.module = doctor_info

    def write(self, name: str, text: str) -> Path:
        """Write a file of the machine's."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def add_instance(self, name: str, **record: Any) -> Path:
        """Add an instance of the stack with a record, and return its directory."""
        directory = self.home / "instances" / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "instance.json").write_text(json.dumps(record))
        return directory

    def look(self, *only: str, **parameters: Any) -> dict[str, Any]:
        """Run the module and return its result."""
        given = {"root": str(self.root), "home": str(self.home), "user_home": str(self.user), "only": list(only)}
        with patch_module_args(given | parameters), pytest.raises(SystemExit):
            self.module.main()
        result: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        assert not result.get("changed"), result
        return result

    def finding(self, check: str, **parameters: Any) -> dict[str, Any]:
        """Return what one check finds."""
        (found,) = self.look(check, **parameters)["findings"]
        assert found["id"] == check
        assert isinstance(found, dict)
        return found

    def wrong(self, check: str, *words: str, **parameters: Any) -> dict[str, Any]:
        """Return what one check finds wrong; it must name these words, explain itself, and say what to do."""
        found = self.finding(check, **parameters)
        assert found["state"] == "wrong", found
        for word in words:
            assert word in found["message"], found
        assert found["why"]
        assert found["repair"]
        return found

    def is_well(self, check: str, **parameters: Any) -> None:
        """One check must find nothing."""
        found = self.finding(check, **parameters)
        assert found["state"] == "ok", found

    def is_left_to_a_person(self, check: str, **parameters: Any) -> None:
        """What one check finds wrong must be nothing that the role would repair."""
        before = self.snapshot()
        result = self.look(check, **parameters)
        assert (result["findings"][0]["state"], result["repairs"]) == ("wrong", [])
        assert self.snapshot() == before

    def repair(self, *only: str, options: tuple[str, ...] = (), **variables: Any) -> tuple[dict[str, Any], int]:
        """Play the role with doctor_fix, and return the findings by the checks' ids, and how many tasks changed."""
        places = {"doctor_root": str(self.root), "doctor_home": str(self.home), "gaiaflow_home": str(self.home)}
        given = {"doctor_fix": True, "doctor_only": sorted(only), **places, **variables}
        played = play(self.playbooks, "doctor", given, *options, HOME=str(self.user))
        assert played.code == 0, played.failure
        found = [one for task in played.tasks.values() for one in task.get("findings", ())]  # the last word counts
        return {one["id"]: one for one in found}, played.stats["changed"]

    def is_repaired(self, check: str, *words: str, **variables: Any) -> None:
        """What is wrong must be found, repaired by the role, and well from then on."""
        self.wrong(check, *words)
        found, changed = self.repair(check, **variables)
        assert found[check]["state"] == "fixed", found
        assert found[check]["message"]
        assert changed
        self.is_well(check)

    def snapshot(self) -> dict[str, tuple[int, int, str]]:
        """Return every file with its owner, mode and content."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            if ".ansible" in path.parts:
                continue  # Ansible's own temporary files
            state = path.lstat()
            text = path.read_text() if path.is_file() and not path.is_symlink() else ""
            found[str(path)] = (state.st_uid, state.st_mode, text)
        return found


@contextlib.contextmanager
def process(**environment: str) -> Iterator[int]:
    """Give the number of a process that runs meanwhile, with these variables."""
    with subprocess.Popen(["sleep", "60"], env=os.environ | environment) as sleeping:
        try:
            yield sleeping.pid
        finally:
            sleeping.kill()


@pytest.fixture
def machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Give a machine with nothing on it."""
    for name in ("DOCKER_HOST", "DOCKER_CONFIG", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    directory = Path(tempfile.mkdtemp(prefix="doctor-"))
    monkeypatch.setenv("USER", getpass.getuser())
    yield Machine(directory, capsys)
    shutil.rmtree(directory)
