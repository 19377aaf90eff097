"""`gaiaflow-setup status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaiaflow_py import options as opts

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions


@opts.command("status", "status", "status --instance second --json")
@opts.instance_option
@opts.run_options()
def command(*, options: RunOptions, instance: str | None) -> int:
    """Show each service's state, health, URL, uptime and memory.

    The exit code is 0 when the question could be answered, whatever the answer is: a stopped stack is no error.
    """
    from gaiaflow_py import services

    if not services.can_answer(options):
        return _ask_ansible(instance, options)
    from gaiaflow_py import report
    from gaiaflow_py.instance import load

    states = services.states(load(instance or "default").name)
    if options.json:
        report.document({"services": states})
    else:
        report.services(states)
    return 0


def _ask_ansible(instance: str | None, options: RunOptions) -> int:
    from gaiaflow_py import report, runner
    from gaiaflow_py.instance import load
    from gaiaflow_py.request import Stack

    if options.inventory is None:
        load(instance or "default")
    request = Stack(instance=instance).status(options)
    result = runner.run(request)
    if options.json:
        failed = report.run_document(result) if result.status != "ok" else {}
        report.document({"services": result.services} | failed)
    elif result.status == "ok":
        report.services(result.services)
    else:
        report.outcome(request, result)
    return result.exit_code
