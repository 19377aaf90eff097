"""The stack in containers on a real engine: it starts, trains, repairs itself, changes its runtime, and is removed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from browser import browser as browser
from browser import open_airflow, open_jupyter, open_mlflow, run_notebook
from browser import page as page
from playwright.sync_api import Page
from preparation import add_docker_plugins, await_made
from stack import SUMMARY, Airflow, Mlflow, Stack, wait_until

HERE = Path(__file__).parent
PACKAGE = "corn_project"
# Of its own: tests/e2e runs beside these tests, and its stack would take ports that ours leaves while it is stopped.
PORTS = {
    **{"airflow": 11080, "mlflow": 11050, "s3": 11000, "minio": 11001, "jupyter": 11095},
    **{"postgres": 11432, "filer": 11002, "volume": 11003, "master": 11004, "forwarder": 11005, "api": 11007},
}


def docker(*arguments: str, check: bool = True, environment: dict[str, str] | None = None) -> str:
    """What `docker` prints."""
    env = {**os.environ, **(environment or {})}
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, env=env)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def containers(stack: Stack, template: str = "{{.Names}}") -> list[str]:
    """What `docker ps` says of the instance's containers."""
    label = f"label=gaiaflow.directory={stack.directory}"
    return docker("ps", "--all", "--no-trunc", "--filter", label, "--format", template).split()


def name_of(stack: Stack, program: str) -> str:
    """The name of a program's container."""
    return next(name for name in containers(stack) if name.endswith(f"-{program}"))


def starts(stack: Stack) -> dict[str, str]:
    """When each container was made and started."""
    names = containers(stack)
    moments = docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", *names).splitlines()
    return dict(zip(names, moments, strict=True))


def all_healthy(stack: Stack) -> bool:
    return all(row["health"] == "healthy" for row in stack.services().values())


def changed(stack: Stack, *arguments: str) -> int:
    summary = SUMMARY.search(stack.run("mlops", *arguments).stdout)
    assert summary
    return int(summary[2])


def artifact(stack: Stack) -> bytes:
    """The bytes of a file that the newest model's run has logged."""
    run_id = Mlflow(stack).latest_version(PACKAGE)["run_id"]
    listed = requests.get(stack.url("mlflow", f"/api/2.0/mlflow/artifacts/list?run_id={run_id}"), timeout=10).json()
    file = next(one["path"] for one in listed["files"] if not one["is_dir"])
    answer = requests.get(stack.url("mlflow", f"/get-artifact?path={file}&run_uuid={run_id}"), timeout=10)
    assert answer.ok, answer.text
    return answer.content


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack in containers, started from nothing, with the example project."""
    await_made("stack")
    # In the user's home, as with a user: images have a directory of root's, too, and it may be closed.
    root = Path(tempfile.mkdtemp(prefix="gaiaflow test ", dir=Path.home()))
    stack = Stack(home=root / "gaiaflow home", project=root / "corn-project", instance="boxes")
    new = [str(HERE.parents[1] / "gaiaflow-setup"), "new", "--no-input", "--output-dir", str(root)]
    subprocess.run([*new, "project_name=Corn Project"], check=True, capture_output=True)
    try:
        ports = ("-e", json.dumps({"mlops_port_overrides": PORTS}))
        stack.run("mlops", "--start", "--runtime", "docker", "--project", str(stack.project), *ports, timeout=1200)
        yield stack
    finally:
        if stack.directory.exists():
            stack.run("uninstall", "--yes")
        shutil.rmtree(root)


def test_a_second_start_changes_nothing_and_restarts_nothing(stack: Stack) -> None:
    before = starts(stack)
    assert len(before) == 9
    assert changed(stack, "--start") == 0
    assert starts(stack) == before
    assert all_healthy(stack)


def test_a_plan_for_a_new_instance_names_its_containers_and_makes_nothing(stack: Stack) -> None:
    fresh = Stack(home=stack.home, project=stack.project, instance="fresh")
    plan = fresh.run("plan", "mlops", "--start", "--runtime", "docker").stdout
    headers = {line.split()[-1] for line in plan.splitlines() if line.strip().startswith("+++ after:")}
    assert headers >= {"postgres", "minio", "mlflow", "jupyter", "airflow-scheduler"}
    assert not fresh.directory.exists()
    assert not containers(fresh)


def test_the_example_trains_a_model_whose_artifact_is_in_s3(stack: Stack) -> None:
    Airflow(stack).run_dag(f"{PACKAGE}_example")
    assert len(artifact(stack)) > 1000


def test_pages_open_and_notebooks_run_in_a_browser(stack: Stack, page: Page) -> None:
    open_airflow(page, stack, PACKAGE)
    open_mlflow(page, stack, PACKAGE)
    open_jupyter(page, stack)
    # They read the model, and its artifacts from S3.
    for notebook in ("mlflow_introduction.ipynb", "inference.ipynb"):
        run_notebook(page, stack, notebook)


def test_nobody_is_root_and_only_loopback_listens(stack: Stack) -> None:
    for name in containers(stack):
        user, ports = docker("inspect", "--format", "{{.Config.User}}|{{json .HostConfig.PortBindings}}", name).split(
            "|"
        )
        assert user.partition(":")[0] not in {"", "0", "root"}
        assert {one["HostIp"] for bindings in json.loads(ports).values() for one in bindings} <= {"127.0.0.1"}
        rows = [line.split() for line in docker("top", name, "-eo", "pid,uid").splitlines()[1:]]
        assert rows
        assert "0" not in {uid for _pid, uid in rows}


def test_no_secret_is_in_a_container_or_an_image(stack: Stack) -> None:
    names = containers(stack)
    images = containers(stack, "{{.Image}}")
    said = docker("inspect", *names) + docker("image", "inspect", *images)
    said += "".join(docker("history", "--no-trunc", image) for image in set(images))
    said += "".join(docker("logs", name) for name in names)
    assert not [secret for secret in stack.secrets if secret in said]


def test_what_differs_is_planned_and_repaired_and_nothing_else(stack: Stack) -> None:
    jupyter, mlflow = name_of(stack, "jupyter"), name_of(stack, "mlflow")
    image, network = docker("inspect", "--format", "{{.Image}} {{.HostConfig.NetworkMode}}", mlflow).split()
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", mlflow))
    given = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    docker("rm", "--force", jupyter, mlflow)
    docker("create", "--name", mlflow, "--network", network, "--env", "MEDDLED=yes", *given, image)
    before = starts(stack)
    plan = stack.run("plan", "mlops", "--start").stdout
    assert "MEDDLED" in plan
    headers = {line.split()[-1] for line in plan.splitlines() if line.strip().startswith("+++ after:")}
    assert headers == {"jupyter", "mlflow"}
    assert starts(stack) == before
    stack.run("mlops", "--start")
    after = starts(stack)
    assert {name for name in after if after[name] != before.get(name)} == {jupyter, mlflow}
    assert "MEDDLED" not in docker("inspect", mlflow)
    assert changed(stack, "--start") == 0


def test_what_is_killed_comes_back(stack: Stack) -> None:
    for name in containers(stack):
        os.kill(int(docker("inspect", "--format", "{{.State.Pid}}", name)), signal.SIGKILL)
    wait_until(lambda: all_healthy(stack), 120, "everything healthy again")
    assert len(artifact(stack)) > 1000


def kill_engine_and_have_it_repaired(stack: Stack) -> None:
    os.kill(int(Path("/var/run/docker.pid").read_text()), signal.SIGKILL)
    command = [str(HERE.parents[1] / "gaiaflow-setup"), "doctor", "--fix", "--extra-vars"]
    only = '{"doctor_only": ["docker_pid", "docker_daemon"]}'
    subprocess.run([*command, only], env=stack.environment, check=True, capture_output=True)


@pytest.mark.thorough
def test_a_killed_engine_comes_back_with_what_ran_on_it(stack: Stack) -> None:
    if set(docker("ps", "--quiet", "--no-trunc").split()) != set(containers(stack, "{{.ID}}")):
        pytest.skip("somebody else's containers run on this engine")
    kill_engine_and_have_it_repaired(stack)
    wait_until(lambda: all_healthy(stack), 120, "everything healthy again")
    assert len(artifact(stack)) > 1000
    stack.run("mlops", "--stop", "--service", "jupyter")
    others = {name for name in containers(stack) if not name.endswith("-jupyter")}
    kill_engine_and_have_it_repaired(stack)
    wait_until(lambda: set(docker("ps", "--format", "{{.Names}}").split()) == others, 60, "all but what was stopped")
    stack.run("mlops", "--start")


def test_logs_are_those_of_the_containers(stack: Stack) -> None:
    assert "Uvicorn running" in stack.run("logs", "-n", "500", "mlflow").stdout
    assert {line["program"] for line in stack.json("logs", "-n", "2000", "airflow")["lines"]} >= {
        "airflow-api-server",
        "airflow-scheduler",
    }


def test_a_failed_build_leaves_what_runs(stack: Stack) -> None:
    before = starts(stack)
    pyproject = stack.project / "pyproject.toml"
    text = pyproject.read_text()
    pyproject.write_text(text.replace("dependencies = [", 'dependencies = [\n    "no-such-package-of-gaiaflow",', 1))
    try:
        failed = stack.run("mlops", "--start", ok=False, timeout=900)
    finally:
        pyproject.write_text(text)
    assert "no-such-package-of-gaiaflow" in failed.stdout + failed.stderr
    assert starts(stack) == before
    assert all_healthy(stack)


@pytest.mark.thorough
def test_the_compose_file_is_the_same_stack(stack: Stack, tmp_path: Path) -> None:
    plugins = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    add_docker_plugins(tmp_path / "docker")
    file = tmp_path / "compose.yaml"
    stack.run("mlops", "--export-compose", str(file))
    assert not [secret for secret in stack.secrets if secret in file.read_text()]
    stack.run("mlops", "--stop")
    try:
        docker("compose", "--file", str(file), "up", "--wait", environment=plugins)
        Airflow(stack).run_dag(f"{PACKAGE}_example")
        assert len(artifact(stack)) > 1000
    finally:
        docker("compose", "--file", str(file), "down", environment=plugins)
    stack.run("mlops", "--start")


def test_a_compose_file_needs_no_free_port(stack: Stack, tmp_path: Path) -> None:
    other, file = Stack(tmp_path / "home", stack.project), tmp_path / "compose.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        overrides = json.dumps({"mlops_port_overrides": {"airflow": port}})
        other.run("mlops", "--export-compose", str(file), "--project", str(stack.project), "-e", overrides)
    assert str(port) in file.read_text()
    other.run("uninstall", "--yes")


@pytest.mark.thorough
def test_data_goes_along_to_the_other_runtime(stack: Stack) -> None:
    before = artifact(stack)
    stack.run("mlops", "--start", "--runtime", "native", timeout=900)
    assert artifact(stack) == before
    assert not containers(stack)
    Airflow(stack).run_dag(f"{PACKAGE}_example")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("variable", "named"),
    [
        ("mlops_docker_socket=/nowhere/docker.sock", "/nowhere/docker.sock"),
        ("mlops_postgres_image=postgres:0.0", "postgres:0.0"),
        ("mlops_task_memory=lots", "lots"),
    ],
)
def test_a_runtime_that_cannot_be_had_leaves_the_one_that_runs(stack: Stack, variable: str, named: str) -> None:
    failed = stack.run("mlops", "--start", "--runtime", "docker", "-e", variable, ok=False)
    assert named in failed.stderr + failed.stdout
    assert stack.record["runtime"] == "native"
    assert all_healthy(stack)


@pytest.mark.thorough
def test_a_change_of_runtime_that_is_killed_is_completed_by_the_next(stack: Stack) -> None:
    before = artifact(stack)
    for seconds, runtime in ((6, "docker"), (9, "native"), (14, "docker")):
        command = [str(HERE.parents[1] / "gaiaflow-setup"), "mlops", "--start", "--runtime", runtime]
        with subprocess.Popen(
            [*command, "--instance", stack.instance], env=stack.environment, stdout=subprocess.DEVNULL
        ) as wrapper:
            with contextlib.suppress(subprocess.TimeoutExpired):
                wrapper.wait(seconds)
            wrapper.kill()
        stack.run("mlops", "--start", "--runtime", runtime, timeout=1200)
        assert artifact(stack) == before
        assert all_healthy(stack)


def test_one_service_starts_alone_without_data(stack: Stack) -> None:
    stack.run("mlops", "--stop", "--delete-volume", "--yes")
    stack.run("mlops", "--start", "--runtime", "docker", "--service", "minio", timeout=120)
    assert {row["name"] for row in stack.services().values() if row["health"] == "healthy"} == {"minio"}


def test_uninstall_leaves_no_container_and_no_network(stack: Stack) -> None:
    stack.run("uninstall", "--yes")
    label = f"label=gaiaflow.directory={stack.directory}"
    assert not containers(stack)
    assert not docker("network", "ls", "--quiet", "--filter", label)
    assert not stack.directory.exists()
    assert stack.project.exists()
