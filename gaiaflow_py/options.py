"""The options that several commands share, each written once."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from gaiaflow_py.called import program
from gaiaflow_py.catalogue import service_names
from gaiaflow_py.paths import content_root

if TYPE_CHECKING:
    from pathlib import Path

    from click.shell_completion import CompletionItem

SERVICES = service_names()
"""The services that can be named, as users know them."""

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

HELP = {"help_option_names": ["-h", "--help"]}

INSTANCE = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class InstanceName(click.ParamType[str]):
    """The name of an instance."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value, if it is a valid name."""
        if not INSTANCE.fullmatch(value):
            rule = "up to 31 lower-case letters, digits and hyphens, not beginning with a hyphen"
            self.fail(f"'{value}' is not an instance's name ({rule}).", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the instances on this machine whose names begin so."""
        from click.shell_completion import CompletionItem

        from gaiaflow_py.instance import names

        return [CompletionItem(name) for name in names() if name.startswith(incomplete)]


class ExtraVariable(click.ParamType[str | dict[str, Any]]):
    """Variables for the playbook, as Ansible takes them: `key=value`, a JSON object, or `@file`."""

    name = "key=value"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str | dict[str, Any]:
        """Return the variables, or the file's name with its `@`."""
        if value.startswith("@"):
            return value
        if value.startswith("{"):
            try:
                return dict(json.loads(value))
            except ValueError as error:
                self.fail(f"'{value}' is not a JSON object: {error}.", param, ctx)
        name, separator, text = value.partition("=")
        if not separator or not VARIABLE.fullmatch(name):
            self.fail(f"'{value}' is not key=value, with a key of letters, digits and underscores.", param, ctx)
        return {name: text}


def variables(given: tuple[str | dict[str, Any], ...]) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Return what was given with `-e`: the variables, and the files of others.

    Args:
        given: What click has of it.
    """
    values = {name: value for one in given if isinstance(one, dict) for name, value in one.items()}
    return values, tuple(absolute(one[1:]) for one in given if isinstance(one, str))


def arguments_of(role: str, entry_point: str = "main") -> dict[str, Any]:
    """Return the argument specification of a role: its variables, with their types and choices.

    Args:
        role: The role.
        entry_point: Which of its files of tasks.
    """
    import yaml

    file = content_root() / "roles" / role / "meta" / "argument_specs.yml"
    specification = yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    options: dict[str, Any] = specification["argument_specs"][entry_point]["options"]
    return options


def command(name: str, *examples: str, of: click.Group | None = None) -> Callable[[Command], click.Command]:
    """Return what makes a function a command.

    Args:
        name: The command's name.
        examples: Command lines for the help, without the program's name.
        of: The group that it belongs to.
    """

    def decorate(function: Command) -> click.Command:
        made = click.command(name=name, epilog=example_text(*examples), context_settings=HELP)(function)
        if of is not None:
            of.add_command(made)
        return made

    return decorate


def example_text(*examples: str) -> str:
    """Return examples as click shows them: each on a line of its own.

    Args:
        examples: Command lines, without the program's name.
    """
    return "\b\nExamples:\n" + "\n".join(f"  {program()} {example}" for example in examples)


def json_option(function: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")(function)


def instance_option(function: Command) -> Command:
    """Add `--instance`."""
    return click.option("--instance", type=InstanceName(), help="Which instance of the stack.  [default: default]")(
        function
    )


def jupyter_port_option(function: Command) -> Command:
    """Add `-j`."""
    help_text = "JupyterLab's port.  [default: 8895, or a free one for a second instance]"
    return click.option("-j", "--jupyter-port", type=click.IntRange(1, 65535), metavar="PORT", help=help_text)(function)


def project_option(help_text: str) -> Decorator:
    """Return what adds `--project`.

    Args:
        help_text: What the command does with the project.
    """
    return click.option("--project", type=click.Path(file_okay=False), metavar="DIR", help=help_text)


def kubeconfig_options(help_text: str, context_help: str = "The context in that file.") -> Decorator:
    """Return what adds `--kubeconfig` and `--context`.

    Args:
        help_text: Whose kubeconfig it is.
        context_help: What the context is, where it may be left out.
    """
    file = click.Path(exists=True, dir_okay=False)

    def decorate(function: Command) -> Command:
        with_context = click.option("--context", metavar="NAME", help=context_help)(function)
        return click.option("--kubeconfig", type=file, metavar="FILE", help=help_text)(with_context)

    return decorate


def refuse_half_a_cluster(kubeconfig: str | None, context: str | None) -> None:
    """Refuse a kubeconfig without a context, or a context without one.

    Args:
        kubeconfig: The file.
        context: The context.

    Raises:
        click.UsageError: Only one of them is given.
    """
    if (kubeconfig is None) != (context is None):
        raise click.UsageError(
            "--kubeconfig and --context go together: the file of a cluster, and which of its contexts."
        )


def bundle_option(function: Command) -> Command:
    """Add `--bundle`."""
    return click.option(
        "--bundle",
        "bundle_file",
        type=click.Path(exists=True, dir_okay=False),
        envvar="GAIAFLOW_BUNDLE",
        metavar="FILE",
        callback=lambda _ctx, _param, value: absolute(value) if value else None,
        help="Install from what `bundle create` made, without a network.",
    )(function)


def actions(choices: dict[str, str], short: Mapping[str, str] | None = None) -> Decorator:
    """Return what adds a flag for each action, and hands over as `actions` which were given.

    Args:
        choices: The actions, with the help text of each.
        short: The letters of those that have one.
    """

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def wrapper(**given: object) -> object:
            wanted = [action for action in choices if given.pop(action.replace("-", "_"))]
            return function(actions=wanted, **given)

        decorated: Command = wrapper
        for action, text in reversed(list(choices.items())):
            letters = [f"-{letter}" for letter in (short or {}).get(action, "")]
            decorated = click.option(*letters, f"--{action}", is_flag=True, help=text)(decorated)
        return decorated

    return decorate


def the_one(wanted: Sequence[str], offered: Sequence[str]) -> str:
    """Return the one action that was given.

    Args:
        wanted: Those that were given.
        offered: All that could be.

    Raises:
        click.UsageError: There is none, or several.
    """
    if len(wanted) != 1:
        *most, last = (f"--{action}" for action in offered)
        got = " and ".join(f"--{action}" for action in wanted) or "none"
        raise click.UsageError(f"Give exactly one of {', '.join(most)} and {last} (got {got}).")
    return wanted[0]


def yes_option(function: Command) -> Command:
    """Add `--yes`."""
    return click.option("--yes", "-y", is_flag=True, help="Don't ask before data is deleted.")(function)


def run_options(*, short_verbose: bool = True, dry_run: bool = False) -> Decorator:
    """Return what adds the options of every command that runs a playbook, and hand them over as `options`.

    Args:
        short_verbose: Whether `-v` means `--verbose`.
        dry_run: Whether `--dry-run` means `--check`.
    """
    verbose = ("-v", "--verbose") if short_verbose else ("--verbose",)
    check = ("--check", "--dry-run", "check") if dry_run else ("--check",)
    choices: list[Decorator] = [
        click.option("-i", "--inventory", metavar="PATH", help="An Ansible inventory.  [default: this machine]"),
        click.option("--limit", metavar="PATTERN", help="Only these hosts of the inventory."),
        click.option("-e", "--extra-vars", type=ExtraVariable(), multiple=True, help="A variable for the playbook."),
        click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the password of sudo."),
        click.option(*check, is_flag=True, help="Say what would change, change nothing."),
        click.option("--diff", is_flag=True, help="Show the differences in files."),
        json_option,
        click.option(*verbose, count=True, help="Show Ansible's own output; more of it when given again."),
    ]

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def wrapper(
            *,
            inventory: str | None,
            limit: str | None,
            extra_vars: tuple[str | dict[str, Any], ...],
            ask_become_pass: bool,
            check: bool,
            diff: bool,
            as_json: bool,
            verbose: int,
            **others: object,
        ) -> object:
            from gaiaflow_py.request import RunOptions

            values, files = variables(extra_vars)
            options = RunOptions(
                inventory=_inventory(inventory),
                limit=limit,
                extra_vars=values,
                var_files=files,
                check=check,
                diff=diff,
                json=as_json,
                verbosity=verbose,
                become_password=_ask_password() if ask_become_pass else None,
            )
            return function(options=options, **others)

        decorated: Command = wrapper
        for choice in reversed(choices):
            decorated = choice(decorated)
        return decorated

    return decorate


def _ask_password() -> str:
    """Ask at the terminal; without one, the password is read from standard input."""
    import getpass
    import sys

    asks = sys.stdin.isatty()
    password = getpass.getpass("Password of sudo: ") if asks else sys.stdin.readline().rstrip("\n")
    if not password:
        raise click.UsageError("No password of sudo was given: -K asks at the terminal, or reads a line of input.")
    return password


def _inventory(given: str | None) -> str | None:
    """Return the inventory's absolute path; a list of hosts (with a comma) stays as it is."""
    return given if given is None or "," in given else str(absolute(given))


def absolute(path: str) -> Path:
    """Return a path as it was meant when it was typed.

    Args:
        path: The path, with `~` for the home directory, or relative to the working directory.
    """
    from pathlib import Path

    return Path(path).expanduser().absolute()
