"""Which ports an instance gets: its own, the catalogue's, or the next that nobody uses and no other instance has."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .common import INSTANCE_VARIABLE, locked, read_whole, write_private
from .container import published_ports
from .engine import Engine, EngineElsewhere, own_socket
from .errors import SetupError
from .record import PORT_RANGE, kept_record

# A program for both protocols, as Java's are, is listed with the address of the other one.
CLASHING_ADDRESSES = {"127.0.0.1", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0"}
# Where the ports are noted that instances have, for those of other homes and users. Not in TMPDIR: shells differ in it.
RESERVATIONS = Path("/tmp/gaiaflow-{user}-ports")


class PortTakenError(SetupError):
    """A port belongs to somebody else.

    Args:
        message: Which, and to whom.
    """

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            'End that process, or give the service another port: -e \'{"mlops_port_overrides": {"NAME": PORT}}\''
            " (for JupyterLab also -j PORT, for a model --port PORT). `--instance NAME` makes a second stack on free"
            " ports.",
        )


@dataclass(frozen=True)
class KnownPorts:
    """The ports that the catalogue's services have.

    Attributes:
        defaults: The first instance's, by name.
        internal: The names of those that move out of the way by themselves.
        seconds: How far above a port its service listens a second time, by name.
        needed: The names of those that a start must find free.
        sought: The names of those that have no number of their own: the first free one from the default on.
    """

    defaults: Mapping[str, int]
    internal: frozenset[str] = frozenset()
    seconds: Mapping[str, int] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    sought: frozenset[str] = frozenset()

    def numbers(self, name: str, port: int) -> list[int]:
        """Return the port, and the second one that goes with it."""
        return [port, port + self.seconds[name]] if name in self.seconds else [port]

    def all_numbers(self, ports: Mapping[str, int]) -> set[int]:
        """Return the ports with the second ones that go with them."""
        return {number for name, port in ports.items() for number in self.numbers(name, port)}


def known_ports(services: Mapping[str, Mapping[str, Any]], started: Iterable[str]) -> KnownPorts:
    """Return the ports of the catalogue.

    Args:
        services: What is said of each service, as `mlops_service_NAME` has it.
        started: The services that a start must find ports for.
    """
    pages = {name: port for one in services.values() for name, port in one.get("pages", {}).items()}
    internal = {name: port for one in services.values() for name, port in one.get("internal_ports", {}).items()}
    seconds = {
        name: one["second_ports"]["offset"]
        for one in services.values()
        if "second_ports" in one
        for name in one["second_ports"]["of"]
    }
    needed = tuple(name for service in started for name in services[service].get("pages", {}))
    sought = frozenset(name for one in services.values() if "first_port" in one for name in one.get("pages", {}))
    return KnownPorts({**pages, **internal}, frozenset(internal), seconds, needed, sought)


def listeners() -> dict[int, int | None]:
    """Return the ports in use on an address that loopback clashes with, and each one's process where it can be seen."""
    import psutil

    found: dict[int, int | None] = {}
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr:
            address, port = connection.laddr
            if address in CLASHING_ADDRESSES:
                found[port] = connection.pid or found.get(port)
    return found


def belongs_to(pid: int | None, directory: Path) -> bool:
    """Whether the process is one of the instance's own."""
    import psutil

    try:
        return pid is not None and psutil.Process(pid).environ().get(INSTANCE_VARIABLE) == str(directory)
    except psutil.Error:
        return False


def describe(pid: int | None) -> str:
    """Return the process as an error message names it."""
    import psutil

    if pid is None:
        return "a process of another user"
    try:
        process = psutil.Process(pid)
        return f"{process.name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"


class Ports:
    """Give an instance its ports, knowing who listens and what other instances have reserved.

    Args:
        directory: The instance's directory.
        known: The ports that there are.
        reserved: The numbers of other instances.
    """

    def __init__(self, directory: Path, known: KnownPorts, reserved: set[int]) -> None:
        self.directory = directory
        self.known = known
        self.reserved = reserved
        self.listeners = listeners()

    @functools.cached_property
    def containers(self) -> dict[int, tuple[str, str]]:
        """Who publishes which port; asked only when a port is taken."""
        found: dict[int, tuple[str, str]] = {}
        with contextlib.suppress(EngineElsewhere):
            found = published_ports(Engine(own_socket()))
        return found

    def holder(self, name: str, port: int) -> str | None:
        """Who keeps us from using the port, or None."""
        for one in self.known.numbers(name, port):
            if one in self.listeners and not belongs_to(self.listeners[one], self.directory):
                container, directory = self.containers.get(one, ("", ""))
                if not container:
                    return describe(self.listeners[one])
                if directory != str(self.directory):
                    return f"the container {container}"
        return None

    def can_keep(self, name: str, port: int) -> bool:
        """Return whether the instance can go on with a port: nobody else uses it, or has noted it unused."""
        numbers = set(self.known.numbers(name, port))
        return self.holder(name, port) is None and not (numbers & self.reserved and numbers.isdisjoint(self.listeners))

    def free_from(self, name: str, first: int, taken: set[int]) -> int:
        """Return the first usable port from `first` on."""
        for port in range(first, PORT_RANGE.stop):
            wanted = set(self.known.numbers(name, port))
            if max(wanted) not in PORT_RANGE:
                break
            if not wanted & (taken | self.reserved) and self.holder(name, port) is None:
                return port
        raise PortTakenError(f"No port from {first} up is free for {name}.")


def reserved_in(home: Path, directory: Path, known: KnownPorts) -> set[int]:
    """Return the ports that the records of a home's other instances name."""
    others = [record.parent for record in (home / "instances").glob("*/instance.json") if record.parent != directory]
    return set().union(*(known.all_numbers(kept_record(other).get("ports", {})) for other in others))


def reserved_elsewhere(directory: Path) -> set[int]:
    """Return the ports that instances of other homes and users have noted, whether they listen or not."""
    reserved: set[int] = set()
    for note in RESERVATIONS.parent.glob(RESERVATIONS.name.format(user="*") + "/*.json"):
        # Anybody may have put anything there: what isn't a note reserves nothing.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            if note.is_symlink() or not note.is_file():
                continue
            noted = json.loads(note.read_text())
            if noted["directory"] != str(directory) and may_exist(Path(noted["directory"])):
                reserved.update(int(port) for port in noted["ports"])
    return reserved


def may_exist(directory: Path) -> bool:
    """Return whether a directory is there, or is somewhere where this user can't look."""
    try:
        return directory.exists()
    except PermissionError:
        return True


@contextlib.contextmanager
def reserving_ports(directory: Path, known: KnownPorts) -> Iterator[None]:
    """Hold the lock under which the user's instances get their ports, and note those that this one has got.

    Raises:
        ValueError: Another user has taken the place for the notes.
    """
    place = own_reservations()
    place.mkdir(exist_ok=True, mode=0o755)
    if place.is_symlink() or place.stat().st_uid != os.geteuid():
        raise ValueError(f"{place} belongs to another user. Have it removed: this user's ports are noted there.")
    with locked(place / ".lock"):
        yield
        ports = sorted(known.all_numbers(kept_record(directory).get("ports", {})))
        note = place / f"{hashlib.sha256(os.fsencode(directory)).hexdigest()}.json"
        write_private(note, json.dumps({"directory": str(directory), "ports": ports}))
        note.chmod(0o644)
        for other in place.glob("*.json"):
            if not Path(read_whole(other).get("directory", "/")).exists():
                other.unlink()


def own_reservations() -> Path:
    """Return where the ports of this user's instances are noted."""
    return RESERVATIONS.with_name(RESERVATIONS.name.format(user=os.geteuid()))


def checked_overrides(overrides: Mapping[str, Any], known: KnownPorts) -> dict[str, int]:
    """Return the ports that the user asks for, as numbers.

    Raises:
        ValueError: One isn't a port, or has no such name.
    """
    checked = {}
    for name, value in overrides.items():
        if name not in known.defaults:
            raise ValueError(f"There is no port named {name!r}; the ports are {', '.join(known.defaults)}.")
        if not str(value).isdigit() or int(value) not in PORT_RANGE:
            raise ValueError(f"{value!r} is no port for {name}: a port is a whole number from 1 to 65535.")
        if max(known.numbers(name, int(value))) not in PORT_RANGE:
            above = known.seconds[name]
            raise ValueError(f"Port {value} is too high for {name}: {above} above it must be a port, too.")
        checked[name] = int(value)
    return checked


def choose_ports(
    known: KnownPorts, overrides: Mapping[str, Any], kept: Mapping[str, int], directory: Path, home: Path
) -> dict[str, int]:
    """Return the ports that the instance shall have.

    Args:
        known: The ports that there are.
        overrides: Those that the user asks for.
        kept: Those that the instance has had.
        directory: The instance's directory.
        home: Where the instances of this user are.

    Raises:
        PortTakenError: Somebody else uses one that is needed.
        ValueError: What the user asks for can't be.
    """
    asked = checked_overrides(overrides, known)
    allocator = Ports(directory, known, reserved_in(home, directory, known) | reserved_elsewhere(directory))
    ports: dict[str, int] = {}
    for name, default in known.defaults.items():
        port = asked.get(name, kept.get(name))
        others = {**kept, **ports}
        others.pop(name, None)
        internal = name in known.internal
        if port is None and not internal and name not in known.sought and directory.name == "default":
            port = default
        if port is None or (internal and not allocator.can_keep(name, port)):
            port = allocator.free_from(name, default, known.all_numbers(others))
        ports[name] = port
    refuse_doubles(ports)
    refuse_taken(known.needed, ports, allocator)
    return ports


def refuse_doubles(ports: Mapping[str, int]) -> None:
    """Raise ValueError where two services are to share a port."""
    for name, port in ports.items():
        for other, number in ports.items():
            if other < name and number == port:
                raise ValueError(f"Port {port} is asked for twice: for {other} and for {name}.")


def refuse_taken(needed: Iterable[str], ports: Mapping[str, int], allocator: Ports) -> None:
    """Raise PortTakenError where a port that is needed now is neither free nor ours."""
    taken = [(name, holder) for name in needed if (holder := allocator.holder(name, ports[name]))]
    if taken:
        raise PortTakenError(" ".join(f"Port {ports[name]} ({name}) is taken by {holder}." for name, holder in taken))
