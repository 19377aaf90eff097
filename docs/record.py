"""Record a command in a terminal, and draw how it looked: `docs/record.py NAME WIDTH SECONDS[,SECONDS] -- COMMAND...`.

Writes NAME.cast (asciinema's format, version 2) and a picture NAME-SECONDS.svg for each moment, into docs/recordings.
This machine's paths are replaced by those that a newcomer sees.
Source: https://docs.asciinema.org/manual/asciicast/v2/
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

HEIGHT = 24
RECORDINGS = Path(__file__).parent / "recordings"
COLOURS = {"brown": "yellow"}
"""What rich calls the colours that pyte names otherwise."""


def output_of(command: list[str], width: int) -> Iterator[tuple[float, str]]:
    """Run a command in a terminal, and yield what it prints with the time in seconds.

    Args:
        command: The command.
        width: The terminal's width in characters.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, width, 0, 0))
    begun = time.monotonic()
    pending = b""
    while True:
        try:
            pending += os.read(terminal, 65536)
        except OSError:
            break
        whole = pending.decode(errors="ignore")
        yield time.monotonic() - begun, whole
        pending = pending[len(whole.encode()) :]
    if status := os.waitpid(pid, 0)[1]:
        sys.exit(f"The command failed ({status}).")


def newcomers(text: str) -> str:
    """Return a text as a newcomer would see it, without this machine's paths.

    Args:
        text: What the command printed.
    """
    for path, shown in ((os.environ.get("GAIAFLOW_HOME"), "~/.local/share/gaiaflow"), (os.environ.get("HOME"), "~")):
        text = text.replace(path, shown) if path else text
    return re.sub(r"--instance \S+ ?", "", text)


def screen_at(events: list[tuple[float, str]], width: int, seconds: float) -> pyte.Screen:
    """Return the terminal's screen at a moment.

    Args:
        events: What was printed, with the time.
        width: The terminal's width in characters.
        seconds: The moment.
    """
    screen = pyte.Screen(width, HEIGHT)
    stream = pyte.Stream(screen)
    for when, text in events:
        if when <= seconds:
            stream.feed(text)
    return screen


def draw(screen: pyte.Screen, width: int, title: str, path: Path) -> None:
    """Draw a screen into an SVG file.

    Args:
        screen: The screen.
        width: Its width in characters.
        title: What stands above it.
        path: The file.
    """
    console = Console(record=True, width=width, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    last = max((row for row, line in enumerate(screen.display) if line.strip()), default=0)
    for row in range(last + 1):
        line = Text()
        for column in range(width):
            cell = screen.buffer[row][column]
            colour = "default" if cell.fg == "default" else COLOURS.get(cell.fg, cell.fg)
            line.append(cell.data, style=f"{'bold ' if cell.bold else ''}{colour}")
        line.rstrip()
        console.print(line, overflow="crop", no_wrap=True)
    console.print()
    # Without the fonts that it would fetch: a reader's own will do.
    path.write_text(re.sub(r"@font-face \{.*?\}\n", "", console.export_svg(title=title), flags=re.DOTALL))


def main(name: str, width: int, moments: list[float], command: list[str]) -> None:
    """Record the command, and draw the moments.

    Args:
        name: What the files are called.
        width: The terminal's width in characters.
        moments: When to draw it, in seconds.
        command: The command.
    """
    RECORDINGS.mkdir(exist_ok=True)
    events = [(when, newcomers(text)) for when, text in output_of(command, width)]
    header = {"version": 2, "width": width, "height": HEIGHT, "title": newcomers(" ".join(command))}
    lines = [json.dumps(header), *(json.dumps([round(when, 3), "o", text]) for when, text in events)]
    (RECORDINGS / f"{name}.cast").write_text("\n".join(lines) + "\n")
    for seconds in moments:
        draw(
            screen_at(events, width, seconds),
            width,
            f"{header['title']}, after {seconds:.0f} s",
            RECORDINGS / f"{name}-{seconds:.0f}.svg",
        )
    draw(
        screen_at(events, width, events[-1][0]), width, f"{header['title']}, at its end", RECORDINGS / f"{name}-end.svg"
    )


if __name__ == "__main__":
    end = sys.argv.index("--")
    main(sys.argv[1], int(sys.argv[2]), [float(one) for one in sys.argv[3].split(",")], sys.argv[end + 1 :])
