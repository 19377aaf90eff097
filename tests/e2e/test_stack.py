"""A running stack: its values, code and secrets, and how it survives kills and restarts, and is removed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from stack import PACKAGE, SERVICES, STACK_ALONE, SUMMARY, Airflow, Mlflow, Stack, healthy, objects, wait_until


def assert_all_there(stack: Stack, run_id: str) -> None:
    """The DAG run, the MLflow run, the model and the artifact from before are still there."""
    assert Airflow(stack).end_state(f"{PACKAGE}_example", run_id) == "success"
    version = Mlflow(stack).latest_version(PACKAGE)
    assert Mlflow(stack).get("runs/get", run_id=version["run_id"])["run"]["data"]["metrics"]
    assert objects(stack)


def test_again_at_once_changes_nothing(stack: Stack) -> None:
    done = stack.run("workstation", *STACK_ALONE, "--project", str(stack.project))
    summary = SUMMARY.search(done.stdout)
    assert summary
    assert summary[2] == "0"
    assert summary[4] == "0"


def test_status_and_its_playbook_say_the_same(stack: Stack) -> None:
    said = [stack.json("status", *options)["services"] for options in ([], ["-e", "asked=anew"])]
    passing = {"uptime_s", "memory_bytes"}
    own, ansibles = ([{key: row[key] for key in row.keys() - passing} for row in rows] for rows in said)
    assert own == ansibles
    assert all(passing <= row.keys() for rows in said for row in rows)


def test_check_mode_on_the_converged_machine_changes_nothing(stack: Stack) -> None:
    result = stack.json("workstation", *STACK_ALONE, "--project", str(stack.project), "--check", "--diff")
    assert result["hosts"]["localhost"]["changed"] == 0


def test_plan_on_a_fresh_machine_lists_changes_and_makes_none(tmp_path: Path) -> None:
    fresh = Stack(home=tmp_path / "home", project=tmp_path / "project", instance="fresh")
    result = fresh.json("plan", "workstation", *STACK_ALONE, "--project", str(fresh.project))
    assert len(result["changes"]) >= 3
    assert not fresh.project.exists()
    assert not (fresh.home / "instances").exists()


def test_values_travel_between_tasks_unchanged_and_code_reloads(stack: Stack, airflow: Airflow) -> None:
    value: dict[str, Any] = {
        "nested": {"list": [1, 2.5, None, True, {"deep": {"er": []}}]},
        "none": None,
        "float": 0.1,
        "text": "he said \"hi\"\n{{ jinja }} {% raw %} 'single' {braces} ü",
        "": "empty key",
    }
    code = stack.project / "src" / PACKAGE / "travel.py"
    code.write_text(
        f"def send():\n    return {value!r}\n\n\ndef receive(value, literal):\n    return [value, literal]\n"
    )
    (stack.project / "dags" / f"{PACKAGE}_dags" / "travel_dag.py").write_text(
        f"""import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from airflow.sdk import DAG
from {PACKAGE}_dags.task_factory import task_factory

with DAG("travel", schedule=None):
    send = task_factory("send", "{PACKAGE}.travel:send")
    receive = task_factory("receive", "{PACKAGE}.travel:receive", func_kwargs={{"literal": "{{{{ ds }}}}"}},
                           xcom_pull_tasks={{"value": {{"task": "send"}}}})
    send >> receive
"""
    )
    run_id = airflow.run_dag("travel")
    assert airflow.xcom("travel", run_id, "receive") == [value, "{{ ds }}"]
    code.write_text(code.read_text().replace("return [value, literal]", "return 'changed'"))
    run_id = airflow.run_dag("travel")
    assert airflow.xcom("travel", run_id, "receive") == "changed"


@pytest.mark.parametrize("notebook", ["mlflow_introduction.ipynb", "inference.ipynb"])
def test_notebook_runs(stack: Stack, trained: str, notebook: str, tmp_path: Path) -> None:
    source = stack.project / "notebooks" / notebook
    copied = source.with_name(f"executed_{notebook}")
    shutil.copy(source, copied)
    command = [stack.program("jupyter", "jupyter"), "execute", str(copied)]
    environment = {**stack.client_environment(), "PYTHONPATH": str(stack.project / "src")}
    environment |= {"JUPYTER_RUNTIME_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    copied.unlink()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.thorough
def test_generated_projects_own_tests_pass(stack: Stack, tmp_path: Path) -> None:
    python = stack.program("airflow", "python")
    target = tmp_path / "pytest"
    uv = [
        str(Path(__file__).parents[2] / ".venv/bin/uv"),
        "pip",
        "install",
        "--quiet",
        "--target",
        str(target),
        "pytest",
    ]
    subprocess.run([*uv, "--python", python], check=True, timeout=120)
    environment = {**stack.environment, "PYTHONPATH": str(target), "AIRFLOW_HOME": str(tmp_path)}
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=stack.project, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_loopback_is_listened_on(stack: Stack) -> None:
    own = {process.pid for process in stack.processes()}
    connections = [one for one in psutil.net_connections("inet") if one.pid in own]
    addresses = [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN and one.laddr]
    assert len(addresses) >= len(stack.record["ports"])
    assert set(addresses) <= {"127.0.0.1", "::1"}, connections


def test_no_default_password_works(stack: Stack) -> None:
    for password in ("admin", "airflow", "password", ""):
        login = {"username": "admin", "password": password}
        assert requests.post(stack.url("airflow", "/auth/token"), json=login, timeout=60).status_code in {400, 401, 422}
    assert requests.get(stack.url("airflow", "/api/v2/dags"), timeout=60).status_code == 401
    assert requests.get(stack.url("jupyter", "/api/contents"), timeout=60).status_code == 403
    assert requests.get(stack.url("s3", "/mlflow"), timeout=60).status_code == 403
    assert "login" in requests.get(stack.url("minio"), timeout=60).url
    # The servers behind the S3 gateway must not be a way around it.
    ports = stack.record["ports"]
    assert requests.get(f"http://127.0.0.1:{ports['filer']}/buckets/mlflow/", timeout=60).status_code == 401
    written = requests.put(f"http://127.0.0.1:{ports['filer']}/buckets/mlflow/x", data=b"x", timeout=60)
    assert written.status_code == 401


def test_no_credential_is_seen(stack: Stack, trained: str) -> None:
    commands = []
    for process in psutil.process_iter():
        try:
            commands.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    texts = {f"command line {command[:60]}": command for command in commands}
    files = [
        *stack.directory.glob("logs/**/*"),
        *(stack.home / "logs").glob("*"),
        *stack.directory.glob("data/airflow/logs/**/*"),
    ]
    texts |= {str(file): file.read_text(errors="replace") for file in files if file.is_file()}
    texts["services.json"] = (stack.directory / "config" / "services.json").read_text()
    assert len(texts) > 20
    seen = [name for name, text in texts.items() if any(secret in text for secret in stack.secrets)]
    assert not seen
    private = [*stack.directory.glob("*.json"), *(stack.directory / "config").iterdir()]
    assert len(private) >= 4
    assert not [file for file in private if file.stat().st_mode & 0o077]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_killed_service_comes_back(stack: Stack, trained: str, name: str) -> None:
    before = stack.services()[name]
    assert before["health"] == "healthy"
    pid = supervised_pid(stack, name)
    psutil.Process(pid).send_signal(signal.SIGKILL)
    wait_until(lambda: supervised_pid(stack, name) not in {0, pid}, 60, f"{name} started again")
    wait_until(lambda: healthy(stack), 120, f"{name} healthy again")
    assert_all_there(stack, trained)


def supervised_pid(stack: Stack, name: str) -> int:
    """The service's process, as supervisord's own command says."""
    control = [stack.program("base", "supervisorctl"), "-c", str(stack.directory / "config" / "supervisord.conf")]
    answer = subprocess.run([*control, "pid", name], capture_output=True, text=True).stdout.strip()
    return int(answer) if answer.isdigit() else 0


def test_stop_leaves_no_process_and_start_finds_everything(stack: Stack, trained: str) -> None:
    stack.run("mlops", "--stop")
    assert not list(stack.processes())
    assert {row["state"] for row in stack.services().values()} == {"stopped"}
    assert SUMMARY.search(stack.run("mlops", "--stop").stdout)[2] == "0"  # type: ignore[index]
    stack.run("mlops", "--start")
    assert healthy(stack)
    assert_all_there(stack, trained)


def test_one_service_restarts_alone(stack: Stack) -> None:
    before = {name: supervised_pid(stack, name) for name in SERVICES}
    stack.run("mlops", "--restart", "--service", "jupyter")
    after = {name: supervised_pid(stack, name) for name in SERVICES}
    assert {name for name in SERVICES if before[name] != after[name]} == {"jupyter"}


def test_killed_supervisor_is_recovered_from(stack: Stack, trained: str) -> None:
    supervisor = int((Path(stack.record["sockets"]) / "supervisord.pid").read_text())
    psutil.Process(supervisor).kill()
    stack.run("mlops", "--start")
    assert healthy(stack)
    assert_all_there(stack, trained)


def test_conflicting_dependency_is_an_error_that_names_it(stack: Stack) -> None:
    pyproject = stack.project / "pyproject.toml"
    kept = pyproject.read_text()
    pyproject.write_text(kept.replace("dependencies = [", 'dependencies = [\n    "sqlalchemy<1.4",', 1))
    done = stack.run("mlops", "--start", ok=False)
    pyproject.write_text(kept)
    assert "sqlalchemy" in done.stdout + done.stderr
    assert healthy(stack)


def test_delete_volume_of_one_service_spares_the_others(stack: Stack, trained: str) -> None:
    assert (
        "--yes"
        in (refused := stack.run("mlops", "--restart", "--service", "mlflow", "-v", ok=False)).stdout + refused.stderr
    )
    stack.run("mlops", "--restart", "--service", "mlflow", "-v", "--yes")
    answer = requests.get(stack.url("mlflow", "/api/2.0/mlflow/registered-models/search"), timeout=60).json()
    assert not answer.get("registered_models")
    assert Airflow(stack).end_state(f"{PACKAGE}_example", trained) == "success"
    assert objects(stack)


def test_uninstall_leaves_the_project_alone(stack: Stack) -> None:
    ports = stack.record["ports"]
    refused = stack.run("uninstall", ok=False)
    assert stack.directory.exists(), refused.stdout
    stack.run("uninstall", "--yes")
    assert not list(stack.processes())
    assert not stack.directory.exists()
    assert (stack.project / "dags").is_dir()
    assert not [path for port in ports.values() for path in Path("/tmp").glob(f"seaweedfs-*-{port + 10000}.sock")]
    left: list[Any] = list((stack.home / "instances").iterdir()) if (stack.home / "instances").exists() else []
    assert not left, json.dumps([str(path) for path in left])
