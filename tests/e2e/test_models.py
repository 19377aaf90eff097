"""The example's model, served by the stack: asked over HTTP, killed, moved to another version, stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from stack import PACKAGE, Airflow, Mlflow, Stack, wait_until

PROGRAM = "models-wine-project"
ALIAS = "champion"


def post(stack: Stack, path: str, **body: Any) -> Any:
    """Return what MLflow's REST API says to a change; AssertionError unless it succeeds."""
    answer = requests.post(stack.url("mlflow", f"/api/2.0/mlflow/{path}"), json=body, timeout=60)
    assert answer.ok, answer.text
    return answer.json()


def name_champion(stack: Stack, version: str) -> None:
    """Move the alias to a version."""
    post(stack, "registered-models/alias", name=PACKAGE, alias=ALIAS, version=version)


def summary(stack: Stack, *arguments: str) -> tuple[int, int]:
    """Return how many tasks of a command of `models` were ok, and how many have changed something."""
    hosts = stack.json("models", *arguments)["hosts"]
    (counts,) = hosts.values()
    return counts["ok"], counts["changed"]


def wines(stack: Stack) -> str:
    """Return one wine of each class, as the server takes them, read with the project's own packages."""
    code = (
        "from sklearn.datasets import load_wine;"
        "print(load_wine(as_frame=True).frame.iloc[[0, 60, 150]].drop(columns='target').to_json(orient='records'))"
    )
    done = subprocess.run([stack.program("airflow", "python"), "-c", code], capture_output=True, text=True, check=True)
    return f'{{"dataframe_records": {done.stdout}}}'


def ask(stack: Stack) -> list[int]:
    """Return what the served model predicts for one wine of each class."""
    headers = {"Content-Type": "application/json"}
    answer = requests.post(stack.url(PROGRAM, "/invocations"), data=wines(stack), headers=headers, timeout=60)
    assert answer.ok, answer.text
    predictions: list[int] = answer.json()["predictions"]
    return predictions


def served_files(stack: Stack) -> str:
    """Return the directory of the files that the record says are served."""
    files: str = stack.record["models"][PROGRAM]["files"]
    return files


def process_of(stack: Stack) -> psutil.Process:
    """Return the process that serves the model."""
    (found,) = [one for one in stack.processes() if one.environ().get("GAIAFLOW_SERVICE") == PROGRAM]
    return found


@pytest.fixture(scope="module")
def served(stack: Stack, trained: str) -> Iterator[Stack]:
    """The stack, serving the example's model by its alias."""
    name_champion(stack, Mlflow(stack).latest_version(PACKAGE)["version"])
    stack.run("models", "serve", f"{PACKAGE}@{ALIAS}")
    yield stack
    stack.run("models", "stop", PACKAGE)


def test_model_answers_and_is_a_service_of_the_stack(served: Stack) -> None:
    assert ask(served) == [0, 1, 2]
    row = served.services()[PROGRAM]
    assert (row["state"], row["health"], row["url"]) == ("running", "healthy", served.url(PROGRAM))
    assert "/invocations" in served.run("logs", PROGRAM).stdout
    assert summary(served, "serve", f"{PACKAGE}@{ALIAS}")[1] == 0


def test_server_listens_on_loopback_alone_and_no_shell_stands_before_it(served: Stack) -> None:
    process = process_of(served)
    assert [one.laddr.ip for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN] == ["127.0.0.1"]
    assert "/environments/model-" in process.cmdline()[0]
    # supervisord itself has started it.
    parent = process.parent()
    assert parent is not None and "supervisor.supervisord" in parent.cmdline()
    # What runs others' pickles knows no key of the stack's.
    seen = " ".join([*process.environ().values(), *process.cmdline()])
    assert not [secret for secret in served.secrets if secret in seen]


def test_killed_server_comes_back(served: Stack) -> None:
    before = process_of(served)
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: served.services()[PROGRAM]["health"] == "healthy", 120, "the model answers again")
    assert process_of(served).pid != before.pid
    assert ask(served) == [0, 1, 2]


def test_server_is_stopped_and_started_with_the_other_services(served: Stack) -> None:
    served.run("mlops", "--stop", "--service", "models")
    assert served.services()[PROGRAM]["health"] == "stopped"
    served.run("mlops", "--start", "--service", "models")
    assert ask(served) == [0, 1, 2]


def test_alias_that_moved_is_followed(served: Stack) -> None:
    before, url = served_files(served), served.url(PROGRAM)
    Airflow(served).run_dag(f"{PACKAGE}_example")
    version = str(Mlflow(served).latest_version(PACKAGE)["version"])
    name_champion(served, version)
    assert served_files(served) == before
    assert summary(served, "serve", f"{PACKAGE}@{ALIAS}")[1] > 0
    assert (served_files(served).split("/")[1].split("-")[0], served.url(PROGRAM)) == (version, url)
    assert ask(served) == [0, 1, 2]
    kept = served.directory / "data" / "models"
    assert [str(path.relative_to(kept)) for path in kept.glob("*/*-*")] == [served_files(served)]


def test_notebook_asks_the_model(served: Stack, tmp_path: Path) -> None:
    copied = tmp_path / "serving.ipynb"
    shutil.copy(served.project / "notebooks" / "serving.ipynb", copied)
    environment = {
        **os.environ,
        "PYTHONPATH": str(served.project / "src"),
        "GAIAFLOW_INSTANCE_DIRECTORY": str(served.directory),
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
        "IPYTHONDIR": str(tmp_path),
    }
    command = [served.program("jupyter", "jupyter"), "execute", "--inplace", str(copied)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = json.loads(copied.read_text())["cells"]
    assert any("predicted" in str(cell.get("outputs")) for cell in shown)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("nothing", "no registered model 'nothing'"),
        (f"{PACKAGE}@nobody", "no alias 'nobody'"),
        (f"{PACKAGE}/99", "no version 99"),
        ("a:b", "names no model"),
    ],
)
def test_model_that_is_not_there_is_refused_by_name(served: Stack, model: str, reason: str) -> None:
    before = served.record
    done = served.run("models", "serve", model, ok=False)
    assert reason in done.stderr and "What to do:" in done.stderr
    assert served.record == before


def test_model_without_a_signature_is_refused(served: Stack) -> None:
    code = """
import mlflow.sklearn
from sklearn.dummy import DummyClassifier
mlflow.set_experiment("unsigned")
with mlflow.start_run():
    logged = mlflow.sklearn.log_model(DummyClassifier().fit([[0], [1]], [0, 1]), name="model",
                                      serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
mlflow.register_model(logged.model_uri, "unsigned")
"""
    command = [served.program("airflow", "python"), "-c", code]
    subprocess.run(command, env=served.client_environment(), capture_output=True, check=True, timeout=300)
    done = served.run("models", "serve", "unsigned", ok=False)
    assert "'unsigned' has no signature" in done.stderr and "infer_signature" in done.stderr


def test_port_that_is_taken_is_refused_before_anything_changes(served: Stack) -> None:
    before = served.record
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = served.run("models", "serve", f"{PACKAGE}@{ALIAS}", "--port", str(port), ok=False)
    assert re.search(rf"Port {port} \({PROGRAM}\) is taken by", done.stderr), done.stderr
    assert served.record == before
    assert ask(served) == [0, 1, 2]


def test_stack_whose_mlflow_is_stopped_is_named(served: Stack) -> None:
    served.run("mlops", "--stop", "--service", "mlflow")
    try:
        done = served.run("models", "serve", PACKAGE, ok=False)
        assert "MLflow doesn't answer" in done.stderr and "gaiaflow-setup mlops --start" in done.stderr
        # What is served needs no MLflow.
        assert ask(served) == [0, 1, 2]
    finally:
        served.run("mlops", "--start", "--service", "mlflow")


def test_stopped_model_is_gone_and_stays_registered(served: Stack) -> None:
    url, process = served.url(PROGRAM), process_of(served)
    served.run("models", "stop", PACKAGE)
    assert PROGRAM not in served.services() and PROGRAM not in served.record["ports"]
    assert not process.is_running() and not list((served.directory / "data" / "models").glob("*/*-*"))
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/health", timeout=5)
    assert summary(served, "stop", PACKAGE)[1] == 0
    assert Mlflow(served).latest_version(PACKAGE)
