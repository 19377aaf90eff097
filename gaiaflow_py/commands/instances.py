"""`gaiaflow-setup instances`."""

from __future__ import annotations

from gaiaflow_py import options as opts


@opts.command("instances", "instances", "instances --json")
@opts.json_option
def command(as_json: bool) -> None:
    """List the instances of the stack on this machine."""
    from gaiaflow_py import report
    from gaiaflow_py.called import as_called
    from gaiaflow_py.instance import load, names

    fields = ("name", "project", "runtime", "ports", "urls")
    found = [{field: getattr(load(name), field) for field in fields} for name in names()]
    if as_json:
        report.document({"instances": found})
    elif not found:
        print(as_called("There are none yet: gaiaflow-setup mlops --start makes one."))
    else:
        rows = [{**one, "project": one["project"] or "-", "urls": " ".join(one["urls"].values())} for one in found]
        report.table({"name": "instance", "runtime": "runtime", "project": "project", "urls": "URLs"}, rows)
