"""task_factory: what it refuses, what it costs, and that values arrive as they were sent in every environment."""

from __future__ import annotations

import importlib
import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from project_fixture import SUPPORT, generate, run_airflow

ENVIRONMENTS = ["dev", "prod_local", "prod"]

PROBE = '''
"""Functions that the tests run as tasks."""

import os


def give(value):
    return value


def give_nothing():
    return None


def give_big():
    print("no end of line", end="")
    return {"big": "\u1234" * 100_000}


def size(value):
    return len(value["big"])


def give_params(params):
    return params


def give_hard():
    return {"nan": float("nan"), "huge": 1e300, "zero": -0.0, "long": 2**70, "nul": "a\\0b", "__type": [float("inf")]}


def take(**values):
    with open(os.environ["PROBE_OUTPUT"], "a") as file:
        print(repr({**values, "MODE": os.environ.get("MODE")}), file=file)


def exact(left, right=1):
    return left
'''

HARD = {"nan": math.nan, "huge": 1e300, "zero": -0.0, "long": 2**70, "nul": "a\0b", "__type": [math.inf]}
TEXT = 'he said "hi" it\'s {braces} %s $HOME $(HOME) $$ \\ Ünïcode 🍷\nnext {{ jinja }} {% raw %} line'
NESTED = {"a": {"b": [1, 2.5, None, True, {"c": TEXT}]}, "empty": [{}, [], ""], "float": 1.0, "int": 1}

DAGS = f"""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from airflow.sdk import DAG, TaskGroup, task, task_group
from wine_dags.task_factory import task_factory

TEXT, NESTED = {TEXT!r}, {NESTED!r}

for env in {ENVIRONMENTS!r}:
    pod = {{"image": "wine:1", "env": env, "retries": 0, "secrets": ["my-creds"]}}
    output = {{"PROBE_OUTPUT": f"@FOLDER@/{{env}}", "MODE": "a $(HOME) $$ {{{{ ds }}}}"}}
    with DAG(f"transport_{{env}}", schedule=None, params={{"rows": 2}}):
        nested = task_factory(f"{{env}}_nested", "wine.probe:give", {{"value": NESTED}}, **pod)
        none = task_factory("none", "wine.probe:give_nothing", **pod)
        quiet = task_factory("quiet", "wine.probe:give", {{"value": 1}}, xcom_push=False, **pod)
        hard = task_factory("hard", "wine.probe:give_hard", **pod)
        with TaskGroup("group"):
            text = task_factory("text", "wine.probe:give", {{"value": TEXT}}, **pod)
        big = task_factory("big", "wine.probe:give_big", **pod)
        size = task_factory("size", "wine.probe:give_params", params={{"rows": 1, "MODE": "b"}}, **pod)
        big >> size

        @task
        def make(number):
            return number

        @task_group
        def mapped(number):
            made = make(number)
            group = "alone" if made.operator.task_group.group_id == "alone" else "mapped"
            pulled = {{"value": {{"task": f"{{group}}.make"}}}}
            made >> task_factory("copy", "wine.probe:give", xcom_pull_tasks=pulled, **pod)

        several = mapped.expand(number=[1, 2, 3])
        alone = mapped.override(group_id="alone").expand(number=[7])
        take = task_factory(
            task_id=f"{{env}}_take",
            func_path="wine.probe:take",
            func_kwargs={{"literal": NESTED, "missing": None}},
            xcom_pull_tasks={{
                "nested": {{"task": f"{{env}}_nested"}},
                "none": {{"task": "none", "key": "return_value"}},
                "quiet": {{"task": "quiet"}},
                "hard": {{"task": "hard"}},
                "text": {{"task": "group.text"}},
                "run_params": {{"task": "size"}},
                "mapped": {{"task": "mapped.copy"}},
                "alone": {{"task": "alone.copy"}},
            }},
            env_vars=output,
            **pod,
        )
        [nested, none, quiet, hard, text, size, several, alone] >> take
"""


CLUSTER = {
    "namespace": "tasks",
    "stack": "default-1a2b3c4d",
    "env_secrets": ["gaiaflow-stack"],
    "images": {"wine:1": "127.0.0.1:5001/wine@sha256:1"},
    "host_aliases": {"host.minikube.internal": "192.168.49.1"},
    "no_proxy": ["192.168.49.2"],
}
PROD = """
namespace: team-a
stack: airflow-east
service_account: tasks
env_secrets: [mlflow]
image_pull_secrets: [registry]
node_selector: {pool: ml}
tolerations: [{key: gpu, operator: Exists}]
check: {resources: large}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = generate(tmp_path_factory.mktemp("project"), "wine", project_name="Wine", include_example="no")
    (project / "src" / "wine" / "probe.py").write_text(PROBE)
    (project / "src" / "wine" / "folder").mkdir()
    (project / "src" / "wine" / "folder" / "inner.py").write_text("def f(): ...")
    return project


@pytest.fixture
def factory(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The project's task_factory module; the operator of a task that it accepts is its task_id."""
    monkeypatch.syspath_prepend(str(project / "src"))
    monkeypatch.syspath_prepend(str(project / "dags"))
    module = importlib.import_module("wine_dags.task_factory")
    monkeypatch.setattr(module, "_python_operator", lambda path, arguments, pulls, params, common: common["task_id"])
    monkeypatch.setattr(module, "_retry_soon", lambda operator, given: operator)
    yield module
    module._find_source.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("wine", "wine_dags")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def transport(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of the same DAG in each environment: its state, the pods, and what the last task received."""
    folder = tmp_path_factory.mktemp("transport")
    dags = folder / "dags"
    shutil.copytree(project / "dags", dags)
    (dags / "wine_dags" / "starter_dag.py").unlink()
    (dags / "wine_dags" / "transport_dags.py").write_text(DAGS.replace("@FOLDER@", str(folder)))
    (folder / "kubeconfig").write_text("{}")
    (folder / "cluster.json").write_text(json.dumps(CLUSTER))
    (dags / "wine_dags" / "prod.yaml").write_text(PROD)
    variables = {
        "PROBE_OUTPUT": str(folder / "dev"),
        "GAIAFLOW_KUBECONFIG": str(folder / "kubeconfig"),
        "GAIAFLOW_CLUSTER": str(folder / "cluster.json"),
    }
    migrated = run_airflow(["-m", "airflow", "db", "migrate"], folder, [])
    assert migrated.returncode == 0, migrated.stderr
    script = SUPPORT / "run_transport_dags.py"
    report = folder / "report.json"
    done = run_airflow([script, dags, report], folder, [project / "src"], **variables)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-20_000:]
    received = {env: (folder / env).read_text() for env in ENVIRONMENTS if (folder / env).exists()}
    return {**json.loads(report.read_text()), "received": received, "log": done.stdout, "folder": folder}


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_values_arrive_as_they_were_sent(transport: dict[str, Any], env: str) -> None:
    assert transport["errors"] == {}
    assert transport["states"][f"transport_{env}"] == "success", transport["log"][-20_000:]
    received = eval(transport["received"][env], {"nan": math.nan, "inf": math.inf})
    # Compared as text, as nan isn't equal to itself and 0.0 is equal to -0.0.
    assert repr(received.pop("hard")) == repr(HARD)
    assert received.pop("MODE") == (None if env == "dev" else "a $(HOME) $$ {{ ds }}")
    expected: dict[str, Any] = {
        "literal": NESTED,
        "missing": None,
        "nested": NESTED,
        "none": None,
        "quiet": None,
        "text": TEXT,
    }
    expected["run_params"] = {"rows": 2, "MODE": "b"}
    # Within a mapped group, each its own; from outside, all, also of one.
    expected |= {"mapped": [1, 2, 3], "alone": [7]}
    assert received == expected
    assert type(received["nested"]["float"]) is float and type(received["nested"]["int"]) is int
    assert received["nested"]["a"]["b"][3] is True


def test_pod_in_the_cluster_of_this_machine(transport: dict[str, Any]) -> None:
    task = transport["pods"]["prod_local_take"]
    metadata, spec = task["pod"]["metadata"], task["pod"]["spec"]
    container = spec["containers"][0]
    assert [container["name"] for container in spec["containers"]] == ["base"]
    assert container["image"] == "127.0.0.1:5001/wine@sha256:1"
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["command"] == ["python", "-m", "wine.runner"]
    assert container.get("args", []) == []
    # The task's own secret comes last, so that it counts more.
    assert container["envFrom"] == [{"secretRef": {"name": name}} for name in ("gaiaflow-stack", "my-creds")]
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"cpu": "2", "memory": "2Gi"},
    }
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert list(variables)[:4] == ["PROBE_OUTPUT", "MODE", "GAIAFLOW_FUNC_PATH", "GAIAFLOW_FUNC_KWARGS"]
    assert variables["GAIAFLOW_OUTCOME_FILE"] == "/dev/termination-log"
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert metadata["namespace"] == "tasks"
    assert metadata["labels"]["gaiaflow/stack"] == "default-1a2b3c4d"
    assert spec["hostAliases"] == [{"ip": "192.168.49.1", "hostnames": ["host.minikube.internal"]}]
    assert spec["automountServiceAccountToken"] is False
    assert (task["in_cluster"], task["config_file"]) == (None, str(transport["folder"] / "kubeconfig"))


def test_pod_in_a_company_s_cluster(transport: dict[str, Any]) -> None:
    task = transport["pods"]["prod_take"]
    spec = task["pod"]["spec"]
    assert spec["containers"][0]["image"] == "wine:1"
    assert spec["containers"][0]["envFrom"] == [{"secretRef": {"name": name}} for name in ("mlflow", "my-creds")]
    assert task["pod"]["metadata"]["namespace"] == "team-a"
    assert task["pod"]["metadata"]["labels"]["gaiaflow/stack"] == "airflow-east"
    assert spec["serviceAccountName"] == "tasks"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["nodeSelector"] == {"pool": "ml"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert "hostAliases" not in spec
    assert (task["in_cluster"], task["config_file"]) == (True, None)


def test_pods_are_deleted(transport: dict[str, Any]) -> None:
    assert transport["pods"] and transport["left"] == []


def test_result_is_no_part_of_the_log(transport: dict[str, Any]) -> None:
    assert "no end of line" in transport["log"]
    assert "gaiaflow-result-" not in transport["log"]


def test_operators(project: Path, tmp_path: Path) -> None:
    code = (
        "import sys, json\n"
        "from wine_dags.task_factory import task_factory\n"
        "light = [name for name in ('airflow', 'kubernetes') if name in sys.modules]\n"
        "arguments = {'value': '{{ ds }}'}\n"
        "dev = task_factory('a', 'wine.probe:give', arguments, image='i', secrets=['s'], env_vars={'A': 'b'})\n"
        "still_light = [name for name in sys.modules if name.startswith(('kubernetes', 'wine.'))]\n"
        "pod = task_factory('b', 'gone:missing', image='i', env='prod', retries=5, pool='p')\n"
        "print(json.dumps([light, still_light, type(dev).__name__, dev.retries, dev.do_xcom_push,\n"
        "    dict(dev.op_kwargs), type(pod).__mro__[1].__name__, pod.retries, pod.pool]))"
    )
    path = [project / "src", project / "dags"]
    done = run_airflow(["-c", code], tmp_path, path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        [], [], "PythonOperator", 2, True, {}, "KubernetesPodOperator", 5, "p"
    ]  # fmt: skip


def test_failed_task_is_tried_again_soon_unless_somebody_says_when(project: Path, tmp_path: Path) -> None:
    code = (
        "import datetime, json\n"
        "from airflow.sdk import DAG, TaskGroup\n"
        "from wine_dags.task_factory import task_factory\n"
        "minute, hour = datetime.timedelta(minutes=1), datetime.timedelta(hours=1)\n"
        "make = lambda name, **given: task_factory(name, 'wine.probe:give', **given)\n"
        "with DAG('a', schedule=None): tasks = [make('a'), make('b', retry_delay=minute)]\n"
        "with DAG('b', schedule=None, default_args={'retry_delay': hour}):\n"
        "    tasks.append(make('c'))\n"
        "    with TaskGroup('g', default_args={'retry_delay': minute}): tasks.append(make('d'))\n"
        "print(json.dumps([task.retry_delay.total_seconds() for task in [*tasks, make('e')]]))"
    )
    done = run_airflow(["-c", code], tmp_path, [project / "src", project / "dags"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [10, 60, 3600, 60, 10]


@pytest.mark.parametrize(
    ("stage", "namespace", "seconds"), [("", "team", 60), ("staging", "team-staging", 60), ("live", "team", 90)]
)
def test_settings_of_a_stage_count_more(
    factory: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, namespace: str, seconds: int
) -> None:
    cluster = importlib.import_module("wine_dags.cluster")
    (tmp_path / "prod.yaml").write_text(
        "{namespace: team, stack: s, start_seconds: 60, release: {registry: r}, stages: {"
        "staging: {release: {branch: s}, namespace: team-staging}, live: {start_seconds: 90}}}"
    )
    monkeypatch.setattr(cluster, "PROD_FILE", tmp_path / "prod.yaml")
    monkeypatch.setenv("GAIAFLOW_STAGE", stage)
    read = cluster.read_prod()
    assert (read.namespace, read.start_seconds) == (namespace, seconds)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("namespaces: a", ["unknown key 'namespaces'", "namespace, stack"]),
        ("namespace: 1", ["namespace is 1", "text"]),
        ("tolerations: {key: gpu}", ["tolerations is", "a list of maps"]),
        ("node_selector: {a: 1}", ["node_selector is", "text to text"]),
        ("start_seconds: 0", ["start_seconds is 0", "above 0"]),
        ("[a]", ["it takes a map"]),
        ("a: [", ["is no YAML"]),
        ("stages: {live: {namespace: 1}}", ["namespace is 1", "text"]),
        ("stages: {staging: {}}", ["no stage 'live'", "['staging']"]),
    ],
)
def test_wrong_settings_of_prod(
    factory: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, parts: list[str]
) -> None:
    cluster = importlib.import_module("wine_dags.cluster")
    (tmp_path / "prod.yaml").write_text(content)
    monkeypatch.setattr(cluster, "PROD_FILE", tmp_path / "prod.yaml")
    if "stages" in content:
        monkeypatch.setenv("GAIAFLOW_STAGE", "live")
    with pytest.raises(ValueError) as raised:
        cluster.read_prod()
    assert not [part for part in ["prod.yaml", *parts] if part not in str(raised.value)], str(raised.value)


@pytest.mark.parametrize("missing", ["cluster.json", "kubeconfig"])
def test_no_cluster_is_connected(
    factory: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    cluster = importlib.import_module("wine_dags.cluster")
    for name, variable in (("cluster.json", "GAIAFLOW_CLUSTER"), ("kubeconfig", "GAIAFLOW_KUBECONFIG")):
        (tmp_path / name).write_text(json.dumps(CLUSTER))
        monkeypatch.setenv(variable, str(tmp_path / name))
    assert cluster.read_cluster("prod_local").namespace == "tasks"
    (tmp_path / missing).unlink()
    with pytest.raises(cluster.NoCluster, match="no cluster is connected: gaiaflow-setup cluster --start"):
        cluster.read_cluster("prod_local")


@pytest.mark.parametrize(
    ("given", "requests", "limits"),
    [
        (None, {"cpu": "250m", "memory": "512Mi"}, {"cpu": "2", "memory": "2Gi"}),
        ("small", {"cpu": "100m", "memory": "256Mi"}, {"cpu": "1", "memory": "1Gi"}),
        ({"limits": {"memory": "64Mi"}}, {"cpu": "250m", "memory": "64Mi"}, {"cpu": "2", "memory": "64Mi"}),
        ({"requests": {"cpu": 4}}, {"cpu": "4", "memory": "512Mi"}, {"cpu": "4", "memory": "2Gi"}),
        ({"gpu": 1}, {"cpu": "250m", "memory": "512Mi"}, {"cpu": "2", "memory": "2Gi", "nvidia.com/gpu": "1"}),
    ],
)
def test_resources(factory: ModuleType, given: Any, requests: dict[str, str], limits: dict[str, str]) -> None:
    read = importlib.import_module("wine_dags.resources").read_resources(given)
    assert read == {"requests": requests, "limits": limits}


GOOD = {"task_id": "t", "func_path": "wine.probe:exact"}
POD = {**GOOD, "image": "i", "env": "prod"}


@pytest.mark.parametrize(
    ("arguments", "error", "parts"),
    [
        ({**GOOD, "env": "prd"}, ValueError, ["env 'prd'", "dev, dev_docker, prod_local, prod"]),
        ({**GOOD, "env": None}, ValueError, ["env None", "dev, dev_docker, prod_local, prod"]),
        ({**GOOD, "task_id": "a b"}, ValueError, ["task_id 'a b'", "letters, digits, underscores, dashes and dots"]),
        ({**GOOD, "task_id": "a" * 251}, ValueError, ["task_id", "1 to 250"]),
        ({**GOOD, "task_id": 7}, ValueError, ["task_id 7", "letters"]),
        ({**GOOD, "retries": -1}, ValueError, ["retries -1", "0 or more"]),
        ({**GOOD, "retries": True}, ValueError, ["retries True", "0 or more"]),
        ({**GOOD, "retries": "2"}, ValueError, ["retries '2'", "0 or more"]),
        ({**GOOD, "func_path": "wine.probe"}, ValueError, ["'wine.probe'", "'module.path:function'"]),
        ({**GOOD, "func_path": "wine.probe:a.b"}, ValueError, ["'wine.probe:a.b'", "'module.path:function'"]),
        ({**GOOD, "func_path": "wine/probe:a"}, ValueError, ["'wine/probe:a'", "'module.path:function'"]),
        ({**POD, "func_path": "nonsense"}, ValueError, ["'nonsense'", "'module.path:function'"]),
        ({**GOOD, "func_path": None}, ValueError, ["func_path None", "'module.path:function'"]),
        ({**GOOD, "func_path": "gone.away:f"}, ValueError, ["'gone.away:f'", "no module 'gone.away'"]),
        ({**GOOD, "func_path": "wine.gone:f"}, ValueError, ["'wine.gone:f'", "no module 'wine.gone'"]),
        ({**GOOD, "func_path": "wine.probe.gone:f"}, ValueError, ["no module 'wine.probe.gone'"]),
        ({**GOOD, "func_path": "wine.folder:f"}, ValueError, ["no module 'wine.folder'"]),
        ({**GOOD, "func_path": "wine.probe:gone"}, ValueError, ["'wine.probe:gone'", "has no 'gone'", "'exact'"]),
        ({**GOOD, "func_kwargs": ["a"]}, TypeError, ["func_kwargs ['a'] is a list", "dict"]),
        ({**GOOD, "func_kwargs": {1: "a"}}, TypeError, ["argument name 1 is a int", "str"]),
        ({**GOOD, "func_kwargs": {"a": {"b": [(1,)]}}}, TypeError, ["'a'", "['b'][0] is (1,), a tuple", "allowed"]),
        ({**GOOD, "func_kwargs": {"a": {1: 2}}}, TypeError, ["'a'", "key 1, a int", "str"]),
        ({**POD, "func_kwargs": {"a": {1}}}, TypeError, ["'a'", "{1}, a set", "allowed"]),
        ({**GOOD, "func_kwargs": {"a": "x" * 130_000}}, ValueError, ["130", "122880"]),
        ({**GOOD, "xcom_pull_tasks": ["a"]}, TypeError, ["xcom_pull_tasks ['a'] is a list", "dict"]),
        ({**GOOD, "xcom_pull_tasks": {1: {"task": "b"}}}, TypeError, ["argument name 1 is a int"]),
        ({**GOOD, "xcom_pull_tasks": {"a": "b"}}, TypeError, ["['a'] is 'b'", '{"task": "group.task"}']),
        ({**GOOD, "xcom_pull_tasks": {"a": {"key": "b"}}}, ValueError, ["['a'] is {'key': 'b'}", 'without "task"']),
        ({**GOOD, "xcom_pull_tasks": {"a": {"task": "b", "x": 1}}}, ValueError, ["unknown keys ['x']", '"key"']),
        ({**GOOD, "xcom_pull_tasks": {"a": {"task": 1}}}, TypeError, ["['a']['task'] is 1", '"group.task"']),
        ({**GOOD, "xcom_pull_tasks": {"a": {"task": "b", "key": ""}}}, TypeError, ["['a']['key'] is ''"]),
        (
            {**GOOD, "func_kwargs": {"a": 1}, "xcom_pull_tasks": {"a": {"task": "b"}}},
            ValueError,
            ["['a']", "both func_kwargs and xcom_pull_tasks"],
        ),
        ({**POD, "image": None}, ValueError, ["image None", "'prod'"]),
        ({**POD, "image": "", "env": "prod_local"}, ValueError, ["image ''", "'prod_local'"]),
        ({**GOOD, "image": 1}, TypeError, ["image 1 is a int", "str"]),
        ({**GOOD, "secrets": "my-creds"}, TypeError, ["secrets 'my-creds'", "list of names"]),
        ({**GOOD, "secrets": [1]}, TypeError, ["secrets [1]", "list of names"]),
        ({**GOOD, "env_vars": {"A": 1}}, TypeError, ["env_vars", "['A']", "str to str"]),
        ({**GOOD, "env_vars": ["A"]}, TypeError, ["env_vars is a list", "str to str"]),
        ({**GOOD, "env_vars": {"A=B": "c"}}, ValueError, ["env_vars", "'A=B'"]),
        ({**GOOD, "params": ["a"]}, TypeError, ["params ['a'] is a list", "dict"]),
        ({**GOOD, "params": {"a": (1,)}}, TypeError, ["argument 'params'", "(1,), a tuple"]),
        ({**GOOD, "params": {}, "func_kwargs": {"params": 1}}, ValueError, ["'params' is given twice"]),
        ({**GOOD, "resources": "huge"}, ValueError, ["resources 'huge'", "small, medium, large"]),
        ({**GOOD, "resources": 1}, TypeError, ["resources 1 is a int"]),
        ({**GOOD, "resources": {"memory": "1Gi"}}, ValueError, ["unknown keys ['memory']", "requests, limits and gpu"]),
        ({**GOOD, "resources": {"limits": "1Gi"}}, TypeError, ["resources['limits'] is '1Gi'", "dict"]),
        ({**GOOD, "resources": {"limits": {"disk": "1"}}}, ValueError, ["['disk']", "cpu and memory"]),
        ({**GOOD, "resources": {"limits": {"memory": "1GB"}}}, ValueError, ["['limits']['memory'] is '1GB'", "'2Gi'"]),
        ({**GOOD, "resources": {"limits": {"memory": "512"}}}, ValueError, ["'512'", "less than 1Mi"]),
        ({**GOOD, "resources": {"limits": {"cpu": True}}}, ValueError, ["['cpu'] is True"]),
        (
            {**GOOD, "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "500m"}}},
            ValueError,
            ["requests['cpu'] 2", "limits['cpu'] 500m"],
        ),
        ({**GOOD, "resources": {"gpu": -1}}, ValueError, ["['gpu'] is -1"]),
    ],
)
def test_refused(factory: ModuleType, arguments: dict[str, Any], error: type[Exception], parts: list[str]) -> None:
    with pytest.raises(error) as raised:
        factory.task_factory(**arguments)
    assert not [part for part in parts if part not in str(raised.value)], str(raised.value)


def test_accepted(factory: ModuleType) -> None:
    assert factory.task_factory(**GOOD, func_kwargs={"left": None}, xcom_pull_tasks={"right": {"task": "a.b"}}) == "t"


@pytest.mark.parametrize(
    ("source", "accepted"),
    [
        ("def f(): ...", True),
        ("async def f(): ...", True),
        ("class f: ...", True),
        ("f = len", True),
        ("f: object = len", True),
        ("a, (b, f) = 1, (2, len)", True),
        ("from os import getcwd as f", True),
        ("from os import *", True),
        ("def __getattr__(name): ...", True),
        ("if True:\n    try:\n        import f\n    except ImportError:\n        f = None", True),
        ("def g():\n    def f(): ...", False),
        ("class C:\n    f = 1", False),
        ("from os import f as g", False),
        ("g = f", False),
    ],
)
def test_function_is_found_without_importing(
    factory: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, accepted: bool
) -> None:
    package = tmp_path / "explosive"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "module.py").write_text(f"raise SystemExit('imported')\n{source}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = {"task_id": "t", "func_path": "explosive.module:f"}
    if accepted:
        assert factory.task_factory(**arguments) == "t"
    else:
        with pytest.raises(ValueError, match="has no 'f'"):
            factory.task_factory(**arguments)
    assert "explosive" not in sys.modules


def test_function_in_a_folder_without_init(factory: ModuleType) -> None:
    assert factory.task_factory("t", "wine.folder.inner:f") == "t"


def test_changed_module_is_read_again(factory: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "changing.py"
    module.write_text("def old(): ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert factory.task_factory("t", "changing:old") == "t"
    module.write_text("def new(): ...\n\n")
    assert factory.task_factory("t", "changing:new") == "t"
    with pytest.raises(ValueError, match="has no 'old'"):
        factory.task_factory("t", "changing:old")


def test_modules_that_are_not_python_source_are_accepted(factory: ModuleType) -> None:
    assert factory.task_factory("t", "math:sqrt") == "t"
    assert factory.task_factory("t", "sys:anything") == "t"


def test_module_without_a_specification(factory: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "unspecified", ModuleType("unspecified"))
    with pytest.raises(ValueError, match="'unspecified:f': there is no module 'unspecified'"):
        factory.task_factory("t", "unspecified:f")


class FakeTask:
    task_id = "take"

    def __init__(self) -> None:
        self.dag = SimpleNamespace(get_task=lambda task_id: self)

    def get_flat_relative_ids(self, *, upstream: bool) -> set[str]:
        assert upstream
        return {"before"}

    def get_closest_mapped_task_group(self) -> None:
        return None

    def get_needs_expansion(self) -> bool:
        return False


def test_pull_from_a_task_that_is_not_upstream(factory: ModuleType) -> None:
    context = {"task": FakeTask(), "ti": SimpleNamespace(xcom_pull=lambda task_ids, key: f"{task_ids} {key}")}
    pulled = factory.collect_arguments("m:f", {"a": 1}, {"b": {"task": "before", "key": "k"}}, context)
    assert json.loads(pulled) == {"a": 1, "b": "before k"}
    with pytest.raises(ValueError, match=r"'b'.*'beside'.*not upstream of 'take'.*\['before'\]"):
        factory.collect_arguments("m:f", {}, {"b": {"task": "beside"}}, context)


def test_pulled_values_that_pods_cannot_get_are_refused(factory: ModuleType) -> None:
    context = {"task": FakeTask(), "ti": SimpleNamespace(xcom_pull=lambda task_ids, key: (1, 2))}
    with pytest.raises(TypeError, match=r"argument 'b' of m:f is \(1, 2\), a tuple; allowed are"):
        factory.collect_arguments("m:f", {}, {"b": {"task": "before"}}, context)


@pytest.mark.parametrize(
    ("func_path", "arguments", "error", "message"),
    [
        ("wine.probe:gone", {}, AttributeError, r"'wine\.probe:gone'.*has no 'gone'"),
        ("wine.gone:f", {}, ImportError, r"wine\.gone"),
        ("wine.starter:log", {}, TypeError, r"'wine\.starter:log'.*a Logger, not a function"),
        ("wine.probe:exact", {"wrong": 1}, TypeError, r"wine\.probe:exact\(left, right=1\).*\['wrong'\]"),
        ("wine.probe:exact", {}, TypeError, r"wine\.probe:exact\(left, right=1\).*missing.*'left'"),
    ],
)
def test_call_that_cannot_be_made(
    factory: ModuleType, func_path: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        factory.runner.call(func_path, json.dumps(arguments))


def test_result_that_would_change_is_refused(factory: ModuleType) -> None:
    with pytest.raises(TypeError, match=r"the result of m:f\['a'\]\[0\] is \(1,\), a tuple; allowed are None"):
        factory.runner.pack({"a": [(1,)]}, "the result of m:f")


def test_runner_says_what_it_needs(project: Path, tmp_path: Path) -> None:
    done = run_airflow(["-m", "wine.runner"], tmp_path, [project / "src"])
    assert done.returncode == 1
    assert done.stderr.strip().startswith("GAIAFLOW_FUNC_PATH must be set, to 'module.path:function'")
