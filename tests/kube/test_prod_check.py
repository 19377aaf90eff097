"""`prod check` against a real cluster: what is missing is named with what to do, and only `--apply` makes it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from clusters import PROFILE, Cluster
from stack import PACKAGE, SUMMARY, Airflow
from tables import rows

pytestmark = pytest.mark.usefixtures("tools")

COMPANY, TEAM = "checked-company", "checked-team"
ADDRESSES = "addresses"
VALUE = "never-to-be-seen-4711"
PROD = f"""
namespace: {TEAM}
service_account: tasks
env_secrets: [{ADDRESSES}]
check:
  resources: small
  tasks: 2
  secrets: {{my-creds: [API_KEY]}}
"""
QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "small", "namespace": TEAM},
    # Tasks, and the pod that looks around, fit in but for what two tasks may use at most.
    "spec": {"hard": {"limits.memory": "1Gi"}},
}


@dataclass
class Company:
    """A company's cluster, and a project that is to run there.

    Attributes:
        cluster: The cluster.
        project: The project.
        files: The secrets' `.env` files by name.
        environment: What the command gets beside the cluster's environment.
    """

    cluster: Cluster
    project: Path
    files: dict[str, Path]
    environment: dict[str, str] = field(repr=False)

    @property
    def prod_yaml(self) -> Path:
        """What the project says of production."""
        return self.project / "dags" / f"{PACKAGE}_dags" / "prod.yaml"

    def check(self, *options: str, ok: bool = True, image: str = "") -> dict[str, dict[str, Any]]:
        """Run `prod check`, and return its findings by id."""
        said = self.run(*options, "--json", ok=ok, image=image).stdout
        assert VALUE not in said and "host.minikube.internal" not in said
        return {one["id"]: one for one in json.loads(said)["findings"]}

    def run(self, *options: str, ok: bool = True, image: str = "") -> subprocess.CompletedProcess[str]:
        """Run `prod check`, as the administrator unless the options name another kubeconfig."""
        (own,) = self.cluster.kept["images"].values()
        words = ["prod", "check", "--kubeconfig", str(self.cluster.kubeconfig), "--context", PROFILE]
        words += ["--project", str(self.project), "--image", image or own, *options]
        command = Cluster(self.cluster.stack, {**self.cluster.environment, **self.environment})
        return command.setup(*words, ok=ok)

    def apply(self) -> dict[str, dict[str, Any]]:
        """Make what is missing, and return the findings afterwards."""
        secrets = [word for name, file in self.files.items() for word in ("--secret", f"{name}={file}")]
        return self.check("--apply", "--yes", *secrets)

    def objects(self) -> list[str]:
        """Return the names of all that is in the team's namespace, which Kubernetes itself doesn't make."""
        kinds = "pods,secrets,serviceaccounts,roles,rolebindings"
        found = self.cluster.get("-n", TEAM, kinds)["items"]
        return sorted(f"{one['kind']} {one['metadata']['name']}" for one in found)

    def settings(self, **changes: Any) -> None:
        """Write the project's prod.yaml, with changes; JSON is YAML, too."""
        ports = self.cluster.stack.record["ports"]
        content = yaml.safe_load(PROD)
        content["check"]["airflow"] = {
            "url": f"http://127.0.0.1:{ports['airflow']}", "namespace": COMPANY, "service_account": "airflow"
        }  # fmt: skip
        content["check"] |= changes.pop("check", {})
        self.prod_yaml.write_text(json.dumps(content | changes))


@pytest.fixture(scope="module")
def company(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A cluster with Airflow's account, and nothing yet for the project."""
    root = tmp_path_factory.mktemp("checked")
    shutil.copytree(cluster.stack.project, root / "project", ignore=shutil.ignore_patterns(".git", "__pycache__"))
    ports = cluster.stack.record["ports"]
    addresses, creds = root / "addresses.env", root / "creds.env"
    addresses.write_text(
        f"MLFLOW_TRACKING_URI=http://host.minikube.internal:{ports['mlflow']}\n"
        f"AWS_ENDPOINT_URL_S3=http://host.minikube.internal:{ports['s3']}\n"
    )
    creds.write_text(f"API_KEY={VALUE}\n")
    token = Airflow(cluster.stack).headers["Authorization"].split()[1]
    found = Company(
        cluster,
        root / "project",
        {ADDRESSES: addresses, "my-creds": creds},
        {"GAIAFLOW_AIRFLOW_TOKEN": token},
    )
    found.settings()
    cluster.kubectl("create", "namespace", COMPANY)
    cluster.kubectl("-n", COMPANY, "create", "serviceaccount", "airflow")
    try:
        yield found
    finally:
        cluster.kubectl("delete", "namespace", COMPANY, TEAM, "--ignore-not-found")


@pytest.fixture(scope="module")
def applied(company: Company) -> dict[str, dict[str, Any]]:
    """What is said after all that can be made has been made."""
    return company.apply()


def bad(findings: dict[str, dict[str, Any]]) -> set[str]:
    """Return the ids of what is missing or wrong."""
    return {name for name, one in findings.items() if one["state"] in ("missing", "wrong")}


def test_nothing_is_made_by_looking(company: Company) -> None:
    found = company.check(ok=False)
    secrets = {f"secret {name}" for name in company.files}
    assert bad(found) == {"namespace", "service_account", "rights"} | secrets
    assert found["namespace"]["repair"].startswith("--apply makes it")
    assert f"secrets create my-creds --from-env-file FILE --namespace {TEAM}" in found["secret my-creds"]["repair"]
    assert found["pod"]["state"] == "unknown"
    assert found["airflow_account"]["state"] == "ok"
    company.cluster.kubectl("get", "namespace", TEAM, ok=False)


def test_what_would_be_made_is_shown_before(company: Company) -> None:
    said = company.run("--apply", "--check", "--diff", ok=False).stdout
    assert "would change" in said and TEAM in said
    refused = company.run("--apply", ok=False)
    assert f"Namespace {TEAM}" in refused.stderr and "--yes" in refused.stderr
    company.cluster.kubectl("get", "namespace", TEAM, ok=False)


def test_all_is_well_when_it_has_been_made(company: Company, applied: dict[str, dict[str, Any]]) -> None:
    assert not bad(applied), applied
    assert applied["namespace"]["state"] == applied["rights"]["state"] == "fixed"
    assert {applied[name]["state"] for name in ("image", "mlflow", "s3", "airflow", "provider", "quota")} == {"ok"}
    assert applied["secret my-creds"]["message"] == "has API_KEY"


def test_second_apply_changes_nothing(company: Company, applied: dict[str, dict[str, Any]]) -> None:
    before = company.objects()
    again = company.run("--apply", "--yes")
    summary = SUMMARY.search(again.stdout)
    assert summary is None or summary[2] == "0", again.stdout
    assert "well" in again.stdout and "missing" not in again.stdout, again.stdout
    assert company.objects() == before
    assert not [one for one in before if one.startswith("Pod ")]


def delete(*what: str) -> Callable[[Company], None]:
    """Return what takes an object of the team's away."""

    def lose(company: Company) -> None:
        company.cluster.kubectl("-n", TEAM, "delete", *what)

    return lose


def patch_secret(name: str, data: dict[str, str | None]) -> Callable[[Company], None]:
    """Return what changes keys of a secret; None takes one away."""

    def change(company: Company) -> None:
        patch = [{"op": "remove", "path": f"/data/{key}"} for key, value in data.items() if value is None]
        company.cluster.kubectl("-n", TEAM, "patch", "secret", name, "--type=json", "-p", json.dumps(patch))

    def replace(company: Company) -> None:
        text = json.dumps({"stringData": data})
        company.cluster.kubectl("-n", TEAM, "patch", "secret", name, "--type=merge", "-p", text)

    return change if None in data.values() else replace


def no_quota(company: Company) -> None:
    company.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(QUOTA))


def change(**settings: Any) -> Callable[[Company], None]:
    """Return what changes the project's prod.yaml."""
    return lambda company: company.settings(**settings)


LOST: dict[str, tuple[Callable[[Company], None], str, str, str]] = {
    "account of the pods": (delete("serviceaccount", "tasks"), "service_account", "there is no tasks", "--apply"),
    "binding of Airflow's account": (
        delete("rolebinding", "gaiaflow-airflow-tasks"),
        "rights", "may not create pods, get pods, list pods", "--apply makes it",
    ),
    "secret": (delete("secret", "my-creds"), "secret my-creds", "there is none", "secrets create my-creds"),
    "key of a secret": (
        patch_secret("my-creds", {"API_KEY": None}), "secret my-creds", "lacks API_KEY", "secrets create my-creds"
    ),
    "room in the quota": (no_quota, "quota", "limits.memory: 2048Mi asked", "let tasks ask for less"),
    "MLflow": (
        patch_secret(ADDRESSES, {"MLFLOW_TRACKING_URI": "http://nowhere.invalid:5000"}),
        "mlflow", "MLFLOW_TRACKING_URI: ", "Correct the address",
    ),
    "S3": (
        patch_secret(ADDRESSES, {"AWS_ENDPOINT_URL_S3": "http://host.minikube.internal:1"}),
        "s3", "AWS_ENDPOINT_URL_S3: ", "Correct the address",
    ),
    "Airflow": (
        change(check={"airflow": {"url": "http://127.0.0.1:1", "namespace": COMPANY, "service_account": "airflow"}}),
        "airflow", "http://127.0.0.1:1: Connection refused", "check.airflow.url",
    ),
    "Airflow's account": (
        change(check={"airflow": {"namespace": COMPANY, "service_account": "other"}}),
        "airflow_account", f"there is no {COMPANY}/other", "airflow_on_kubernetes",
    ),
    "node": (change(node_selector={"pool": "none"}), "pod", "no node takes it", "node_selector"),
}  # fmt: skip
USUALLY_LOST = {"account of the pods", "key of a secret", "MLflow"}


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize(("lose", "name", "message", "repair"), rows(LOST, USUALLY_LOST))
def test_what_is_lost_is_named_with_what_to_do(
    company: Company, lose: Callable[[Company], None], name: str, message: str, repair: str
) -> None:
    lose(company)
    try:
        options = ("-e", "prod_check_pod_seconds=10") if name == "pod" else ()
        found = company.check(*options, ok=False)
        expected = {name, "rights"} if name == "airflow_account" else {name}
        assert bad(found) == expected, found
        assert message in found[name]["message"]
        assert repair in found[name]["repair"]
        assert not [one for one in company.objects() if one.startswith("Pod ")]
    finally:
        company.settings()
        company.cluster.kubectl("-n", TEAM, "delete", "resourcequota,secret", "--all")
        assert not bad(company.apply())


@pytest.mark.usefixtures("applied")
def test_image_that_is_not_there_is_named(company: Company) -> None:
    (own,) = company.cluster.kept["images"].values()
    image = own.split("@")[0] + ":none"
    found = company.check(ok=False, image=image)
    assert bad(found) == {"image"}, found
    assert "none" in found["image"]["message"] and "release image" in found["image"]["repair"]


@pytest.mark.usefixtures("applied")
def test_who_may_not_look_is_told_so(company: Company) -> None:
    config = company.project.parent / "viewer.kubeconfig"
    token = company.cluster.kubectl("-n", COMPANY, "create", "token", "airflow").strip()
    admin = json.loads(company.cluster.kubectl("config", "view", "--raw", "-o", "json"))
    (entry,) = [one for one in admin["clusters"] if one["name"] == PROFILE]
    context = {"cluster": PROFILE, "user": "viewer"}
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": PROFILE, "clusters": [entry],
        "contexts": [{"name": PROFILE, "context": context}], "users": [{"name": "viewer", "user": {"token": token}}],
    }  # fmt: skip
    config.write_text(json.dumps(content))
    found = company.check("--kubeconfig", str(config))
    assert not bad(found)
    for name in ("namespace", "rights", "secret my-creds", "quota"):
        assert found[name]["state"] == "unknown"
        assert "may not see it" in found[name]["message"]
