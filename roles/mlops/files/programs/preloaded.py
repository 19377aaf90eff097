"""Runs a program of this Python's environment: `preloaded.py MODULE[,MODULE] PROGRAM [ARGUMENT ...]`.

Imports the modules first with the garbage collector off, and then freezes what they have made: a fifth of an Airflow
component's start went into looking for garbage among modules, and processes that it forks share more memory.
Source: https://docs.python.org/3/library/gc.html#gc.freeze
"""

from __future__ import annotations

import gc
import importlib
import runpy
import sys
from pathlib import Path


def main(modules: str, program: str, *arguments: str) -> None:
    """Become the program.

    Args:
        modules: What to import, comma-separated.
        program: A program beside this Python.
        arguments: Its arguments.
    """
    path = str(Path(sys.executable).with_name(program))
    sys.argv = [path, *arguments]
    gc.disable()
    for module in modules.split(","):
        importlib.import_module(module)
    gc.freeze()
    gc.enable()
    runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
