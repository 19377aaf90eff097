"""`gaiaflow-setup images`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions


@opts.command("images", "images --project ~/my-project", "images -b", "images -b -c --json")
@opts.project_option("The project whose image is built.  [default: the current directory]")
@click.option("-b", "--docker-build", is_flag=True, help="Build the image though nothing has changed, without a cache.")
@click.option("-c", "--cache", is_flag=True, help="With -b: use the layers of earlier builds.")
@opts.run_options()
def command(*, options: RunOptions, project: str | None, docker_build: bool, cache: bool) -> int:
    """Build the image that a project's tasks run from.

    It is named PROJECT/PACKAGE:VERSION, and built only if what goes into it has changed.
    """
    from gaiaflow_py.request import build_image

    path = _run.project_path(project or ".", local=options.inventory is None, state="exists")
    assert path is not None
    return _run.run(build_image(path, options, always=docker_build, cache=cache or not docker_build))
