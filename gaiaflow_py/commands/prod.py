"""`gaiaflow-setup prod`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from gaiaflow_py import options as opts
from gaiaflow_py.commands import _run

if TYPE_CHECKING:
    from gaiaflow_py.events import RunResult
    from gaiaflow_py.request import RunOptions


@click.group(name="prod", context_settings=opts.HELP)
def command() -> None:
    """Compare a company's cluster and Airflow with what a project needs.

    What it needs stands in prod.yaml beside the project's DAGs.
    """


@opts.command(
    "check",
    "prod check --project ~/my-project --context team",
    "prod check --stage production --no-pod",
    "prod check --apply --check --diff",
    "prod check --apply --secret my-creds=prod.env",
    of=command,
)
@opts.project_option("The project.  [default: the current directory]")
@click.option(
    "--stage", "--environment", "stage", metavar="NAME", help="Which stage of prod.yaml.  [default: the first]"
)
@opts.kubeconfig_options(
    "The kubeconfig of whoever asks.  [default: ~/.kube/config]",
    "The context in that file.  [default: its current one]",
)
@click.option("--image", metavar="IMAGE", help="The tasks' image.  [default: the released one]")
@click.option("--no-pod", is_flag=True, help="Start no pod: image, MLflow and S3 are not checked then.")
@click.option("--apply", is_flag=True, help="Make what is missing; shows it first, and asks.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME=FILE", help="Make this secret from a .env file.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask before something is made.")
@opts.run_options()
def check(
    *,
    options: RunOptions,
    project: str | None,
    stage: str | None,
    kubeconfig: str | None,
    context: str | None,
    image: str | None,
    no_pod: bool,
    apply: bool,
    secrets: tuple[str, ...],
    yes: bool,
) -> int:
    """Say in a table what is there, and what is missing.

    Namespace, accounts and their rights, secrets and their keys, quota, the image, MLflow and S3 from a pod, Airflow's
    version and provider. Reads only, but for a pod that looks around and is deleted. No secret's value is read out.

    The exit code is 0 when nothing is missing or wrong, and 1 when something is.
    """
    from gaiaflow_py.request import given

    if secrets and not apply:
        raise click.UsageError("--secret says what --apply makes: it goes with --apply only.")
    path = _run.project_path(project or ".", local=options.inventory is None, state="exists")
    variables = given(
        prod_check_project=path,
        prod_check_stage=stage,
        prod_check_kubeconfig=opts.absolute(kubeconfig) if kubeconfig else None,
        prod_check_context=context,
        prod_check_image=image,
        prod_check_secret_files=_by_name(secrets),
    )
    if no_pod:
        variables["prod_check_pod"] = False
    if options.json and apply and not options.check:  # or there would be two documents
        _run.confirm("This makes what is missing in the cluster.", yes=yes, as_json=True)
    if not apply or options.check or yes:
        return _show(variables, options, apply=apply).exit_code
    found = _show(variables, options)
    makes = [one["makes"] for one in found.findings if one["state"] == "missing" and one["makes"]]
    if found.status != "ok" or not makes:
        return found.exit_code
    lines = "\n".join(f"  {one}" for one in makes)
    _run.confirm(f"This makes in the cluster:\n{lines}\n", yes=yes, as_json=options.json, refused="Nothing was made.")
    return _show(variables, options, apply=True).exit_code


def _show(variables: Mapping[str, Any], options: RunOptions, *, apply: bool = False) -> RunResult:
    from gaiaflow_py import findings, report, runner
    from gaiaflow_py.request import Request

    command = "prod check --apply" if apply else "prod check"
    more = {"prod_check_apply": True} if apply else {}
    request = Request("prod", command, {**variables, **more}, options, is_question=not apply)
    result = runner.run(request)
    if request.options.json:
        report.document({"status": result.status, "findings": result.findings} | report.run_document(result))
        return result
    findings.show_all(result)
    if request.options.check:
        report.plan(request, result)
    elif result.status != "ok" or result.changes:
        report.outcome(request, result)
        report.summary(result)
    return result


def _by_name(said: Sequence[str]) -> dict[str, str]:
    """Return the files by the name of the secret."""
    found: dict[str, str] = {}
    for one in said:
        name, separator, path = one.partition("=")
        if not separator or not name or not path:
            raise click.UsageError(f"--secret '{one}' is not NAME=FILE.")
        found[name] = str(opts.absolute(path))
    return found
