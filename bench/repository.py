"""A central DAG repository of many projects, as one Airflow's dag-processor reads it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path

from bench.measure import Bench, BenchError, Row, run
from bench.processes import Program, memory
from bench.stack import peer_environment, stack_program

PROJECTS, DAGS_EACH = 200, 5
PICK_UP_SECONDS, REST_SECONDS = 1800, 90
# As role airflow_on_kubernetes starts it.
PRELOADED = "import airflow.__main__, airflow.providers.cncf.kubernetes.operators.pod; airflow.__main__.main()"

NOTES = f"""\
- 25: {PROJECTS} projects of the template, each with a package of its own and {DAGS_EACH} DAGs of two tasks, in a folder
  as the central DAG repository has it. One `airflow dag-processor` with its default settings and an empty database
  (SQLite), as role airflow_on_kubernetes starts it: from its start until all DAGs are in the database, then until a
  changed DAG is there; its share of the processors meanwhile, and its memory (PSS)."""


def write_projects(bench: Bench, folder: Path) -> None:
    """Write the projects' folders as releases would."""
    command = ["new", "--no-input", "--output-dir", str(bench.root / "template"), "project_name=Bench 000"]
    bench.setup(*command)
    (package,) = (bench.root / "template").glob("*/dags/*_dags")
    name = package.name.removesuffix("_dags")
    for number in range(PROJECTS):
        own = f"project_{number:03d}"
        directory = shutil.copytree(package, folder / own / f"{own}_dags")
        (directory / "image.txt").write_text(f"registry.example.com/{own}@sha256:{number:064x}\n")
        (directory / "example_dag.py").unlink()
        for file in directory.glob("*.py"):
            file.write_text(file.read_text().replace(name, own))
        starter = (directory / "starter_dag.py").read_text()
        (directory / "starter_dag.py").unlink()
        for dag in range(DAGS_EACH):
            (directory / f"dag_{dag}.py").write_text(starter.replace(f"{own}_starter", f"{own}_{dag}"))


def wait_for(program: Program, database: Path, question: str, wanted: int) -> float:
    """Return after how many seconds a question to the database has the wanted answer."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < PICK_UP_SECONDS:
        program.check()
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection:
            if connection.execute(question).fetchone()[0] == wanted:
                return time.perf_counter() - begun
        time.sleep(0.5)
    raise BenchError(f"{program.name} had not picked the DAGs up after {PICK_UP_SECONDS} s")


def cpu_seconds(program: Program) -> float:
    """Return the processors' time of a program and all that it has waited for."""
    times = program.process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def measure_pick_up(bench: Bench) -> Row:
    """Measure the dag-processor with all projects of a company."""
    bench.need_stack()
    bench.native.setup("mlops", "--stop")
    home, dags = bench.root / "company", bench.root / "cdr" / "dags"
    home.mkdir()
    write_projects(bench, dags)
    python = stack_program(bench, "airflow", "python")
    bundle = {
        "name": "cdr",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    environment = peer_environment(bench, home, python) | {
        "GAIAFLOW_ENV": "prod",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
    }
    run([python, "-m", "airflow", "db", "migrate"], environment)
    program = Program([python, "-c", PRELOADED, "dag-processor"], environment, home / "processor")
    bench.cleanup.callback(program.end)
    database = home / "airflow.db"
    first = wait_for(program, database, "SELECT count(*) FROM dag WHERE is_stale = 0", PROJECTS * DAGS_EACH)
    before, begun = cpu_seconds(program), time.perf_counter()
    time.sleep(REST_SECONDS)
    share = 100 * (cpu_seconds(program) - before) / (time.perf_counter() - begun)
    changed = next(dags.glob("project_100/*/dag_0.py"))
    changed.write_text(changed.read_text().replace("Two tasks", "Changed"))
    again = wait_for(program, database, "SELECT count(*) FROM dag WHERE description LIKE 'Changed%'", 1)
    megabytes = memory(program.record())
    ours = f"all in {first:.0f} s, a changed one in {again:.0f} s; {share:.0f} % of a core, {megabytes:.0f} MB"
    what = f"{PROJECTS} projects of {DAGS_EACH} DAGs in one dag-processor"
    return Row(25, what, ours, "no peer", "", "none", "")
