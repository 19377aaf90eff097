"""What connects the stack's instances with a cluster, and what their pods need there."""

from __future__ import annotations

import datetime
import email.utils
import json
import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..common import read_whole
from ..kubernetes import Access, ApiError, KubeconfigError, finds_names, read_connection, read_kubeconfig
from .core import Context, Finding, check, wrong

SERVICES_NAME = "host.minikube.internal"
# Asks as a pod would: its connections leave the node by the same way.
REACH = f"""
getent hosts {SERVICES_NAME} >/dev/null || exit 10
timeout 2 bash -c 'exec 3<>/dev/tcp/{SERVICES_NAME}/'$0 2>/dev/null
"""
REACHED, REFUSED, NO_NAME, TIMED_OUT = 0, 1, 10, 124
EXEC_S = 4.0
CLUSTER_S = 20.0
MLFLOW_S = 2.0
START = "gaiaflow-setup cluster --start"
MOST_SKEW_S = 30.0
WITHOUT = "Tasks with GAIAFLOW_ENV=prod_local fail."


@check("cluster", "Kubernetes", CLUSTER_S)
def check_cluster(context: Context) -> Finding | None:
    """Check that connections lead to a cluster that answers, takes pods, and finds names."""
    for directory in context.instances():
        connection = directory / "config" / "cluster"
        kept = read_whole(connection / "cluster.json")
        if kept and (finding := check_connection(context, directory.name, connection, kept)):
            return finding
    return None


def check_connection(context: Context, instance: str, connection: Path, kept: dict[str, Any]) -> Finding | None:
    """Return what is wrong with one instance's connection."""
    option = "" if instance == "default" else f" --instance {instance}"
    start, whose = START + option, f"Instance '{instance}' is connected with a cluster"
    try:
        access = read_connection(connection)
    except KubeconfigError as error:
        return wrong(str(error), WITHOUT, start)
    try:
        access.get(f"/api/v1/namespaces/{kept.get('namespace', 'default')}/pods?limit=1", seconds=2)
    except ApiError as error:
        message = f"{whose} that refuses its kubeconfig ({error.status}): the cluster was made anew."
        return wrong(message, WITHOUT, f"gaiaflow-setup cluster --create-config-only{option}")
    except OSError:
        if kept.get("kind") == "minikube" and not is_up(context, str(kept.get("profile"))):
            return None  # it is stopped, as somebody may want it
        return wrong(f"{whose} whose API server doesn't answer at {access.server}.", WITHOUT, start)
    return next(inside(context, access, kept, start), None)


def inside(context: Context, access: Access, kept: dict[str, Any], start: str) -> Iterator[Finding]:
    """Yield what is wrong in a cluster that answers."""
    if abs(skew := clock_skew(access)) > MOST_SKEW_S:
        message = f"The clock of the cluster's node differs by {skew:.0f} s from this machine's, as after a sleep."
        yield wrong(message, "Certificates and tokens seem to be of another time.", "gaiaflow-setup cluster --restart")
    if kept.get("kind") == "minikube" and (admin := admin_of(context, kept)) and not finds_names(admin):
        yield wrong(
            "The cluster's DNS isn't ready.",
            "Pods find no names, MLflow's and the package index's neither.",
            f"{start}; then: kubectl -n kube-system logs -l k8s-app=kube-dns",
        )
    if kept.get("kind") == "minikube":
        yield from unreached(context, kept, start)
    yield from local_experiments(kept)
    forward = kept.get("forward") or {}
    if forward and swallowed_by_proxy(forward.get("address", "")):
        yield wrong(
            "A proxy in your shell would get what is for the cluster's network: NO_PROXY doesn't name it.",
            "kubectl and your own clients don't reach the cluster; the product's own do.",
            f"Add {forward.get('network')} and {access.server.split('//')[-1].split(':')[0]} to NO_PROXY.",
        )


def unreached(context: Context, kept: dict[str, Any], start: str) -> Iterator[Finding]:
    """Yield what keeps pods from MLflow and S3: no name, nobody who listens, or a firewall."""
    for service in ("mlflow", "s3"):
        port = (kept.get("stack_at") or {}).get(service)
        verdict = reach(context, str(kept.get("profile")), int(port)) if port else REACHED
        where = f"{SERVICES_NAME}:{port}"
        why = f"Tasks in pods can't use {'MLflow' if service == 'mlflow' else 'S3'}."
        if verdict == NO_NAME:
            yield wrong(f"The cluster's node doesn't know the name {SERVICES_NAME}.", why, f"{start} --force-new")
        elif verdict == REFUSED and port and listens_here(int(port)):
            yield wrong(
                f"Nobody listens at {where}, as pods see it: the cluster-forwarder doesn't run.",
                why,
                "gaiaflow-setup mlops --start",
            )
        elif verdict == TIMED_OUT:
            network = (kept.get("forward") or {}).get("network", "the cluster's network")
            yield wrong(
                f"Connections of pods to {where} get no answer: a firewall of this machine drops them.",
                why,
                f"Allow {network} to reach port {port}, for example: sudo ufw allow from {network} to any port {port}",
            )


def listens_here(port: int) -> bool:
    """Return whether a service has this port of loopback; one that has not may be stopped, which `status` tells."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


def reach(context: Context, profile: str, port: int) -> int:
    """Return how the node reaches a port of this machine; as if it did, where nobody can tell."""
    engine = context.engine.client
    if engine is None:
        return REACHED
    try:
        made = engine.post(f"/containers/{profile}/exec", {"Cmd": ["bash", "-c", REACH, str(port)]})["Id"]
        engine.post(f"/exec/{made}/start", {"Detach": True})
        deadline = time.monotonic() + EXEC_S
        while (said := engine.get(f"/exec/{made}/json"))["Running"] and time.monotonic() < deadline:
            time.sleep(0.05)
        return TIMED_OUT if said["Running"] else int(said["ExitCode"])
    except (OSError, KeyError, TypeError):
        return REACHED


def local_experiments(kept: dict[str, Any]) -> Iterator[Finding]:
    """Yield that experiments keep artifacts in a directory: a pod would write them to its own disk."""
    port = (kept.get("stack_at") or {}).get("mlflow")
    address = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1000"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(address, timeout=MLFLOW_S) as answer:
            experiments = json.load(answer).get("experiments", [])
    except (OSError, ValueError):
        return
    local = [one["name"] for one in experiments if str(one.get("artifact_location", "")).startswith(("/", "file:"))]
    if local:
        yield wrong(
            f"Experiments keep their artifacts in a directory of this machine: {', '.join(sorted(local)[:5])}.",
            "Tasks in pods would write them to the pod's own disk, and lose them with it.",
            "Log to an experiment that MLflow makes itself (mlflow.set_experiment), whose artifacts go to S3.",
        )


def is_up(context: Context, profile: str) -> bool:
    """Return whether a profile's node runs."""
    engine = context.engine.client
    try:
        return engine is not None and bool(engine.get(f"/containers/{profile}/json")["State"]["Running"])
    except (OSError, KeyError, TypeError):
        return False


def admin_of(context: Context, kept: dict[str, Any]) -> Access | None:
    """Return how an administrator reaches the profile's cluster."""
    try:
        access: Access = read_kubeconfig(context.home / "cluster" / "admin.kubeconfig", str(kept.get("profile")))
        return access
    except KubeconfigError:
        return None


def clock_skew(access: Access) -> float:
    """Return the seconds by which the API server's clock is ahead; 0 where it doesn't tell."""
    try:
        said = access.time()
        return (email.utils.parsedate_to_datetime(said) - datetime.datetime.now(datetime.UTC)).total_seconds()
    except (OSError, TypeError, ValueError):
        return 0.0


def swallowed_by_proxy(address: str) -> bool:
    """Return whether a client of this shell would ask a proxy for an address of the cluster's network."""
    has_proxy = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))
    return bool(address) and has_proxy and not urllib.request.proxy_bypass(address)
