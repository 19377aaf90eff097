"""The runtime native: what supervisord says, by its own interface at a real socket, as states; and what it is told."""

from __future__ import annotations

import json
import os
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import pytest

from ansible_collections.gaiaflow.setup.plugins.module_utils.catalogue import expand
from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime.base import Program, Settings
from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime.native import (
    NativeRuntime,
    program_facts,
    proportional_memory,
    state_of,
)


@pytest.mark.parametrize(
    ("name", "is_up", "is_kept", "is_over", "uptime"),
    [
        ("RUNNING", True, True, False, 40),
        ("STARTING", True, True, False, 40),
        ("BACKOFF", False, True, False, 0),
        ("STOPPED", False, True, False, 0),
        ("FATAL", False, True, True, 0),
        ("UNSUPERVISED", True, False, False, 40),
    ],
)
def test_states_of_supervisord_are_told(name: str, is_up: bool, is_kept: bool, is_over: bool, uptime: int) -> None:
    state = state_of({"statename": name, "start": 100, "pid": 7}, now=140.0)
    assert (state.name, state.is_up, state.is_kept, state.is_over) == (name.lower(), is_up, is_kept, is_over)
    assert (state.uptime_s, state.started) == (uptime, 100)


def test_memory_is_of_a_process_and_its_descendants() -> None:
    own = proportional_memory(os.getpid(), {})
    assert own is None or own > 2**20
    assert proportional_memory(2**22 + 1, {}) is None


# ---- With a supervisord that answers


class Supervisord(socketserver.ThreadingMixIn, socketserver.UnixStreamServer, SimpleXMLRPCDispatcher):
    """Supervisord's interface, with the processes that a test gives it."""

    daemon_threads = True
    logRequests = False

    def __init__(self, path: str, processes: dict[str, dict[str, Any]]) -> None:
        SimpleXMLRPCDispatcher.__init__(self, allow_none=True)
        socketserver.UnixStreamServer.__init__(self, path, Handler)
        self.processes = processes
        self.told: list[str] = []
        for name in ("getState", "getAllProcessInfo", "startProcess", "stopProcess"):
            self.register_function(getattr(self, name), f"supervisor.{name}")

    def getState(self) -> dict[str, str]:
        return {"statename": "RUNNING"}

    def getAllProcessInfo(self) -> list[dict[str, Any]]:
        return list(self.processes.values())

    def startProcess(self, name: str, wait: bool) -> bool:
        self.told.append(f"start {name}")
        return True

    def stopProcess(self, name: str, wait: bool) -> bool:
        self.told.append(f"stop {name}")
        self.processes[name]["statename"] = "STOPPED"
        return True


class Handler(SimpleXMLRPCRequestHandler):
    """Requests at a socket, whose other end has no address."""

    rpc_paths = ("/RPC2", "/")
    disable_nagle_algorithm = False

    def log_message(self, format: str, *args: Any) -> None:
        pass


def process(name: str, state: str, start: int = 100) -> dict[str, Any]:
    return {"name": name, "statename": state, "start": start, "now": 140, "pid": os.getpid()}


ENTRY: dict[str, Any] = {"port": 1, "health": {"tcp": True}, "env": {}, "environment": "base"}
DEFINITION: dict[str, Any] = {
    "environments": {"base": "/environments/base-1", "airflow": "/environments/airflow-1"},
    "credentials": "/i/credentials.json",
    "services": {
        "minio": {**ENTRY, "service": "minio", "stop_signal": "INT"},
        "mlflow": {**ENTRY, "service": "mlflow", "needs": ["minio"]},
    },
}


@pytest.fixture
def supervisord() -> Iterator[Supervisord]:
    with tempfile.TemporaryDirectory(prefix="supervisor-") as directory:
        processes = {"minio": process("minio", "RUNNING"), "mlflow": process("mlflow", "STOPPED", start=0)}
        with Supervisord(str(Path(directory, "supervisor.sock")), processes) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield server
            server.shutdown()


def runtime(directory: Path, supervisord: Supervisord, **how: Any) -> NativeRuntime:
    (directory / "config").mkdir(exist_ok=True)
    return NativeRuntime(directory, str(supervisord.server_address), DEFINITION, Settings(**how))


def test_only_what_is_down_is_started(tmp_path: Path, supervisord: Supervisord) -> None:
    native = runtime(tmp_path, supervisord, shell_basics=["PATH"])
    assert native.start_processes(list(native.programs.values()))
    assert supervisord.told == ["start mlflow"]
    seen = tmp_path / "config" / "environment" / "mlflow.json"
    assert set(json.loads(seen.read_text())) == {"PATH"}
    assert seen.stat().st_mode & 0o777 == 0o600


def test_each_start_that_is_seen_counts_once(tmp_path: Path, supervisord: Supervisord) -> None:
    native = runtime(tmp_path, supervisord)
    programs = list(native.programs.values())
    for start in (100, 100, 101, 103):
        supervisord.processes["minio"]["start"] = start
        states = native.states(programs)
    assert states["minio"].starts == 3


def test_named_service_is_stopped_and_nothing_that_is_down_already(tmp_path: Path, supervisord: Supervisord) -> None:
    supervisord.processes["mlflow"] = process("mlflow", "RUNNING")
    native = runtime(tmp_path, supervisord)
    assert native.stop(["mlflow"])
    assert not native.stop_together(["mlflow"])
    assert supervisord.told == ["stop mlflow"]


@pytest.mark.parametrize(("state", "changes"), [("started", True), ("stopped", True), ("restarted", True)])
def test_check_mode_asks_and_tells_nothing(tmp_path: Path, supervisord: Supervisord, state: str, changes: bool) -> None:
    assert runtime(tmp_path, supervisord, check_mode=True).bring_to(state, []) is changes
    assert supervisord.told == []


def test_a_supervisord_with_nothing_to_run_would_be_ended(tmp_path: Path, supervisord: Supervisord) -> None:
    supervisord.processes["minio"]["statename"] = "STOPPED"
    assert runtime(tmp_path, supervisord, check_mode=True).bring_to("stopped", [])


def test_configuration_is_written_once_and_only_where_it_differs(tmp_path: Path, supervisord: Supervisord) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "run_service.py").write_text("print()\n")
    how = {"programs": str(programs), "configuration": "[program:@{program.name}]\n"}
    planned = runtime(tmp_path, supervisord, check_mode=True, **how).compare([])
    assert planned.changed and not list((tmp_path / "config").iterdir())
    assert runtime(tmp_path, supervisord, **how).compare([]).changed
    assert {path.name for path in (tmp_path / "config").iterdir()} == {
        "services.json",
        "run_service.py",
        "supervisord.conf",
    }
    again = runtime(tmp_path, supervisord, **how).compare([])
    assert not again.changed and not again.diff
    (tmp_path / "config" / "supervisord.conf").write_text("[x]\n")
    changed = runtime(tmp_path, supervisord, **how).compare([])
    assert [(one["before"], one["after"]) for one in changed.diff] == [
        ("[x]\n", "[program:minio]\n\n[program:mlflow]\n")
    ]


def test_configuration_has_a_section_for_each_program(tmp_path: Path, supervisord: Supervisord) -> None:
    section = "[program:@{program.name}]\nstopsignal = @{program.stop_signal}\n"
    native = runtime(tmp_path, supervisord, configuration="[supervisord]\n" + section)
    assert native.configuration() == (
        "[supervisord]\n[program:minio]\nstopsignal = INT\n\n[program:mlflow]\nstopsignal = TERM\n"
    )


@pytest.mark.parametrize(
    ("entry", "definition", "is_another"),
    [
        ({}, {}, False),
        ({"env": {"A": "1"}}, {}, True),
        ({}, {"credentials": "elsewhere"}, True),
        ({}, {"environments": {"base": "/environments/base-2"}}, True),
        ({}, {"environments": {"base": "/environments/base-1", "airflow": "/environments/airflow-2"}}, False),
        ({}, {"services": {}}, False),
    ],
)
def test_program_is_started_anew_when_what_it_reads_has_changed(
    entry: dict[str, Any], definition: dict[str, Any], is_another: bool
) -> None:
    minio = DEFINITION["services"]["minio"]
    before = program_facts(Program.of("minio", minio), DEFINITION)
    after = program_facts(Program.of("minio", {**minio, **entry}), {**DEFINITION, **definition})
    assert (before["digest"] != after["digest"]) is is_another


# ---- The catalogue as a runtime wants it


CATALOGUE = {
    "minio": {"port": "9", "env": {"A": "1"}, "native": {"port": 8, "env": {"B": "2"}}, "docker": {"image": "i"}},
    "s3-names": {"only": "native", "port": 7, "needs": ["minio"]},
    "web": {"base": "app", "port": 5, "env": {"C": "web"}},
}
BASES = {"app": {"needs": ["minio"], "env": {"C": "base", "D": "base"}, "docker": {"memory": "1g"}}}


def test_catalogue_is_expanded_for_processes() -> None:
    assert expand(CATALOGUE, BASES, "native") == {
        "minio": {"port": 8, "env": {"A": "1", "B": "2"}, "waits_for": []},
        "s3-names": {"port": 7, "env": {}, "needs": ["minio"], "waits_for": [["127.0.0.1", 8]]},
        "web": {"port": 5, "env": {"C": "web", "D": "base"}, "needs": ["minio"], "waits_for": [["127.0.0.1", 8]]},
    }


def test_catalogue_is_expanded_for_containers() -> None:
    assert expand(CATALOGUE, BASES, "docker") == {
        "minio": {"port": "9", "env": {"A": "1"}, "image": "i", "waits_for": [], "peers": ["minio", "web"]},
        "web": {
            "port": 5,
            "env": {"C": "web", "D": "base"},
            "needs": ["minio"],
            "memory": "1g",
            "waits_for": [["minio", 9]],
            "peers": ["minio", "web"],
        },
    }


def test_entry_whose_base_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError, match="none"):
        expand({"bad": {"base": "none", "port": 1}}, BASES, "native")
