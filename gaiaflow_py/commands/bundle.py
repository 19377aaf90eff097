"""`gaiaflow-setup bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gaiaflow_py import options as opts

SPECIFICATION = opts.arguments_of("bundle", "pack")
"""What the role that makes bundles takes."""


@click.group(name="bundle", context_settings=opts.HELP)
def command() -> None:
    """Pack what an installation without a network needs into one file, and look into it.

    The file goes to the machine without a network: gaiaflow-setup workstation --bundle FILE
    """


def _choices(variable: str) -> click.Choice[str]:
    return click.Choice([choice for choice in SPECIFICATION[variable]["choices"] if choice])


@opts.command(
    "create",
    "bundle create gaiaflow.tar --project ~/my-project",
    "bundle create arm.tar --platform linux/arm64",
    of=command,
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--platform", type=_choices("bundle_platform"), help="What it is for.  [default: this machine's]")
@click.option("--python", type=_choices("bundle_python"), help="Python's version there.  [default: this machine's]")
@opts.project_option("A project whose dependencies are packed, too.")
@click.option(
    "-e", "--extra-vars", type=opts.ExtraVariable(), multiple=True, help="A variable, such as minikube_mirror."
)
@click.option("--cluster", is_flag=True, help="Pack what cluster --start downloads, too (needs Minikube and Docker).")
@click.option("--strict", is_flag=True, help="A program that can't be had is an error.")
@opts.json_option
def create(
    *,
    file: Path,
    platform: str | None,
    python: str | None,
    project: str | None,
    extra_vars: tuple[str | dict[str, Any], ...],
    cluster: bool,
    strict: bool,
    as_json: bool,
) -> int:
    """Make a bundle of every wheel and program that an installation downloads.

    What can't be had here, as its site can't be reached, is listed and left out.
    """
    from gaiaflow_py import report
    from gaiaflow_py.commands import _run
    from gaiaflow_py.request import Request, RunOptions, given

    file = _place(file)
    path = _run.project_path(project, local=True, state="exists")
    variables = given(
        bundle_file=file,
        bundle_platform=platform,
        bundle_python=python,
        bundle_projects=[str(path)] if path else None,
        bundle_cluster=cluster,
        bundle_strict=strict,
    )
    values, files = opts.variables(extra_vars)
    try:
        _run.make(Request("bundle", "bundle", variables, RunOptions(extra_vars=values, var_files=files, json=as_json)))
    except KeyboardInterrupt:
        report.message("\nInterrupted: no bundle was made, and nothing is left of it. Run the same command again.")
        raise
    manifest = _read(file)
    if as_json:
        del manifest["digest"]  # whoever unpacks it, names it by that
        report.document({"file": str(file), "size": file.stat().st_size, **manifest})
        return 0
    print(f"Made {file}: {_summary(manifest)}.")
    _warn(manifest)
    print(f"\nNext, on the machine without a network:\n  ./gaiaflow-setup workstation --bundle {file.name}")
    return 0


def _place(file: Path) -> Path:
    """Return the bundle's absolute path, if it can be made there."""
    from gaiaflow_py.errors import InputError

    place = file.expanduser().absolute()
    if not place.parent.is_dir():
        raise InputError(f"The bundle '{place}' can't be made: No such file or directory.")
    return place


def _read(file: Path) -> dict[str, Any]:
    """Return what a bundle tells about itself, and its digest."""
    from ansible_collections.gaiaflow.setup.plugins.module_utils import bundle as utils
    from gaiaflow_py.errors import InputError

    try:
        bundle = utils.read(file)
    except utils.BundleError as error:
        raise InputError(str(error)) from error
    return {"digest": bundle.digest, **bundle.manifest}


@opts.command("show", "bundle show gaiaflow.tar", "bundle show gaiaflow.tar --json", of=command)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@opts.json_option
def show(*, file: Path, as_json: bool) -> None:
    """List what is in a bundle, and the packages of the distribution that a mirror there must have."""
    from gaiaflow_py import report

    manifest = _read(file.expanduser().absolute())
    if as_json:
        report.document(manifest)
        return
    rows = [{"name": name, "size": f"{one['size'] / 1e6:.1f}"} for name, one in manifest["files"].items()]
    report.table({"name": "file", "size": "MB"}, rows)
    print("\nPackages of the distribution that the roles install:")
    report.table({"variable": "variable", "packages": "packages"}, _package_rows(manifest["packages"]))
    print(f"\n{_summary(manifest)}; digest {manifest['digest']}.")
    _warn(manifest)


def _summary(manifest: dict[str, Any]) -> str:
    files = manifest["files"]
    wheels = sum(name.startswith("wheels/") for name in files)
    programs = " and ".join(f"{name} {version}" for name, version in manifest["versions"].items()) or "no program"
    megabytes = sum(one["size"] for one in files.values()) / 1e6
    release = f"gaiaflow-setup {manifest['gaiaflow_setup']}, {manifest['platform']}, Python {manifest['python']}"
    return f"{wheels} wheels and {programs}, {megabytes:.0f} MB, for {release}"


def _warn(manifest: dict[str, Any]) -> None:
    from gaiaflow_py import report

    for one in manifest["missing"]:
        report.message(f"Missing: {one['component']}: {one['reason']}")


def _package_rows(packages: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"variable": f"{name} {kind}".strip(), "packages": " ".join(map(str, names))}
        for name, value in packages.items()
        for kind, names in (value.items() if isinstance(value, dict) else [("", value)])
    ]
