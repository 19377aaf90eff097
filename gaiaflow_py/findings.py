"""How the doctor's findings are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gaiaflow_py import report
from gaiaflow_py.events import RunResult

Finding = Mapping[str, Any]

SHOWN = ("wrong", "fixed")
"""The states that have a row in the table; the others are summed up below it."""


def document(result: RunResult) -> None:
    """Print the findings as a JSON document.

    Args:
        result: The doctor's run.
    """
    told = report.run_document(result)
    report.document({"status": told.pop("status"), "findings": result.findings} | told)


def show(result: RunResult) -> None:
    """Print a table of what is wrong or was repaired, and sum up the rest.

    Args:
        result: The doctor's run.
    """
    shown = [finding for finding in result.findings if finding["state"] in SHOWN]
    several = any("host" in finding for finding in result.findings)
    if shown:
        columns = [*(["host"] * several), "check", "state", "what is wrong", "what to do"]
        report.table(columns, [_row(finding, several=several) for finding in shown])
    if result.findings:
        print("\n".join(_summary(result.findings)))


def show_all(result: RunResult) -> None:
    """Print a table of all findings, whatever their state, and sum them up.

    Args:
        result: The run.
    """
    several = any("host" in finding for finding in result.findings)
    named = {"unknown": "not checked"}
    rows = [
        _row({**finding, "state": named.get(finding["state"], finding["state"])}, several=several)
        for finding in result.findings
    ]
    if rows:
        report.table([*(["host"] * several), "check", "state", "what is there", "what to do"], rows)
        print(_counted(result.findings))


def _row(finding: Finding, *, several: bool) -> Sequence[str]:
    texts = " ".join(filter(None, (finding["message"], finding["why"])))
    place = [str(finding["host"])] if several else []
    return [*place, finding["title"], finding["state"], texts, finding["repair"]]


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
