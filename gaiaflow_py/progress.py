"""How a run goes on, on standard error: a line for each phase that has ended, and the running one."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from gaiaflow_py.phases import SERVICES, Phase, Phases, State, Step, Steps

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

ALIVE_S = 15.0
"""How often a phase that takes long is named where no terminal shows it."""

LONG_S = 2.0
"""From when on a running phase's time is shown."""

BAR_FROM = 100
"""The width of a terminal from which on there is room for a bar, in characters."""

BAR = 20

NARROW = 20
"""A terminal of fewer characters gets plain lines."""

MARKS: dict[State, str] = {"running": "…", "done": "✔", "deferred": "→", "failed": "✘", "interrupted": "✘"}
ASCII: dict[State, str] = {
    "running": "...",
    "done": "ok",
    "deferred": "later",
    "failed": "failed",
    "interrupted": "stopped",
}
STYLES: dict[State, str] = {
    "running": "cyan",
    "done": "green",
    "deferred": "yellow",
    "failed": "red",
    "interrupted": "red",
}


class Silent:
    """Shows nothing."""

    def show(self) -> None:
        """Show the state; called at every event and a few times a second."""

    def stop(self) -> None:
        """Show how the last phase ended, and nothing any more."""


class _Display(Silent):
    """What displays have in common.

    Args:
        phases: The run's phases.
        steps: What long tasks tell of their steps.
    """

    def __init__(self, phases: Phases, steps: Steps) -> None:
        self._phases, self._steps = phases, steps
        self._ended = 0

    def _news(self) -> list[Phase]:
        """Return the phases that have ended since the last time."""
        self._phases.tick()
        ended = [phase for phase in self._phases.all[self._ended :] if phase.ended is not None]
        self._ended += len(ended)
        return ended

    def _step(self, phase: Phase) -> Step | None:
        return self._steps.latest(phase.begun, phase.title)


class Plain(_Display):
    """Prints a line for each phase that has ended, and one every 15 seconds in a long one."""

    def __init__(self, phases: Phases, steps: Steps) -> None:
        super().__init__(phases, steps)
        self._said = phases.clock()

    def show(self) -> None:
        """Print what is new."""
        for phase in self._news():
            self._print(f"{_mark(phase)} {phase.title} ({duration(phase.seconds(0))})")
        now, current = self._phases.clock(), self._phases.current
        if current and now - max(self._said, current.begun) >= ALIVE_S:
            self._print(f"{_mark(current)} {described(current, self._step(current), now)}")

    def stop(self) -> None:
        """Print how the last phase ended."""
        self.show()

    def _print(self, text: str) -> None:
        self._said = self._phases.clock()
        print(text.encode(_encoding(), "replace").decode(_encoding()), file=sys.stderr, flush=True)


class Terminal(_Display):
    """Prints a line for each phase that has ended, and draws the running one anew below them.

    Args:
        phases: The run's phases.
        steps: What long tasks tell of their steps.
        console: The terminal.
        keep: Whether what has ended stays on the screen afterwards.
    """

    def __init__(self, phases: Phases, steps: Steps, console: Console, *, keep: bool) -> None:
        super().__init__(phases, steps)
        self._console, self._keep = console, keep
        self._live: Live | None = None

    def show(self) -> None:
        """Draw the state anew."""
        live = self._started()
        for phase in self._news():
            if self._keep:
                live.console.print(_line(phase, None, 0, self._console))
        live.update(self._running(), refresh=True)

    def stop(self) -> None:
        """Print how the last phase ended, and wipe what is live."""
        if self._live is not None:
            self.show()
            self._live.update("", refresh=True)
            self._live.stop()
            self._live = None

    def _started(self) -> Live:
        from rich.live import Live

        if self._live is None:
            self._live = Live(
                console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()
        return self._live

    def _running(self) -> Text | str:
        current = self._phases.current
        return _line(current, self._step(current), self._phases.clock(), self._console) if current else ""


def described(phase: Phase, step: Step | None, now: float, *, bar: bool = False) -> str:
    """Return what a running phase is called, how far it is, and for how long it has run.

    Args:
        phase: The phase.
        step: What its task told last.
        now: The clock's time.
        bar: Whether there is room for a bar.
    """
    parts = [phase.title]
    if step and step.items:
        parts[0] += ":"
        parts.append(" ".join(_parts(step)))
    elif step and step.total:
        parts += ([_bar(step.done, step.total)] if bar else []) + [f"{step.done}/{step.total}"]
    if step and step.item:
        parts.append(f"({step.item})")
    if phase.hosts[1] > 1:
        parts.append(f"[{phase.hosts[0]} of {phase.hosts[1]} hosts]")
    if phase.seconds(now) >= LONG_S:
        parts.append(duration(phase.seconds(now)))
    return " ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as people write it.

    Args:
        seconds: The time in seconds.
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _parts(step: Step) -> list[str]:
    """Return a service's name once, with a mark when all that belongs to it is done."""
    services: dict[str, bool] = {}
    for name, done in step.items.items():
        service = name.partition("-")[0]
        title = SERVICES.get(service, service)
        services[title] = services.get(title, True) and done
    marks = MARKS if _is_unicode() else ASCII
    return [f"{name} {marks['done']}" for name, done in services.items() if done] + [
        f"{name} {marks['running']}" for name, done in services.items() if not done
    ]


def _bar(done: int, total: int) -> str:
    filled = BAR * done // max(total, 1)
    full, empty = ("━", "─") if _is_unicode() else ("#", "-")
    return full * filled + empty * (BAR - filled)


def _line(phase: Phase, step: Step | None, now: float, console: Console) -> Text:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(_mark(phase), style=STYLES[phase.state])
    if phase.ended is None:
        text.append(f" {described(phase, step, now, bar=console.width >= BAR_FROM)}")
    else:
        text.append(f" {phase.title}")
        text.append(f"  {duration(phase.seconds(now))}", style="dim")
    text.truncate(max(console.width - 1, 1), overflow="ellipsis" if _is_unicode() else "crop")
    return text


def _mark(phase: Phase) -> str:
    return (MARKS if _is_unicode() else ASCII)[phase.state]


def _encoding() -> str:
    return sys.stderr.encoding or "ascii"


def _is_unicode() -> bool:
    return _encoding().lower().replace("-", "") == "utf8"


def for_run(phases: Phases, steps: Path, *, wanted: bool, json: bool, keep: bool = True) -> Silent:
    """Return the display that fits.

    Args:
        phases: The run's phases.
        steps: The file to which long tasks write their steps.
        wanted: Whether to show anything.
        json: Whether a program reads the output: then only a terminal gets a display.
        keep: Whether a terminal keeps what has ended.
    """
    if wanted and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb"):
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        if console.width >= NARROW:
            return Terminal(phases, Steps(steps), console, keep=keep)
    return Plain(phases, Steps(steps)) if wanted and not json and keep else Silent()
