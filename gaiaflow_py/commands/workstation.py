"""`gaiaflow-setup workstation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions

COMPONENTS = ("docker", "minikube")
"""What can be left out."""


@opts.command(
    "workstation",
    "workstation --project ~/my-project",
    "workstation --without docker --without minikube",
    "workstation --bundle /media/usb/gaiaflow.tar",
    "workstation -i inventory/fleet.yml -K",
    "workstation --instance second --check --diff",
)
@opts.project_option("The project to wire to the stack; an example project is made there if it is absent.")
@opts.instance_option
@opts.jupyter_port_option
@click.option(
    "--without",
    "workstation_without",
    type=click.Choice(COMPONENTS),
    multiple=True,
    help="Leave a component out; may be given again.",
)
@opts.bundle_option
@click.option(
    "--conda", "conda_enabled", is_flag=True, help="Install Miniforge, too, with an environment for the project."
)
@click.option("--strict", is_flag=True, help="What would be left for later, as a site can't be reached, is an error.")
@opts.run_options()
def command(
    *,
    options: RunOptions,
    project: str | None,
    instance: str | None,
    jupyter_port: int | None,
    strict: bool,
    **said: Any,
) -> int:
    """Bring this machine to its wanted state, and keep it there: run it again and nothing changes.

    Checks the machine, installs Docker and Minikube's prerequisites, starts the stack and makes an example project
    that is wired to it. Ends with the URLs, the user names, and where the passwords are.
    """
    from gaiaflow_py.request import given

    path = _run.project_path(project, local=options.inventory is None, state="any")
    said |= {"mlops_instance": instance, "mlops_project": path, "mlops_port_overrides": given(jupyter=jupyter_port)}
    return _run.play("workstation", options, said, locks=(instance or "default",), strict=strict)
