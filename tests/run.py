"""Run suites of tests, some side by side, and close with one line for all of them."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
KEPT = CHECKOUT / ".cache" / "tests"
"""Each suite's output, report and outcome, until it runs again."""

PYTEST = (sys.executable, "-m", "pytest", "--durations=15", "--durations-min=2")
FIRST_HOUR = "tests/e2e/test_first_hour.py"
SUITES: dict[str, tuple[str, ...]] = {
    "lint": ("make", "--no-print-directory", "lint"),
    "unit": (*PYTEST, "tests/unit"),
    "first-hour": (*PYTEST, FIRST_HOUR),
    "integration": (*PYTEST, "tests/integration"),
    "e2e": (*PYTEST, "tests/e2e", f"--ignore={FIRST_HOUR}"),
    "hosts": (*PYTEST, "tests/hosts"),
    "release": (*PYTEST, "tests/release"),
    "kube": (*PYTEST, "tests/kube"),
}

ALIVE_S = 30.0
"""How often a suite that still runs is named where no terminal shows it."""

END_S = 240.0
"""How long interrupted suites may take to remove what they have made."""


@dataclass
class Outcome:
    """What one suite came to.

    Attributes:
        suite: Its name.
        seconds: How long it took.
        passed: How many of its tests passed; a suite that is no pytest counts as one test.
        failed: How many failed, errors included.
        skipped: How many were skipped.
        reasons: Why, and how many for each reason.
    """

    suite: str
    seconds: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def counts(self) -> str:
        """Return the counts as the closing line has them."""
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


class Run:
    """Suites that run side by side.

    Args:
        suites: Their names, in the order in which they begin.
        jobs: How many run at a time.
        thorough: Whether the tests run, too, that are marked so.
    """

    def __init__(self, suites: Sequence[str], *, jobs: int, thorough: bool = False) -> None:
        self._waiting = deque(suites)
        self._jobs = jobs
        self._selection = () if thorough else ("-m", "not thorough")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._begun: dict[str, float] = {}
        self._interrupted = False
        self._print = threading.Lock()
        self.outcomes: list[Outcome] = []

    def execute(self) -> None:
        """Run all suites to their end; an interrupt ends them all."""
        threads = [threading.Thread(target=self._run_next) for _ in range(self._jobs)]
        for thread in threads:
            thread.start()
        try:
            self._wait(threads)
        except KeyboardInterrupt:
            self._interrupt()
            for thread in threads:
                thread.join()
            raise

    def _wait(self, threads: Sequence[threading.Thread]) -> None:
        said = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(0.2)
            if time.monotonic() - said > ALIVE_S:
                said = time.monotonic()
                self._say(", ".join(f"{name} ({said - begun:.0f} s)" for name, begun in sorted(self._begun.items())))

    def _run_next(self) -> None:
        while not self._interrupted:
            try:
                name = self._waiting.popleft()
            except IndexError:
                return
            self._run_suite(name)

    def _run_suite(self, name: str) -> None:
        log, report = KEPT / f"{name}.log", KEPT / f"{name}.xml"
        for old in (log, report, KEPT / f"{name}.json"):
            old.unlink(missing_ok=True)
        is_pytest = SUITES[name][: len(PYTEST)] == PYTEST
        command = [*SUITES[name], *([*self._selection, f"--junit-xml={report}"] if is_pytest else [])]
        begun = self._begun[name] = time.monotonic()
        self._say(f"{name} begins")
        with log.open("wb") as output:
            # A process group of its own: an interrupt of the terminal's reaches it through us, once.
            process = subprocess.Popen(
                command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
            )
            self._running[name] = process
            code = process.wait()
        del self._running[name], self._begun[name]
        outcome = counted(name, code, report)
        outcome.seconds = round(time.monotonic() - begun, 1)
        (KEPT / f"{name}.json").write_text(json.dumps(asdict(outcome)))
        self.outcomes.append(outcome)
        self._show(outcome, log)

    def _show(self, outcome: Outcome, log: Path) -> None:
        """Print a suite's whole output where something failed or nobody watches, and how it ended."""
        with self._print:
            if outcome.failed or not sys.stdout.isatty():
                sys.stdout.write(f"\n----- {outcome.suite}\n{log.read_text(errors='replace')}-----\n")
            print(f"{outcome.suite}: {outcome.counts()} in {outcome.seconds:.0f} s ({log.relative_to(CHECKOUT)})")
            sys.stdout.flush()

    def _say(self, text: str) -> None:
        with self._print:
            print(f"... {text}", flush=True)

    def _interrupt(self) -> None:
        """Interrupt what runs, as a terminal would, and kill what does not end."""
        self._interrupted = True
        self._say("interrupted; the suites remove what they have made")
        running = list(self._running.values())
        for signum, patience in ((signal.SIGINT, END_S), (signal.SIGKILL, END_S)):
            for process in running:
                if process.poll() is None:
                    os.killpg(process.pid, signum)
            deadline = time.monotonic() + patience
            while any(process.poll() is None for process in running) and time.monotonic() < deadline:
                time.sleep(0.1)


def counted(name: str, code: int, report: Path) -> Outcome:
    """Return what a suite came to.

    Args:
        name: The suite.
        code: Its exit code.
        report: pytest's report, if the suite has written one.
    """
    outcome = Outcome(name)
    if report.exists():
        cases = list(ElementTree.parse(report).iter("testcase"))
        outcome.failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
        reasons = Counter(skip.get("message", "") for case in cases for skip in case.findall("skipped"))
        outcome.skipped, outcome.reasons = sum(reasons.values()), dict(reasons)
        outcome.passed = len(cases) - outcome.failed - outcome.skipped
    elif code == 0:
        outcome.passed = 1
    if code and not outcome.failed:
        outcome.failed = 1
    return outcome


def kept() -> list[Outcome]:
    """Return what the suites came to when they were run last."""
    return [Outcome(**json.loads(file.read_text())) for file in sorted(KEPT.glob("*.json"))]


def close(outcomes: Sequence[Outcome]) -> int:
    """Print what was skipped and the line that closes the whole.

    Args:
        outcomes: What the suites came to.

    Returns:
        The exit code.
    """
    for outcome in outcomes:
        for reason, number in outcome.reasons.items():
            print(f"skipped, {number} of {outcome.suite}: {reason}")
    failed = [outcome for outcome in outcomes if outcome.failed]
    for outcome in failed:
        print(f"failed: {outcome.suite} ({(KEPT / outcome.suite).relative_to(CHECKOUT)}.log)")
    whole = Outcome("", 0, *(sum(getattr(one, kind) for one in outcomes) for kind in ("passed", "failed", "skipped")))
    print(whole.counts(), flush=True)
    return int(bool(failed) or not whole.passed)


def main(arguments: Sequence[str]) -> int:
    """Run the suites, or sum up their last runs; return the exit code.

    Args:
        arguments: As in the module's usage.
    """
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE", help=f"in the order in which they begin: {', '.join(SUITES)}"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many run side by side (1)")
    parser.add_argument("--thorough", action="store_true", help="the tests, too, that are marked so")
    parser.add_argument("--total", action="store_true", help="run nothing: sum up what the suites came to last")
    given = parser.parse_args(arguments)
    if given.total:
        return close(kept())
    if not given.suites or set(given.suites) - SUITES.keys():
        parser.error(f"name suites: {', '.join(SUITES)}")
    KEPT.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = Run(given.suites, jobs=given.jobs, thorough=given.thorough)
    try:
        run.execute()
    except KeyboardInterrupt:
        print("Interrupted. What was tested is in .cache/tests; run the same again.")
        return 130
    return close(run.outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
