"""What runs now, on standard error: one live line on a terminal; elsewhere, a line for each task that isn't skipped."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from rich.live import Live

SKIP_S = 1.0
"""A task that still runs after this time isn't skipped."""


class Progress(Protocol):
    """Shows how a run goes on."""

    def show(self, task: str, tasks: int, *, works: bool = True) -> None:
        """Shows the state; called at every event and a few times a second.

        Args:
            task: The task that runs now.
            tasks: How many tasks have been begun, this one included.
            works: It is known that the task does something; it may yet be skipped otherwise.
        """

    def stop(self) -> None:
        """Shows nothing any more."""


class Silent:
    """Shows nothing."""

    def show(self, task: str, tasks: int, *, works: bool = True) -> None:
        """Does nothing."""

    def stop(self) -> None:
        """Does nothing."""


class Plain:
    """Prints each task that isn't skipped, and each new step of a long one, on a line of its own.

    Args:
        steps: The file to which long tasks write their steps.
    """

    def __init__(self, steps: Path) -> None:
        self._steps = steps
        self._begun = self._since = time.monotonic()
        self._task = 0
        self._is_named = True
        self._step = ""

    def show(self, task: str, tasks: int, *, works: bool = True) -> None:
        """Prints what is new."""
        now, step = time.monotonic(), last_step(self._steps)
        if tasks != self._task:
            self._task, self._since, self._is_named = tasks, now, False
        if not self._is_named and (works or step != self._step or now - self._since > SKIP_S):
            self._is_named = True
            self._print(self._since, task)
        if step != self._step:
            self._step = step
            self._print(now, f"  {step}")

    def stop(self) -> None:
        """Does nothing: what is printed stays."""

    def _print(self, since: float, text: str) -> None:
        print(f"[{since - self._begun:.0f} s] {text}", file=sys.stderr, flush=True)


class Terminal:
    """Shows the task, how many have been begun, the elapsed time and the last step, and wipes them at the end.

    Args:
        steps: The file to which long tasks write their steps.
    """

    def __init__(self, steps: Path) -> None:
        self._steps = steps
        self._begun = time.monotonic()
        self._live: Live | None = None

    def show(self, task: str, tasks: int, *, works: bool = True) -> None:
        """Draws the state anew; a task that is skipped is gone with the next."""
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        elapsed = time.monotonic() - self._begun
        text = Text(
            f"{task or 'Ansible is starting'}  [task {tasks}, {elapsed:.0f} s]", no_wrap=True, overflow="ellipsis"
        )
        step = last_step(self._steps)
        if step:
            text.append(f"\n  {step}", style="dim")
        self._live.update(text, refresh=True)

    def stop(self) -> None:
        """Wipes the display."""
        if self._live is not None:
            self._live.update("", refresh=True)
            self._live.stop()
            self._live = None


def last_step(steps: Path) -> str:
    """Returns the last whole line of a file of steps, or nothing.

    Args:
        steps: The file; it may be absent.
    """
    try:
        lines = steps.read_text(errors="replace").rpartition("\n")[0].splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1].strip() if lines else ""


def for_run(steps: Path, *, wanted: bool, json: bool) -> Progress:
    """Returns the display that fits.

    Args:
        steps: The file to which long tasks write their steps.
        wanted: Whether to show anything.
        json: Whether a program reads the output: then only a terminal gets a display.
    """
    if wanted and sys.stderr.isatty():
        return Terminal(steps)
    return Plain(steps) if wanted and not json else Silent()
