"""Runs a module of this package in a Python that nothing in the user's environment, home or working directory changes.

Usage: python -I isolated.py MODULE [ARGUMENT...]

In such a Python (-I) neither PYTHONPATH nor the user's own packages are there: where this package itself was installed
among those, it is put back, and what it was installed with.
"""

import runpy
import sys
from pathlib import Path


def find_package() -> None:
    """Put this package's directory on the module path, if it isn't there: after Python's own, before all others."""
    directory = str(Path(__file__).resolve().parents[1])
    if directory not in sys.path:
        others = [number for number, path in enumerate(sys.path) if path.endswith("-packages")]
        sys.path.insert(min(others, default=len(sys.path)), directory)


if __name__ == "__main__":
    find_package()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
