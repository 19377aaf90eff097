"""What is printed: tables, summaries, failures, and JSON documents."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gaiaflow_py.called import as_called
from gaiaflow_py.errors import GaiaflowError
from gaiaflow_py.events import Change, Failure, RunResult
from gaiaflow_py.request import Request

WIDE = 200
"""The width of tables that no terminal limits, in characters."""


def document(content: Mapping[str, Any]) -> None:
    """Print a JSON document on standard output.

    Args:
        content: The document.
    """
    print(json.dumps(content, indent=2, ensure_ascii=False))


def table(columns: Mapping[str, str], entries: Sequence[Mapping[str, Any]], *, empty: str = "") -> None:
    """Print a table on standard output; where entries are of several hosts, these are the first column.

    Args:
        columns: What the columns are called, by the key of their cells.
        entries: The rows.
        empty: What stands where there is no value.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if any("host" in entry for entry in entries):
        columns = {"host": "host", **columns}
    names = (name[:1].upper() + name[1:] for name in columns.values())
    grid = Table(*names, box=None, pad_edge=False, header_style="bold")
    for entry in entries:
        grid.add_row(*(Text(as_called(str(entry.get(key) or empty)), overflow="fold") for key in columns))
    Console(width=None if sys.stdout.isatty() else WIDE, highlight=False).print(grid)


def message(text: str, hint: str = "") -> None:
    """Print a message, and what to do next, on standard error.

    Args:
        text: The message.
        hint: What to do next.
    """
    print(as_called(text), file=sys.stderr)
    if hint:
        print(as_called(f"What to do: {hint}"), file=sys.stderr)


def error(problem: GaiaflowError, *, as_json: bool) -> None:
    """Print why nothing could be done.

    Args:
        problem: The error.
        as_json: As a JSON document.
    """
    if as_json:
        document({"status": "error", "error": {"message": problem.message, "hint": problem.hint}})
    else:
        message(f"Error: {problem.message}", problem.hint)


def run(request: Request, result: RunResult) -> None:
    """Print how a run ended.

    Args:
        request: What was run.
        result: How it ended.
    """
    if request.options.json:
        document(run_document(result))
        return
    if result.endpoints:
        table({"service": "service", "url": "URL", "user": "sign in as"}, result.endpoints)
        _print_passwords(request, result)
    if len(result.hosts) > 1:
        hosts(result)
    outcome(request, result)
    if result.release:
        release(result.release)
    elif result.image and result.status == "ok":
        print(f"Image: {result.image}")
    summary(result)


def release(told: Mapping[str, Any]) -> None:
    """Print what was released, a line each.

    Args:
        told: What is known of it.
    """
    lines = {
        "Image": told["reference"] or told["image"],
        "DAGs": ", ".join(told["dags"]),
        "Commit": f"{told['commit']} on {told['branch']}" if told["commit"] else "",
        "Pull request": told["pull_request"],
    }
    for name, value in lines.items():
        if value:
            print(f"{name}: {value}")


def hosts(result: RunResult) -> None:
    """Print how a run ended on each of several hosts.

    Args:
        result: How it ended.
    """
    failed = {failure.host: failure.message.splitlines()[0] for failure in reversed(result.failures)}
    deferred = {host: ", ".join(one.component for one in result.deferred if one.host == host) for host in result.hosts}
    rows = [
        {"host": host, "why": failed.get(host) or (deferred[host] and f"without {deferred[host]}")}
        | {name: str(count) for name, count in vars(counts).items()}
        for host, counts in sorted(result.hosts.items())
    ]
    table({"ok": "ok", "changed": "changed", "deferred": "deferred", "failed": "failed", "why": ""}, rows)


def outcome(request: Request, result: RunResult) -> None:
    """Print on standard error what failed, what is left for later, and where the log is.

    Args:
        request: What was run.
        result: How it ended.
    """
    for failure in result.failures:
        _print_failure(failure)
    for note in result.notes:
        message(f"Note: {note}")
    for deferred in result.deferred:
        where = f" on {deferred.host}" if len(result.hosts) > 1 else ""
        reason = deferred.reason.rstrip(". ")
        text = f"Left for later{where}: {deferred.component}: {reason}. To finish: {deferred.finish}"
        message(" ".join(text.split()))
    if result.status == "interrupted":
        _print_interruption(request, result)
    if result.log:
        message(f"Log: {result.log}")


def summary(result: RunResult) -> None:
    """Print the one line that ends every run.

    Args:
        result: How it ended.
    """
    print(" ".join(f"{name}={value}" for name, value in vars(result.total()).items()))


def run_document(result: RunResult) -> dict[str, Any]:
    """Return the JSON document of a run.

    Args:
        result: How it ended.
    """
    content: dict[str, Any] = {
        "status": result.status,
        "hosts": {host: asdict(counts) for host, counts in result.hosts.items()},
        "log": str(result.log) if result.log else None,
    }
    said = {
        "endpoints": result.endpoints,
        "image": result.image if result.status == "ok" else "",
        "release": result.release,
        "secrets": result.secrets,
        "notes": result.notes,
        "deferred": [asdict(deferred) for deferred in result.deferred],
    }
    content |= {name: value for name, value in said.items() if value}
    if result.failures:
        content["error"] = {name: text for name, text in asdict(result.failures[0]).items() if name != "wrong_input"}
    elif result.status == "interrupted":
        content["error"] = {"task": result.task, "host": "", "message": "interrupted", "hint": "Run it again."}
    return content


def plan(request: Request, result: RunResult) -> None:
    """Print what a run would change.

    Args:
        request: What was run, in check mode.
        result: How it ended.
    """
    if request.options.json:
        changes = [{key: value for key, value in asdict(change).items() if value} for change in result.changes]
        document({"changes": changes} | run_document(result))
        return
    for change in result.changes:
        _print_change(change)
    if result.status == "ok" and not result.changes:
        print("Nothing would change.")
    outcome(request, result)
    summary(result)


def services(states: Sequence[Mapping[str, Any]]) -> None:
    """Print the services' states.

    Args:
        states: What is known of each.
    """
    rows = [
        {**one, "uptime": duration(one.get("uptime_s")), "memory": memory(one.get("memory_bytes"))} for one in states
    ]
    columns = {"name": "service", "state": "state", "health": "health"}
    columns |= {"url": "URL", "uptime": "uptime", "memory": "memory"}
    table(columns, rows, empty="-")


def secrets(request: Request, result: RunResult) -> None:
    """Print the list of secrets: names, keys and lengths.

    Args:
        request: What was run.
        result: How it ended.
    """
    if request.options.json:
        document({"secrets": result.secrets} | run_document(result))
        return
    rows = [
        {**secret, **key, "bytes": str(key["bytes"]), "end": "ends with a newline" if key["ends_with_newline"] else ""}
        for secret in result.secrets
        for key in secret["keys"] or [{"key": "-", "bytes": 0, "ends_with_newline": False}]
    ]
    if rows:
        table({"name": "secret", "key": "key", "bytes": "bytes", "end": ""}, rows)
    elif result.status == "ok":
        print(as_called("There are none yet: gaiaflow-setup secrets create makes one."))
    outcome(request, result)


def duration(seconds: float | None) -> str:
    """Return a duration as people write it.

    Args:
        seconds: The duration in seconds, if it is known.
    """
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((i for i, (value, _) in enumerate(parts) if value), len(parts) - 1)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2])


def memory(size: int | None) -> str:
    """Return an amount of memory in MiB.

    Args:
        size: The amount in bytes, if it is known.
    """
    return "-" if size is None else f"{size / 2**20:.0f} MiB"


def _print_passwords(request: Request, result: RunResult) -> None:
    """Print where the passwords are; on other hosts they are not for this machine to show."""
    files = sorted({str(endpoint["password_in"]) for endpoint in result.endpoints if endpoint.get("password_in")})
    if files and request.is_local:
        instance = request.variables.get("mlops_instance") or request.variables.get("models_instance")
        command = f"gaiaflow-setup credentials{f' --instance {instance}' if instance else ''}"
        print(as_called(f"Passwords and tokens: `{command}` shows them; they are kept in {files[0]}"))
    elif files:
        print(f"Passwords and tokens are on each host, in {', '.join(files)}")


def _print_failure(failure: Failure) -> None:
    message(f"Failed: {failure}")
    if failure.details:
        message("\n".join(f"  | {line}" for line in failure.details.splitlines()))
    if failure.hint:
        message(f"What to do: {failure.hint}")


def _print_interruption(request: Request, result: RunResult) -> None:
    done = [phase.title for phase in result.phases if phase.state in ("done", "deferred")]
    cut = next((phase.title for phase in result.phases if phase.state == "interrupted"), "Starting Ansible")
    message(
        f"Interrupted during '{cut}'. Done before: {', '.join(done) or 'nothing'}. Nothing was undone.",
        f"run `gaiaflow-setup {request.command}` again: it keeps what is done, and goes on with '{cut}'.",
    )


def _print_change(change: Change) -> None:
    print(f"would change on {change.host}: {change.task}")
    for line in change.diff.splitlines():
        print(f"    {line}")
