"""Measures what the README claims, each as a ratio against a named peer or floor in the same run.

    make bench                       # everything; about ten minutes, then bench/RESULTS.md is rewritten
    python bench/run.py --only 1,6   # some of it, printed and not kept

Run it on a machine that does nothing else. Ends with 1 when something couldn't be measured, not when a target is
missed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import os
import platform
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

CHECKOUT = Path(__file__).resolve().parents[1]
LAUNCHER = str(CHECKOUT / "gaiaflow-setup")
UV = str(CHECKOUT / ".venv/bin/uv")
CACHE = CHECKOUT / ".cache" / "bench"
RESULTS = Path(__file__).with_name("RESULTS.md")
INSTANCE = "bench"
PEER = "gaiaflow==0.0.3"
HELP_ROUNDS, START_ROUNDS, IDLE_ROUNDS, PARSE_ROUNDS = 15, 3, 5, 9
TASKS = 100
REST_SECONDS = 60
HEALTH_SECONDS = 180
COMMAND_SECONDS = 300
AIRFLOW_PORT, MLFLOW_PORT = 8080, 5000
AIRFLOW_HEALTH = "/api/v2/monitor/health"
AIRFLOW_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
# What would change a peer's defaults, or make us write into a cache that is warm already.
NOT_INHERITED = re.compile(
    r"(AIRFLOW|MLFLOW|_MLFLOW|JUPYTER|WEED|GAIAFLOW|ANSIBLE)_?.*"
    r"|AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|PROFILE|ENDPOINT_URL.*)"
    r"|PYTHONDONTWRITEBYTECODE|PYTHONPATH|PYTHONHOME|VIRTUAL_ENV|UV_CACHE_DIR"
)

NOTES = f"""\
- Times are wall-clock seconds of a whole process, from before it starts. Where there are rounds, the two sides took
  turns (A B A B) after one round each that isn't counted; the medians are compared, and the brackets hold the fastest
  and the slowest round. Both sides are compiled to bytecode.
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
  imports included."""


class BenchError(Exception):
    """Something could not be measured."""


@dataclass(frozen=True)
class Row:
    """One line of the results."""

    number: int
    what: str
    ours: str
    against: str
    ratio: str
    target: str
    met: str


@dataclass(frozen=True)
class Sample:
    """What the rounds of one side took."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure that is compared."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        """The median in seconds, and the fastest and the slowest round."""
        return f"{self.median:.2f} s ({min(self.values):.2f} to {max(self.values):.2f})"


def yes_no(met: bool) -> str:
    """How the table says it."""
    return "yes" if met else "no"


# ---- Processes


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """How long a command takes; BenchError with the end of its output when it fails."""
    with tempfile.TemporaryFile() as output:
        begun = time.perf_counter()
        code = subprocess.run(
            command, env=environment, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            timeout=COMMAND_SECONDS, check=False,
        ).returncode  # fmt: skip
        taken = time.perf_counter() - begun
        if code:
            output.seek(0)
            end = output.read().decode(errors="replace").strip()[-600:]
            raise BenchError(f"{Path(command[0]).name} {' '.join(command[1:])} ended with {code}: {end}")
    return taken


def family(parent: psutil.Process) -> set[psutil.Process]:
    """The process, all that came from it, and what is left of the session that it leads."""
    found = {parent} if parent.is_running() else set()
    with contextlib.suppress(psutil.Error):
        found |= set(parent.children(recursive=True))
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == parent.pid:
                found |= {process, *process.children(recursive=True)}
    return found


class Program:
    """A peer that runs until it is ended, with all that came from it."""

    def __init__(self, command: list[str], environment: dict[str, str], directory: Path) -> None:
        self.name = " ".join([Path(command[0]).name, *command[1:2]])
        directory.mkdir(exist_ok=True)
        self.log = directory / "output.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                command, env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.process = psutil.Process(self.popen.pid)
        self.known: set[psutil.Process] = {self.process}

    def record(self) -> set[psutil.Process]:
        """Notes which processes belong to it now: a parent that ends leaves its children to nobody."""
        current = family(self.process)
        self.known |= current
        return current

    def check(self) -> None:
        """BenchError with the end of its log when it has ended by itself."""
        if self.popen.poll() is not None:
            raise BenchError(f"{self.name} ended by itself: {self.log.read_text(errors='replace')[-600:]}")

    def end(self) -> None:
        """Kills it and all that is known to have come from it; psutil tells a process from a later one of its id."""
        for _ in range(5):
            self.record()
            alive = [one for one in self.known if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
            if not alive:
                break
            for one in alive:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            self.popen.wait()
            psutil.wait_procs(alive, timeout=5)


def wait_for_health(program: Program, url: str, parts: tuple[str, ...] = ()) -> None:
    """Returns when the program answers and each named part of its JSON is healthy."""
    deadline = time.monotonic() + HEALTH_SECONDS
    while time.monotonic() < deadline:
        program.check()
        if is_healthy(url, parts):
            program.record()
            return
        time.sleep(0.1)
    raise BenchError(f"{program.name} was not healthy within {HEALTH_SECONDS} s")


def is_healthy(url: str, parts: tuple[str, ...]) -> bool:
    """Whether the address answers now and each named part is healthy."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        body = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2).read()
        return not parts or all(json.loads(body)[part]["status"] == "healthy" for part in parts)
    return False


def free_port(first: int) -> int:
    """The first port from there on that nobody listens on, on any address."""
    for port in itertools.count(first):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("0.0.0.0", port))
            return port
    raise AssertionError  # count() has no end


def memory(processes: set[psutil.Process]) -> float:
    """Their proportional set size in megabytes; one that has just ended has none."""
    total = 0
    for process in processes:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += int(re.findall(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[0])
    return total / 1024


def turns(rounds: int, ours: Callable[[], float], other: Callable[[], float]) -> tuple[Sample, Sample]:
    """Both measured in turn, after one round that does not count."""
    pairs = [(ours(), other()) for _ in range(rounds + 1)][1:]
    return Sample(tuple(pair[0] for pair in pairs)), Sample(tuple(pair[1] for pair in pairs))


def ratio_row(number: int, what: str, samples: tuple[Sample, Sample], peer: str, target: float) -> Row:
    """A line for a ratio of times that must not exceed its target."""
    ours, other = samples
    ratio = ours.median / other.median
    limit = f"at most {target} times"
    return Row(number, what, str(ours), f"{peer}: {other}", f"{ratio:.2f}", limit, yes_no(ratio <= target))


# ---- What is measured


class Bench:
    """A stack of ours and peers beside it, all in a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.project = root / "home", root / "bench_project"
        self.instance = self.home / "instances" / INSTANCE
        inherited = {key: value for key, value in os.environ.items() if not NOT_INHERITED.fullmatch(key)}
        self.environment = {**inherited, "GAIAFLOW_HOME": str(self.home)}

    def setup(self, *arguments: str, **variables: str) -> float:
        """Runs gaiaflow-setup on the instance and returns the seconds it took."""
        return seconds([LAUNCHER, *arguments, "--instance", INSTANCE], {**self.environment, **variables})

    def need_stack(self) -> None:
        """Makes the stack and its project, with a warm cache, unless they are there; it runs afterwards."""
        if not (self.instance / "config" / "services.json").exists():
            self.setup("workstation", "--project", str(self.project), UV_CACHE_DIR=str(CACHE / "uv"))

    def read(self, name: str) -> Any:
        """One of the instance's JSON files."""
        return json.loads((self.instance / name).read_text())

    def program(self, environment: str, name: str) -> str:
        """A program of one of the stack's environments."""
        return f"{self.read('config/services.json')['environments'][environment]}/bin/{name}"

    def peer_environment(self, directory: Path, command: str) -> dict[str, str]:
        """What a peer inherits: nothing of ours, and a home of its own."""
        home = {"HOME": str(directory), "AIRFLOW_HOME": str(self.root / "airflow" / "airflow")}
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true"}
        search = {"PATH": f"{Path(command).parent}:{self.environment['PATH']}"}
        return {**self.environment, **home, **quiet, **search}

    @contextlib.contextmanager
    def running(self, name: str, command: list[str], **variables: str) -> Iterator[Program]:
        """A peer while the block runs."""
        directory = self.root / name
        peer = Program(command, {**self.peer_environment(directory, command[0]), **variables}, directory)
        try:
            yield peer
        finally:
            peer.end()

    @contextlib.contextmanager
    def standalone(self) -> Iterator[tuple[Program, str]]:
        """`airflow standalone` and its health's address while the block runs; its port changes if another holds it."""
        age_heartbeats(self.root / "airflow" / "airflow" / "airflow.db")
        port, variables = free_port(AIRFLOW_PORT), {}
        if port != AIRFLOW_PORT:
            address = f"http://localhost:{port}"
            variables = {"AIRFLOW__API__PORT": str(port), "AIRFLOW__API__BASE_URL": address}
            variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{address}/execution/"
        with self.running("airflow", [self.program("airflow", "airflow"), "standalone"], **variables) as peer:
            yield peer, f"http://127.0.0.1:{port}{AIRFLOW_HEALTH}"


def age_heartbeats(database: Path) -> None:
    """Makes the killed components of the round before look dead at once, and not after half a minute."""
    if database.exists():
        with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
            connection.execute("UPDATE job SET state = 'failed', latest_heartbeat = '2000-01-01 00:00:00.000000'")


def install_peer(environment: dict[str, str]) -> str:
    """The peer's program, in an environment that is made once."""
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
    bench.setup("mlops", "--stop")
    health = f"{bench.read('instance.json')['urls']['airflow']}{AIRFLOW_HEALTH}"

    def ours() -> float:
        taken = bench.setup("mlops", "--start")
        if not is_healthy(health, AIRFLOW_PARTS):
            raise BenchError("`mlops --start` returned before all of Airflow was healthy")
        bench.setup("mlops", "--stop")
        return taken

    def other() -> float:
        begun = time.perf_counter()
        with bench.standalone() as (peer, url):
            wait_for_health(peer, url, AIRFLOW_PARTS)
            return time.perf_counter() - begun

    samples = turns(START_ROUNDS, ours, other)
    return ratio_row(2, "all services healthy from stopped", samples, "`airflow standalone` alone", 1.2)


def measure_nothing_to_do(bench: Bench) -> Row:
    """A start with nothing to do, against Ansible doing nothing."""
    bench.need_stack()
    bench.setup("mlops", "--start")
    playbook = bench.root / "nothing.yml"
    playbook.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - debug: msg=nothing\n")
    ansible = [str(CHECKOUT / ".venv/bin/ansible-playbook"), "-i", str(CHECKOUT / "inventory/local.yml"), str(playbook)]
    ours, floor = turns(
        IDLE_ROUNDS, lambda: bench.setup("mlops", "--start"), lambda: seconds(ansible, bench.environment)
    )
    against = f"`ansible-playbook` of one debug task: {floor}"
    ratio = f"{ours.median / floor.median:.2f}"
    return Row(3, "a start with nothing to do", str(ours), against, ratio, "under 3 s", yes_no(ours.median < 3))


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
    """The first start from nothing, against the downloads and installations alone."""
    floor = install_locks(bench)
    ours = bench.setup("workstation", "--project", str(bench.project))
    against = f"`uv pip install` of the same lock files: {floor:.1f} s"
    what = "first start from nothing, cold cache, project and all"
    return Row(4, what, f"{ours:.1f} s", against, f"{ours / floor:.2f}", "under 90 s", yes_no(ours < 90))


def memory_of_peers(bench: Bench) -> float:
    """Megabytes of the same services with their own defaults."""
    port = free_port(MLFLOW_PORT)
    mlflow = [bench.program("mlflow", "mlflow"), "server", *([f"--port={port}"] if port != MLFLOW_PORT else [])]
    weed = [bench.program("base", "weed"), "mini", "-dir=.", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
    jupyter = [bench.program("jupyter", "jupyter"), "lab", "--no-browser", "--allow-root"]
    with contextlib.ExitStack() as stack:
        airflow, airflow_url = stack.enter_context(bench.standalone())
        server = stack.enter_context(bench.running("mlflow", mlflow))
        others = [stack.enter_context(bench.running(one[0], one[1])) for one in (("weed", weed), ("jupyter", jupyter))]
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
    bench.setup("mlops", "--start")
    time.sleep(REST_SECONDS)
    supervisor = int((bench.instance / "run" / "supervisord.pid").read_text())
    ours = memory(family(psutil.Process(supervisor)))
    bench.setup("mlops", "--stop")
    other = memory_of_peers(bench)
    ratio, against = ours / other, f"the same services' own defaults: {other:.0f} MB"
    what = "memory of the whole stack at rest (PSS)"
    return Row(5, what, f"{ours:.0f} MB", against, f"{ratio:.2f}", "under 0.5 times", yes_no(ratio < 0.5))


def dag_files(bench: Bench) -> tuple[Path, Path]:
    """The same DAG twice, with our tasks and with Airflow's operators; both use the generated project's code."""
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
    """A DAG file of task_factory tasks, against the same with PythonOperators."""
    bench.need_stack()
    bench.setup("mlops", "--stop")
    factory, plain = dag_files(bench)
    python = bench.program("airflow", "python")
    environment = bench.peer_environment(bench.root, python) | {"PYTHONPATH": str(bench.project / "src")}
    samples = turns(
        PARSE_ROUNDS,
        lambda: seconds([python, str(factory)], environment),
        lambda: seconds([python, str(plain)], environment),
    )
    return ratio_row(6, f"a DAG file of {TASKS} `task_factory` tasks", samples, f"{TASKS} PythonOperators", 1.1)


# In the order in which they run: the first start makes the stack that the others use.
MEASUREMENTS: dict[int, Callable[[Bench], Row]] = {
    4: measure_first_start,
    1: measure_help,
    3: measure_nothing_to_do,
    2: measure_start,
    5: measure_memory,
    6: measure_parse,
}


# ---- The report


def table(rows: list[Row]) -> str:
    """The results as Markdown."""
    lines = ["| | What | Ours | Against | Ratio | Target | Met |", "|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda one: one.number):
        cells = (str(row.number), row.what, row.ours, row.against, row.ratio, row.target, row.met)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(rows: list[Row], minutes: float) -> str:
    """The whole of RESULTS.md."""
    gigabytes = psutil.virtual_memory().total / 2**30
    today = datetime.datetime.now(datetime.UTC).date()
    cores, kernel, python = os.cpu_count(), platform.release(), platform.python_version()
    machine = f"{cores} cores, {gigabytes:.0f} GB, Linux {kernel}, Python {python}"
    return f"""# Results

`make bench` wrote this on {today}, in {minutes:.0f} minutes: {machine}.
Ratios carry over to other machines; times are this one's.

{table(rows)}

{NOTES}
"""


def measured(number: int, bench: Bench) -> Row | None:
    """One measurement, printed; None, and the reason printed, when it could not be taken."""
    print(f"measuring {number}", file=sys.stderr, flush=True)
    try:
        row = MEASUREMENTS[number](bench)
    except Exception as error:
        print(f"{number} could not be measured: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return None
    print(table([row]).splitlines()[-1], flush=True)
    return row


def measure_all(numbers: set[int]) -> list[Row]:
    """The wanted measurements that could be taken; whatever happens, nothing is left running."""
    with tempfile.TemporaryDirectory(prefix="gaiaflow-bench-") as directory:
        bench = Bench(Path(directory))
        try:
            rows = [measured(number, bench) for number in MEASUREMENTS if number in numbers]
        finally:
            if bench.home.exists():
                bench.setup("uninstall", "--yes")
    return [row for row in rows if row]


def wanted_numbers(text: str) -> set[int]:
    """The numbers of a list such as `1,6`."""
    numbers = {int(one) for one in text.split(",")}
    if unknown := numbers - set(MEASUREMENTS):
        raise argparse.ArgumentTypeError(f"no measurement {sorted(unknown)}; there are {sorted(MEASUREMENTS)}")
    return numbers


def main() -> int:
    """Measures, prints, and keeps the results of a whole run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=wanted_numbers, metavar="N[,N]", help="these of the measurements 1 to 6")
    only: set[int] | None = parser.parse_args().only
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    wanted = only or set(MEASUREMENTS)
    rows = measure_all(wanted)
    if len(rows) < len(wanted):
        return 1
    if not only:
        RESULTS.write_text(report(rows, (time.monotonic() - begun) / 60))
    return 0


if __name__ == "__main__":
    sys.exit(main())
