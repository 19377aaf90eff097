"""The cluster on a real Minikube: starts, stops, faults, rights, and the user's own kubeconfig."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from certificates import make_certificate
from clusters import PROFILE, Cluster
from stack import CHECKOUT, SUMMARY, wait_until

pytestmark = pytest.mark.usefixtures("tools")


def changed(said: str) -> int:
    """Return how many tasks changed something."""
    found = SUMMARY.search(said)
    assert found, said
    return int(found[2])


def docker(*arguments: str) -> str:
    """Run docker, and return what it says."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def test_second_start_changes_nothing(cluster: Cluster) -> None:
    assert changed(cluster.cluster("--start").stdout) == 0


def test_check_mode_on_a_running_cluster_changes_nothing(cluster: Cluster) -> None:
    assert changed(cluster.cluster("--start", "--check", "--diff").stdout) == 0


def test_check_mode_tells_what_would_be_done(cluster: Cluster) -> None:
    assert changed(cluster.cluster("--stop", "--check").stdout) == 2
    assert changed(cluster.cluster("--delete", "--yes", "--check").stdout) == 3
    assert changed(cluster.cluster("--start", "--check", "--project", str(cluster.stack.project)).stdout) == 0


def test_status_shows_the_cluster_with_the_services(cluster: Cluster) -> None:
    row = cluster.stack.services()["kubernetes"]
    assert (row["state"], row["health"], row["url"]) == ("running", "healthy", cluster.kept["server"])


def test_pods_reach_mlflow_and_s3_of_this_machine(cluster: Cluster) -> None:
    ports = cluster.stack.record["ports"]
    said = cluster.run_in_pod(
        f"""
import urllib.error, urllib.request
host = "http://host.minikube.internal"
print(urllib.request.urlopen(f"{{host}}:{ports["mlflow"]}/api/2.0/mlflow/experiments/search?max_results=1").status)
try:
    urllib.request.urlopen(f"{{host}}:{ports["s3"]}/mlflow")
except urllib.error.HTTPError as error:
    print(error.code)
""",
    )
    assert said.split() == ["200", "403"]


def test_forwarder_takes_connections_from_the_cluster_alone(cluster: Cluster) -> None:
    address, port = cluster.kept["forward"]["address"], cluster.stack.record["ports"]["mlflow"]
    code = f"""
import urllib.request
try:
    print(urllib.request.urlopen("http://{address}:{port}/health", timeout=5).status)
except OSError as error:
    print("refused")
"""
    # A container in another network.
    assert docker("run", "--rm", "python:3.13-slim", "python", "-c", code).strip() == "refused"
    log = cluster.stack.directory / "logs" / "cluster-forwarder.log"
    assert "Refused a connection of " in log.read_text()


def test_account_of_airflow_may_run_pods_and_nothing_else(cluster: Cluster) -> None:
    own, namespace = cluster.connection / "kubeconfig", cluster.kept["namespace"]

    for verb in ("create", "get", "list", "watch", "patch", "delete"):
        assert "yes" in cluster.kubectl("auth", "can-i", verb, "pods", "-n", namespace, kubeconfig=own)
    refused = [
        ("get", "secrets", "-n", namespace),
        ("list", "secrets", "-n", namespace),
        ("get", "pods", "-n", "kube-system"),
        ("list", "nodes"),
        ("create", "namespaces"),
        ("create", "pods", "--subresource=exec", "-n", namespace),
        ("create", "serviceaccounts", "--subresource=token", "-n", namespace),
    ]
    for question in refused:
        assert "no" in cluster.kubectl("auth", "can-i", *question, kubeconfig=own, ok=False).split(), question
    assert "Forbidden" in cluster.kubectl("get", "secrets", "-n", namespace, kubeconfig=own, ok=False)


def test_files_that_hold_tokens_are_their_owners_alone(cluster: Cluster) -> None:
    for file in (cluster.kubeconfig, cluster.connection / "kubeconfig", cluster.connection / "cluster.json"):
        assert file.stat().st_mode & 0o777 == 0o600, file


def test_restart_keeps_secrets_images_connection_and_the_users_own_kubeconfig(cluster: Cluster, tmp_path: Path) -> None:
    own = tmp_path / "config"
    own.write_text("apiVersion: v1\nkind: Config\ncurrent-context: prod\ncontexts: []\nclusters: []\nusers: []\n")
    before = own.read_bytes()
    namespace = cluster.kept["namespace"]
    cluster.kubectl("-n", namespace, "create", "secret", "generic", "kept", "--from-literal=key=value")
    images, token = cluster.kept["images"], (cluster.connection / "kubeconfig").read_text()
    Cluster(cluster.stack, {**cluster.environment, "KUBECONFIG": str(own)}).cluster("--restart")
    assert own.read_bytes() == before
    assert cluster.get("-n", namespace, "secret", "kept")["data"] == {"key": "dmFsdWU="}
    assert cluster.kept["images"] == images
    assert (cluster.connection / "kubeconfig").read_text() == token
    assert cluster.address_of_host() == cluster.kept["forward"]["address"]
    cluster.kubectl("-n", namespace, "delete", "secret", "kept")


@pytest.mark.parametrize(
    "by_hand",
    [["stop", PROFILE], pytest.param(["rm", "--force", PROFILE], marks=pytest.mark.thorough)],
    ids=["stopped", "removed"],
)
def test_start_brings_back_a_node_that_somebody_else_ended(cluster: Cluster, by_hand: list[str]) -> None:
    namespace = cluster.kept["namespace"]
    cluster.kubectl("-n", namespace, "create", "secret", "generic", "kept", "--from-literal=key=value")
    docker(*by_hand)
    assert cluster.stack.services()["kubernetes"]["health"] == "stopped"
    said = cluster.cluster("--start")
    if by_hand[0] == "rm":
        assert "the node's container is gone" in said.stderr
    assert cluster.get("-n", namespace, "secret", "kept")["data"] == {"key": "dmFsdWU="}
    assert cluster.address_of_host() == cluster.kept["forward"]["address"]
    cluster.kubectl("-n", namespace, "delete", "secret", "kept")
    assert changed(cluster.cluster("--start").stdout) == 0


@pytest.mark.thorough
def test_start_repairs_a_node_whose_pods_find_no_names(cluster: Cluster) -> None:
    docker("exec", PROFILE, "rm", "/etc/gaiaflow-names")
    docker("restart", "--time=5", PROFILE)
    healthy = ("running", "healthy")
    wait_until(lambda: tuple(map(cluster.stack.services()["kubernetes"].get, ("state", "health"))) == healthy, 60, "up")
    assert changed(cluster.cluster("--start").stdout) > 0
    assert cluster.address_of_host() == cluster.kept["forward"]["address"]
    assert changed(cluster.cluster("--start").stdout) == 0


@pytest.mark.thorough
def test_certificates_are_renewed_before_they_end(cluster: Cluster) -> None:
    home = Path(cluster.environment.get("MINIKUBE_HOME") or Path.home())
    certificate = home / ".minikube" / "profiles" / PROFILE / "client.crt"
    certificate.write_bytes(make_certificate(datetime.timedelta(hours=1)))
    assert "its certificates end on" in cluster.cluster("--start").stderr
    assert cluster.run_in_pod("print(6 * 7)").strip() == "42"
    assert changed(cluster.cluster("--start").stdout) == 0


def test_what_is_missing_in_the_cluster_is_made_again(cluster: Cluster) -> None:
    namespace = cluster.kept["namespace"]
    cluster.kubectl("-n", namespace, "delete", "secret/gaiaflow-stack", "role/gaiaflow-airflow")
    (cluster.connection / "kubeconfig").unlink()
    docker("rm", "--force", f"gaiaflow-registry-{PROFILE}")
    assert changed(cluster.cluster("--start").stdout) > 0
    assert cluster.get("-n", namespace, "secret", "gaiaflow-stack")["data"]
    assert changed(cluster.cluster("--start").stdout) == 0


def test_killed_start_is_completed_by_the_next(cluster: Cluster) -> None:
    docker("stop", PROFILE)
    command = [str(CHECKOUT / "gaiaflow-setup"), "cluster", "--start", *cluster.options]
    process = subprocess.Popen(command, env=cluster.environment, stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(6)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    cluster.cluster("--start")
    assert cluster.stack.services()["kubernetes"]["health"] == "healthy"
    assert changed(cluster.cluster("--start").stdout) == 0


def test_interrupted_start_says_what_to_do(cluster: Cluster) -> None:
    docker("stop", PROFILE)
    command = [str(CHECKOUT / "gaiaflow-setup"), "cluster", "--start", *cluster.options]
    process = subprocess.Popen(
        command, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    time.sleep(6)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cluster --start" in errors
    cluster.cluster("--start")


def test_changed_code_is_what_pods_run(cluster: Cluster) -> None:
    source = next((cluster.stack.project / "src").glob("*/starter.py"))
    before, images = source.read_text(), cluster.kept["images"]
    source.write_text(before + "\nMARK = 4711\n")
    try:
        assert changed(cluster.cluster("--build-only").stdout) > 0
        assert cluster.kept["images"] != images
        package = source.parent.name
        assert cluster.run_in_pod(f"from {package}.starter import MARK; print(MARK)").strip() == "4711"
        assert changed(cluster.cluster("--build-only").stdout) == 0
        # Ansible, which would keep a log, isn't needed for that.
        assert json.loads(cluster.cluster("--build-only", "--json").stdout)["log"] is None
    finally:
        source.write_text(before)
        cluster.cluster("--build-only")


REFUSED = {
    "more memory than there is": (["-e", "cluster_memory_mb=9000000"], "cluster_memory_mb is 9000000"),
    "too little memory": (["-e", "cluster_memory_mb=100"], "cluster_memory_mb is 100"),
    "more processors than there are": (["-e", "cluster_cpus=4000"], "cluster_cpus is 4000"),
    "one processor": (["-e", "cluster_cpus=1"], "cluster_cpus is 1"),
    "a profile's name": (["-e", "cluster_profile=a_b!"], "'a_b!' is no profile's name"),
    "a container runtime": (["-e", "cluster_container_runtime=lxc"], "cluster_container_runtime"),
    "a number": (["-e", "cluster_cpus=many"], "cluster_cpus"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_wrong_input_is_refused_before_anything_changes(cluster: Cluster, wrong: str) -> None:
    words, message = REFUSED[wrong]
    before = docker("ps", "--all", "--quiet")
    options = ["--instance", cluster.stack.instance, "-e", "cluster_profile=never-made", *words]
    done = cluster.setup("cluster", "--start", *options, ok=False)
    assert message in done.stderr
    assert docker("ps", "--all", "--quiet") == before


KUBECONFIGS = {
    "not YAML": ("a: [", "is no kubeconfig"),
    "something else": ("- 1", "is no kubeconfig"),
    "without the context": (
        "apiVersion: v1\nkind: Config\ncontexts: [{name: other, context: {cluster: a, user: b}}]",
        "has no context 'wanted'; there are: other",
    ),
    "without the cluster": (
        "apiVersion: v1\nkind: Config\ncontexts: [{name: wanted, context: {cluster: a, user: b}}]",
        "there is no cluster 'a'",
    ),
}


@pytest.mark.parametrize("wrong", KUBECONFIGS)
def test_wrong_kubeconfig_is_refused_by_name(cluster: Cluster, tmp_path: Path, wrong: str) -> None:
    content, message = KUBECONFIGS[wrong]
    file = tmp_path / "a config"
    file.write_text(content)
    words = ["--kubeconfig", str(file), "--context", "wanted", "--instance", cluster.stack.instance]
    done = cluster.setup("cluster", "--start", *words, ok=False)
    assert message in done.stderr
    assert str(file) in done.stderr


def test_port_of_the_registry_that_is_taken_is_named(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = ("-e", f"cluster_registry_port={port}")
        done = cluster.setup("cluster", "--start", *cluster.options, *other, ok=False)
    assert f"The port {port} is taken" in done.stderr and "-e cluster_registry_port=5201" in done.stderr
    cluster.cluster("--start")
    assert cluster.run_in_pod("print(6 * 7)").strip() == "42"


def test_cluster_that_does_not_answer_is_named(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(cluster.kubeconfig.read_text().replace(cluster.kept["server"], "https://127.0.0.1:1"))
    words = ["--kubeconfig", str(file), "--context", PROFILE, "--instance", cluster.stack.instance]
    for action in ("--start", "--create-config-only"):
        done = cluster.setup("cluster", action, *words, ok=False)
        assert "The cluster at https://127.0.0.1:1 doesn't answer" in done.stderr
        assert "Check that it runs" in done.stderr


def test_refusal_of_a_cluster_is_told_in_its_words(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "config"
    shutil.copy(cluster.connection / "kubeconfig", file)
    (context,) = cluster.kubectl("config", "get-contexts", "--output=name", kubeconfig=file).split()
    words = ["--kubeconfig", str(file), "--context", context, "--instance", cluster.stack.instance]
    done = cluster.setup("cluster", "--create-config-only", *words, ok=False)
    assert "refuses Airflow's account or the pods' secrets" in done.stderr and "is forbidden" in done.stderr
    cluster.cluster("--create-config-only")


def test_cluster_that_is_there_is_used_by_its_kubeconfig(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(cluster.kubeconfig.read_text())
    forward = cluster.kept["forward"]
    variables = {
        "cluster_registry": "127.0.0.1:5011",
        "cluster_host_address": forward["address"],
        "cluster_host_network": forward["network"],
    }
    words = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
    options = ["--kubeconfig", str(file), "--context", PROFILE, "--instance", cluster.stack.instance]
    cluster.setup("cluster", "--start", *options, *words)
    assert cluster.kept["kind"] == "external"
    assert changed(cluster.setup("cluster", "--start", *options, *words).stdout) == 0
    assert cluster.run_in_pod("print(6 * 7)").strip() == "42"
    cluster.cluster("--start")
    assert cluster.kept["kind"] == "minikube"


def test_deleted_cluster_leaves_nothing_and_is_made_anew(cluster: Cluster) -> None:
    cluster.cluster("--delete", "--yes")
    assert not list(cluster.connection.iterdir())
    assert not cluster.kubeconfig.exists()
    assert not re.search(rf"^{PROFILE}$", docker("ps", "--all", "--format", "{{.Names}}"), re.MULTILINE)
    assert "kubernetes" not in cluster.stack.services()
    cluster.cluster("--start")
    assert cluster.run_in_pod("print(6 * 7)").strip() == "42"


def test_forwarder_follows_the_cluster(cluster: Cluster) -> None:
    port = cluster.stack.record["ports"]["forwarder"]

    def listens() -> bool:
        said = subprocess.run(
            ["curl", "--silent", "--fail", f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True
        )
        ports = (cluster.stack.record["ports"][name] for name in ("mlflow", "s3"))
        wanted = {f"{cluster.kept['forward']['address']}:{port}" for port in ports}
        return set(json.loads(said.stdout)["listening"]) == wanted

    wait_until(listens, 20, "the forwarder listens on the gateway")
