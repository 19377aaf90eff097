"""Calls one function of the project by its path, the same way in every environment.

In `dev` the Airflow task does it in its own process; in the other environments a pod or a container does it with
`python -m PACKAGE.runner`, told by the environment variables below. The image does so on its own, too, with `--print`:
then the result is printed. This file is part of the package (for pods) and of the DAG folder (for Airflow, where the
package may be missing), so it needs nothing but Python's standard library.

What a function may take and give: None, bool, int, float (also nan and inf), str, and lists and dicts (with str keys)
of these. They arrive as they were sent, but for the order of a dict's keys, which the database may change. Anything
else, such as a tuple or a date, is refused in every environment, as it would turn into something else on its way.

How a pod's outcome reaches Airflow: a short JSON text goes into the file that GAIAFLOW_OUTCOME_FILE names, in a pod its
termination message. It holds the result, or the error with its traceback. A result that doesn't fit is printed last, in
numbered lines that begin with the marker in GAIAFLOW_RESULT_MARKER; the file then says how many lines there are, and
the checksum of what they hold.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

FUNC_PATH = "GAIAFLOW_FUNC_PATH"
FUNC_KWARGS = "GAIAFLOW_FUNC_KWARGS"
OUTCOME_FILE = "GAIAFLOW_OUTCOME_FILE"
RESULT_MARKER = "GAIAFLOW_RESULT_MARKER"

# Linux takes no environment variable of more than 128 KiB.
MAX_ARGUMENTS_BYTES = 120 * 1024
# Of JSON. Airflow keeps results in its database, and sends them around.
MAX_RESULT_BYTES = 1024 * 1024
# Kubernetes cuts a termination message at 4096 bytes, and at its container's share of 12 KiB: a service mesh and a
# vault may have put five others into the pod.
MAX_OUTCOME_BYTES = 2048
# With its marker, such a line is short enough for one write that no other process can split.
LINE_BYTES = 3000

PACKED = "gaiaflow_json"


def check(value: Any, where: str) -> None:
    """Refuse a value that JSON cannot carry unchanged.

    Args:
        value: what a function is given or returns.
        where: what to call the value in the message.

    Raises:
        TypeError: names the place inside the value, its type and what is allowed.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}, a {type(key).__name__}; a dict's keys must be str")
            check(item, f"{where}[{key!r}]")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check(item, f"{where}[{index}]")
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise TypeError(
            f"{where} is {reprlib.repr(value)}, a {type(value).__name__}; allowed are None, bool, int, float, str, "
            "and lists and dicts (with str keys) of these"
        )


def encode_arguments(func_path: str, arguments: Mapping[str, Any]) -> str:
    """Write a function's arguments as JSON text that is safe in an environment variable.

    Args:
        func_path: the function, for messages.
        arguments: its keyword arguments.

    Raises:
        TypeError: an argument is of a type that cannot be carried.
        ValueError: the arguments take more than MAX_ARGUMENTS_BYTES.
    """
    for name, value in arguments.items():
        check(value, f"argument {name!r} of {func_path}")
    # Kubernetes reads $(NAME) in an environment variable as a reference; JSON can do without the dollar sign.
    text = json.dumps(dict(arguments)).replace("$", "\\u0024")
    if len(text) > MAX_ARGUMENTS_BYTES:
        raise ValueError(
            f"the arguments of {func_path} take {len(text)} bytes as JSON; allowed are {MAX_ARGUMENTS_BYTES}. "
            "Hand over where the data is, not the data"
        )
    return text


def pack(value: Any, where: str) -> Any:
    """Make a result ready for XCom: as it is where Airflow's database keeps it so, else as JSON text in a dict.

    Args:
        value: what a function returned.
        where: what to call the value in a message.

    Raises:
        TypeError: the value is of a type that cannot be carried.
        ValueError: it takes more than MAX_RESULT_BYTES.
    """
    check(value, where)
    text = json.dumps(value)
    if len(text) > MAX_RESULT_BYTES:
        raise ValueError(
            f"{where} takes {len(text)} bytes as JSON; allowed are {MAX_RESULT_BYTES}. "
            "Hand over where the data is, not the data"
        )
    plain = json.loads(text)
    return plain if _survives_database(plain) else {PACKED: text}


def unpack(value: Any) -> Any:
    """Give back what `pack` was given; any other value stays as it is."""
    return json.loads(value[PACKED]) if isinstance(value, dict) and value.keys() == {PACKED} else value


def _survives_database(value: Any) -> bool:
    """Whether Airflow and PostgreSQL's jsonb give this value back as it is.

    They turn 1e16 into an int and -0.0 into 0.0, know no nan, refuse NUL characters, half surrogate pairs and
    integers beyond 64 bits, and read keys with leading underscores as their own.
    """
    if isinstance(value, dict):
        return PACKED not in value and all(
            not key.startswith("__") and _survives_database(key) and _survives_database(item)
            for key, item in value.items()
        )
    if isinstance(value, list):
        return all(map(_survives_database, value))
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return abs(value) < 1e16 and (value != 0 or math.copysign(1, value) > 0)
    return value is None or -(2**63) <= value < 2**63


def load(func_path: str) -> Callable[..., Any]:
    """Import the function behind `module.path:function`.

    Raises:
        ValueError: the path names no function.
        ImportError: the module cannot be imported.
        AttributeError: it has no such function.
        TypeError: what it has cannot be called.
    """
    import importlib

    module_name, _, name = func_path.partition(":")
    if not module_name or not name:
        raise ValueError(f"func_path {func_path!r} is not allowed; use 'module.path:function'")
    module = importlib.import_module(module_name)
    if not hasattr(module, name):
        raise AttributeError(f"func_path {func_path!r}: module {module_name!r} ({module.__file__}) has no {name!r}")
    function = getattr(module, name)
    if not callable(function):
        raise TypeError(f"func_path {func_path!r}: {name!r} is a {type(function).__name__}, not a function")
    return function  # type: ignore[no-any-return]


def call(func_path: str, arguments_json: str) -> Any:
    """Call a function with arguments that `encode_arguments` wrote.

    Raises:
        ValueError: the arguments are not a JSON object.
        TypeError: the function doesn't take these arguments.
        Exception: whatever `load` or the function itself raises.
    """
    import inspect

    function = load(func_path)
    try:
        arguments = dict(json.loads(arguments_json))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the arguments of {func_path} are not a JSON object: {error}") from None
    signature = inspect.signature(function)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise TypeError(f"{func_path}{signature} cannot be called with {sorted(arguments)}: {error}") from None
    return function(**arguments)


def encode_outcome(outcome: dict[str, Any]) -> bytes | None:
    """Write an outcome as JSON, compressed where it has to be; None if it takes more than MAX_OUTCOME_BYTES even so."""
    import base64
    import zlib

    # Half surrogate pairs have no UTF-8; escaped they are still JSON.
    text = json.dumps(outcome, ensure_ascii=False).encode("utf-8", "backslashreplace")
    if len(text) > MAX_OUTCOME_BYTES:
        text = json.dumps({"zlib": base64.b64encode(zlib.compress(text, 9)).decode()}).encode()
    return text if len(text) <= MAX_OUTCOME_BYTES else None


def encode_result(packed: Any, marker: str) -> tuple[bytes, list[bytes]]:
    """Write a result as an outcome, and the lines to print where it doesn't fit in there.

    Args:
        packed: what `pack` returned.
        marker: what the lines begin with.
    """
    import base64
    import hashlib
    import zlib

    if short := encode_outcome({"result": packed}):
        return short, []
    text = json.dumps(packed).encode()
    data = base64.b64encode(zlib.compress(text))
    parts = [data[start : start + LINE_BYTES] for start in range(0, len(data), LINE_BYTES)]
    lines = [b"%s %d %s\n" % (marker.encode(), number, part) for number, part in enumerate(parts)]
    return json.dumps({"lines": len(lines), "sha256": hashlib.sha256(text).hexdigest()}).encode(), lines


def encode_error(error: BaseException) -> bytes:
    """Write an error with its traceback as an outcome; of a long one, the middle is left out."""
    text = format_error(error)
    # What compresses best of all doesn't take more.
    room = min(len(text), 64 * 1024)
    while (outcome := encode_outcome({"error": shorten(text, room)})) is None:
        room = room * 3 // 4
    return outcome


def format_error(error: BaseException) -> str:
    """Write an error as Python does, without this file's own part of the traceback."""
    import traceback

    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).strip()


def shorten(text: str, room: int) -> str:
    """Leave out the middle of a text that is longer than `room`: its beginning and above all its end tell more."""
    if len(text) <= room:
        return text
    start = room // 4
    return f"{text[:start]}\n[{len(text) - room} characters left out]\n{text[len(text) - room + start :]}"


def main() -> None:
    """Call the function that the environment names, and write its outcome where the environment says."""
    import signal

    # The first process of a container gets no signal that it has no handler for: it would live on for 30 seconds.
    signal.signal(signal.SIGTERM, _end)
    func_path = os.environ.get(FUNC_PATH)
    if not func_path:
        sys.exit(f"{FUNC_PATH} must be set, to 'module.path:function'; {FUNC_KWARGS} holds its arguments as JSON")
    outcome_file = os.environ.get(OUTCOME_FILE)
    # The function may close or replace its standard output.
    output = os.dup(1) if outcome_file else None
    try:
        outcome, lines = _run(func_path)
    except BaseException as error:
        if outcome_file:
            _write(outcome_file, encode_error(error))
        if isinstance(error, SystemExit) and not error.code:
            # Airflow calls this a failure in `dev`, too: the function has not returned.
            sys.exit(f"{func_path} ended Python with exit code 0, and returned nothing")
        raise
    if outcome_file and output is not None:
        _print_last(lines, output)
        _write(outcome_file, outcome)
        _leave()


def _leave() -> None:
    """End as Airflow's own process of a task does in `dev`: no thread that the function has left behind is awaited."""
    import atexit

    # What wants to write something at the end can.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream and not stream.closed:
            stream.flush()
    os._exit(0)


def _run(func_path: str) -> tuple[bytes, list[bytes]]:
    result = call(func_path, os.environ.get(FUNC_KWARGS, "{}"))
    what = f"the result of {func_path}"
    if "--print" in sys.argv:
        check(result, what)
        print(json.dumps(result))
    if marker := os.environ.get(RESULT_MARKER):
        return encode_result(pack(result, what), marker)
    return b'{"result": null}', []


def _end(signal_number: int, frame: FrameType | None) -> None:
    # Not os._exit: what the function has to close, it can close.
    sys.exit(128 + signal_number)


def _print_last(lines: list[bytes], output: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream and not stream.closed:
            stream.flush()
    # The function's last line may have no end.
    for line in [b"\n", *lines] if lines else []:
        while line:
            line = line[os.write(output, line) :]


def _write(path: str, outcome: bytes) -> None:
    with open(path, "wb") as file:
        file.write(outcome)


if __name__ == "__main__":
    main()
