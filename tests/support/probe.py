"""A module of functions that tests run as tasks, and values that try hard."""

import math
from typing import Any

PROBE = '''\
# ruff: noqa
# fmt: off
"""Functions that the tests run as tasks."""

import os
import random
import string
import sys
import time


def give(value):
    return value


def give_params(params):
    return params


def store(mebibytes):
    """Log an artifact of so many mebibytes to MLflow, and return its run."""
    import tempfile

    import mlflow

    mlflow.set_experiment("large")
    with mlflow.start_run() as run, tempfile.NamedTemporaryFile(suffix=".bin") as file:
        block = bytes(range(256)) * 4096
        for _ in range(mebibytes):
            file.write(block)
        file.flush()
        mlflow.log_artifact(file.name)
    return run.info.run_id


def environment(names):
    return [os.environ.get(name) for name in names]


def letters(size, alphabet=string.ascii_letters):
    print("no end of line", end="")
    return "".join(random.Random(size).choices(alphabet, k=size))


def fail(message):
    raise ValueError(message)


def fail_later(message, seconds):
    time.sleep(seconds)
    raise ValueError(message)


def leave(code):
    sys.exit(code)


def leave_at_once(code):
    os._exit(code)


def use_memory(mebibytes):
    return len([os.urandom(1024 * 1024) for _ in range(mebibytes)])


def sleep(seconds):
    print("asleep", flush=True)
    time.sleep(seconds)
    return os.uname().nodename


def write(lines):
    for number in range(lines):
        print(f"line {number:06d}", "x" * 100)
'''
# What no log may show.
PASSWORD = "a-password-of-the-tests"
TEXT = 'he said "hi" it\'s {braces} %s $HOME $(HOME) $$ \\ Ünïcode 🍷\nnext {{ jinja }} {% raw %} line \0'
HARD: dict[str, Any] = {
    "text": TEXT,
    "nested": [{}, [], "", None, True, 1, 1.0],
    "numbers": [2**70, -0.0, 1e300, math.nan, math.inf],
}
