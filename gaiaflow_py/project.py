"""Making a project from the template."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gaiaflow_py.errors import GaiaflowError, InputError


def generate(template: Path, output_dir: Path, values: Mapping[str, str], *, ask: bool) -> Path:
    """Makes a project, whole or not at all.

    Args:
        template: The template's directory.
        output_dir: Where the project's directory goes; made if absent.
        values: The template's variables, as far as they are given.
        ask: Ask for the others.

    Returns:
        The project's directory.

    Raises:
        InputError: The directory exists and isn't empty, or a value isn't allowed.
        GaiaflowError: The template failed.
    """
    from cookiecutter.exceptions import CookiecutterException, FailedHookException
    from cookiecutter.main import cookiecutter

    logging.getLogger("cookiecutter").addHandler(logging.NullHandler())  # it would print its own traceback
    for name, value in values.items():
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise InputError(
                f"{name} isn't text in UTF-8: {os.fsencode(value)!r}.", "Type it in a terminal with UTF-8."
            )
    try:
        with (
            _directory(output_dir),
            _without_python_variables(),
            tempfile.TemporaryDirectory(prefix=".gaiaflow-new-", dir=output_dir) as aside,
            tempfile.TemporaryDirectory() as private,  # cookiecutter takes the names of directories as templates, too
            _hooks_output(Path(private), to_stderr=not ask) as complaint,
        ):
            try:
                made = cookiecutter(
                    str(template),
                    no_input=not ask,
                    extra_context=_as_text(template, values),
                    output_dir=f"{private}/project",
                    config_file=_config(Path(private)),
                )
            except FailedHookException as error:
                raise InputError(complaint() or str(error)) from error
            return _place(Path(shutil.move(made, aside)), output_dir / Path(made).name)
    except ValueError as error:
        raise InputError(str(error)) from error
    except CookiecutterException as error:
        raise GaiaflowError(f"The project couldn't be made: {error}") from error
    except OSError as error:
        raise InputError(f"The project can't be put into '{output_dir}': {error}") from error


@contextmanager
def _directory(path: Path) -> Iterator[None]:
    """Has a directory, which is gone again when nothing came to be in it."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for one in missing:
            one.rmdir()
        raise


def _as_text(template: Path, values: Mapping[str, str]) -> dict[str, str]:
    """Returns the values so that cookiecutter, which takes them as templates, has them as they were typed."""
    offered = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    return {name: literal(value) if isinstance(offered.get(name), str) else value for name, value in values.items()}


def literal(text: str) -> str:
    """Returns a template of Jinja's that gives this text.

    Args:
        text: Any text.
    """
    escaped = text.encode("unicode_escape").decode().replace('"', '\\"')
    return f'{{{{ "{escaped}" }}}}'


def _config(private: Path) -> str:
    """Writes cookiecutter's settings: the user's own defaults, but nothing is kept in the home directory."""
    import yaml
    from cookiecutter.config import get_user_config

    settings = dict(get_user_config()) | {
        "replay_dir": str(private / "replay"),
        "cookiecutters_dir": str(private / "c"),
    }
    file = private / "config.yml"
    file.write_text(yaml.safe_dump({name: _plain(value) for name, value in settings.items()}))
    return str(file)


def _plain(value: object) -> object:
    return {str(k): _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _place(made: Path, target: Path) -> Path:
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    if target.exists() or target.is_symlink():
        raise InputError(f"'{target}' exists already and isn't empty.", "Choose another name or --output-dir.")
    return made.rename(target)


@contextmanager
def _without_python_variables() -> Iterator[None]:
    """Takes the variables of Python's away from the template's hooks, which are Python programs."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PYTHON")}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextmanager
def _hooks_output(private: Path, *, to_stderr: bool) -> Iterator[Callable[[], str]]:
    """Keeps what the template's hooks complain of, which are programs of their own, and yields what returns it.

    Args:
        private: A directory for it.
        to_stderr: What they print otherwise goes to standard error.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    output, errors = os.dup(1), os.dup(2)
    file = private / "complaint"
    try:
        with file.open("wb") as complaint:
            os.dup2(complaint.fileno(), 2)
        if to_stderr:
            os.dup2(errors, 1)
        yield lambda: file.read_text(encoding="utf-8", errors="replace").strip()
    finally:
        sys.stdout.flush()
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.close(output)
        os.close(errors)
