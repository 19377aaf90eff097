"""A bundle, installed where there is no network: a clean clone in a network namespace that has a loopback alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hosts import CHECKOUT, LAUNCHER

# What is left of the machine's settings could point at packages on its disk.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}

OFFLINE = """
set -eu
ip link set lo up
[ -z "$(ip route)" ]
cd clone
trap './gaiaflow-setup uninstall --yes' EXIT
for run in first second; do
    ./gaiaflow-setup workstation --bundle ../gaiaflow.tar --project ../demo --without docker --without minikube \
        --json >../$run.json
done
./gaiaflow-setup status --json >../status.json
"""


def namespaces_lacking() -> bool:
    """Whether this machine's user can make no network namespace."""
    needed = ("unshare", "ip")
    return not all(map(shutil.which, needed)) or bool(subprocess.run(["unshare", "--net", "true"]).returncode)


@pytest.mark.thorough
@pytest.mark.skipif(namespaces_lacking(), reason="only root makes a network namespace, with `unshare` and `ip`")
def test_a_workstation_is_set_up_without_a_network(tmp_path: Path) -> None:
    root = tmp_path / "no network"
    root.mkdir()
    subprocess.run(["git", "clone", "--quiet", CHECKOUT, root / "clone"], check=True)
    subprocess.run([LAUNCHER, "bundle", "create", root / "gaiaflow.tar"], check=True, timeout=600)
    environment = CLEAN | {
        "GAIAFLOW_HOME": str(root / "home"),
        "UV_CACHE_DIR": str(root / "cache"),
        "PIP_CONFIG_FILE": os.devnull,
    }
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", OFFLINE],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{[p.read_text() for p in root.glob('*.json')]}"
    first, second, status = (json.loads((root / f"{name}.json").read_text()) for name in ("first", "second", "status"))
    assert first["status"] == second["status"] == "ok"
    assert first["hosts"]["localhost"]["changed"] > 0
    assert second["hosts"]["localhost"]["changed"] == 0
    assert len(status["services"]) >= 8
    assert {service["health"] for service in status["services"]} == {"healthy"}
    assert not (root / "home").exists()
