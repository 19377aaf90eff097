"""What the commands that run playbooks have in common."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from gaiaflow_py.events import RunResult
    from gaiaflow_py.request import Request, RunOptions

PLAN = "gaiaflow_py.plan"
"""The key in Click's context under which `plan` says that nothing is to be changed."""


def is_plan() -> bool:
    """Return whether the command runs under `plan`."""
    return bool(click.get_current_context().meta.get(PLAN))


def typed() -> str:
    """Return the running command as it can be typed again, without what -e says, which may be secret."""
    context = click.get_current_context()
    words = []
    for parameter in context.command.params:
        name = str(parameter.name)
        is_given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if not is_given or name == "extra_vars":
            continue
        value = context.params[name]
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(parameter, click.Option):
                names = parameter.opts if one else parameter.secondary_opts
                words.append(max(names, key=len))
            if not isinstance(parameter, click.Option) or not (parameter.is_flag or parameter.count):
                words.append(shlex.quote(str(one)))
    names = []
    while context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return " ".join([*names, *words])


def play(playbook: str, options: RunOptions, variables: dict[str, Any], **how: Any) -> int:
    """Run the playbook of the running command, or plan it, and print how it ended.

    Args:
        playbook: The playbook.
        options: How to run it.
        variables: What it is told; None, or what is empty, where nothing was said.
        how: What else the request says.

    Returns:
        The exit code.
    """
    from gaiaflow_py.request import Request, given

    return run(Request(playbook, playbook, given(**variables), options, **how))


def run(request: Request) -> int:
    """Run a playbook, or plan it, and print how it ended.

    Args:
        request: What to run.

    Returns:
        The exit code.
    """
    from gaiaflow_py import report, runner

    request = replace(request, command=typed())
    if is_plan():
        request = replace(request, options=replace(request.options, check=True, diff=True))
    result = runner.run(request)
    (report.plan if is_plan() else report.run)(request, result)
    return result.exit_code


def confirm(question: str, *, yes: bool, as_json: bool, refused: str = "Nothing was deleted.") -> None:
    """Ask before data is deleted, or something else is done that others have to live with.

    Args:
        question: What is going to be lost, or made.
        yes: The user has agreed already.
        as_json: A program reads the output, so nobody can be asked.
        refused: What is said to who says no.

    Raises:
        click.UsageError: Nobody can be asked.
        click.ClickException: The user said no.
    """
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here: give --yes to agree.")
    if not click.confirm(f"{question} Continue?", default=False, err=True):
        raise click.ClickException(refused)


def project_path(project: str | None, *, local: bool, state: Literal["exists", "any"]) -> Path | None:
    """Return the project's absolute path.

    Args:
        project: What the user gave.
        local: The project is on this machine, so it can be looked at.
        state: Whether the directory must be there.

    Raises:
        click.BadParameter: It isn't a directory.
    """
    if project is None:
        return None
    from gaiaflow_py.paths import OF_PROJECT, usable

    path = usable("--project", Path(project).expanduser().absolute(), OF_PROJECT)
    if local and state == "exists" and not path.is_dir():
        raise click.BadParameter(
            f"the directory '{path}' doesn't exist (gaiaflow-setup new makes a project).", param_hint="--project"
        )
    return path


def make(request: Request) -> RunResult:
    """Run a playbook that makes one thing, and return how that ended.

    Args:
        request: What to run.

    Raises:
        InputError: What the user gave isn't allowed.
        GaiaflowError: It failed otherwise.
        KeyboardInterrupt: A signal ended it.
    """
    from gaiaflow_py import runner
    from gaiaflow_py.errors import GaiaflowError, InputError

    result = runner.run(request)
    if result.status == "interrupted":
        raise KeyboardInterrupt
    if result.failures:
        failure = result.failures[0]
        kind = InputError if failure.wrong_input else GaiaflowError
        raise kind(failure.message, failure.hint)
    return result
