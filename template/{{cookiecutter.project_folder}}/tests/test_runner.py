"""The runner that pods start: `python -m {{ cookiecutter.package_name }}.runner`."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from {{ cookiecutter.package_name }} import runner

PROJECT = Path(__file__).parents[1]


def run_pod(tmp_path: Path, func_path: str, arguments: dict[str, object]) -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT / "src"),
        runner.FUNC_PATH: func_path,
        runner.FUNC_KWARGS: runner.encode_arguments(func_path, arguments),
        runner.RESULT_FILE: str(tmp_path / "return.json"),
    }
    command = [sys.executable, "-m", "{{ cookiecutter.package_name }}.runner"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_result_reaches_the_file(tmp_path: Path) -> None:
    environment = {"text": 'he said "hi" $HOME $(HOME) {% raw %}{{ ds }}{% endraw %}\n', "none": None}
    done = run_pod(tmp_path, "{{ cookiecutter.package_name }}.starter:report", {"environment": environment})
    assert done.returncode == 0, done.stderr
    line = runner.unpack(json.loads((tmp_path / "return.json").read_text()))
    assert line == ", ".join(f"{name}: {value}" for name, value in environment.items())


def test_wrong_argument_names_function_and_argument(tmp_path: Path) -> None:
    done = run_pod(tmp_path, "{{ cookiecutter.package_name }}.starter:report", {"wrong": 1})
    assert done.returncode != 0
    assert "starter:report" in done.stderr and "wrong" in done.stderr


@pytest.mark.parametrize("value", [None, {"a": [1, 1.0, True, {}]}, 1e300, -0.0, math.inf, "\0", 2**70, {"__type": 1}])
def test_pack_keeps_values(value: object) -> None:
    back = runner.unpack(json.loads(json.dumps(runner.pack(value, "value"))))
    assert repr(back) == repr(value)


@pytest.mark.parametrize("value", [(1,), {1: "a"}, {1}, b"a", [object()]])
def test_pack_refuses_what_would_change(value: object) -> None:
    with pytest.raises(TypeError, match="value"):
        runner.pack(value, "value")


def test_airflow_has_the_same_runner() -> None:
    copy = PROJECT / "dags" / "{{ cookiecutter.package_name }}_dags" / "runner.py"
    assert copy.read_text() == Path(runner.__file__).read_text()
