"""Many machines at once, over SSH: the whole workstation on hosts that nothing was prepared on."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hosts import LAUNCHER, USER, Host, document, environment, setup, write_inventory
from stack import wait_until

CONTAINER = "docker run --rm gaiaflow-setup/check:1 /bin/true"
INTERRUPTED = 130
AIRFLOW = "http://127.0.0.1:8080/api/v2/monitor/health"


class Fleet:
    """A host with systemd, one of another release without it, and one that is down.

    Args:
        directory: Where the inventory and the logs are kept.
        hosts: Those that are up.
    """

    def __init__(self, directory: Path, hosts: list[Host]) -> None:
        self.directory, self.hosts = directory, hosts
        self.inventory = directory / "fleet.yml"
        write_inventory(self.inventory, hosts)
        content = yaml.safe_load(self.inventory.read_text())
        content["all"]["hosts"]["down"] = {"ansible_host": "192.0.2.1", "ansible_ssh_timeout": 3}
        self.inventory.write_text(yaml.safe_dump(content))

    def onboard(self, *arguments: str) -> dict[str, Any]:
        """Run `workstation` on all of them; the one that is down is a failure, and the only one."""
        done = setup(self.directory, "workstation", "-i", str(self.inventory), "--json", *arguments, timeout=1200)
        content = document(done)
        assert done.returncode == 1 and content["error"]["host"] == "down", content
        return content

    def counts(self, *arguments: str) -> dict[str, dict[str, int]]:
        """The counts of those that are up."""
        content = self.onboard(*arguments)
        hosts: dict[str, dict[str, int]] = content["hosts"]
        assert hosts.pop("down")["failed"] == 1
        failed = {name: counts["failed"] for name, counts in hosts.items()}
        assert failed == {host.name: 0 for host in self.hosts}, Path(content["log"]).read_text()[-6000:]
        return hosts


@pytest.fixture(scope="module")
def fleet(make_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    hosts = [make_host("trixie"), make_host("bookworm", init=False)]
    return Fleet(tmp_path_factory.mktemp("a fleet"), hosts)


def test_check_mode_on_fresh_hosts_says_what_would_change(fleet: Fleet) -> None:
    assert all(counts["changed"] >= 3 for counts in fleet.counts("--check", "--diff").values())
    for host in fleet.hosts:
        assert host.run(f"command -v dockerd; ls /etc/docker /home/{USER}/.local").stdout == ""


@pytest.mark.thorough
def test_an_interrupted_run_ends_on_the_hosts_too(fleet: Fleet) -> None:
    command = [LAUNCHER, "workstation", "-i", str(fleet.inventory)]
    with subprocess.Popen(command, env=environment(fleet.directory), stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: all(host.run("pgrep -x uv").stdout for host in fleet.hosts), 600, "environments being made")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == INTERRUPTED
    programs = f"pgrep -u {USER} -x 'uv|python3.*'"
    wait_until(lambda: not any(host.run(programs).stdout for host in fleet.hosts), 10, "nothing runs on the hosts")


def test_one_host_that_fails_does_not_stop_the_others(fleet: Fleet) -> None:
    # This completes what was interrupted.
    assert all(counts["changed"] >= 1 for counts in fleet.counts().values())
    for host in fleet.hosts:
        host.run(CONTAINER, user=USER, check=True)
        assert (
            "healthy"
            in host.run(f"python3 -c 'import urllib.request as u; print(u.urlopen(\"{AIRFLOW}\").read())'").stdout
        )


def test_a_compose_file_comes_up(fleet: Fleet) -> None:
    host = fleet.hosts[0]
    host.run(
        """cd && echo 'services: {one: {image: "gaiaflow-setup/check:1", command: /bin/true}}' >compose.yml""", USER
    )
    host.run("docker compose up --exit-code-from one", user=USER, check=True)


def test_the_second_run_changes_nothing(fleet: Fleet) -> None:
    assert all(counts["changed"] == 0 for counts in fleet.counts().values())
    assert all(counts["changed"] == 0 for counts in fleet.counts("--check", "--diff").values())


def test_docker_is_back_after_a_reboot(fleet: Fleet) -> None:
    host = fleet.hosts[0]
    host.reboot()
    host.run("timeout 30 sh -c 'until docker version >/dev/null 2>&1; do sleep 1; done'", check=True)
    host.run(CONTAINER, user=USER, check=True)


def test_the_stack_is_taken_away_again(fleet: Fleet) -> None:
    host = fleet.hosts[0]
    done = host.setup("uninstall", "--yes")
    assert done.returncode == 0, done.stderr
    assert host.run(f"ls -A /home/{USER}/.local/share/gaiaflow").stdout == ""
    assert not host.run("pgrep -u alice supervisord").stdout
