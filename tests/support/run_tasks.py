"""Runs tasks one after the other, as Airflow would: the operator and where it runs are real, Airflow's own part isn't.

Run by Airflow's Python: a line of JSON on standard input is one call of task_factory; the answer, on standard output,
is a line that begins with ANSWER. What the task logs comes before it.
"""

import importlib
import json
import logging
import sys
import time
from types import SimpleNamespace
from typing import Any

from airflow.sdk.bases.operator import ExecutorSafeguard

ANSWER = "ANSWER "


def run(package: str, call: dict[str, Any]) -> dict[str, Any]:
    """Run one task, and return what came out of it, and in how many seconds."""
    began = time.monotonic()
    try_number = call.pop("try_number", 1)
    try:
        operator = importlib.import_module(f"{package}_dags.task_factory").task_factory(**call)
        ti = SimpleNamespace(
            dag_id="tests", run_id="run", task_id=operator.task_id, map_index=-1, try_number=try_number, start_date=None
        )
        context = {"ti": ti, "run_id": "run", "dag": None, "task": operator, "params": {"rows": 2}}
        ExecutorSafeguard.tracker.set(operator)
        # In `dev` it is Airflow's own operator, which needs all of Airflow around it.
        function = getattr(operator, "python_callable", None)
        outcome = {"value": function(**context) if function else operator.execute(context)}
    except Exception as error:
        outcome = {"error": type(error).__name__, "text": str(error)}
    return {**outcome, "seconds": time.monotonic() - began}


logging.basicConfig(stream=sys.stdout, level=logging.INFO)
for line in sys.stdin:
    # The last line of a task that ran in here may have no end.
    print("\n" + ANSWER + json.dumps(run(sys.argv[1], json.loads(line))), flush=True)
