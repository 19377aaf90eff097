"""The log file of a run: Ansible's whole output, kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TextIO

from gaiaflow_py.errors import InstallationError
from gaiaflow_py.paths import home, private_directory
from gaiaflow_py.request import Request

KEPT = 50
"""How many log files are kept."""


@contextmanager
def opened(request: Request) -> Iterator[TextIO]:
    """Open a new log file for a run, that only its owner can read.

    Args:
        request: The run. Of its values only the playbook and the command are written: others may be secret.

    Raises:
        InstallationError: The directory of logs can't be written.
    """
    began = datetime.now(UTC)
    try:
        path = _reserve(request, began)
    except OSError as error:
        raise InstallationError(f"Can't write a log file: {error}", "GAIAFLOW_HOME says where they go.") from error
    with path.open("a", encoding="utf-8", buffering=1) as log:  # whole lines are there at once
        when = f"{began:%Y-%m-%d %H:%M:%S} UTC"
        log.write(f"# gaiaflow-setup {request.command} (playbooks/{request.playbook}.yml), {when}\n")
        yield log


def _reserve(request: Request, began: datetime) -> Path:
    name = f"{began:%Y%m%dT%H%M%SZ}-{request.command.split()[0]}"
    if request.leaves_nothing:
        descriptor, temporary = tempfile.mkstemp(prefix=f"gaiaflow-{name}-", suffix=".log")
        os.close(descriptor)
        return Path(temporary)
    logs = private_directory(home() / "logs")
    _prune(logs)
    for number in count(1):
        path = logs / (f"{name}.log" if number == 1 else f"{name}-{number}.log")
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("count() doesn't end")


def _prune(logs: Path) -> None:
    for old in sorted(logs.glob("*Z-*.log"), reverse=True)[KEPT - 1 :]:
        old.unlink(missing_ok=True)
