"""The one place where an error that nobody expected becomes a message, and its traceback goes into a file."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gaiaflow_py import report as reports
from gaiaflow_py.errors import GaiaflowError

OF_THE_MACHINE = {
    errno.ENOSPC: ("The disk is full", "Free some space, or have GAIAFLOW_HOME and TMPDIR name places that have some."),
    errno.EDQUOT: ("The disk quota is used up", "Free some space, or have GAIAFLOW_HOME and TMPDIR name other places."),
    errno.EROFS: ("This can't be written", "GAIAFLOW_HOME and TMPDIR say where files go."),
    errno.EACCES: ("This isn't allowed", "Whose it is, says `ls -l`; GAIAFLOW_HOME and TMPDIR say where files go."),
    errno.EPERM: ("This isn't allowed", "Whose it is, says `ls -l`; GAIAFLOW_HOME and TMPDIR say where files go."),
    errno.EMFILE: ("Too many files are open", "Allow more: `ulimit -n 1024`."),
    errno.ENFILE: ("Too many files are open on this machine", "End other programs."),
    errno.ENOMEM: ("There isn't enough memory", "End other programs."),
    errno.EIO: ("The disk can't be read or written", "The system's log says more: `dmesg`."),
}
"""What the user can do something about, by the number of the operating system's error."""


def report(error: Exception, argv: Sequence[str]) -> int:
    """Print an error that ended a command.

    Args:
        error: The error.
        argv: The command's arguments.

    Returns:
        The exit code.
    """
    is_verbose = "--verbose" in argv or ("-v" in argv and "mlops" not in argv)  # `mlops -v` is something else
    shows_all = os.environ.get("GAIAFLOW_DEBUG") or is_verbose
    problem = error if isinstance(error, GaiaflowError) else _explain(error)
    if shows_all and problem is not error:
        traceback.print_exception(error)
    try:
        reports.error(problem, as_json="--json" in argv)
        sys.stdout.flush()
    except OSError:  # standard output is what can't be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        reports.error(problem, as_json=False)
    return problem.exit_code


def _explain(error: Exception) -> GaiaflowError:
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        return GaiaflowError("The working directory doesn't exist any more.", "Change to one that does: `cd`.")
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        message, hint = OF_THE_MACHINE[error.errno]
        return GaiaflowError(f"{message}: {_where(error)}", hint)
    kept = _keep(error)
    where = f"What happened exactly is in {kept}" if kept else "GAIAFLOW_DEBUG=1 shows what happened exactly"
    return GaiaflowError(
        f"Something unexpected happened: {type(error).__name__}: {error}",
        f"This is a bug of gaiaflow-setup, please report it. {where}.",
    )


def _where(error: OSError) -> str:
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return " ".join([*names, f"({error.strerror})"])


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def _keep(error: Exception) -> Path | None:
    """Write the traceback to the logs, or else to where temporary files go."""
    from gaiaflow_py.paths import home, private_directory

    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-error.log"
    try:
        places = [home() / "logs"]
    except (GaiaflowError, RuntimeError):
        places = []
    for place in [*places, Path(tempfile.gettempdir())]:
        try:
            path = private_directory(place) / name
            path.touch(mode=0o600)
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return path
    return None
