"""Parses projects' DAGs as Airflow does, and prints what each has. Run by Airflow's Python: DAGS PROJECT...

Each project is parsed in a process of its own, so that one can't change, or end, the parsing of another. Nothing of the
DAGs' own output is printed.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

# Airflow writes its settings and logs where it is told before it is imported. DAGs find no home of the user's either.
HOME = tempfile.mkdtemp(prefix="gaiaflow-cdr-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(HOME=HOME, AIRFLOW_HOME=HOME)
os.chdir(HOME)

# Before the processes part: imported once, for all of them.
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before Airflow 3.1
    from airflow.models.dagbag import DagBag
for slow in (
    "airflow.sdk",
    "airflow.providers.standard.operators.python",
    "airflow.providers.cncf.kubernetes.operators.pod",
):
    with contextlib.suppress(ImportError):
        importlib.import_module(slow)

LAST_LINES = 12


def parse(folder: Path) -> dict[str, Any]:
    """Return the ids of a project's DAGs with their files, and the files that can't be imported, with the reason.

    Args:
        folder: The project's folder.
    """
    bag = DagBag(dag_folder=str(folder))
    dags = {dag_id: str(Path(dag.fileloc).relative_to(folder)) for dag_id, dag in bag.dags.items()}
    errors = {str(Path(path).relative_to(folder)): shortened(text) for path, text in bag.import_errors.items()}
    return {"dags": dags, "errors": errors}


def shortened(text: str) -> str:
    """Return the end of a traceback.

    Args:
        text: The traceback.
    """
    return "\n".join(text.strip().splitlines()[-LAST_LINES:])


def parse_apart(folder: Path, told: Path) -> dict[str, Any]:
    """Return what `parse` does, from a process of its own.

    Args:
        folder: The project's folder.
        told: A file that nothing else uses.
    """
    child = os.fork()
    if not child:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        try:
            told.write_text(json.dumps(parse(folder)))
        except BaseException:
            told.write_text(json.dumps({"dags": {}, "errors": {"": shortened(traceback.format_exc())}}))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    try:
        return dict(json.loads(told.read_text()))
    except (OSError, ValueError):
        return {"dags": {}, "errors": {"": f"the parsing ended with status {os.waitstatus_to_exitcode(status)}"}}


def main(dags: str, *projects: str) -> None:
    """Print what the projects have, as JSON.

    Args:
        dags: The directory that Airflow syncs.
        projects: The names of their folders in it.
    """
    with tempfile.TemporaryDirectory() as directory:
        told = {
            project: parse_apart(Path(dags, project), Path(directory, str(number)))
            for number, project in enumerate(projects)
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
