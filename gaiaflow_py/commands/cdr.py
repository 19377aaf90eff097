"""`gaiaflow-setup cdr`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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


@opts.command("init", "cdr init airflow-dags", "cdr init airflow-dags --airflow 3.2.1 --platform github")
@_directory
@click.option("--airflow", metavar="VERSION", help="The company's Airflow.  [default: that of the stack]")
@click.option("--platform", type=click.Choice(["github", "gitlab", "none"]), default="none", help="Whose workflow.")
@click.option("--branch", metavar="NAME", default="main", show_default=True, help="What Airflow follows.")
@opts.run_options(dry_run=True)
def init(*, options: RunOptions, directory: Path, airflow: str | None, platform: str, branch: str) -> int:
    """Make one, with its first commit; what is there already stays as it is."""
    return _run_in(directory, "init", options, airflow=airflow, platform=platform, branch=branch)


@opts.command("check", "cdr check", "cdr check --since origin/main", "cdr check airflow-dags --all")
@_directory
@click.option("--since", metavar="REF", help="Parse the DAGs of what changed since this commit.")
@click.option("--all", "everything", is_flag=True, help="Parse all DAGs.")
@opts.run_options(dry_run=True)
def check(*, options: RunOptions, directory: Path, since: str | None, everything: bool) -> int:
    """Look for collisions, wrong records and DAGs that the company's Airflow can't import."""
    return _run_in(directory, "check", options, since=since, everything=everything)


@opts.command("remove", "cdr remove my-project", "cdr remove my-project airflow-dags --dry-run")
@click.argument("project")
@_directory
@opts.run_options(dry_run=True)
def remove(*, options: RunOptions, project: str, directory: Path) -> int:
    """Remove a project in one commit; its log stays."""
    return _run_in(directory, "remove", options, project=project)


for _one in (init, check, remove):
    command.add_command(_one)


def _run_in(directory: Path, action: str, options: RunOptions, **said: object) -> int:
    from gaiaflow_py.request import Request, given, typed

    checkout = opts.absolute(str(directory))
    variables = given(
        dag_repository_directory=checkout,
        dag_repository_state=STATES[action],
        **{f"dag_repository_{name}": value for name, value in said.items()},
    )
    command = typed(f"cdr {action}", said.get("project"), checkout)
    return _run.run(Request("cdr", command, variables, options))
