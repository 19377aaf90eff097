"""What the role docker decides for hosts that the tests can't have, by what its probe would find there."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

from role_play import LOCAL, prepare

FOUND: dict[str, Any] = {
    "engine": {
        "kind": "engine", "version": "28.0.1", "socket": "/run/docker.sock", "running": True, "denied": False,
        "enabled": True, "containers": 0, "has_unread_settings": False,
    },
    "daemon": {"content": {"log-driver": "json-file"}, "error": ""},
    "lacks_drop_in": False, "missing_plugins": [], "dpkg": {"interrupted": False, "unfinished": []},
    "init": "systemd", "machine": "x86_64", "user": "alice", "is_member": True,
    "os_release": {"ID": "debian", "VERSION_ID": "13", "VERSION_CODENAME": "trixie", "PRETTY_NAME": "Debian 13"},
}  # fmt: skip
NO_ENGINE = {"kind": "none", "version": "", "running": False, "enabled": False}
SHOWN = """
repository: "{{ [docker_repository_index, docker_repository_file, docker_repository_pinned_key | default('')] }}"
distribution: "{{ docker_distribution_packages }}"
architecture: "{{ docker_architecture }}"
work: "{{ docker_refused | length == 0 and docker_needs_work }}"
refused: "{{ docker_refused | map(attribute='message') }}"
install: "{{ docker_refused | length == 0 and docker_is_managed and docker_to_install }}"
no_packages: "{{ docker_no_packages.message }}"
restart: "{{ docker_needs_restart }}"
deferred: "{{ docker_refused | length == 0 and docker_deferred }}"
daemon: "{{ docker_daemon_wanted }}"
"""


class Hosts:
    """Hosts that exist by what the probe finds on them.

    Args:
        directory: Where the playbook is written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.found: dict[str, dict[str, Any]] = {}

    def add(self, name: str, variables: dict[str, Any] | None = None, **changes: Any) -> None:
        """Add a host that differs from one that is converged.

        Args:
            name: Its name.
            variables: What its user has set.
            changes: What the probe finds otherwise; mappings are merged.
        """
        found = copy.deepcopy(FOUND)
        for key, value in changes.items():
            found[key] = {**found[key], **value} if isinstance(value, dict) and key != "os_release" else value
        self.found[name] = {"docker_found": found, **(variables or {})}

    def decide(self) -> dict[str, dict[str, Any]]:
        """Return what the role decides for each host."""
        command, environment = prepare(self.directory, "docker", {}, tasks_from="set_vars")
        play = json.loads((self.directory / "playbook.yml").read_text())
        shown = dict(line.split(": ", 1) for line in SHOWN.strip().splitlines())
        template = {name: json.loads(value) for name, value in shown.items()}
        play[0]["tasks"].append(
            {"name": "Show", "ansible.builtin.debug": {"var": "shown"}, "vars": {"shown": template}}
        )
        (self.directory / "playbook.yml").write_text(json.dumps(play))
        inventory = self.directory / "inventory.ini"
        inventory.write_text("".join(f"{name} {LOCAL}\n" for name in self.found))
        variables = self.directory / "host_vars"
        variables.mkdir()
        for name, found in self.found.items():
            (variables / f"{name}.json").write_text(json.dumps(found))
        done = subprocess.run(command, env=environment, cwd=self.directory, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        tasks = json.loads(done.stdout)["plays"][0]["tasks"]
        return {name: task["shown"] for name, task in tasks[-1]["hosts"].items()}


APT = ("/etc/apt/sources.list.d/docker.sources", "docker-deb.asc")
DNF = ("/etc/yum.repos.d/docker-ce.repo", "docker-rpm.asc")
SITE = "https://download.docker.com/linux"
REPOMD = "x86_64/stable/repodata/repomd.xml"
DISTRIBUTIONS = {
    "bookworm": ("debian", "", "12", {"VERSION_CODENAME": "bookworm"}, f"{SITE}/debian/dists/bookworm/Release", APT),
    "sid": ("debian", "", "", {"VERSION_CODENAME": "sid"}, f"{SITE}/debian/dists/sid/Release", APT),
    "lmde": ("linuxmint", "debian", "6", {"DEBIAN_CODENAME": "bookworm"}, f"{SITE}/debian/dists/bookworm/Release", APT),
    "ubuntu": ("ubuntu", "debian", "24.04", {"VERSION_CODENAME": "noble"}, f"{SITE}/ubuntu/dists/noble/Release", APT),
    "mint": (
        "linuxmint", "ubuntu debian", "22", {"VERSION_CODENAME": "wilma", "UBUNTU_CODENAME": "noble"},
        f"{SITE}/ubuntu/dists/noble/Release", APT,
    ),
    "fedora": ("fedora", "", "43", {}, f"{SITE}/fedora/43/{REPOMD}", DNF),
    "rhel": ("rhel", "fedora", "9.6", {}, f"{SITE}/rhel/9/{REPOMD}", DNF),
    "rocky": ("rocky", "rhel centos fedora", "9.6", {}, f"{SITE}/centos/9/{REPOMD}", DNF),
    "stream": ("centos", "rhel fedora", "10", {}, f"{SITE}/centos/10/{REPOMD}", DNF),
}  # fmt: skip


def test_each_distribution_has_its_repository_and_packages(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path)
    for name, (identity, like, version, more, *_) in DISTRIBUTIONS.items():
        release = {"ID": identity, "ID_LIKE": like, "VERSION_ID": version, **more}
        hosts.add(name, os_release={key: value for key, value in release.items() if value})
    hosts.add("arch", os_release={"ID": "arch", "PRETTY_NAME": "Arch Linux"}, engine=NO_ENGINE)
    decided = hosts.decide()
    for name, (*_, index, (file, key)) in DISTRIBUTIONS.items():
        assert decided[name]["repository"] == [index, file, key], name
    packages = {name: shown["distribution"] for name, shown in decided.items()}
    assert packages["bookworm"] == ["docker.io", "iptables"]
    assert (
        packages["sid"]
        == packages["lmde"]
        == ["docker.io", "docker-cli", "docker-buildx", "docker-compose", "iptables"]
    )
    assert packages["ubuntu"] == packages["mint"] == ["docker.io", "docker-buildx", "docker-compose-v2", "iptables"]
    assert packages["fedora"] == ["moby-engine", "docker-cli", "docker-buildx", "docker-compose"]
    assert packages["rhel"] == packages["rocky"] == packages["stream"] == packages["arch"] == []
    assert decided["arch"]["repository"] == ["", "", ""]
    assert (
        decided["arch"]["no_packages"] == "Docker's engine cannot be installed: Docker has no packages for Arch Linux."
    )


UNREACHABLE = {"failed": True, "status": -1, "msg": "Status code was -1 and not [200]: Connection failure: timed out"}
ANSWERS_404 = {"failed": True, "status": 404, "msg": "Status code was 404 and not [200]: HTTP Error 404: Not Found"}
ANSWERS: dict[str, Any] = {"failed": False, "status": 200}
DOCKERS = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin"]
DEBIANS = ["docker.io", "docker-cli", "docker-buildx", "docker-compose", "iptables"]
BOTH = ["docker-compose", "docker-buildx"]


def test_where_the_engine_comes_from(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path)
    cases: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
        "converged": ({}, {}, []),
        "reached": ({"docker_repository_answer": ANSWERS}, {"engine": NO_ENGINE}, DOCKERS),
        "unreachable": ({"docker_repository_answer": UNREACHABLE}, {"engine": NO_ENGINE}, DEBIANS),
        "insisted": ({"docker_repository_answer": UNREACHABLE, "docker_source": "docker"}, {"engine": NO_ENGINE}, []),
        "distribution": ({"docker_source": "distribution"}, {"engine": NO_ENGINE}, DEBIANS),
        "plugins": (
            {"docker_repository_answer": ANSWERS, "docker_source": "docker"},
            {"missing_plugins": ["docker-buildx"]},
            ["docker-buildx-plugin"],
        ),
        "interrupted": ({}, {"dpkg": {"unfinished": ["docker.io"]}}, DEBIANS),
        "unrelated": ({}, {"dpkg": {"unfinished": ["tzdata"]}}, []),
    }
    for name, (variables, changes, _) in cases.items():
        hosts.add(name, variables, **changes)
    decided = hosts.decide()
    assert {name: shown["install"] for name, shown in decided.items()} == {
        name: case[2] for name, case in cases.items()
    }
    assert [name for name, shown in decided.items() if not shown["work"]] == ["converged"]
    index = f"{SITE}/debian/dists/trixie/Release"
    problem = f"Docker's engine cannot be installed: {index} cannot be reached (timed out)."
    assert decided["insisted"]["no_packages"] == problem


def test_engines_of_others_are_used_or_refused(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path)
    broken = {"content": {}, "error": "/etc/docker/daemon.json is not valid JSON: ..."}
    for kind in ("desktop", "rootless", "snap", "podman"):
        hosts.add(kind, engine={"kind": kind}, missing_plugins=BOTH, is_member=False, daemon=broken)
    hosts.add("snap-stopped", engine={"kind": "snap", "running": False, "version": ""})
    hosts.add("old", engine={"version": "19.03.15"})
    hosts.add("oldest", engine={"version": "20.10.24+dfsg1"})
    hosts.add("broken", daemon=broken)
    hosts.add("broken-no-root", {"docker_become": False}, daemon=broken)
    decided = hosts.decide()
    assert all(not decided[name]["refused"] and not decided[name]["work"] for name in ("desktop", "rootless", "snap"))
    assert not any(decided[name]["deferred"] for name in ("desktop", "rootless", "snap", "oldest", "broken-no-root"))
    refused = {name: shown["refused"][0] for name, shown in decided.items() if shown["refused"]}
    assert set(refused) == {"podman", "snap-stopped", "old", "broken"}
    assert refused["podman"].startswith("Podman answers at Docker's socket")
    assert refused["old"] == "The Docker engine is version 19.03.15; 20.10 is the oldest that is used."
    assert refused["broken"] == "/etc/docker/daemon.json is not valid JSON: ...."


def test_what_is_left_for_later(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path)
    hosts.add("plugins", missing_plugins=BOTH)
    missing = {"engine": NO_ENGINE, "missing_plugins": BOTH, "os_release": {**FOUND["os_release"], "VERSION_ID": "12"}}
    hosts.add("unreachable", {"docker_repository_answer": ANSWERS_404}, **missing)
    hosts.add("reached", {"docker_repository_answer": ANSWERS}, **missing)
    hosts.add("busy", {"docker_daemon": {"debug": True}}, engine={"containers": 2})
    hosts.add("unread", engine={"has_unread_settings": True})
    hosts.add("unread-busy", engine={"has_unread_settings": True, "containers": 1})
    unprivileged = {"docker_become": False}
    hosts.add("no-root", unprivileged, engine=NO_ENGINE, missing_plugins=BOTH)
    hosts.add("no-root-stopped", unprivileged, engine={"running": False})
    hosts.add("no-root-denied", unprivileged, engine={"denied": True, "version": ""})
    hosts.add("no-root-well", unprivileged, is_member=False)
    decided = hosts.decide()
    reasons = {name: [one["reason"] for one in shown["deferred"]] for name, shown in decided.items()}
    lacks, takes_root = (
        "the distribution has no package for it, and",
        "that takes root (no sudo without a password here)",
    )
    assert reasons == {
        "plugins": [f"{lacks} Docker's own repository was not used"],
        "unreachable": [f"{lacks} {SITE}/debian/dists/trixie/Release answers 404"],
        "reached": [],
        "busy": ["2 containers are running, which a restart would end"],
        "unread": [],
        "unread-busy": ["1 containers are running, which a restart would end"],
        "no-root": [f"there is none, and {takes_root}"],
        "no-root-stopped": [f"the one that is there does not run, and {takes_root}"],
        "no-root-denied": [f"the one that is there may not be used by this user, and {takes_root}"],
        "no-root-well": [],
    }
    assert [name for name, shown in decided.items() if shown["restart"]] == ["unread"]
    assert all(one["finish"] for shown in decided.values() for one in shown["deferred"])
    assert decided["plugins"]["deferred"][0]["component"] == "docker compose and docker buildx"


DEFAULTS = {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}}


def test_settings_are_merged(tmp_path: Path) -> None:
    cases: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
        "none": ({}, {}, DEFAULTS),
        "others": ({"debug": True}, {}, {"debug": True, **DEFAULTS}),
        "one-of-the-defaults": ({"log-driver": "local"}, {"mtu": 1400}, {"log-driver": "local", "mtu": 1400}),
        "within": ({"log-opts": {"a": "1"}}, {"log-opts": {"b": "2"}}, {"log-opts": {"a": "1", "b": "2"}}),
        "replaced": ({"log-opts": {}, "dns": ["1.1.1.1"]}, {"dns": ["9.9.9.9"]}, {"log-opts": {}, "dns": ["9.9.9.9"]}),
    }
    hosts = Hosts(tmp_path)
    for name, (before, settings, _) in cases.items():
        hosts.add(name, {"docker_daemon": settings}, daemon={"content": before})
    decided = hosts.decide()
    assert {name: shown["daemon"] for name, shown in decided.items()} == {name: case[2] for name, case in cases.items()}
