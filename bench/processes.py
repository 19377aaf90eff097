"""Peers that run until they are ended: whether they are healthy, what memory they have, and that nothing is left."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from bench.measure import BenchError

HEALTH_SECONDS = 180


def family(parent: psutil.Process) -> set[psutil.Process]:
    """Return the process, all that came from it, and what is left of the session that it leads."""
    found = {parent} if parent.is_running() else set()
    with contextlib.suppress(psutil.Error):
        found |= set(parent.children(recursive=True))
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == parent.pid:
                found |= {process, *process.children(recursive=True)}
    return found


class Program:
    """A peer that runs until it is ended, with all that came from it."""

    def __init__(self, command: list[str], environment: dict[str, str], directory: Path) -> None:
        self.name = " ".join([Path(command[0]).name, *command[1:2]])
        directory.mkdir(exist_ok=True)
        self.log = directory / "output.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                command, env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.process = psutil.Process(self.popen.pid)
        self.known: set[psutil.Process] = {self.process}

    def record(self) -> set[psutil.Process]:
        """Note which processes belong to it now: a parent that ends leaves its children to nobody."""
        current = family(self.process)
        self.known |= current
        return current

    def check(self) -> None:
        """BenchError with the end of its log when it has ended by itself."""
        if self.popen.poll() is not None:
            raise BenchError(f"{self.name} ended by itself: {self.log.read_text(errors='replace')[-600:]}")

    def end(self) -> None:
        """Kill it and all that is known to have come from it; psutil tells a process from a later one of its id."""
        for _ in range(5):
            self.record()
            alive = [one for one in self.known if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
            if not alive:
                break
            for one in alive:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            self.popen.wait()
            psutil.wait_procs(alive, timeout=5)


def wait_for_health(program: Program, url: str, parts: tuple[str, ...] = ()) -> None:
    """Return when the program answers and each named part of its JSON is healthy."""
    deadline = time.monotonic() + HEALTH_SECONDS
    while time.monotonic() < deadline:
        program.check()
        if is_healthy(url, parts):
            program.record()
            return
        time.sleep(0.1)
    raise BenchError(f"{program.name} was not healthy within {HEALTH_SECONDS} s")


def is_healthy(url: str, parts: tuple[str, ...]) -> bool:
    """Whether the address answers now and each named part is healthy."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        body = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2).read()
        return not parts or all(json.loads(body)[part]["status"] == "healthy" for part in parts)
    return False


def free_port(first: int) -> int:
    """Return the first port from there on that nobody listens on, on any address."""
    for port in itertools.count(first):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("0.0.0.0", port))
            return port
    raise AssertionError  # count() has no end


def memory(processes: set[psutil.Process]) -> float:
    """Their proportional set size in megabytes; one that has just ended has none."""
    total = 0
    for process in processes:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += int(re.findall(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[0])
    return total / 1024


class Airflow:
    """Airflow's REST API.

    Args:
        url: Where it answers.
        credentials: The instance's credentials.
    """

    def __init__(self, url: str, credentials: dict[str, dict[str, str]]) -> None:
        self.url, self.token = url, ""
        login = {"username": credentials["airflow"]["user"], "password": credentials["airflow"]["password"]}
        self.token = self.call("POST", "/auth/token", login)["access_token"]

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return what it answers to one request."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", content, headers, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return json.load(answer)

    def unpause(self, dag: str) -> None:
        """Have a DAG run when it is asked to, as soon as Airflow has read its file."""
        deadline = time.monotonic() + HEALTH_SECONDS
        while not any(one["dag_id"] == dag for one in self.call("GET", "/api/v2/dags?limit=100")["dags"]):
            if time.monotonic() > deadline:
                raise BenchError(f"Airflow doesn't list the DAG {dag}")
            time.sleep(0.5)
        self.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def run_seconds(self, dag: str) -> float:
        """How long a run takes, from the request until it is told that the run has ended."""
        return self.run(dag)[0]

    def task_seconds(self, dag: str, task: str) -> float:
        """How long a task of a run takes, as Airflow has noted it."""
        name = self.run(dag)[1]
        return float(self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{name}/taskInstances/{task}")["duration"])

    def run(self, dag: str) -> tuple[float, str]:
        """How long a run takes, from the request until it is told that the run has ended, and the run's name."""
        begun = time.perf_counter()
        name = self.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": {}})["dag_run_id"]
        while (state := self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{name}")["state"]) not in {"success", "failed"}:
            # Often enough to tell the time, and seldom enough not to take part in it.
            time.sleep(max(0.03, 0.02 * (time.perf_counter() - begun)))
        if state == "failed":
            raise BenchError(f"a run of the DAG {dag} failed")
        return time.perf_counter() - begun, name
