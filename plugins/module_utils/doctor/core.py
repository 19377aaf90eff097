"""What a check is, what it finds, and how checks are run."""

from __future__ import annotations

import os
import pwd
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..common import read_json
from .engine import FoundEngine

# A hanging socket, disk or program must not hang the doctor.
CHECK_S = 5.0


@dataclass(frozen=True)
class Repair:
    """What the role does about a finding: roles/doctor/tasks/repair/CHECK.yml, by the check's id.

    Attributes:
        done: What is said when it is done.
        data: What its tasks need, by name: they see it as C(doctor_repair).
        needs_root: Whether it takes root.
    """

    done: str
    data: Mapping[str, Any]
    needs_root: bool = False


@dataclass(frozen=True)
class Finding:
    """What a check has found, when it did not find all well.

    Attributes:
        state: C(wrong), or C(unknown) when it could not be told.
        message: What is wrong, with the values.
        why: What follows from it.
        repair: The command that repairs it, or what else to do.
        automatic: How the role repairs it; None where only a person can.
    """

    state: str
    message: str
    why: str = ""
    repair: str = ""
    automatic: Repair | None = None


def wrong(message: str, why: str, repair: str, automatic: Repair | None = None) -> Finding:
    """Return a finding of something that is wrong."""
    return Finding("wrong", message, why, repair, automatic)


def unknown(message: str, repair: str = "") -> Finding:
    """Return the finding that nothing could be found out."""
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
        """Return the same, with an engine that hasn't been asked yet."""
        sockets = [
            self.path("var/run/docker.sock"),
            self.path(f"run/user/{self.uid}/docker.sock"),
            self.user_home / ".docker/desktop/docker.sock",
        ]
        return replace(self, engine=FoundEngine(sockets))

    @property
    def uid(self) -> int:
        """Return the user's number."""
        return pwd.getpwnam(self.user).pw_uid

    @property
    def gid(self) -> int:
        """Return the number of the user's own group."""
        return pwd.getpwnam(self.user).pw_gid

    @property
    def docker_directory(self) -> Path:
        """Return where Docker's command line keeps the user's settings."""
        configured = os.environ.get("DOCKER_CONFIG")
        return Path(configured) if configured and self.is_self else self.user_home / ".docker"

    @property
    def is_self(self) -> bool:
        """Return whether this process is the user's, so that its environment and groups are."""
        return os.geteuid() == self.uid

    @property
    def temporary(self) -> Path:
        """Return where temporary files are."""
        return Path(tempfile.gettempdir()) if self.root == Path("/") else self.root / "tmp"

    def path(self, name: str) -> Path:
        """Return a file of the machine's."""
        return self.root / name

    def text(self, name: str) -> str:
        """Return the text of a file of the machine's; empty where there is none."""
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError:
            return ""

    def instances(self) -> dict[Path, dict[str, Any]]:
        """Return the directories of the stack's instances with their records, as far as they can be read."""
        return instances_of(self.home)


def instances_of(home: Path) -> dict[Path, dict[str, Any]]:
    """Return the directories of the instances of a home with their records, as far as they can be read.

    Args:
        home: Where the stack is kept.
    """
    found = {}
    for record in sorted((home / "instances").glob("*/instance.json")):
        try:
            found[record.parent] = read_json(record)
        except (OSError, ValueError):
            continue
    return found


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        id: How it is named in variables and JSON, and the name of its repair's file.
        title: How people call what is checked.
        examine: Looks, changes nothing, and returns None when all is well.
        seconds: How long it may take.
    """

    id: str
    title: str
    examine: Callable[[Context], Finding | None]
    seconds: float = CHECK_S


def check(id: str, title: str, seconds: float = CHECK_S) -> Callable[[Callable[[Context], Finding | None]], Check]:
    """Make a function a check; those of a file are known in their order.

    Args:
        id: How it is named in variables and JSON, and the name of its repair's file.
        title: How people call what is checked.
        seconds: How long it may take.
    """
    return lambda examine: Check(id, title, examine, seconds)


def examine(context: Context, checks: Sequence[Check]) -> dict[str, Finding | None]:
    """Run checks, each in a thread of its own, and return what they find, by their ids.

    Args:
        context: What they are given; the engine is asked anew.
        checks: The checks.
    """
    context = context.fresh()
    found: dict[str, Finding | None] = {}

    def run(check: Check) -> None:
        try:
            found[check.id] = check.examine(context)
        except Exception as error:
            # One check that stumbles over something odd must not cost the others.
            found[check.id] = unknown(f"could not be told ({type(error).__name__}: {error})")

    # Daemons: a thread that hangs in the kernel must not keep the module from ending.
    threads = [threading.Thread(target=run, args=(check,), daemon=True) for check in checks]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    for check, thread in zip(checks, threads, strict=True):
        thread.join(max(0.0, begun + check.seconds - time.monotonic()))
    late = {check.id: unknown(f"no answer within {check.seconds:.0f} s") for check in checks}
    return {check.id: found.get(check.id, late[check.id]) for check in checks}


def describe(check: Check, finding: Finding | None, done: str = "", error: str = "") -> dict[str, str]:
    """Return a finding as data.

    Args:
        check: The check.
        finding: What it has found.
        done: What a repair did before it looked.
        error: Why that repair failed.
    """
    result = {"id": check.id, "title": check.title, "state": "ok", "message": "", "why": "", "repair": ""}
    if finding is not None:
        result.update(state=finding.state, message=finding.message, why=finding.why, repair=finding.repair)
        if error:
            result["message"] += f" The repair failed: {error}"
    elif done:
        result.update(state="fixed", message=done)
    return result


def describe_repair(check: Check, finding: Finding | None) -> dict[str, Any] | None:
    """Return what the role needs to repair a finding; None where it can't, or needn't.

    Args:
        check: The check.
        finding: What it has found.
    """
    if finding is None or finding.automatic is None:
        return None
    repair = finding.automatic
    become = repair.needs_root and not is_root()
    return {"id": check.id, "become": become, "done": repair.done, "data": dict(repair.data)}


def is_root() -> bool:
    """Return whether this process is root's."""
    return os.geteuid() == 0


def plural(number: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{number} {what}{'' if number == 1 else 's'}"
