"""What all measurements share: timed programs, rounds in turn, a line of the results, and a home of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

CHECKOUT = Path(__file__).resolve().parents[1]
LAUNCHER = str(CHECKOUT / "gaiaflow-setup")
PLAYBOOK = str(CHECKOUT / ".venv/bin/ansible-playbook")
UV = str(CHECKOUT / ".venv/bin/uv")
CACHE = CHECKOUT / ".cache" / "bench"
IDLE_ROUNDS = 5
COMMAND_SECONDS = 1200
FLOOR = "`ansible-playbook` of one debug task"
# What would change a peer's defaults, or make us write into a cache that is warm already.
NOT_INHERITED = re.compile(
    r"(AIRFLOW|MLFLOW|_MLFLOW|JUPYTER|WEED|GAIAFLOW|ANSIBLE)_?.*"
    r"|AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|PROFILE|ENDPOINT_URL.*)"
    r"|PYTHONDONTWRITEBYTECODE|PYTHONPATH|PYTHONHOME|VIRTUAL_ENV|UV_CACHE_DIR"
)


class BenchError(Exception):
    """Something could not be measured."""


# ---- A line of the results


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
        """Return the median in seconds, and the fastest and the slowest round."""
        return f"{self.median:.2f} s ({min(self.values):.2f} to {max(self.values):.2f})"


def yes_no(met: bool) -> str:
    """How the table says it."""
    return "yes" if met else "no"


def turns(rounds: int, ours: Callable[[], float], other: Callable[[], float]) -> tuple[Sample, Sample]:
    """Both measured in turn, after one round that does not count."""
    pairs = [(ours(), other()) for _ in range(rounds + 1)][1:]
    return Sample(tuple(pair[0] for pair in pairs)), Sample(tuple(pair[1] for pair in pairs))


def ratio_row(number: int, what: str, samples: tuple[Sample, Sample], peer: str, target: float) -> Row:
    """Return a line for a ratio of times that must not exceed its target."""
    ours, other = samples
    ratio = ours.median / other.median
    limit = f"at most {target} times"
    return Row(number, what, str(ours), f"{peer}: {other}", f"{ratio:.2f}", limit, yes_no(ratio <= target))


def idle_row(number: int, what: str, samples: tuple[Sample, Sample], limit: int) -> Row:
    """Measure a line for a run with nothing to do, which must stay under some seconds; the floor is Ansible itself."""
    ours, floor = samples
    ratio, target = f"{ours.median / floor.median:.2f}", f"under {limit} s"
    return Row(number, what, str(ours), f"{FLOOR}: {floor}", ratio, target, yes_no(ours.median < limit))


# ---- Programs


@dataclass(frozen=True)
class Run:
    """A program that has ended well: how long it took, and what it said on standard output."""

    seconds: float
    output: str


def run(command: list[str], environment: dict[str, str]) -> Run:
    """Run a program to its end; BenchError with the end of its output when it fails."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begun = time.perf_counter()
        code = subprocess.run(
            command, env=environment, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
            timeout=COMMAND_SECONDS, check=False,
        ).returncode  # fmt: skip
        taken = time.perf_counter() - begun
        said, complained = read_again(output), read_again(errors)
    if code:
        end = f"{said}\n{complained}".strip()[-600:]
        raise BenchError(f"{Path(command[0]).name} {' '.join(command[1:])} ended with {code}: {end}")
    return Run(taken, said)


def read_again(file: IO[bytes]) -> str:
    """Return what was written into a file, from its beginning."""
    file.seek(0)
    return file.read().decode(errors="replace").strip()


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """How long a command takes."""
    return run(command, environment).seconds


def idle_seconds(done: Run) -> float:
    """How long a run of Ansible took, which must not have changed anything."""
    counts = re.findall(r"\bchanged=(\d+)", done.output)
    if not counts or any(int(one) for one in counts):
        raise BenchError(f"a run on what had converged changed something: {done.output[-600:]}")
    return done.seconds


# ---- Where it happens


class Bench:
    """A directory for all that is made here, a home for our stacks, and what is to be taken away after a measurement.

    Args:
        root: The directory, which is removed afterwards.
        peer_role: Where the peer's role docker is, if it is there already.
    """

    def __init__(self, root: Path, peer_role: Path | None = None) -> None:
        self.root, self.peer_role = root, peer_role
        # Entered once for each measurement.
        self.cleanup = contextlib.ExitStack()
        self.home, self.project = root / "home", root / "bench_project"
        inherited = {key: value for key, value in os.environ.items() if not NOT_INHERITED.fullmatch(key)}
        self.environment = {**inherited, "GAIAFLOW_HOME": str(self.home)}
        self.native, self.containers = Instance(self, "bench"), Instance(self, "bench-containers")

    def setup(self, *arguments: str, **variables: str) -> Run:
        """Run gaiaflow-setup."""
        return run([LAUNCHER, *arguments], {**self.environment, **variables})

    def floor(self) -> float:
        """How long Ansible takes to do nothing on this machine."""
        playbook = self.root / "nothing.yml"
        playbook.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - debug: msg=nothing\n")
        return seconds([PLAYBOOK, "-i", str(CHECKOUT / "inventory/local.yml"), str(playbook)], self.environment)

    def need_stack(self) -> None:
        """Make the native stack and its project, with a warm cache, unless they are there; it runs afterwards."""
        if not (self.native.directory / "config" / "services.json").exists():
            self.native.setup("workstation", "--project", str(self.project), UV_CACHE_DIR=str(CACHE / "uv"))


class Instance:
    """One instance of the stack."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.name = bench, name
        self.directory = bench.home / "instances" / name

    def setup(self, *arguments: str, **variables: str) -> Run:
        """Run gaiaflow-setup on it."""
        return self.bench.setup(*arguments, "--instance", self.name, **variables)

    def read(self, name: str) -> Any:
        """One of its JSON files."""
        return json.loads((self.directory / name).read_text())
