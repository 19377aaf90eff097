"""A bundle and a fleet: who is sent it, who isn't, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import CHECKOUT, USER, Host, write_inventory
from small_bundle import make_bundle

BUNDLES = f"/home/{USER}/.local/share/gaiaflow/bundles"
PROGRAM = b"#!/bin/sh\necho minikube\n"


class Fleet:
    """Debian 12, whose Python the bundle is for, and Debian 13, whose Python it isn't for."""

    def __init__(self, directory: Path, fitting: Host, strange: Host) -> None:
        self.fitting, self.strange = fitting, strange
        self.inventory, self.playbook = directory / "fleet.yml", directory / "bundle.yml"
        write_inventory(self.inventory, [fitting, strange])
        make_bundle(directory / "a bundle.tar", "3.11", {"minikube": PROGRAM})
        role = {"role": "gaiaflow.setup.bundle", "vars": {"bundle_file": str(directory / "a bundle.tar")}}
        self.playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "roles": [role]}]))

    def play(self, *options: str) -> str:
        """Play the role and return what Ansible says."""
        inventories = ["-i", str(CHECKOUT / "inventory/defaults.yml"), "-i", str(self.inventory)]
        done = subprocess.run(
            [str(CHECKOUT / ".venv/bin/ansible-playbook"), *inventories, *options, str(self.playbook)],
            env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def fleet(make_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    hosts = [make_host("bookworm", init=False), make_host("trixie", init=False)]
    return Fleet(tmp_path_factory.mktemp("a fleet"), *hosts)


def recap(output: str, host: Host) -> dict[str, int]:
    """The counts of one host."""
    line = next(line for line in output.split("PLAY RECAP")[-1].splitlines() if line.startswith(host.name))
    return {name: int(value) for name, _, value in (word.partition("=") for word in line.split(":", 1)[1].split())}


def test_only_a_host_that_it_fits_is_sent_it_and_only_once(fleet: Fleet) -> None:
    output = fleet.play()
    assert recap(output, fleet.fitting)["failed"] == 0, output
    assert recap(output, fleet.strange)["failed"] == 1
    assert "is for Python 3.11; this is 3.13" in output
    assert fleet.fitting.run(f"{BUNDLES}/*/programs/minikube").stdout == "minikube\n"
    assert fleet.fitting.run(f"find {BUNDLES} -mindepth 1 -name '.*' ! -name .lock").stdout == ""
    assert fleet.strange.run(f"ls -d {BUNDLES}").stdout == ""
    for options in ((), ("--check",)):
        again = recap(fleet.play("--limit", fleet.fitting.name, *options), fleet.fitting)
        assert (again["changed"], again["failed"]) == (0, 0)


def test_it_is_taken_away_with_the_stack(fleet: Fleet) -> None:
    done = fleet.fitting.setup("uninstall", "--yes")
    assert done.returncode == 0, done.stderr
    assert fleet.fitting.run(f"ls -A {Path(BUNDLES).parent}").stdout == ""
