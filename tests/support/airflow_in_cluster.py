"""A company's Airflow: in the cluster, by role airflow_on_kubernetes, with projects' DAGs from a git server."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml
from clusters import PROFILE, REGISTRY_PORT, Cluster
from role_play import Played, play
from stack import CHECKOUT, wait_until

SUPPORT = CHECKOUT / "tests" / "kube" / "company.yml"
VERSIONS = CHECKOUT / "inventory" / "group_vars" / "all" / "versions.yml"
REGISTRY = f"127.0.0.1:{REGISTRY_PORT}"
PORT, GIT_PORT = 30080, 30418
PARALLELISM = 4
GREETING = "a greeting from the company's secret"
COMPANY, TEAM = "company", "team"
VOLUMES = 4
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
COPY --chown=50000:0 airflow-dags.git /srv/airflow-dags.git
USER 50000:0
"""


@dataclass
class AirflowInCluster:
    """The company's Airflow.

    Attributes:
        cluster: Where it runs.
        directory: An empty directory.
        image: Airflow's image, which has the central DAG repository as it begins.
        more: Further variables of the role.
    """

    cluster: Cluster
    directory: Path
    image: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def credentials(self) -> dict[str, dict[str, str]]:
        """Who may sign in, by service, as the role has made them."""
        keys = self.cluster.get("-n", COMPANY, "secret", "airflow-keys")["data"]
        return {"airflow": {"user": "admin", "password": base64.b64decode(keys["admin-password"]).decode()}}

    def url(self, service: str, path: str = "") -> str:
        """Return an address of a service."""
        return f"http://{node(self.cluster)}:{PORT}{path}"

    def deploy(self) -> None:
        """Put it into the cluster, and wait until it answers."""
        self._prepare()
        played = self.play()
        assert not played.code, played.tasks
        wait_until(self._answers, 300, "the company's Airflow answers")

    def play(self, *options: str) -> Played:
        """Play the role."""
        requests_mb = {"api-server": 300, "scheduler": 400, "dag-processor": 200, "triggerer": 200, "postgres": 64}
        small = {name: {"requests": {"cpu": "20m", "memory": f"{size}Mi"}} for name, size in requests_mb.items()}
        variables: dict[str, Any] = {
            "kubeconfig": str(self.cluster.kubeconfig),
            "context": PROFILE,
            "namespace": COMPANY,
            "method": "manifests",
            "image": self.image,
            "postgres_image": push(postgres_image()),
            "node_port": PORT,
            "parallelism": PARALLELISM,
            "teams": [{"namespace": TEAM}],
            "dag_repository": "git://git/airflow-dags.git",
            "dag_seconds": 5,
            "storage_class": "test",
            "postgres_storage": "1Gi",
            "logs_storage": "1Gi",
            "mlflow_storage": "1Gi",
            "resources": small,
            "env": {
                "MLFLOW_TRACKING_URI": f"http://host.minikube.internal:{self.cluster.stack.record['ports']['mlflow']}",
                "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            },
            **self.more,
        }
        given = {f"airflow_on_kubernetes_{name}": value for name, value in variables.items()}
        return play(self.directory, "airflow_on_kubernetes", given, *options)

    def remove(self) -> None:
        """Remove it from the cluster."""
        self.cluster.kubectl("delete", "namespace", COMPANY, TEAM, "--ignore-not-found")
        self.cluster.kubectl("delete", "persistentvolume", "-l", "gaiaflow-test=volume", "--ignore-not-found")

    def _prepare(self) -> None:
        """Make what such a company has: volumes, a git server, and a secret of the team's."""
        names = [f"company-{number}" for number in range(VOLUMES)]
        volumes = " ".join(f"/var/lib/{name}" for name in names)
        subprocess.run(
            ["docker", "exec", PROFILE, "sh", "-c", f"rm -rf {volumes} && mkdir -m 0777 {volumes}"], check=True
        )
        documents = list(yaml.safe_load_all(SUPPORT.read_text().replace("IMAGE", self.image)))
        documents += [_volume(name) for name in names]
        secret = {
            "GREETING": GREETING,
            # The stack's MLflow would send its clients to S3 on this machine's own loopback.
            "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
            "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
        }
        metadata = {"name": "greeting", "namespace": TEAM}
        documents.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": secret})
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


def dag_repository(cluster: Cluster) -> str:
    """Return the address of the central DAG repository, for those outside of the cluster."""
    return f"git://{node(cluster)}:{GIT_PORT}/airflow-dags.git"


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


def git(directory: Path, *arguments: str) -> None:
    """Run git in a directory, as somebody."""
    somebody = {
        f"GIT_{who}_{what}": "somebody@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    environment = {**os.environ, **somebody, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", "-C", directory, *arguments], check=True, capture_output=True, timeout=120, env=environment)


def build_airflow(base: str, dag_repository: Path, context: Path) -> str:
    """Make an image of Airflow with git, and with a central DAG repository that takes pushes; return its name.

    Args:
        base: The image that the product has built for its own Airflow.
        dag_repository: A checkout of the repository.
        context: An empty directory.
    """
    git(context, "clone", "--quiet", "--bare", str(dag_repository), "airflow-dags.git")
    git(context / "airflow-dags.git", "config", "daemon.receivepack", "true")
    (context / "Dockerfile").write_text(DOCKERFILE.replace("BASE", base))
    image = "gaiaflow-test/company-airflow:1"
    command = ["docker", "build", "--quiet", "--tag", image, "--build-arg", "PIP_INDEX_URL", str(context)]
    subprocess.run(command, check=True, capture_output=True, timeout=900)
    return image


def postgres_image() -> str:
    """Return the image of PostgreSQL that the product pins."""
    name: str = yaml.safe_load(VERSIONS.read_text())["postgres_image"]
    return name
