"""The wheel holds all that a checkout has for Ansible, and works without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CONTENT = ("ansible.cfg", "galaxy.yml", "inventory", "meta", "playbooks", "plugins", "roles", "template")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed from the checkout into a directory of its own."""
    target = tmp_path_factory.mktemp("installed package")
    uv = [str(CHECKOUT / ".venv" / "bin" / "uv"), "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*uv, "--python", sys.executable, str(CHECKOUT)], check=True)
    return target


def test_wheel_holds_every_file_that_ansible_reads(installed: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", *CONTENT], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    expected = {name for name in listed.stdout.split("\0") if name}
    content = installed / "ansible_collections" / "gaiaflow" / "setup"
    assert len(expected) > 60
    assert {str(file.relative_to(content)) for file in content.rglob("*") if file.is_file()} >= expected


def test_wheel_plans_a_workstation_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    command = [str(CHECKOUT / ".venv" / "bin" / "python"), "-m", "gaiaflow_py", "plan", "workstation", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(installed), "GAIAFLOW_HOME": str(tmp_path / "home")}
    command += ["--project", str(tmp_path / "demo"), "--instance", "wheel"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    changes = json.loads(done.stdout)["changes"]
    assert any("project" in change["task"] for change in changes)
    assert str(CHECKOUT / "roles") not in done.stdout
