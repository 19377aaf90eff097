"""Real hosts to run roles against: containers of Debian with systemd and an SSH server."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml
from preparation import HOST_IMAGE

CHECKOUT = Path(__file__).resolve().parents[2]
LAUNCHER = str(CHECKOUT / "gaiaflow-setup")
USER = "alice"
# All that a host with systemd and a Docker engine of its own needs, without the one capability that CI hasn't.
RUN = [
    *("--detach", "--cgroupns=host"),
    *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),
    *("--volume", "/var/lib/docker", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"),
]
SSH = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


def docker(*arguments: str, check: bool = True, timeout: int = 300) -> subprocess.CompletedProcess[str]:
    """Run the docker command of the machine that the tests run on."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=timeout)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done


class Host:
    """A host, and an inventory that names it.

    Args:
        directory: Where its inventory and its key are kept.
        suite: The Debian suite.
        init: What the container runs: systemd, or nothing that starts services.
    """

    def __init__(self, directory: Path, suite: str, *, init: bool = True) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.suite = directory, suite
        command = (
            [] if init else ["sh", "-c", "ssh-keygen -A && mkdir -p /run/sshd && /usr/sbin/sshd && sleep infinity"]
        )
        self.id = docker("run", *RUN, HOST_IMAGE.format(suite=suite), *command).stdout.strip()
        self.name = f"{suite}-{self.id[:6]}"
        self.key = make_key(directory.parent)
        self._admit()
        self.inventory = directory / "inventory.yml"
        write_inventory(self.inventory, [self])
        self.wait_for_ssh()

    def _admit(self) -> None:
        public = self.key.with_suffix(".pub").read_text().strip()
        home = f"/home/{USER}/.ssh"
        self.run(
            f"install -d -o {USER} -m 700 {home} && echo '{public}' >{home}/authorized_keys && chown {USER} {home}/*"
        )

    @property
    def address(self) -> str:
        """Its address, which changes with a restart."""
        return docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", self.id).stdout.strip()

    def variables(self) -> dict[str, Any]:
        """How Ansible reaches it."""
        return {
            "ansible_host": self.address,
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": SSH,
        }

    def run(self, command: str, user: str = "root", check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a shell command there; a user other than root gets a login's groups."""
        argv = ["bash", "-c", command] if user == "root" else ["runuser", "-l", user, "-c", command]
        return docker("exec", self.id, *argv, check=check)

    def setup(self, *arguments: str, timeout: int = 900) -> subprocess.CompletedProcess[str]:
        """Run gaiaflow-setup on it, from this machine."""
        return setup(self.directory, *arguments, "-i", str(self.inventory), timeout=timeout)

    def docker_role(self, *arguments: str) -> str:
        """Run the role docker alone and return Ansible's output, with its recap at the end."""
        playbook = [str(CHECKOUT / ".venv/bin/ansible-playbook"), "-i", str(self.inventory), *arguments]
        done = subprocess.run(
            [*playbook, str(Path(__file__).with_name("docker.yml"))],
            env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")},
            cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        return done.stdout + done.stderr

    def reboot(self) -> None:
        """Restarts it as a power cycle does."""
        docker("restart", "--time", "3", self.id)
        write_inventory(self.inventory, [self])
        self.wait_for_ssh()

    def wait_for_ssh(self) -> None:
        """Return when it can be logged in to."""
        ssh = ["ssh", *SSH.split(), "-i", str(self.key), f"{USER}@{self.address}", "true"]
        deadline = time.monotonic() + 60
        while subprocess.run(ssh, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, self.run("journalctl -u ssh --no-pager | tail -20").stdout
            time.sleep(0.5)

    def remove(self) -> None:
        """Remove it with all that it holds."""
        remove([self])


def remove(hosts: list[Host]) -> None:
    """Remove hosts with all that they hold, at once."""
    if hosts:
        docker("rm", "--force", "--volumes", *(host.id for host in hosts))


def make_key(directory: Path) -> Path:
    """An SSH key for the hosts of one test run."""
    key = directory / "id_ed25519"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key


def write_inventory(path: Path, hosts: list[Host]) -> None:
    """Write an inventory of these hosts."""
    path.write_text(yaml.safe_dump({"all": {"hosts": {host.name: host.variables() for host in hosts}}}))


def environment(directory: Path) -> dict[str, str]:
    """What gaiaflow-setup sees that has a home of its own on this machine."""
    seen = {**os.environ, "GAIAFLOW_HOME": str(directory / "home")}
    seen.pop("PYTHONDONTWRITEBYTECODE", None)
    return seen


def setup(directory: Path, *arguments: str, timeout: int = 900) -> subprocess.CompletedProcess[str]:
    """Run gaiaflow-setup with a home of its own on this machine."""
    return subprocess.run(
        [LAUNCHER, *arguments],
        env=environment(directory), capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON document that a command printed."""
    try:
        content: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"no JSON document: {done.stdout}\n{done.stderr}") from None
    return content
