"""The command line: `gaiaflow-setup COMMAND`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from gaiaflow_py import __version__
from gaiaflow_py.called import PROGRAM, program
from gaiaflow_py.lazy import LazyGroup
from gaiaflow_py.options import HELP, example_text

COMPLETE_VARIABLE = "_GAIAFLOW_SETUP_COMPLETE"
"""How a shell asks for completions; the launcher knows it, too."""


@click.group(
    cls=LazyGroup,
    epilog=example_text("workstation --project ~/my-project", "mlops --restart --service airflow", "status"),
    context_settings=HELP,
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def cli() -> None:
    """From a bare machine to Airflow, MLflow, S3 and JupyterLab."""


def run(argv: Sequence[str]) -> int:
    """Run one command.

    Args:
        argv: The arguments, without the program's name.

    Returns:
        The exit code: 0 for success, 1 for a failed run, 2 for wrong input, 75 when another run is at work, 130 and
        143 when interrupted.
    """
    try:
        said = cli.main(args=list(argv), prog_name=program(), complete_var=COMPLETE_VARIABLE, standalone_mode=False)
        code = int(said or 0)
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        if "--json" in argv:
            _document("error", error.format_message(), "See --help.")
        else:
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Aborted.", err=True)
        if "--json" in argv:
            _document("interrupted", "Aborted.")
        return 130
    except BrokenPipeError:
        # Nobody reads any more: what is left in the buffer would be complained about at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        from gaiaflow_py import unexpected

        return unexpected.report(error, argv)


def _document(status: str, message: str, hint: str = "") -> None:
    from gaiaflow_py.report import document

    document({"status": status, "error": {"message": message, "hint": hint}})
