"""A company's Airflow: in a pod of the cluster, of the stack's own image, with the DAG folders of several projects."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

import requests
import yaml
from clusters import REGISTRY_PORT, Cluster
from stack import CHECKOUT, wait_until

MANIFEST = CHECKOUT / "tests" / "kube" / "airflow.yml"
ROLE = CHECKOUT / "roles" / "cluster" / "vars" / "main.yml"
VERSIONS = CHECKOUT / "inventory" / "group_vars" / "all" / "versions.yml"
REGISTRY = f"127.0.0.1:{REGISTRY_PORT}"
PORT = 30080
PARALLELISM = 4
GREETING = "a greeting from the company's secret"
COMPANY, TEAM = "company", "team"


@dataclass
class AirflowInCluster:
    """The company's Airflow.

    Attributes:
        cluster: Where it runs.
        credentials: Who may sign in, by service.
    """

    cluster: Cluster
    credentials: dict[str, dict[str, str]] = field(
        default_factory=lambda: {"airflow": {"user": "admin", "password": secrets.token_urlsafe(12)}}, repr=False
    )

    def url(self, service: str, path: str = "") -> str:
        """Return an address of a service."""
        return f"http://{urlsplit(self.cluster.kept['server']).hostname}:{PORT}{path}"

    def deploy(self, airflow_image: str, postgres_image: str) -> None:
        """Put it into the cluster, and wait until it answers."""
        values = {
            "rules": json.dumps(yaml.safe_load(ROLE.read_text())["cluster_rules"]),
            "greeting": GREETING,
            "secret_key": secrets.token_urlsafe(32),
            "jwt_secret": secrets.token_urlsafe(64),
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "database_password": secrets.token_hex(16),
            "password": self.credentials["airflow"]["password"],
            "mlflow": f"http://host.minikube.internal:{self.cluster.stack.record['ports']['mlflow']}",
            "airflow_image": airflow_image,
            "postgres_image": postgres_image,
            "port": PORT,
            "parallelism": PARALLELISM,
        }
        documents = list(yaml.safe_load_all(Template(MANIFEST.read_text()).substitute(values)))
        objects = {"apiVersion": "v1", "kind": "List", "items": documents}
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(objects))
        wait_until(self._answers, 300, "the company's Airflow answers")

    def _answers(self) -> bool:
        try:
            health = requests.get(self.url("airflow", "/api/v2/monitor/health"), timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        parts = ("scheduler", "dag_processor", "triggerer")
        return all(health.get(part, {}).get("status") == "healthy" for part in parts)

    def remove(self) -> None:
        """Remove it from the cluster."""
        self.cluster.kubectl("delete", "namespace", COMPANY, TEAM, "--ignore-not-found", "--wait=false")


def push(image: str) -> str:
    """Push an image to the cluster's registry, as a release would; return its name by digest."""
    name = f"{REGISTRY}/{image}"
    for command in (["tag", image, name], ["push", "--quiet", name]):
        subprocess.run(["docker", *command], check=True, capture_output=True, timeout=600)
    command = ["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", name]
    digests: list[str] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return next(digest for digest in digests if digest.startswith(f"{name.rsplit(':', 1)[0]}@"))


def build_airflow(base: str, projects: Sequence[Path], context: Path) -> str:
    """Put the DAG folders of projects into an image of Airflow; return the name of what comes out.

    Args:
        base: The image that the product has built for its own Airflow.
        projects: The projects.
        context: An empty directory.
    """
    for project in projects:
        shutil.copytree(project / "dags", context / "dags" / project.name, dirs_exist_ok=True)
    (context / "Dockerfile").write_text(f"FROM {base}\nENTRYPOINT []\nCOPY dags /opt/dags\n")
    image = "gaiaflow-test/company-airflow:1"
    subprocess.run(["docker", "build", "--quiet", "--tag", image, context], check=True, timeout=600)
    return image


def postgres_image() -> str:
    """Return the image of PostgreSQL that the product pins."""
    name: str = yaml.safe_load(VERSIONS.read_text())["postgres_image"]
    return name
