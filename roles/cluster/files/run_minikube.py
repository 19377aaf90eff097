"""Runs Minikube, tells how far it is, and when it fails, why: `run_minikube.py RUN MINIKUBE COMMAND [ARGUMENTS...]`.

RUN is the process of the run of Ansible that this is for, whose background it works in: without that, Minikube ends.
Minikube writes one event a line with `--output=json`: https://minikube.sigs.k8s.io/docs/contrib/json_output/
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KIND = "io.k8s.sigs.minikube."
PHASE = "Waiting for Kubernetes"
"""The phase of the wrapper's display that shows the steps; others go on meanwhile."""

LOOK_S, PATIENCE_S = 0.2, 10.0


def report_progress(data: Mapping[str, str]) -> None:
    """Tell the wrapper's display, where there is one, which step runs."""
    file = os.environ.get("GAIAFLOW_PROGRESS_FILE")
    if not file:
        return
    step = {
        "at": time.monotonic(),
        "done": int(data.get("currentstep") or 0),
        "total": int(data.get("totalsteps") or 0),
        "item": data.get("name", ""),
        "items": {},
        "phase": PHASE,
    }
    with contextlib.suppress(OSError), Path(file).open("a") as stream:
        stream.write(json.dumps(step) + "\n")


def read_event(line: str) -> tuple[str, dict[str, Any]]:
    """Return an event's kind (step, error, ...) and data; of a line that isn't one, nothing."""
    try:
        event = json.loads(line)
        return str(event["type"]).removeprefix(KIND), dict(event["data"])
    except (ValueError, KeyError, TypeError):
        return "", {}


def explain(errors: list[dict[str, Any]], said: list[str]) -> str:
    """Return why Minikube failed: its own errors and advice or, where it names none, the end of what it said."""
    lines = [
        " ".join(str(error.get(part) or "").strip() for part in ("name", "message", "advice")).strip()
        for error in errors
    ]
    return "\n".join(lines or said[-15:])


def birth(process: int) -> str:
    """Return when a process began, in the kernel's words; nothing where it has ended, whether or not that was seen."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]


def end_with(run: int, process: subprocess.Popen[str]) -> None:
    """End a process when a run has ended."""
    begun = birth(run)
    while begun and birth(run) == begun:
        time.sleep(LOOK_S)
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def main(run: int, command: list[str]) -> int:
    """Run Minikube to its end, and return its exit code."""
    if kubeconfig := os.environ.get("KUBECONFIG"):
        Path(kubeconfig).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda number, _frame: process.send_signal(number))
    threading.Thread(target=end_with, args=(run, process), daemon=True).start()
    errors: list[dict[str, Any]] = []
    said: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        kind, data = read_event(line)
        if kind == "step":
            report_progress(data)
        elif kind == "error":
            errors.append(data)
        elif not kind:
            said.append(line.rstrip())
    code = process.wait()
    # Some errors are warnings, and the start goes on: the exit code tells.
    if code:
        print(explain(errors, said), file=sys.stderr)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
