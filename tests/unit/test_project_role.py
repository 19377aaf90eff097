"""The role project, as it is played for a host that has neither the template nor cookiecutter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from role_play import Played, play


def carry(tmp_path: Path, *options: str, **variables: Any) -> Played:
    given = {"project_directory": str(tmp_path / "my project"), **variables}
    return play(tmp_path, "project", given, *options, tasks_from="carried")


def test_a_project_is_made_here_and_put_in_its_place_there(tmp_path: Path) -> None:
    project = tmp_path / "my project"
    planned = carry(tmp_path, "--check", "--diff")
    assert (planned.code, planned.stats["changed"], project.exists()) == (0, 1, False)
    first = carry(tmp_path)
    assert (first.code, first.stats["changed"]) == (0, 1)
    assert (project / "src/my_project/__init__.py").is_file() and (project / "dags").is_dir()
    assert not list(tmp_path.glob(".gaiaflow-new-*"))
    for options in ((), ("--check",)):
        again = carry(tmp_path, *options)
        assert (again.code, again.stats["changed"]) == (0, 0)


def test_a_directory_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my project").mkdir()
    (tmp_path / "my project" / "notes.txt").touch()
    refused = carry(tmp_path)
    assert refused.code == 2 and "neither empty nor a project" in refused.failure["msg"]
    assert [path.name for path in (tmp_path / "my project").iterdir()] == ["notes.txt"]
