"""How a user who reads a text at a terminal can call the commands in it."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import sys
from pathlib import Path

from gaiaflow_py.lazy import COMMANDS

PROGRAM = "gaiaflow-setup"
CALL = re.compile(rf"(?<![\w./-]){PROGRAM}(?= (?:{'|'.join(COMMANDS)})\b)")
NOT_QUOTED = r"[^\w@%+=:,./-]"


def as_called(text: str) -> str:
    """Return a text whose commands can be copied and run.

    In a checkout the program is on no PATH. Texts that no terminal shows name it as the documentation does.

    Args:
        text: A text that names commands, as `gaiaflow-setup status`.
    """
    return CALL.sub(lambda _: _name(), text) if sys.stderr.isatty() else text


def program() -> str:
    """Return what the program is called where a terminal shows it: in its help, and in errors about options."""
    return _name() if sys.stderr.isatty() else PROGRAM


@functools.cache
def _name() -> str:
    """Return what to type here for the program."""
    launcher = Path(__file__).resolve().parents[1] / PROGRAM
    if shutil.which(PROGRAM) or not launcher.is_file():
        return PROGRAM
    # The working directory may be gone.
    with contextlib.suppress(FileNotFoundError):
        if Path.cwd() == launcher.parent:
            return f"./{PROGRAM}"
    return re.sub(NOT_QUOTED, lambda found: f"\\{found[0]}", str(launcher))
