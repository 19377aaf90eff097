"""Measures what the README claims, each as a ratio against a named peer or floor in the same run.

    make bench                       # everything; takes about twelve minutes and writes bench/RESULTS.md
    python bench/run.py --only help  # one measurement, printed

Our side and the other take turns, and medians are compared, so that a machine whose speed drifts is fair to both.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CHECKOUT = Path(__file__).resolve().parents[1]
CACHE = CHECKOUT / ".cache" / "bench"
RESULTS = Path(__file__).with_name("RESULTS.md")
PEER = "gaiaflow==0.0.3"
HELP_ROUNDS, START_ROUNDS, PARSE_ROUNDS, IDLE_ROUNDS = 15, 2, 9, 5
REST_SECONDS = 60
HEALTHY_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


@dataclass(frozen=True)
class Row:
    """One line of the results."""

    what: str
    ours: str
    other: str
    figure: str
    target: str
    met: bool


def ratio_row(what: str, ours: float, other: float, peer: str, target: float, unit: str = "s") -> Row:
    """A line for a ratio that must not exceed its target."""
    ratio = ours / other
    limit = f"at most {target} times"
    return Row(what, f"{ours:.2f} {unit}", f"{peer}: {other:.2f} {unit}", f"{ratio:.2f}", limit, ratio <= target)


class Bench:
    """A stack and a peer to measure, in a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.project = root / "home", root / "bench_project"
        self.environment = {**os.environ, "GAIAFLOW_HOME": str(self.home)}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def setup(self, *arguments: str) -> float:
        """Runs gaiaflow-setup on the instance and returns the seconds it took."""
        command = [str(CHECKOUT / "gaiaflow-setup"), *arguments, "--instance", "bench"]
        return seconds(command, self.environment)

    def program(self, environment: str, name: str) -> str:
        """A program of one of the stack's environments."""
        definition = json.loads((self.home / "instances/bench/config/services.json").read_text())
        return f"{definition['environments'][environment]}/bin/{name}"

    @contextlib.contextmanager
    def started(self, command: list[str], **variables: str) -> Iterator[psutil.Process]:
        """A program with its own defaults while the block runs; ends it and all that came from it."""
        path = f"{Path(command[0]).parent}:{self.environment['PATH']}"
        environment = {**self.environment, "PATH": path, **variables}
        with (self.root / "peer.log").open("w") as log:
            process = subprocess.Popen(
                command, env=environment, cwd=self.root, stdout=log, stderr=log, start_new_session=True
            )
        parent = psutil.Process(process.pid)
        try:
            yield parent
        finally:
            for one in [*parent.children(recursive=True), parent]:
                with contextlib.suppress(psutil.Error):
                    one.send_signal(signal.SIGKILL)
            process.wait()


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """How long a command takes; CalledProcessError when it fails."""
    begun = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def turns(rounds: int, ours: Callable[[], float], other: Callable[[], float]) -> tuple[float, float]:
    """The medians of both, measured in turn after one round that does not count."""
    ours(), other()
    pairs = [(ours(), other()) for _ in range(rounds)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def memory(processes: list[psutil.Process]) -> float:
    """Megabytes (PSS) of the processes and all that came from them."""
    family = {one.pid: one for process in processes for one in [process, *process.children(recursive=True)]}
    total = 0
    for pid in family:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


def wait_for_health(url: str, parts: tuple[str, ...] = (), limit: float = 180) -> None:
    """Returns when an address answers and each named part of its JSON is healthy."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, TypeError):
            body = urllib.request.urlopen(url, timeout=2).read()
            if not parts or all(json.loads(body)[part]["status"] == "healthy" for part in parts):
                return
        time.sleep(0.1)
    raise TimeoutError(f"{url} was not healthy after {limit:.0f} s")


# ---- The measurements


def measure_first_start(bench: Bench) -> Row:
    """The first start from nothing."""
    floor_environment = {**bench.environment, "UV_CACHE_DIR": str(bench.root / "floor-cache")}
    uv = str(CHECKOUT / ".venv/bin/uv")
    begun = time.perf_counter()
    installs = []
    for lock in (CHECKOUT / "roles/mlops/files/locks").glob("*.txt"):
        directory = bench.root / "floor" / lock.stem
        subprocess.run([uv, "venv", "--quiet", str(directory)], check=True, env=floor_environment)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(directory / "bin/python")]
        installs.append(subprocess.Popen([*install, "-r", str(lock)], env=floor_environment))
    if any([install.wait() for install in installs]):
        raise RuntimeError("uv could not install the lock files")
    floor = time.perf_counter() - begun
    shutil.rmtree(bench.root / "floor")
    ours = bench.setup("workstation", "--project", str(bench.project))
    what = "first start from nothing, cold cache, project and all"
    return Row(what, f"{ours:.1f} s", f"the same lock files by uv alone: {floor:.1f} s", "", "under 90 s", ours < 90)


def measure_help(bench: Bench) -> Row:
    """`--help`, against the peer's."""
    peer = CACHE / "gaiaflow"
    if not (peer / "bin" / "gaiaflow").exists():
        uv = str(CHECKOUT / ".venv/bin/uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", str(peer)], check=True, env=bench.environment)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(peer / "bin/python"), PEER]
        subprocess.run(install, check=True, env=bench.environment)
    ours, other = turns(
        HELP_ROUNDS,
        lambda: seconds([str(CHECKOUT / "gaiaflow-setup"), "--help"], bench.environment),
        lambda: seconds([str(peer / "bin/gaiaflow"), "--help"], bench.environment),
    )
    return ratio_row("`gaiaflow-setup --help`", ours, other, f"`gaiaflow --help` ({PEER})", 0.5)


def measure_start(bench: Bench) -> Row:
    """From stopped to all healthy, against Airflow alone."""

    def ours() -> float:
        bench.setup("mlops", "--stop")
        taken = bench.setup("mlops", "--start")
        bench.setup("mlops", "--stop")
        return taken

    def standalone() -> float:
        begun = time.perf_counter()
        with bench.started([bench.program("airflow", "airflow"), "standalone"], AIRFLOW_HOME=str(bench.root / "alone")):
            wait_for_health("http://127.0.0.1:8080/api/v2/monitor/health", HEALTHY_PARTS)
            taken = time.perf_counter() - begun
        # Its heartbeats must have aged before the next round believes in them.
        time.sleep(35)
        return taken

    mine, other = turns(START_ROUNDS, ours, standalone)
    return ratio_row("all services healthy from stopped", mine, other, "`airflow standalone` alone", 1.2)


def measure_nothing_to_do(bench: Bench) -> Row:
    """A start with nothing to do, against Ansible doing nothing."""
    playbook = bench.root / "nothing.yml"
    playbook.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - debug: msg=nothing\n")
    ansible = [str(CHECKOUT / ".venv/bin/ansible-playbook"), "-i", str(CHECKOUT / "inventory/local.yml"), str(playbook)]
    bench.setup("mlops", "--start")
    ours, floor = turns(
        IDLE_ROUNDS, lambda: bench.setup("mlops", "--start"), lambda: seconds(ansible, bench.environment)
    )
    other = f"`ansible-playbook` of one debug task: {floor:.2f} s"
    return Row("a start with nothing to do", f"{ours:.2f} s", other, f"{ours / floor:.2f}", "under 3 s", ours < 3)


def measure_memory(bench: Bench) -> Row:
    """Memory at rest, against the same services' own defaults."""
    bench.setup("mlops", "--start")
    time.sleep(REST_SECONDS)
    supervisor = int((bench.home / "instances/bench/run/supervisord.pid").read_text())
    ours = memory([psutil.Process(supervisor)])
    bench.setup("mlops", "--stop")
    weed_data = bench.root / "weed"
    weed_data.mkdir(exist_ok=True)
    with contextlib.ExitStack() as peers:
        processes = [
            peers.enter_context(bench.started(command, **variables))
            for command, variables in (
                ([bench.program("airflow", "airflow"), "standalone"], {"AIRFLOW_HOME": str(bench.root / "alone")}),
                ([bench.program("mlflow", "mlflow"), "server"], {}),
                ([bench.program("base", "weed"), "mini", f"-dir={weed_data}", "-ip.bind=127.0.0.1"], {}),
                ([bench.program("jupyter", "jupyter-lab"), "--no-browser", "--allow-root"], {}),
            )
        ]
        wait_for_health("http://127.0.0.1:8080/api/v2/monitor/health", HEALTHY_PARTS)
        wait_for_health("http://127.0.0.1:5000/health")
        time.sleep(REST_SECONDS)
        other = memory(processes)
    return ratio_row("memory of the whole stack at rest", ours, other, "the same services' own defaults", 0.5, "MB")


def measure_parse(bench: Bench) -> Row:
    """A DAG file with 100 tasks of task_factory, against the same with PythonOperators."""
    dags = next((bench.project / "dags").glob("*_dags"))
    package = dags.name.removesuffix("_dags")
    head = f"import sys\nsys.path.append({str(dags.parent)!r})\nfrom airflow.sdk import DAG\n"
    factory = f"from {dags.name}.task_factory import task_factory\nwith DAG('d', schedule=None):\n"
    factory += f"    for i in range(100): task_factory(f't{{i}}', '{package}.starter:describe_environment')\n"
    plain = "from airflow.providers.standard.operators.python import PythonOperator\nwith DAG('d', schedule=None):\n"
    plain += "    for i in range(100): PythonOperator(task_id=f't{i}', python_callable=print)\n"
    environment = {**bench.environment, "PYTHONPATH": str(bench.project / "src")}
    environment["AIRFLOW_HOME"] = str(bench.root / "alone")
    python = bench.program("airflow", "python")

    def parse(name: str, text: str) -> Callable[[], float]:
        file = bench.root / name
        file.write_text(head + text)
        return lambda: seconds([python, str(file)], environment)

    ours, other = turns(PARSE_ROUNDS, parse("factory.py", factory), parse("plain.py", plain))
    return ratio_row("parsing a file of 100 `task_factory` tasks", ours, other, "100 PythonOperators", 1.1)


MEASUREMENTS: dict[str, Callable[[Bench], Row]] = {
    "first": measure_first_start,
    "help": measure_help,
    "idle": measure_nothing_to_do,
    "start": measure_start,
    "memory": measure_memory,
    "parse": measure_parse,
}


# ---- The report


def table(rows: list[Row]) -> str:
    """The results as Markdown."""
    lines = ["| What | Ours | Against | Ratio | Target | Met |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.ours} | {row.other} | {row.figure} | {row.target} | {'yes' if row.met else 'no'} |"
        for row in rows
    ]
    return "\n".join(lines)


def report(rows: list[Row]) -> str:
    """The whole of RESULTS.md."""
    gigabytes = psutil.virtual_memory().total / 2**30
    machine = f"{os.cpu_count()} cores, {gigabytes:.0f} GB, Linux {platform.release()}, Python {sys.version.split()[0]}"
    today = datetime.datetime.now(datetime.UTC).date()
    return f"""# Results

`make bench` wrote this on {today}: {machine}. Everything is compiled to bytecode. The two sides of a line were
measured in turn, and their medians are compared; absolute times are this machine's.

{table(rows)}
"""


def main() -> None:
    """Measures, prints, and keeps the results of a whole run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[name for name in MEASUREMENTS if name != "first"], action="append")
    only: list[str] | None = parser.parse_args().only
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="gaiaflow-bench-") as directory:
        bench = Bench(Path(directory))
        try:
            for name in ["first", *[one for one in MEASUREMENTS if one != "first" and (not only or one in only)]]:
                print(f"measuring: {name}", file=sys.stderr, flush=True)
                rows.append(MEASUREMENTS[name](bench))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
        finally:
            bench.setup("uninstall", "--yes")
    if not only:
        RESULTS.write_text(report(rows))


if __name__ == "__main__":
    main()
