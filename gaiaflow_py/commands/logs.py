"""`gaiaflow-setup logs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from gaiaflow_py import options as opts

if TYPE_CHECKING:
    from gaiaflow_py.logs import Line


@opts.command("logs", "logs airflow", "logs -f -n 20 airflow-scheduler")
@click.argument("service")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="How many lines.")
@opts.instance_option
@opts.json_option
def command(service: str, follow: bool, lines: int, instance: str | None, as_json: bool) -> None:
    """Show the end of a service's log.

    SERVICE is a service, like airflow, or one of its programs, like airflow-scheduler: `gaiaflow-setup status` lists
    them. The logs of several programs are shown as one, each line with its program's name.
    """
    from gaiaflow_py import container_logs, logs, report
    from gaiaflow_py.instance import load

    if follow and as_json:
        raise click.UsageError("--follow has no end, so it can't be one JSON document: leave --json or --follow out.")
    found = load(instance or "default")
    added: Iterator[Line]
    if found.runtime == "docker":
        containers = container_logs.containers(found, service)
        programs, last, added = (
            len(containers),
            container_logs.tail(containers, lines),
            container_logs.follow(containers),
        )
    else:
        files = found.logs(service)
        places = logs.ends(files)
        programs, last = len(files), logs.tail(files, lines, places)
        added = logs.follow(files, places)
    if as_json:
        report.document({"service": service, "lines": [line._asdict() for line in last]})
        return
    _print(last, prefixed=programs > 1)
    if follow:
        for line in added:
            _print([line], prefixed=programs > 1)


def _print(lines: Sequence[tuple[str, str]], *, prefixed: bool) -> None:
    for program, text in lines:
        print(f"{program} | {text}" if prefixed else text, flush=True)
