"""`doctor` runs a task for real, and neither it nor `status` calls a stack healthy whose tasks can't run."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from stack import CHECKOUT, Airflow, Stack, wait_until

ONLY_TASKS = ("doctor", "--json", "-e", '{"doctor_only": ["tasks"]}')


def finding(stack: Stack, *, ok: bool) -> dict[str, Any]:
    """What the doctor says of tasks."""
    command = [str(CHECKOUT / "gaiaflow-setup"), *ONLY_TASKS]
    done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, timeout=200)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    (found,) = json.loads(done.stdout)["findings"]
    assert isinstance(found, dict)
    return found


def test_task_runs_and_nothing_of_it_is_left(stack: Stack, airflow: Airflow) -> None:
    before = sorted(stack.project.rglob("*.py"))
    assert finding(stack, ok=True)["state"] == "ok"
    assert sorted(stack.project.rglob("*.py")) == before
    assert not [one for one in airflow.call("GET", "dags?limit=100")["dags"] if "doctor" in one["dag_id"]]
    assert not list((stack.directory / "data" / "airflow" / "logs").rglob("*gaiaflow_doctor*"))


def test_dag_file_that_cannot_be_read_is_found(stack: Stack, airflow: Airflow) -> None:
    broken = stack.project / "dags" / "broken.py"
    broken.write_text("from airflow.sdk import dag\nimport a_module_that_is_not_there\n")
    try:
        wait_until(lambda: airflow.call("GET", "importErrors")["import_errors"], 60, "import error seen")
        found = finding(stack, ok=False)
        assert found["state"] == "wrong"
        assert "broken.py" in found["message"]
        assert "a_module_that_is_not_there" in found["message"]
    finally:
        broken.unlink()
    wait_until(lambda: not airflow.call("GET", "importErrors")["import_errors"], 60, "import error gone")


def test_tasks_that_cannot_run_are_told_by_doctor_and_status_and_repaired_by_a_start(stack: Stack) -> None:
    kept = stack.directory / "config" / "environment" / "airflow-scheduler.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "ALL_PROXY": "socks4://nowhere.invalid:1"}))
    control = [stack.program("base", "supervisorctl"), "-c", str(stack.directory / "config" / "supervisord.conf")]
    subprocess.run([*control, "restart", "airflow-scheduler"], check=True, capture_output=True, timeout=60)
    wait_until(lambda: stack.services()["airflow-scheduler"]["health"] == "healthy", 60, "heartbeat again")
    found = finding(stack, ok=False)
    assert found["state"] == "wrong"
    assert "socks4" in found["message"]
    assert "--restart --service airflow" in found["repair"]
    assert stack.services()["airflow-scheduler"]["health"] == "unhealthy"
    stack.run("mlops", "--start")
    assert stack.services()["airflow-scheduler"]["health"] == "healthy"
    assert finding(stack, ok=True)["state"] == "ok"
