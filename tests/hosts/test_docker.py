"""The role docker on real hosts: what it installs, keeps, refuses, and leaves for later."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import CHECKOUT, USER, Host
from vendor import build_site, hanging, run, served

DAEMON = "/etc/docker/daemon.json"


@pytest.fixture(scope="module")
def debian_host(make_host: Callable[..., Host]) -> Host:
    """A host with systemd, on which the role has installed Docker."""
    host = make_host("bookworm")
    converge(host)
    return host


def recap(output: str) -> dict[str, int]:
    """The counts of Ansible's last line."""
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", output.split("PLAY RECAP")[-1])}


def converge(host: Host, *arguments: str) -> dict[str, int]:
    """Run the role, which must succeed, and return its counts."""
    output = host.docker_role(*arguments)
    counts = recap(output)
    assert counts["failed"] == 0 == counts["unreachable"], output
    return counts


def can_run_containers(host: Host) -> bool:
    """Whether the user can, in a new login."""
    return not host.run("docker run --rm gaiaflow-setup/check:1 /bin/true", user=USER).returncode


def test_the_users_settings_are_kept(debian_host: Host) -> None:
    debian_host.run(f"""echo '{{"log-driver": "local", "labels": ["mine=yes"]}}' >{DAEMON}; systemctl restart docker""")
    converge(debian_host, "-e", json.dumps({"docker_daemon": {"max-concurrent-downloads": 2}}))
    content = json.loads(debian_host.run(f"cat {DAEMON}").stdout)
    assert content == {"log-driver": "local", "labels": ["mine=yes"], "max-concurrent-downloads": 2}
    assert debian_host.run("docker info --format '{{.LoggingDriver}} {{.Labels}}'").stdout.strip() == "local [mine=yes]"
    assert can_run_containers(debian_host)


def test_settings_wait_while_containers_run(debian_host: Host) -> None:
    image = "gaiaflow-setup/check:1"
    debian_host.run(f"docker run -d --name mine --entrypoint /lib64/ld-linux-x86-64.so.2 {image} --help; true")
    debian_host.run("docker rm -f mine")
    debian_host.run(f"docker run -di --name mine {image} /bin/true")
    # `true` has ended: the engine may restart. A container that reads its input stays.
    tar = "tar --create --dereference --absolute-names /bin/cat $(ldd /bin/cat | grep -o '/[^ ]*')"
    debian_host.run(f"{tar} | docker import - cat; docker run -di --name stays cat /bin/cat", check=True)
    started = debian_host.run("docker inspect --format '{{.State.StartedAt}}' stays").stdout
    output = debian_host.docker_role("-v", "-e", json.dumps({"docker_daemon": {"debug": True}}))
    assert recap(output)["failed"] == 0, output
    assert "containers are running, which a restart would end" in output
    assert debian_host.run("docker inspect --format '{{.State.StartedAt}}' stays").stdout == started
    assert "which a restart would end" in debian_host.docker_role(
        "-v", "-e", json.dumps({"docker_daemon": {"debug": True}})
    )
    debian_host.run("docker rm -f stays mine")
    # What waited is done by the next run that may, as after a run that was killed between the two.
    assert converge(debian_host)["changed"] == 1
    assert debian_host.run("docker info --format '{{.Debug}}'").stdout.strip() == "true"
    assert converge(debian_host)["changed"] == 0


def test_broken_settings_are_an_error_with_line_and_column(debian_host: Host) -> None:
    before = debian_host.run(f"cat {DAEMON}").stdout
    broken = '{\n  "debug": true,\n  oops\n}\n'
    debian_host.run(f"cat >{DAEMON} <<'END'\n{broken}END")
    output = debian_host.docker_role()
    assert recap(output)["failed"] == 1
    assert f"{DAEMON} is not valid JSON" in output and "line 3, column 3" in output
    assert debian_host.run(f"cat {DAEMON}").stdout == broken
    debian_host.run(f"cat >{DAEMON} <<'END'\n{before}END")


def test_a_wrong_value_fails_at_once(debian_host: Host) -> None:
    output = debian_host.docker_role("-e", "docker_source=snap")
    assert recap(output)["failed"] == 1
    assert "docker_source" in output and "auto, docker, distribution" in output


def test_the_user_is_let_in_again(debian_host: Host) -> None:
    debian_host.run(f"gpasswd --delete {USER} docker")
    assert not can_run_containers(debian_host)
    assert converge(debian_host)["changed"] == 1
    assert can_run_containers(debian_host)
    assert debian_host.run("stat --format '%a %G' /run/docker.sock").stdout.strip() == "660 docker"


def test_a_stopped_engine_is_started(debian_host: Host) -> None:
    debian_host.run("systemctl disable --now docker.service docker.socket")
    assert converge(debian_host)["changed"] == 1
    assert debian_host.run("systemctl is-enabled docker").stdout.strip() == "enabled"
    assert converge(debian_host)["changed"] == 0


def test_without_root_an_engine_that_does_not_run_is_left_for_later(debian_host: Host) -> None:
    debian_host.run("systemctl stop docker.service docker.socket")
    output = debian_host.docker_role("-v", "-e", '{"docker_become": false}')
    assert recap(output)["failed"] == 0 == recap(output)["changed"], output
    # The connection that Ansible keeps open has the groups of its login, and may not even ask the engine.
    assert "and that takes root" in output
    debian_host.run("systemctl start docker")
    assert converge(debian_host, "-e", '{"docker_become": false}')["changed"] == 0


# Says what Podman says of itself at Docker's socket.
PODMAN = """cat >/tmp/podman.py <<'END'
import http.server, json, socketserver
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}]}).encode())
    def log_message(self, *words):
        pass
socketserver.UnixStreamServer("/run/docker.sock", Answer).serve_forever()
END
systemctl stop docker.socket docker.service && rm -f /run/docker.sock
systemd-run --unit podman python3 /tmp/podman.py && until test -S /run/docker.sock; do sleep 0.1; done"""


def test_podman_at_dockers_socket_is_refused_and_kept(debian_host: Host) -> None:
    debian_host.run(PODMAN, check=True)
    output = debian_host.docker_role()
    assert recap(output)["failed"] == 1 and recap(output)["changed"] == 0
    assert "Podman answers at Docker's socket" in output and "systemctl disable --now podman.socket" in output
    assert debian_host.run("systemctl is-active podman").stdout == "active\n"
    debian_host.run("systemctl stop podman; rm /run/docker.sock; systemctl start docker", check=True)
    assert converge(debian_host)["changed"] == 0


def test_it_can_be_removed(debian_host: Host) -> None:
    assert converge(debian_host, "-e", "docker_state=absent")["changed"] >= 1
    assert debian_host.run("command -v dockerd").returncode
    assert converge(debian_host, "-e", "docker_state=absent")["changed"] == 0
    assert converge(debian_host)["changed"] >= 1
    assert can_run_containers(debian_host)


# ---- Interrupted runs

# Ends apt-get and dpkg with no chance to tidy up, when the engine's program is there and the rest isn't.
KILL_INSTALLATION = """
apt-get update >/dev/null
apt-get install -y docker.io iptables >/dev/null 2>&1 &
until ls /usr/sbin/dockerd* >/dev/null 2>&1; do :; done
kill -9 $(pidof apt-get dpkg dpkg-deb)
wait
"""


@pytest.mark.thorough
def test_an_installation_that_was_killed_is_completed(make_host: Callable[..., Host]) -> None:
    host = make_host("bookworm")
    host.run(KILL_INSTALLATION)
    status = "dpkg-query --show --showformat '${Status}' docker.io"
    # It is a killing of the kind that apt-get asks for `dpkg --configure -a` after.
    assert "dpkg --configure -a" in host.run("apt-get install -y tzdata").stderr
    converge(host)
    assert host.run(status).stdout == "install ok installed"
    assert host.run("dpkg --audit").stdout == ""
    assert can_run_containers(host)
    assert converge(host)["changed"] == 0


# ---- Docker's own repository


REPOSITORY = "/etc/apt/sources.list.d/docker.sources /etc/apt/keyrings/docker.asc"


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("docker-deb.asc", "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"),
        ("docker-rpm.asc", "060A61C51B558A7F742B77AAC52FEB6B621E9F35"),
    ],
)
def test_the_pinned_keys_are_dockers(name: str, fingerprint: str, tmp_path: Path) -> None:
    gpg = ["gpg", "--homedir", str(tmp_path), "--with-colons", "--show-keys"]
    shown = run([*gpg, str(CHECKOUT / "roles/docker/files" / name)], tmp_path).splitlines()
    assert [line.split(":")[0] for line in shown].count("pub") == 1
    assert next(line.split(":")[9] for line in shown if line.startswith("fpr")) == fingerprint


def test_dockers_repository_is_used_when_its_key_is_the_pinned_one(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    fingerprint = build_site(tmp_path / "site", "bookworm")
    host = make_host("bookworm")
    with served(tmp_path / "site") as url:
        where = f"docker_repository={url}"
        refused = host.docker_role("-e", where)
        assert recap(refused)["failed"] == 1
        assert f"NO_PUBKEY {fingerprint[-16:]}" in refused and "docker_repository_key" in refused
        assert host.run(f"ls {REPOSITORY}; command -v dockerd").stdout == ""
        # What was left behind would make all later calls of apt-get fail.
        host.run("apt-get update", check=True)
        trusted = f"docker_repository_key={tmp_path}/site/debian/gpg"
        assert converge(host, "-e", where, "-e", trusted)["changed"] >= 4
        assert host.run("dpkg-query --show --showformat '${Status}' docker-ce").stdout == "install ok installed"
        assert converge(host, "-e", where, "-e", trusted)["changed"] == 0
    assert can_run_containers(host)


@pytest.mark.thorough
@pytest.mark.parametrize("source", ["auto", "docker"])
def test_a_hanging_site_is_given_up(make_host: Callable[..., Host], source: str) -> None:
    host = make_host("trixie")
    with hanging() as url:
        arguments = ["-e", f"docker_repository={url}", "-e", f"docker_source={source}", "-e", "docker_timeout=2"]
        output = host.docker_role("--check", *arguments)
    assert "cannot be reached (timed out)" in output
    assert ("From the distribution" in output) == (source == "auto")
    assert recap(output)["failed"] == (source == "docker")
    assert host.run("command -v dockerd").returncode
