"""The root of all errors that a user is told of: what is wrong, and what to do next."""

from __future__ import annotations


class SetupError(Exception):
    """Something is wrong that a user can change.

    Args:
        message: What failed, and why.
        hint: What to do next; empty where the caller knows better.

    Attributes:
        hint: What to do next.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class RepairError(SetupError):
    """A repair of the doctor's did not work."""
