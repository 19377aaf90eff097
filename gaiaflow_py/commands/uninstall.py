"""`gaiaflow-setup uninstall`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions


@opts.command("uninstall", "uninstall", "uninstall --instance second --yes")
@click.option("--instance", type=opts.InstanceName(), help="The one instance to remove.  [default: all of them]")
@opts.yes_option
@opts.run_options()
def command(*, options: RunOptions, instance: str | None, yes: bool) -> int:
    """Remove the stack from this machine: processes, environments, data and logs.

    Without --instance, all instances go, and everything else that gaiaflow-setup keeps, the Minikube cluster included.
    Projects stay.
    """
    from gaiaflow_py import paths
    from gaiaflow_py.instance import names

    chosen = (instance,) if instance else tuple(sorted({"default", *names()}))
    if not options.check:
        what = f"instance '{instance}'" if instance else "all instances"
        place = f" in {paths.home()}" if options.inventory is None else ""
        question = f"This deletes {what}{place}: Airflow's runs, MLflow's experiments and models, every object in S3."
        if not instance and options.inventory is None and (paths.home() / "cluster").exists():
            question += " The Minikube cluster goes, too, with all that is in it."
        _run.confirm(question, yes=yes, as_json=options.json)
    leaves_nothing = options.inventory is None and not options.check
    said = {"uninstall_instance": instance}
    return _run.play("uninstall", options, said, locks=chosen, leaves_nothing=leaves_nothing)
