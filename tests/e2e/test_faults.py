"""What goes wrong on real machines: kills half way, taken ports, ordinary users, wrong input, two stacks at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from stack import CHECKOUT, SUMMARY, Airflow, Stack, wait_until

ORDINARY_USER = "gaiaflow-tester"


def test_cluster_of_somebody_else_has_to_be_told_where_the_stack_is(stack: Stack) -> None:
    connection = stack.directory / "config" / "cluster"
    connection.mkdir(exist_ok=True)
    (connection / "cluster.json").write_text(json.dumps({"kind": "external", "stack_at": {"mlflow": 1}}))
    try:
        told = stack.run("mlops", "--start", "--check").stderr
        assert "doesn't know where the stack is now" in " ".join(told.split())
        assert "cluster --create-config-only --kubeconfig FILE --context NAME" in told
    finally:
        shutil.rmtree(connection)


def test_start_goes_on_where_the_connected_cluster_cannot_be_reached(stack: Stack, tmp_path: Path) -> None:
    """Without the wrapper, and with the instance in an inventory: a variable that roles hand on, as its default is."""
    connection = stack.directory / "config" / "cluster"
    connection.mkdir(exist_ok=True)
    kept = {"kind": "minikube", "profile": "elsewhere", "namespace": "default", "server": "https://192.168.49.2:8443"}
    (connection / "cluster.json").write_text(json.dumps(kept))
    variables = {"mlops_instance": stack.instance, "gaiaflow_home": str(stack.home)}
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(json.dumps({"all": {"vars": variables}}))
    command = [str(CHECKOUT / ".venv/bin/ansible-playbook"), "-i", "inventory/local.yml", "-i", str(inventory)]
    environment = {**stack.environment, "DOCKER_HOST": "tcp://127.0.0.1:9"}
    try:
        done = subprocess.run(
            [*command, "playbooks/mlops.yml"],
            cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Examine the cluster and this machine" in done.stdout
    finally:
        shutil.rmtree(connection)
        stack.run("mlops", "--start")


@pytest.fixture
def first_start(tmp_path: Path) -> Iterator[Stack]:
    """An instance that was never started."""
    stack = Stack(home=tmp_path / "home", project=tmp_path / "demo", instance="fresh")
    yield stack
    if stack.directory.exists():
        stack.run("uninstall", "--yes")


def kill_after(stack: Stack, seconds: float) -> None:
    """Start the stack and kill the command line with SIGKILL."""
    command = [str(CHECKOUT / "gaiaflow-setup"), "mlops", "--start", "--instance", stack.instance]
    wrapper = subprocess.Popen(command, env=stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    wrapper.kill()
    wrapper.wait()


@pytest.mark.thorough
def test_first_start_killed_at_any_moment_is_completed_by_the_next(first_start: Stack) -> None:
    for seconds in (0.3, 1.5, 4, 15, 45):
        kill_after(first_start, seconds)
    first_start.run("mlops", "--start")
    assert {row["health"] for row in first_start.services().values()} == {"healthy"}
    again = SUMMARY.search(first_start.run("mlops", "--start").stdout)
    assert again
    assert again[2] == "0"


def test_interrupt_says_what_state_things_are_in(first_start: Stack) -> None:
    command = [str(CHECKOUT / "gaiaflow-setup"), "mlops", "--start", "--instance", first_start.instance]
    wrapper = subprocess.Popen(
        command, env=first_start.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    time.sleep(6)
    second = first_start.run("mlops", "--start", ok=False)
    assert second.returncode == 75
    assert str(wrapper.pid) in second.stderr
    wrapper.send_signal(signal.SIGINT)
    output, _ = wrapper.communicate(timeout=60)
    assert wrapper.returncode == 130
    assert "Interrupted" in output
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(first_start.home) in " ".join(p.info["cmdline"] or [])
    ]


def test_taken_port_is_named_with_its_process_before_anything_starts(tmp_path: Path) -> None:
    stack = Stack(home=tmp_path / "home", project=tmp_path, instance="taken")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = stack.run("mlops", "--start", "-j", port, ok=False)
    assert port in done.stderr
    assert f"pid {os.getpid()}" in done.stderr
    assert not (stack.home / "environments").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["mlops", "--start", "--service", "nginx"], ["nginx", "airflow"]),
        (["mlops", "--start", "-j", "99999"], ["99999", "65535"]),
        (["mlops", "--start", "--project", "/nowhere/at all"], ["/nowhere/at all", "gaiaflow-setup new"]),
        (["mlops", "--start", "-e", "mlops_state=up"], ["up", "started"]),
        (["mlops", "--start", "-e", '{"mlops_port_overrides": {"mlflow": 99999}}'], ["99999", "65535"]),
        (["workstation", "--project", "/etc/hostname"], ["/etc/hostname"]),
        (["mlops"], ["--start", "--stop", "--restart"]),
        (["logs", "airflow"], ["no instance"]),
    ],
)
def test_wrong_input_is_refused_by_name(tmp_path: Path, arguments: list[str], named: list[str]) -> None:
    stack = Stack(home=tmp_path / "home", project=tmp_path, instance="wrong")
    done = stack.run(*arguments, ok=False)
    missing = [text for text in named if text not in done.stderr]
    assert not missing, done.stderr
    assert not (stack.home / "environments").exists()


@pytest.fixture
def ordinary_user() -> Iterator[str]:
    """A user without sudo, made for the test."""
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already")
    subprocess.run(["useradd", "--create-home", ORDINARY_USER], check=True)
    yield ORDINARY_USER
    subprocess.run(["userdel", "--remove", ORDINARY_USER], check=True, capture_output=True)


@pytest.mark.thorough
def test_ordinary_user_gets_the_same_from_a_clone(ordinary_user: str) -> None:
    home = Path(f"~{ordinary_user}").expanduser()
    checkout = home / "my checkout"
    ignored = shutil.ignore_patterns(".git", ".venv*", ".cache", "__pycache__", ".mypy_cache", ".ruff_cache")
    shutil.copytree(CHECKOUT, checkout, symlinks=True, ignore=ignored)
    subprocess.run(["chown", "-R", f"{ordinary_user}:", str(checkout)], check=True)
    foreign = [f"--unset={name}" for name in os.environ if name.startswith(("XDG_", "UV_CACHE_"))]
    login = ["runuser", "-u", ordinary_user, "--", "env", *foreign, "-C", str(home), f"HOME={home}"]
    login.append(f"USER={ordinary_user}")
    command = [*login, str(checkout / "gaiaflow-setup")]

    def run(*arguments: str) -> str:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    # Docker takes root, so it is left for later; Minikube would be put into the home.
    onboard = ["workstation", "--without", "minikube", "--project", "demo", "--instance", "ordinary"]
    try:
        run(*onboard)
        again = SUMMARY.search(run(*onboard))
        assert again
        assert again[2] == "0"
        assert (home / "demo" / "dags").is_dir()
        stack = Stack(home=home / ".local/share/gaiaflow", project=home / "demo", instance="ordinary")
        assert {process.username() for process in stack.processes()} == {ordinary_user}
        Airflow(stack).run_dag("demo_example")
        run("uninstall", "--yes")
    finally:
        subprocess.run(["pkill", "-KILL", "-u", ordinary_user], check=False)
        wait_until(lambda: subprocess.run(["pgrep", "-u", ordinary_user]).returncode == 1, 60, "processes ended")
    kept = {"my checkout", "demo", ".bashrc", ".bash_logout", ".profile"}
    left = [file for path in home.iterdir() if path.name not in kept for file in [path, *path.rglob("*")]]
    assert not [file for file in left if not file.is_dir()], left
