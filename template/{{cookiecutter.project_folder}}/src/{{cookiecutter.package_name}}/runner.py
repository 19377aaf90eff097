"""Calls one function of the project by its path, the same way in every environment.

In `dev` the Airflow task does it in its own process; in `prod_local` and `prod` a pod does it with
`python -m PACKAGE.runner`, told by the environment variables below. The image does so on its own, too, with `--print`:
then the result is printed. This file is part of the package (for pods) and of the DAG folder (for Airflow, where the
package may be missing), so it needs nothing but Python's standard library.

What a function may take and give: None, bool, int, float (also nan and inf), str, and lists and dicts (with str keys)
of these. They arrive as they were sent, but for the order of a dict's keys, which the database may change. Anything
else, such as a tuple or a date, is refused in every environment, as it would turn into something else on its way.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

FUNC_PATH = "GAIAFLOW_FUNC_PATH"
FUNC_KWARGS = "GAIAFLOW_FUNC_KWARGS"
RESULT_FILE = "GAIAFLOW_RESULT_FILE"

# Linux takes no environment variable of more than 128 KiB.
MAX_ARGUMENTS_BYTES = 120 * 1024

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
    """
    check(value, where)
    text = json.dumps(value)
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


def main() -> None:
    """Call the function that the environment names, and write its result where the environment says."""
    func_path = os.environ.get(FUNC_PATH)
    if not func_path:
        sys.exit(f"{FUNC_PATH} must be set, to 'module.path:function'; {FUNC_KWARGS} holds its arguments as JSON")
    result = call(func_path, os.environ.get(FUNC_KWARGS, "{}"))
    if result_file := os.environ.get(RESULT_FILE):
        packed = pack(result, f"the result of {func_path}")
        with open(result_file, "w", encoding="utf-8") as file:
            json.dump(packed, file)
    if "--print" in sys.argv:
        check(result, f"the result of {func_path}")
        print(json.dumps(result))


if __name__ == "__main__":
    main()
