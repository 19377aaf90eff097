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
    from gaiaflow_py import report
    from gaiaflow_py.events import RunResult
    from gaiaflow_py.instance import load
    from gaiaflow_py.request import Request, given

    found = load(instance or "default") if options.inventory is None else None
    request = Request("status", "status", given(mlops_instance=instance), options, is_question=True)
    if found is None or options.is_for_ansible or options.extra_vars:
        from gaiaflow_py import runner

        result = runner.run(request)
    else:
        result = RunResult(services=found.states())
    if options.json:
        failed = report.run_document(result) if result.status != "ok" else {}
        report.document({"services": result.services} | failed)
    elif result.status == "ok":
        report.services(result.services)
    else:
        report.outcome(request, result)
    return result.exit_code
