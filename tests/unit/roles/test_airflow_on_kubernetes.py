"""What role airflow_on_kubernetes would bring to a cluster: by its manifests, and by the chart's values."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_play import prepare
from stack import CHECKOUT

PASSWORDS = {
    "fernet-key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "api-secret-key": "the-api-secret",
    "jwt-secret": "the-jwt-secret",
    "admin-password": "the-admin-password",
    "postgres-password": "the-postgres-password",
}
GIVEN = {"airflow_on_kubernetes_dag_password": "the-token", "airflow_on_kubernetes_s3_secret_key": "the-s3-secret"}
SECRETS = {*PASSWORDS.values(), *GIVEN.values()}
COMPANY: dict[str, Any] = {
    "airflow_on_kubernetes_method": "manifests",
    "airflow_on_kubernetes_passwords": PASSWORDS,
    "airflow_on_kubernetes_image": "registry:5000/acme/airflow:3.3.2-acme@sha256:0815",
    "airflow_on_kubernetes_mlflow_image": "registry:5000/acme/mlflow:3",
    "airflow_on_kubernetes_dag_repository": "https://git.example/airflow-dags.git",
    "airflow_on_kubernetes_s3_access_key": "key",
    "airflow_on_kubernetes_s3_endpoint": "https://s3.example",
    "airflow_on_kubernetes_image_pull_secrets": ["registry"],
    "airflow_on_kubernetes_storage_class": "fast",
    "airflow_on_kubernetes_teams": [{"namespace": "team-a"}, {"namespace": "team-b", "service_account": "jobs"}],
    **GIVEN,
}
ALONE: dict[str, Any] = {
    "airflow_on_kubernetes_method": "manifests",
    "airflow_on_kubernetes_passwords": PASSWORDS,
    "airflow_on_kubernetes_database_url": "postgresql+psycopg2://a:the-postgres-password@db/airflow",
    "airflow_on_kubernetes_logs_storage": "",
    "airflow_on_kubernetes_node_port": 30080,
}
VERSIONS = CHECKOUT / "inventory" / "group_vars" / "all" / "versions.yml"
TEMPLATES = ("namespaces", "secrets", "account", "teams", "postgres", "mlflow", "airflow")
Objects = dict[tuple[str, str], dict[str, Any]]


def render(directory: Path, variables: dict[str, Any]) -> dict[str, str]:
    """Return the role's manifests, and the chart's values, as text by name."""
    command, environment = prepare(directory, "airflow_on_kubernetes", variables)
    role = CHECKOUT / "roles" / "airflow_on_kubernetes"
    left_out = {"postgres"} if "airflow_on_kubernetes_database_url" in variables else set()
    left_out |= set() if "airflow_on_kubernetes_mlflow_image" in variables else {"mlflow"}
    names = [name for name in TEMPLATES if name not in left_out]
    texts = {name: f"{{{{ lookup('ansible.builtin.template', '{role}/templates/{name}.yml.j2') }}}}" for name in names}
    texts["values"] = "{{ airflow_on_kubernetes_values | to_json }}"
    plays = [
        {
            "hosts": "all",
            "gather_facts": False,
            "vars_files": [str(VERSIONS), *sorted(map(str, (role / "vars" / "main").iterdir()))],
            "tasks": [
                {"ansible.builtin.include_vars": str(role / "defaults" / "main.yml")},
                # What is given counts more than the role's defaults, which included variables would hide.
                {"ansible.builtin.set_fact": variables},
                {"ansible.builtin.debug": {"msg": texts}},
            ],
        }
    ]
    (directory / "playbook.yml").write_text(json.dumps(plays))
    done = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stdout + done.stderr
    tasks = json.loads(done.stdout)["plays"][0]["tasks"]
    told: dict[str, Any] = tasks[-1]["hosts"]["localhost"]["msg"]
    return {name: text if isinstance(text, str) else json.dumps(text) for name, text in told.items()}


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With all that there is."""
    return render(tmp_path_factory.mktemp("company"), COMPANY)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With as little as can be."""
    return render(tmp_path_factory.mktemp("alone"), ALONE)


def objects(texts: dict[str, str]) -> Objects:
    """Return the objects in the manifests by kind and name."""
    found = [one for name in texts if name != "values" for one in yaml.safe_load_all(texts[name]) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def pods(texts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the specifications of pods by name."""
    return {
        name: one["spec"]["template"]["spec"]
        for (_, name), one in objects(texts).items()
        if "template" in one.get("spec", {})
    }


def test_secrets_are_in_secrets_alone(company: dict[str, str]) -> None:
    for name, text in company.items():
        if name != "secrets":
            assert not [one for one in SECRETS if one in text], name
    keys = objects(company)["Secret", "airflow-keys"]["data"]
    decoded = {key: base64.b64decode(value).decode() for key, value in keys.items()}
    assert json.loads(decoded["passwords.json"]) == {"admin": "the-admin-password"}
    assert decoded["connection"] == "postgresql+psycopg2://airflow:the-postgres-password@postgres.airflow.svc/postgres"
    assert {key: decoded[key] for key in PASSWORDS} == PASSWORDS


def test_no_container_has_privileges(company: dict[str, str]) -> None:
    for name, pod in pods(company).items():
        assert pod["securityContext"]["runAsNonRoot"], name
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name


def test_parts_are_those_of_the_chart(company: dict[str, str], alone: dict[str, str]) -> None:
    parts = {"airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"}
    assert set(pods(company)) == parts | {"postgres", "mlflow"}
    assert set(pods(alone)) == parts
    assert objects(alone)["Service", "airflow-api-server"]["spec"]["ports"][0]["nodePort"] == 30080
    assert "type" not in objects(company)["Service", "airflow-api-server"]["spec"]


def test_dags_come_from_the_repository_or_the_image(company: dict[str, str], alone: dict[str, str]) -> None:
    def bundle(texts: dict[str, str]) -> dict[str, Any]:
        (container,) = pods(texts)["airflow-dag-processor"]["containers"]
        named = {one["name"]: one.get("value", "") for one in container["env"]}
        (one,) = json.loads(named["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])
        found: dict[str, Any] = one
        return found

    assert bundle(company)["classpath"].endswith("GitDagBundle")
    assert bundle(company)["kwargs"] == {
        "repo_url": "https://git.example/airflow-dags.git",
        "tracking_ref": "main",
        "subdir": "dags",
        "refresh_interval": 60,
        "git_conn_id": "git_dags",
    }
    assert bundle(alone)["kwargs"] == {"path": "/opt/airflow/dags"}
    values = json.loads(company["values"])
    assert values["dagProcessor"]["dagBundleConfigList"] == [bundle(company)]


def test_account_of_airflow_has_rights_in_the_teams_namespaces_alone(company: dict[str, str]) -> None:
    bindings = [
        one for text in [company["teams"]] for one in yaml.safe_load_all(text) if one and one["kind"] == "RoleBinding"
    ]
    assert [one["metadata"]["namespace"] for one in bindings] == ["team-a", "team-b"]
    assert {subject["name"] for one in bindings for subject in one["subjects"]} == {"airflow"}
    assert ("ServiceAccount", "jobs") in objects(company)
    assert "ClusterRole" not in {kind for kind, _ in objects(company)}


def test_volumes_outlive_their_pods_where_a_size_is_given(company: dict[str, str], alone: dict[str, str]) -> None:
    claims = {
        name: one["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"]
        for (kind, name), one in objects(company).items()
        if kind == "StatefulSet"
    }
    assert claims == dict.fromkeys(("airflow-scheduler", "airflow-triggerer", "postgres", "mlflow"), "fast")
    assert "volumeClaimTemplates" not in objects(alone)["StatefulSet", "airflow-scheduler"]["spec"]


def test_chart_is_given_the_image_and_the_names_of_the_secrets(company: dict[str, str]) -> None:
    values = json.loads(company["values"])
    assert values["images"]["airflow"] == {
        "repository": "registry:5000/acme/airflow", "tag": "3.3.2-acme", "digest": "sha256:0815"
    }  # fmt: skip
    assert values["airflowVersion"] == "3.3.2"
    assert values["data"]["metadataSecretName"] == values["jwtSecretName"] == "airflow-keys"
    assert yaml.safe_load(values["extraEnvFrom"]) == [{"secretRef": {"name": "airflow-dags"}}]
    assert {"name": "GAIAFLOW_ENV", "value": "prod"} in values["env"]
    assert values["createUserJob"]["enabled"] is values["postgresql"]["enabled"] is False
