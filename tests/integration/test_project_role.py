"""The role project, played for real: on this machine, and as for a host without the template and cookiecutter."""

from __future__ import annotations

from pathlib import Path

import pytest
from role_play import Played, play


def have(tmp_path: Path, tasks: str, *options: str) -> Played:
    return play(tmp_path, "project", {"project_directory": str(tmp_path / "my project")}, *options, tasks_from=tasks)


@pytest.mark.parametrize("tasks", ["main", "upload"])
def test_a_project_is_made_once(tmp_path: Path, tasks: str) -> None:
    project = tmp_path / "my project"
    planned = have(tmp_path, tasks, "--check", "--diff")
    assert (planned.code, planned.stats["changed"], project.exists()) == (0, 1, False)
    first = have(tmp_path, tasks)
    assert (first.code, first.stats["changed"]) == (0, 1)
    assert (project / "src/my_project/__init__.py").is_file() and (project / "dags").is_dir()
    assert not list(tmp_path.glob(".gaiaflow-new-*"))
    for options in ((), ("--check",)):
        again = have(tmp_path, tasks, *options)
        assert (again.code, again.stats["changed"]) == (0, 0)


def test_an_empty_directory_stays_what_it_is(tmp_path: Path) -> None:
    project = tmp_path / "my project"
    project.mkdir(mode=0o2775)
    project.chmod(0o2775)
    before = project.stat()
    made = have(tmp_path, "main")
    assert (made.code, made.stats["changed"]) == (0, 1) and (project / "dags").is_dir()
    assert (project.stat().st_ino, project.stat().st_mode) == (before.st_ino, before.st_mode)
    assert not list(project.glob(".gaiaflow-new-*"))


def test_a_directory_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my project").mkdir()
    (tmp_path / "my project" / "notes.txt").touch()
    refused = have(tmp_path, "upload")
    assert refused.code == 2 and "neither empty nor a project" in refused.failure["msg"]
    assert [path.name for path in (tmp_path / "my project").iterdir()] == ["notes.txt"]
