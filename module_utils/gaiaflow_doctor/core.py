"""What a check is, what it finds, and how all of them are run."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.gaiaflow import read_json
from ansible.module_utils.gaiaflow_doctor.engine import FoundEngine

# A hanging socket, disk or program must not hang the doctor.
LOOK_S = 5.0


class CannotMend(Exception):
    """A repair did not work; the message says why."""


@dataclass(frozen=True)
class Finding:
    """What a check has found, when it did not find all well.

    Attributes:
        state: C(wrong), or C(unknown) when it could not be told.
        message: What is wrong, with the values.
        why: What follows from it.
        repair: The command that mends it, or what else to do.
        mend: Mends it and returns what was done; None where only a person can.
        as_root: Whether mending needs root.
    """

    state: str
    message: str
    why: str = ""
    repair: str = ""
    mend: Callable[[], str] | None = field(default=None, repr=False)
    as_root: bool = False


def wrong(
    message: str, why: str, repair: str, mend: Callable[[], str] | None = None, *, as_root: bool = False
) -> Finding:
    """Returns a finding of something that is wrong."""
    return Finding("wrong", message, why, repair, mend, as_root)


def unknown(message: str, repair: str = "") -> Finding:
    """Returns the finding that nothing could be found out."""
    return Finding("unknown", message, repair=repair)


@dataclass(frozen=True)
class Context:
    """What a check is given: what the doctor is told about the machine, and the engine, asked once for all checks.

    Attributes:
        root: Where the machine's files are.
        home: Where the stack is kept.
        user: Whose troubles are looked for.
        user_home: That user's home directory.
        ports: The ports that the stack wants, by name.
        memory_mb: Megabytes of memory that the machine must have.
        disk_mb: Megabytes of disk that a new stack, and Docker's images, need.
        inotify: What the kernel's inotify limits must at least be, by name.
        minikube_profile: The profile that is looked at.
        engine: The Docker engine of the machine.
    """

    root: Path
    home: Path
    user: str
    user_home: Path
    ports: Mapping[str, int]
    memory_mb: int
    disk_mb: int
    inotify: Mapping[str, int]
    minikube_profile: str
    engine: FoundEngine = field(default_factory=lambda: FoundEngine([]), repr=False)

    def fresh(self) -> Context:
        """The same, with an engine that hasn't been asked yet."""
        sockets = [
            self.path("var/run/docker.sock"),
            self.path(f"run/user/{self.uid}/docker.sock"),
            self.user_home / ".docker/desktop/docker.sock",
        ]
        return replace(self, engine=FoundEngine(sockets))

    @property
    def uid(self) -> int:
        """The user's number."""
        return pwd.getpwnam(self.user).pw_uid

    @property
    def gid(self) -> int:
        """The number of the user's own group."""
        return pwd.getpwnam(self.user).pw_gid

    @property
    def docker_directory(self) -> Path:
        """Where Docker's command line keeps the user's settings."""
        configured = os.environ.get("DOCKER_CONFIG")
        return Path(configured) if configured and self.is_self else self.user_home / ".docker"

    @property
    def is_self(self) -> bool:
        """Whether this process is the user's, so that its environment and groups are."""
        return os.geteuid() == self.uid

    @property
    def temporary(self) -> Path:
        """Where temporary files are."""
        return Path(tempfile.gettempdir()) if self.root == Path("/") else self.root / "tmp"

    def path(self, name: str) -> Path:
        """A file of the machine's."""
        return self.root / name

    def text(self, name: str) -> str:
        """The text of a file of the machine's; empty where there is none."""
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError:
            return ""

    def instances(self) -> dict[Path, dict[str, Any]]:
        """The directories of the stack's instances with their records, as far as they can be read."""
        found = {}
        for record in sorted((self.home / "instances").glob("*/instance.json")):
            try:
                found[record.parent] = read_json(record)
            except (OSError, ValueError):
                continue
        return found


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        id: How it is named in variables and JSON.
        title: How people call what is checked.
        look: Looks, changes nothing, and returns None when all is well.
        seconds: How long it may take.
    """

    id: str
    title: str
    look: Callable[[Context], Finding | None]
    seconds: float = LOOK_S


class Doctor:
    """Looks at everything, and mends what may be mended.

    Args:
        context: What the doctor is told about the machine.
        checks: The checks, in the order in which their troubles are mended.
    """

    def __init__(self, context: Context, checks: Iterable[Check]) -> None:
        self.context = context
        self.checks = tuple(checks)
        self.found: dict[str, Finding | None] = {}
        self.done: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    def look(self) -> None:
        """Runs all checks, each in a thread of its own."""
        context = self.context.fresh()
        found: dict[str, Finding | None] = {}

        def look_for(check: Check) -> None:
            try:
                found[check.id] = check.look(context)
            except Exception as error:
                # One check that stumbles over something odd must not cost the others.
                found[check.id] = unknown(f"could not be told ({type(error).__name__}: {error})")

        # Daemons: a thread that hangs in the kernel must not keep the module from ending.
        threads = [threading.Thread(target=look_for, args=(check,), daemon=True) for check in self.checks]
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        for check, thread in zip(self.checks, threads, strict=True):
            thread.join(max(0.0, begun + check.seconds - time.monotonic()))
        late = {check.id: unknown(f"no answer within {check.seconds:.0f} s") for check in self.checks}
        self.found = {check.id: found.get(check.id, late[check.id]) for check in self.checks}

    def mend(self) -> None:
        """Mends what this process may, and looks again; mending one trouble can bring another one to light."""
        while todo := [check for check in self.checks if self._may_mend(check)]:
            for check in todo:
                finding = self.found[check.id]
                try:
                    self.done[check.id] = finding.mend()  # type: ignore[union-attr, misc]
                except (CannotMend, OSError, subprocess.SubprocessError) as error:
                    self.failed[check.id] = str(error)
            self.look()

    def for_root(self) -> list[str]:
        """Returns what only root can mend."""
        return [
            one for one, finding in self.found.items() if finding and finding.mend and finding.as_root and not is_root()
        ]

    def report(self) -> list[dict[str, str]]:
        """Returns what was found, as data."""
        return [self._describe(check) for check in self.checks]

    def _may_mend(self, check: Check) -> bool:
        finding = self.found[check.id]
        tried = check.id in self.done or check.id in self.failed
        return bool(not tried and finding and finding.mend and (is_root() or not finding.as_root))

    def _describe(self, check: Check) -> dict[str, str]:
        finding = self.found[check.id]
        result = {"id": check.id, "title": check.title, "state": "ok", "message": "", "why": "", "repair": ""}
        if finding is not None:
            result.update(state=finding.state, message=finding.message, why=finding.why, repair=finding.repair)
            if check.id in self.failed:
                result["message"] += f" The repair failed: {self.failed[check.id]}"
        elif check.id in self.done:
            result.update(state="fixed", message=self.done[check.id])
        return result


def is_root() -> bool:
    """Whether this process is root's."""
    return os.geteuid() == 0


def run(*command: str, seconds: float = 60.0) -> str:
    """Runs a program of a repair and returns what it printed.

    Raises:
        CannotMend: It failed, isn't there or took too long; the message holds the end of what it said.
    """
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotMend(str(error)) from error
    if done.returncode:
        said = " ".join(done.stdout.strip().splitlines()[-3:])
        raise CannotMend(f"`{' '.join(command)}` ended with code {done.returncode}: {said}")
    return done.stdout


def plural(number: int, what: str) -> str:
    """A number with its noun."""
    return f"{number} {what}{'' if number == 1 else 's'}"
