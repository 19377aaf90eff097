"""An instance's services under supervisord, as they are now."""

from __future__ import annotations

import contextlib
import http.client
import os
import time
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .common import INSTANCE_VARIABLE, SERVICE_VARIABLE, read_json, s3_keys
from .engine import SocketConnection
from .health import answers, tasks_begin
from .kubernetes import cluster_row

ANSWER_S = 60.0
UP_STATES = {"STARTING", "RUNNING"}
# It works, but nobody would start it again: its supervisord is gone, or the socket by which that is reached.
RUNNING_STATES = UP_STATES | {"UNSUPERVISED"}


@dataclass(frozen=True)
class Service:
    """An entry of the services file."""

    name: str
    service: str
    port: int
    health: dict[str, Any]
    url: str
    user: str
    needs: tuple[str, ...]
    runs_users_code: bool
    own_variables: tuple[str, ...]


class Transport(xmlrpc.client.Transport):
    """XML-RPC over a socket of this machine.

    Args:
        path: The socket.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """Return a connection to the socket, whatever the host is called."""
        connection: http.client.HTTPConnection = SocketConnection(self.path, ANSWER_S)
        return connection


class Supervised:
    """One instance: its services, and the supervisord that runs them.

    Args:
        directory: The instance's directory.
        socket: supervisord's control socket.
    """

    def __init__(self, directory: Path, socket: str) -> None:
        self.directory = directory
        self.socket = socket
        self.services: dict[str, Service] = {}

    def load_kept(self) -> None:
        """Takes over the services of the last start.

        Raises:
            ValueError: What it has written is broken.
        """
        path = self.directory / "config" / "services.json"
        try:
            self.load(read_json(path))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} isn't what a start has written ({type(error).__name__}: {error})") from error

    def load(self, definition: dict[str, Any]) -> None:
        """Takes over the services of a definition."""
        self.services = {
            name: Service(
                name=name,
                service=entry["service"],
                port=int(entry["port"]),
                health=entry["health"],
                url=entry.get("url", ""),
                user=entry.get("user", ""),
                needs=tuple(entry.get("needs", [])),
                runs_users_code=bool(entry.get("sees_project")),
                own_variables=tuple(entry.get("env", {})),
            )
            for name, entry in definition.get("services", {}).items()
        }

    @property
    def s3_keys(self) -> dict[str, str]:
        """The S3 server's keys."""
        keys: dict[str, str] = s3_keys(self.directory)
        return keys

    @property
    def supervisor(self) -> Any:
        """Supervisord's XML-RPC interface."""
        return xmlrpc.client.ServerProxy("http://localhost", Transport(self.socket)).supervisor

    def supervised(self) -> bool:
        """Whether the supervisord of this instance answers."""
        if not Path(self.socket).exists():
            return False
        try:
            return bool(self.supervisor.getState()["statename"] == "RUNNING")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def processes(self) -> dict[str, dict[str, Any]]:
        """What supervisord says of each of its processes; nothing where there is no supervisord."""
        if not self.supervised():
            return {}
        return {info["name"]: info for info in self.supervisor.getAllProcessInfo()}

    def unsupervised(self) -> dict[str, dict[str, Any]]:
        """The services' processes that run though no supervisord of the instance can be asked, as it would say it."""
        import psutil

        found: dict[str, dict[str, Any]] = {}
        for process in self.leftovers():
            with contextlib.suppress(psutil.Error):
                name = process.environ().get(SERVICE_VARIABLE, "")
                if name in self.services and os.getpgid(process.pid) == process.pid:
                    found[name] = {"statename": "UNSUPERVISED", "pid": process.pid, "start": process.create_time()}
        return found

    def leftovers(self) -> list[Any]:
        """Every process that carries the instance's mark, this one excepted."""
        import psutil

        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get(INSTANCE_VARIABLE) == str(self.directory):
                    found.append(process)
        return found


# ---- Health


def healthy(stack: Supervised, service: Service, process: dict[str, Any]) -> bool:
    """Whether the service answers its health check."""
    if process.get("statename") not in RUNNING_STATES:
        return False
    answer: bool = answers(service.port, service.health, stack.s3_keys, process["start"])
    return answer


def probe(stack: Supervised, services: list[Service], processes: dict[str, dict[str, Any]]) -> dict[str, bool]:
    """The health of each service, asked in parallel."""
    with ThreadPoolExecutor(max_workers=max(1, len(services))) as pool:
        found = pool.map(lambda one: healthy(stack, one, processes.get(one.name, {})), services)
        return dict(zip([one.name for one in services], found, strict=True))


def runs_tasks(stack: Supervised, service: Service, process: dict[str, Any]) -> bool:
    """Whether the tasks begin that the service is to run, if it is the one that runs tasks."""
    log = stack.directory / "logs" / f"{service.name}.log"
    return service.health.get("heartbeat") != "scheduler" or bool(tasks_begin(log, process.get("start", 0)))


# ---- Status


def proportional_memory(pid: int, children: dict[int, list[int]]) -> int | None:
    """Bytes of memory (PSS) of a process and all its descendants; None where the kernel doesn't tell.

    Args:
        pid: The process.
        children: The children of each process, as `process_tree` gives them.
    """
    total, family = 0, [pid]
    for member in family:
        family += children.get(member, [])
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
            total += next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total or None


def process_tree() -> dict[int, list[int]]:
    """The children of each process that has any."""
    import psutil

    children: dict[int, list[int]] = {}
    for process in psutil.process_iter(["ppid"]):
        children.setdefault(process.info["ppid"], []).append(process.pid)
    return children


def status(stack: Supervised) -> list[dict[str, Any]]:
    """What a user sees of each service."""
    processes = stack.processes() if stack.supervised() else stack.unsupervised()
    health, children = probe(stack, list(stack.services.values()), processes), process_tree()
    rows = []
    for service in stack.services.values():
        process = processes.get(service.name, {})
        up = process.get("statename") in RUNNING_STATES
        works = health[service.name] and runs_tasks(stack, service, process)
        rows.append(
            {
                "name": service.name,
                "service": service.service,
                "state": process.get("statename", "STOPPED").lower(),
                "health": "healthy" if works else ("unhealthy" if up else "stopped"),
                "url": service.url,
                "uptime_s": int(process.get("now", time.time()) - process["start"]) if up else 0,
                "memory_bytes": proportional_memory(process["pid"], children) if up else 0,
            }
        )
    return [*rows, *cluster_row(stack.directory)]
