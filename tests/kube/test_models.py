"""The example's model in the cluster: its image, its Deployment, another version under requests, and back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from clusters import Cluster
from stack import PACKAGE, Airflow, Mlflow

NAME = "models-wine-project"
ASKING = """
import json, time, urllib.request
from sklearn.datasets import load_wine
wines = load_wine(as_frame=True).frame.iloc[[0, 60, 150]].drop(columns="target")
body = json.dumps({"dataframe_records": wines.to_dict(orient="records")}).encode()
headers = {"Content-Type": "application/json"}
answers, end = [], time.monotonic() + SECONDS
while not answers or time.monotonic() < end:
    try:
        request = urllib.request.Request("http://NAME.NAMESPACE.svc:8080/invocations", body, headers)
        answers.append(json.load(urllib.request.urlopen(request, timeout=20))["predictions"])
    except OSError as error:
        answers.append(str(error))
    time.sleep(0.1)
print(json.dumps(answers))
"""


def models(cluster: Cluster, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `gaiaflow-setup models` for this cluster."""
    return cluster.setup("models", *arguments, *cluster.options, ok=ok, timeout=1800)


def changed(cluster: Cluster, *arguments: str) -> int:
    """Run `gaiaflow-setup models`, and return how many tasks have changed something."""
    (counts,) = json.loads(models(cluster, *arguments, "--json").stdout)["hosts"].values()
    tasks: int = counts["changed"]
    return tasks


def ask_in_pod(cluster: Cluster, seconds: int) -> list[Any]:
    """Return what a pod of the cluster is answered that asks the model again and again."""
    code = ASKING.replace("SECONDS", str(seconds)).replace("NAMESPACE", cluster.kept["namespace"]).replace("NAME", NAME)
    answers: list[Any] = json.loads(cluster.run_in_pod(code).strip().splitlines()[-1])
    return answers


def deployment(cluster: Cluster) -> dict[str, Any]:
    """Return the model's Deployment."""
    found: dict[str, Any] = cluster.get("-n", cluster.kept["namespace"], "deployment", NAME)
    return found


def served_version(cluster: Cluster) -> str:
    """Return the version of the model that the Deployment's pods are made with."""
    version: str = deployment(cluster)["spec"]["template"]["metadata"]["annotations"]["gaiaflow/model-version"]
    return version


def register_again(cluster: Cluster) -> str:
    """Register the example's model as another version, name it champion, and return that version."""
    source = Mlflow(cluster.stack).latest_version(PACKAGE)["source"]
    code = f"import mlflow; print(mlflow.register_model({source!r}, {PACKAGE!r}).version)"
    command = [cluster.stack.program("airflow", "python"), "-c", code]
    done = subprocess.run(command, env=cluster.stack.client_environment(), capture_output=True, text=True, check=True)
    made = done.stdout.split()[-1]
    api = cluster.stack.url("mlflow", "/api/2.0/mlflow")
    body = {"name": PACKAGE, "alias": "champion", "version": made}
    assert requests.post(f"{api}/registered-models/alias", json=body, timeout=60).ok
    return made


@pytest.fixture(scope="module")
def deployed(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, serving the example's model by its alias."""
    Airflow(cluster.stack).run_dag(f"{PACKAGE}_example")
    register_again(cluster)
    models(cluster, "deploy", f"{PACKAGE}@champion")
    yield cluster
    models(cluster, "deploy", PACKAGE, "--delete", "--yes")
    assert not cluster.get(
        "-n", cluster.kept["namespace"], "deployments,services", "-l", f"app.kubernetes.io/name={NAME}"
    )["items"]


def test_pods_of_the_cluster_reach_the_model(deployed: Cluster) -> None:
    assert ask_in_pod(deployed, 0) == [[0, 1, 2]]
    assert changed(deployed, "deploy", f"{PACKAGE}@champion") == 0


def test_image_needs_no_root_and_holds_no_credential(deployed: Cluster) -> None:
    image = f"gaiaflow-models/wine-project:{served_version(deployed)}"
    said = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=True).stdout
    (inspected,) = json.loads(said)
    assert inspected["Config"]["User"] == "50000:0" and "/health" in str(inspected["Config"]["Healthcheck"])
    history = subprocess.run(
        ["docker", "history", "--no-trunc", image], capture_output=True, text=True, check=True
    ).stdout
    search = [
        "docker",
        "run",
        "--rm",
        "--user=0",  # who may read all of it
        "--entrypoint",
        "grep",
        image,
        "--recursive",
        "--fixed-strings",
        "--files-with-matches",
    ]
    patterns = [word for secret in deployed.stack.secrets for word in ("-e", secret)]
    found = subprocess.run([*search, *patterns, "/opt", "/tmp", "/etc"], capture_output=True, text=True)
    assert found.returncode == 1, found.stdout + found.stderr
    assert not [secret for secret in deployed.stack.secrets if secret in said + history]
    assert changed(deployed, "image", f"{PACKAGE}@champion") == 0


def test_pods_have_no_rights(deployed: Cluster) -> None:
    pod = deployment(deployed)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "@sha256:" in container["image"]


def test_alias_that_moved_is_rolled_out_while_everybody_is_answered_and_back(deployed: Cluster) -> None:
    before = served_version(deployed)
    version = register_again(deployed)
    # Only the Deployment changes while requests are sent: the image is there by then.
    models(deployed, "image", f"{PACKAGE}@champion")
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask_in_pod, deployed, 60)
        models(deployed, "deploy", f"{PACKAGE}@champion")
        answers = asked.result()
    assert served_version(deployed) == version != before
    assert len(answers) > 10 and all(one == [0, 1, 2] for one in answers), answers
    models(deployed, "deploy", PACKAGE, "--rollback")
    assert served_version(deployed) == before
    assert ask_in_pod(deployed, 0) == [[0, 1, 2]]


@pytest.mark.thorough
def test_what_somebody_changed_by_hand_is_put_right(deployed: Cluster) -> None:
    models(deployed, "deploy", f"{PACKAGE}@champion")
    deployed.kubectl("-n", deployed.kept["namespace"], "scale", "deployment", NAME, "--replicas=0")
    assert changed(deployed, "deploy", f"{PACKAGE}@champion", "--check") == 1
    models(deployed, "deploy", f"{PACKAGE}@champion")
    assert deployment(deployed)["spec"]["replicas"] == 1


@pytest.mark.thorough
def test_new_pods_that_do_not_answer_are_named_and_the_old_ones_go_on(deployed: Cluster) -> None:
    too_little = ["-e", "model_deployment_memory=16Mi", "-e", "model_deployment_timeout=40"]
    done = models(deployed, "deploy", f"{PACKAGE}@champion", *too_little, ok=False)
    assert f"{NAME} isn't served by its new pods" in done.stderr and "--rollback" in done.stderr
    assert ask_in_pod(deployed, 0) == [[0, 1, 2]]
    models(deployed, "deploy", f"{PACKAGE}@champion")


def test_rollback_of_what_is_not_deployed_is_refused(deployed: Cluster) -> None:
    done = models(deployed, "deploy", "nothing", "--rollback", ok=False)
    assert "models-nothing isn't deployed" in done.stderr and NAME in done.stderr
