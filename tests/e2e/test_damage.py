"""What others delete or edit: what is broken, what `status` then says, and what a start does.

One table, on one real stack. A new report gets a row.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from stack import SUMMARY, Airflow, Stack
from tables import rows

HEALTHY, STOPPED, UNSUPERVISED = "all healthy", "all stopped", "all unsupervised"
# Some end soon, as nobody reads what they print.
KEYLESS = "all running, S3 can't be asked"
ORPHANED = "all unsupervised or stopped"
REPAIRS, NOTHING = "repairs", "changes nothing"
Undo = Callable[[], None]


def removed(*names: str) -> Callable[[Stack], Undo]:
    """Files or directories of the instance are deleted."""

    def damage(stack: Stack) -> Undo:
        for name in names:
            path = stack.directory / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return lambda: None

    return damage


def holding(name: str, text: str, *more: str) -> Callable[[Stack], Undo]:
    """A file, and others, hold something else; undone by hand, as where a start refuses."""

    def damage(stack: Stack) -> Undo:
        paths = [stack.directory / one for one in (name, *more)]
        before = {path: path.read_text() for path in paths}
        for path in paths:
            path.write_text(text)

        def undo() -> None:
            for path, content in before.items():
                path.write_text(content)

        return undo

    return damage


def a_directory(name: str) -> Callable[[Stack], Undo]:
    """A directory has taken a file's place."""

    def damage(stack: Stack) -> Undo:
        path = stack.directory / name
        path.unlink()
        path.mkdir()
        return path.rmdir

    return damage


def socket_removed(stack: Stack) -> Undo:
    (Path(stack.record["sockets"]) / "supervisor.sock").unlink()
    return lambda: None


def sockets_removed(stack: Stack) -> Undo:
    shutil.rmtree(stack.record["sockets"])
    return lambda: None


def pid_file_removed(stack: Stack) -> Undo:
    (Path(stack.record["sockets"]) / "supervisord.pid").unlink()
    return lambda: None


def supervisor_killed(stack: Stack) -> Undo:
    psutil.Process(int((Path(stack.record["sockets"]) / "supervisord.pid").read_text())).kill()
    return lambda: None


def environment(stack: Stack, name: str) -> Path:
    definition = json.loads((stack.directory / "config" / "services.json").read_text())
    return Path(definition["environments"][name])


def package_removed(stack: Stack) -> Undo:
    next(environment(stack, "base").glob("lib/python*/site-packages/supervisor/supervisord.py")).unlink()
    return lambda: None


def file_emptied(stack: Stack) -> Undo:
    next(environment(stack, "base").glob("lib/python*/site-packages/supervisor/options.py")).write_text("")
    return lambda: None


def mark_removed(stack: Stack) -> Undo:
    (environment(stack, "base") / ".complete").unlink()
    return lambda: None


def python_gone(stack: Stack) -> Undo:
    link = environment(stack, "base") / "bin" / "python"
    link.unlink()
    link.symlink_to("/usr/bin/python3.0-that-was-upgraded-away")
    return lambda: None


def project_moved(stack: Stack) -> Undo:
    aside = stack.project.with_name("aside")
    stack.project.rename(aside)

    def undo() -> None:
        aside.rename(stack.project)

    return undo


def stale_lock(stack: Stack) -> Undo:
    """PostgreSQL was killed, and another process has its number now."""
    stack.run("mlops", "--stop")
    lock = stack.directory / "data" / "postgres" / "cluster" / "postmaster.pid"
    lock.write_text(f"1\n{lock.parent}\n0\n{stack.record['ports']['postgres']}\n\n127.0.0.1\n")
    return lambda: None


def broken_lock(stack: Stack) -> Undo:
    stack.run("mlops", "--stop")
    (stack.directory / "data" / "postgres" / "cluster" / "postmaster.pid").write_text("")
    return lambda: None


def stopped_without_programs(stack: Stack) -> Undo:
    stack.run("mlops", "--stop")
    shutil.rmtree(stack.directory / "config" / "environment")
    (stack.directory / "config" / "run_service.py").write_text("")
    return lambda: None


COPY = "config/copies"


@dataclass(frozen=True)
class Row:
    """One damage.

    Attributes:
        damage: What is done to the stack; returns what undoes it where a start refuses to.
        status: What `status` says then: HEALTHY, ..., or a text of its error.
        start: What a start does: REPAIRS, NOTHING, or a text of its refusal.
    """

    damage: Callable[[Stack], Undo]
    status: str
    start: str


ROWS = {
    "supervisor's socket removed": Row(socket_removed, UNSUPERVISED, REPAIRS),
    "directory of the sockets removed": Row(sockets_removed, UNSUPERVISED, REPAIRS),
    "supervisor killed": Row(supervisor_killed, ORPHANED, REPAIRS),
    "supervisor's pid file removed": Row(pid_file_removed, HEALTHY, NOTHING),
    "supervisord.conf removed": Row(removed("config/supervisord.conf"), HEALTHY, REPAIRS),
    "supervisord.conf emptied": Row(holding("config/supervisord.conf", ""), HEALTHY, REPAIRS),
    "supervisord.conf edited": Row(holding("config/supervisord.conf", "[x]\n\xff"), HEALTHY, REPAIRS),
    "services.json removed": Row(removed("config/services.json"), "services.json is gone", REPAIRS),
    "services.json emptied": Row(holding("config/services.json", ""), "isn't what a start has written", REPAIRS),
    "services.json a list": Row(holding("config/services.json", "[]"), "isn't what a start has written", REPAIRS),
    "services.json with wrong types": Row(
        holding("config/services.json", '{"services": [], "environments": {}}'), "isn't what a start has", REPAIRS
    ),
    "programs removed": Row(removed("config/run_service.py", "config/preloaded.py"), HEALTHY, REPAIRS),
    "programs emptied, stack stopped": Row(stopped_without_programs, STOPPED, REPAIRS),
    "environment of the shell removed": Row(removed("config/environment"), HEALTHY, NOTHING),
    "record removed": Row(removed("instance.json"), HEALTHY, REPAIRS),
    "record emptied": Row(holding("instance.json", ""), HEALTHY, REPAIRS),
    "record half written": Row(holding("instance.json", '{"ports": {"airf'), HEALTHY, REPAIRS),
    "record a list": Row(holding("instance.json", "[]"), HEALTHY, REPAIRS),
    "record with wrong types": Row(holding("instance.json", '{"ports": [], "urls": 1}'), HEALTHY, REPAIRS),
    "record a directory": Row(a_directory("instance.json"), HEALTHY, "instance.json"),
    "record's copy removed": Row(removed(f"{COPY}/instance.json"), HEALTHY, NOTHING),
    "record and its copy broken": Row(
        holding("instance.json", "{}", f"{COPY}/instance.json"), "instance.json", "Put it back from a backup"
    ),
    "credentials removed": Row(removed("credentials.json"), HEALTHY, REPAIRS),
    "credentials emptied": Row(holding("credentials.json", ""), HEALTHY, REPAIRS),
    "credentials a list": Row(holding("credentials.json", "[]"), HEALTHY, REPAIRS),
    "credentials with wrong types": Row(holding("credentials.json", '{"minio": "x"}'), HEALTHY, REPAIRS),
    "credentials and their copy broken": Row(
        holding("credentials.json", "{}", f"{COPY}/credentials.json"), KEYLESS, "credentials.json is broken"
    ),
    "a log removed": Row(removed("logs/mlflow.log"), HEALTHY, REPAIRS),
    "all logs removed": Row(removed("logs"), HEALTHY, REPAIRS),
    "lock of PostgreSQL's left, with a process of another": Row(stale_lock, STOPPED, REPAIRS),
    "lock of PostgreSQL's emptied": Row(broken_lock, STOPPED, REPAIRS),
    "a file of an environment removed": Row(package_removed, HEALTHY, REPAIRS),
    "a file of an environment emptied": Row(file_emptied, HEALTHY, REPAIRS),
    "mark of an environment removed": Row(mark_removed, HEALTHY, REPAIRS),
    "Python of an environment gone": Row(python_gone, "leads to no Python", REPAIRS),
    "project moved": Row(project_moved, HEALTHY, "is gone, whose DAGs this instance runs"),
}
USUAL = {
    *("supervisor's socket removed", "supervisor killed", "supervisord.conf edited", "services.json a list"),
    *("programs emptied, stack stopped", "record half written", "record and its copy broken", "credentials emptied"),
    *("lock of PostgreSQL's left, with a process of another", "a file of an environment removed", "project moved"),
}


@pytest.mark.parametrize("row", rows(ROWS, USUAL))
def test_damage_is_told_and_repaired(stack: Stack, trained: str, row: Row) -> None:
    undo = row.damage(stack)
    try:
        assert_status_says(stack, row.status)
        done = stack.run("mlops", "--start", ok=row.start in (REPAIRS, NOTHING))
        if row.start == NOTHING:
            assert SUMMARY.search(done.stdout)[2] == "0"  # type: ignore[index]
        elif row.start != REPAIRS:
            assert row.start in done.stderr
            assert "Traceback" not in done.stderr
    finally:
        if row.start not in (REPAIRS, NOTHING):
            undo()
    if row.start not in (REPAIRS, NOTHING):
        stack.run("mlops", "--start")
    assert_status_says(stack, HEALTHY)
    assert (stack.directory / "logs" / "mlflow.log").exists()
    assert Airflow(stack).end_state("wine_project_example", trained) == "success", "what was there is still there"


def test_an_emptied_file_has_its_content_again(stack: Stack) -> None:
    path = next(environment(stack, "base").glob("lib/python*/site-packages/supervisor/events.py"))
    before = path.read_bytes()
    path.write_text("")  # uv's cache has the same file by another link
    stack.run("mlops", "--start")
    assert path.read_bytes() == before


def test_nothing_is_left_to_repair(stack: Stack) -> None:
    assert SUMMARY.search(stack.run("mlops", "--start").stdout)[2] == "0"  # type: ignore[index]


def assert_status_says(stack: Stack, expected: str) -> None:
    """`status` says this, or fails with this message."""
    states = {
        HEALTHY: {("running", "healthy")},
        STOPPED: {("stopped", "stopped")},
        UNSUPERVISED: {("unsupervised", "healthy")},
        KEYLESS: {("running", "healthy"), ("running", "unhealthy")},
        ORPHANED: {("unsupervised", "healthy"), ("unsupervised", "unhealthy"), ("stopped", "stopped")},
    }
    if expected in states:
        found = {(row["state"], row["health"]) for row in stack.services().values()}
        assert found <= states[expected], stack.services()
    else:
        refused = stack.run("status", ok=False)
        assert expected in refused.stderr
        assert "Traceback" not in refused.stderr
