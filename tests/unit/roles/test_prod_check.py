"""What the check of production makes of what it finds: of pods, quotas and addresses, and in its table."""

from __future__ import annotations

import http.server
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from role_play import play, prepare
from stack import CHECKOUT

ROLE = CHECKOUT / "roles" / "prod_check"
TEMPLATE = CHECKOUT / "template" / "{{cookiecutter.project_folder}}" / "dags" / "{{cookiecutter.package_name}}_dags"


def load(name: str, file: Path) -> ModuleType:
    """Import a Python file that belongs to no package; no bytecode is left, which new projects would get."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def info() -> ModuleType:
    from ansible_collections.gaiaflow.setup.plugins.modules import prod_info

    return prod_info


# ---- The pod


def pod(state: dict[str, Any], **status: Any) -> dict[str, Any]:
    """Return a pod whose only container has a state."""
    return {"status": {"phase": "Pending", "containerStatuses": [{"state": state}]} | status}


NO_NODE = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]
PODS: dict[str, tuple[dict[str, Any], str, str, dict[str, Any]]] = {
    "ended": (pod({"terminated": {"exitCode": 0, "message": '{"s3": {}}'}}), "ended", "", {"s3": {}}),
    "no Python": (pod({"terminated": {"exitCode": 127, "message": "not\nfound"}}), "failed", "exit code 127: not", {}),
    "no such image": (
        pod({"waiting": {"reason": "ErrImagePull", "message": "not found"}}), "pull", "ErrImagePull: not found", {}
    ),
    "no start": (pod({"waiting": {"reason": "CreateContainerError", "message": "x"}}), "failed", "ContainerError", {}),
    "no node": ({"status": {"phase": "Pending", "conditions": NO_NODE}}, "unscheduled", "0/1 nodes", {}),
    "begins": (pod({"waiting": {"reason": "ContainerCreating"}}), "waiting", "ContainerCreating", {}),
    "too late": ({"status": {"phase": "Failed", "reason": "DeadlineExceeded"}}, "ended_early", "DeadlineExceeded", {}),
    "deleted": ({}, "failed", "somebody deleted", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", PODS)
def test_pods_status_is_put_into_words(info: ModuleType, case: str) -> None:
    status, state, said, told = PODS[case]
    found = info.pod_state(status)
    assert (found["state"], found["told"]) == (state, told)
    assert said in found["said"]


# ---- Quotas

LARGE = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}}
QUOTAS = {
    "room for all": ({"requests.cpu": "2", "limits.memory": "16Gi", "pods": "2"}, {}, [], False),
    "too small for ever": (
        {"memory": "3Gi"}, {}, ["memory: 4096Mi asked, 3072Mi of 3Gi free (quota q)"], True
    ),
    "full now": (
        {"cpu": "4"}, {"cpu": "3500m"}, ["cpu: 2 asked, 0.5 of 4 free (quota q)"], False
    ),
    "too many pods": ({"pods": "10"}, {"pods": "9"}, ["pods: 2 asked, 1 of 10 free (quota q)"], False),
    "GPUs": ({"requests.nvidia.com/gpu": "1"}, {}, ["requests.nvidia.com/gpu: 2 asked, 1 of 1 free (quota q)"], True),
    "of something else": ({"services": "0"}, {}, [], False),
}  # fmt: skip


@pytest.mark.parametrize("case", QUOTAS)
def test_what_does_not_fit_into_a_quota_is_told(info: ModuleType, case: str) -> None:
    hard, used, lacks, never = QUOTAS[case]
    quota = {"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}
    found = list(info.over_quota([quota], LARGE, 2))
    assert [line for line, _ in found] == lacks
    assert any(one for _, one in found) is never


def test_quotas_of_other_pods_say_nothing(info: ModuleType) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"cpu": "0"}, "scopes": ["BestEffort"]}}
    assert not list(info.over_quota([quota], LARGE, 1))


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"type": "Container", "max": {"memory": "4Gi"}}, "memory: 8Gi asked as a limit, 4Gi at most (limit range r)"),
        ({"type": "Pod", "min": {"cpu": "2"}}, "cpu: 1 requested, 2 at least (limit range r)"),
        ({"type": "PersistentVolumeClaim", "max": {"memory": "1"}}, ""),
        ({"type": "Container", "max": {"memory": "8Gi"}, "min": {"cpu": "1000m"}}, ""),
    ],
)
def test_what_a_limit_range_forbids_is_told(info: ModuleType, limit: dict[str, Any], said: str) -> None:
    found = list(info.out_of_range([{"metadata": {"name": "r"}, "spec": {"limits": [limit]}}], {"resources": LARGE}))
    assert found == ([(said, True)] if said else [])


def test_profiles_are_those_of_task_factory() -> None:
    profiles = yaml.safe_load((ROLE / "vars" / "main" / "project.yml").read_text())["prod_check_profiles"]
    assert profiles == load("resources", TEMPLATE / "resources.py").PROFILES


# ---- What the pod does


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    """A server that answers by the path's number."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.split("/")[1]))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "state", "said"),
    [(200, "ok", "answers"), (401, "ok", "answers"), (403, "wrong", "answers 403"), (502, "wrong", "answers 502")],
)
def test_address_is_asked(
    server: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch, status: int, state: str, said: str
) -> None:
    look_around = load("look_around", ROLE / "files" / "look_around.py")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}/{status}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = look_around.look(look_around.MLFLOW, "/health", (403,))
    assert found == {"state": state, "said": f"MLFLOW_TRACKING_URI {said}"}


@pytest.mark.parametrize(
    ("value", "state", "said"),
    [
        ("http://127.0.0.1:1", "wrong", "check.mlflow: Connection refused"),
        ("databricks", "wrong", "check.mlflow is no address of HTTP"),
        ("", "unnamed", "MLFLOW_TRACKING_URI"),
    ],
)
def test_address_that_is_none_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, value: str, state: str, said: str
) -> None:
    look_around = load("look_around", ROLE / "files" / "look_around.py")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("GAIAFLOW_CHECK_MLFLOW", value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert look_around.look(look_around.MLFLOW, "/health", ()) == {"state": state, "said": said}


# ---- The table

THERE = {"state": "present", "said": ""}
NOT_THERE = {"state": "absent", "said": "not found"}
REFUSED = {"state": "refused", "said": "forbidden: User me"}
WELL: dict[str, Any] = {
    "server": "https://h:6443",
    "context": "team",
    "kubernetes": "1.35.1",
    "namespace": THERE,
    "service_account": THERE,
    "starter": THERE,
    "rights": {**THERE, "missing": []},
    "secrets": [
        {"name": "address", **THERE, "type": "Opaque", "keys": ["MLFLOW_TRACKING_URI"], "missing": []},
        {"name": "creds", **THERE, "type": "Opaque", "keys": ["KEY", "MORE"], "missing": []},
        {"name": "pull", **THERE, "type": "x", "keys": [".dockerconfigjson"], "missing": []},
    ],
    "quota": {"state": "absent", "said": "", "lacks": [], "never": False},
    "pod": {
        "state": "ended",
        "said": "",
        "told": {"mlflow": {"state": "ok", "said": "m answers"}, "s3": {"state": "ok", "said": "s answers"}},
    },
    "airflow": {
        "state": "present",
        "said": "",
        "version": "3.3.2",
        "providers": {"apache-airflow-providers-cncf-kubernetes": "10.25.0"},
        "providers_state": "present",
        "providers_said": "",
    },
}
PROD = """
namespace: wrong
service_account: tasks
env_secrets: [address]
image_pull_secrets: [pull]
stages:
  staging:
    namespace: team
    check: {resources: large}
  production: {}
release: {registry: ghcr.io/acme}
check:
  secrets: {creds: [KEY]}
  airflow: {namespace: company, service_account: airflow, url: "https://airflow"}
"""


def make_project(directory: Path) -> Path:
    """Make a project that says much of production."""
    dags = directory / "project" / "dags" / "wine_dags"
    dags.mkdir(parents=True)
    (dags / "prod.yaml").write_text(PROD)
    source = directory / "project" / "src" / "wine"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text('__version__ = "1.2.0"\n')
    return directory / "project"


def variables(project: Path) -> dict[str, Any]:
    """Return what the role has found of a project."""
    path = str(project / "dags" / "wine_dags" / "prod.yaml")
    return {"prod_check_project": str(project), "prod_check_files": {"files": [{"path": path}]}}


UNMADE = {"state": "unmade", "said": "", "told": {}}
CASES: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "namespace": ({"namespace": NOT_THERE, "pod": UNMADE}, "namespace", "missing", "there is none", "--apply makes it"),
    "account": ({"service_account": NOT_THERE}, "service_account", "missing", "there is no tasks", "--apply makes it"),
    "Airflow's account": (
        {"starter": NOT_THERE}, "airflow_account", "missing", "there is no company/airflow", "airflow_on_kubernetes"
    ),
    "rights": (
        {"rights": {**NOT_THERE, "missing": [{"verb": "get", "resource": "pods", "subresource": "log"}]}},
        "rights", "missing", "in team it may not get pods/log", "--apply makes it",
    ),
    "rights that are not told": (
        {"rights": {**REFUSED, "missing": []}}, "rights", "unknown", "forbidden: User me", "administrator"
    ),
    "secret": (
        {"secrets": [{"name": "creds", **NOT_THERE, "type": "", "keys": [], "missing": ["KEY"]}]},
        "secret creds", "missing", "there is none",
        "gaiaflow-setup secrets create creds --from-env-file FILE --namespace team",
    ),
    "key of a secret": (
        {"secrets": [{"name": "creds", **THERE, "type": "Opaque", "keys": ["B"], "missing": ["KEY"]}]},
        "secret creds", "missing", "lacks KEY", "secrets create creds",
    ),
    "pull secret": (
        {"secrets": [{"name": "pull", **NOT_THERE, "type": "", "keys": [], "missing": []}]},
        "secret pull", "missing", "there is none", "kubectl create secret generic pull --type=kubernetes.io/docker",
    ),
    "quota": (
        {"quota": {**THERE, "lacks": ["cpu: 2 asked"], "never": True}},
        "quota", "wrong", "cpu: 2 asked", "let tasks ask for less",
    ),
    "full quota": (
        {"quota": {**THERE, "lacks": ["cpu: 2 asked"], "never": False}}, "quota", "wrong", "cpu: 2 asked", "Wait until"
    ),
    "image": (
        {"pod": {"state": "pull", "said": "ErrImagePull: x", "told": {}}},
        "image", "wrong", "ErrImagePull: x", "release image",
    ),
    "no node": (
        {"pod": {"state": "unscheduled", "said": "0/1 nodes", "told": {}}}, "pod", "wrong", "0/1", "node_selector"
    ),
    "MLflow": (
        {"pod": {"state": "ended", "said": "", "told": {
            "mlflow": {"state": "wrong", "said": "X answers 403"}, "s3": {"state": "ok", "said": "s answers"}}}},
        "mlflow", "wrong", "X answers 403", "--allowed-hosts",
    ),
    "no Airflow": (
        {"airflow": {**WELL["airflow"], "state": "absent", "said": "Connection refused"}},
        "airflow", "wrong", "https://airflow: Connection refused", "check.airflow.url",
    ),
    "old Airflow": (
        {"airflow": {**WELL["airflow"], "version": "3.0.6"}}, "airflow", "wrong", "3.0.6, older than 3.3", "Bring"
    ),
    "no provider": (
        {"airflow": {**WELL["airflow"], "providers": {}}}, "provider", "missing", "there is none", "Install"
    ),
    "no token": (
        {"airflow": {**WELL["airflow"], "providers_state": "unnamed"}},
        "provider", "unknown", "token", "GAIAFLOW_AIRFLOW_TOKEN",
    ),
}  # fmt: skip


FIRST = [{"id": "namespace", "state": "missing"}, {"id": "quota", "state": "ok"}]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """What the role says in each case, by the findings' ids; all in one run of Ansible."""
    directory = tmp_path_factory.mktemp("told")
    command, environment = prepare(directory, "prod_check", variables(make_project(directory)))
    looks: dict[str, dict[str, Any]] = {name: WELL | case[0] for name, case in CASES.items()}
    cases: dict[str, dict[str, Any]] = {name: {"prod_check_info": found} for name, found in looks.items()}
    cases |= {"well": {"prod_check_info": WELL}}
    cases |= {"made": {"prod_check_info": WELL, "prod_check_first_findings": FIRST}}
    read, tell = ({"name": "gaiaflow.setup.prod_check", "tasks_from": tasks} for tasks in ("read", "tell"))
    tasks: list[dict[str, Any]] = [{"ansible.builtin.include_role": read}]
    tasks += [{"ansible.builtin.include_role": tell, "vars": given} for given in cases.values()]
    (directory / "playbook.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stdout + done.stderr
    results = [task["hosts"]["localhost"] for task in json.loads(done.stdout)["plays"][0]["tasks"]]
    said = [one["prod_check_findings"] for one in results if "prod_check_findings" in one]
    return {name: {one["id"]: one for one in found} for name, found in zip(cases, said, strict=True)}


def test_all_is_well(told: dict[str, dict[str, dict[str, Any]]]) -> None:
    found = told["well"]
    assert {one["state"] for one in found.values()} == {"ok"}, found
    assert {one["repair"] for one in found.values()} == {""}
    assert found["namespace"]["title"] == "namespace team"
    assert found["image"]["message"] == "ghcr.io/acme/wine/wine:1.2.0 is pulled"
    assert set(found) >= {"secret address", "secret creds", "secret pull"}


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_is_named_with_what_to_do(told: dict[str, dict[str, dict[str, Any]]], case: str) -> None:
    _, name, state, message, repair = CASES[case]
    found = told[case]
    assert found[name]["state"] == state, found[name]
    assert message in found[name]["message"]
    assert repair in found[name]["repair"]
    assert not [one for one in found.values() if one["id"] != name and one["state"] in ("missing", "wrong")]


def test_what_was_made_is_told_as_fixed(told: dict[str, dict[str, dict[str, Any]]]) -> None:
    assert (told["made"]["namespace"]["state"], told["made"]["quota"]["state"]) == ("fixed", "ok")


WRONG = {
    "unknown key": ("namespace: a\nnamespcae: b\n", "", "namespcae"),
    "unknown key of check": ("namespace: a\ncheck: {mlfow: x}\n", "", "mlfow"),
    "wrong type": ("namespace: a\ntolerations: 3\n", "", "tolerations"),
    "no namespace": ("service_account: a\n", "", "names no namespace"),
    "no such profile": ("namespace: a\ncheck: {resources: huge}\n", "", "check.resources"),
    "no list of keys": ("namespace: a\ncheck: {secrets: {b: KEY}}\n", "", "takes a list of keys"),
    "no such stage": (PROD, "live", "has no stage 'live'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_prod_yaml_is_refused(tmp_path: Path, case: str) -> None:
    text, stage, said = WRONG[case]
    project = make_project(tmp_path)
    (project / "dags" / "wine_dags" / "prod.yaml").write_text(text)
    played = play(tmp_path, "prod_check", variables(project) | {"prod_check_stage": stage}, tasks_from="read")
    assert played.code
    assert said in json.dumps(played.failure)
