"""What the end-to-end tests do with a real stack: run the command line, and speak to the services as a user would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil
import requests

# Docker and Minikube are the business of tests/hosts: this machine keeps what it has.
STACK_ALONE = ("--without", "docker", "--without", "minikube")
CHECKOUT = Path(__file__).resolve().parents[2]
INSTANCE_VARIABLE = "GAIAFLOW_INSTANCE_DIRECTORY"
SERVICES = {
    "postgres",
    "airflow-api-server",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "mlflow",
    "minio",
    "jupyter",
    "cluster-forwarder",
    "s3-names",
}
PACKAGE = "wine_project"
SUMMARY = re.compile(r"^ok=(\d+) changed=(\d+) deferred=(\d+) failed=(\d+)$", re.MULTILINE)


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's value once it is true; AssertionError when it stays false for so long."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


@dataclass
class Stack:
    """One instance, driven through the command line alone."""

    home: Path
    project: Path
    instance: str = "default"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command."""
        return {**os.environ, "GAIAFLOW_HOME": str(self.home)}

    @property
    def directory(self) -> Path:
        """The instance's directory."""
        return self.home / "instances" / self.instance

    def run(self, *arguments: str, ok: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run `gaiaflow-setup`; AssertionError with all its output when it does not end as expected."""
        command = [str(CHECKOUT / "gaiaflow-setup"), *arguments, "--instance", self.instance]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout)
        assert (done.returncode == 0) is ok, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        """Run `gaiaflow-setup ... --json` and read the document."""
        return json.loads(self.run(*arguments, "--json").stdout)

    @property
    def record(self) -> dict[str, Any]:
        """The instance's record."""
        content: dict[str, Any] = json.loads((self.directory / "instance.json").read_text())
        return content

    @property
    def credentials(self) -> dict[str, dict[str, str]]:
        """All of the instance's credentials, the internal ones too."""
        content: dict[str, dict[str, str]] = json.loads((self.directory / "credentials.json").read_text())
        return content

    @property
    def secrets(self) -> list[str]:
        """Every value that must not be seen anywhere."""
        shown = {"user"}
        return [value for entry in self.credentials.values() for key, value in entry.items() if key not in shown]

    def url(self, service: str, path: str = "") -> str:
        """An address of a service."""
        return f"{self.record['urls'][service]}{path}"

    def services(self) -> dict[str, dict[str, Any]]:
        """What `status` says, by name."""
        return {row["name"]: row for row in self.json("status")["services"]}

    def program(self, environment: str, name: str) -> str:
        """A program of one of the instance's Python environments."""
        definition = json.loads((self.directory / "config" / "services.json").read_text())
        return f"{definition['environments'][environment]}/bin/{name}"

    def processes(self) -> Iterator[psutil.Process]:
        """Every process of the instance."""
        for process in psutil.process_iter():
            try:
                if process.environ().get(INSTANCE_VARIABLE) == str(self.directory):
                    yield process
            except psutil.Error:
                continue

    def client_environment(self) -> dict[str, str]:
        """What a program outside the stack needs to reach MLflow and S3."""
        keys = self.credentials["minio"]
        return {
            **os.environ,
            "MLFLOW_TRACKING_URI": self.url("mlflow"),
            "AWS_ACCESS_KEY_ID": keys["access_key"],
            "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.url("s3"),
        }


def healthy(stack: Stack) -> bool:
    """Whether `status` calls every service healthy."""
    return all(row["health"] == "healthy" for row in stack.services().values())


class HasServices(Protocol):
    """Something that an Airflow, and perhaps an MLflow, is part of."""

    @property
    def credentials(self) -> dict[str, dict[str, str]]:
        """Return who may sign in, by service."""

    def url(self, service: str, path: str = "") -> str:
        """Return an address of a service."""


class Airflow:
    """Airflow's REST API."""

    def __init__(self, stack: HasServices) -> None:
        self.stack = stack
        login = stack.credentials["airflow"]
        answer = requests.post(
            stack.url("airflow", "/auth/token"),
            json={"username": login["user"], "password": login["password"]},
            timeout=60,
        )
        assert answer.status_code == 201, answer.text
        self.headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One call; AssertionError unless it succeeds."""
        url = self.stack.url("airflow", f"/api/v2/{path}")
        answer = requests.request(method, url, json=body, headers=self.headers, timeout=60)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def wait_for_dag(self, dag_id: str, seconds: float = 180) -> None:
        """Return when Airflow has parsed the DAG."""

        def listed() -> bool:
            errors = self.call("GET", "importErrors")["import_errors"]
            assert not errors, errors
            return any(dag["dag_id"] == dag_id for dag in self.call("GET", "dags")["dags"])

        wait_until(listed, seconds, f"DAG {dag_id} listed")

    def run_dag(self, dag_id: str, seconds: float = 600) -> str:
        """Run a DAG to success and return the run's id."""
        self.wait_for_dag(dag_id)
        self.call("PATCH", f"dags/{dag_id}", {"is_paused": False})
        run_id: str = self.call("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {}})["dag_run_id"]
        state = wait_until(lambda: self.end_state(dag_id, run_id), seconds, f"run of {dag_id}")
        assert state == "success", self.describe_failures(dag_id, run_id)
        return run_id

    def describe_failures(self, dag_id: str, run_id: str) -> str:
        """Return the end of the last log of each task that failed."""
        run = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        told = []
        for task in self.call("GET", f"{run}?limit=100&state=failed")["task_instances"]:
            log = self.call("GET", f"{run}/{task['task_id']}/logs/{task['try_number']}")["content"]
            lines = "\n".join(json.dumps(line) for line in log[-20:])
            told.append(f"{task['task_id']}, try {task['try_number']}:\n{lines}")
        return "\n".join(told)

    def end_state(self, dag_id: str, run_id: str) -> str | None:
        """The run's state once it has ended."""
        state: str = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"]
        return state if state in {"success", "failed"} else None

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """A task's return value."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value?deserialize=true"
        return self.call("GET", path)["value"]


class Mlflow:
    """MLflow's REST API."""

    def __init__(self, stack: HasServices) -> None:
        self.stack = stack

    def get(self, path: str, **query: str) -> Any:
        """One call; AssertionError unless it succeeds."""
        answer = requests.get(self.stack.url("mlflow", f"/api/2.0/mlflow/{path}"), params=query, timeout=60)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def latest_version(self, model: str) -> dict[str, Any]:
        """The newest version of a registered model."""
        versions = self.get("registered-models/get", name=model)["registered_model"]["latest_versions"]
        newest: dict[str, Any] = max(versions, key=lambda one: int(one["version"]))
        return newest


def objects(stack: Stack, native: Stack | None = None) -> dict[str, int]:
    """Name and size of every object in the bucket, asked of S3 itself.

    Args:
        stack: Whose S3 it is.
        native: A stack whose Python environments are on this machine, where that one's aren't.
    """
    code = (
        "import boto3, json;"
        "pages = boto3.client('s3').get_paginator('list_objects_v2').paginate(Bucket='mlflow');"
        "print(json.dumps({o['Key']: len(boto3.client('s3').get_object(Bucket='mlflow', Key=o['Key'])['Body'].read())"
        " for page in pages for o in page.get('Contents', [])}))"
    )
    command = [(native or stack).program("mlflow", "python"), "-c", code]
    done = subprocess.run(command, env=stack.client_environment(), capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found
