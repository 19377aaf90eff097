"""`python -m gaiaflow_py` is `gaiaflow-setup`: whatever surrounds it, and whenever it is interrupted."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command that the process was started with, and exits."""
    try:
        if _is_changed_from_outside():
            _start_again()
        _have_streams()
        from gaiaflow_py.cli import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        os.write(2, b"Aborted.\n")
        os._exit(130)


def _is_changed_from_outside() -> bool:
    """Whether variables, the user's own packages or the working directory have a say in what is imported."""
    import site

    if sys.flags.isolated:
        return False
    is_by_name = not sys.flags.safe_path and sys.argv[0] == __file__  # python -m: the working directory comes first
    has_own_packages = site.ENABLE_USER_SITE and os.access(site.getusersitepackages(), os.F_OK)
    return is_by_name or has_own_packages or any(name.startswith("PYTHON") for name in os.environ)


def _start_again() -> NoReturn:
    from pathlib import Path

    script = str(Path(__file__).with_name("isolated.py").absolute())
    for name in ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"):  # Python looks at these even with -I
        os.environ.pop(name, None)
    os.execv(sys.executable, [sys.executable, "-I", script, "gaiaflow_py", *sys.argv[1:]])


def _have_streams() -> None:
    """Put nothing in the place of standard streams that were closed, as some schedulers do."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
