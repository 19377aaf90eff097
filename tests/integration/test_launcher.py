"""The launcher, with a lock file of a few packages so that a first use takes seconds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cli_content import copy_launcher, mark_as_ready

CHECKOUT = Path(__file__).parents[2]
UNREACHABLE = "http://127.0.0.1:9/simple"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout in a path with a space, with a command line that tells what it was given."""
    root = tmp_path / "a check out"
    (root / "requirements").mkdir(parents=True)
    (root / "gaiaflow_py").mkdir()
    copy_launcher(root)
    pinned = (CHECKOUT / "requirements" / "cli.txt").read_text()
    kept = [re.search(rf"^{name}==(?:.*\n)(?: .*\n)*", pinned, re.MULTILINE) for name in ("click", "uv")]
    (root / "requirements" / "cli.txt").write_text("".join(found[0] for found in kept if found))
    (root / "gaiaflow_py" / "__init__.py").touch()
    (root / "gaiaflow_py" / "__main__.py").write_text("import sys, click; print(click.__name__, sys.argv[1:])\n")
    return root


def run(command: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd="/",
        env=os.environ | environment,
    )


def make_ready(checkout: Path) -> None:
    """Make what a first use makes, with a Python that only tells how it was called."""
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    python.chmod(0o755)
    mark_as_ready(checkout)


def test_the_arguments_are_handed_over_as_they_are(checkout: Path, tmp_path: Path) -> None:
    make_ready(checkout)
    expected = "<-I><-m><gaiaflow_py><a b><--c=*><>"
    assert run(checkout / "gaiaflow-setup", "a b", "--c=*", "").stdout == expected
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "absolute").symlink_to(checkout / "gaiaflow-setup")
    (tmp_path / "bin" / "relative").symlink_to("absolute")
    assert run(tmp_path / "bin" / "relative", "a b", "--c=*", "").stdout == expected
    for directory, command in ((checkout, "./gaiaflow-setup"), (tmp_path, "a check out/gaiaflow-setup")):
        done = subprocess.run(["sh", "-c", f"'{command}' x"], cwd=directory, capture_output=True, text=True, check=True)
        assert done.stdout == "<-I><-m><gaiaflow_py><x>"
    found = {"PATH": f"{checkout}:{os.environ['PATH']}"}
    assert run(Path("gaiaflow-setup"), "x", **found).stdout == "<-I><-m><gaiaflow_py><x>"


def test_a_first_use_installs_and_the_next_one_does_not(checkout: Path) -> None:
    first = run(checkout / "gaiaflow-setup", "hello")
    assert (first.returncode, first.stdout) == (0, "click ['hello']\n"), first.stderr
    assert "3/3" in first.stderr
    assert not (checkout / ".venv" / ".uv-cache").exists()
    second = run(checkout / "gaiaflow-setup", "again", PATH="/usr/bin:/bin", PIP_INDEX_URL=UNREACHABLE)
    assert (second.stdout, second.stderr) == ("click ['again']\n", "")


@pytest.mark.thorough
def test_two_first_uses_at_once_make_one_environment(checkout: Path) -> None:
    started = [
        subprocess.Popen([checkout / "gaiaflow-setup", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [output for output, _ in ended] == ["click ['one']\n", "click ['two']\n"]
    assert sorted("waiting for it" in errors for _, errors in ended) == [False, True]


def test_without_a_network_the_error_is_shown_and_the_next_use_starts_over(checkout: Path) -> None:
    unreachable = {"PIP_INDEX_URL": UNREACHABLE, "PIP_EXTRA_INDEX_URL": "", "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}
    done = run(checkout / "gaiaflow-setup", "x", **unreachable)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Installing uv failed" in done.stderr
    assert "run this again" in done.stderr
    assert run(checkout / "gaiaflow-setup", "x").returncode == 0


def test_changed_requirements_are_installed(checkout: Path) -> None:
    make_ready(checkout)
    with (checkout / "requirements" / "cli.txt").open("a") as file:
        file.write("# changed\n")
    done = run(checkout / "gaiaflow-setup", "x", PIP_INDEX_URL=UNREACHABLE, PIP_RETRIES="0")
    assert "making " in done.stderr


def test_collections_that_a_newer_version_uses_are_installed(checkout: Path) -> None:
    make_ready(checkout)
    (checkout / ".venv" / "collections.txt").write_text("community/docker\n")
    done = run(checkout / "gaiaflow-setup", "x", PIP_INDEX_URL=UNREACHABLE, PIP_RETRIES="0")
    assert "making " in done.stderr


def test_without_a_python_the_error_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cmp", "readlink", "flock", "mktemp", "rm", "id"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    done = run(checkout / "gaiaflow-setup", PATH=str(tools))
    assert done.returncode == 1
    assert "No Python 3.11 to 3.14 was found" in done.stderr
    assert "Install it with: sudo apt-get install python3 python3-venv" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write anywhere")
def test_a_checkout_that_cannot_be_written_is_an_error(checkout: Path) -> None:
    checkout.chmod(0o555)
    done = run(checkout / "gaiaflow-setup")
    assert done.returncode == 1
    assert "can't be written" in done.stderr
