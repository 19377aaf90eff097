"""The documentation names every option of every command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gaiaflow_py.cli import cli

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = (DOCS / "commands.md").read_text()
# Commands with a page of their own.
PAGES = {
    "doctor": "doctor.md",
    "bundle": "airgap.md",
    "images": "images.md",
    "secrets": "secrets.md",
    "release": "releases.md",
    "cdr": "releases.md",
    "prod": "production.md",
}


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands with their names; those of `plan` are other commands' again."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group) and name != "plan":
            yield from commands(command, *names, name)
        else:
            yield (*names, name), command


def section(title: str) -> str:
    """What stands below a heading."""
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", COMMANDS, re.MULTILINE | re.DOTALL)
    assert found, f"docs/commands.md has no section {title}"
    return found[1]


@pytest.mark.parametrize(("names", "command"), [pytest.param(*one, id=" ".join(one[0])) for one in commands(cli)])
def test_every_option_is_described(names: tuple[str, ...], command: click.Command) -> None:
    own = (DOCS / PAGES[names[0]]).read_text() if names[0] in PAGES else section(names[0])
    text = own + section("Options that several commands have")
    missing = [
        name
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
        if not re.search(rf"`{re.escape(name)}[ `]", text)
    ]
    assert not missing, f"{', '.join(missing)} of {' '.join(names)}"
    assert f"`{names[0]}`" in COMMANDS
