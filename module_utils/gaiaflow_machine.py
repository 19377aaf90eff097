"""What a machine has, for all who check it: memory, and where a path's disk is."""

from __future__ import annotations

import re
from pathlib import Path

LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


def existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists.

    Args:
        path: An absolute path.
    """
    return path if path.exists() else existing(path.parent)


def memory_mb(root: Path = Path("/")) -> int | None:
    """Megabytes of memory, the machine's or the container's limit; None where the kernel doesn't say.

    Args:
        root: Where the machine's files are.
    """
    found = re.search(r"MemTotal:\s+(\d+)", _text(root / "proc/meminfo"))
    if not found:
        return None
    limits = (text for name in LIMITS if (text := _text(root / name)).isdigit())
    return min([int(found[1]) // 1024, *(int(limit) // 2**20 for limit in limits)])


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
