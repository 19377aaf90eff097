"""What a user sees of a run: phases with their times, on terminals of any width and elsewhere."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.console import Console

from gaiaflow_py.events import Collector
from gaiaflow_py.phases import TITLES, WAITING, Steps, title_of
from gaiaflow_py.progress import Plain, Terminal, duration, for_run

ROOT = Path(__file__).parents[3]
ENVIRONMENTS = "roles/mlops/tasks/prepare.yml"
STARTING = "roles/mlops/tasks/start.yml"


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A run's events, played into a display."""

    def __init__(self, tmp_path: Path) -> None:
        self.clock = Clock()
        self.collector = Collector(self.clock)
        self.steps = tmp_path / "steps"

    def begin(
        self, path: str, *, action: str = "ansible.builtin.command", role: str = "", task: str = "A task"
    ) -> None:
        data = {"task": task, "task_action": action, "task_path": f"/anywhere/{path}:7", "role": role}
        self.collector.handle({"event": "playbook_on_task_start", "event_data": data})

    def end(self, host: str = "localhost", **result: object) -> None:
        self.collector.handle({"event": "runner_on_ok", "event_data": {"host": host, "res": result}})

    def play(self, path: str, seconds: float, **result: Any) -> None:
        self.begin(path)
        self.clock.now += seconds
        self.end(**result)

    def step(
        self, item: str = "", done: int = 0, total: int = 0, items: dict[str, bool] | None = None, **more: str
    ) -> None:
        told = {"at": self.clock.now, "item": item, "done": done, "total": total, "items": items or {}, **more}
        with self.steps.open("a") as file:
            file.write(json.dumps(told) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


# ---- Phases


def test_every_role_with_tasks_has_a_title() -> None:
    for role in (path.parent.name for path in (ROOT / "roles").glob("*/tasks")):
        assert title_of({"task_path": f"/x/roles/{role}/tasks/main.yml:1", "role": "none"}) != "none", role


@pytest.mark.parametrize("pattern", TITLES)
def test_every_title_is_of_files_that_exist(pattern: str) -> None:
    assert list(ROOT.glob(pattern.replace("/*", "/**/*") if pattern.endswith("/*") else pattern))


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ({"task_path": "/a/roles/docker/tasks/present.yml:3"}, "Docker"),
        ({"task_path": "/a/roles/roles/docker/tasks/present.yml:3"}, "Docker"),
        ({"task_path": f"/a b/{ENVIRONMENTS}:3"}, "Python environments"),
        ({"task_path": f"/a/{STARTING}:3"}, "Starting services"),
        ({"task_path": "/a/roles/mlops/tasks/started.yml:3"}, ""),
        ({"task_path": "/a/roles/docker/tasks/main.yml:3", "task_action": "ansible.builtin.include_tasks"}, ""),
        ({"task_path": "/a/x.yml:3", "task_action": "validate_argument_spec", "task": "Validating arguments"}, ""),
        ({"task_path": "/theirs/roles/own_thing/tasks/main.yml:3", "role": "own_thing"}, "own thing"),
        ({"task_path": "/theirs/site.yml:3", "task": "Do it"}, "Do it"),
        ({}, ""),
    ],
)
def test_a_task_belongs_to_a_phase(data: dict[str, str], title: str) -> None:
    assert title_of(data) == title


def test_a_skipped_task_is_no_phase_and_a_long_one_is_before_it_ends(run: Run) -> None:
    run.begin("roles/wsl/tasks/main.yml")
    run.begin("roles/docker/tasks/main.yml")
    run.clock.now += 0.9
    run.collector.phases.tick()
    assert not run.collector.phases.all
    run.clock.now += 0.2
    run.collector.phases.tick()
    assert [phase.title for phase in run.collector.phases.all] == ["Docker"]


def test_a_phase_takes_from_its_first_task_to_the_next_phase(run: Run) -> None:
    run.play("roles/docker/tasks/present.yml", 2)
    run.begin("roles/docker/tasks/main.yml", action="include_tasks")
    run.play("roles/docker/tasks/installed.yml", 3)
    run.play("roles/minikube/tasks/present.yml", 1)
    run.collector.finish(0)
    phases = run.collector.result.phases
    assert [(phase.title, phase.state, phase.seconds(0)) for phase in phases] == [
        ("Docker", "done", 5),
        ("Kubernetes tools", "done", 1),
    ]


def test_a_phase_of_which_something_is_left_is_deferred(run: Run) -> None:
    run.play("roles/docker/tasks/present.yml", 1, deferred={"component": "docker", "reason": "no root"})
    run.play("roles/minikube/tasks/present.yml", 1)
    assert [phase.state for phase in run.collector.phases.all] == ["deferred", "running"]


# ---- Plain lines


@pytest.fixture
def plain(run: Run) -> Plain:
    return Plain(run.collector.phases, Steps(run.steps))


def test_without_a_terminal_a_phase_is_one_line_with_its_time(
    run: Run, plain: Plain, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, seconds in (("roles/preflight/tasks/main.yml", 0.8), (ENVIRONMENTS, 14.0), (STARTING, 11.2)):
        run.begin(path)
        plain.show()
        run.clock.now += seconds
        run.end()
        plain.show()
    run.collector.finish(0)
    plain.stop()
    assert capsys.readouterr().err.splitlines() == [
        "✔ Checking this machine (0.8 s)",
        "✔ Python environments (14 s)",
        "✔ Starting services (11 s)",
    ]


def test_without_a_terminal_a_long_phase_is_named_every_15_seconds(
    run: Run, plain: Plain, capsys: pytest.CaptureFixture[str]
) -> None:
    run.begin(ENVIRONMENTS)
    for second in range(40):
        run.step("mlflow, 120 MB", 3, 5)
        plain.show()
        run.clock.now += 1
        assert second or not capsys.readouterr().err
    plain.show()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"… Python environments 3/5 (mlflow, 120 MB) {seconds} s" for seconds in (15, 30)]


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "cp1252"])
def test_a_stream_without_unicode_gets_words_for_marks(
    run: Run, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr("sys.stderr", stream)
    plain = for_run(run.collector.phases, run.steps, wanted=True, json=False)
    run.play("roles/docker/tasks/present.yml", 1, deferred={"component": "docker"})
    run.play(STARTING, 1)
    run.begin("roles/x/tasks/main.yml", role="größer ✔")
    run.end()
    run.collector.finish(1)
    plain.stop()
    shown = stream.buffer.getvalue().decode(encoding)
    assert shown.splitlines()[:2] == ["later Docker (1.0 s)", "ok Starting services (1.0 s)"]
    assert shown.splitlines()[2].startswith("failed gr")


# ---- Terminals


class Seen:
    """A terminal's screen."""

    def __init__(self, run: Run, width: int, encoding: str = "utf-8") -> None:
        self.stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True, newline="")
        console = Console(file=self.stream, force_terminal=True, width=width, height=24, highlight=False)
        self.display = Terminal(run.collector.phases, Steps(run.steps), console, keep=True)
        self._screen = pyte.Screen(width, 24)

    @property
    def lines(self) -> list[str]:
        text = self.stream.buffer.getvalue().decode()
        self._screen.reset()
        pyte.Stream(self._screen).feed(text.replace("\n", "\r\n"))
        return [line.rstrip() for line in self._screen.display if line.strip()]


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_a_terminal_of_any_width_shows_one_line_a_phase(run: Run, width: int) -> None:
    seen = Seen(run, width)
    run.play("roles/preflight/tasks/main.yml", 0.8)
    run.begin(ENVIRONMENTS)
    for done in range(5):
        run.clock.now += 7
        run.step("a very long name of something that is being made, 120 MB", done, 5)
        seen.display.show()
        assert len(seen.lines) == 2, seen.lines
    assert all(len(line) < width for line in seen.lines)
    assert "✔ Checking this" in seen.lines[0]
    assert seen.lines[1].startswith("… Python environm")
    run.end()
    run.play(STARTING, 11)
    run.collector.finish(0)
    seen.display.stop()
    assert [line[:10] for line in seen.lines] == ["✔ Checking", "✔ Python e", "✔ Starting"]


def test_a_wide_terminal_has_room_for_a_bar(run: Run) -> None:
    seen = Seen(run, 120)
    run.begin(ENVIRONMENTS)
    run.clock.now += 5
    run.step("mlflow, 120 MB", 3, 5)
    seen.display.show()
    assert seen.lines == ["… Python environments ━━━━━━━━━━━━──────── 3/5 (mlflow, 120 MB) 5.0 s"]


def test_services_are_named_once_as_users_know_them(run: Run) -> None:
    seen = Seen(run, 80)
    run.begin(STARTING)
    run.clock.now += 1.5
    programs = {"minio": True, "mlflow": True, "airflow-api-server": True, "airflow-scheduler": False}
    run.step(items=programs)
    seen.display.show()
    assert seen.lines == ["… Starting services: s3 ✔ mlflow ✔ airflow …"]


def test_what_a_phase_before_told_is_not_shown_in_the_next(run: Run) -> None:
    seen = Seen(run, 80)
    run.begin(ENVIRONMENTS)
    run.step("mlflow", 1, 2)
    run.clock.now += 1
    run.end()
    run.clock.now += 1
    run.begin(STARTING)
    run.clock.now += 1.5
    seen.display.show()
    assert seen.lines == ["✔ Python environments  2.0 s", "… Starting services"]


def test_steps_of_what_runs_in_the_background_are_shown_where_it_is_waited_for(run: Run) -> None:
    seen = Seen(run, 80)
    run.begin("roles/project_image/tasks/main.yml")
    run.step("Preparing", 7, 19, phase=WAITING)
    run.clock.now += 1.5
    seen.display.show()
    assert seen.lines == ["… Image of the project"]
    run.end()
    run.begin("roles/cluster/tasks/wait.yml")
    run.clock.now += 1.5
    seen.display.show()
    assert seen.lines[1] == "… Waiting for Kubernetes 7/19 (Preparing)"


def test_many_hosts_are_counted(run: Run) -> None:
    seen = Seen(run, 80)
    run.begin("roles/preflight/tasks/main.yml")
    for host in ("a", "b", "c"):
        run.end(host)
    run.begin("roles/docker/tasks/main.yml")
    run.clock.now += 1.5
    run.end("a")
    seen.display.show()
    assert seen.lines[1] == "… Docker [1 of 3 hosts]"


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"at": "x"}', '{"at": 1e12}', "[[[", "\x1b[2J{}"])
def test_a_step_that_is_none_is_left_out(run: Run, text: str) -> None:
    run.steps.write_text(f"{text}\n")
    assert Steps(run.steps).latest(0) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3725, "62 min 5 s")],
)
def test_times_are_written_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("variables", "json", "shown"),
    [
        ({"TERM": "xterm"}, False, "Terminal"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, "Terminal"),
        ({"TERM": "xterm"}, True, "Terminal"),
        ({"TERM": "dumb"}, False, "Plain"),
        ({"TERM": ""}, False, "Plain"),
        ({"TERM": "xterm", "COLUMNS": "10"}, False, "Plain"),
        ({"TERM": "dumb"}, True, "Silent"),
    ],
)
def test_the_display_fits_the_terminal(
    run: Run,
    variables: dict[str, str],
    json: bool,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    isatty: Callable[[], bool] = lambda: True  # noqa: E731
    monkeypatch.setattr("sys.stderr.isatty", isatty)
    for name, value in ({"COLUMNS": "80", "LINES": "24"} | variables).items():
        monkeypatch.setenv(name, value)
    assert type(for_run(run.collector.phases, run.steps, wanted=True, json=json)).__name__ == shown


def test_no_color_takes_the_colours_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    seen = Seen(run, 80)
    run.play(STARTING, 3)
    run.collector.finish(0)
    seen.display.show()
    seen.display.stop()
    text = seen.stream.buffer.getvalue().decode()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", text)
    assert seen.lines == ["✔ Starting services  3.0 s"]
