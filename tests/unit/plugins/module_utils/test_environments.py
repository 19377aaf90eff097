"""An environment is made whole or not at all, and one that lost something since is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from doctor_machine import CHECKOUT


@pytest.fixture
def environments() -> ModuleType:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import environments

    return environments


@pytest.fixture
def uv() -> str:
    found = shutil.which("uv") or shutil.which("uv", path=str(CHECKOUT / ".venv" / "bin"))
    assert found
    return found


def test_failed_environment_leaves_nothing(environments: ModuleType, uv: str, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    lock = tmp_path / "some.txt"
    lock.write_text("nothing-of-that-name==1.0 --hash=sha256:" + "0" * 64 + "\n")
    root = tmp_path / "environments"
    described = environments.describe(root, lock, "", environments.Declared())
    with pytest.raises(environments.EnvironmentFailedError, match="nothing-of-that-name"):
        environments.ensure(root, [described], uv, str(tmp_path / "cache"), str(tmp_path / "wheels"))
    assert [path.name for path in root.iterdir()] == [".lock"]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a file removed": lambda root: (root / "bin" / "activate").unlink(),
    "a file emptied": lambda root: (root / "bin" / "activate").write_text(""),
    "the mark removed": lambda root: (root / ".complete").unlink(),
    "the Python that it links to gone": lambda root: relink(root / "bin" / "python"),
    "its programs removed": lambda root: shutil.rmtree(root / "bin"),
    "all of it removed": lambda root: shutil.rmtree(root),
}


def relink(link: Path) -> None:
    link.unlink()
    link.symlink_to("/usr/bin/python3.0")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_environment_is_made_anew(
    environments: ModuleType, uv: str, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    lock = tmp_path / "empty.txt"
    lock.write_text("")
    root = tmp_path / "environments"
    described = environments.describe(root, lock, "", environments.Declared())
    environments.ensure(root, [described], uv, str(tmp_path / "cache"))
    assert described.complete
    (described.directory / "added by a user").touch()
    assert described.complete, "what was added harms nothing"
    damage(described.directory)
    assert not described.complete
    environments.ensure(root, [described], uv, str(tmp_path / "cache"))
    assert described.complete
