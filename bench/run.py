"""Measures what the README claims, each as a ratio against a named peer or floor in the same run.

    make bench                        # everything; about half an hour, then bench/RESULTS.md is rewritten
    python bench/run.py --only 1,12   # some of it, printed and not kept

Run it on a machine that does nothing else. Hosts and containers need root and a Docker engine (docs/testing.md). Ends
with 1 when something couldn't be measured, not when a target is missed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# What releases go to here is what the tests have them go to.
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from bench import cluster, containers, machines, pods, releases, repository, stack
from bench.measure import Bench, Row

RESULTS = Path(__file__).with_name("RESULTS.md")
NOTES = f"""\
- Times are wall-clock seconds of a whole process, from before it starts. Where there are rounds, the two sides took
  turns (A B A B) after one round each that isn't counted; the medians are compared, and the brackets hold the fastest
  and the slowest round. Both sides are compiled to bytecode.
{stack.NOTES}
{machines.NOTES}
{containers.NOTES}
{cluster.NOTES}
{pods.NOTES}
{releases.NOTES}
{repository.NOTES}"""

# In the order in which they run: hosts and builds have the machine for themselves, and the first start makes the stack
# that others use.
MEASUREMENTS: dict[int, Callable[[Bench], Row]] = {
    7: machines.measure_role,
    9: machines.measure_fleet,
    12: containers.measure_image,
    4: stack.measure_first_start,
    1: stack.measure_help,
    3: stack.measure_nothing_to_do,
    8: machines.measure_workstation,
    2: stack.measure_start,
    5: stack.measure_memory,
    6: stack.measure_parse,
    10: containers.measure_start,
    11: containers.measure_nothing_to_do,
    13: containers.measure_sizes,
    14: stack.measure_clone,
    15: stack.measure_status,
    16: stack.measure_scheduler,
    17: cluster.measure_start,
    18: cluster.measure_nothing_to_do,
    19: cluster.measure_changed_code,
    23: cluster.measure_unchanged_image,
    20: pods.measure_task,
    22: pods.measure_runner,
    21: pods.measure_many,
    24: releases.measure_release,
    25: repository.measure_pick_up,
}


def table(rows: list[Row]) -> str:
    """Return the results as Markdown."""
    lines = ["| | What | Ours | Against | Ratio | Target | Met |", "|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda one: one.number):
        cells = (str(row.number), row.what, row.ours, row.against, row.ratio, row.target, row.met)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(rows: list[Row], minutes: float) -> str:
    """Return the whole of RESULTS.md."""
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
        with bench.cleanup:
            row = MEASUREMENTS[number](bench)
    except Exception as error:
        print(f"{number}: not measured: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return None
    print(table([row]).splitlines()[-1], flush=True)
    return row


def measure_all(numbers: set[int], peer_role: Path | None) -> list[Row]:
    """Return the wanted measurements that could be taken; whatever happens, nothing is left running."""
    with tempfile.TemporaryDirectory(prefix="gaiaflow-bench-") as directory:
        bench = Bench(Path(directory), peer_role)
        try:
            rows = [measured(number, bench) for number in MEASUREMENTS if number in numbers]
        finally:
            if bench.home.exists():
                bench.setup("uninstall", "--yes")
    return [row for row in rows if row]


def wanted_numbers(text: str) -> set[int]:
    """Return the numbers of a list such as `1,12`."""
    numbers = {int(one) for one in text.split(",")}
    if unknown := numbers - set(MEASUREMENTS):
        raise argparse.ArgumentTypeError(f"no measurement {sorted(unknown)}; there are {sorted(MEASUREMENTS)}")
    return numbers


def main() -> int:
    """Measures, prints, and keeps the results of a whole run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=wanted_numbers, metavar="N[,N]", help="these of the measurements 1 to 24")
    parser.add_argument("--peer-role", type=Path, metavar="DIR", help="a copy of the role that 7 is compared with")
    given = parser.parse_args()
    only: set[int] | None = given.only
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    wanted = only or set(MEASUREMENTS)
    rows = measure_all(wanted, given.peer_role)
    if len(rows) < len(wanted):
        return 1
    if not only:
        RESULTS.write_text(report(rows, (time.monotonic() - begun) / 60))
    return 0


if __name__ == "__main__":
    sys.exit(main())
