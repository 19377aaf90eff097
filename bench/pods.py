"""Tasks in pods: one, many, and what the runner adds to a container's start."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path

from bench.cluster import kept, need_cluster
from bench.containers import docker
from bench.measure import Bench, Row, Sample, ratio_row, turns, yes_no
from bench.processes import Airflow

TASK_ROUNDS, RUNNER_ROUNDS = 5, 15
TASKS = 30
CONNECTION = "bench_pods"
RUNNER_MS = 150

NOTES = f"""\
- 20: {TASK_ROUNDS} rounds, as Airflow notes a task's duration. The peer is a KubernetesPodOperator with its default
  settings and `do_xcom_push`: the same function, image, node and Airflow. Its connection is the administrator's, as its
  sidecar needs `pods/exec`, and names the project's image for the sidecar, so that nothing is pulled.
- 21: one run each of {TASKS} tasks that wait for nothing, after one of a single task, from the request by REST until
  its end is told. Airflow's parallelism is the stack's, and GAIAFLOW_ENV is prod_local on both sides.
- 22: the medians of {RUNNER_ROUNDS} rounds in one container: `python -m PACKAGE.runner` against Python that calls the
  same function by itself."""

DAGS = """
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).absolute().parents[1]))

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG

from {package}_dags import IMAGE
from {package}_dags.task_factory import task_factory

CODE = '''
import json
from {package}.starter import describe_environment
with open("/airflow/xcom/return.json", "w") as file:
    json.dump(describe_environment("hello"), file)
'''


def ours(name):
    task_factory(name, "{package}.starter:describe_environment", {{"greeting": "hello"}}, image=IMAGE, env="prod_local")


def bare(name):
    KubernetesPodOperator(
        task_id=name, kubernetes_conn_id="{connection}", namespace="{namespace}", image="{image}",
        cmds=["python", "-c", CODE], do_xcom_push=True,
    )


for make in (ours, bare):
    for number in (1, {tasks}):
        with DAG(f"bench_{{make.__name__}}_{{number}}", schedule=None, max_active_tasks={tasks}):
            for one in range(number):
                make(f"task_{{one}}")
"""


def need_dags(bench: Bench) -> Airflow:
    """Have the DAGs in the stack's Airflow, until the measurement ends."""
    need_cluster(bench)
    # As docs/kubernetes.md has it: the scheduler then imports for all tasks, of both sides, what runs pods.
    bench.native.setup("mlops", "--restart", "--service", "airflow", GAIAFLOW_ENV="prod_local")
    known = kept(bench)
    (image,) = known["images"].values()
    dags = next((bench.project / "dags").glob("*_dags"))
    file = dags / "bench_pods.py"
    text = DAGS.format(
        package=dags.name.removesuffix("_dags"),
        connection=CONNECTION,
        namespace=known["namespace"],
        image=image,
        tasks=TASKS,
    )
    file.write_text(text)
    bench.cleanup.callback(file.unlink)
    airflow = Airflow(bench.native.read("instance.json")["urls"]["airflow"], bench.native.read("credentials.json"))
    connect(airflow, bench.home / "cluster" / "admin.kubeconfig", image)
    for kind in ("ours", "bare"):
        for number in (1, TASKS):
            airflow.unpause(f"bench_{kind}_{number}")
    return airflow


def connect(airflow: Airflow, kubeconfig: Path, sidecar: str) -> None:
    """Have Airflow's connection for the bare operators, unless it is there."""
    extra = {"kube_config_path": str(kubeconfig), "xcom_sidecar_container_image": sidecar}
    body = {"connection_id": CONNECTION, "conn_type": "kubernetes", "extra": json.dumps(extra)}
    try:
        airflow.call("POST", "/api/v2/connections", body)
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise


def measure_task(bench: Bench) -> Row:
    """One task in a pod, against a bare operator."""
    airflow = need_dags(bench)
    samples = turns(
        TASK_ROUNDS,
        lambda: airflow.task_seconds("bench_ours_1", "task_0"),
        lambda: airflow.task_seconds("bench_bare_1", "task_0"),
    )
    return ratio_row(20, "a `prod_local` task", samples, "a bare KubernetesPodOperator with XCom", 0.6)


def measure_many(bench: Bench) -> Row:
    """Many tasks of one DAG in pods, against as many bare operators."""
    airflow = need_dags(bench)

    def run(kind: str) -> Sample:
        airflow.run_seconds(f"bench_{kind}_1")
        return Sample((airflow.run_seconds(f"bench_{kind}_{TASKS}"),))

    return ratio_row(21, f"{TASKS} `prod_local` tasks in one DAG", (run("ours"), run("bare")), "bare operators", 0.4)


ROUNDS = """
import json, os, subprocess, sys, time

def seconds(*command):
    begun = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun

rounds = {rounds}
own = "from {package}.starter import describe_environment; describe_environment('hello')"
print(json.dumps([(seconds("-m", "{package}.runner"), seconds("-c", own)) for _ in range(rounds + 1)][1:]))
"""


def measure_runner(bench: Bench) -> Row:
    """Return what the runner adds to the start of a container's process."""
    need_cluster(bench)
    (image,) = kept(bench)["images"]
    package = next((bench.project / "src").glob("*/starter.py")).parent.name
    variables = {
        "GAIAFLOW_FUNC_PATH": f"{package}.starter:describe_environment",
        "GAIAFLOW_FUNC_KWARGS": '{"greeting": "hello"}',
        "GAIAFLOW_OUTCOME_FILE": "/tmp/outcome",
        "GAIAFLOW_RESULT_MARKER": "result",
    }
    words = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    code = ROUNDS.format(rounds=RUNNER_ROUNDS, package=package)
    pairs = json.loads(docker(bench, "run", "--rm", *words, image, "python", "-c", code))
    ours, other = (Sample(tuple(side)) for side in zip(*pairs, strict=True))
    more = 1000 * (ours.median - other.median)
    met, target = yes_no(more < RUNNER_MS), f"under {RUNNER_MS} ms more"
    against = f"Python that calls the function: {other}"
    return Row(22, "the runner's part in a container's start", str(ours), against, f"+{more:.0f} ms", target, met)
