"""`gaiaflow-setup models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions


@click.group(name="models", context_settings=opts.HELP)
def command() -> None:
    """Serve registered models on this machine and in the cluster.

    MODEL is NAME for the newest version, NAME@ALIAS or NAME/VERSION, as MLflow's registry of the instance has it.
    """


@opts.command("serve", "models serve wine", "models serve wine@champion", "models serve wine/3 --port 5010")
@click.argument("model")
@click.option("--port", type=click.IntRange(1, 65535), help="Its port.  [default: as before, or a free one from 5001]")
@opts.instance_option
@opts.run_options()
def serve(*, options: RunOptions, model: str, port: int | None, instance: str | None) -> int:
    """Serve a model on this machine, until it is stopped.

    MLflow's own server answers on loopback, comes back when it is killed, and is a service of the instance: `status`,
    `logs`, `mlops --restart --service models`. When the alias has moved, run this again.
    """
    return _models("serve", "served", options, model, instance, models_port=port)


@opts.command("stop", "models stop wine")
@click.argument("model", metavar="NAME")
@opts.instance_option
@opts.run_options()
def stop(*, options: RunOptions, model: str, instance: str | None) -> int:
    """Serve a model no more on this machine; it stays registered."""
    return _models("stop", "stopped", options, model, instance)


@opts.command("image", "models image wine@champion", "models image wine/3 -e base_image=python:3.12-slim")
@click.argument("model")
@click.option("-b", "--docker-build", is_flag=True, help="Build the image though nothing has changed, without a cache.")
@opts.instance_option
@opts.run_options()
def image(*, options: RunOptions, model: str, docker_build: bool, instance: str | None) -> int:
    """Build an image that serves a model on port 8080.

    It holds the model and what the model itself needs, pinned with hashes; it runs as no root, and knows no credential.
    """
    return _models("image", "built", options, model, instance, model_image_always=docker_build)


@opts.command("deploy", "models deploy wine@champion", "models deploy wine --rollback", "models deploy wine --delete")
@click.argument("model")
@click.option("--rollback", is_flag=True, help="Go back to what was served before.")
@click.option("--delete", is_flag=True, help="Serve it in the cluster no more (asks).")
@opts.kubeconfig_options("The kubeconfig of another cluster than this machine's.")
@opts.yes_option
@opts.instance_option
@opts.run_options()
def deploy(
    *,
    options: RunOptions,
    model: str,
    rollback: bool,
    delete: bool,
    kubeconfig: str | None,
    context: str | None,
    yes: bool,
    instance: str | None,
) -> int:
    """Serve a model in the cluster, by a Deployment and a Service.

    When the alias has moved, run this again: pods of the new version take over one by one, when they answer.
    """
    if rollback and delete:
        raise click.UsageError("Give one of --rollback and --delete.")
    opts.refuse_half_a_cluster(kubeconfig, context)
    if delete and not options.check:
        _run.confirm(f"This deletes the Deployment and the Service of '{model}'.", yes=yes, as_json=options.json)
    file = opts.absolute(kubeconfig) if kubeconfig else None
    state = "rolled_back" if rollback else "undeployed" if delete else "deployed"
    return _models("deploy", state, options, model, instance, cluster_kubeconfig=file, cluster_context=context)


for _one in (serve, stop, image, deploy):
    command.add_command(_one)


def _models(action: str, state: str, options: RunOptions, model: str, instance: str | None, **more: object) -> int:
    from gaiaflow_py.request import Request, given, typed

    variables = {"models_name": model, "models_state": state, **given(models_instance=instance, **more)}
    return _run.run(Request("models", typed(f"models {action}", model), variables, options, (instance or "default",)))
