"""Passes a container's log on to the task's, while the container runs and in full once it has ended."""

from __future__ import annotations

import contextlib
import datetime
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .results import ResultLines

# Lines that wait to be logged: what comes faster than Airflow logs waits in the cluster, and takes no memory here.
WAITING_LINES = 10_000
# How much of the log is read twice when it is opened anew, as clocks differ; lines carry their time.
OVERLAP_SECONDS = 60
# Nine digits after the second make times comparable as text.
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z ?")

# Opens the log with a time before each line: whether to follow it, and how many seconds ago it shall begin.
OpenLog = Callable[[bool, "int | None"], Iterable[bytes]]
Line = tuple[str, str]


class ContainerLog:
    """A container's log.

    Args:
        open_log: opens it.
        result: takes the lines that hold the result, which don't belong into the task's log.
        log: where the others go.
        seen: the time of the last line that an earlier reader has passed on.
    """

    def __init__(self, open_log: OpenLog, result: ResultLines, log: Any, seen: str = "") -> None:
        self.seen = seen
        self._open_log = open_log
        self._result = result
        self._log = log
        self._lines: queue.Queue[Line] = queue.Queue(WAITING_LINES)
        self._stopped = threading.Event()
        self._at_end = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def followed(self) -> bool:
        """Whether `follow` was called."""
        return self._thread is not None

    def follow(self) -> None:
        """Begin to read, in a thread of its own: a log that hangs must not hide that the container has ended."""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def pass_on(self, seconds: float) -> None:
        """Pass on what comes, for so long at most, or to the end of the log."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._pass_on(self._lines.get(timeout=min(left, 0.05)))
            except queue.Empty:
                if self._at_end.is_set():
                    return

    def stop(self) -> None:
        """Read no more, and pass on what was read."""
        self._stopped.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._pass_on(self._lines.get_nowait())

    def finish(self) -> None:
        """Pass on all that is left, once the container has ended.

        Raises:
            Exception: whatever opening or reading the log raises.
        """
        # A reader that still gets lines goes on; one that hangs is left alone.
        while self.followed and not self._at_end.is_set():
            before = self.seen
            self.pass_on(2)
            if self.seen == before:
                break
        self.stop()
        for line in self._lines_after(self.seen, follow=False):
            self._pass_on(line)

    def _pass_on(self, line: Line) -> None:
        self.seen, text = line
        if text and not self._result.takes(text):
            self._log.info("%s", text)

    def _read(self) -> None:
        read = self.seen
        while not self._stopped.is_set():
            # Whoever takes the lines knows whether the container still runs; until it is told to stop, this goes on.
            with contextlib.suppress(Exception):
                for line in self._lines_after(read, follow=True):
                    self._at_end.clear()
                    if not self._hand_over(line):
                        return
                    read = line[0]
                self._at_end.set()
            self._stopped.wait(1)

    def _hand_over(self, line: Line) -> bool:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put(line, timeout=0.5)
                return True
        return False

    def _lines_after(self, seen: str, follow: bool) -> Iterator[Line]:
        """Yield the lines that are newer than one; it is in the log again, or others may be missing, too."""
        overlaps = not seen
        for text in split_lines(self._open_log(follow, _seconds_since(seen) if seen else None)):
            stamp = TIME.match(text)
            if not stamp:
                # The cluster's own words, such as that there is no log any more.
                yield seen, text
                continue
            when, text = f"{stamp[1]}.{stamp[2] or '':0<9}Z", text[stamp.end() :]
            if when <= seen:
                overlaps = True
                continue
            if not overlaps:
                overlaps = True
                yield seen, f"[lines may be missing here: the log between {seen} and {when} is gone]"
            yield when, text


def split_lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Split a log into its lines, whatever they hold."""
    rest: list[bytes] = []
    for piece in pieces:
        *lines, last = piece.split(b"\n")
        for line in lines:
            yield _decode(b"".join([*rest, line]))
            rest = []
        rest.append(last)
    if text := b"".join(rest):
        yield _decode(text)


def _decode(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").rstrip("\r")


def _seconds_since(when: str) -> int:
    moment = datetime.datetime.fromisoformat(when[:19]).replace(tzinfo=datetime.UTC)
    passed = (datetime.datetime.now(datetime.UTC) - moment).total_seconds()
    return max(int(passed), 0) + OVERLAP_SECONDS
