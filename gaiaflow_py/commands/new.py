"""`gaiaflow-setup new`."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import click

from gaiaflow_py import options as opts
from gaiaflow_py.called import as_called
from gaiaflow_py.errors import InputError


def _template() -> Path:
    from gaiaflow_py.paths import content_root

    return content_root() / "template"


def _known() -> list[str]:
    return [name for name in json.loads((_template() / "cookiecutter.json").read_text()) if not name.startswith("_")]


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [f"{name}=" for name in _known() if name.startswith(incomplete)]


def _values(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    known = _known()
    values = {}
    for pair in given:
        name, separator, value = pair.partition("=")
        if not separator:
            raise click.BadParameter(f"'{pair}' is not name=value.")
        if name not in known:
            raise click.BadParameter(f"the template has no '{name}'; it has: {', '.join(known)}.")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise InputError(
                f"{name} isn't text in UTF-8: {os.fsencode(value)!r}.", "Type it in a terminal with UTF-8."
            )
        values[name] = value
    return values


@opts.command("new", "new", 'new --no-input --output-dir ~/projects project_name="My project"')
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...", callback=_values, shell_complete=_complete)
@click.option("--output-dir", "-o", type=click.Path(path_type=Path, file_okay=False), default=".", help="Where to.")
@click.option("--no-input", is_flag=True, help="Don't ask: take the values given, and defaults for the others.")
@opts.json_option
def command(values: dict[str, str], output_dir: Path, no_input: bool, as_json: bool) -> None:
    """Make a project from the template.

    Asks for what isn't given. The values are the template's variables.
    """
    from gaiaflow_py import report
    from gaiaflow_py.commands import _run
    from gaiaflow_py.request import Request, RunOptions

    told = values if no_input or as_json else _ask(values)
    variables = {"project_parent": str(output_dir.expanduser().absolute()), "project_values": told}
    # What has ended stays on no screen: that a project was made is all there is to say.
    request = Request("new", "new", variables, RunOptions(json=as_json), is_question=True)
    project = _run.make(request).project
    if as_json:
        report.document({"project": project})
        return
    following = f"gaiaflow-setup mlops --start --project {shlex.quote(project)}\n  gaiaflow-setup open airflow"
    print(f"Made {project}\n\nNext:\n  {as_called(following)}")


def _ask(values: dict[str, str]) -> dict[str, Any]:
    """Ask for the template's variables, and return them; those that are given are offered as defaults."""
    from cookiecutter.config import get_user_config
    from cookiecutter.exceptions import CookiecutterException
    from cookiecutter.generate import generate_context
    from cookiecutter.prompt import prompt_for_config

    from ansible_collections.gaiaflow.setup.plugins.module_utils.template import as_text
    from gaiaflow_py.errors import GaiaflowError, InputError

    try:
        given = as_text(_template(), values)
        defaults = get_user_config()["default_context"]
        answers = prompt_for_config(generate_context(str(_template() / "cookiecutter.json"), defaults, given))
    except ValueError as error:
        raise InputError(str(error)) from error
    except CookiecutterException as error:
        raise GaiaflowError(f"The project couldn't be made: {error}") from error
    return {name: answers[name] for name in _known()}
