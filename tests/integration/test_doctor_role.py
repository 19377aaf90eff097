"""Role doctor repairs: each trouble is made for real, found, repaired by the role, and well afterwards."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from doctor_machine import CHECKOUT, INSTANCE_VARIABLE, NOBODY, Machine, needs_root, process
from role_play import ROOT, prepare

# ---- The machine

# The kernel's limits are the whole machine's: this stand-in reads and writes the test's own.
SYSCTL = """#!/bin/sh
case "$*" in
    "-e -n "*) cat "{root}/proc/sys/$(echo "$3" | tr . /)" ;;
    *-w*) for last; do :; done; printf %s "${{last#*=}}" >"{root}/proc/sys/$(echo "${{last%%=*}}" | tr . /)" ;;
    *) exit 1 ;;
esac
"""


@needs_root
def test_inotify_limits_are_raised_for_good_and_never_lowered(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_program(machine, monkeypatch, "sysctl", SYSCTL.format(root=machine.root))
    watches = machine.write("proc/sys/fs/inotify/max_user_watches", "8192\n")
    instances = machine.write("proc/sys/fs/inotify/max_user_instances", "1024\n")
    machine.is_repaired("inotify", "max_user_watches is 8192")
    kept = machine.root / "etc/sysctl.d/60-gaiaflow.conf"
    assert "fs.inotify.max_user_watches=524288" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o644
    assert "instances" not in kept.read_text()
    assert (watches.read_text(), instances.read_text()) == ("524288", "1024\n")
    instances.write_text("64")
    machine.is_repaired("inotify", "max_user_instances is 64")
    assert len(re.findall(r"fs\.inotify", kept.read_text())) == 2


@needs_root
def test_files_of_somebody_else_and_no_others_are_given_back(machine: Machine) -> None:
    project = machine.user / "my project"
    for directory in (machine.home / "cache", project / "dags", machine.user / ".docker", machine.user / "private"):
        directory.mkdir(parents=True)
    machine.add_instance("default", project=str(project))
    machine.is_well("owners")
    outside = machine.write("home/me/private/file", "")
    link = project / "dags" / "link"
    link.symlink_to(outside)
    foreign = [machine.home / "cache", machine.write("home/me/my project/dags/dag.py", ""), machine.user / ".docker"]
    for path in (*foreign, outside, outside.parent):
        os.chown(path, NOBODY, NOBODY)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    found = machine.wrong("owners", "4 files", str(foreign[1]))
    assert str(machine.user / "private") not in str(found)
    machine.is_repaired("owners")
    assert {path.lstat().st_uid for path in (*foreign, link)} == {os.geteuid()}
    assert outside.stat().st_uid == NOBODY


@pytest.mark.thorough
@needs_root
def test_database_of_a_stack_of_roots_stays_with_its_user(machine: Machine) -> None:
    data = machine.add_instance("default") / "data"
    (data / "postgres" / "cluster").mkdir(parents=True)
    (data / "airflow").mkdir()
    for path in (data / "postgres", data / "postgres" / "cluster", data / "airflow"):
        os.chown(path, NOBODY, NOBODY)
    machine.is_repaired("owners", "1 file ")
    assert (data / "postgres" / "cluster").stat().st_uid == NOBODY
    assert (data / "airflow").stat().st_uid == 0


# ---- Docker


@needs_root
def test_name_servers_that_containers_cannot_reach_are_replaced(machine: Machine) -> None:
    machine.write("etc/resolv.conf", "# stub\nnameserver 127.0.1.1\nnameserver ::1\n")
    settings = machine.write("etc/docker/daemon.json", '{"mtu": 1400, "debug": true}')
    assert '{"dns": ["ADDRESS"]}' in machine.wrong("docker_dns", "127.0.1.1")["repair"]
    machine.is_left_to_a_person("docker_dns")
    machine.write("run/NetworkManager/no-stub-resolv.conf", "nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    machine.is_repaired("docker_dns", "127.0.1.1")
    expected = {"mtu": 1400, "debug": True, "dns": ["192.0.2.1", "192.0.2.2"]}
    assert list(json.loads(settings.read_text()).items()) == list(expected.items())
    settings.write_text("{")
    machine.is_left_to_a_person("docker_dns")


@needs_root
def test_pid_file_that_names_another_process_is_removed(machine: Machine) -> None:
    path = machine.write("var/run/docker.pid", "4711")
    machine.write("proc/4711/comm", "dockerd\n")
    machine.is_well("docker_pid")
    # The number went to another process: dockerd would refuse to start.
    machine.write("proc/4711/comm", "bash\n")
    machine.is_repaired("docker_pid", str(path), "4711")
    assert not path.exists()


@needs_root
def test_socket_for_everybody_becomes_roots_and_the_groups_again(machine: Machine) -> None:
    path = machine.root / "var/run/docker.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        own_group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
        machine.write("etc/docker/daemon.json", json.dumps({"group": own_group}))
        machine.is_repaired("docker_socket", "mode 666")
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


# A stand-in for the engine: it leaves its number, and answers whatever it is asked.
ENGINE = """#!{python}
import http.server, json, os, pathlib, socketserver

class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self):
        return "socket"

    def do_GET(self):
        answer = json.dumps({{"Version": "27.0.1"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

pathlib.Path("/run/docker.pid").write_text(str(os.getpid()))
socketserver.ThreadingUnixStreamServer("/run/docker.sock", Handler).serve_forever()
"""
BROKEN_ENGINE = "#!/bin/sh\necho failed to start daemon: no room >&2\nexit 1\n"
# No other process sees what is mounted here, and nothing in here sees the machine's own engine, or what starts it.
ISOLATE = """
mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log || exit
[ ! -d /etc/init.d ] || mount -t tmpfs tmpfs /etc/init.d || exit
"$@"
code=$?
[ ! -e /run/docker.pid ] || kill "$(cat /run/docker.pid)"
exit $code
"""


@needs_root
@pytest.mark.parametrize("works", [True, False])
def test_engine_is_started_by_the_tasks_of_role_docker(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    if subprocess.run(["unshare", "--mount", "true"]).returncode:
        pytest.skip("nothing may be mounted here")
    add_program(machine, monkeypatch, "dockerd", ENGINE.format(python=sys.executable) if works else BROKEN_ENGINE)
    (machine.root / "snap/docker").mkdir(parents=True)
    (machine.root / "var").mkdir()
    (machine.root / "var/run").symlink_to("/run")
    variables = {"doctor_fix": True, "doctor_root": str(machine.root), "doctor_only": ["docker_daemon"]}
    command, environment = prepare(machine.playbooks, "doctor", {**variables, "gaiaflow_home": str(machine.home)})
    isolated = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ISOLATE, "sh", *command]
    done = subprocess.run(isolated, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    played = json.loads(done.stdout[done.stdout.index("{") :])
    results = [task["hosts"]["localhost"] for task in played["plays"][0]["tasks"]]
    *_, found = [one for result in results for one in result.get("findings", ())]
    if works:
        assert (found["state"], found["message"]) == ("fixed", "The Docker engine was started.")
    else:
        assert found["state"] == "wrong"
        why = "The repair failed: The Docker engine does not start: failed to start daemon: no room"
        assert found["message"] == f"The Docker engine isn't running. {why}"


def test_credential_helpers_that_are_not_there_are_forgotten_and_nothing_else(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_program(machine, monkeypatch, "docker-credential-here", "#!/bin/sh\n")
    content = {
        "auths": {"registry.example": {"auth": "c2VjcmV0"}},
        "credsStore": "desktop.exe",
        "credHelpers": {"a.example": "gone", "b.example": "here"},
    }
    path = machine.write("home/me/.docker/config.json", json.dumps(content))
    path.chmod(0o640)
    machine.is_repaired("docker_helpers", "desktop.exe", "docker-credential-gone")
    assert json.loads(path.read_text()) == {"auths": content["auths"], "credHelpers": {"b.example": "here"}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    (kept,) = path.parent.glob("config.json.*~")
    assert json.loads(kept.read_text()) == content
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_context_that_does_not_exist_gives_way_to_the_default(machine: Machine) -> None:
    content = {"currentContext": "desktop-linux", "auths": {}}
    path = machine.write("home/me/.docker/config.json", json.dumps(content))
    machine.is_repaired("docker_context", "desktop-linux")
    assert json.loads(path.read_text()) == {"auths": {}}


# ---- Minikube

# A stand-in for what can't be had here: it says and does what its documentation says.
MINIKUBE = """#!/bin/sh
echo "$@" >>"$HOME/minikube-calls"
if [ "$1" != status ] && [ -e "$HOME/minikube-fails" ]; then
    echo "X Exiting due to GUEST_PROVISION: no room" >&2
    exit 80
fi
case "$1" in
    status) cat "$HOME/minikube-status"; exit 7 ;;
    start | update-context) cp "$HOME/minikube-well" "$HOME/minikube-status" ;;
    delete) rm -rf "$HOME/.minikube/profiles/$3" ;;
esac
"""


def states(host: str, kubelet: str, api_server: str, kubeconfig: str = "Configured") -> str:
    parts = {"Name": "airflow", "Host": host, "Kubelet": kubelet, "APIServer": api_server, "Kubeconfig": kubeconfig}
    return json.dumps(parts | {"Worker": False})


def add_program(machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """Put a program on the PATH."""
    program = machine.write(f"bin/{name}", text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.fixture
def minikube(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the user's home, with a profile and the stand-in for Minikube's program."""
    add_program(machine, monkeypatch, "minikube", MINIKUBE)
    monkeypatch.setenv("HOME", str(machine.user))
    machine.write("home/me/.minikube/profiles/airflow/config.json", "{}")
    machine.write("home/me/minikube-well", states("Running", "Running", "Running"))
    return machine.user


@pytest.mark.parametrize(
    ("status", "command"),
    [
        (states("Running", "Stopped", "Stopped"), "start -p airflow"),
        (states("Running", "Running", "Error"), "start -p airflow"),
        (f"[{states('Running', 'Stopped', 'Running')}]", "start -p airflow"),
        (states("Nonexistent", "Nonexistent", "Nonexistent", "Nonexistent"), "delete -p airflow"),
        (states("Running", "Running", "Running", "Misconfigured"), "update-context -p airflow"),
    ],
)
def test_broken_profile_is_repaired_by_minikube(machine: Machine, minikube: Path, status: str, command: str) -> None:
    (minikube / "minikube-status").write_text(status)
    assert machine.wrong("minikube", "airflow")["repair"] == f"minikube {command}"
    assert command not in (minikube / "minikube-calls").read_text()
    found, _ = machine.repair("minikube")
    assert found["minikube"]["state"] == "fixed", found
    assert command in (minikube / "minikube-calls").read_text().splitlines()
    machine.is_well("minikube")


@pytest.mark.thorough
def test_profile_without_settings_is_deleted(machine: Machine, minikube: Path) -> None:
    (minikube / ".minikube/profiles/airflow/config.json").unlink()
    machine.wrong("minikube", "interrupted")
    assert machine.repair("minikube")[0]["minikube"]["state"] == "fixed"
    machine.is_well("minikube")


@pytest.mark.parametrize("host", ["Stopped", "Paused", "Running"])
def test_profile_that_is_stopped_as_a_whole_is_well(machine: Machine, minikube: Path, host: str) -> None:
    (minikube / "minikube-status").write_text(states(host, host, host))
    machine.is_well("minikube")


def test_repair_that_fails_says_why_and_costs_no_other(machine: Machine, minikube: Path) -> None:
    (minikube / "minikube-status").write_text(states("Running", "Stopped", "Stopped"))
    (minikube / "minikube-fails").touch()
    (machine.home / "environments" / "mlflow-4567").mkdir(parents=True)
    found, _ = machine.repair("minikube", "environments")
    assert (found["minikube"]["state"], found["environments"]["state"]) == ("wrong", "fixed")
    assert "the kubelet is stopped" in found["minikube"]["message"]
    assert "The repair failed: " in found["minikube"]["message"]
    assert "no room" in found["minikube"]["message"]
    assert found["minikube"]["repair"] == "minikube start -p airflow"
    assert (minikube / "minikube-calls").read_text().count("start") == 1


# ---- What is left over


def test_what_a_killed_supervisor_left_is_removed(machine: Machine) -> None:
    sockets = machine.root / "sockets"
    directory = machine.add_instance("default", sockets=str(sockets))
    with process(**{INSTANCE_VARIABLE: str(directory)}) as pid:
        pid_file = machine.write("sockets/supervisord.pid", f"{pid}\n")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(sockets / "supervisor.sock"))
        machine.is_well("supervisors")
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        machine.is_well("supervisors")  # its services are being started
    machine.is_repaired("supervisors", "default")
    assert not list(sockets.iterdir())
    # The number may have gone to another process by now.
    with process() as pid:
        pid_file.write_text(str(pid))
        machine.is_repaired("supervisors", "default")


@pytest.mark.thorough
def test_half_made_environments_are_removed(machine: Machine) -> None:
    root = machine.home / "environments"
    (root / "airflow-0123").mkdir(parents=True)
    (root / "airflow-0123" / ".complete").touch()
    half = root / "mlflow-4567" / "bin"
    half.mkdir(parents=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        machine.is_well("environments")  # it is being made
    machine.is_repaired("environments", "mlflow-4567")
    assert [path.name for path in root.iterdir() if path.is_dir()] == ["airflow-0123"]


def test_directories_of_killed_runs_are_removed(machine: Machine) -> None:
    temporary = machine.root / "tmp"
    for name in ("gaiaflow-run-old", "gaiaflow-run-working", "gaiaflow-run-young", "else"):
        (temporary / name).mkdir(parents=True)
        (temporary / name / "owner").touch()
        if name != "gaiaflow-run-young":
            os.utime(temporary / name, (0, 0))
    with (temporary / "gaiaflow-run-working" / "owner").open() as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        machine.is_repaired("runs", "gaiaflow-run-old")
    left = {path.name for path in temporary.iterdir()}
    assert left == {"gaiaflow-run-working", "gaiaflow-run-young", "else"}


# ---- All of it


def break_several(machine: Machine) -> set[str]:
    """Make a trouble of each kind of repair: of files, of settings, of a program, and of what is left over."""
    machine.write("var/run/docker.pid", "4711")
    machine.write("etc/resolv.conf", "nameserver 127.0.1.1\n")
    machine.write("run/NetworkManager/resolv.conf", "nameserver 192.0.2.1\n")
    machine.write("etc/docker/daemon.json", "{}")
    machine.write("home/me/.docker/config.json", '{"credsStore": "gone", "currentContext": "gone"}')
    os.chown(machine.write("home/me/.kube/config", ""), NOBODY, NOBODY)
    (machine.home / "environments" / "mlflow-4567").mkdir(parents=True)
    machine.write("home/me/gaiaflow/instances/default/run/supervisord.pid", "4711000")
    machine.add_instance("default")
    run = machine.root / "tmp" / "gaiaflow-run-old"
    run.mkdir(parents=True)
    os.utime(run, (0, 0))
    user_s = {"docker_helpers", "docker_context", "supervisors", "environments", "runs"}
    return user_s | {"owners", "docker_dns", "docker_pid"}


@needs_root
def test_check_mode_and_a_second_run_change_nothing(machine: Machine, minikube: Path) -> None:
    (minikube / "minikube-status").write_text(states("Running", "Stopped", "Stopped"))
    broken = break_several(machine) | {"minikube"}
    machine.look(*broken)
    before = machine.snapshot()
    found, changed = machine.repair(*broken, options=("--check",))
    after = machine.snapshot()
    after.pop(str(minikube / "minikube-calls")), before.pop(str(minikube / "minikube-calls"))
    assert ({one["state"] for one in found.values()}, changed, after) == ({"wrong"}, 0, before)
    found, changed = machine.repair(*broken)
    assert {id: one["state"] for id, one in found.items()} == dict.fromkeys(broken, "fixed")
    assert changed >= len(broken)
    found, changed = machine.repair(*broken)
    assert ({one["state"] for one in found.values()}, changed) == ({"ok"}, 0)


@needs_root
def test_without_fix_the_role_changes_nothing(machine: Machine) -> None:
    broken = break_several(machine)
    before = machine.snapshot()
    found, changed = machine.repair(*broken, doctor_fix=False)
    assert ({one["state"] for one in found.values()}, changed) == ({"wrong"}, 0)
    assert machine.snapshot() == before


# ---- The checks and their repairs


def test_each_repair_file_belongs_to_a_check_and_the_docs_say_so(machine: Machine) -> None:
    checks = [one["id"] for one in machine.look()["findings"]]
    repairs = {path.stem for path in (CHECKOUT / "roles/doctor/tasks/repair").glob("*.yml")}
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", (CHECKOUT / "docs/doctor.md").read_text(), re.MULTILINE)
    assert [id for id, _ in rows] == checks
    assert {id for id, what in rows if not what.startswith("no")} == repairs


def test_role_takes_any_check(machine: Machine) -> None:
    options = yaml.safe_load((CHECKOUT / "roles/doctor/meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    assert "choices" not in options["options"]["doctor_only"], "a new check needs no line there"
