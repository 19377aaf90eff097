"""What a machine is and has, for all who check it: WSL or not, memory, and where a path's disk is."""

from __future__ import annotations

import os
import re
from pathlib import Path

# The processors that the stack runs on, as the kernel and as Docker and Go name them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


def existing(path: Path) -> Path:
    """Return the path, or the nearest directory above it that exists.

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


def kernel(root: Path = Path("/")) -> str:
    """Return the kernel's release, or nothing where it can't be read.

    Args:
        root: Where the machine's files are.
    """
    return _text(root / "proc/sys/kernel/osrelease")


def is_wsl(root: Path = Path("/")) -> bool:
    """Whether this is a WSL distribution, and not a container in one, which has the same kernel.

    Args:
        root: Where the machine's files are.
    """
    if any((root / mark).exists() for mark in (".dockerenv", "run/.containerenv")):
        return False
    signs = "microsoft" in kernel(root).lower() or (root / "run/WSL").exists()
    return signs or bool(root == Path("/") and os.environ.get("WSL_DISTRO_NAME"))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
