"""`gaiaflow-setup bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gaiaflow_py import bundle
from gaiaflow_py import options as opts


@click.group(name="bundle", context_settings=opts.HELP)
def command() -> None:
    """Pack what an installation without a network needs into one file, and look into it.

    The file goes to the machine without a network: gaiaflow-setup workstation --bundle FILE
    """


@opts.command(
    "create", "bundle create gaiaflow.tar --project ~/my-project", "bundle create arm.tar --platform linux/arm64"
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--platform", type=click.Choice(tuple(bundle.PLATFORMS)), help="What it is for.  [default: this machine's]"
)
@click.option("--python", type=click.Choice(bundle.PYTHONS), help="Python's version there.  [default: this machine's]")
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
) -> None:
    """Make a bundle of every wheel and program that an installation downloads.

    What can't be had here, as its site can't be reached, is listed and left out.
    """
    import signal

    from gaiaflow_py import report
    from gaiaflow_py.commands._run import project_path

    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)  # as Ctrl-C: nothing is left behind
    default = bundle.this_machine()
    try:
        packed = bundle.create(
            file.expanduser().absolute(),
            bundle.Target(platform or default.platform, python or default.python),
            project=project_path(project, local=True, state="exists"),
            variables=_variables(extra_vars),
            cluster=cluster,
            strict=strict,
            as_json=as_json,
        )
    except KeyboardInterrupt:
        click.echo(
            "\nInterrupted: no bundle was made, and nothing is left of it. Run the same command again.", err=True
        )
        raise
    if as_json:
        report.document({"file": str(packed.file), "size": packed.size, **packed.manifest})
        return
    print(f"Made {packed.file}: {_summary(packed.manifest)}.")
    _warn(packed.manifest)
    print(f"\nNext, on the machine without a network:\n  ./gaiaflow-setup workstation --bundle {packed.file.name}")


@opts.command("show", "bundle show gaiaflow.tar", "bundle show gaiaflow.tar --json")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@opts.json_option
def show(*, file: Path, as_json: bool) -> None:
    """List what is in a bundle, and the packages of the distribution that a mirror there must have."""
    from gaiaflow_py import report

    manifest = bundle.read(file.expanduser().absolute())
    if as_json:
        report.document(manifest)
        return
    rows = [[name, f"{one['size'] / 1e6:.1f}"] for name, one in manifest["files"].items()]
    report.table(("file", "MB"), rows)
    print("\nPackages of the distribution that the roles install:")
    report.table(("variable", "packages"), list(_package_rows(manifest["packages"])))
    print(f"\n{_summary(manifest)}; digest {manifest['digest']}.")
    _warn(manifest)


def _variables(given: tuple[str | dict[str, Any], ...]) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = {}
    for one in given:
        found |= one if isinstance(one, dict) else yaml.safe_load(Path(one[1:]).expanduser().read_text())
    return found


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


def _package_rows(packages: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, value in packages.items():
        kinds = value.items() if isinstance(value, dict) else [("", value)]
        rows += [[f"{name} {kind}".strip(), " ".join(map(str, names))] for kind, names in kinds]
    return rows


command.add_command(create)
command.add_command(show)
