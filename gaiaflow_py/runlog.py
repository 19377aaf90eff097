"""The log file of a run: Ansible's whole output, kept."""

from __future__ import annotations

import os
import re
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

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class RunLog:
    """An open log file that only its owner can read.

    Args:
        path: The file.
        file: The same, opened for writing.
    """

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        self._file = file

    def write(self, text: str) -> None:
        """Write some lines, without colours.

        Args:
            text: The lines; the last one's end is added.
        """
        self._file.write(COLOUR.sub("", text) + "\n")
        self._file.flush()


@contextmanager
def opened(request: Request) -> Iterator[RunLog]:
    """Open a new log file for a run.

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
    with path.open("a", encoding="utf-8") as file:
        log = RunLog(path, file)
        log.write(
            f"# gaiaflow-setup {request.command} (playbooks/{request.playbook}.yml), {began:%Y-%m-%d %H:%M:%S} UTC"
        )
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
