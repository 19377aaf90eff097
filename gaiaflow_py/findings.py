"""How the doctor's findings are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gaiaflow_py import report
from gaiaflow_py.events import RunResult

Finding = Mapping[str, Any]

SHOWN = ("wrong", "fixed")
"""The states that have a row in the table; the others are summed up below it."""


def show(result: RunResult) -> None:
    """Print a table of what is wrong or was repaired, and sum up the rest.

    Args:
        result: The doctor's run.
    """
    shown = [finding for finding in result.findings if finding["state"] in SHOWN]
    if shown:
        _table(shown, "what is wrong")
    if result.findings:
        print("\n".join(_summary(result.findings)))


def show_all(result: RunResult) -> None:
    """Print a table of all findings, whatever their state, and sum them up.

    Args:
        result: The run.
    """
    if result.findings:
        _table(result.findings, "what is there")
        print(_counted(result.findings))


def _table(findings: Sequence[Finding], said: str) -> None:
    columns = {"title": "check", "state": "state", "said": said, "repair": "what to do"}
    named = {"unknown": "not checked"}
    rows = [
        {**one, "state": named.get(one["state"], one["state"]), "said": f"{one['message']} {one['why']}".strip()}
        for one in findings
    ]
    report.table(columns, rows)


def _summary(findings: Sequence[Finding]) -> list[str]:
    lines = [_counted(findings)]
    reasons: dict[str, list[str]] = {}
    for one in findings:
        if one["state"] == "unknown":
            host = f" on {one['host']}" if "host" in one else ""
            repair = f"; {one['repair']}" if one["repair"] else ""
            reasons.setdefault(one["message"] + repair, []).append(one["title"] + host)
    return [*lines, *(f"Not checked: {', '.join(titles)} ({reason})." for reason, titles in reasons.items())]


def _counted(findings: Sequence[Finding]) -> str:
    states = ("ok", "wrong", "missing", "fixed", "unknown")
    counts = {state: sum(one["state"] == state for one in findings) for state in states}
    named = {"ok": "well", "unknown": "not checked"}
    return ", ".join(f"{count} {named.get(state, state)}" for state, count in counts.items() if count) + "."
