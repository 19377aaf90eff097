"""Role airflow_on_kubernetes by a chart, with the real helm on a real cluster; the chart only keeps its values."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import PROFILE, Cluster
from role_play import Played, play

NAMESPACE, TEAM = "charted", "charted-team"
TOKEN = "never-to-be-seen-4711"


@pytest.fixture(scope="module")
def variables(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """What the role is told; afterwards nothing of it is left."""
    if not shutil.which("helm", path=cluster.environment["PATH"]):
        pytest.skip("no helm is on the PATH, and none was built (tests/kube/README.md)")
    yield {
        "airflow_on_kubernetes_kubeconfig": str(cluster.kubeconfig),
        "airflow_on_kubernetes_context": PROFILE,
        "airflow_on_kubernetes_namespace": NAMESPACE,
        "airflow_on_kubernetes_method": "chart",
        "airflow_on_kubernetes_chart": str(Path(__file__).with_name("chart")),
        "airflow_on_kubernetes_chart_repository": "",
        "airflow_on_kubernetes_database_url": f"postgresql+psycopg2://airflow:{TOKEN}@db/airflow",
        "airflow_on_kubernetes_dag_repository": "https://git.example.com/airflow-dags.git",
        "airflow_on_kubernetes_dag_password": TOKEN,
        "airflow_on_kubernetes_executor": "KubernetesExecutor",
        "airflow_on_kubernetes_teams": [{"namespace": TEAM}],
    }
    cluster.kubectl("delete", "namespace", NAMESPACE, TEAM, "--ignore-not-found")


@pytest.fixture(scope="module")
def installed(cluster: Cluster, variables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The role, played in check mode on the bare cluster, and then for good."""
    directory = tmp_path_factory.mktemp("charted")
    tried = run(cluster, directory, variables, "--check", "--diff")
    assert not tried.code, tried.tasks
    assert tried.stats["changed"] == 1  # the namespaces, without which nothing else can be tried
    cluster.kubectl("get", "namespace", NAMESPACE, ok=False)
    played = run(cluster, directory, variables)
    assert not played.code, played.tasks
    return played


def run(cluster: Cluster, directory: Path, variables: dict[str, Any], *options: str) -> Played:
    """Play the role with the cluster's programs."""
    return play(directory, "airflow_on_kubernetes", variables, *options, path=cluster.environment["PATH"])


def test_chart_gets_names_of_secrets_and_no_secret(cluster: Cluster, installed: Played) -> None:
    values = json.loads(cluster.get("-n", NAMESPACE, "configmap", "values")["data"]["values.json"])
    assert values["executor"] == "KubernetesExecutor"
    assert values["data"]["metadataSecretName"] == "airflow-keys"
    keys = cluster.get("-n", NAMESPACE, "secret", "airflow-keys")["data"]
    decoded = {name: base64.b64decode(value).decode() for name, value in keys.items()}
    assert set(decoded) >= {"connection", "fernet-key", "api-secret-key", "jwt-secret", "passwords.json"}
    assert not [name for name, value in decoded.items() if value in json.dumps(values)]
    assert TOKEN in decoded["connection"]
    assert TOKEN not in json.dumps(installed.tasks)


def test_second_run_changes_nothing(
    cluster: Cluster, variables: dict[str, Any], installed: Played, tmp_path: Path
) -> None:
    before = cluster.get("-n", NAMESPACE, "secret", "airflow-keys")["data"]
    for options in ((), ("--check", "--diff")):
        played = run(cluster, tmp_path, variables, *options)
        assert not played.code, played.tasks
        assert played.stats["changed"] == 0, [name for name, one in played.tasks.items() if one.get("changed")]
    assert cluster.get("-n", NAMESPACE, "secret", "airflow-keys")["data"] == before


def test_charts_accounts_may_run_pods_for_the_team(cluster: Cluster, installed: Played) -> None:
    account = f"--as=system:serviceaccount:{NAMESPACE}:airflow-worker"
    assert "yes" in cluster.kubectl("auth", "can-i", "create", "pods", account, "-n", TEAM)
    cluster.kubectl("auth", "can-i", "get", "secrets", account, "-n", TEAM, ok=False)
