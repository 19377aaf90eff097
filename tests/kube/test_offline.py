"""A cluster that is started from a bundle, on a machine that has downloaded nothing for it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from clusters import Cluster
from stack import wait_until

PROFILE, PORT = "gaiaflow-offline", 5012


@pytest.fixture
def packed(cluster: Cluster, tools: dict[str, str], tmp_path: Path) -> Path:
    """What `bundle create --cluster` packs for a cluster, unpacked."""
    if "MINIKUBE_BASE_IMAGE" not in tools:
        pytest.skip("a Minikube that downloads would do so here, too")
    file = tmp_path / "bundle.tar"
    # Without the wheels of the services, which other tests pack.
    fewer = json.dumps({"bundle_locks": [], "bundle_with_example": False})
    cluster.setup("bundle", "create", str(file), "--cluster", "-e", fewer)
    missing = json.loads(cluster.setup("bundle", "show", str(file), "--json").stdout)["missing"]
    assert {one["component"].partition(" ")[0] for one in missing} <= {"minikube", "kubectl"}
    # By tar itself: Debian 12's Python 3.11.2 knows no filters yet, and later ones ask for one.
    subprocess.run(["tar", "-xf", file, "-C", tmp_path, "cluster"], check=True)
    return tmp_path / "cluster"


@pytest.mark.thorough
def test_cluster_starts_from_a_bundle(cluster: Cluster, packed: Path, tmp_path: Path) -> None:
    """No cache of Minikube's, no image of the node: both come from the bundle."""
    place = cluster.home / "bundles" / "0123456789abcdef" / "cluster"
    place.parent.mkdir(parents=True)
    packed.rename(place)
    cluster.cluster("--delete", "--yes")
    node = cluster.environment["MINIKUBE_BASE_IMAGE"]
    subprocess.run(["docker", "image", "rm", "--force", node], check=True, capture_output=True)
    empty = {**cluster.environment, "MINIKUBE_HOME": str(tmp_path / "minikube home")}
    offline = Cluster(cluster.stack, empty)
    words = ["--instance", cluster.stack.instance, "-e", f"cluster_profile={PROFILE}"]
    options = [*words, "-e", f"cluster_registry_port={PORT}", "-e", "cluster_memory_mb=3072"]
    try:
        offline.setup("cluster", "--start", *options)
        assert wait_until(lambda: offline.stack.services()["kubernetes"]["health"] == "healthy", 10, "healthy")
    finally:
        subprocess.run(["docker", "load", "--input", str(place / "images.tar")], check=True, capture_output=True)
        offline.setup("cluster", "--delete", "--yes", *options)
        for left in sorted(place.parent.parent.rglob("*"), reverse=True):
            left.unlink() if left.is_file() else left.rmdir()
    cluster.cluster("--start")
