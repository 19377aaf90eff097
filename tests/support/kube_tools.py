"""What the tests on a cluster need: a Minikube on the PATH, or one that is built from its pinned modules."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parents[1] / "kube"
BUILT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gaiaflow-setup" / "kube"
"""Where Minikube and Kubernetes are built, outside the checkout: it takes long."""

GIVEN = "GAIAFLOW_TEST_KUBECONFIG"
"""Names the kubeconfig of another cluster to run the tests on; its current context is used."""

PROGRAMS = ("gcc", "go", "mmdebstrap")


@functools.cache
def lacking() -> str:
    """Return why this machine can't run tests on a cluster, or nothing."""
    if subprocess.run(["docker", "version"], capture_output=True).returncode:
        return "the tests on a cluster need a Docker engine, and none answers (tests/kube/README.md)"
    if os.environ.get(GIVEN) or shutil.which("minikube"):
        return ""
    if os.geteuid():
        return "no minikube is on the PATH, and only root can build one (tests/kube/README.md)"
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"no minikube is on the PATH, and to build one takes {', '.join(missing)} (tests/kube/README.md)"
    return ""


def environment() -> dict[str, str]:
    """Return the environment in which `minikube` works here; AssertionError where it can't be built."""
    if os.environ.get(GIVEN) or shutil.which("minikube"):
        return dict(os.environ)
    done = subprocess.run([HERE / "build", str(BUILT)], capture_output=True, text=True, timeout=5400)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    script = f'. "{BUILT}/env" && env --null'
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in said.split("\0") if "=" in line)
