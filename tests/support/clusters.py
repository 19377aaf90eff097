"""What the tests do with a real cluster: run the command line, and ask Kubernetes as a user would."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stack import CHECKOUT, Stack, wait_until

PROFILE = "gaiaflow-test"
REGISTRY_PORT = 5011
# Airflow's own chart, where somebody has it, runs more processes than role airflow_on_kubernetes by its manifests.
AIRFLOW_CHART = os.environ.get("GAIAFLOW_TEST_AIRFLOW_CHART", "")
MEMORY_MB = 6144 if AIRFLOW_CHART else 3072


# The cluster's DNS comes up a little later than its API server.
LOOKING = """
import socket, time
for _ in range(60):
    try:
        print([socket.gethostbyname(name) for name in NAMES][0])
        break
    except OSError:
        time.sleep(1)
"""


def is_running(pod: dict[str, Any]) -> bool:
    """Tell whether a pod's containers run, and nobody deletes it.

    The phase alone doesn't tell: a busy kubelet leaves it at Running for seconds after the containers have ended.
    """
    containers = pod["status"].get("containerStatuses", [])
    ends = "deletionTimestamp" in pod["metadata"]
    return bool(containers) and not ends and all("running" in container["state"] for container in containers)


@dataclass
class Cluster:
    """A cluster that a stack is connected with.

    Attributes:
        stack: The stack.
        environment: The environment of every command.
    """

    stack: Stack
    environment: dict[str, str] = field(repr=False)

    @property
    def home(self) -> Path:
        """The product's home."""
        return self.stack.home

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.home / "cluster" / "admin.kubeconfig"

    @property
    def connection(self) -> Path:
        """What the stack's Airflow is connected with."""
        return self.stack.directory / "config" / "cluster"

    @property
    def kept(self) -> dict[str, Any]:
        """What tasks need to know of the cluster."""
        content: dict[str, Any] = json.loads((self.connection / "cluster.json").read_text())
        return content

    def setup(
        self, *arguments: str, ok: bool = True, timeout: float = 600, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `gaiaflow-setup`; AssertionError with all its output when it does not end as expected."""
        command = [str(CHECKOUT / "gaiaflow-setup"), *arguments]
        environment = {**self.environment, **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        assert (done.returncode == 0) is ok, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def cluster(self, *arguments: str, ok: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run `gaiaflow-setup cluster` for this cluster."""
        return self.setup("cluster", *arguments, *self.options, ok=ok, timeout=timeout)

    @property
    def options(self) -> list[str]:
        """What names this cluster and stack."""
        variables = (
            f"cluster_profile={PROFILE}",
            f"cluster_registry_port={REGISTRY_PORT}",
            f"cluster_memory_mb={MEMORY_MB}",
        )
        return ["--instance", self.stack.instance, *(word for one in variables for word in ("-e", one))]

    def kubectl(self, *arguments: str, ok: bool = True, kubeconfig: Path | None = None, stdin: str = "") -> str:
        """Run kubectl, as the administrator unless another kubeconfig is given, and return what it says."""
        command = ["kubectl", "--kubeconfig", str(kubeconfig or self.kubeconfig), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, input=stdin, timeout=180)
        assert (done.returncode == 0) is ok, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def run_in_pod(self, code: str) -> str:
        """Return what Python code prints that runs in a pod of the project's image."""
        (image,) = self.kept["images"].values()
        words = ["-n", self.kept["namespace"]]
        self.kubectl(
            *words, "run", "probe", f"--image={image}", "--restart=Never", "--command", "--", "python", "-c", code
        )
        try:
            ended = ("Succeeded", "Failed")
            wait_until(lambda: self.get(*words, "pod", "probe")["status"]["phase"] in ended, 120, "the pod ends")
            return self.kubectl(*words, "logs", "probe")
        finally:
            self.kubectl(*words, "delete", "pod", "probe", "--wait=true", "--grace-period=1")

    def address_of_host(self) -> str:
        """Return the address by which a pod finds this machine; nothing where it finds no names."""
        names = ["host.minikube.internal", "kubernetes.default.svc"]
        return self.run_in_pod(LOOKING.replace("NAMES", str(names))).strip()

    def get(self, *arguments: str) -> Any:
        """Return what the administrator's kubectl says, as JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))
