"""A machine to be ill: a directory tree as its root, with a user's home, and the real module to look at it."""

from __future__ import annotations

import getpass
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.module_utils
import pytest
from ansible.module_utils.testing import patch_module_args

CHECKOUT = Path(__file__).resolve().parents[2]


def load_shared() -> None:
    """Lets Python find what modules share where Ansible would put it."""
    shared = str(CHECKOUT / "module_utils")
    if shared not in ansible.module_utils.__path__:
        ansible.module_utils.__path__.append(shared)


def load_module() -> ModuleType:
    """The Ansible module."""
    load_shared()
    spec = importlib.util.spec_from_file_location("gaiaflow_doctor", CHECKOUT / "library" / "gaiaflow_doctor.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Machine:
    """A machine whose files are in a directory.

    Args:
        root: An empty directory with a short path: there will be sockets in it.
        capsys: What the module prints.
    """

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.user = root / "home" / "me"
        self.home = self.user / "gaiaflow"
        self.home.mkdir(parents=True)
        self.capsys = capsys
        self.module = load_module()

    def write(self, name: str, text: str) -> Path:
        """Writes a file of the machine's."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def doctor(self, *only: str, **parameters: Any) -> dict[str, Any]:
        """Runs the module and returns its result."""
        given = {"root": str(self.root), "home": str(self.home), "user_home": str(self.user), "only": list(only)}
        with patch_module_args(given | parameters), pytest.raises(SystemExit):
            self.module.main()
        result: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return result

    def finding(self, check: str, **parameters: Any) -> dict[str, Any]:
        """What one check finds."""
        (found,) = self.doctor(check, **parameters)["findings"]
        assert found["id"] == check
        assert isinstance(found, dict)
        return found

    def wrong(self, check: str, *words: str, **parameters: Any) -> dict[str, Any]:
        """What one check finds wrong; it must name these words, explain itself, and say what to do."""
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

    def is_mended(self, check: str, *words: str, **parameters: Any) -> None:
        """What is wrong must be found, left alone in check mode, repaired, and well from then on."""
        self.wrong(check, *words, **parameters)
        before = self.snapshot()
        assert self.finding(check, fix=True, _ansible_check_mode=True, **parameters)["state"] == "wrong"
        assert self.snapshot() == before
        result = self.doctor(check, fix=True, **parameters)
        assert (result["findings"][0]["state"], result["changed"]) == ("fixed", True), result
        assert result["findings"][0]["message"]
        self.is_well(check, **parameters)
        assert not self.doctor(check, fix=True, **parameters)["changed"]

    def is_left_alone(self, check: str, **parameters: Any) -> None:
        """What only a person can mend must not be touched by a repair."""
        before = self.snapshot()
        assert self.finding(check, fix=True, **parameters)["state"] == "wrong"
        assert self.snapshot() == before

    def snapshot(self) -> dict[str, tuple[int, int, str]]:
        """Every file with its owner, mode and content."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            state = path.lstat()
            text = path.read_text() if path.is_file() and not path.is_symlink() else ""
            found[str(path)] = (state.st_uid, state.st_mode, text)
        return found


@pytest.fixture
def machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with nothing on it."""
    for name in ("DOCKER_HOST", "DOCKER_CONFIG", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    root = Path(tempfile.mkdtemp(prefix="doctor-"))
    monkeypatch.setenv("USER", getpass.getuser())
    yield Machine(root, capsys)
    shutil.rmtree(root)
