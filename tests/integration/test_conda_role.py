"""The role conda, played for real; a local server and two scripts stand in for Miniforge's site and its programs."""

from __future__ import annotations

import functools
import hashlib
import platform
import signal
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from role_play import SUPPORT, Played, interrupt, play

INSTALLER = (SUPPORT / "miniforge.sh").read_text()


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The installer's address."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / f"Miniforge3-{platform.machine()}.sh").write_text(INSTALLER)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/Miniforge3-{{machine}}.sh"
    server.shutdown()
    server.server_close()


def conda(tmp_path: Path, url: str, *options: str, **variables: Any) -> Played:
    digest = hashlib.sha256(INSTALLER.encode()).hexdigest()
    given = {"conda_version": "1.2-3", "conda_url": url, "conda_sha256": {"x86_64": digest, "aarch64": digest}}
    return play(tmp_path, "conda", given | variables, *options)


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "home" / "miniforge3" / "calls").read_text().splitlines()


def test_miniforge_is_installed_once_with_a_python(tmp_path: Path, site: str) -> None:
    planned = conda(tmp_path, site, "--check", "--diff")
    assert (planned.code, planned.stats["changed"]) == (0, 1)
    assert not list((tmp_path / "home").glob("*mini*"))
    (tmp_path / "home").chmod(0o700)
    first = conda(tmp_path, site)
    assert first.code == 0
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    environment = tmp_path / "home" / "miniforge3" / "envs" / "gaiaflow"
    assert calls(tmp_path) == [f"create --yes --prefix {environment} python=3.12"]
    assert {path.name for path in (tmp_path / "home").iterdir()} <= {"miniforge3", ".miniforge3.lock", ".ansible"}
    assert {path.name for path in environment.parent.iterdir()} == {"gaiaflow"}
    for options in ((), ("--check",)):
        second = conda(tmp_path, "http://127.0.0.1:9/", *options, conda_init=True)
        assert (second.code, second.stats["changed"]) == (0, 0)


def test_the_projects_file_says_what_the_environment_holds(tmp_path: Path, site: str) -> None:
    file = tmp_path / "project" / "environment.yml"
    file.parent.mkdir()
    file.write_text("dependencies: [python=3.12]\n")
    project = {"conda_project": str(file.parent)}
    assert conda(tmp_path, site, **project).code == 0
    assert conda(tmp_path, site, **project).stats["changed"] == 0
    file.write_text("dependencies: [python=3.12, pandas]\n")
    assert conda(tmp_path, site, **project).stats["changed"] == 1
    assert [call.split(" --")[0] for call in calls(tmp_path)] == ["env create", "env update"]
    file.write_text("impossible\n")
    failed = conda(tmp_path, site, **project)
    assert failed.code == 2
    assert "impossible" in failed.message
    assert (tmp_path / "home" / "miniforge3" / "envs" / "gaiaflow").is_dir()


def test_a_failed_environment_leaves_none(tmp_path: Path, site: str) -> None:
    (tmp_path / "environment.yml").write_text("impossible\n")
    failed = conda(tmp_path, site, conda_project=str(tmp_path))
    assert failed.code == 2
    assert not list((tmp_path / "home" / "miniforge3" / "envs").iterdir())
    (tmp_path / "environment.yml").write_text("dependencies: []\n")
    assert conda(tmp_path, site, conda_project=str(tmp_path)).code == 0


def test_an_environment_of_somebody_elses_is_left_alone(tmp_path: Path, site: str) -> None:
    conda(tmp_path, site, conda_environment="other")
    theirs = tmp_path / "home" / "miniforge3" / "envs" / "gaiaflow"
    theirs.mkdir()
    (tmp_path / "environment.yml").write_text("dependencies: []\n")
    assert conda(tmp_path, site, conda_project=str(tmp_path)).stats["changed"] == 0
    assert not list(theirs.iterdir())


def test_what_a_killed_run_left_is_made_anew(tmp_path: Path, site: str) -> None:
    half = tmp_path / "home" / "miniforge3" / "bin"
    half.mkdir(parents=True)
    (half / "conda").touch()
    (tmp_path / "home" / ".miniforge3.making").touch()
    assert conda(tmp_path, site).code == 0
    assert calls(tmp_path)
    assert not (tmp_path / "home" / ".miniforge3.making").exists()


@pytest.fixture
def slow(tmp_path: Path, site: str) -> dict[str, Any]:
    """A site whose installer takes its time at first, and works alone or not at all."""
    script = INSTALLER.replace("mkdir -p", 'mkdir "$3.works" || exit 9; mkdir -p', 1)
    script += '[ -e "$3/../slow" ] && rm "$3/../slow" && sleep 4\nrmdir "$3.works"\n'
    (tmp_path / "site" / f"Miniforge3-{platform.machine()}.sh").write_text(script)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "slow").touch()
    digest = hashlib.sha256(script.encode()).hexdigest()
    return {"conda_version": "1.2-3", "conda_url": site, "conda_sha256": {"x86_64": digest, "aarch64": digest}}


def is_whole(home: Path) -> bool:
    """Whether Miniforge and one environment are there, and nothing else."""
    names = {path.name for path in home.iterdir()}
    return len(calls(home.parent)) == 1 and names <= {"miniforge3", ".miniforge3.lock", ".ansible"}


@pytest.mark.thorough
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_installation_is_completed_by_the_next_run(
    tmp_path: Path, slow: dict[str, Any], signum: signal.Signals
) -> None:
    home = tmp_path / "home"
    interrupt(tmp_path, "conda", slow, lambda: not (home / "slow").exists(), signum)
    (home / "miniforge3.works").rmdir()
    assert conda(tmp_path, slow["conda_url"], **slow).code == 0
    assert is_whole(home)


@pytest.mark.thorough
def test_an_installer_that_outlives_its_run_is_waited_for(tmp_path: Path, slow: dict[str, Any]) -> None:
    home = tmp_path / "home"
    spare = ("bash", "sleep")
    interrupt(tmp_path, "conda", slow, lambda: not (home / "slow").exists(), signal.SIGKILL, spare=spare)
    assert (home / "miniforge3.works").exists()
    assert conda(tmp_path, slow["conda_url"], **slow).code == 0
    assert is_whole(home)


def test_a_directory_of_somebody_elses_is_not_touched(tmp_path: Path, site: str) -> None:
    theirs = tmp_path / "home" / "miniforge3"
    theirs.mkdir(parents=True)
    (theirs / "notes.txt").touch()
    failed = conda(tmp_path, site)
    assert failed.code == 2
    assert str(theirs) in failed.message
    assert [path.name for path in theirs.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_a_site_that_cannot_be_reached_is_left_for_later(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = conda(tmp_path, "http://127.0.0.1:9/x", *options, conda_init=True)
    assert (done.code, done.stats["changed"]) == (0, 0)
    assert set(done.deferred) == {"Miniforge 1.2-3"}
    assert "http://127.0.0.1:9/x can't be had" in done.deferred["Miniforge 1.2-3"]
    assert not (tmp_path / "home" / "miniforge3").exists()


def test_a_wrong_file_is_refused(tmp_path: Path, site: str) -> None:
    wrong = {"x86_64": "0" * 64, "aarch64": "0" * 64}
    assert f"and not {'0' * 64}" in conda(tmp_path, site, conda_sha256=wrong).message
    assert "404" in conda(tmp_path, site.replace("Miniforge3", "none")).message
    for file in (tmp_path / "site").iterdir():
        file.write_text("exit 3\n")
    digest = hashlib.sha256(b"exit 3\n").hexdigest()
    broken = conda(tmp_path, site, conda_sha256={"x86_64": digest, "aarch64": digest})
    assert "installer ended with code 3" in broken.message and "Nothing half-made" in broken.hint
    assert {path.name for path in (tmp_path / "home").iterdir()} <= {".miniforge3.lock", ".ansible"}


def test_a_directory_that_is_not_there_is_made(tmp_path: Path, site: str) -> None:
    assert conda(tmp_path, site, conda_directory="~/more/than one/miniforge3").code == 0
    assert (tmp_path / "home" / "more" / "than one" / "miniforge3" / "envs" / "gaiaflow").is_dir()
