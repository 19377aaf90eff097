"""`gaiaflow-setup cluster`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions


ACTIONS = {
    "start": "Start Kubernetes, and connect the stack with it.",
    "stop": "Stop it; what is in it stays.",
    "restart": "Stop it and start it again.",
    "delete": "Delete it with all that is in it (asks).",
    "build-only": "Only build the project's image, and put it where pods find it.",
    "create-config-only": "Only write the kubeconfig that Airflow uses.",
    "create-secrets": "Only make the secrets that the project declares.",
}


def _check(action: str, kubeconfig: str | None, context: str | None, *, force_new: bool) -> None:
    if force_new and action not in ("start", "restart"):
        raise click.UsageError("--force-new says how a cluster is started: it goes with --start and --restart only.")
    opts.refuse_half_a_cluster(kubeconfig, context)
    if kubeconfig and (action in ("stop", "delete", "restart") or force_new):
        raise click.UsageError(
            "A cluster that --kubeconfig names is somebody else's: it is neither stopped nor deleted."
        )


@opts.command(
    "cluster",
    "cluster --start",
    "cluster --build-only",
    "cluster --restart",
    "cluster --start --kubeconfig ~/.kube/config --context team",
    "cluster --start -e cluster_memory_mb=8192 -e cluster_cpus=4",
    "cluster --delete",
)
@opts.actions(ACTIONS, short={"stop": "s", "restart": "r"})
@click.option("--force-new", is_flag=True, help="Delete the Minikube profile first, with all that is in it (asks).")
@opts.kubeconfig_options("Use a cluster that is there already, in place of Minikube.")
@opts.yes_option
@opts.project_option("The project whose image is built.  [default: the instance's]")
@opts.instance_option
@opts.run_options(short_verbose=False)
def command(
    *,
    options: RunOptions,
    actions: Sequence[str],
    force_new: bool,
    kubeconfig: str | None,
    context: str | None,
    yes: bool,
    project: str | None,
    instance: str | None,
) -> int:
    """Start, stop or restart Kubernetes on this machine, and connect the stack with it.

    A start makes the Minikube profile `airflow`, the registry that images get to it by, the account that Airflow uses,
    and the project's image. Tasks of a DAG run there as pods when GAIAFLOW_ENV is prod_local. `status` shows it with
    the services.
    """
    from gaiaflow_py.request import cluster

    action = opts.the_one(actions, tuple(ACTIONS))
    _check(action, kubeconfig, context, force_new=force_new)
    path = _run.project_path(project, local=options.inventory is None, state="exists")
    if (action == "delete" or force_new) and not options.check:
        loss = "This deletes the Minikube profile with its pods, and every secret that was made in it."
        _run.confirm(loss, yes=yes, as_json=options.json)
    file = opts.absolute(kubeconfig) if kubeconfig else None
    request = cluster(
        action, options, instance=instance, project=path, kubeconfig=file, context=context, force_new=force_new
    )
    if action == "build-only":
        from gaiaflow_py import pushed, report

        if (result := pushed.find_unchanged(request)) is not None:
            report.run(request, result)
            return 0
    return _run.run(request)
