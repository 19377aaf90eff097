"""What both runtimes share: which programs there are, how they are started and stopped, and what is said of them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ..common import ServiceError, read_json, report_progress, s3_keys
from ..health import Patience, answers
from ..kubernetes import cluster_row
from ..record import DEFINITIONS

POLL_SECONDS = 0.25
LOG_LINES = 15
ENDS = "ends as soon as it has started"

Item = TypeVar("Item")
Found = TypeVar("Found")


# ---- What is asked for


@dataclass(frozen=True)
class Program:
    """An entry of the catalogue, as a definition has it for one runtime.

    Attributes:
        name: Its own name.
        service: What `--service` selects.
        port: Where it answers on loopback.
        health: How it shows that it works.
        url: What a user opens; or empty.
        user: What a user signs in with; or empty.
        needs: The programs that must answer first.
        entry: All that the definition says.
    """

    name: str
    service: str
    port: int
    health: Mapping[str, Any]
    url: str = ""
    user: str = ""
    needs: tuple[str, ...] = ()
    entry: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any]) -> Program:
        """Return the program that an entry describes.

        Args:
            name: Its name in the catalogue.
            entry: Its expanded description.
        """
        return cls(
            name=name,
            service=entry["service"],
            port=int(entry["port"]),
            health=entry["health"],
            url=entry.get("url", ""),
            user=entry.get("user", ""),
            needs=tuple(entry.get("needs", [])),
            entry=entry,
        )


class Programs(dict[str, Program]):
    """All programs of an instance by name, in the catalogue's order."""

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> Programs:
        """Return the programs of a definition.

        Args:
            definition: What a start writes of the services.
        """
        return cls({name: Program.of(name, entry) for name, entry in definition.get("services", {}).items()})

    def selected(self, services: Iterable[str]) -> list[Program]:
        """Return the programs of the named services, all of them when none is named."""
        names = set(services)
        return [one for one in self.values() if not names or one.service in names]

    def with_needs(self, programs: Iterable[Program]) -> list[Program]:
        """Return the programs and, before each, what it needs."""
        names = dict.fromkeys(name for one in programs for name in (*one.needs, one.name))
        return [self[name] for name in names]

    def stop_groups(self, programs: Iterable[Program]) -> list[list[Program]]:
        """Return the programs in groups that end one after the other: dependants before what they need."""
        needed = {name for one in self.values() for name in one.needs}
        chosen = list(programs)
        groups = [[one for one in chosen if one.name not in needed], [one for one in chosen if one.name in needed]]
        return [group for group in groups if group]

    def endpoints(self, credentials: Path) -> list[dict[str, str]]:
        """Return where a user finds each service and what it asks for; the passwords stay in their file.

        Args:
            credentials: That file.
        """
        return [
            {"service": one.service, "url": one.url, "user": one.user, "password_in": str(credentials) * bool(one.user)}
            for one in self.values()
            if one.url
        ]


@dataclass(frozen=True)
class Settings:
    """How programs are started and stopped.

    Attributes:
        check_mode: Whether nothing may change.
        start_timeout: Seconds until every program must be healthy.
        stop_timeout: Seconds that one has to end before it is killed.
        shell_rules: What becomes of the variables of the user's shell.
        shell_basics: Names and patterns of those that programs see which run no code of the user's.
        programs: The directory of the programs that become a service (native).
        configuration: The content of supervisord.conf, whose last section is that of any program (native).
        build: Whether images that are there are built again: `missing` or `always` (docker).
        prepared: Whether images and network have to be there by now (docker).
        purge: Whether images that no container is made from any more are removed (docker).
    """

    check_mode: bool = False
    start_timeout: int = 600
    stop_timeout: int = 15
    shell_rules: list[dict[str, Any]] = field(default_factory=list)
    shell_basics: list[str] = field(default_factory=list)
    programs: str = ""
    configuration: str = ""
    build: str = "missing"
    prepared: bool = False
    purge: bool = False


# ---- What is there


@dataclass(frozen=True)
class State:
    """What a runtime says of a program.

    Attributes:
        name: The state's name, as a user is told it.
        is_up: Whether it runs, or is being started.
        is_kept: Whether somebody starts it again when it ends.
        started: When it was started, in seconds since the epoch.
        uptime_s: Seconds since then.
        starts: How often it has been started, as far as that is known.
        is_over: Whether nobody starts it again.
        fate: What it does where it won't come up.
        process: What the runtime itself knows it by.
    """

    name: str = "stopped"
    is_up: bool = False
    is_kept: bool = False
    started: float = 0.0
    uptime_s: int = 0
    starts: int = 0
    is_over: bool = False
    fate: str = ENDS
    process: Any = None


STOPPED = State()


def reason_to_give_up(state: State, starts_before: int, most_restarts: int) -> str:
    """Return why a program that is waited for won't become healthy; empty where it may.

    Args:
        state: How it is.
        starts_before: How often it had been started when the wait began.
        most_restarts: How often it may be started again meanwhile.
    """
    return state.fate if state.is_over or state.starts - starts_before >= most_restarts else ""


def row(program: Program, state: State, works: bool, memory: int | None) -> dict[str, Any]:
    """Return what a user sees of a program.

    Args:
        program: The program.
        state: What the runtime says of it.
        works: Whether it answers its health check, and does its work.
        memory: The bytes of memory that it uses; None where that isn't known.
    """
    return {
        "name": program.name,
        "service": program.service,
        "state": state.name,
        "health": ("healthy" if works else "unhealthy") if state.is_up else "stopped",
        "url": program.url,
        "uptime_s": state.uptime_s if state.is_up else 0,
        "memory_bytes": memory if state.is_up else 0,
    }


def parallel(work: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """Return what the work gives for each item, done at the same time."""
    given = list(items)
    with ThreadPoolExecutor(max_workers=max(1, len(given))) as pool:
        return list(pool.map(work, given))


# ---- The runtimes


@dataclass(frozen=True)
class Comparison:
    """How what there is differs from what a definition says.

    Attributes:
        diff: The differences, as Ansible shows them.
        changed: Whether any was removed, or would be.
        to_prepare: Whether images or a network have to be made before the programs can start.
        facts: What the module returns beside that.
    """

    diff: list[dict[str, str]] = field(default_factory=list)
    changed: bool = False
    to_prepare: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


class Runtime(ABC):
    """The programs of one instance, and what runs them.

    Args:
        directory: The instance's directory.
        socket: The socket by which the runtime is asked; that of the instance's record if empty.
        definition: The services; what the last start has written if empty.
        settings: How programs are started and stopped.

    Raises:
        ValueError: What the last start has written is broken.
        OSError: It can't be read, or nobody could be asked.
    """

    name: ClassVar[str]
    # A program that has had to be started again this often within one start is not going to come up.
    most_restarts: ClassVar[int]

    def __init__(
        self,
        directory: Path,
        socket: str = "",
        definition: dict[str, Any] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.directory = directory
        self.socket = socket
        self.settings = settings or Settings()
        self.is_given = bool(definition)
        path = directory / "config" / DEFINITIONS[self.name]
        self.definition: dict[str, Any] = definition or read_json(path)
        try:
            self.programs = Programs.of(self.definition)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} isn't what a start has written ({type(error).__name__}: {error})") from error

    # ---- What each runtime does in its own way

    @abstractmethod
    def states(self, programs: Iterable[Program]) -> dict[str, State]:
        """Return what the runtime says of the programs; nothing of those that it doesn't have."""

    @abstractmethod
    def memory(self, states: Mapping[str, State]) -> dict[str, int | None]:
        """Return the bytes of memory that each program uses, given those that are up; None where that isn't known."""

    @abstractmethod
    def log_end(self, program: str) -> str:
        """Return the last lines of a program's log."""

    @abstractmethod
    def compare(self, services: list[str], *, keep: bool = False) -> Comparison:
        """Compare what there is with the definition, and outside of check mode bring the former to the latter.

        Args:
            services: What it is about; all when empty.
            keep: Whether what the programs find of the user's environment is written at once, and not when they start.
        """

    @abstractmethod
    def begin(self, programs: list[Program]) -> tuple[list[Program], bool]:
        """Start what isn't up, all at once; return what is to become healthy, and whether anything was to do."""

    @abstractmethod
    def end(self, programs: list[Program]) -> bool:
        """Stop the programs; return whether anything was to do."""

    @abstractmethod
    def remove(self) -> bool:
        """Remove what the runtime keeps of programs that have ended; return whether there was anything."""

    @property
    @abstractmethod
    def notes(self) -> list[str]:
        """What a user should know of the last start, a line each."""

    @staticmethod
    @abstractmethod
    def explain(error: Exception) -> tuple[str, str]:
        """Return what to say of an error of the runtime's, and what to do next."""

    @abstractmethod
    def tidy(self) -> None:
        """Remove what only earlier starts needed, once all is healthy."""

    # ---- Health and status

    @property
    def s3_keys(self) -> dict[str, str]:
        """The S3 server's keys."""
        return s3_keys(self.directory)

    def healthy(self, program: Program, state: State) -> bool:
        """Return whether the program answers its health check."""
        return state.is_up and answers(program.port, dict(program.health), self.s3_keys, state.started)

    def works(self, program: Program, state: State) -> bool:
        """Return whether the program answers its health check, and does its work."""
        return self.healthy(program, state)

    def unhealthy(self, programs: list[Program], states: Mapping[str, State]) -> list[Program]:
        """Return those of the programs that don't answer their health check, asked in parallel."""
        found = parallel(lambda one: self.healthy(one, states.get(one.name, STOPPED)), programs)
        return [one for one, is_healthy in zip(programs, found, strict=True) if not is_healthy]

    def status(self) -> list[dict[str, Any]]:
        """Return what a user sees of each program: name, service, state, health, url, uptime_s and memory_bytes."""
        programs = list(self.programs.values())
        states = self.states(programs)
        works = parallel(lambda one: self.works(one, states.get(one.name, STOPPED)), programs)
        memory = self.memory({name: state for name, state in states.items() if state.is_up})
        rows = [
            row(one, states.get(one.name, STOPPED), is_well, memory.get(one.name))
            for one, is_well in zip(programs, works, strict=True)
        ]
        return [*rows, *cluster_row(self.directory)]

    def endpoints(self) -> list[dict[str, str]]:
        """Return where a user finds each service and what it asks for."""
        return self.programs.endpoints(self.directory / "credentials.json")

    # ---- Start and stop

    def start(self, services: list[str]) -> bool:
        """Start the services and what they need, and return when all are healthy; tell whether anything was to do.

        Args:
            services: Their names; all when empty.

        Raises:
            ServiceError: One doesn't become healthy.
        """
        programs, changed = self.begin(self.programs.with_needs(self.programs.selected(services)))
        self.wait_until_healthy(programs)
        self.tidy()
        return changed

    def stop(self, services: list[str]) -> bool:
        """Stop the services; tell whether anything was to do.

        Args:
            services: Their names; all when empty.

        Raises:
            ServiceError: One doesn't end.
        """
        return self.end(self.programs.selected(services))

    def wait_until_healthy(self, programs: list[Program]) -> None:
        """Return when every program answers.

        Raises:
            ServiceError: One doesn't in time, or keeps ending; with the end of its log.
        """
        patience = Patience(self.settings.start_timeout)
        before: dict[str, int] = {}
        waiting, has_news = programs, True
        while True:
            if has_news:
                report_progress(items={one.name: one not in waiting for one in programs})
            states = self.states(waiting)
            for one in waiting:
                state = states.get(one.name, STOPPED)
                self.refuse_hopeless(one, state, before.setdefault(one.name, state.starts))
            still = self.unhealthy(waiting, states)
            has_news, waiting = len(still) < len(waiting), still
            if not waiting:
                return
            if patience.ended():
                slowest = waiting[0].name
                raise ServiceError(f"{slowest} is not healthy after {patience.waited} s.", self.log_end(slowest))
            time.sleep(POLL_SECONDS)

    def refuse_hopeless(self, program: Program, state: State, starts_before: int) -> None:
        """Raise ServiceError at once for a program that won't become healthy."""
        if reason := reason_to_give_up(state, starts_before, self.most_restarts):
            raise ServiceError(f"{program.name} {reason}.", self.log_end(program.name))

    # ---- What a module asks for

    def bring_to(self, state: str, services: list[str]) -> bool:
        """Bring the services to a state; tell whether anything changed, or in check mode would.

        Args:
            state: `started`, `restarted`, `stopped` or `absent`.
            services: Their names; all when empty.
        """
        if self.settings.check_mode:
            return self.would_change(state, services)
        changed = state != "started" and self.stop(services)
        if state in {"started", "restarted"}:
            changed = self.start(services) or changed
        if state == "absent":
            changed = self.remove() or changed
        return changed

    def would_change(self, state: str, services: list[str]) -> bool:
        """Return whether the state isn't there yet."""
        chosen = self.programs.selected(services)
        if state == "restarted":
            return True
        if state == "started":
            wanted = self.programs.with_needs(chosen)
            states = self.states(wanted)
            return any(
                not (found.is_up and found.is_kept) for one in wanted if (found := states.get(one.name, STOPPED))
            )
        return any(found.is_up for found in self.states(chosen).values())
