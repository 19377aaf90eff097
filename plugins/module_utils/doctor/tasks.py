"""Whether tasks run: one is run for real, in each stack whose Airflow is up, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..common import read_json
from ..health import Patience
from .core import Context, Finding, check, is_root, unknown, wrong

ANSWER_S = 10
# Airflow looks for new files every five seconds.
READ_S, RUN_S = 25.0, 25.0
TASKS_S = 90.0
POLL_S = 0.3
PREFIX = "gaiaflow_doctor_"
# What a doctor that was killed has left is older than any that runs.
STALE_S = 600.0
EXCEPTION = re.compile(r"[\w.]+(Error|Exception|Refused|Timeout)\b")
WHY = "DAGs are shown and can be started, but their tasks don't run."
DAG = '''"""Made by `gaiaflow-setup doctor` to see whether tasks run; it goes when that is known."""

from airflow.sdk import dag, task


@dag(dag_id="{dag_id}", schedule=None, is_paused_upon_creation=False, tags=["gaiaflow-setup doctor"])
def check():
    @task(retries=0)
    def succeed():
        return None

    succeed()


check()
'''


class Airflow:
    """The REST API of an instance's Airflow.

    Args:
        directory: The instance's directory.
        port: Where it answers on loopback.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.headers = {"Content-Type": "application/json"}
        login = read_json(directory / "credentials.json")["airflow"]
        answer = self.ask("POST", "/auth/token", {"username": login["user"], "password": login["password"]})
        self.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return what a request gives, past any proxy.

        Raises:
            OSError: Airflow doesn't answer, or with an error.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.root}{path}", data=data, headers=self.headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=ANSWER_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def state(self, path: str) -> Any:
        """Return what there is at a path of the API; None where there is nothing yet."""
        try:
            return self.ask("GET", f"/api/v2/{path}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise


@check("tasks", "Airflow's tasks", TASKS_S)
def check_tasks(context: Context) -> Finding | None:
    """Check that a task runs in each stack whose Airflow is up."""
    running = 0
    for directory, record in context.instances().items():
        try:
            airflow = Airflow(directory, int(record["ports"]["airflow"]))
        except (OSError, KeyError, TypeError, ValueError):
            continue
        running += 1
        try:
            if finding := run_one(context, airflow, directory, record):
                return finding
        except (OSError, KeyError, TypeError, ValueError) as error:
            return said(directory, f"Airflow doesn't do what it is asked to ({type(error).__name__}: {error})")
    return None if running else unknown("no Airflow runs in which a task could")


def run_one(context: Context, airflow: Airflow, directory: Path, record: dict[str, Any]) -> Finding | None:
    """Run a task in an instance; what goes wrong is the finding."""
    dags = Path(record.get("project") or directory / "workspace") / "dags"
    if not dags.is_dir():
        return said(directory, f"There is no directory {dags}, where Airflow looks for DAGs")
    with temporary_dag(context, airflow, directory, dags) as dag_id:
        if wait(lambda: airflow.state(f"dags/{dag_id}"), READ_S) is None:
            return said(directory, f"Airflow hasn't read a new DAG within {READ_S:.0f} s", "airflow-dag-processor")
        run = airflow.ask("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {}})["dag_run_id"]
        path = f"dags/{dag_id}/dagRuns/{run}"
        ended = wait(lambda: end_state(airflow, path), RUN_S)
        if ended is None:
            state = airflow.state(f"{path}/taskInstances/succeed") or {}
            message = f"A task is {state.get('state') or 'not even scheduled'} {RUN_S:.0f} s after it was started"
            return said(directory, message, "airflow-scheduler")
        if ended != "success":
            reason = last_error(airflow, path)
            return said(directory, f"A task that does nothing failed{reason and f' ({reason})'}", "airflow-scheduler")
    return import_errors(airflow, directory)


def end_state(airflow: Airflow, path: str) -> str | None:
    """Return the state of a run that has ended."""
    state = (airflow.state(path) or {}).get("state")
    return state if state in {"success", "failed"} else None


def last_error(airflow: Airflow, path: str) -> str:
    """Return what a task's own log says last of its errors; nothing where it never began."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        lines = airflow.ask("GET", f"/api/v2/{path}/taskInstances/succeed/logs/1")["content"]
        errors = [line for line in lines if isinstance(line, dict) and line.get("level") in ("error", "critical")]
        for line in reversed(errors):
            details = line.get("error_detail") or [{}]
            return " ".join(filter(None, [str(line.get("event", "")), str(details[0].get("exc_value", ""))]))[:300]
    return ""


def import_errors(airflow: Airflow, directory: Path) -> Finding | None:
    """Return the finding of DAG files that Airflow can't read."""
    errors = airflow.ask("GET", "/api/v2/importErrors")["import_errors"]
    if not errors:
        return None
    named = "; ".join(f"{one['filename']}: {str(one['stack_trace']).strip().splitlines()[-1]}" for one in errors[:3])
    more = f" and {len(errors) - 3} more" if len(errors) > 3 else ""
    message = f"In the instance {directory.name}, tasks run, but Airflow can't read {named}{more}."
    return wrong(
        message, "The DAGs in it don't run, or as they were before.", "Correct the file; it is read again at once."
    )


def said(directory: Path, message: str, program: str = "") -> Finding:
    """Return the finding, with what the program's log said last that looks like the reason."""
    end = log_end(directory / "logs" / f"{program}.log") if program else ""
    repair = f"gaiaflow-setup mlops --restart --service airflow --instance {directory.name}"
    if program:
        repair += f"; gaiaflow-setup logs {program} --instance {directory.name} says more"
    return wrong(f"In the instance {directory.name}: {message}.{end and f' Its log says: {end}'}", WHY, repair)


def log_end(path: Path) -> str:
    """Return the last line of a log that tells an error, an exception if there is one."""
    with contextlib.suppress(OSError):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65536))
            lines = file.read().decode(errors="replace").splitlines()
        raised = [line for line in lines if EXCEPTION.match(line)]
        told = raised or [line.strip() for line in lines if "[error" in line or "[critical" in line]
        return told[-1][:300] if told else ""
    return ""


def wait(condition: Callable[[], Any], seconds: float) -> Any:
    """Return what the condition gives once it gives something; None when it is too late."""
    patience = Patience(seconds)
    while not (found := condition()):
        if patience.ended():
            return None
        time.sleep(POLL_S)
    return found


@contextlib.contextmanager
def temporary_dag(context: Context, airflow: Airflow, directory: Path, dags: Path) -> Iterator[str]:
    """Give a DAG with one task, which is gone afterwards with all that it has left."""
    for left in dags.glob(f"{PREFIX}*.py"):
        if time.time() - left.stat().st_mtime > STALE_S:
            remove(airflow, directory, left)
    file = dags / f"{PREFIX}{secrets.token_hex(4)}.py"
    file.write_text(DAG.format(dag_id=file.stem))
    file.chmod(0o644)
    if is_root():
        os.chown(file, context.uid, context.gid)
    try:
        yield file.stem
    finally:
        remove(airflow, directory, file)


def remove(airflow: Airflow, directory: Path, file: Path) -> None:
    """Remove the DAG's file, what Airflow keeps of it, and its logs."""
    file.unlink(missing_ok=True)
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        compiled.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        airflow.ask("DELETE", f"/api/v2/dags/{file.stem}")
    logs = directory / "data" / "airflow" / "logs"
    shutil.rmtree(logs / f"dag_id={file.stem}", ignore_errors=True)
    for log in logs.glob(f"dag_processor/*/*/{file.name}.log"):
        log.unlink(missing_ok=True)
