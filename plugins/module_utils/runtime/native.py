"""The runtime `native`: programs are processes, which supervisord starts, watches and ends."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..catalogue import fill_in
from ..common import (
    INSTANCE_VARIABLE,
    SERVICE_VARIABLE,
    ServiceError,
    report_progress,
    write_private,
)
from ..engine import SocketConnection
from ..health import Patience, tasks_begin
from ..record import DEFINITIONS, kept_record
from .base import (
    LOG_LINES,
    POLL_SECONDS,
    STOPPED,
    Comparison,
    Program,
    Runtime,
    Settings,
    State,
)

if TYPE_CHECKING:
    from ..shell import Shell

ANSWER_S = 60.0
# A program that runs for so long should answer its health check; it gets a while longer, and is then restarted.
SETTLED_S, SICK_S = 60, 20
# What a program that doesn't end in time has beyond its own seconds: supervisord itself kills its process group.
KILLED_S = 10
UP_STATES = {"STARTING", "RUNNING"}
DOWN_STATES = {"STOPPED", "EXITED", "FATAL"}
# It works, but nobody would start it again: its supervisord is gone, or the socket by which that is reached.
UNSUPERVISED = "UNSUPERVISED"


class Transport(xmlrpc.client.Transport):
    """XML-RPC over a socket of this machine.

    Args:
        path: The socket.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """Return a connection to the socket, whatever the host is called."""
        return SocketConnection(self.path, ANSWER_S)


def state_of(process: Mapping[str, Any], starts: int = 0, now: float | None = None) -> State:
    """Return the state of a process.

    Args:
        process: What supervisord says of it.
        starts: How often it has been started, as far as that was seen.
        now: The time, in seconds since the epoch; supervisord's own where it gives one.
    """
    name = process["statename"]
    is_up = name in {*UP_STATES, UNSUPERVISED}
    passed = process.get("now", time.time() if now is None else now) - process["start"]
    return State(
        name=name.lower(),
        is_up=is_up,
        is_kept=name != UNSUPERVISED,
        started=process["start"],
        uptime_s=int(passed) if is_up else 0,
        starts=starts,
        is_over=name == "FATAL",
        process=process["pid"],
    )


def program_facts(program: Program, definition: Mapping[str, Any]) -> dict[str, str]:
    """Return what supervisord's configuration says of a program and of no other.

    Args:
        program: The program.
        definition: All that a start writes of the services, of which the digest covers what the program reads.
    """
    shared = {key: value for key, value in definition.items() if key not in {"services", "environments"}}
    environment = definition["environments"][program.entry["environment"]]
    content = json.dumps([program.entry, environment, shared], sort_keys=True)
    return {
        "name": program.name,
        "digest": hashlib.sha256(content.encode()).hexdigest(),
        "stop_signal": program.entry.get("stop_signal", "TERM"),
    }


class NativeRuntime(Runtime):
    """The programs of one instance as processes, and the supervisord that runs them."""

    name: ClassVar[str] = "native"
    most_restarts: ClassVar[int] = 3

    def __init__(
        self,
        directory: Path,
        socket: str = "",
        definition: dict[str, Any] | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(directory, socket, definition, settings)
        sockets = kept_record(directory).get("sockets", directory / "run")
        self.socket = socket or f"{sockets}/supervisor.sock"
        self.seen_starts: dict[str, set[float]] = {}

    @staticmethod
    def explain(error: Exception) -> tuple[str, str]:
        """Return what to say of an error, and what to do next."""
        return f"{type(error).__name__}: {error}", ""

    @property
    def notes(self) -> list[str]:
        """What is told of variables of the user's shell that programs see otherwise."""
        return self.shell.notes

    @functools.cached_property
    def shell(self) -> Shell:
        """The user's environment; only a start needs what looks at it."""
        from ..shell import Shell

        return Shell(self.settings.shell_rules, self.settings.shell_basics)

    # ---- What supervisord says

    @property
    def supervisor(self) -> Any:
        """Supervisord's XML-RPC interface."""
        return xmlrpc.client.ServerProxy("http://localhost", Transport(self.socket)).supervisor

    def supervised(self) -> bool:
        """Return whether the supervisord of this instance answers."""
        if not Path(self.socket).exists():
            return False
        try:
            return bool(self.supervisor.getState()["statename"] == "RUNNING")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return what supervisord says of each of its processes; nothing where there is no supervisord."""
        if not self.supervised():
            return {}
        return {info["name"]: info for info in self.supervisor.getAllProcessInfo()}

    def up(self) -> list[str]:
        """Return the names of the processes that supervisord keeps up."""
        return [name for name, info in self.processes().items() if info["statename"] in UP_STATES]

    def unsupervised(self) -> dict[str, dict[str, Any]]:
        """Return the programs that run though no supervisord of the instance can be asked, as it would say it."""
        import psutil

        found: dict[str, dict[str, Any]] = {}
        for process in self.leftovers():
            with contextlib.suppress(psutil.Error):
                name = process.environ().get(SERVICE_VARIABLE, "")
                if name in self.programs and os.getpgid(process.pid) == process.pid:
                    found[name] = {"statename": UNSUPERVISED, "pid": process.pid, "start": process.create_time()}
        return found

    def leftovers(self) -> list[Any]:
        """Return every process that carries the instance's mark, this one excepted."""
        import psutil

        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get(INSTANCE_VARIABLE) == str(self.directory):
                    found.append(process)
        return found

    def states(self, programs: Iterable[Program]) -> dict[str, State]:
        """Return what supervisord says of the programs, or where there is none what the machine's processes say."""
        processes = self.processes() if self.supervised() else self.unsupervised()
        for name, process in processes.items():
            self.seen_starts.setdefault(name, set()).add(process["start"])
        return {
            one.name: state_of(processes[one.name], len(self.seen_starts[one.name]))
            for one in programs
            if one.name in processes
        }

    def memory(self, states: Mapping[str, State]) -> dict[str, int | None]:
        """Return the bytes of memory that each program uses, given those that are up."""
        children = process_tree() if states else {}
        return {name: proportional_memory(state.process, children) for name, state in states.items()}

    def works(self, program: Program, state: State) -> bool:
        """Return whether the program answers its health check, and the tasks begin that it is to run."""
        return self.healthy(program, state) and self.runs_tasks(program, state)

    def runs_tasks(self, program: Program, state: State) -> bool:
        """Return whether the tasks begin that the program is to run, if it is the one that runs tasks."""
        log = self.directory / "logs" / f"{program.name}.log"
        return program.health.get("heartbeat") != "scheduler" or tasks_begin(log, state.started)

    def log_end(self, program: str) -> str:
        """Return the last lines of a program's log."""
        try:
            found = (self.directory / "logs" / f"{program}.log").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(found[-LOG_LINES:])

    # ---- Configuration

    def compare(self, services: list[str], *, keep: bool = False) -> Comparison:
        """Write the configuration files that differ from what they shall hold."""
        if not self.is_given:
            return Comparison()
        files = {
            DEFINITIONS[self.name]: json.dumps(self.definition, indent=2) + "\n",
            # Copies of our own: a killed program must come back though the checkout has moved.
            **{program.name: program.read_text() for program in Path(self.settings.programs).glob("*.py")},
            "supervisord.conf": self.configuration(),
        }
        diff = []
        for name, text in files.items():
            path = self.directory / "config" / name
            before = path.read_text(errors="replace") if path.is_file() else ""
            if before != text:
                diff.append({"before_header": str(path), "after_header": str(path), "before": before, "after": text})
                if not self.settings.check_mode:
                    write_private(path, text)
        return Comparison(diff=diff, changed=bool(diff))

    def configuration(self) -> str:
        """Return the content of supervisord.conf."""
        shared, mark, section = self.settings.configuration.partition("[program:")
        facts = [{"program": program_facts(one, self.definition)} for one in self.programs.values()]
        return shared + "\n".join(fill_in(mark + section, one) for one in facts)

    # ---- Start

    def begin(self, programs: list[Program]) -> tuple[list[Program], bool]:
        """Start what isn't up, and again what has changed or won't work by itself any more."""
        is_new = not self.supervised()
        if is_new:
            self.start_supervisor()
        interrupted = self.apply_definitions()
        again = [self.programs[name] for name in interrupted if name in self.programs]
        programs = [*{one.name: one for one in (*programs, *again)}.values()]
        is_reopened = self.reopen_logs()
        sick = self.unhealthy_for_long(programs)
        self.stop_together(sick)
        is_started = self.start_processes(programs)
        return programs, bool(is_new or interrupted or is_reopened or sick or is_started)

    def start_supervisor(self) -> None:
        """Start supervisord, after ending what one that was killed may have left running.

        Raises:
            ServiceError: It doesn't start.
        """
        self.end_leftovers(grace=5)
        Path(self.socket).unlink(missing_ok=True)
        environment = {**self.shell.for_every_program(), INSTANCE_VARIABLE: str(self.directory)}
        configuration = str(self.directory / "config" / "supervisord.conf")
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", configuration]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise ServiceError("supervisord did not start.", done.stdout + done.stderr)
        patience = Patience(10)
        while not self.supervised():
            if patience.ended():
                raise ServiceError("supervisord started but does not answer.", self.log_end("supervisord"))
            time.sleep(0.02)

    def apply_definitions(self) -> set[str]:
        """Make supervisord's processes those of its configuration; return those that must be started (again)."""
        supervisor = self.supervisor
        (added, changed, removed), *_ = supervisor.reloadConfig()
        running = set(self.up())
        self.stop_together([*changed, *removed])
        for name in (*changed, *removed):
            supervisor.removeProcessGroup(name)
        for name in (*added, *changed):
            supervisor.addProcessGroup(name)
        return running & set(changed)

    def start_processes(self, programs: list[Program]) -> bool:
        """Start what isn't up, all at once; tell whether there was anything to start."""
        processes = self.processes()
        down = [one for one in programs if processes[one.name]["statename"] not in UP_STATES]
        self.keep_environments(down)
        for one in down:
            self.supervisor.startProcess(one.name, False)
        return bool(down)

    def keep_environments(self, programs: list[Program]) -> None:
        """Keep what programs that are about to start see of the user's environment, for when they start again, too."""
        directory = self.directory / "config" / "environment"
        directory.mkdir(exist_ok=True, mode=0o700)
        for one in programs:
            write_private(directory / f"{one.name}.json", json.dumps(self.shell.for_program(one.entry)) + "\n")

    def reopen_logs(self) -> bool:
        """Have supervisord open logs again that somebody has removed: it goes on writing to what nobody can read."""
        logs = self.directory / "logs"
        if all((logs / f"{name}.log").exists() for name in ("supervisord", *self.up())):
            return False
        os.kill(self.supervisor.getPID(), signal.SIGUSR2)
        return True

    def unhealthy_for_long(self, programs: list[Program]) -> list[str]:
        """Return programs that have run for long and won't work again by themselves: what they need was taken away."""
        states = self.states(programs)
        useless = [one.name for one in programs if not self.runs_tasks(one, states.get(one.name, STOPPED))]
        sick = [one for one in programs if states.get(one.name, STOPPED).uptime_s > SETTLED_S]
        patience = Patience(SICK_S)
        while sick:
            sick = self.unhealthy(sick, self.states(sick))
            if patience.ended():
                break
            time.sleep(POLL_SECONDS if sick else 0)
        return list({*useless, *(one.name for one in sick)})

    # ---- Stop

    def end(self, programs: list[Program]) -> bool:
        """Stop the programs; when none is left, end supervisord and every process of the instance."""
        if not self.supervised():
            is_left = bool(self.leftovers())
            self.end_leftovers(grace=5)
            return is_left
        changed = False
        for group in self.programs.stop_groups(programs):
            changed = self.stop_together([one.name for one in group]) or changed
        if self.all_down(self.programs):
            self.stop_supervisor()
            changed = True
        return changed

    def stop_together(self, names: list[str]) -> bool:
        """End these processes at the same time; tell whether any was up.

        Raises:
            ServiceError: One doesn't end.
        """
        processes = self.processes()
        up = [name for name in names if processes.get(name, {}).get("statename", "STOPPED") not in DOWN_STATES]
        for name in up:
            with contextlib.suppress(xmlrpc.client.Fault):
                self.supervisor.stopProcess(name, False)
        if not up:
            return False
        report_progress(items=dict.fromkeys(up, False))
        timeout = self.settings.stop_timeout + KILLED_S
        if not wait_for(lambda: self.all_down(up), timeout):
            raise ServiceError(f"{', '.join(up)} did not stop within {timeout} s.")
        return True

    def all_down(self, names: Iterable[str]) -> bool:
        """Return whether none of the processes runs."""
        processes = self.processes()
        return all(processes.get(name, {}).get("statename", "STOPPED") in DOWN_STATES for name in names)

    def stop_supervisor(self) -> None:
        """End supervisord and whatever is left of the instance."""
        if self.supervised():
            with contextlib.suppress(OSError, http.client.HTTPException, xmlrpc.client.Error):
                self.supervisor.shutdown()
            wait_for(lambda: not self.supervised(), 10)
        self.end_leftovers(grace=5)

    def end_leftovers(self, grace: float) -> None:
        """End every process of the instance that supervisord no longer knows.

        Args:
            grace: Seconds that they have to end before they are killed.
        """
        import psutil

        processes = self.leftovers()
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(processes, timeout=grace)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=5)

    def tidy(self) -> None:
        """Leave the environments of earlier starts to `gaiaflow.setup.instance`, which knows who needs them."""

    def remove(self) -> bool:
        """Return that nothing is kept of processes that have ended."""
        return False

    def would_change(self, state: str, services: list[str]) -> bool:
        """Return whether the state isn't there yet; a supervisord that has nothing to run is ended, too."""
        is_supervised = self.supervised()
        # Nobody keeps what may run, so what runs need not be looked for among all processes.
        if state == "started" and not is_supervised:
            return True
        if super().would_change(state, services):
            return True
        return state in {"stopped", "absent"} and is_supervised and not self.up()


# ---- Processes


def wait_for(condition: Callable[[], bool], timeout: float) -> bool:
    """Return whether the condition came true within so many seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def proportional_memory(pid: int, children: dict[int, list[int]]) -> int | None:
    """Return the bytes of memory (PSS) of a process and all its descendants; None where the kernel doesn't tell.

    Args:
        pid: The process.
        children: The children of each process, as `process_tree` gives them.
    """
    total, family = 0, [pid]
    for member in family:
        family += children.get(member, [])
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
            total += next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total or None


def process_tree() -> dict[int, list[int]]:
    """Return the children of each process that has any."""
    import psutil

    children: dict[int, list[int]] = {}
    for process in psutil.process_iter(["ppid"]):
        children.setdefault(process.info["ppid"], []).append(process.pid)
    return children
