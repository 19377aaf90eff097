"""`gaiaflow-setup models`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


@opts.command("serve", "models serve wine", "models serve wine@champion", "models serve wine/3 --port 5010", of=command)
@click.argument("models_name", metavar="MODEL")
@click.option(
    "--port",
    "models_port",
    type=click.IntRange(1, 65535),
    help="Its port.  [default: as before, or a free one from 5101]",
)
@opts.instance_option
@opts.run_options()
def serve(**said: Any) -> int:
    """Serve a model on this machine, until it is stopped.

    MLflow's own server answers on loopback, comes back when it is killed, and is a service of the instance: `status`,
    `logs`, `mlops --restart --service models`. When the alias has moved, run this again.
    """
    return _models("served", **said)


@opts.command("stop", "models stop wine", of=command)
@click.argument("models_name", metavar="NAME")
@opts.instance_option
@opts.run_options()
def stop(**said: Any) -> int:
    """Serve a model no more on this machine; it stays registered."""
    return _models("stopped", **said)


@opts.command("image", "models image wine@champion", "models image wine/3 -e base_image=python:3.12-slim", of=command)
@click.argument("models_name", metavar="MODEL")
@click.option(
    "-b",
    "--docker-build",
    "model_image_always",
    is_flag=True,
    help="Build the image though nothing has changed, without a cache.",
)
@opts.instance_option
@opts.run_options()
def image(**said: Any) -> int:
    """Build an image that serves a model on port 8080.

    It holds the model and what the model itself needs, pinned with hashes; it runs as no root, and knows no credential.
    """
    return _models("built", **said)


@opts.command(
    "deploy",
    "models deploy wine@champion",
    "models deploy wine --rollback",
    "models deploy wine --delete",
    of=command,
)
@click.argument("models_name", metavar="MODEL")
@click.option("--rollback", is_flag=True, help="Go back to what was served before.")
@click.option("--delete", is_flag=True, help="Serve it in the cluster no more (asks).")
@opts.kubeconfig_options("The kubeconfig of another cluster than this machine's.")
@opts.yes_option
@opts.instance_option
@opts.run_options()
def deploy(
    *,
    options: RunOptions,
    models_name: str,
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
        _run.confirm(f"This deletes the Deployment and the Service of '{models_name}'.", yes=yes, as_json=options.json)
    file = opts.absolute(kubeconfig) if kubeconfig else None
    state = "rolled_back" if rollback else "undeployed" if delete else "deployed"
    said = {"models_name": models_name, "cluster_kubeconfig": file, "cluster_context": context}
    return _models(state, options=options, instance=instance, **said)


def _models(state: str, *, options: RunOptions, instance: str | None, **said: Any) -> int:
    said |= {"models_state": state, "models_instance": instance}
    return _run.play("models", options, said, locks=(instance or "default",))
