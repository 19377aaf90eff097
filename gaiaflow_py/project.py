"""Making a project from the template."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
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
    from cookiecutter.exceptions import CookiecutterException
    from cookiecutter.main import cookiecutter

    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".gaiaflow-new-", dir=output_dir) as private,
            _output_to_stderr(not ask),
        ):
            made = cookiecutter(
                str(template),
                no_input=not ask,
                extra_context=dict(values),
                output_dir=f"{private}/project",
                config_file=_config(Path(private)),
            )
            return _place(Path(made), output_dir / Path(made).name)
    except ValueError as error:
        raise InputError(str(error)) from error
    except CookiecutterException as error:
        raise GaiaflowError(f"The project couldn't be made: {error}") from error
    except OSError as error:
        raise InputError(f"The project can't be put into '{output_dir}': {error}") from error


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
    shutil.move(made, target)
    return target


@contextmanager
def _output_to_stderr(wanted: bool) -> Iterator[None]:
    """The template's hooks are programs of their own: what they print goes to standard error."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
