"""The runner that pods start: `python -m {{ cookiecutter.package_name }}.runner`."""

import base64
import hashlib
import json
import math
import os
import random
import signal
import string
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from {{ cookiecutter.package_name }} import runner

PROJECT = Path(__file__).parents[1]


MARKER = "marker"


def start_pod(tmp_path: Path, func_path: str, arguments: dict[str, object]) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "PYTHONPATH": f"{PROJECT / 'src'}{os.pathsep}{tmp_path}",
        "PYTHONUNBUFFERED": "1",
        runner.FUNC_PATH: func_path,
        runner.FUNC_KWARGS: runner.encode_arguments(func_path, arguments),
        runner.OUTCOME_FILE: str(tmp_path / "outcome"),
        runner.RESULT_MARKER: MARKER,
    }
    command = [sys.executable, "-m", "{{ cookiecutter.package_name }}.runner"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_pod(tmp_path: Path, func_path: str, arguments: dict[str, object]) -> "tuple[int, str, str]":
    process = start_pod(tmp_path, func_path, arguments)
    output, errors = process.communicate()
    return process.returncode, output, errors


def read_outcome(tmp_path: Path) -> dict[str, object]:
    text = (tmp_path / "outcome").read_bytes()
    assert len(text) <= runner.MAX_OUTCOME_BYTES
    outcome = json.loads(text)
    return json.loads(zlib.decompress(base64.b64decode(outcome["zlib"]))) if "zlib" in outcome else outcome


def test_result_reaches_the_file(tmp_path: Path) -> None:
    environment = {"text": 'he said "hi" $HOME $(HOME) {% raw %}{{ ds }}{% endraw %}\n', "none": None}
    code, _, errors = run_pod(tmp_path, "{{ cookiecutter.package_name }}.starter:report", {"environment": environment})
    assert code == 0, errors
    line = runner.unpack(read_outcome(tmp_path)["result"])
    assert line == ", ".join(f"{name}: {value}" for name, value in environment.items())


def test_long_result_is_printed_last(tmp_path: Path) -> None:
    # Nothing that compresses.
    text = "".join(random.Random(0).choices(string.ascii_letters, k=100_000))
    code, output, errors = run_pod(tmp_path, "copy:copy", {"x": text})
    assert code == 0, errors
    outcome, lines = read_outcome(tmp_path), output.splitlines()
    assert len(lines) == outcome["lines"] + 1 and lines[0] == ""
    assert all(line.startswith(f"{MARKER} {number} ") for number, line in enumerate(lines[1:]))
    data = zlib.decompress(base64.b64decode("".join(line.split()[2] for line in lines[1:])))
    assert hashlib.sha256(data).hexdigest() == outcome["sha256"] and json.loads(data) == text


def test_result_that_is_too_long(tmp_path: Path) -> None:
    # With its two quotes.
    runner.pack("x" * (runner.MAX_RESULT_BYTES - 2), "value")
    with pytest.raises(ValueError, match="value takes 1048577 bytes as JSON; allowed are 1048576"):
        runner.pack("x" * (runner.MAX_RESULT_BYTES - 1), "value")


def test_error_reaches_the_file(tmp_path: Path) -> None:
    code, _, errors = run_pod(tmp_path, "{{ cookiecutter.package_name }}.starter:report", {"environment": 1})
    assert code == 1 and "AttributeError" in errors
    error = read_outcome(tmp_path)["error"]
    assert "starter.py" in error and error.endswith("AttributeError: 'int' object has no attribute 'items'")
    assert "runner.py" not in error


def test_long_error_loses_its_middle(tmp_path: Path) -> None:
    message = "".join(random.Random(0).choices("abcé🍷", k=100_000))
    outcome = runner.encode_error(ValueError(f"{message} end"))
    assert 1500 < len(outcome) <= runner.MAX_OUTCOME_BYTES
    (tmp_path / "outcome").write_bytes(outcome)
    error = read_outcome(tmp_path)["error"]
    assert error.startswith("ValueError: ") and error.endswith(" end") and "characters left out" in error


def test_function_that_ends_python_has_failed(tmp_path: Path) -> None:
    code, _, errors = run_pod(tmp_path, "sys:exit", {})
    assert code == 1 and "sys:exit ended Python with exit code 0" in errors
    assert "SystemExit" in str(read_outcome(tmp_path)["error"])


def test_thread_that_the_function_leaves_behind_is_not_awaited(tmp_path: Path) -> None:
    lines = [
        "import atexit, threading, time",
        "def begin():",
        "    atexit.register(print, 'the end')",
        "    threading.Thread(target=time.sleep, args=(600,)).start()",
        "    return 1",
    ]
    (tmp_path / "left_behind.py").write_text("\n".join(lines))
    process = start_pod(tmp_path, "left_behind:begin", {})
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and output == "the end\n"
    assert read_outcome(tmp_path)["result"] == 1


def test_runner_ends_when_it_is_told_to(tmp_path: Path) -> None:
    process = start_pod(tmp_path, "subprocess:check_call", {"args": ["sleep", "60"]})
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143


def test_wrong_argument_names_function_and_argument(tmp_path: Path) -> None:
    code, _, errors = run_pod(tmp_path, "{{ cookiecutter.package_name }}.starter:report", {"wrong": 1})
    assert code != 0
    assert "starter:report" in errors and "wrong" in errors


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
