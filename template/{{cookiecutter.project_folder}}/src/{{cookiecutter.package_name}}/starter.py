"""What the starter DAG runs: the smallest hand-over between two tasks."""

from __future__ import annotations

import logging
import os
import platform

from . import __version__

log = logging.getLogger(__name__)


def describe_environment(greeting: str) -> dict[str, str | None]:
    """Say where this task runs.

    Args:
        greeting: any text; it comes from the DAG.

    Returns:
        The greeting, the versions of this package and of Python, and where MLflow is (None if that isn't set).
    """
    return {
        "greeting": greeting,
        "package": __version__,
        "python": platform.python_version(),
        "mlflow": os.environ.get("MLFLOW_TRACKING_URI"),
    }


def report(environment: dict[str, str | None]) -> str:
    """Put what the task before found into one line, and into the task's log.

    Args:
        environment: what `describe_environment` returned.

    Returns:
        The line.
    """
    line = ", ".join(f"{name}: {value}" for name, value in environment.items())
    log.info("%s", line)
    return line
