"""`gaiaflow-setup doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gaiaflow_py import options as opts

if TYPE_CHECKING:
    from gaiaflow_py.request import RunOptions


@opts.command("doctor", "doctor", "doctor --fix", "doctor -i inventory/fleet.example.yml --json")
@click.option("--fix", is_flag=True, help="Repair what can be repaired.")
@opts.run_options()
def command(*, options: RunOptions, fix: bool) -> int:
    """Find what is wrong with this machine, explain it, and say what to do.

    Looks at Docker, Minikube, the stack, and what they need of the machine. Changes nothing without --fix. What only
    root can repair is repaired with sudo where that asks for no password, or with -K; otherwise the command is shown.

    The exit code is 0 when nothing is wrong, and 1 when something is, or is still.
    """
    from gaiaflow_py import findings, report, runner
    from gaiaflow_py.request import Request, given

    variables = given(doctor_fix=fix, doctor_sudo=options.become_password is not None)
    request = Request("doctor", "doctor --fix" if fix else "doctor", variables, options)
    result = runner.run(request)
    if options.json:
        report.document({"status": result.status, "findings": result.findings} | report.run_document(result))
    else:
        findings.show(result)
        if result.status != "ok":
            report.outcome(request, result)
    return result.exit_code
