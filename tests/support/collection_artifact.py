"""The collection as somebody else gets it: built from the checkout, and installed in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def build(target: Path) -> Path:
    """Build the artifact from what git has of the checkout, and return it.

    Args:
        target: An empty directory.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True)
    copy = ["tar", "-c", "--null", "--files-from=-"]
    packed = subprocess.run(copy, cwd=CHECKOUT, check=True, capture_output=True, input=listed.stdout)
    with tempfile.TemporaryDirectory() as source:
        subprocess.run(["tar", "-x"], cwd=source, check=True, input=packed.stdout)
        run("ansible-galaxy", "collection", "build", "--output-path", str(target), cwd=Path(source))
    (file,) = target.iterdir()
    return file


def install(artifact: Path, folder: Path) -> None:
    """Install it in a folder, where playbooks beside it find it.

    Args:
        artifact: What was built.
        folder: The folder.
    """
    run("ansible-galaxy", "collection", "install", "--no-deps", str(artifact), "-p", "collections", cwd=folder)


def run(program: str, *arguments: str, cwd: Path, **variables: str) -> str:
    """Run one of Ansible's programs as somebody who has nothing of this checkout, and return its output.

    Args:
        program: The program.
        arguments: Its arguments.
        cwd: Where it runs; the home directory, too.
        variables: Further environment variables.
    """
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(cwd), "LANG": "C.UTF-8", **variables}
    command = [sys.executable, str(BIN / program), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
