"""Whole machines that have nothing left to do, this one and hosts over SSH."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from bench.measure import (
    CACHE,
    CHECKOUT,
    IDLE_ROUNDS,
    PLAYBOOK,
    Bench,
    BenchError,
    Row,
    idle_row,
    idle_seconds,
    ratio_row,
    run,
    seconds,
    turns,
)

# The tests know how to make real hosts.
sys.path.insert(0, str(CHECKOUT / "tests" / "hosts"))
from hosts import USER, Host, docker, write_inventory
from preparation import HOST_IMAGE, build_host_image

SUITE, CLONE = "trixie", "bench-clone"
FEW, MANY = 2, 20
MODULES = 7
ROLE_ROUNDS, FLEET_ROUNDS = 5, 3
PEER = "geerlingguy.docker"
PEER_VERSION = "8.0.0"
# The distribution's packages, as ours installs them there, and the same user in the group docker.
PEER_VARIABLES = {
    "docker_add_repo": False,
    "docker_packages": ["docker.io", "docker-cli", "docker-buildx", "iptables"],
    "docker_compose_package": "docker-compose",
    "docker_obsolete_packages": ["docker-engine", "docker-doc", "docker-compose-v2", "podman-docker"],
    "docker_users": [USER],
}
# Twenty whole stacks don't fit into one machine's memory; S3 alone does, and all roles run.
LIGHT = json.dumps({"mlops_services": ["minio"]})

NOTES = f"""\
- 7: {ROLE_ROUNDS} rounds of `ansible-playbook` with that role alone, on one host where both have converged: a Debian 13
  container with systemd, over SSH, with the distribution's packages. Neither may change anything.
- 8: {IDLE_ROUNDS} rounds of the whole command with all services running. Where a download can't be had, asking for it
  is part of it. The floor is Ansible itself.
- 9: {FLEET_ROUNDS} rounds of `workstation -i` with all roles and S3 as the one service, as twenty whole stacks don't
  fit into one machine. The hosts are Debian 13 containers without systemd on this same machine, clones
  of one that was onboarded, so what they do is part of the load on its cores. All {MANY} are up in both; nothing may
  change. Ansible's own ratio is that of a play of {MODULES} pings, as many modules as `workstation` runs on a host."""


# ---- One host


def ansible(host: Host, *arguments: str) -> list[str]:
    """Return the command that runs a playbook on a host."""
    return [PLAYBOOK, "-i", str(host.inventory), *arguments]


def make_host(bench: Bench, name: str, suite: str = SUITE, *, init: bool = True) -> Host:
    """Return a new host, with systemd or without it, which is removed after the measurement."""
    host = Host(bench.root / "hosts" / name, suite, init=init)
    bench.cleanup.callback(host.remove)
    return host


def find_peer(bench: Bench) -> Path:
    """Return the peer's role: the one that was given, or the pinned version, downloaded once."""
    if bench.peer_role:
        return bench.peer_role.resolve()
    roles = CACHE / f"roles-{PEER_VERSION}"
    if not (roles / PEER / "tasks" / "main.yml").exists():
        galaxy = str(Path(PLAYBOOK).with_name("ansible-galaxy"))
        run([galaxy, "role", "install", "--roles-path", str(roles), f"{PEER},{PEER_VERSION}"], bench.environment)
    if not (roles / PEER / "tasks" / "main.yml").exists():
        raise BenchError(f"{PEER} {PEER_VERSION} can't be downloaded; name a copy with --peer-role DIR")
    return roles / PEER


def write_peer_playbook(bench: Bench) -> Path:
    """Return a playbook of the peer's role; it needs facts, and root."""
    play = {"hosts": "all", "become": True, "gather_facts": True, "roles": [str(find_peer(bench))]}
    playbook = bench.root / "peer.yml"
    playbook.write_text(json.dumps([play]))
    return playbook


def measure_role(bench: Bench) -> Row:
    """Measure the role docker on a converged host, against the peer's."""
    peer_playbook = write_peer_playbook(bench)
    build_host_image(SUITE)
    host = make_host(bench, "one")
    ours = ansible(host, "--extra-vars", "docker_source=distribution", str(CHECKOUT / "tests/hosts/docker.yml"))
    peer = ansible(host, "--extra-vars", json.dumps(PEER_VARIABLES), str(peer_playbook))
    for command in (ours, peer):
        run(command, bench.environment)
    samples = turns(
        ROLE_ROUNDS,
        lambda: idle_seconds(run(ours, bench.environment)),
        lambda: idle_seconds(run(peer, bench.environment)),
    )
    return ratio_row(7, "role `docker` on a converged host", samples, f"{PEER} {PEER_VERSION}", 0.33)


# ---- This machine


def measure_workstation(bench: Bench) -> Row:
    """Measure the whole workstation with nothing to do, against Ansible doing nothing."""
    bench.need_stack()
    bench.native.setup("workstation")
    samples = turns(IDLE_ROUNDS, lambda: idle_seconds(bench.native.setup("workstation")), bench.floor)
    return idle_row(8, "`workstation` with nothing to do", samples, 8)


# ---- A fleet


def onboard(inventory: Path) -> list[str]:
    """Return the arguments that onboard the hosts of an inventory."""
    return ["workstation", "-i", str(inventory), "--extra-vars", LIGHT]


def make_clone_image(bench: Bench) -> None:
    """Make the image of a host that was onboarded from nothing; it is removed after the measurement."""
    build_host_image(SUITE)
    image = HOST_IMAGE.format(suite=CLONE)
    host = Host(bench.root / "hosts" / "first", SUITE, init=False)
    try:
        bench.setup(*onboard(host.inventory))
        docker("kill", host.id)
        docker("commit", host.id, image)
        bench.cleanup.callback(docker, "image", "rm", "--force", image)
    finally:
        host.remove()


def make_clones(bench: Bench) -> list[Host]:
    """Many hosts; so many systemds would use up what the kernel has of inotify."""
    make_clone_image(bench)
    return [make_host(bench, f"clone-{number}", CLONE, init=False) for number in range(MANY)]


def measure_fleet(bench: Bench) -> Row:
    """Many converged hosts, against a few."""
    hosts = make_clones(bench)
    few, many = bench.root / "few.yml", bench.root / "many.yml"
    write_inventory(few, hosts[:FEW])
    write_inventory(many, hosts)
    bench.setup(*onboard(many))
    samples = turns(
        FLEET_ROUNDS,
        lambda: idle_seconds(bench.setup(*onboard(many))),
        lambda: idle_seconds(bench.setup(*onboard(few))),
    )
    floor = f"; Ansible's own ratio: {ping_ratio(bench, few, many):.2f}"
    row = ratio_row(9, f"`workstation` on {MANY} converged hosts", samples, f"on {FEW} of them", 3)
    return replace(row, against=row.against + floor)


def ping_ratio(bench: Bench, few: Path, many: Path) -> float:
    """How many times as long Ansible takes on many hosts for modules that do nothing."""
    playbook = bench.root / "pings.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [{"ping": {}}] * MODULES}]))
    on_many, on_few = turns(
        FLEET_ROUNDS,
        lambda: seconds([PLAYBOOK, "-i", str(many), str(playbook)], bench.environment),
        lambda: seconds([PLAYBOOK, "-i", str(few), str(playbook)], bench.environment),
    )
    return on_many.median / on_few.median
