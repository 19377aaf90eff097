"""`gaiaflow-setup release`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions

STATES = {"all": "released", "check": "checked", "image": "pushed", "dags": "delivered", "rollback": "rolled_back"}
"""What the role is to bring about, by the command."""


@click.group(name="release", context_settings=opts.HELP)
def command() -> None:
    """Bring a version of a project to the company's Airflow.

    Where to stands in the project's prod.yaml. Each of these can be run again: what is done is left alone.
    """


def _options(function: opts.Command) -> opts.Command:
    choices: list[opts.Decorator] = [
        opts.project_option("The project.  [default: the current directory]"),
        click.option(
            "--stage", "release_stage", metavar="NAME", help="The stage in prod.yaml.  [default: the first one]"
        ),
    ]
    for choice in reversed(choices):
        function = choice(function)
    return function


_tag_option = click.option(
    "--tag",
    "release_tag",
    metavar="TAG",
    help="What must be the version.  [default: the workflow's, or one on the commit]",
)


@opts.command("all", "release all", "release all --stage production", "release all --dry-run", of=command)
@_options
@_tag_option
@opts.run_options(dry_run=True)
def everything(**said: Any) -> int:
    """Check, push the image, and put the DAGs into the central DAG repository.

    The same as `check`, `image` and `dags`, in one run: nothing is pushed before all is checked.
    """
    return _release("all", **said)


@opts.command("check", "release check", "release check --stage production --tag v1.2.0", of=command)
@_options
@_tag_option
@opts.run_options(dry_run=True)
def check(**said: Any) -> int:
    """Say what stands in the way of a release, and push nothing."""
    return _release("check", **said)


@opts.command("image", "release image", "release image --dry-run", of=command)
@_options
@_tag_option
@opts.run_options(dry_run=True)
def image(**said: Any) -> int:
    """Build the image, and push it by the package's version.

    Nothing is pushed where the registry has it. A version that is there with another content is refused.
    """
    return _release("image", **said)


@opts.command("dags", "release dags", "release dags --stage production", "release dags --dry-run", of=command)
@_options
@_tag_option
@opts.run_options(dry_run=True)
def dags(**said: Any) -> int:
    """Put the DAGs into the central DAG repository, with the image by its digest.

    They are checked there first: with the other projects' DAGs, and by the company's version of Airflow.
    """
    return _release("dags", **said)


@opts.command("rollback", "release rollback 1.1.0", "release rollback 1.1.0 --stage production --dry-run", of=command)
@click.argument("release_version", metavar="VERSION")
@_options
@opts.run_options(dry_run=True)
def rollback(**said: Any) -> int:
    """Put the DAGs back as a version had them, in one commit."""
    return _release("rollback", **said)


def _release(action: str, *, options: RunOptions, project: str | None, **said: Any) -> int:
    path = _run.project_path(project or ".", local=options.inventory is None, state="exists")
    return _run.play("release", options, {"release_project": path, "release_state": STATES[action], **said})
