"""`gaiaflow-setup secrets`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions


@click.group(name="secrets", context_settings=opts.HELP)
def command() -> None:
    """Keep passwords and keys for tasks that run in Kubernetes.

    Tasks get a secret's keys as environment variables: task_factory(..., secrets=["my-creds"]). Values are never shown.
    """


def _cluster_options(function: opts.Command) -> opts.Command:
    """Add the options that say whose secrets are meant, and hand them over as `whose`."""
    choices: list[opts.Decorator] = [
        click.option("--namespace", metavar="NAME", help="Their namespace.  [default: the one of the instance's pods]"),
        opts.kubeconfig_options(
            "The kubeconfig of another cluster than this machine's.",
            "The context in that file.  [default: its current one]",
        ),
        opts.instance_option,
    ]

    @functools.wraps(function)
    def wrapper(
        *, instance: str | None, namespace: str | None, kubeconfig: str | None, context: str | None, **others: object
    ) -> object:
        file = opts.absolute(kubeconfig) if kubeconfig else None
        whose = {"instance": instance, "namespace": namespace, "kubeconfig": file, "context": context}
        return function(whose=whose, **others)

    decorated: opts.Command = wrapper
    for choice in reversed(choices):
        decorated = choice(decorated)
    return decorated


@opts.command(
    "create",
    "secrets create my-creds --from-env-file .env",
    "secrets create my-creds --from-literal API_KEY=- < key.txt",
    "secrets create my-creds --from-file ca.pem --from-file TOKEN=token.txt",
    of=command,
)
@click.argument("name")
@click.option("--from-env-file", "env_files", multiple=True, metavar="FILE", help="Its lines: NAME=value.")
@click.option("--from-literal", "literals", multiple=True, metavar="KEY=-", help="A key; standard input is its value.")
@click.option("--from-file", "files", multiple=True, metavar="[KEY=]FILE", help="A file's content, as it is.")
@_cluster_options
@opts.run_options()
def create(
    *,
    options: RunOptions,
    whose: dict[str, Any],
    name: str,
    env_files: tuple[str, ...],
    literals: tuple[str, ...],
    files: tuple[str, ...],
) -> int:
    """Make a secret, or replace it whole.

    Files are read on this machine; Ansible Vault may have encrypted them. What is wrong is refused by its place before
    anything changes.
    """
    from gaiaflow_py.request import secrets

    paths = _by_key(files)
    key = _literal_key(literals)
    if not (env_files or paths or key):
        raise click.UsageError("Say what it is to hold: --from-env-file, --from-literal or --from-file.")
    data = {key: _standard_input(key)} if key else {}
    holds = {"data": data, "env_files": [str(opts.absolute(file)) for file in env_files], "files": paths}
    return _run.run(secrets("create", options, name, **holds, **whose))


@opts.command("list", "secrets list", "secrets list --json", of=command)
@_cluster_options
@opts.run_options()
def show(*, options: RunOptions, whose: dict[str, Any]) -> int:
    """List the secrets: names, keys and lengths, never values."""
    from gaiaflow_py import report, runner
    from gaiaflow_py.request import secrets

    request = secrets("list", options, **whose)
    result = runner.run(request)
    report.secrets(request, result)
    return result.exit_code


@opts.command("delete", "secrets delete my-creds", "secrets delete my-creds --yes", of=command)
@click.argument("name")
@opts.yes_option
@_cluster_options
@opts.run_options()
def delete(*, options: RunOptions, whose: dict[str, Any], name: str, yes: bool) -> int:
    """Delete a secret (asks)."""
    from gaiaflow_py.request import secrets

    if not options.check:
        loss = f"This deletes the secret '{name}': tasks that are given it can't start any more."
        _run.confirm(loss, yes=yes, as_json=options.json)
    return _run.run(secrets("delete", options, name, **whose))


def _by_key(files: Sequence[str]) -> dict[str, str]:
    """Return the files by key, which is the file's name unless it is given."""
    found: dict[str, str] = {}
    for given in files:
        key, separator, path = given.partition("=")
        if not separator:
            path = given
            key = Path(given).name
        if not key or not path:
            raise click.UsageError(f"--from-file '{given}' is not FILE or KEY=FILE.")
        if key in found:
            raise click.UsageError(f"--from-file gives {key} twice: '{found[key]}' and '{opts.absolute(path)}'.")
        found[key] = str(opts.absolute(path))
    return found


def _literal_key(literals: Sequence[str]) -> str:
    """Return the key whose value standard input is; a refusal never repeats what may be a value."""
    for given in literals:
        key, separator, value = given.partition("=")
        if not separator or value != "-":
            raise click.UsageError(
                f"--from-literal {key if separator else 'KEY'}=VALUE would show the value to everybody who lists "
                f"processes, and in the shell's history. Write {key if separator else 'KEY'}=- and give the value on "
                "standard input, or put it into a file for --from-env-file."
            )
        if not opts.VARIABLE.fullmatch(key):
            raise click.UsageError(f"--from-literal: '{key}' is not a name for an environment variable.")
    if len(literals) > 1:
        raise click.UsageError("--from-literal KEY=- can be given once, as there is one standard input.")
    return literals[0].partition("=")[0] if literals else ""


def _standard_input(key: str) -> str:
    """Return what stands there, without the newline that `echo` and Enter add; at a terminal, nothing is shown."""
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"Value of {key}: ")
    try:
        value = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"The value of {key} isn't UTF-8; --from-file takes any content.") from None
    if not value:
        raise click.UsageError(f"Standard input is empty; {key}= in a file for --from-env-file keeps an empty value.")
    return value.removesuffix("\n").removesuffix("\r")
