"""The doctor: each trouble is made for real and found; tests/integration/test_doctor_role.py has it repaired."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
import yaml
from doctor_machine import CHECKOUT, INSTANCE_VARIABLE, NOBODY, Machine, needs_root

# ---- The machine


@pytest.mark.parametrize(("release", "is_old"), [("4.15.0-20-generic", True), ("4.19.0", False), ("6.1.0-18", False)])
def test_kernel(machine: Machine, release: str, is_old: bool) -> None:
    machine.write("proc/sys/kernel/osrelease", release)
    if is_old:
        machine.wrong("kernel", release)
    else:
        machine.is_well("kernel")


def test_memory_of_the_machine_and_the_limit_of_its_container(machine: Machine) -> None:
    machine.write("proc/meminfo", "MemTotal:        8000000 kB\n")
    machine.is_well("memory")
    limit = machine.write("sys/fs/cgroup/memory.max", str(2000 * 2**20))
    machine.wrong("memory", "2000 MB", "3000")
    machine.is_well("memory", memory_mb=1500)
    limit.write_text("max\n")
    machine.is_well("memory")
    machine.write("proc/meminfo", "MemTotal:        2000000 kB\n")
    machine.write("proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2")
    assert ".wslconfig" in machine.wrong("memory", "1953 MB")["repair"]


def test_disk(machine: Machine) -> None:
    machine.wrong("disk", str(machine.home), disk_mb=10**9)
    machine.is_well("disk", disk_mb=10)
    # A stack that is there needs less.
    (machine.home / "environments" / "airflow-1").mkdir(parents=True)
    (machine.home / "environments" / "airflow-1" / ".complete").touch()
    machine.is_well("disk", disk_mb=10**9)


class Clock(http.server.BaseHTTPRequestHandler):
    """A package index whose clock can be wrong."""

    skew = 0.0

    def do_HEAD(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", formatdate(time.time() + self.skew, usegmt=True))
        self.end_headers()


def test_clock(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Clock) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://user:secret@127.0.0.1:{server.server_port}/simple")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        machine.is_well("clock")
        monkeypatch.setattr(Clock, "skew", -300.0)
        found = machine.wrong("clock", " s ahead of")
        assert "secret" not in str(found)
        assert re.search(r" (300|301) s ", found["message"]), found  # an HTTP date has whole seconds
        monkeypatch.setattr(Clock, "skew", 300.0)
        machine.wrong("clock", " s behind")
        server.shutdown()
    found = machine.finding("clock")
    assert (found["state"], found["message"]) == ("unknown", "the package index doesn't answer")


@needs_root
def test_the_database_of_a_stack_of_roots_belongs_to_somebody_else_rightly(machine: Machine) -> None:
    directory = machine.add_instance("default") / "data" / "postgres"
    (directory / "cluster").mkdir(parents=True)
    for path in (directory, directory / "cluster"):
        os.chown(path, NOBODY, NOBODY)
    machine.is_well("owners")


def test_a_taken_port_is_named_with_its_process(machine: Machine) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        found = machine.wrong("ports", f"Port {port} (airflow)", f"(pid {os.getpid()})", ports={"airflow": port})
        assert str(port) in found["repair"]
        # What an instance's record says counts more than the default.
        machine.add_instance("default", ports={"airflow": 1})
        machine.is_well("ports", ports={"airflow": port})
        machine.add_instance("second", ports={"airflow": port})
        machine.wrong("ports", "airflow of instance second", ports={"airflow": port})
    machine.is_well("ports", ports={"airflow": port})


def test_a_port_of_the_stacks_own_is_no_trouble(machine: Machine) -> None:
    directory = machine.add_instance("default")
    script = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {INSTANCE_VARIABLE: str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        machine.is_well("ports", ports={"airflow": port})
        process.communicate("\n")


@needs_root
def test_command_against_files_of_somebody_else_gives_them_back(machine: Machine) -> None:
    foreign = machine.write("home/me/.kube/config", "")
    os.chown(foreign, NOBODY, NOBODY)
    command = machine.wrong("owners", "1 file ", str(foreign))["repair"].removeprefix("sudo ")
    subprocess.run(["sh", "-c", command], check=True)
    machine.is_well("owners")


# ---- Docker


def test_a_broken_daemon_json_is_named_with_line_and_column_and_left_alone(machine: Machine) -> None:
    path = machine.write("etc/docker/daemon.json", '{\n  "debug": true,\n  oops\n}\n')
    machine.wrong("docker_settings", str(path), "line 3", "column 3")
    machine.is_left_to_a_person("docker_settings")
    path.write_text('{"debug": true}')
    machine.is_well("docker_settings")


WRONG_TYPES = [
    ("docker_settings", "etc/docker/daemon.json", content, words)
    for content, words in [
        ("[]", "holds no JSON object"),
        ('"x"', "holds no JSON object"),
        ("1", "holds no JSON object"),
        ('{"dns": "1.1.1.1"}', "dns is"),
        ('{"dns": [1]}', "dns is"),
        ('{"proxies": []}', "proxies is []"),
        ('{"proxies": {"http-proxy": 1}}', "proxies is"),
        ('{"hosts": "unix:///x"}', "hosts is"),
        ('{"group": ["docker"]}', "group is"),
        ('{"debug": "true"}', 'debug is "true" and not true or false'),
        ('{"mtu": "1500"}', "mtu is"),
        ('{"mtu": true}', "mtu is"),
        ('{"log-opts": {"max-file": 3}}', "log-opts is"),
        ('{"insecure-registries": {}}', "insecure-registries is"),
        ('{"features": {"buildkit": "yes"}}', "features is"),
        ('{"runtimes": []}', "runtimes is"),
    ]
] + [
    ("docker_config", "home/me/.docker/config.json", content, words)
    for content, words in [
        ("[]", "holds no JSON object"),
        ('"x"', "holds no JSON object"),
        ("7", "holds no JSON object"),
        ("true", "holds no JSON object"),
        ('{"proxies": []}', "proxies is []"),
        ('{"proxies": {"default": "http://p"}}', "proxies is"),
        ('{"proxies": {"default": {"httpProxy": 1}}}', "proxies is"),
        ('{"auths": []}', "auths is"),
        ('{"auths": {"r": "x"}}', "auths is"),
        ('{"credsStore": []}', "credsStore is"),
        ('{"credsStore": {"a": 1}}', "credsStore is"),
        ('{"credHelpers": ["a"]}', "credHelpers is"),
        ('{"credHelpers": {"r": ["a"]}}', "credHelpers is"),
        ('{"currentContext": 1}', "currentContext is"),
        ('{"HttpHeaders": "x"}', "HttpHeaders is"),
        ('{"plugins": []}', "plugins is"),
        ('{"cliPluginsExtraDirs": "/x"}', "cliPluginsExtraDirs is"),
    ]
]


@pytest.mark.parametrize(("check", "file", "content", "words"), WRONG_TYPES)
def test_json_of_a_wrong_type_in_dockers_settings_is_found(
    machine: Machine, check: str, file: str, content: str, words: str
) -> None:
    path = machine.write(file, content)
    machine.wrong(check, str(path), words)
    machine.is_left_to_a_person(check)
    others = [one for one in machine.look()["findings"] if "could not be told" in one["message"]]
    assert others == [], "no other check stumbles over it"


def test_directory_in_the_place_of_dockers_settings_is_found(machine: Machine) -> None:
    (machine.user / ".docker" / "config.json").mkdir(parents=True)
    machine.wrong("docker_config", "is a directory")


def test_the_stub_of_systemd_is_no_trouble_as_docker_looks_behind_it(machine: Machine) -> None:
    machine.write("etc/docker/daemon.json", "{}")
    machine.write("etc/resolv.conf", "nameserver 127.0.0.53\n")
    machine.wrong("docker_dns", "127.0.0.53")
    machine.write("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\n")
    machine.is_well("docker_dns")


def test_an_engine_that_hangs_does_not_hang_the_doctor(machine: Machine) -> None:
    (machine.root / "var/run").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(machine.root / "var/run/docker.sock"))
        listener.listen()
        findings = {one["id"]: one for one in machine.look()["findings"]}
    assert findings["docker_daemon"]["state"] == "wrong"
    assert "doesn't answer" in findings["docker_daemon"]["message"]
    assert findings["docker_version"]["state"] == "unknown"


def test_no_docker_at_all_is_no_trouble(machine: Machine) -> None:
    result = machine.look()
    findings = {one["id"]: one for one in result["findings"]}
    assert findings["docker_daemon"]["state"] == "unknown"
    assert findings["docker_daemon"]["repair"] == "gaiaflow-setup workstation"
    assert not [one for one in result["findings"] if one["state"] == "wrong" and one["id"] not in ("ports",)]
    (machine.root / "snap/docker").mkdir(parents=True)
    machine.wrong("docker_daemon", "isn't running")


def test_a_broken_config_json_is_named_with_line_and_column_and_left_alone(machine: Machine) -> None:
    path = machine.write("home/me/.docker/config.json", '{\n  "auths": {},\n}\n')
    machine.wrong("docker_config", str(path), "line", "column")
    machine.is_left_to_a_person("docker_config")
    assert machine.finding("docker_helpers")["state"] == "ok"
    path.write_text('{"auths": {}}')
    machine.is_well("docker_config")


def test_a_proxy_on_loopback_is_nothing_for_containers(machine: Machine) -> None:
    def settings(proxy: str) -> None:
        proxies = {"default": {"httpProxy": proxy, "noProxy": "localhost"}}
        machine.write("home/me/.docker/config.json", json.dumps({"proxies": proxies}))

    for proxy in ("http://localhost:3128", "http://127.0.0.1:3128", "localhost:3128", "http://u:p@[::1]:3128"):
        settings(proxy)
        machine.wrong("docker_proxy", proxy, "config.json")
        machine.is_left_to_a_person("docker_proxy")
    settings("http://proxy.example:3128")
    machine.is_well("docker_proxy")


def test_the_engines_own_proxy_may_be_on_loopback_if_it_runs(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        machine.write("etc/docker/daemon.json", json.dumps({"proxies": {"http-proxy": address, "no-proxy": "127.1"}}))
        machine.is_well("docker_proxy")
    machine.wrong("docker_proxy", address, "daemon.json")


# ---- The command


def setup(machine: Machine, *arguments: str, only: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command on this machine as it is, for the checks that look only at this test's directories."""
    chosen = json.dumps({"doctor_only": only or ("docker_config", "docker_helpers", "environments", "runs")})
    environment = os.environ | {
        "HOME": str(machine.user),
        "GAIAFLOW_HOME": str(machine.home),
        "PYTHONPATH": str(CHECKOUT),
    }
    command = [sys.executable, "-m", "gaiaflow_py", "doctor", *arguments, "-e", chosen]
    environment["TMPDIR"] = str(machine.root / "tmp")
    (machine.root / "tmp").mkdir(exist_ok=True)
    return subprocess.run(command, env=environment, cwd=machine.root, capture_output=True, text=True, check=False)


def break_two(machine: Machine) -> Path:
    """A half-made environment, and settings of Docker's that name a helper which isn't there."""
    (machine.home / "environments" / "mlflow-4567").mkdir(parents=True)
    return machine.write("home/me/.docker/config.json", '{"credsStore": "gone"}')


def test_the_command_finds_repairs_and_says_so(machine: Machine) -> None:
    assert setup(machine).returncode == 0
    path = break_two(machine)
    for arguments in ((), ("--fix", "--check")):
        done = setup(machine, *arguments)
        assert done.returncode == 1, done.stderr
        assert "credential helpers" in done.stdout
        assert "docker-credential-gone" in done.stdout
        assert "2 well, 2 wrong." in done.stdout
    assert "credsStore" in path.read_text()
    done = setup(machine, "--fix")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 well, 2 fixed." in done.stdout
    done = setup(machine, "--fix")
    assert (done.returncode, done.stdout) == (0, "4 well.\n")


def test_what_cannot_be_repaired_is_still_wrong_after_a_repair(machine: Machine) -> None:
    machine.write("home/me/.docker/config.json", "{")
    done = setup(machine, "--fix")
    assert done.returncode == 1
    assert "line 1" in done.stdout


def test_json(machine: Machine) -> None:
    break_two(machine)
    done = setup(machine, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert list(document) == ["status", "findings", "hosts", "log"]
    assert document["status"] == "ok"
    states = {one["id"]: one["state"] for one in document["findings"]}
    assert states == {"docker_config": "ok", "docker_helpers": "wrong", "environments": "wrong", "runs": "ok"}
    assert set(document["findings"][0]) == {"id", "title", "state", "message", "why", "repair"}


def test_several_hosts_have_a_column(machine: Machine) -> None:
    break_two(machine)
    local = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "gaiaflow_home": str(machine.home),
    }
    inventory = machine.write("hosts.yml", yaml.safe_dump({"all": {"hosts": {"one": local, "two": local}}}))
    done = setup(machine, "-i", str(inventory))
    assert done.returncode == 1, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.startswith("Host")
    assert [row.split()[0] for row in rows if row.startswith(("one", "two"))] == ["one", "one", "two", "two"]
    assert "4 well, 4 wrong." in done.stdout


@needs_root
def test_several_hosts_are_repaired_each_by_its_own_findings(machine: Machine) -> None:
    hosts: dict[str, dict[str, str]] = {}
    for name in ("one", "two"):
        root = machine.root / name
        (root / "stack" / "environments" / f"mlflow-{name}").mkdir(parents=True)
        hosts[name] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "gaiaflow_home": str(root / "stack"),
            "doctor_root": str(root),
        }
    pid_file = machine.write("two/var/run/docker.pid", "4711")
    inventory = machine.write("hosts.yml", yaml.safe_dump({"all": {"hosts": hosts}}))
    done = setup(machine, "-i", str(inventory), "--fix", only=("docker_pid", "environments"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 well, 3 fixed." in done.stdout
    assert not pid_file.exists()
    assert not list(machine.root.glob("*/stack/environments/*"))


def test_wrong_input_is_refused(machine: Machine) -> None:
    done = setup(machine, only=("docker_socks",))
    assert done.returncode == 1
    assert "docker_socks" in done.stderr
    assert "docker_socket" in done.stderr
    done = setup(machine, "-e", '{"doctor_ports": {"airflow": 99999}}')
    assert done.returncode == 1
    assert "99999" in done.stderr
    done = setup(machine, "-e", "doctor_user=no-such-user")
    assert "no-such-user" in done.stderr
    assert setup(machine, "--repair").returncode == 2


def test_role_looks_at_the_ports_of_the_catalogue(machine: Machine) -> None:
    described = yaml.safe_load((CHECKOUT / "roles/mlops/vars/main/services/jupyter.yml").read_text())
    (port,) = described["mlops_service_jupyter"]["pages"].values()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Where something else has the port, it is that which is found.
        with contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            listener.listen()
        assert str(port) in setup(machine, only=("ports",)).stdout
