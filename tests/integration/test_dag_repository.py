"""`gaiaflow-setup cdr`, with real git and a real Airflow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_content import script_of
from git_over_http import git
from project_fixture import ROOT, airflow_python

from ansible_collections.gaiaflow.setup.plugins.module_utils import dag_repository
from gaiaflow_py import __version__

AUTHOR = {f"GIT_{who}_{what}": "ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
DAG = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("{dag_id}", schedule=None):
    EmptyOperator(task_id="only")
"""
PROJECTS, DAGS_EACH = 200, 5


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A user's environment; what is in it must not reach the DAGs."""
    home = tmp_path_factory.mktemp("user")
    given = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "GAIAFLOW_HOME": str(home / "gaiaflow")}
    return {**given, "GAIAFLOW_CDR_TOKEN": "s3cr3t"}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run gaiaflow-setup cdr."""
    command = script_of(ROOT / "gaiaflow_py", "cdr", *arguments, "-e", f"dag_repository_python={airflow_python()}")
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def ok(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """It must have succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def empty(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository without projects."""
    path = tmp_path_factory.mktemp("cdr") / "airflow-dags"
    ok(run(environment, "init", str(path), "--platform", "github", "--airflow", "3.3.2"))
    return path


@pytest.fixture
def cdr(empty: Path, tmp_path: Path) -> Path:
    """A repository to change."""
    return shutil.copytree(empty, tmp_path / "cdr")


def add(cdr: Path, project: str, dags: dict[str, str]) -> None:
    """Put a project there as a release does, with a record that vouches for its DAGs."""
    package = f"{project.replace('-', '_')}_dags"
    folder = cdr / "dags" / project / package
    folder.mkdir(parents=True)
    for dag_id, text in dags.items():
        (folder / f"{dag_id}.py").write_text(text)
    kept = dag_repository.Cdr(cdr)
    vouched: dict[str, Any] = {
        "files": dag_repository.digest_of(folder.parent),
        "parsed_with": kept.requirements(),
        "dags": sorted(dags),
    }
    kept.write_record(dag_repository.Record(project, project, "1.0.0", f"reg.example/{project}@sha256:1", **vouched))
    with (cdr / "CODEOWNERS").open("a") as file:
        file.write(f"/dags/{project}/ @team\n")


def commit(cdr: Path) -> None:
    git("-C", str(cdr), "add", "--all")
    git("-C", str(cdr), "commit", "--quiet", "--message", "Change", **AUTHOR)


def test_init_makes_one_and_leaves_it_alone(environment: dict[str, str], empty: Path) -> None:
    assert git("-C", str(empty), "status", "--porcelain") == ""
    assert git("-C", str(empty), "log", "--format=%s") == "Begin the central DAG repository"
    assert yaml.safe_load((empty / "cdr.yaml").read_text()) == {"format": 1}
    requirements = (empty / "requirements.txt").read_text().splitlines()
    assert "apache-airflow-core==3.3.2" in requirements
    assert any(line.startswith("apache-airflow-providers-cncf-kubernetes==") for line in requirements)
    workflow = (empty / ".github" / "workflows" / "check.yml").read_text()
    assert '/gaiaflow-setup" cdr check' in workflow and f"'gaiaflow-setup=={__version__}'" in workflow
    again = json.loads(ok(run(environment, "init", str(empty), "--platform", "github", "--json")).stdout)
    assert again["hosts"]["localhost"]["changed"] == 0


def test_dry_run_of_init_writes_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    ok(run(environment, "init", str(tmp_path / "new"), "--dry-run"))
    assert not (tmp_path / "new").exists()


def test_check_tells_all_that_is_wrong(environment: dict[str, str], cdr: Path) -> None:
    spy = 'import os\nassert "GAIAFLOW_CDR_TOKEN" not in os.environ and os.environ["GAIAFLOW_ENV"] == "prod"\n'
    add(cdr, "wine", {"red": spy + DAG.format(dag_id="red")})
    add(cdr, "beer", {"pils": DAG.format(dag_id="pils")})
    commit(cdr)
    ok(run(environment, "check", str(cdr), "--all"))
    # The records still vouch for what they say, and the commits tell what changed.
    (cdr / "dags" / "beer" / "beer_dags" / "pils.py").write_text(DAG.format(dag_id="red"))
    add(cdr, "gin", {"dry": "# airflow DAG\nimport nowhere\n"})
    commit(cdr)
    done = run(environment, "check", str(cdr), "--since", "HEAD~1")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for finding in (
        "The files of 'beer' aren't what was released as 1.0.0.",
        "The DAG id 'red' belongs to the project 'wine'.",
        "Airflow can't import dags/gin/gin_dags/dry.py: ModuleNotFoundError: No module named 'nowhere'",
    ):
        assert finding in done.stderr, done.stderr


def test_all_is_parsed_where_git_does_not_know_the_commit(environment: dict[str, str], cdr: Path) -> None:
    add(cdr, "wine", {"red": "# airflow DAG\nimport nowhere\n"})
    commit(cdr)
    ok(run(environment, "check", str(cdr)))  # its record vouches for it
    done = run(environment, "check", str(cdr), "--since", "0123456789abcdef")  # as after a push by force
    assert done.returncode == 1 and "No module named 'nowhere'" in done.stderr, done.stderr


def test_remove_is_one_commit(environment: dict[str, str], cdr: Path) -> None:
    add(cdr, "wine", {"red": DAG.format(dag_id="red")})
    assert run(environment, "remove", "wine", str(cdr)).returncode == 1  # with changes that are not committed
    commit(cdr)
    assert "changed=1" in ok(run(environment, "remove", "wine", str(cdr), "--dry-run")).stdout
    assert (cdr / "dags" / "wine").is_dir()
    ok(run(environment, "remove", "wine", str(cdr)))
    assert git("-C", str(cdr), "log", "-1", "--format=%s") == "Remove wine"
    assert git("-C", str(cdr), "status", "--porcelain") == "" and not (cdr / "dags" / "wine").exists()
    assert "changed=0" in ok(run(environment, "remove", "wine", str(cdr))).stdout


def test_remove_of_no_name_is_refused(environment: dict[str, str], cdr: Path) -> None:
    add(cdr, "wine", {"red": DAG.format(dag_id="red")})
    commit(cdr)
    for name in ("", "..", "../dags"):
        done = run(environment, "remove", name, str(cdr))
        assert done.returncode == 1 and f"'{name}' is no name of a project" in done.stderr, done.stderr
    assert (cdr / "dags" / "wine").is_dir()


def test_only_what_changed_is_parsed_in_a_big_one(environment: dict[str, str], cdr: Path) -> None:
    for number in range(PROJECTS):
        dags = {f"p{number}_{each}": DAG.format(dag_id=f"p{number}_{each}") for each in range(DAGS_EACH)}
        add(cdr, f"project-{number}", dags)
    commit(cdr)
    # The environment is none: whatever is parsed fails.
    command = ["check", str(cdr), "-e", "dag_repository_python=/bin/false"]
    ok(run(environment, *command))
    (cdr / "README.md").write_text("changed\n")
    add(cdr, "new", {"new": DAG.format(dag_id="p7_3")})
    commit(cdr)
    done = run(environment, "check", str(cdr), "--since", "HEAD~1")
    assert "The DAG id 'p7_3' belongs to the project 'project-7'" in done.stderr, done.stderr
    told: dict[str, Any] = json.loads(run(environment, "check", str(cdr), "--since", "HEAD~1", "--json").stdout)
    assert "project-8" not in json.dumps(told)
