"""An instance's services in containers, as they are now."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .common import read_json, s3_keys
from .container import prefix_of
from .engine import Engine, EngineElsewhere, EngineError, own_socket
from .health import answers
from .kubernetes import cluster_row
from .record import kept_record

# Not services.json, from which the native runtime may still be running.
DEFINITIONS = "containers.json"
NOT_FOUND = 404


class Containers:
    """One instance: its services, and the containers that run them.

    Args:
        directory: The instance's directory.
        socket: The engine's socket; that of the instance's record if empty.
        timeout: Seconds that the engine may be silent for.
        definition: The services; what the last start has written if empty.
    """

    def __init__(self, directory: Path, socket: str, timeout: float, definition: dict[str, Any] | None = None) -> None:
        self.directory = directory
        self.definition = definition or read_json(directory / "config" / DEFINITIONS)
        record = kept_record(directory)
        self.engine = Engine(socket or record.get("engine") or own_socket(), timeout=timeout)
        self.prefix: str = record.get("containers") or prefix_of(directory)

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """The descriptions of all services."""
        entries: dict[str, dict[str, Any]] = self.definition["services"]
        return entries

    def name_of(self, service: str) -> str:
        """The name of the service's container."""
        return f"{self.prefix}-{service}"

    def inspect(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the engine says of the services' containers; nothing of those that it has not."""
        wanted = list(names)
        found = parallel(lambda name: absent_as_none(self.engine, f"/containers/{self.name_of(name)}/json"), wanted)
        return {name: one for name, one in zip(wanted, found, strict=True) if one}

    @property
    def s3_keys(self) -> dict[str, str]:
        """The S3 server's keys."""
        keys: dict[str, str] = s3_keys(self.directory)
        return keys


def parallel(work: Callable[[str], Any], names: list[str]) -> list[Any]:
    """What the work gives for each name, done at the same time."""
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        return list(pool.map(work, names))


def absent_as_none(engine: Engine, path: str) -> Any:
    """What the engine says of something, or None where it has no such thing."""
    try:
        return engine.get(path)
    except EngineError as error:
        if error.status == NOT_FOUND:
            return None
        raise


def healthy(stack: Containers, name: str, found: dict[str, Any]) -> bool:
    """Whether the service answers its health check; one that isn't published is the engine's to ask."""
    if found["State"]["Status"] != "running":
        return False
    entry = stack.entries[name]
    if not entry.get("publish") and "path" not in entry["health"]:
        return bool(found["State"].get("Health", {}).get("Status") == "healthy")
    answer: bool = answers(int(entry["port"]), entry["health"], stack.s3_keys, since(found))
    return answer


def since(found: dict[str, Any]) -> float:
    """When the container was started, in seconds since the epoch."""
    # The engine gives nanoseconds, which Python won't read.
    started = found["State"]["StartedAt"]
    return datetime.datetime.fromisoformat(started[:19] + "+00:00").timestamp()


def status(stack: Containers) -> list[dict[str, Any]]:
    """What a user sees of each service."""
    names = list(stack.entries)
    present = stack.inspect(names)
    rows = parallel(lambda name: row(stack, name, present.get(name)), names)
    return [*rows, *cluster_row(stack.directory)]


def row(stack: Containers, name: str, found: dict[str, Any] | None) -> dict[str, Any]:
    """What a user sees of one service."""
    entry = stack.entries[name]
    up = bool(found and found["State"]["Running"])
    return {
        "name": name,
        "service": entry["service"],
        "state": found["State"]["Status"].replace("exited", "stopped") if found else "stopped",
        "health": ("healthy" if found and healthy(stack, name, found) else "unhealthy") if up else "stopped",
        "url": entry.get("url", ""),
        "uptime_s": int(time.time() - since(found)) if found and up else 0,
        "memory_bytes": memory(stack, name) if up else 0,
    }


def memory(stack: Containers, name: str) -> int | None:
    """Bytes of memory that a container uses, without what the kernel only caches; None where the engine can't tell."""
    figures = stack.engine.get(f"/containers/{stack.name_of(name)}/stats?stream=false&one-shot=true")["memory_stats"]
    if not figures.get("usage"):
        return None
    details = figures.get("stats", {})
    cached = details.get("total_inactive_file", details.get("inactive_file", 0))
    return int(figures["usage"]) - int(cached)


def explain(error: Exception) -> tuple[str, str]:
    """What to say of an error of the engine's, and what to do; nothing where only the message says it.

    Args:
        error: What was raised by asking the engine.
    """
    if isinstance(error, PermissionError):
        return (
            f"This user may not talk to the Docker engine at {error.filename} ({error.strerror}).",
            "`gaiaflow-setup workstation` puts you into its group; then log in again, or run `newgrp docker`.",
        )
    if isinstance(error, EngineError):
        return str(error), "`gaiaflow-setup doctor` looks for what may be wrong with the engine."
    if isinstance(error, EngineElsewhere):
        return f"{error}.", "Unset DOCKER_HOST, or run this on that machine."
    if isinstance(error, (FileNotFoundError, ConnectionError)):
        return (
            f"No Docker engine answers at {error.filename}.",
            "`gaiaflow-setup workstation` installs and starts one; `--runtime native` needs none.",
        )
    return str(error), ""
