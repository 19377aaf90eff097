"""A company's Airflow and MLflow: in the cluster, by role airflow_on_kubernetes, with DAGs from a git server."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml
from clusters import AIRFLOW_CHART, PROFILE, REGISTRY_PORT, Cluster
from git_over_http import GitServer, git
from registries import reached_from
from role_play import Played, play
from stack import CHECKOUT, wait_until

SUPPORT = CHECKOUT / "tests" / "kube" / "company.yml"
VERSIONS = CHECKOUT / "inventory" / "group_vars" / "all" / "versions.yml"
# This machine, as pods call it.
MACHINE = "host.minikube.internal"
REGISTRY = f"127.0.0.1:{REGISTRY_PORT}"
CDR = "airflow-dags"
PORTS = {"airflow": 30080, "mlflow": 30500}
PARALLELISM = 4
GREETING = "a greeting from the company's secret"
COMPANY, TEAM = "company", "team"
BY_CHART = {"method": "chart", "chart": AIRFLOW_CHART, "chart_repository": ""}
METHOD = BY_CHART if AIRFLOW_CHART else {"method": "manifests"}
# Whose pods start tasks.
ACCOUNT = "airflow-scheduler" if AIRFLOW_CHART else "airflow"
VOLUMES = 4
EXPLAINED = "gaiaflow.setup.airflow_on_kubernetes : Explain what is not ready"
REQUESTS_MIB = {
    "api-server": 300, "scheduler": 400, "dag-processor": 200, "triggerer": 200, "postgres": 64, "mlflow": 200
}  # fmt: skip
# GitDagBundle, and the program that it calls. The provider alone: it asks for all of Airflow, and would change it.
GIT_PROVIDER, GIT_PYTHON = "apache-airflow-providers-git==0.4.1", "GitPython==3.2.1"
DOCKERFILE = f"""
FROM BASE
ENTRYPOINT []
USER 0
ARG PIP_INDEX_URL
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/* \\
    && pip --python /opt/gaiaflow/environment/bin/python install --no-cache-dir {GIT_PYTHON} \\
    && pip --python /opt/gaiaflow/environment/bin/python install --no-cache-dir --no-deps {GIT_PROVIDER}
# What Airflow's chart takes of Airflow's own image.
RUN useradd --uid 50000 --gid 0 --no-create-home airflow \\
    && install --directory --owner 50000 --group 0 --mode 0775 /opt/airflow \\
    && printf '#!/bin/sh\\nexec "$@"\\n' >/entrypoint && printf '#!/bin/sh\\nexec sleep infinity\\n' >/clean-logs \\
    && chmod 0755 /entrypoint /clean-logs
USER 50000:0
"""


@dataclass
class AirflowInCluster:
    """The company's Airflow.

    Attributes:
        cluster: Where it runs.
        directory: An empty directory.
        image: Airflow's image.
        mlflow_image: MLflow's.
        git: The git server, which pods reach by the same port as this machine does.
        more: Further variables of the role.
    """

    cluster: Cluster
    directory: Path
    image: str
    mlflow_image: str
    git: GitServer
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def credentials(self) -> dict[str, dict[str, str]]:
        """Who may sign in, by service, as the role has made them."""
        keys = self.cluster.get("-n", COMPANY, "secret", "airflow-keys")["data"]
        return {"airflow": {"user": "admin", "password": base64.b64decode(keys["admin-password"]).decode()}}

    def url(self, service: str, path: str = "") -> str:
        """Return an address of a service."""
        return f"http://{node(self.cluster)}:{PORTS[service]}{path}"

    def deploy(self) -> None:
        """Put it into the cluster, after a try with a mistyped image, and wait until it answers."""
        self._prepare()
        # The chart's scheduler is waited for until somebody deletes its pod.
        if not AIRFLOW_CHART:
            mistyped = replace(self, more={**self.more, "image": f"{REGISTRY}/none:1", "wait_seconds": 15})
            told = mistyped.play().tasks[EXPLAINED]["msg"][0]
            assert "airflow-scheduler-0 (database): " in told and "none:1" in told, told
        played = self.play()
        assert not played.code, played.tasks
        wait_until(self._answers, 300, "the company's Airflow answers")

    def play(self, *options: str) -> Played:
        """Play the role."""
        small = {name: {"requests": {"cpu": "20m", "memory": f"{size}Mi"}} for name, size in REQUESTS_MIB.items()}
        keys = self.cluster.stack.credentials["minio"]
        variables: dict[str, Any] = {
            "kubeconfig": str(self.cluster.kubeconfig),
            "context": PROFILE,
            "namespace": COMPANY,
            **METHOD,
            "image": self.image,
            "postgres_image": push(postgres_image()),
            "node_port": PORTS["airflow"],
            "parallelism": PARALLELISM,
            "teams": [{"namespace": TEAM}],
            "dag_repository": f"http://{MACHINE}:{self.git.port}/{CDR}.git",
            "dag_user": self.git.user,
            "dag_password": self.git.token,
            "dag_seconds": 5,
            "mlflow_image": self.mlflow_image,
            "mlflow_hosts": [node(self.cluster)],
            "s3_endpoint": f"http://{MACHINE}:{self.cluster.stack.record['ports']['s3']}",
            "s3_access_key": keys["access_key"],
            "s3_secret_key": keys["secret_key"],
            "storage_class": "test",
            "postgres_storage": "1Gi",
            "logs_storage": "1Gi",
            "mlflow_storage": "1Gi",
            "resources": small,
            "env": {"AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5"},
            **self.more,
        }
        given = {f"airflow_on_kubernetes_{name}": value for name, value in variables.items()}
        path = self.cluster.environment["PATH"]
        return play(self.directory, "airflow_on_kubernetes", given, *options, path=path)

    def remove(self) -> None:
        """Remove it from the cluster."""
        self.cluster.kubectl("delete", "namespace", COMPANY, TEAM, "--ignore-not-found")
        self.cluster.kubectl("delete", "persistentvolume", "-l", "gaiaflow-test=volume", "--ignore-not-found")

    def _prepare(self) -> None:
        """Make what such a company has: volumes, and a secret of the team's."""
        names = [f"company-{number}" for number in range(VOLUMES)]
        volumes = " ".join(f"/var/lib/{name}" for name in names)
        subprocess.run(
            ["docker", "exec", PROFILE, "sh", "-c", f"rm -rf {volumes} && mkdir -m 0777 {volumes}"], check=True
        )
        documents = list(yaml.safe_load_all(SUPPORT.read_text()))
        documents += [_volume(name) for name in names]
        metadata = {"name": "greeting", "namespace": TEAM}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"GREETING": GREETING}}
        documents.append(secret)
        objects = {"apiVersion": "v1", "kind": "List", "items": documents}
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(objects))

    def _answers(self) -> bool:
        try:
            health = requests.get(self.url("airflow", "/api/v2/monitor/health"), timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        parts = ("scheduler", "dag_processor", "triggerer")
        return all(health.get(part, {}).get("status") == "healthy" for part in parts)


def _volume(name: str) -> dict[str, Any]:
    """Return a volume on the node."""
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "test",
        "hostPath": {"path": f"/var/lib/{name}"},
    }
    metadata = {"name": name, "labels": {"gaiaflow-test": "volume"}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def node(cluster: Cluster) -> str:
    """Return the node's address."""
    return urlsplit(cluster.kept["server"]).hostname or ""


def push(image: str) -> str:
    """Push an image to the cluster's registry, as a release would; return its name by digest."""
    name = f"{REGISTRY}/{image}"
    for command in (["tag", image, name], ["push", "--quiet", name]):
        subprocess.run(["docker", *command], check=True, capture_output=True, timeout=600)
    command = ["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", name]
    digests: list[str] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return next(digest for digest in digests if digest.startswith(f"{name.rsplit(':', 1)[0]}@"))


@contextmanager
def git_server(cluster: Cluster, directory: Path) -> Iterator[GitServer]:
    """Serve a central DAG repository as it begins, to this machine and to the cluster's pods.

    Args:
        cluster: The cluster.
        directory: An empty directory.
    """
    checkout = directory / "checkout"
    cluster.setup("cdr", "init", str(checkout))
    with GitServer(directory / "served").running() as server:
        server.create(CDR)
        git("-C", str(checkout), "push", "--quiet", str(server.path(CDR)), "HEAD:refs/heads/main")
        with reached_from(PROFILE, server.port):
            yield server


def build_airflow(base: str, context: Path) -> str:
    """Make an image of Airflow with git and GitDagBundle; return its name.

    Args:
        base: The image that the product has built for its own Airflow.
        context: An empty directory.
    """
    (context / "Dockerfile").write_text(DOCKERFILE.replace("BASE", base))
    image = "gaiaflow-test/company-airflow:1"
    command = ["docker", "build", "--quiet", "--tag", image, "--build-arg", "PIP_INDEX_URL", str(context)]
    subprocess.run(command, check=True, capture_output=True, timeout=900)
    return image


def postgres_image() -> str:
    """Return the image of PostgreSQL that the product pins."""
    name: str = yaml.safe_load(VERSIONS.read_text())["postgres_image"]
    return name
