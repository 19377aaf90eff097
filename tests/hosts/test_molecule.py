"""The one scenario of Molecule's that CI has time for; `make molecule` runs them all (docs/testing.md)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import CHECKOUT, build_image, docker


def test_a_bundle_and_minikube_on_three_hosts() -> None:
    if docker("version", check=False).returncode:
        pytest.skip("no Docker engine answers here (docs/testing.md)")
    for suite in ("bookworm", "trixie"):
        build_image(suite)
    programs = Path(sys.executable).parent
    done = subprocess.run(
        [programs / "molecule", "test", "--scenario-name", "minikube"],
        cwd=CHECKOUT,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
