"""The commands, found without importing them: that keeps `--help` fast."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "workstation": "Bring this machine to its wanted state: stack and example project.",
    "mlops": "Start, stop or restart Airflow, MLflow, S3 and JupyterLab.",
    "cluster": "Start, stop or restart Kubernetes, and connect the stack with it.",
    "secrets": "Keep passwords and keys for tasks that run in Kubernetes.",
    "prod": "Compare a company's cluster and Airflow with what a project needs.",
    "models": "Serve registered models on this machine and in the cluster.",
    "plan": "Say what workstation or mlops would change.",
    "status": "Show how the services are.",
    "credentials": "Show user names, passwords and tokens.",
    "logs": "Show a service's log.",
    "open": "Open a service in the browser.",
    "doctor": "Find what is wrong with this machine, and repair it.",
    "instances": "List the instances of the stack on this machine.",
    "bundle": "Pack what an installation without a network needs.",
    "new": "Make a project from the template.",
    "images": "Build the image that a project's tasks run from.",
    "release": "Bring a version of a project to the company's Airflow.",
    "cdr": "Look after the central DAG repository.",
    "completion": "Print what makes a shell complete commands and options.",
    "uninstall": "Remove the stack, and its data, from this machine.",
}
"""Every command with the line that the list of commands shows."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is used.

    Args:
        offered: The commands' names.
        options: What click's own group takes.
    """

    def __init__(self, *, offered: Sequence[str] = tuple(COMMANDS), **options: Any) -> None:
        super().__init__(**options)
        self.offered = offered

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in the order of the help."""
        return list(self.offered)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Import a command.

        Args:
            ctx: Click's context.
            cmd_name: The command's name.

        Raises:
            click.UsageError: There is no such command.
        """
        if cmd_name not in self.offered:
            ctx.fail(f"There is no command '{cmd_name}'. There are: {', '.join(self.offered)}.")
        command = importlib.import_module(f"gaiaflow_py.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin so, without importing a command.

        Args:
            ctx: Click's context.
            incomplete: What was typed.
        """
        from click.shell_completion import CompletionItem

        commands = [CompletionItem(name, help=COMMANDS[name]) for name in self.offered if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.offered])
