"""The central DAG repository: what is put into a project's folder, what is refused, and what is found wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.gaiaflow.setup.plugins.module_utils import dag_repository

IMAGE = "reg.example/a/b@sha256:1"


def release(tmp_path: Path, project: str = "wine", version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """A release of a project with one DAG."""
    package = project.replace("-", "_")
    folder = tmp_path / f"checkout-{project}" / "dags" / f"{package}_dags"
    (folder / "__pycache__").mkdir(parents=True, exist_ok=True)
    (folder / "__pycache__" / "x.pyc").write_text("")
    (folder / "__init__.py").write_text("")
    (folder / "prod.yaml").write_text("namespace: mine\nrelease: {}\n")
    told: dict[str, Any] = {
        "project": project,
        "package": package,
        "version": version,
        "source": f"https://git.example/{project}",
    }
    told |= {
        "commit": "c1",
        "dags": str(folder.parent),
        "tracked": None,
        "stage": "",
        "pods": {"namespace": "team"},
        "by": "ada",
    }
    return {**told, "release": {"owners": ["@team"]}, **more}


@pytest.fixture
def cdr(tmp_path: Path) -> Any:
    """An empty repository."""
    root = tmp_path / "cdr"
    (root / "dags").mkdir(parents=True)
    (root / "cdr.yaml").write_text("format: 1\n")
    (root / "requirements.txt").write_text("apache-airflow-core==3.3.2\n")
    (root / "CODEOWNERS").write_text("# comment\n/dags/winery/ @other\n")
    return dag_repository.Cdr(root)


def put(cdr: Any, given: dict[str, Any], *dags: str) -> None:
    """Place a project and record its DAGs."""
    dag_repository.place(cdr, given, IMAGE)
    dag_repository.note_dags(cdr, given["project"], {"dags": dict.fromkeys(dags, "x.py"), "errors": {}})


def messages(cdr: Any, project: str = "", parsed: dict[str, Any] | None = None) -> list[str]:
    """What is found."""
    return [one.message for one in dag_repository.examine(cdr, parsed or {}) if project in ("", one.project)]


def test_a_folder_holds_the_dags_the_image_and_the_stages_settings(cdr: Any, tmp_path: Path) -> None:
    changed, record = dag_repository.place(cdr, release(tmp_path), IMAGE)
    folder = cdr.dags / "wine"
    assert changed and sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
        "__init__.py", "image.txt", "prod.yaml", "release.yaml"
    ]  # fmt: skip
    assert (folder / "wine_dags" / "image.txt").read_text() == f"{IMAGE}\n"
    assert yaml.safe_load((folder / "wine_dags" / "prod.yaml").read_text()) == {"namespace": "team"}
    assert record.files == dag_repository.digest_of(folder) and record.dags == []
    assert cdr.owner_lines() == {"wine": "/dags/wine/ @team", "winery": "/dags/winery/ @other"}


def test_the_same_again_changes_nothing(cdr: Any, tmp_path: Path) -> None:
    put(cdr, release(tmp_path), "a")
    before = {path: path.read_bytes() for path in cdr.root.rglob("*") if path.is_file()}
    changed, record = dag_repository.place(cdr, release(tmp_path, commit="c2"), IMAGE)
    assert not changed and record.dags == ["a"]
    assert {path: path.read_bytes() for path in cdr.root.rglob("*") if path.is_file()} == before


def test_new_owners_are_a_change(cdr: Any, tmp_path: Path) -> None:
    put(cdr, release(tmp_path), "a")
    assert dag_repository.place(cdr, release(tmp_path, release={"owners": ["@new", "a@b.example"]}), IMAGE)[0]
    assert (cdr.root / "CODEOWNERS").read_text() == "# comment\n/dags/winery/ @other\n/dags/wine/ @new a@b.example\n"


@pytest.mark.parametrize(
    ("change", "image", "says"),
    [
        ({}, "reg.example/a/b@sha256:2", "wine 1.0.0 is in the CDR with another content"),
        ({"pods": {"namespace": "other"}}, IMAGE, "wine 1.0.0 is in the CDR with another content"),
        ({"source": "https://git.example/other"}, IMAGE, "belongs to the project at https://git.example/wine"),
        ({"package": "else"}, IMAGE, "belongs to the project at"),
        ({"release": {"owners": []}}, IMAGE, "prod.yaml names no owner of wine's folder"),
        ({"project": "src"}, IMAGE, "can't be called 'src'"),
    ],
)
def test_what_is_refused(cdr: Any, tmp_path: Path, change: dict[str, Any], image: str, says: str) -> None:
    put(cdr, release(tmp_path), "a")
    with pytest.raises(dag_repository.CdrError) as refused:
        dag_repository.place(cdr, release(tmp_path) | change, image)
    assert says in str(refused.value) and refused.value.hint


def test_an_earlier_version_can_be_released_again_with_its_content(cdr: Any, tmp_path: Path) -> None:
    put(cdr, release(tmp_path), "a")
    put(cdr, release(tmp_path, version="2.0.0"), "a")
    assert dag_repository.place(cdr, release(tmp_path), IMAGE)[0]
    assert [one["version"] for one in cdr.log("wine")] == ["1.0.0", "2.0.0", "1.0.0"]


def test_links_are_refused(cdr: Any, tmp_path: Path) -> None:
    given = release(tmp_path)
    (Path(given["dags"]) / "link.py").symlink_to("/etc/passwd")
    with pytest.raises(dag_repository.CdrError, match="symbolic links"):
        dag_repository.place(cdr, given, IMAGE)


def copy_to_new_name(cdr: Any) -> None:
    shutil.copytree(cdr.dags / "beer", cdr.dags / "copy")


def tamper(cdr: Any) -> None:
    (cdr.dags / "beer" / "beer_dags" / "__init__.py").write_text("NEW = 1\n")


def same_package(cdr: Any) -> None:
    (cdr.dags / "beer" / "wine_dags").mkdir()
    (cdr.dags / "beer" / "wine_dags" / "x.py").write_text("")


def disown(cdr: Any) -> None:
    cdr.set_owners("beer", [])


def same_letters(cdr: Any) -> None:
    shutil.copytree(cdr.dags / "beer", cdr.dags / "Beer")


def without_record(cdr: Any) -> None:
    (cdr.dags / "beer" / "release.yaml").unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (copy_to_new_name, "The record in the folder 'copy' is of 'beer'."),
        (copy_to_new_name, "The DAG id 'b' belongs to the project 'beer'."),
        (tamper, "The files of 'beer' aren't what was released as 1.0.0."),
        (same_package, "The package 'wine_dags' belongs to the project 'wine'."),
        (disown, "CODEOWNERS has no line for 'beer'."),
        (same_letters, "The folder 'beer' belongs to the project 'beer'."),
        (without_record, "The folder 'beer' has no record of a release."),
    ],
)
def test_what_is_found(cdr: Any, tmp_path: Path, damage: Callable[[Any], None], says: str) -> None:
    put(cdr, release(tmp_path), "w")
    put(cdr, release(tmp_path, "beer"), "b")
    assert messages(cdr) == []
    damage(cdr)
    assert says in messages(cdr)


def test_what_airflow_finds_counts_more_than_the_record(cdr: Any, tmp_path: Path) -> None:
    put(cdr, release(tmp_path), "w")
    put(cdr, release(tmp_path, "beer"), "b")
    parsed = {"beer": {"dags": {"w": "x.py"}, "errors": {}}}
    assert "The DAG id 'w' belongs to the project 'wine'." in messages(cdr, "beer", parsed)
    assert "The record of 'beer' names other DAGs than Airflow finds." in messages(cdr, "beer", parsed)
    broken = {"beer": {"dags": {}, "errors": {"beer_dags/x.py": "Traceback\nImportError: no"}}}
    assert messages(cdr, "beer", broken) == ["Airflow can't import dags/beer/beer_dags/x.py: ImportError: no"]
    assert messages(cdr, "beer", {"beer": {"dags": {}, "errors": {}}})[0] == "beer has no DAG."


def test_only_what_changed_is_parsed(cdr: Any, tmp_path: Path) -> None:
    put(cdr, release(tmp_path), "w")
    put(cdr, release(tmp_path, "beer"), "b")
    assert dag_repository.to_parse(cdr, [], everything=False) == []
    assert dag_repository.to_parse(cdr, [], everything=True) == ["beer", "wine"]
    assert dag_repository.to_parse(cdr, ["dags/wine/release.yaml", "README.md"], everything=False) == ["wine"]
    tamper(cdr)
    assert dag_repository.to_parse(cdr, [], everything=False) == ["beer"]
    (cdr.root / "requirements.txt").write_text("apache-airflow-core==4\n")
    assert dag_repository.to_parse(cdr, [], everything=False) == ["beer", "wine"]


def test_removal_keeps_the_log(cdr: Any, tmp_path: Path) -> None:
    put(cdr, release(tmp_path), "w")
    assert dag_repository.remove(cdr, "wine", "eve") and not dag_repository.remove(cdr, "wine", "eve")
    assert not (cdr.dags / "wine").exists() and "wine" not in cdr.owner_lines()
    assert [(one["action"], one["by"]) for one in cdr.log("wine")] == [("release", "ada"), ("remove", "eve")]


@pytest.mark.parametrize(
    ("text", "says"), [("", "is no central DAG repository"), ("format: 2", "has format 2, and this version knows 1")]
)
def test_what_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "cdr.yaml").write_text(text)
    with pytest.raises(dag_repository.CdrError, match=says):
        dag_repository.Cdr(tmp_path)


def test_project_without_a_record_is_named(cdr: Any) -> None:
    with pytest.raises(dag_repository.CdrError, match="wine has no") as refused:
        dag_repository.note_dags(cdr, "wine", {"dags": {"wine": "x.py"}, "errors": {}})
    assert refused.value.hint == "Release wine again."
