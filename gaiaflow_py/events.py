"""Ansible's events, summed up: counts, changes, failures, and what is left for later."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gaiaflow_py.phases import Phase, Phases

Event = Mapping[str, Any]

DETAIL_LINES = 40
"""How many lines of a failed command's output are shown."""


TOLD = ("endpoints", "services", "secrets", "findings")
"""What tasks tell of their host, as lists under these names."""

BAD = ("wrong", "missing")
"""The states of findings that a user has to see to."""


KILLED = -1
"""The return code of an ansible-playbook that a signal ended."""


@dataclass
class Counts:
    """How many tasks ended how on one host (`ok` includes `changed`, as in Ansible's recap)."""

    ok: int = 0
    changed: int = 0
    deferred: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Failure:
    """One task that failed on one host, or a run that couldn't begin (no task, no host).

    Attributes:
        task: The task.
        host: The host.
        message: What failed, and why.
        hint: What to do next.
        details: The end of the output of what failed.
        wrong_input: Whether what the user gave isn't allowed, and nothing was done.
    """

    task: str
    host: str
    message: str
    hint: str = ""
    details: str = ""
    wrong_input: bool = False

    def __str__(self) -> str:
        return f"{self.task} on {self.host}: {self.message}" if self.host else self.message


@dataclass(frozen=True)
class Deferred:
    """Something that is left for later: what, why, and how to finish it."""

    host: str
    component: str
    reason: str
    finish: str


@dataclass(frozen=True)
class Change:
    """One task that changed something on one host, or would."""

    host: str
    task: str
    diff: str = ""


@dataclass
class RunResult:
    """Everything known about one run.

    Attributes:
        status: How it ended.
        hosts: Counts for each host.
        failures: What failed; empty after success.
        deferred: What is left for later.
        changes: What changed, or would.
        endpoints: Where the services answer ("service", "url", "user", "password_in").
        services: The services' states ("name", "state", "health", "url", "uptime_s", "memory_bytes").
        findings: What the doctor or the check of production found ("id", "title", "state", "message", "why", "repair").
        secrets: Secrets of Kubernetes ("name", "namespace", "ours", "keys"), without their values.
            Of these four, each has "host", too, when there are several.
        notes: What a user should know of what was done, a line each.
        image: The name of the image that was built, or needn't be.
        project: The directory of the project that was made, or is there.
        release: What was released ("project", "version", "reference", "dags", "commit", ...); empty of other runs.
        phases: What was done, in the words of the display.
        task: The task that was running last.
        log: The log file, or None when it was removed.
        signum: The signal that ended the run, or 0.
    """

    status: Literal["ok", "failed", "interrupted"] = "ok"
    hosts: dict[str, Counts] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    deferred: list[Deferred] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    endpoints: list[dict[str, Any]] = field(default_factory=list)
    services: list[dict[str, Any]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    secrets: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    image: str = ""
    project: str = ""
    release: dict[str, Any] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    task: str = ""
    log: Path | None = None
    signum: int = 0

    @property
    def exit_code(self) -> int:
        """Return the exit code of the command: 0, 1 where something failed or is wrong, or 128 and the signal."""
        if self.status == "interrupted":
            return 128 + self.signum
        return int(self.status == "failed" or any(finding["state"] in BAD for finding in self.findings))

    def total(self) -> Counts:
        """Return the sum over all hosts; a run that couldn't begin counts as one failure."""
        total = Counts()
        for counts in self.hosts.values():
            for name, value in vars(counts).items():
                setattr(total, name, getattr(total, name) + value)
        if self.failures and not total.failed:
            total.failed = 1
        return total

    def refuse_deferred(self) -> None:
        """Turn what is left for later into failures."""
        self.failures += [Failure(one.component, one.host, one.reason, one.finish) for one in self.deferred]
        if self.failures and self.status == "ok":
            self.status = "failed"


class Collector:
    """Takes Ansible's events one by one and keeps what matters in `result`.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.phases = Phases(clock)
        self.result = RunResult(phases=self.phases.all)
        self._messages: list[str] = []
        self._diffs: dict[tuple[str, str], str] = {}
        self._told: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in TOLD}

    def handle(self, event: Event) -> None:
        """Take one event.

        Args:
            event: An event of ansible-runner's.
        """
        name = event.get("event", "")
        data = event.get("event_data") or {}
        if name == "playbook_on_task_start":
            self.result.task = data.get("task") or data.get("name", "")
            self.phases.task_begins(data)
        elif name == "runner_on_file_diff":
            self._diffs[_key(data)] = _diff_text(str(event.get("stdout", "")))
        elif name in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
            self._ended(name, data)
        elif name == "playbook_on_stats":
            self._final(data)
        elif name in ("error", "verbose") and event.get("stdout"):
            self._messages.append(str(event["stdout"]))

    def finish(self, returncode: int) -> RunResult:
        """Return the result of a run that has ended by itself.

        Args:
            returncode: What ansible-playbook returned, or KILLED.
        """
        result = self.result
        for name, told in self._told.items():
            setattr(result, name, _placed(told, several=len(result.hosts) > 1))
        if not result.failures and returncode:
            ended = "was killed" if returncode == KILLED else f"ended with code {returncode}"
            message = "\n".join(self._messages[-DETAIL_LINES:]).strip()
            result.failures.append(Failure("", "", message or f"ansible-playbook {ended}."))
        elif not result.failures and not result.hosts:
            result.failures.append(
                Failure("", "", "No host matched: nothing was done.", "Check --inventory and --limit.")
            )
        result.status = "failed" if result.failures else "ok"
        self.phases.end("failed" if result.failures else "done")
        return result

    def interrupt(self, signum: int) -> RunResult:
        """Return the result of a run that was interrupted.

        Args:
            signum: The signal.
        """
        self.result.status, self.result.signum = "interrupted", signum
        self.phases.end("interrupted")
        return self.result

    def _ended(self, name: str, data: Mapping[str, Any]) -> None:
        host, res = data["host"], data.get("res") or {}
        self.phases.task_works(host)
        counts = self.result.hosts.setdefault(host, Counts())
        if name == "runner_on_ok" or data.get("ignore_errors"):
            counts.ok += 1
        else:
            counts.failed += 1
            self.result.failures.append(_failure(data, unreachable=name == "runner_on_unreachable"))
        if res.get("changed"):
            counts.changed += 1
            self.result.changes.append(Change(host, data.get("task", ""), self._diffs.pop(_key(data), "")))
        for deferred in _told(res, "deferred"):
            counts.deferred += 1
            self.phases.defer()
            self.result.deferred.append(
                Deferred(host, *(str(deferred.get(k, "")) for k in ("component", "reason", "finish")))
            )
        # Of a module, or of a debug task that shows a role's ROLE_notes.
        notes = [note for key in res if re.fullmatch(r"(\w+_)?notes", key) for note in res[key] or ()]
        self.result.notes += [note for note in dict.fromkeys(notes) if note not in self.result.notes]
        self.result.image = res.get("project_image") or res.get("model_image") or self.result.image
        self.result.release = res.get("release_told") or self.result.release
        self.result.project = res.get("project") or self.result.project
        told = {name: res[name] for name in TOLD if isinstance(res.get(name), list)}
        if found := [dict(one) for one in _told(res, "findings")]:
            # A repair's task tells of its own alone, and has the last word.
            before = self._told["findings"].get(host, [])
            told["findings"] = [*{finding["id"]: finding for finding in [*before, *found]}.values()]
        for name, news in told.items():
            self._told[name][host] = news

    def _final(self, data: Mapping[str, Any]) -> None:
        """Ansible's own counts are the ones that hold: they know of rescued and ignored failures."""
        for host in data.get("processed", {}):
            counts = self.result.hosts.setdefault(host, Counts())
            counts.ok = data.get("ok", {}).get(host, 0)
            counts.changed = data.get("changed", {}).get(host, 0)
            counts.failed = data.get("failures", {}).get(host, 0) + data.get("dark", {}).get(host, 0)
        # A host's last failure is what it ended with: a rescue came after those before.
        last = {failure.host: failure for failure in self.result.failures}
        self.result.failures = [failure for failure in last.values() if self.result.hosts[failure.host].failed]


def _placed(by_host: Mapping[str, list[dict[str, Any]]], *, several: bool) -> list[dict[str, Any]]:
    """Return what hosts told, host by host; each with its host's name where there are several."""
    return [({"host": host} if several else {}) | one for host, told in sorted(by_host.items()) for one in told]


def _key(data: Mapping[str, Any]) -> tuple[str, str]:
    return data.get("host", ""), data.get("task_uuid", "")


def _told(res: Mapping[str, Any], what: str) -> Iterator[Mapping[str, Any]]:
    """Yield what a module returns under a name, or a debug task that shows a role's variable of that name."""
    for one in (one for one in (res, *(res.get("results") or ())) if isinstance(one, Mapping)):
        for found in (value for key, value in one.items() if re.fullmatch(rf"(\w+_)?{what}", key)):
            yield from (each for each in (found if isinstance(found, list) else [found]) if isinstance(each, Mapping))


def _failure(data: Mapping[str, Any], *, unreachable: bool) -> Failure:
    res = _failed_item(data.get("res") or {})
    message, hint = _message(res)
    if unreachable:
        hint = hint or "Check that the host is up and that Ansible can log in to it (ansible HOST -m ping)."
    return Failure(data.get("task", ""), data["host"], message, hint, _details(res), bool(res.get("wrong_input")))


def _failed_item(res: Mapping[str, Any]) -> Mapping[str, Any]:
    items = (item for item in res.get("results") or () if isinstance(item, Mapping) and item.get("failed"))
    return next(items, res)


def _message(res: Mapping[str, Any]) -> tuple[str, str]:
    """Return the message and the hint. Ansible's `fail` can't give a hint but in a list, after the message."""
    lines = res.get("msg") or res.get("censored") or "failed without a message"
    first, *more = map(str, lines) if isinstance(lines, list) else [str(lines)]
    message = first.strip()
    errors = [str(error) for error in res.get("argument_errors") or () if str(error) not in message]
    return "\n".join([message, *errors]), str(res.get("hint", "")) or "\n".join(more)


def _details(res: Mapping[str, Any]) -> str:
    details = res.get("details") or res.get("stderr") or res.get("module_stderr") or res.get("stdout") or ""
    lines = details if isinstance(details, list) else str(details).strip().splitlines()
    return "\n".join(str(line) for line in lines[-DETAIL_LINES:])


def _diff_text(stdout: str) -> str:
    """Return the difference alone, without the task's banner and a terminal's line ends."""
    lines = stdout.replace("\r\n", "\n").strip().splitlines()
    return "\n".join(line for line in lines if not line.startswith("TASK [")).strip()
