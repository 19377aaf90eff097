"""`prod`: from `gaiaflow-setup new` by releases to a company's Airflow, which runs the DAGs as pods of their images.

The Airflow is what role airflow_on_kubernetes makes; the first release is made by the project's workflow, under act.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import companies
import pytest
from airflow_in_cluster import (
    ACCOUNT,
    COMPANY,
    GREETING,
    PARALLELISM,
    TEAM,
    AirflowInCluster,
    build_airflow,
    git_server,
    push,
)
from boxes import image_of
from clusters import PROFILE, Cluster, is_running
from example_runs import ARTIFACT_MIB, Run, add_values_dag, run_in, run_on, start_airflow, without_ids
from git_over_http import GitServer
from prod_releases import (
    Releases,
    begin_repository,
    end_repository,
    make_releases,
    raise_version,
    say_where,
)
from stack import CHECKOUT, PACKAGE, Airflow, objects, wait_until

pytestmark = pytest.mark.thorough

OTHER = "beer_project"
LONG_TASKS = 12
PROD = f"""
namespace: {TEAM}
service_account: tasks
env_secrets: [greeting, mlflow-address]
node_selector: {{kubernetes.io/os: linux}}
tolerations: [{{key: none, operator: Exists, effect: NoSchedule}}]
"""
LONG = f"""\
# ruff: noqa
# fmt: off
import sys
from pathlib import Path
sys.path.append(str(Path(__file__).absolute().parents[1]))
from datetime import timedelta
from airflow.sdk import DAG
from {PACKAGE}_dags import ENV, IMAGE
from {PACKAGE}_dags.task_factory import task_factory

def add(task_id, function, arguments, **options):
    task_factory(task_id=task_id, func_path=f"{PACKAGE}.probe:{{function}}", func_kwargs=arguments, image=IMAGE,
                 env=ENV, resources={{"requests": {{"cpu": "20m", "memory": "64Mi"}}}}, retries=0, **options)

with DAG("long", schedule=None, max_active_tasks=64):
    for number in range({LONG_TASKS}):
        add(f"task_{{number}}", "sleep", {{"seconds": 60}})
with DAG("faults", schedule=None):
    add("fail", "fail_later", {{"message": "after a while", "seconds": 25}})
    add("stop", "sleep", {{"seconds": 3600}})
    add("timeout", "sleep", {{"seconds": 3600}}, execution_timeout=timedelta(seconds=40))
    add("secret", "environment", {{"names": ["GREETING"]}})
"""

RELEASED = f"""\
# ruff: noqa
# fmt: off
import sys
import time
from pathlib import Path
sys.path.append(str(Path(__file__).absolute().parents[1]))
from airflow.sdk import DAG, task
from {PACKAGE}_dags import ENV, IMAGE
from {PACKAGE}_dags.task_factory import task_factory

def tell(task_id):
    return task_factory(task_id=task_id, func_path="{PACKAGE}.word:tell", image=IMAGE, env=ENV)

@task
def helper(dag_run=None):
    time.sleep(dag_run.conf.get("pause", 0))
    from {PACKAGE}_dags.helper import WORD
    return WORD

with DAG("released", schedule=None):
    tell("before") >> helper() >> tell("after")
"""


def write_words(project: Path, *, code: str = "", helper: str = "") -> None:
    """Write what the DAG `released` tells: a line of the image's code, and one of a module beside the DAG."""
    if code:
        (project / "src" / PACKAGE / "word.py").write_text(f'def tell():\n    return "{code}"\n')
    if helper:
        (project / "dags" / f"{PACKAGE}_dags" / "helper.py").write_text(f'WORD = "{helper}"\n')


@pytest.fixture(scope="module")
def server(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """The company's git server, with its central DAG repository."""
    with git_server(cluster, tmp_path_factory.mktemp("git")) as found:
        yield found


@pytest.fixture(scope="module")
def projects(cluster: Cluster, server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """The stack's project and another one, committed, with where their releases go."""
    root = tmp_path_factory.mktemp("company")
    mine = cluster.stack.project
    begin_repository(mine)
    add_values_dag(mine)
    write_words(mine, code="first", helper="first")
    for name, content in (("long", LONG), ("released", RELEASED)):
        (mine / "dags" / f"{PACKAGE}_dags" / f"{name}.py").write_text(content)
    command = [str(CHECKOUT / "gaiaflow-setup"), "new", "--no-input", "--output-dir", str(root)]
    subprocess.run([*command, "project_name=Beer project"], check=True, capture_output=True, timeout=120)
    (other,) = root.iterdir()
    begin_repository(other)
    for project in (mine, other):
        say_where(server, project, PROD)
    yield [mine, other]
    end_repository(mine)


@pytest.fixture(scope="module")
def releases(cluster: Cluster, server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """What makes releases."""
    if reason := companies.lacking():
        pytest.skip(reason)
    return make_releases(cluster, server, tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="module")
def dev(cluster: Cluster, releases: Releases, projects: list[Path]) -> Iterator[Run]:
    """The example, run by the stack's Airflow as functions; this Airflow rests until the end."""
    try:
        run = run_in(cluster, "dev")
        cluster.setup("mlops", "--stop", "--service", "airflow", "--instance", cluster.stack.instance)
        yield run
    finally:
        start_airflow(cluster, "prod_local")


@pytest.fixture(scope="module")
def company(
    cluster: Cluster,
    boxes: Cluster,
    projects: list[Path],
    dev: Run,
    releases: Releases,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Airflow]:
    """The company's Airflow, to which both projects are released; the other stacks' rest meanwhile."""
    image = build_airflow(image_of(boxes, "airflow-scheduler"), tmp_path_factory.mktemp("image"))
    directory, mlflow = tmp_path_factory.mktemp("company-play"), image_of(boxes, "mlflow")
    found = AirflowInCluster(cluster, directory, push(image), push(mlflow), releases.git)
    boxes.stack.run("mlops", "--stop")
    try:
        found.deploy()
        releases.by_workflow(projects[0], "v0.1.0")
        releases.by_hand(projects[1])
        yield Airflow(found)
    finally:
        found.remove()


@pytest.fixture(scope="module")
def prod(company: Airflow) -> Run:
    """The example, run by the company's Airflow."""
    return run_on(company.stack)


def states(airflow: Airflow, dag: str, run: str) -> dict[str, str]:
    """Return the tasks' states by name."""
    found = airflow.call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances?limit=100")["task_instances"]
    return {one["task_id"]: one["state"] for one in found}


def begin(airflow: Airflow, dag: str, **conf: Any) -> str:
    """Begin a run of a DAG; return its id."""
    airflow.wait_for_dag(dag)
    airflow.call("PATCH", f"dags/{dag}", {"is_paused": False})
    run: str = airflow.call("POST", f"dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]
    return run


def words(airflow: Airflow, run: str) -> list[str]:
    """Return what a run of the DAG `released` told."""
    return [airflow.xcom("released", run, task) for task in ("before", "helper", "after")]


def wait_for_commit(airflow: Airflow, commit: str) -> None:
    """Return when Airflow has a commit of the central DAG repository."""

    def has_it() -> bool:
        found: str | None = airflow.call("GET", "dags/released/details")["bundle_version"]
        return found == commit

    wait_until(has_it, 180, f"Airflow has {commit}")


def running(cluster: Cluster) -> list[dict[str, Any]]:
    """Return the tasks' pods whose containers run."""
    pods: list[dict[str, Any]] = cluster.get("-n", TEAM, "pods")["items"]
    return [pod for pod in pods if is_running(pod)]


def test_results_are_those_of_dev(dev: Run, prod: Run) -> None:
    assert without_ids(prod.results) == without_ids(dev.results)
    assert prod.values == dev.values


def test_model_and_artifact_are_in_mlflow_and_s3(cluster: Cluster, prod: Run) -> None:
    found = objects(cluster.stack)
    assert any(prod.results["model.train"]["run_id"] in key for key in found)
    assert [size for key, size in found.items() if prod.artifact_run in key] == [ARTIFACT_MIB * 1024 * 1024]


def test_other_projects_dags_run_beside(company: Airflow) -> None:
    run = company.run_dag(f"{OTHER}_starter")
    assert company.xcom(f"{OTHER}_starter", run, "report")


def test_waiting_takes_no_slot_and_outlives_the_triggerer(cluster: Cluster, company: Airflow) -> None:
    run, begun = begin(company, "long"), time.monotonic()
    wait_until(lambda: "deferred" in states(company, "long", run).values(), 120, "a task is deferred")
    # On the node, which has the programs for that; the kubelet starts the container again.
    subprocess.run(["docker", "exec", PROFILE, "pkill", "-KILL", "-f", "airflow triggerer"], check=True)
    wait_until(lambda: len(running(cluster)) > PARALLELISM, 240, "more pods run than there are slots")
    wait_until(lambda: company.end_state("long", run), 600, "the run ends")
    assert set(states(company, "long", run).values()) == {"success"}, states(company, "long", run)
    print(f"{LONG_TASKS} tasks of 60 s on {PARALLELISM} slots took {time.monotonic() - begun:.0f} s")


def test_deferred_tasks_end_as_others_do(cluster: Cluster, company: Airflow) -> None:
    run = begin(company, "faults")
    wait_until(lambda: states(company, "faults", run)["stop"] == "deferred", 180, "the task is deferred")
    # Airflow's triggerer begins to watch a moment later, and only then ends the pod of a task that is marked failed.
    time.sleep(5)
    company.call("PATCH", f"dags/faults/dagRuns/{run}/taskInstances/stop", {"new_state": "failed"})
    wait_until(lambda: company.end_state("faults", run), 240, "the run ends")
    assert states(company, "faults", run) == {
        "fail": "failed", "stop": "failed", "timeout": "failed", "secret": "success",
    }  # fmt: skip
    assert company.xcom("faults", run, "secret") == [GREETING]
    log = str(company.call("GET", f"dags/faults/dagRuns/{run}/taskInstances/fail/logs/1"))
    assert "ValueError: after a while" in log and "exit code 1" in log
    wait_until(lambda: not cluster.get("-n", TEAM, "pods")["items"], 60, "no pod is left")


def test_account_of_airflow_has_no_more_rights_than_it_needs(cluster: Cluster, company: Airflow) -> None:
    asked = {"get secrets": "no", "create pods": "yes", "create pods --subresource=exec": "no", "list nodes": "no"}
    account = f"--as=system:serviceaccount:{COMPANY}:{ACCOUNT}"
    for question, answer in asked.items():
        said = cluster.kubectl("auth", "can-i", *question.split(), account, "-n", TEAM, ok=answer == "yes")
        assert said.splitlines()[0] == answer, question


def test_password_of_the_git_server_is_in_a_secret_alone(cluster: Cluster, company: Airflow, server: GitServer) -> None:
    pods = cluster.get("-n", COMPANY, "pods")
    logs = [
        cluster.kubectl("-n", COMPANY, "logs", one["metadata"]["name"], "--all-containers") for one in pods["items"]
    ]
    shown = [json.dumps(pods), *logs, str(company.call("GET", "dags/released/details"))]
    assert "central-dag-repository" in "".join(shown)
    assert not [text for text in shown if server.token in text]


def test_second_run_of_the_role_changes_nothing(company: Airflow) -> None:
    installed = company.stack
    assert isinstance(installed, AirflowInCluster)
    before = installed.credentials
    for options in ((), ("--check", "--diff")):
        played = installed.play(*options)
        assert not played.code, played.tasks
        assert played.stats["changed"] == 0, [name for name, one in played.tasks.items() if one.get("changed")]
    assert installed.credentials == before


def test_release_is_what_runs_next_and_a_run_ends_as_it_began(
    company: Airflow, projects: list[Path], releases: Releases
) -> None:
    project = projects[0]
    under_way = begin(company, "released", pause=240)
    wait_until(lambda: states(company, "released", under_way)["helper"] == "running", 180, "the run is in its middle")
    write_words(project, code="second", helper="second")
    raise_version(project, "0.2.0")
    wait_for_commit(company, releases.by_hand(project)["commit"])
    assert not company.end_state("released", under_way), "the run ended before Airflow had the release"
    assert words(company, company.run_dag("released")) == ["second", "second", "second"]
    wait_until(lambda: company.end_state("released", under_way), 420, "the run ends")
    assert words(company, under_way) == ["first", "first", "first"]


def test_release_of_a_helper_alone_and_a_rollback(company: Airflow, projects: list[Path], releases: Releases) -> None:
    project = projects[0]
    write_words(project, helper="third")
    raise_version(project, "0.3.0")
    wait_for_commit(company, releases.by_hand(project)["commit"])
    assert words(company, company.run_dag("released")) == ["second", "third", "second"]
    wait_for_commit(company, releases.roll_back(project, "0.1.0")["commit"])
    assert words(company, company.run_dag("released")) == ["first", "first", "first"]
