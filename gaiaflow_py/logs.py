"""Reading log files: their last lines, several files as one, and what is added to them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import NamedTuple

BLOCK = 64 * 1024
POLL_S = 0.25
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?")


class Line(NamedTuple):
    """One line of a program's log."""

    program: str
    text: str


class Place(NamedTuple):
    """A place in a log file, which may have been replaced since."""

    inode: int
    offset: int


def ends(files: Mapping[str, Path]) -> dict[str, Place]:
    """Return where some programs' logs end now.

    Args:
        files: The log file of each program.
    """
    return {program: _end(path) for program, path in files.items()}


def tail(files: Mapping[str, Path], number: int, places: Mapping[str, Place]) -> list[Line]:
    """Return the last lines of some programs' logs, in the order of the times in them.

    Args:
        files: The log file of each program.
        number: How many lines, of all programs together.
        places: Where each file ends.
    """
    streams = [list(_timed(program, path, number, places[program].offset)) for program, path in files.items()]
    lines = [line for _time, line in merge(*streams, key=lambda timed: timed[0])]
    return lines[-number:] if number else []


def follow(files: Mapping[str, Path], places: Mapping[str, Place]) -> Iterator[Line]:
    """Yield lines as they are added, without an end, through rotation and truncation.

    Args:
        files: The log file of each program.
        places: Where to begin in each file.
    """
    current = dict(places)
    while True:
        for program, path in files.items():
            current[program], lines = _added(path, current[program])
            yield from (Line(program, text) for text in lines)
        time.sleep(POLL_S)


def _timed(program: str, path: Path, number: int, end: int) -> Iterator[tuple[str, Line]]:
    """Yield each line with its time; one without belongs to the one before it."""
    moment = ""
    for text in _last(path, number, end):
        found = TIME.search(text, 0, 80)
        moment = max(moment, found[0].replace("T", " ").replace(",", ".")) if found else moment
        yield moment, Line(program, text)


def _last(path: Path, number: int, end: int) -> list[str]:
    with path.open("rb") as file:
        place = end
        data = b""
        while place > 0 and data.count(b"\n") <= number:
            size = min(BLOCK, place)
            place -= size
            file.seek(place)
            data = file.read(size) + data
    lines = data.decode("utf-8", "replace").splitlines()
    return list(islice(lines, max(0, len(lines) - number), None))


def _end(path: Path) -> Place:
    state = path.stat()
    return Place(state.st_ino, state.st_size)


def _added(path: Path, place: Place) -> tuple[Place, list[str]]:
    """Return the new place and the whole lines between the old place and that."""
    try:
        with path.open("rb") as file:
            inode, size = _end(path)
            offset = place.offset if inode == place.inode and size >= place.offset else 0
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return place, []
    whole = data.rfind(b"\n") + 1
    return Place(inode, offset + whole), data[:whole].decode("utf-8", "replace").splitlines()
