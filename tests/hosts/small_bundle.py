"""Makes a small bundle of programs alone: `small_bundle.py FILE PYTHON PROGRAM...`.

What makes real ones, `gaiaflow-setup bundle create`, needs a network and a minute.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path


def make_bundle(path: Path, python: str, programs: dict[str, bytes]) -> None:
    """Make a bundle of these programs, for this machine's processor and a version of Python."""
    files = {f"programs/{name}": content for name, content in programs.items()}
    described = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)} for name, content in files.items()
    }
    about = {"format": 1, "platform": {"x86_64": "linux/amd64"}.get(os.uname().machine, "linux/arm64")}
    manifest = json.dumps({**about, "python": python, "files": described}).encode()
    with tarfile.open(path, "w") as tar:
        for name, content in {"manifest.json": manifest, **files}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    given = [Path(path) for path in sys.argv[3:]]
    make_bundle(Path(sys.argv[1]), sys.argv[2], {path.name: path.read_bytes() for path in given})
