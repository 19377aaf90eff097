"""What both runtimes share: which programs are chosen and in which order, their states, deadlines and rows."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ansible_collections.gaiaflow.setup.plugins.module_utils.common import ServiceError
from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime import implementation
from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime.base import (
    STOPPED,
    Comparison,
    Program,
    Programs,
    Runtime,
    Settings,
    State,
    reason_to_give_up,
    row,
)


def entry(service: str, *needs: str, **more: Any) -> dict[str, Any]:
    return {"service": service, "port": 1, "health": {"tcp": True}, "needs": list(needs), **more}


DEFINITION = {
    "services": {
        "postgres": entry("airflow"),
        "scheduler": entry("airflow", "postgres"),
        "minio": entry("minio", url="http://127.0.0.1:9001", user="the access key"),
        "mlflow": entry("mlflow", "minio", url="http://127.0.0.1:5000"),
    }
}
PROGRAMS = Programs.of(DEFINITION)
UP = State(name="running", is_up=True, is_kept=True, started=1.0, uptime_s=7, starts=1)
UNSUPERVISED = State(name="unsupervised", is_up=True, is_kept=False, started=1.0, starts=1)


def names(programs: Iterable[Program]) -> list[str]:
    return [one.name for one in programs]


# ---- Which programs, and in which order


@pytest.mark.parametrize(
    ("services", "chosen"),
    [
        ([], ["postgres", "scheduler", "minio", "mlflow"]),
        (["airflow"], ["postgres", "scheduler"]),
        (["mlflow", "minio"], ["minio", "mlflow"]),
        (["postgres"], []),
    ],
)
def test_services_select_their_programs_in_the_catalogues_order(services: list[str], chosen: list[str]) -> None:
    assert names(PROGRAMS.selected(services)) == chosen


def test_what_a_program_needs_comes_before_it_and_once() -> None:
    assert names(PROGRAMS.with_needs(PROGRAMS.selected(["mlflow"]))) == ["minio", "mlflow"]
    assert names(PROGRAMS.with_needs([PROGRAMS["mlflow"], PROGRAMS["minio"]])) == ["minio", "mlflow"]


@pytest.mark.parametrize(
    ("services", "groups"),
    [
        ([], [["scheduler", "mlflow"], ["postgres", "minio"]]),
        (["minio"], [["minio"]]),
        (["mlflow"], [["mlflow"]]),
    ],
)
def test_dependants_end_before_what_they_need(services: list[str], groups: list[list[str]]) -> None:
    assert [names(group) for group in PROGRAMS.stop_groups(PROGRAMS.selected(services))] == groups


def test_endpoints_are_of_what_users_open_and_hold_no_password() -> None:
    assert PROGRAMS.endpoints(Path("/i/credentials.json")) == [
        {
            "service": "minio",
            "url": "http://127.0.0.1:9001",
            "user": "the access key",
            "password_in": "/i/credentials.json",
        },
        {"service": "mlflow", "url": "http://127.0.0.1:5000", "user": "", "password_in": ""},
    ]


# ---- States


@pytest.mark.parametrize(
    ("state", "works", "shown"),
    [
        (UP, True, ("running", "healthy", 7, 5)),
        (UP, False, ("running", "unhealthy", 7, 5)),
        (UNSUPERVISED, True, ("unsupervised", "healthy", 0, 5)),
        (STOPPED, False, ("stopped", "stopped", 0, 0)),
        (State(name="fatal", uptime_s=3), False, ("fatal", "stopped", 0, 0)),
    ],
)
def test_row_of_a_program_shows_its_state(state: State, works: bool, shown: tuple[object, ...]) -> None:
    found = row(PROGRAMS["mlflow"], state, works, 5)
    assert (found["state"], found["health"], found["uptime_s"], found["memory_bytes"]) == shown
    assert (found["name"], found["service"], found["url"]) == ("mlflow", "mlflow", "http://127.0.0.1:5000")


@pytest.mark.parametrize(
    ("state", "before", "reason"),
    [
        (State(starts=1), 1, ""),
        (State(starts=3), 1, ""),
        (State(starts=4), 1, "ends as soon as it has started"),
        (State(starts=9), 7, ""),
        (State(starts=1, is_over=True), 1, "ends as soon as it has started"),
        (State(starts=5, fate="runs out of its memory"), 1, "runs out of its memory"),
    ],
)
def test_program_that_keeps_ending_is_given_up(state: State, before: int, reason: str) -> None:
    assert reason_to_give_up(state, before, most_restarts=3) == reason


# ---- Start and stop, with a runtime whose programs do as the test says


class Scripted(Runtime):
    """Programs whose states follow a script, one line for each time that they are asked for."""

    name: ClassVar[str] = "native"
    most_restarts: ClassVar[int] = 3

    def __init__(self, directory: Path, definition: dict[str, Any], script: list[dict[str, State]], **how: Any) -> None:
        super().__init__(directory, definition=definition, settings=Settings(**how))
        self.script = script
        self.done: list[str] = []

    def states(self, programs: Iterable[Program]) -> dict[str, State]:
        line = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return {one.name: line[one.name] for one in programs if one.name in line}

    def memory(self, states: Mapping[str, State]) -> dict[str, int | None]:
        return {name: 1024 for name in states}

    def log_end(self, program: str) -> str:
        return f"the end of {program}"

    def compare(self, services: list[str], *, keep: bool = False) -> Comparison:
        raise NotImplementedError

    def begin(self, programs: list[Program]) -> tuple[list[Program], bool]:
        self.done.append(f"begin {' '.join(names(programs))}")
        return programs, True

    def end(self, programs: list[Program]) -> bool:
        self.done.append(f"end {' '.join(names(programs))}")
        return True

    def remove(self) -> bool:
        self.done.append("remove")
        return False

    def tidy(self) -> None:
        self.done.append("tidy")

    @property
    def notes(self) -> list[str]:
        return []

    @staticmethod
    def explain(error: Exception) -> tuple[str, str]:
        return str(error), ""


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent() -> int:
    """A port that nobody answers at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def definition(**ports: int) -> dict[str, Any]:
    return {"services": {name: {**entry(name), "port": port} for name, port in ports.items()}}


def test_start_returns_when_all_answer(tmp_path: Path, listening: int) -> None:
    runtime = Scripted(tmp_path, definition(a=listening, b=listening), [{"a": UP}, {"a": UP, "b": UP}])
    assert runtime.bring_to("started", [])
    assert runtime.done == ["begin a b", "tidy"]


def test_one_that_does_not_answer_in_time_is_named_with_its_log(tmp_path: Path, listening: int, silent: int) -> None:
    runtime = Scripted(tmp_path, definition(a=listening, b=silent), [{"a": UP, "b": UP}], start_timeout=0)
    with pytest.raises(ServiceError, match=r"b is not healthy after \d+ s\.") as caught:
        runtime.bring_to("started", [])
    assert caught.value.details == "the end of b"


def test_one_that_keeps_ending_is_given_up_before_its_time(tmp_path: Path, silent: int) -> None:
    starts = [{"a": State(name="starting", is_up=True, starts=number)} for number in (5, 6, 7, 8)]
    runtime = Scripted(tmp_path, definition(a=silent), starts)
    with pytest.raises(ServiceError, match="a ends as soon as it has started"):
        runtime.bring_to("started", [])


@pytest.mark.parametrize(
    ("state", "done"),
    [
        ("stopped", ["end mlflow"]),
        ("restarted", ["end mlflow", "begin minio mlflow", "tidy"]),
        ("absent", ["end mlflow", "remove"]),
    ],
)
def test_only_what_is_named_is_stopped_and_what_it_needs_is_started(
    tmp_path: Path, listening: int, state: str, done: list[str]
) -> None:
    services = {**DEFINITION["services"]}
    for name in ("minio", "mlflow"):
        services[name] = {**services[name], "port": listening}
    runtime = Scripted(tmp_path, {"services": services}, [{"minio": UP, "mlflow": UP}])
    assert runtime.bring_to(state, ["mlflow"])
    assert runtime.done == done


@pytest.mark.parametrize(
    ("state", "found", "changes"),
    [
        ("started", {"minio": UP, "mlflow": UP}, False),
        ("started", {"mlflow": UP}, True),
        ("started", {"minio": UNSUPERVISED, "mlflow": UP}, True),
        ("started", {"minio": State(name="exited"), "mlflow": UP}, True),
        ("restarted", {"minio": UP, "mlflow": UP}, True),
        ("stopped", {"minio": UP}, False),
        ("stopped", {"mlflow": UNSUPERVISED}, True),
        ("absent", {"minio": UP, "mlflow": UP}, True),
    ],
)
def test_check_mode_says_whether_something_would_change_and_does_nothing(
    tmp_path: Path, state: str, found: dict[str, State], changes: bool
) -> None:
    runtime = Scripted(tmp_path, DEFINITION, [found], check_mode=True)
    assert runtime.bring_to(state, ["mlflow"]) is changes
    assert runtime.done == []


def test_status_has_a_row_for_each_program_and_asks_each_itself(tmp_path: Path, listening: int, silent: int) -> None:
    runtime = Scripted(tmp_path, definition(a=listening, b=silent, c=listening), [{"a": UP, "b": UP}])
    rows = {one["name"]: (one["health"], one["memory_bytes"]) for one in runtime.status()}
    assert rows == {"a": ("healthy", 1024), "b": ("unhealthy", 1024), "c": ("stopped", 0)}


# ---- What the last start has kept


def test_kept_definition_is_used_where_none_is_given(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    for name, services in {"services.json": ["minio"], "containers.json": ["minio", "mlflow"]}.items():
        kept = {"services": {one: DEFINITION["services"][one] for one in services}}
        (tmp_path / "config" / name).write_text(json.dumps(kept))
    assert list(implementation("native")(tmp_path).programs) == ["minio"]
    assert list(implementation("docker")(tmp_path).programs) == ["minio", "mlflow"]


@pytest.mark.parametrize(
    "kept", ['{"services": []}', '{"services": {"mlflow": {}}}', '{"services": {"a": {"port": []}}}']
)
@pytest.mark.parametrize("runtime", ["native", "docker"])
def test_broken_definition_is_named(tmp_path: Path, kept: str, runtime: str) -> None:
    (tmp_path / "config").mkdir()
    for name in ("services.json", "containers.json"):
        (tmp_path / "config" / name).write_text(kept)
    with pytest.raises(ValueError, match="isn't what a start has written"):
        implementation(runtime)(tmp_path)
