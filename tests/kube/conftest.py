"""The one cluster that the tests share, connected with a stack of its own, and what it runs on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import kube_tools
import pytest
from boxes import make_boxes, remove_boxes
from clusters import PROFILE, Cluster
from stack import STACK_ALONE, Stack

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that this machine can't run."""
    reason = kube_tools.lacking() if any(HERE in item.path.parents for item in items) else ""
    for item in items:
        if reason and HERE in item.path.parents and "tools" in getattr(item, "fixturenames", []):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def tools() -> dict[str, str]:
    """The environment in which `minikube` and `kubectl` work; and the images that others are built from."""
    subprocess.run([HERE.parent / "hosts" / "build_service_images"], check=True, capture_output=True, timeout=1200)
    return kube_tools.environment()


@pytest.fixture(scope="session")
def stack(tools: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A started stack with the example project, whose DAGs run in pods; nothing of it is left afterwards."""
    root = tmp_path_factory.mktemp("a home")
    stack = Stack(home=root / "gaiaflow home", project=root / "wine project", instance="kube")
    before = os.environ.get("GAIAFLOW_ENV")
    os.environ["GAIAFLOW_ENV"] = "prod_local"
    # An interrupted start leaves nothing either.
    try:
        try:
            stack.run("workstation", *STACK_ALONE, "--project", str(stack.project))
        finally:
            os.environ.pop("GAIAFLOW_ENV") if before is None else os.environ.update(GAIAFLOW_ENV=before)
        yield stack
    finally:
        if stack.directory.exists():
            stack.run("uninstall", "--yes")


@pytest.fixture(scope="session")
def boxes(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, connected with a stack in containers beside the native one."""
    try:
        yield make_boxes(cluster)
    finally:
        remove_boxes(cluster)


@pytest.fixture(scope="session")
def cluster(stack: Stack, tools: dict[str, str]) -> Iterator[Cluster]:
    """A started cluster, connected with the stack; at the end, stopped, both are uninstalled, and leave nothing."""
    cluster = Cluster(stack, {**tools, "GAIAFLOW_HOME": str(stack.home)})
    if given := os.environ.get(kube_tools.GIVEN):
        context = cluster.kubectl("config", "current-context", kubeconfig=Path(given)).strip()
        cluster.setup("cluster", "--start", "--kubeconfig", given, "--context", context, "--instance", stack.instance)
        yield cluster
        return
    # A start that failed leaves nothing either.
    try:
        cluster.cluster("--start", timeout=1200)
        yield cluster
    except BaseException:
        cluster.cluster("--delete", "--yes")
        raise
    cluster.cluster("--stop")
    cluster.setup("uninstall", "--yes")
    names = ["docker", "ps", "--all", "--format", "{{.Names}}"]
    assert PROFILE not in subprocess.run(names, capture_output=True, text=True, check=True).stdout
    assert not cluster.kubeconfig.exists() and not stack.directory.exists()
