"""The doctor on a real host with a Docker engine: each trouble is made there, found, repaired, and well afterwards.

What needs no engine is proven in tests/integration/test_doctor_role.py. The tests run in their order, as alice, who has
sudo.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hosts import USER, Host, document

SOCKET = "/var/run/docker.sock"
HOME = f"/home/{USER}/.local/share/gaiaflow"
LABEL = "gaiaflow.directory"
# An image needs no registry: the host's own files are one.
IMPORT = "tar -C / -c bin/true | docker import - empty:1"


@pytest.fixture(scope="module")
def host(make_host: Callable[..., Host]) -> Host:
    """A host with an engine that somebody else has installed."""
    made = make_host("bookworm")
    install = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends"
    made.run(f"{install} docker.io iptables", check=True)
    made.run("systemctl start docker", check=True)
    return made


def findings(host: Host, *arguments: str) -> dict[str, dict[str, Any]]:
    """What the doctor finds, by the checks' ids; its exit code must say the same."""
    done = host.setup("doctor", "--json", *arguments)
    content = document(done)
    assert content["status"] == "ok", content
    found = {one["id"]: one for one in content["findings"]}
    assert done.returncode == int(any(one["state"] == "wrong" for one in found.values())), content
    return found


def is_repaired(host: Host, *checks: str, only: bool = True, arguments: tuple[str, ...] = ()) -> None:
    """The troubles must be found, repaired, and well from then on; a look alone must change nothing."""
    for _ in range(2):
        found = findings(host, *arguments)
        assert {one: found[one]["state"] for one in checks} == dict.fromkeys(checks, "wrong")
        if only:
            assert [one for one in found if found[one]["state"] == "wrong"] == list(checks), found
        assert all(found[one]["why"] and found[one]["repair"] for one in checks)
    found = findings(host, "--fix", *arguments)
    assert {one: found[one]["state"] for one in checks} == dict.fromkeys(checks, "fixed"), found
    found = findings(host, *arguments)
    assert {one: found[one]["state"] for one in checks} == dict.fromkeys(checks, "ok"), [found[one] for one in checks]


def test_a_user_who_may_not_use_docker_joins_its_group(host: Host) -> None:
    assert host.run("docker version", USER).returncode
    is_repaired(host, "docker_group")
    host.run("docker version", USER, check=True)


def test_all_is_well_on_a_host_that_is(host: Host) -> None:
    done = host.setup("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " well" in done.stdout
    assert "wrong" not in done.stdout


def test_an_engine_that_does_not_run_is_started(host: Host) -> None:
    host.run("systemctl stop docker.socket docker.service && systemctl disable docker.service", check=True)
    is_repaired(host, "docker_daemon")
    host.run("docker version", USER, check=True)
    assert host.run("systemctl is-enabled docker.service").stdout == "disabled\n", "a user's choice is kept"
    host.run("systemctl enable docker.service", check=True)


def test_an_engine_that_hangs_is_restarted(host: Host) -> None:
    host.run("pkill -STOP dockerd", check=True)
    is_repaired(host, "docker_daemon")
    host.run("docker version", USER, check=True)


def test_a_pid_file_that_names_another_process(host: Host) -> None:
    host.run("systemctl stop docker.socket docker.service && echo 1 >/var/run/docker.pid", check=True)
    is_repaired(host, "docker_pid", "docker_daemon")
    host.run("docker version", USER, check=True)


def test_a_socket_for_everybody(host: Host) -> None:
    host.run(f"chmod 666 {SOCKET}", check=True)
    is_repaired(host, "docker_socket")
    assert host.run(f"stat -L -c '%a %U %G' {SOCKET}").stdout == "660 root docker\n"
    host.run(f"chmod 666 {SOCKET} && gpasswd -d {USER} docker && chgrp root {SOCKET}", check=True)
    is_repaired(host, "docker_socket", "docker_group")
    host.run("docker version", USER, check=True)


def test_without_sudo_the_command_is_named_and_nothing_is_done(host: Host) -> None:
    add = "useradd -m -s /bin/bash -G docker bob && cp -a /home/alice/.ssh /home/bob/ && chown -R bob: /home/bob"
    host.run(f"{add}; chmod 666 {SOCKET}", check=True)
    for arguments in ((), ("--fix",)):
        found = findings(host, *arguments, "-e", "ansible_user=bob")
        assert found["docker_socket"]["state"] == "wrong"
        assert found["docker_socket"]["repair"] == f"sudo chgrp docker {SOCKET} && sudo chmod 660 {SOCKET}"
    assert host.run(f"stat -L -c %a {SOCKET}").stdout == "666\n"
    host.run(found["docker_socket"]["repair"], USER, check=True)
    assert findings(host)["docker_socket"]["state"] == "ok"


@pytest.fixture
def inotify(host: Host) -> Iterator[int]:
    """How many instances may be; the limit is the whole machine's, so it is only ever raised, and put back."""
    host.run("mount -o remount,rw /proc/sys", check=True)
    limit = int(host.run("cat /proc/sys/fs/inotify/max_user_instances", check=True).stdout)
    yield limit
    host.run(f"echo {limit} >/proc/sys/fs/inotify/max_user_instances", check=True)


def test_inotify_limits(host: Host, inotify: int) -> None:
    is_repaired(host, "inotify", arguments=("-e", f"doctor_inotify_instances={inotify + 1}"))
    assert "max_user_instances" in host.run("cat /etc/sysctl.d/60-gaiaflow.conf", check=True).stdout


def test_files_that_sudo_left(host: Host) -> None:
    host.run(f"mkdir -p {HOME}/cache /home/{USER}/.docker && echo '{{}}' >/home/{USER}/.docker/config.json", check=True)
    is_repaired(host, "owners")
    assert not host.run(f"find {HOME} /home/{USER}/.docker ! -user {USER}").stdout


def test_a_context_whose_engine_is_gone(host: Host) -> None:
    host.run(
        "docker context create gone --docker host=unix:///run/gone.sock && docker context use gone", USER, check=True
    )
    assert host.run("docker version", USER).returncode
    is_repaired(host, "docker_context")
    host.run("docker version", USER, check=True)


def test_two_engines_are_the_users_choice(host: Host) -> None:
    second = "unix:///run/second.sock"
    options = f"-H {second} --data-root /var/lib/docker/2 --exec-root /run/second --pidfile /run/second.pid"
    host.run(f"systemd-run --unit second dockerd {options} --bridge none --iptables=false", check=True)
    host.run(f"for _ in $(seq 50); do docker -H {second} version && break; sleep 0.2; done", check=True)
    host.run(f"docker context create second --docker host={second} && docker context use second", USER, check=True)
    for arguments in ((), ("--fix",)):
        found = findings(host, *arguments)["docker_context"]
        assert found["state"] == "wrong"
        assert second in found["message"]
    host.run("docker context use default", USER, check=True)
    assert findings(host)["docker_context"]["state"] == "ok"
    host.run("systemctl stop second", check=True)


def test_docker_host_that_leads_elsewhere(host: Host) -> None:
    host.run("echo DOCKER_HOST=unix:///run/gone.sock >>/etc/environment", check=True)
    host.run("echo 'export DOCKER_HOST=unix:///run/gone.sock' >>~/.profile", USER, check=True)
    found = findings(host, "--fix")["docker_context"]
    assert found["state"] == "wrong"
    assert "nobody answers" in found["message"]
    assert "/etc/environment:" in found["repair"]
    assert f"/home/{USER}/.profile:" in found["repair"]
    host.run("sed -i /DOCKER_HOST/d /etc/environment /home/*/.profile", check=True)
    assert findings(host)["docker_context"]["state"] == "ok"


def test_containers_and_networks_of_instances_that_are_gone(host: Host) -> None:
    host.run(f"mkdir -p {HOME}/instances/here", USER, check=True)
    host.run(IMPORT, USER, check=True)
    for place in (f"{HOME}/instances/gone", f"{HOME}/instances/here", "/home/other/instances/gone"):
        label = f"--label {LABEL}={place}"
        host.run(f"docker create {label} empty:1 /bin/true && docker network create {label} n$RANDOM", USER, check=True)
    is_repaired(host, "docker_leftovers")
    for kind in ("ps -a", "network ls"):
        left = host.run(f"docker {kind} --filter label={LABEL} -q", USER, check=True).stdout.split()
        assert len(left) == 2


def test_what_an_engine_shows_that_runs_again_is_repaired_in_the_same_run(host: Host) -> None:
    label = f"--label {LABEL}={HOME}/instances/gone"
    host.run(f"docker create {label} empty:1 /bin/true", USER, check=True)
    host.run("systemctl stop docker.socket docker.service", check=True)
    found = findings(host)
    assert (found["docker_daemon"]["state"], found["docker_leftovers"]["state"]) == ("wrong", "unknown")
    found = findings(host, "--fix")
    assert {found[id]["state"] for id in ("docker_daemon", "docker_leftovers")} == {"fixed"}, found


def test_name_servers_on_loopback(host: Host) -> None:
    host.run("cp /etc/resolv.conf /etc/resolv.conf.kept && mkdir -p /run/NetworkManager", check=True)
    host.run(
        "cp /etc/resolv.conf /run/NetworkManager/resolv.conf && echo nameserver 127.0.0.1 >/etc/resolv.conf", check=True
    )
    is_repaired(host, "docker_dns")
    settings = json.loads(host.run("cat /etc/docker/daemon.json", check=True).stdout)
    assert settings["dns"]
    host.run("systemctl restart docker && docker version && cat /etc/resolv.conf.kept >/etc/resolv.conf", check=True)


def test_all_is_well_at_the_end(host: Host) -> None:
    done = host.setup("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
