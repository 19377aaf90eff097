"""`gaiaflow-setup mlops`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions


ACTIONS = {
    "start": "Start the services, and wait until they answer.",
    "stop": "Stop the services; their data stays.",
    "restart": "Stop the services and start them again.",
}


def _check_build(runtime: str | None, cache: bool, docker_build: bool) -> None:
    if cache and not docker_build:
        raise click.UsageError("-c/--cache says how -b/--docker-build builds: it goes with that only.")
    if docker_build and runtime == "native":
        raise click.UsageError("-b/--docker-build is about images: it goes with --runtime docker only.")


def _losses(instance: str, services: tuple[str, ...]) -> str:
    from gaiaflow_py.catalogue import describe

    lost = "; ".join(describe(service)["losing"] for service in services or opts.SERVICES)
    return f"This deletes, on instance '{instance}': {lost}."


@opts.command(
    "mlops",
    "mlops --start --project ~/my-project",
    "mlops --restart --service airflow --service mlflow",
    "mlops --start --instance second -j 8900",
    "mlops --start --runtime docker",
    "mlops --export-compose compose.yaml",
    "mlops --stop --delete-volume",
)
@opts.actions(ACTIONS)
@click.option(
    "--service",
    "services",
    type=click.Choice(opts.SERVICES),
    multiple=True,
    help="Only this one; can be given again.  [default: all]",
)
@opts.jupyter_port_option
@click.option("-v", "--delete-volume", is_flag=True, help="Delete the services' data, too (asks).")
@opts.yes_option
@opts.project_option("The project whose DAGs are run.")
@opts.instance_option
@click.option(
    "--runtime",
    type=click.Choice(["native", "docker"]),
    help="Where the services run.  [default: as before; native for a new instance]",
)
@click.option("-b", "--docker-build", is_flag=True, help="Build the images anew, without a cache (--runtime docker).")
@click.option("-c", "--cache", is_flag=True, help="Let --docker-build use the build cache.")
@click.option(
    "--carry-data/--no-carry-data",
    default=None,
    help="Copy S3's objects when the runtime changes; the rest is shared.  [default: asks, or copies]",
)
@click.option(
    "--export-compose",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write a Compose file of the same containers, and start nothing.",
)
@opts.run_options(short_verbose=False)
def command(
    *,
    options: RunOptions,
    actions: Sequence[str],
    cache: bool,
    docker_build: bool,
    carry_data: bool | None,
    export_compose: str | None,
    delete_volume: bool,
    yes: bool,
    project: str | None,
    services: tuple[str, ...],
    jupyter_port: int | None,
    instance: str | None,
    runtime: str | None,
) -> int:
    """Start, stop or restart Airflow, MLflow, S3 and JupyterLab.

    A start returns when every service answers its health check, or fails naming the one that didn't. -v means
    --delete-volume here: Ansible's own output is --verbose.
    """
    from gaiaflow_py.request import mlops

    wanted = [*actions, *(["export-compose"] if export_compose else [])] or ["start"] * _run.is_plan()
    action = opts.the_one(wanted, (*ACTIONS, "export-compose"))
    if action == "export-compose":
        runtime = runtime or "docker"
    _check_build(runtime, cache, docker_build)
    path = _run.project_path(project, local=options.inventory is None, state="exists")
    if delete_volume and not (options.check or _run.is_plan()):
        losses = _losses(instance or "default", services)
        _run.confirm(losses, yes=yes, as_json=options.json)
    if action in ("start", "restart") and carry_data is None and not _run.is_plan():
        carry_data = _carries(instance or "default", runtime, options)
    request = mlops(
        action,
        options,
        instance=instance,
        project=path,
        services=services,
        jupyter_port=jupyter_port,
        runtime=runtime,
        mlops_delete_volumes=delete_volume,
        mlops_build="always" if docker_build else None,
        mlops_build_cache=cache,
        mlops_export_file=opts.absolute(export_compose) if export_compose else None,
    )
    if carry_data is not None:
        request = replace(request, variables={**request.variables, "mlops_carry_data": carry_data})
    return _run.run(request)


def _carries(instance: str, runtime: str | None, options: RunOptions) -> bool | None:
    """Ask whether S3's objects are to be copied, if this start changes a local instance's runtime."""
    from gaiaflow_py.instance import find

    found = find(instance) if options.inventory is None and not options.check else None
    if runtime is None or found is None or found.runtime == runtime:
        return None
    click.echo(
        f"Instance '{instance}' changes from {found.runtime} to {runtime}. Airflow's, MLflow's and JupyterLab's data is"
        " used by both; S3's objects are kept apart.",
        err=True,
    )
    if options.json or not sys.stdin.isatty():
        return None
    return click.confirm("Copy the objects?", default=True, err=True)
