"""The stack as processes of this machine, and a generated project's DAGs."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.measure import (
    CACHE,
    CHECKOUT,
    IDLE_ROUNDS,
    LAUNCHER,
    UV,
    Bench,
    BenchError,
    Row,
    Sample,
    idle_row,
    idle_seconds,
    ratio_row,
    run,
    seconds,
    turns,
    yes_no,
)
from bench.processes import Airflow, Program, family, free_port, is_healthy, memory, wait_for_health

PEER = "gaiaflow==0.0.3"
HELP_ROUNDS, START_ROUNDS, PARSE_ROUNDS = 15, 3, 9
CLONE_ROUNDS, STATUS_ROUNDS, DAG_ROUNDS = 2, 9, 9
TASKS = 100
REST_SECONDS, SETTLING_SECONDS = 60, 20
AIRFLOW_PORT, MLFLOW_PORT = 8080, 5000
AIRFLOW_HEALTH = "/api/v2/monitor/health"
AIRFLOW_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")

NOTES = f"""\
- 1: {HELP_ROUNDS} rounds. The peer has an environment of its own, from the package index.
- 2: {START_ROUNDS} rounds. Ours is the whole `gaiaflow-setup mlops --start`: PostgreSQL, S3, MLflow, JupyterLab, too,
  after `--stop`; Airflow's own health is asked for again afterwards. The peer is the same Airflow environment's
  `airflow standalone` with its defaults on a migrated database, from its start until all four parts are healthy;
  heartbeats of the round before are aged, as Airflow would believe them for half a minute.
- 3: {IDLE_ROUNDS} rounds, with everything running. The floor is Ansible itself.
- 4: once, with an empty `GAIAFLOW_HOME` and an empty uv cache: `workstation --project`, with the environments, the
  project's own dependencies, the databases and all services healthy. The launcher's `.venv` is there already. The
  floor, taken first, is `uv pip install` of the same lock files in parallel, with an empty cache of its own.
- 5: PSS of all processes {REST_SECONDS} s after the last became healthy; supervisord counts as ours. The peers are
  `airflow standalone`, `mlflow server`, `weed mini` and `jupyter lab` of the same environments, all at once, with
  their defaults but for telemetry (off) and SeaweedFS's address (loopback).
- 6: {PARSE_ROUNDS} rounds of a new interpreter that runs the file in Airflow's environment, {TASKS} tasks each,
  imports included.
- 14: {CLONE_ROUNDS} rounds of the first `gaiaflow-setup --version` in a new clone, without a uv cache. The floor is
  what one would type, without a cache either: `python -m venv`, `pip install uv`, `uv pip install` of the whole lock
  file.
- 15: {STATUS_ROUNDS} rounds, with everything running. The peer asks the same of the same services, through Ansible.
- 16: processor time of the scheduler and its workers over {REST_SECONDS} s at rest, and then the median of
  {DAG_ROUNDS} runs of a DAG of two tasks that do nothing, from the request by REST until its end is told."""


# ---- Peers


def stack_program(bench: Bench, environment: str, name: str) -> str:
    """Return a program of one of the stack's environments."""
    return f"{bench.native.read('config/services.json')['environments'][environment]}/bin/{name}"


def peer_environment(bench: Bench, directory: Path, command: str) -> dict[str, str]:
    """Return what a peer inherits: nothing of ours, and a home of its own."""
    home = {"HOME": str(directory), "AIRFLOW_HOME": str(bench.root / "airflow" / "airflow")}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    search = {"PATH": f"{Path(command).parent}:{bench.environment['PATH']}"}
    return {**bench.environment, **home, **quiet, **search}


@contextlib.contextmanager
def running(bench: Bench, name: str, command: list[str], **variables: str) -> Iterator[Program]:
    """Yield a peer while the block runs."""
    directory = bench.root / name
    peer = Program(command, {**peer_environment(bench, directory, command[0]), **variables}, directory)
    try:
        yield peer
    finally:
        peer.end()


@contextlib.contextmanager
def standalone(bench: Bench) -> Iterator[tuple[Program, str]]:
    """`airflow standalone` and its health's address while the block runs; its port changes if another holds it."""
    age_heartbeats(bench.root / "airflow" / "airflow" / "airflow.db")
    port, variables = free_port(AIRFLOW_PORT), {}
    if port != AIRFLOW_PORT:
        address = f"http://localhost:{port}"
        variables = {"AIRFLOW__API__PORT": str(port), "AIRFLOW__API__BASE_URL": address}
        variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{address}/execution/"
    with running(bench, "airflow", [stack_program(bench, "airflow", "airflow"), "standalone"], **variables) as peer:
        yield peer, f"http://127.0.0.1:{port}{AIRFLOW_HEALTH}"


def age_heartbeats(database: Path) -> None:
    """Make the killed components of the round before look dead at once, and not after half a minute."""
    if database.exists():
        with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
            connection.execute("UPDATE job SET state = 'failed', latest_heartbeat = '2000-01-01 00:00:00.000000'")


def install_peer(environment: dict[str, str]) -> str:
    """Return the peer's program, in an environment that is made once."""
    directory = CACHE / PEER.replace("==", "-")
    complete = directory / "complete"
    if not complete.exists():
        print(f"installing {PEER}", file=sys.stderr, flush=True)
        python = str(directory / "bin/python")
        install = [UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, PEER]
        seconds([UV, "venv", "--quiet", "--clear", str(directory)], environment)
        seconds(install, {**environment, "UV_CACHE_DIR": str(CACHE / "uv")})
        complete.touch()
    return str(directory / "bin/gaiaflow")


# ---- What is measured


def measure_help(bench: Bench) -> Row:
    """`--help`, against the peer's."""
    peer = install_peer(bench.environment)
    samples = turns(
        HELP_ROUNDS,
        lambda: seconds([LAUNCHER, "--help"], bench.environment),
        lambda: seconds([peer, "--help"], bench.environment),
    )
    return ratio_row(1, "`gaiaflow-setup --help`", samples, f"`gaiaflow --help` ({PEER})", 0.5)


def measure_start(bench: Bench) -> Row:
    """From stopped to all healthy, against Airflow alone."""
    bench.need_stack()
    bench.native.setup("mlops", "--stop")
    health = f"{bench.native.read('instance.json')['urls']['airflow']}{AIRFLOW_HEALTH}"

    def ours() -> float:
        taken = bench.native.setup("mlops", "--start").seconds
        if not is_healthy(health, AIRFLOW_PARTS):
            raise BenchError("`mlops --start` returned before all of Airflow was healthy")
        bench.native.setup("mlops", "--stop")
        return taken

    def other() -> float:
        begun = time.perf_counter()
        with standalone(bench) as (peer, url):
            wait_for_health(peer, url, AIRFLOW_PARTS)
            return time.perf_counter() - begun

    samples = turns(START_ROUNDS, ours, other)
    return ratio_row(2, "all services healthy from stopped", samples, "`airflow standalone` alone", 1.2)


def measure_nothing_to_do(bench: Bench) -> Row:
    """Measure a start with nothing to do, against Ansible doing nothing."""
    bench.need_stack()
    bench.native.setup("mlops", "--start")
    samples = turns(IDLE_ROUNDS, lambda: idle_seconds(bench.native.setup("mlops", "--start")), bench.floor)
    return idle_row(3, "a start with nothing to do", samples, 3)


def install_locks(bench: Bench) -> float:
    """How long uv alone takes to install the lock files side by side, with nothing in its cache."""
    floor = bench.root / "floor"
    environment = {**bench.environment, "UV_CACHE_DIR": str(floor / "cache")}
    begun = time.perf_counter()
    installs = []
    for lock in sorted((CHECKOUT / "roles/mlops/files/locks").glob("*.txt")):
        directory = floor / lock.stem
        seconds([UV, "venv", "--quiet", str(directory)], environment)
        install = [UV, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes"]
        install += ["--python", str(directory / "bin/python"), "--requirements", str(lock)]
        installs.append(subprocess.Popen(install, env=environment, cwd=bench.root))
    if any([install.wait() for install in installs]):
        raise BenchError("uv could not install the lock files")
    taken = time.perf_counter() - begun
    shutil.rmtree(floor)
    return taken


def measure_first_start(bench: Bench) -> Row:
    """Measure the first start from nothing, against the downloads and installations alone."""
    floor = install_locks(bench)
    ours = bench.native.setup("workstation", "--project", str(bench.project)).seconds
    against = f"`uv pip install` of the same lock files: {floor:.1f} s"
    what = "first start from nothing, cold cache, project and all"
    return Row(4, what, f"{ours:.1f} s", against, f"{ours / floor:.2f}", "under 90 s", yes_no(ours < 90))


def memory_of_peers(bench: Bench) -> float:
    """Megabytes of the same services with their own defaults."""
    port = free_port(MLFLOW_PORT)
    mlflow = [stack_program(bench, "mlflow", "mlflow"), "server", *([f"--port={port}"] if port != MLFLOW_PORT else [])]
    weed = [stack_program(bench, "base", "weed"), "mini", "-dir=.", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
    jupyter = [stack_program(bench, "jupyter", "jupyter"), "lab", "--no-browser", "--allow-root"]
    with contextlib.ExitStack() as stack:
        airflow, airflow_url = stack.enter_context(standalone(bench))
        server = stack.enter_context(running(bench, "mlflow", mlflow))
        others = [stack.enter_context(running(bench, one[0], one[1])) for one in (("weed", weed), ("jupyter", jupyter))]
        wait_for_health(airflow, airflow_url, AIRFLOW_PARTS)
        wait_for_health(server, f"http://127.0.0.1:{port}/health")
        time.sleep(REST_SECONDS)
        peers = [airflow, server, *others]
        for peer in peers:
            peer.check()
        return memory({process for peer in peers for process in peer.record()})


def measure_memory(bench: Bench) -> Row:
    """Memory at rest, against the same services' own defaults."""
    bench.need_stack()
    bench.native.setup("mlops", "--start")
    time.sleep(REST_SECONDS)
    supervisor = int((bench.native.directory / "run" / "supervisord.pid").read_text())
    ours = memory(family(psutil.Process(supervisor)))
    bench.native.setup("mlops", "--stop")
    other = memory_of_peers(bench)
    ratio, against = ours / other, f"the same services' own defaults: {other:.0f} MB"
    what = "memory of the whole stack at rest (PSS)"
    return Row(5, what, f"{ours:.0f} MB", against, f"{ratio:.2f}", "under 0.5 times", yes_no(ratio < 0.5))


def dag_files(bench: Bench) -> tuple[Path, Path]:
    """Measure one DAG with our tasks and with Airflow's operators; both use the generated project's code."""
    dags = next((bench.project / "dags").glob("*_dags"))
    package = dags.name.removesuffix("_dags")
    head = f"import sys\nsys.path.append({str(dags.parent)!r})\nfrom airflow.sdk import DAG\n"
    start = f"with DAG('d', schedule=None):\n    for i in range({TASKS}):\n        "
    operator = "from airflow.providers.standard.operators.python import PythonOperator\n"
    operator += f"from {package}.starter import describe_environment\n"
    plain = f"{operator}{start}PythonOperator(task_id=f't{{i}}', python_callable=describe_environment)\n"
    factory = f"from {dags.name}.task_factory import task_factory\n"
    factory += f"{start}task_factory(f't{{i}}', '{package}.starter:describe_environment')\n"
    files = bench.root / "factory.py", bench.root / "plain.py"
    for file, text in zip(files, (factory, plain), strict=True):
        file.write_text(head + text)
    return files


def measure_parse(bench: Bench) -> Row:
    """Measure a DAG file of task_factory tasks, against the same with PythonOperators."""
    bench.need_stack()
    bench.native.setup("mlops", "--stop")
    factory, plain = dag_files(bench)
    python = stack_program(bench, "airflow", "python")
    environment = peer_environment(bench, bench.root, python) | {"PYTHONPATH": str(bench.project / "src")}
    samples = turns(
        PARSE_ROUNDS,
        lambda: seconds([python, str(factory)], environment),
        lambda: seconds([python, str(plain)], environment),
    )
    return ratio_row(6, f"a DAG file of {TASKS} `task_factory` tasks", samples, f"{TASKS} PythonOperators", 1.1)


def measure_clone(bench: Bench) -> Row:
    """Measure a clone's first command, against installing its lock file by hand."""

    def ours() -> float:
        clone = bench.root / "clone"
        shutil.rmtree(clone, ignore_errors=True)
        run(["git", "clone", "--quiet", str(CHECKOUT), str(clone)], bench.environment)
        return seconds([str(clone / "gaiaflow-setup"), "--version"], bench.environment)

    def by_hand() -> float:
        directory = bench.root / "by-hand"
        shutil.rmtree(directory, ignore_errors=True)
        environment = {**bench.environment, "UV_CACHE_DIR": str(directory / "cache")}
        python, lock = str(directory / "venv/bin/python"), str(CHECKOUT / "requirements/cli.txt")
        uv = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "uv"]
        install = [f"{directory}/venv/bin/uv", "pip", "install", "--quiet", "--require-hashes", "--compile-bytecode"]
        steps = (
            [sys.executable, "-m", "venv", str(directory / "venv")],
            uv,
            [*install, "--python", python, "-r", lock],
        )
        return sum(seconds(step, environment) for step in steps)

    taken, other = turns(CLONE_ROUNDS, ours, by_hand)
    ratio, against = taken.median / other.median, f"the same lock file with pip and uv: {other}"
    return Row(
        14, "a clone's first command", str(taken), against, f"{ratio:.2f}", "under 12 s", yes_no(taken.median < 12)
    )


def measure_status(bench: Bench) -> Row:
    """`status`, against its playbook."""
    bench.need_stack()
    bench.native.setup("mlops", "--start")
    ours, other = turns(
        STATUS_ROUNDS,
        lambda: bench.native.setup("status").seconds,
        lambda: bench.native.setup("status", "-e", "asked=anew").seconds,
    )
    against, met = f"its playbook: {other}", yes_no(ours.median < 0.4)
    return Row(15, "`status`", str(ours), against, f"{ours.median / other.median:.2f}", "under 0.4 s", met)


def processor_seconds(bench: Bench, service: str) -> float:
    """Processor time that a service's processes have used."""
    total = 0.0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            variables = process.environ()
            own = variables.get("GAIAFLOW_INSTANCE_DIRECTORY") == str(bench.native.directory)
            if own and variables.get("GAIAFLOW_SERVICE") == service:
                used = process.cpu_times()
                total += used.user + used.system
    return total


def idle_share(bench: Bench) -> float:
    """Return the part of a core, in percent, that the scheduler uses while nothing is to be done."""
    before, begun = processor_seconds(bench, "airflow-scheduler"), time.perf_counter()
    time.sleep(REST_SECONDS)
    used = processor_seconds(bench, "airflow-scheduler") - before
    return 100 * used / (time.perf_counter() - begun)


TWO_TASKS = """from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

with DAG("bench_two_tasks", schedule=None):
    PythonOperator(task_id="a", python_callable=print) >> PythonOperator(task_id="b", python_callable=print)
"""


def two_task_seconds(bench: Bench) -> float:
    """Return the median time of a DAG of two tasks, from the request for a run until its end."""
    file = next((bench.project / "dags").glob("*_dags")) / "bench_two_tasks.py"
    file.write_text(TWO_TASKS)
    try:
        airflow = Airflow(bench.native.read("instance.json")["urls"]["airflow"], bench.native.read("credentials.json"))
        airflow.unpause("bench_two_tasks")
        return Sample(tuple(airflow.run_seconds("bench_two_tasks") for _ in range(DAG_ROUNDS))).median
    finally:
        file.unlink()


def measure_scheduler(bench: Bench) -> Row:
    """Measure the scheduler at rest, and a short DAG; less of the one is more of the other."""
    bench.need_stack()
    bench.native.setup("mlops", "--start")
    time.sleep(SETTLING_SECONDS)
    share, dag = idle_share(bench), two_task_seconds(bench)
    what = "the scheduler at rest, and a DAG of two tasks"
    met = yes_no(share <= 4 and dag < 2)
    return Row(16, what, f"{share:.1f} % of a core, {dag:.2f} s", "no peer", "", "at most 4 %, under 2 s", met)
