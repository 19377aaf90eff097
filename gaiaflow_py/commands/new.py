"""`gaiaflow-setup new`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gaiaflow_py import options as opts


def _template() -> Path:
    from gaiaflow_py.paths import content_root

    return content_root() / "template"


def _known() -> list[str]:
    return [name for name in json.loads((_template() / "cookiecutter.json").read_text()) if not name.startswith("_")]


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [f"{name}=" for name in _known() if name.startswith(incomplete)]


def _values(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    known = _known()
    values = {}
    for pair in given:
        name, separator, value = pair.partition("=")
        if not separator:
            raise click.BadParameter(f"'{pair}' is not name=value.")
        if name not in known:
            raise click.BadParameter(f"the template has no '{name}'; it has: {', '.join(known)}.")
        values[name] = value
    return values


@opts.command("new", "new", 'new --no-input --output-dir ~/projects project_name="My project"')
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...", callback=_values, shell_complete=_complete)
@click.option("--output-dir", "-o", type=click.Path(path_type=Path, file_okay=False), default=".", help="Where to.")
@click.option("--no-input", is_flag=True, help="Don't ask: take the values given, and defaults for the others.")
@opts.json_option
def command(values: dict[str, str], output_dir: Path, no_input: bool, as_json: bool) -> None:
    """Make a project from the template.

    Asks for what isn't given. The values are the template's variables.
    """
    from gaiaflow_py import report
    from gaiaflow_py.project import generate

    project = generate(_template(), output_dir.expanduser().absolute(), values, ask=not (no_input or as_json))
    if as_json:
        report.document({"project": str(project)})
        return
    print(
        f"Made {project}\n\nNext:\n  gaiaflow-setup mlops --start --project '{project}'\n  gaiaflow-setup open airflow"
    )
