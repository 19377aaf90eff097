"""`gaiaflow-setup credentials`."""

from __future__ import annotations

from gaiaflow_py import options as opts


@opts.command("credentials", "credentials", "credentials --json")
@opts.instance_option
@opts.json_option
def command(instance: str | None, as_json: bool) -> None:
    """Show user names, passwords and tokens of this machine's services."""
    from gaiaflow_py import report
    from gaiaflow_py.instance import load

    found = load(instance or "default").credentials()
    if as_json:
        report.document(found)
        return
    rows = [
        {"service": service, "what": name, "value": value}
        for service, values in found.items()
        for name, value in values.items()
    ]
    report.table({"service": "service", "what": "what", "value": "value"}, rows)
