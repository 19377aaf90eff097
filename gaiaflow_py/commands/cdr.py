"""`gaiaflow-setup cdr`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions

STATES = {"init": "initialised", "check": "checked", "remove": "absent"}
"""What the role is to bring about, by the command."""

_directory = click.argument("directory", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))


@click.group(name="cdr", context_settings=opts.HELP)
def command() -> None:
    """Look after the central DAG repository, which the company's Airflow syncs.

    DIR is a checkout of it, the current directory when absent. Nothing is pushed.
    """


@opts.command("init", "cdr init airflow-dags", "cdr init airflow-dags --airflow 3.2.1 --platform github", of=command)
@_directory
@click.option(
    "--airflow",
    "dag_repository_airflow",
    metavar="VERSION",
    help="The company's Airflow.  [default: that of the stack]",
)
@click.option(
    "--platform",
    "dag_repository_platform",
    type=click.Choice(["github", "gitlab", "none"]),
    default="none",
    help="Whose workflow.",
)
@click.option(
    "--branch", "dag_repository_branch", metavar="NAME", default="main", show_default=True, help="What Airflow follows."
)
@opts.run_options(dry_run=True)
def init(**said: Any) -> int:
    """Make one, with its first commit; what is there already stays as it is."""
    return _run_in("init", **said)


@opts.command("check", "cdr check", "cdr check --since origin/main", "cdr check airflow-dags --all", of=command)
@_directory
@click.option(
    "--since", "dag_repository_since", metavar="REF", help="Parse the DAGs of what changed since this commit."
)
@click.option("--all", "dag_repository_everything", is_flag=True, help="Parse all DAGs.")
@opts.run_options(dry_run=True)
def check(**said: Any) -> int:
    """Look for collisions, wrong records and DAGs that the company's Airflow can't import."""
    return _run_in("check", **said)


@opts.command("remove", "cdr remove my-project", "cdr remove my-project airflow-dags --dry-run", of=command)
@click.argument("dag_repository_project", metavar="PROJECT")
@_directory
@opts.run_options(dry_run=True)
def remove(**said: Any) -> int:
    """Remove a project in one commit; its log stays."""
    return _run_in("remove", **said)


def _run_in(action: str, *, options: RunOptions, directory: Path, **said: Any) -> int:
    checkout = opts.absolute(str(directory))
    said |= {"dag_repository_directory": checkout, "dag_repository_state": STATES[action]}
    return _run.play("cdr", options, said)
