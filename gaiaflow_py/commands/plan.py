"""`gaiaflow-setup plan`."""

from __future__ import annotations

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run
from gaiaflow_py.lazy import LazyGroup

TARGETS = ("workstation", "mlops")


class PlanGroup(LazyGroup):
    """Runs the commands that can be planned, in check mode; `workstation` when none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in the default command.

        Args:
            ctx: Click's context.
            args: The arguments.
        """
        if not ctx.resilient_parsing and (
            not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        ):
            args = [TARGETS[0], *args]
        return super().parse_args(ctx, args)


@click.group(
    name="plan",
    cls=PlanGroup,
    offered=TARGETS,
    epilog=opts.example_text(
        "plan", "plan workstation --project ~/my-project", "plan mlops --restart --service airflow"
    ),
    context_settings=opts.HELP,
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Say what workstation (the default) or mlops would change, and change nothing.

    Takes the options of the command that is planned.
    """
    ctx.meta[_run.PLAN] = True
