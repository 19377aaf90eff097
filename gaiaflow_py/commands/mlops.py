"""`gaiaflow-setup mlops`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.request import Action, RunOptions

LOSSES = {
    "airflow": "Airflow's runs, variables and connections",
    "mlflow": "MLflow's experiments, runs and models",
    "minio": "every object in S3",
    "jupyter": "JupyterLab's settings",
}
"""What is lost with each service's data."""


def _action(start: bool, stop: bool, restart: bool) -> Action:
    actions: dict[Action, bool] = {"start": start, "stop": stop, "restart": restart}
    given = [action for action, wanted in actions.items() if wanted]
    if not given and _run.is_plan():
        return "start"
    if len(given) != 1:
        got = " and ".join(f"--{action}" for action in given) or "none"
        raise click.UsageError(f"Give exactly one of --start, --stop and --restart (got {got}).")
    return given[0]


def _check_runtime(runtime: str | None, cache: bool, docker_build: bool) -> None:
    if runtime == "docker":
        raise click.BadParameter(
            "'docker' isn't available yet; 'native' needs no Docker and runs the same services.", param_hint="--runtime"
        )
    for given, name in ((cache, "-c/--cache"), (docker_build, "-b/--docker-build")):
        if given:
            raise click.UsageError(f"{name} is about building images: it goes with --runtime docker only.")


def _losses(instance: str, services: tuple[str, ...]) -> str:
    lost = "; ".join(LOSSES[service] for service in services or opts.SERVICES)
    return f"This deletes, on instance '{instance}': {lost}."


@opts.command(
    "mlops",
    "mlops --start --project ~/my-project",
    "mlops --restart --service airflow --service mlflow",
    "mlops --start --instance second -j 8900",
    "mlops --stop --delete-volume",
)
@click.option("--start", is_flag=True, help="Start the services, and wait until they answer.")
@click.option("--stop", is_flag=True, help="Stop the services; their data stays.")
@click.option("--restart", is_flag=True, help="Stop the services and start them again.")
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
@click.option("--runtime", type=click.Choice(["native", "docker"]), help="Where the services run.  [default: native]")
@click.option("-c", "--cache", is_flag=True, help="Use the build cache (--runtime docker).")
@click.option("-b", "--docker-build", is_flag=True, help="Build the images anew (--runtime docker).")
@opts.run_options(short_verbose=False)
def command(
    *,
    options: RunOptions,
    start: bool,
    stop: bool,
    restart: bool,
    cache: bool,
    docker_build: bool,
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
    from gaiaflow_py.request import Stack

    action = _action(start, stop, restart)
    _check_runtime(runtime, cache, docker_build)
    path = _run.project_path(project, local=options.inventory is None, state="exists")
    if delete_volume and not (options.check or _run.is_plan()):
        losses = _losses(instance or "default", services)
        _run.confirm(losses, yes=yes, as_json=options.json)
    stack = Stack(instance, path, services, jupyter_port, runtime)
    return _run.run(stack.change(action, options, delete_volumes=delete_volume))
