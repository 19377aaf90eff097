"""What dpkg was interrupted in: apt-get refuses to do anything before that is finished."""

from __future__ import annotations

import re
from pathlib import Path

DATABASE = "var/lib/dpkg"
ENTRY = re.compile(r"^Package: (\S+)\nStatus: install \S+ (\S+)$", re.MULTILINE)


def journal(root: Path) -> list[Path]:
    """Return what dpkg had yet to write down when it was ended; empty where it has finished, or isn't there.

    Args:
        root: Where the host's files are.
    """
    return sorted((root / DATABASE / "updates").glob("[0-9]*"))


def unfinished(root: Path) -> set[str]:
    """Return the packages that were unpacked and not configured, or not even unpacked to the end.

    Args:
        root: Where the host's files are.
    """
    status: dict[str, str] = {}
    for path in (root / DATABASE / "status", *journal(root)):
        if path.is_file():
            status.update(ENTRY.findall(path.read_text(errors="replace")))
    done = ("installed", "config-files", "not-installed", "triggers-awaited", "triggers-pending")
    return {name for name, state in status.items() if state not in done}
