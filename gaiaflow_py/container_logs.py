"""Reading what an instance's containers have written, as `gaiaflow_py.logs` reads files."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from heapq import merge
from typing import TYPE_CHECKING, Any

from gaiaflow_py.errors import GaiaflowError, InputError
from gaiaflow_py.logs import Line

if TYPE_CHECKING:
    from gaiaflow_py.instance import Instance

DIRECTORY_LABEL, PROGRAM_LABEL = "gaiaflow.directory", "gaiaflow.program"


def containers(instance: Instance, service: str) -> dict[str, Any]:
    """Return the containers of a service's programs.

    Args:
        instance: The instance.
        service: A service (`airflow`) or one of its programs (`airflow-scheduler`).

    Raises:
        InputError: There is no such container.
        GaiaflowError: The engine can't be asked.
    """
    import docker
    from docker.errors import DockerException

    try:
        label = f"{DIRECTORY_LABEL}={instance.directory}"
        engine = docker.DockerClient(base_url=f"unix://{instance.engine}")
        present = engine.containers.list(all=True, filters={"label": label})
    except DockerException as error:
        raise GaiaflowError(f"The Docker engine can't be asked: {error}", "Look with gaiaflow-setup doctor.") from error
    programs = {one.labels[PROGRAM_LABEL]: one for one in present}
    found = {name: one for name, one in programs.items() if name == service or name.startswith(f"{service}-")}
    if not found:
        known = sorted(programs.keys() | {name.partition("-")[0] for name in programs})
        raise InputError(
            f"No container of '{service}' on instance '{instance.name}'.",
            f"There are: {', '.join(known) or 'none yet'}.",
        )
    return found


def tail(found: Mapping[str, Any], number: int) -> list[Line]:
    """Return the last lines of some containers, in the order of their times.

    Args:
        found: The container of each program.
        number: How many lines, of all together.
    """
    streams = [
        [(*line.partition(" ")[::2], program) for line in _text(one.logs(timestamps=True, tail=number)).splitlines()]
        for program, one in found.items()
    ]
    lines = [Line(program, text) for _time, text, program in merge(*streams, key=lambda line: line[0])]
    return lines[-number:] if number else []


def follow(found: Mapping[str, Any]) -> Iterator[Line]:
    """Yield lines as they are added, until all containers have ended.

    Args:
        found: The container of each program.
    """
    lines: queue.Queue[Line | None] = queue.Queue()

    def read(program: str, one: Any) -> None:
        rest = ""
        try:
            for piece in one.logs(stream=True, follow=True, tail=0):
                *whole, rest = (rest + _text(piece)).split("\n")
                for text in whole:
                    lines.put(Line(program, text))
        finally:  # also when the engine goes away
            lines.put(None)

    for program, one in found.items():
        threading.Thread(target=read, args=(program, one), daemon=True).start()
    running = len(found)
    while running:
        line = lines.get()
        if line is None:
            running -= 1
        else:
            yield line


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
