"""What can go wrong, one class for each thing that a caller may want to tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gaiaflow_py.events import RunResult


class GaiaflowError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: What is wrong, naming the value.
        hint: What to do next, or nothing.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(GaiaflowError):
    """A value given by the user can't be accepted; nothing has been done."""

    exit_code = 2


class BusyError(GaiaflowError):
    """Another run is working on the same instance (exit code 75: try again later)."""

    exit_code = 75


class InstallationError(GaiaflowError):
    """This installation or machine can't run Ansible; nothing has been done."""


class RunError(GaiaflowError):
    """A playbook ran and didn't succeed.

    Args:
        result: Everything known about the run.
    """

    def __init__(self, result: RunResult) -> None:
        failure = result.failures[0]
        super().__init__(str(failure), failure.hint)
        self.result = result


class InterruptedRunError(GaiaflowError):
    """A run was ended by a signal.

    Args:
        result: Everything known about the run.
        signum: The signal's number.
    """

    def __init__(self, result: RunResult, signum: int) -> None:
        super().__init__(f"Interrupted while '{result.task or 'Ansible starting'}' was running.")
        self.result = result
        self.exit_code = 128 + signum
