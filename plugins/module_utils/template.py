"""Make projects from the cookiecutter template: the only code that runs cookiecutter."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import SetupError


class RefusedValueError(SetupError):
    """No project can be made of these values, or in this place."""


class TemplateError(SetupError):
    """Cookiecutter's settings or the template are broken."""


def render(template: Path, values: Mapping[str, Any], directory: Path, *, user_defaults: bool) -> Path:
    """Render the template, and return the project's directory.

    Args:
        template: The template's directory.
        values: The template's variables, as far as they are given. Text is taken as it is, and never as a template.
        directory: Where the project's directory is put; absent. Cookiecutter takes the names of the directories above
            a project as templates, too: none of them may look like one.
        user_defaults: Whether the user's own settings of cookiecutter give the other variables' values.

    Raises:
        RefusedValueError: A value isn't allowed.
        TemplateError: The user's settings or the template are broken.
    """
    from cookiecutter.exceptions import CookiecutterException, FailedHookException
    from cookiecutter.main import cookiecutter

    logging.getLogger("cookiecutter").addHandler(logging.NullHandler())  # it would print its own traceback
    with tempfile.TemporaryDirectory() as private, _without_python_variables(), _kept_output(Path(private)) as output:
        try:
            made = cookiecutter(
                str(template),
                no_input=True,
                extra_context=as_text(template, values),
                output_dir=str(directory),
                config_file=_settings(Path(private), user_defaults=user_defaults),
            )
        except FailedHookException as error:
            raise RefusedValueError(output() or str(error)) from error
        except CookiecutterException as error:
            raise TemplateError(f"The project couldn't be made: {error}") from error
        except ValueError as error:
            raise RefusedValueError(str(error)) from error
    # Whoever has imported a module of the template has left there what Python makes of it.
    for compiled in [*Path(made).rglob("__pycache__")]:
        shutil.rmtree(compiled)
    return Path(made)


def as_text(template: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values so that cookiecutter, which takes text as templates, has them as they were typed.

    Args:
        template: The template's directory.
        values: The template's variables.
    """
    offered = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    return {
        name: _literal(value) if isinstance(value, str) and isinstance(offered.get(name), str) else value
        for name, value in values.items()
    }


def _literal(text: str) -> str:
    """Return a template of Jinja's that gives this text."""
    escaped = text.encode("unicode_escape").decode().replace('"', '\\"')
    return f'{{{{ "{escaped}" }}}}'


def _settings(private: Path, *, user_defaults: bool) -> str:
    """Write cookiecutter's settings, by which nothing is kept in the home directory, and return the file."""
    import yaml
    from cookiecutter.config import get_user_config

    settings = get_user_config() if user_defaults else {}
    ours = {"replay_dir": str(private / "replay"), "cookiecutters_dir": str(private / "cookiecutters")}
    file = private / "settings.yml"
    file.write_text(yaml.safe_dump({**_plain(settings), **ours}))
    return str(file)


def _plain(value: Any) -> Any:
    return {str(k): _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


@contextmanager
def _without_python_variables() -> Iterator[None]:
    """Keep Python's variables from the template's hooks, which are Python programs."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PYTHON")}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextmanager
def _kept_output(private: Path) -> Iterator[Callable[[], str]]:
    """Keep what the template's hooks print, which are programs of their own, and yield what returns it."""
    file = private / "output"
    streams = [os.dup(number) for number in (1, 2)]
    try:
        with file.open("wb") as output:
            for number in (1, 2):
                os.dup2(output.fileno(), number)
        yield lambda: file.read_text(encoding="utf-8", errors="replace").strip()
    finally:
        for number, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)


@contextmanager
def new_directory(path: Path) -> Iterator[None]:
    """Make a directory, which is gone again, with those above it, when nothing came to be in it.

    Args:
        path: The directory; it may be there already.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for one in missing:
            one.rmdir()
        raise


def place(project: Path, target: Path) -> None:
    """Move a project to its place, so that an interrupted run leaves no half of one.

    Args:
        project: The project, on any file system.
        target: Its place, which is absent or an empty directory.
    """
    if target.is_dir():
        fill(target, project)
        return
    with new_directory(target.parent), tempfile.TemporaryDirectory(prefix=".gaiaflow-new-", dir=target.parent) as aside:
        Path(shutil.move(project, aside)).rename(target)


def fill(target: Path, project: Path) -> None:
    """Move a project into an empty directory: it may be a mount point, somebody's working directory, or in another's.

    Args:
        target: The directory.
        project: The project, on any file system.
    """
    with tempfile.TemporaryDirectory(prefix=".gaiaflow-new-", dir=target) as aside:
        moved = Path(shutil.move(project, aside))
        # What makes a project of it comes last.
        for entry in sorted(moved.iterdir(), key=lambda one: one.name == "dags"):
            entry.rename(target / entry.name)
