"""The doctor on a cluster whose pods don't reach the stack: it says which of the possible reasons it is."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from clusters import PROFILE, Cluster
from stack import CHECKOUT


def finding(cluster: Cluster) -> str:
    """Return what the doctor says of the cluster; nothing where all is well."""
    command = [str(CHECKOUT / "gaiaflow-setup"), "doctor", "--json", "-e", '{"doctor_only": ["cluster"]}']
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, timeout=120)
    (found,) = json.loads(done.stdout)["findings"]
    assert done.returncode == int(found["state"] == "wrong"), done.stdout
    return "" if found["state"] == "ok" else str(found["message"])


@contextmanager
def firewall(cluster: Cluster, *target: str) -> Iterator[None]:
    """Do something else than accept connections from the cluster to MLflow."""
    forward, port = cluster.kept["forward"], str(cluster.stack.record["ports"]["mlflow"])
    rule = ["INPUT", "--source", forward["network"], "--protocol", "tcp", "--dport", port, "--jump", *target]
    subprocess.run(["iptables", "--insert", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run(["iptables", "--delete", *rule], check=True)


@contextmanager
def nameless(cluster: Cluster) -> Iterator[None]:
    """Take this machine's name from the node's hosts file, which is a mount that only takes a new content."""
    keep = "cp /etc/hosts /tmp/hosts && grep -v host.minikube.internal /tmp/hosts >/etc/hosts"
    subprocess.run(["docker", "exec", PROFILE, "sh", "-c", keep], check=True)
    try:
        yield
    finally:
        subprocess.run(["docker", "exec", PROFILE, "sh", "-c", "cat /tmp/hosts >/etc/hosts"], check=True)


def test_cluster_whose_pods_reach_the_stack_is_well(cluster: Cluster) -> None:
    # The stack in containers, which is connected, too, is stopped by now: that is no trouble of the cluster's.
    assert finding(cluster) == ""


def test_each_reason_for_which_pods_do_not_reach_mlflow_is_told_apart(cluster: Cluster) -> None:
    with firewall(cluster, "DROP"):
        assert "a firewall of this machine drops them" in finding(cluster)
    with firewall(cluster, "REJECT", "--reject-with", "tcp-reset"):
        assert "Nobody listens at" in finding(cluster)
    with nameless(cluster):
        assert "doesn't know the name host.minikube.internal" in finding(cluster)
    assert finding(cluster) == ""


def test_experiment_whose_artifacts_pods_would_lose_is_named(cluster: Cluster) -> None:
    address = f"http://127.0.0.1:{cluster.stack.record['ports']['mlflow']}/api/2.0/mlflow/experiments"

    def ask(path: str, body: dict[str, str]) -> dict[str, str]:
        request = urllib.request.Request(f"{address}/{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        answer: dict[str, str] = json.load(urllib.request.urlopen(request, timeout=10))
        return answer

    made = ask("create", {"name": "old ways", "artifact_location": "/srv/mlruns"})
    try:
        assert "old ways" in finding(cluster)
    finally:
        ask("delete", {"experiment_id": made["experiment_id"]})
    assert finding(cluster) == ""
