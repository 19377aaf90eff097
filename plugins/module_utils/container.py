"""A service of the catalogue as a container: what it shall be, how one that exists differs, and as Compose has it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .engine import Engine

# Containers, networks and images carry these labels, by which whose they are is known.
DIRECTORY_LABEL = "gaiaflow.directory"
PROGRAM_LABEL = "gaiaflow.program"
DEFINITION_LABEL = "gaiaflow.definition"
# What a container finds its own definition, credentials and files under.
PRIVATE = "/run/gaiaflow"
ENVIRONMENT = "/opt/gaiaflow/environment"
PASSWD = "/etc/passwd"
# No root runs in a container. Other images of which any user id may run take this one, too; group 0 has no one else.
UNPRIVILEGED = "50000:0"
# While a service is wanted. A stopped one has none: unlike `unless-stopped`, that holds when the engine is killed, too,
# as the next one then ends what it finds, and takes it for stopped on purpose.
KEPT_UP, LEFT_DOWN = "always", "no"
# The engine puts the address of this machine in.
GATEWAY = "host-gateway"
HOST_NETWORK = "host"
LOG = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
SECOND = 1_000_000_000
UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
# Does the preparation, and then becomes the command: for images that hold no Python.
PREPARED = '{preparation}; exec "$0" "$@"'


def byte_number(size: str) -> int:
    """The number of bytes of a size such as `512m` or `2g`.

    Args:
        size: The size.

    Raises:
        ValueError: It is none.
    """
    unit = UNITS.get(size[-1:].lower(), 1)
    digits = size[:-1] if unit > 1 else size
    if not digits.isdigit():
        raise ValueError(f"{size!r} is no size of memory: those are like 512m and 2g (mlops_task_memory).")
    return int(digits) * unit


@dataclass(frozen=True)
class Container:
    """What a container shall be.

    Attributes:
        service: The catalogue's name of the service.
        name: The container's own name.
        image: The image it is made from.
        user: User and group id.
        network: The instance's network, or `host`.
        memory: Its limit in bytes.
        mounts: Directories and files of the host: where each appears, and whether it can be written to.
        ports: Ports published on loopback.
        host_names: Names by which it finds this machine.
        entrypoint: Instead of the image's, or empty.
        command: Instead of the image's, or empty.
        env: Variables beside the image's; never secrets.
        health: A command that shows its health, instead of the image's check; or empty.
        labels: Whose it is.
        stop_signal: What ends it.
        stop_timeout: Seconds it has to end.
        needs: The services that must answer first.
    """

    service: str
    name: str
    image: str
    user: str
    network: str
    memory: int
    mounts: dict[str, tuple[str, bool]]
    ports: tuple[int, ...] = ()
    host_names: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    health: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = "SIGTERM"
    stop_timeout: int = 15
    needs: tuple[str, ...] = ()

    @property
    def is_in_network(self) -> bool:
        """Whether it is in a network of its own, and not in the host's."""
        return self.network != HOST_NETWORK

    @property
    def extra_hosts(self) -> list[str]:
        """The names by which it finds this machine, as the engine has them."""
        return [f"{name}:{GATEWAY}" for name in self.host_names]


@dataclass(frozen=True)
class Place:
    """Where an instance's containers are: its directory, names and owner.

    Attributes:
        directory: The instance's directory.
        prefix: What names of its containers start with; also its network's name.
        user: User and group id of its containers.
        stop_timeout: Seconds that a service has to end.
    """

    directory: Path
    prefix: str
    user: str
    stop_timeout: int

    def private(self, service: str) -> Path:
        """The directory of what only one container sees."""
        return self.directory / "config" / "containers" / service

    @property
    def passwd(self) -> Path:
        """The file that gives the containers' user a name."""
        return self.directory / "config" / "containers" / "passwd"


def prefix_of(directory: Path) -> str:
    """What the names of an instance's containers start with; no two directories share it.

    Args:
        directory: The instance's directory.
    """
    return f"gaiaflow-{directory.name}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:6]}"


def tops(directories: list[str]) -> list[str]:
    """The directories that are in no other of them."""
    return [one for one in directories if not any(Path(other) in Path(one).parents for other in directories)]


def describe(name: str, entry: dict[str, Any], images: dict[str, str], place: Place, workspace: str) -> Container:
    """The container of one service.

    Args:
        name: The service's name in the catalogue.
        entry: Its expanded description.
        images: The image of each environment.
        place: Where the instance's containers are.
        workspace: The project's directory.
    """
    owned = "image" not in entry
    mounts = {str(place.private(name)): (PRIVATE, False), str(place.passwd): (PASSWD, False)}
    mounts.update({path: (path, True) for path in tops(entry.get("directories", []))})
    mounts.update({one["source"]: (one["target"], not one.get("read_only")) for one in entry.get("mounts", [])})
    if entry.get("sees_project"):
        mounts[workspace] = (workspace, True)
    return Container(
        service=name,
        name=f"{place.prefix}-{name}",
        image=images[entry["environment"]] if owned else entry["image"],
        user=place.user,
        network=entry.get("network", place.prefix),
        memory=byte_number(entry["memory"]),
        mounts=mounts,
        ports=tuple(int(port) for port in entry.get("publish", [])),
        host_names=tuple(entry.get("host_names", [])),
        **({} if owned else foreign(entry)),
        labels={
            DIRECTORY_LABEL: str(place.directory),
            PROGRAM_LABEL: name,
            DEFINITION_LABEL: digest(entry),
        },
        stop_signal=f"SIG{entry.get('stop_signal', 'TERM')}",
        stop_timeout=place.stop_timeout,
        needs=tuple(entry.get("needs", [])),
    )


def foreign(entry: dict[str, Any]) -> dict[str, Any]:
    """What an image that isn't ours must be told, as it doesn't read the definition."""
    command = tuple(map(str, entry["command"]))
    entrypoint: tuple[str, ...] = ()
    if "prepare" in entry:
        preparation = shlex.join(map(str, entry["prepare"]["command"]))
        entrypoint, command = ("sh", "-ec", PREPARED.format(preparation=preparation)), command
    return {
        "entrypoint": entrypoint,
        "command": command,
        "env": {key: str(value) for key, value in entry["env"].items()},
        "health": tuple(map(str, entry["health_command"])),
    }


def digest(entry: dict[str, Any]) -> str:
    """What tells one definition of a service from another."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


# ---- For community.docker.docker_container


def options(container: Container) -> dict[str, Any]:
    """The container as options of community.docker.docker_container."""
    health = {"test": ["CMD", *container.health], "interval": "10s", "timeout": "5s", "start_period": "300s"}
    return {
        "name": container.name,
        "image": container.image,
        "user": container.user,
        "entrypoint": list(container.entrypoint) or None,
        "command": list(container.command) or None,
        "env": container.env,
        "labels": container.labels,
        "mounts": [
            {"type": "bind", "source": source, "target": target, "read_only": not writable}
            for source, (target, writable) in container.mounts.items()
        ],
        "published_ports": [f"127.0.0.1:{port}:{port}" for port in container.ports],
        "network_mode": container.network,
        "networks": [{"name": container.network, "aliases": [container.service]}] if container.is_in_network else None,
        "etc_hosts": dict.fromkeys(container.host_names, GATEWAY) or None,
        "memory": str(container.memory),
        "healthcheck": health if container.health else None,
        "stop_signal": container.stop_signal,
        "stop_timeout": container.stop_timeout,
    }


# ---- What differs


def environment(variables: list[str] | None) -> dict[str, str]:
    """`NAME=value` lines as a mapping."""
    return dict(line.partition("=")[::2] for line in variables or [])


def wanted_state(container: Container, image: dict[str, Any]) -> dict[str, Any]:
    """What the engine shall say of the container.

    Args:
        container: What it shall be.
        image: What the engine says of its image.
    """
    config = image["Config"]
    health = config.get("Healthcheck")
    if container.health:
        health = {"Test": ["CMD", *container.health], "Interval": 10 * SECOND, "Timeout": 5 * SECOND}
        health["StartPeriod"] = 300 * SECOND
    command = list(container.command) or (None if container.entrypoint else config.get("Cmd"))
    return {
        "image": image["Id"],
        "user": container.user,
        "environment": {**environment(config.get("Env")), **container.env},
        "entrypoint": list(container.entrypoint) or config.get("Entrypoint") or [],
        "command": command or [],
        "labels": {**(config.get("Labels") or {}), **container.labels},
        "mounts": {target: [source, writable] for source, (target, writable) in container.mounts.items()},
        "ports": {f"{port}/tcp": [["127.0.0.1", str(port)]] for port in container.ports},
        "network": [container.network],
        "host names": container.extra_hosts,
        "memory": container.memory,
        "log": [LOG["driver"], LOG["options"]],
        "capabilities": ["ALL"],
        "security": ["no-new-privileges:true"],
        "health check": health or {},
        "stop": [container.stop_signal, container.stop_timeout],
    }


def present_state(found: dict[str, Any]) -> dict[str, Any]:
    """What the engine says of a container, in the terms of `wanted_state`."""
    config, host = found["Config"], found["HostConfig"]
    health = {key: value for key, value in (config.get("Healthcheck") or {}).items() if value}
    return {
        "image": found["Image"],
        "user": config["User"],
        "environment": environment(config["Env"]),
        "entrypoint": config["Entrypoint"] or [],
        "command": config["Cmd"] or [],
        "labels": config["Labels"],
        "mounts": {one["Target"]: [one["Source"], not one.get("ReadOnly", False)] for one in host.get("Mounts") or []},
        "ports": {
            port: [[one["HostIp"], one["HostPort"]] for one in bindings or []]
            for port, bindings in (host["PortBindings"] or {}).items()
        },
        "network": sorted(found["NetworkSettings"]["Networks"]),
        "host names": host["ExtraHosts"] or [],
        "memory": host["Memory"],
        "log": [host["LogConfig"]["Type"], host["LogConfig"]["Config"]],
        "capabilities": host["CapDrop"] or [],
        "security": host["SecurityOpt"] or [],
        "health check": health,
        "stop": [config.get("StopSignal", "SIGTERM"), config.get("StopTimeout")],
    }


def differences(container: Container, found: dict[str, Any], image: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs between a container and what it shall be: by what it is, as it is and as it shall be."""
    have, want = present_state(found), wanted_state(container, image)
    return {what: (have[what], want[what]) for what in want if have[what] != want[what]}


# ---- Whose the containers are


def published_ports(engine: Engine) -> dict[int, tuple[str, str]]:
    """The name and the instance, if any, of the container that publishes each port; none where no engine answers.

    Args:
        engine: The engine.
    """
    found = {}
    with contextlib.suppress(OSError):
        for container in engine.get("/containers/json"):
            holder = (container["Names"][0].lstrip("/"), (container["Labels"] or {}).get(DIRECTORY_LABEL, ""))
            ports = {port["PublicPort"] for port in container["Ports"] if "PublicPort" in port}
            # One that is just being started again is listed without its ports.
            found.update(dict.fromkeys(ports or bound_ports(engine, container["Id"]), holder))
    return found


def bound_ports(engine: Engine, container: str) -> set[int]:
    """The ports of this machine that a container is to have."""
    bindings = engine.get(f"/containers/{container}/json")["HostConfig"]["PortBindings"] or {}
    return {int(one["HostPort"]) for those in bindings.values() for one in those or [] if one["HostPort"]}


# ---- For Compose


def compose(name: str, containers: list[Container]) -> dict[str, Any]:
    """The containers as a Compose file's content.

    Args:
        name: The Compose project's name.
        containers: The containers.
    """

    def plain(words: tuple[str, ...]) -> list[str]:
        # Compose would put variables of its own in.
        return [word.replace("$", "$$") for word in words]

    def service(one: Container) -> dict[str, Any]:
        content: dict[str, Any] = {
            "image": one.image,
            "pull_policy": "missing",
            "user": one.user,
            "init": True,
            "restart": "unless-stopped",
            "mem_limit": one.memory,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "logging": LOG,
            "stop_signal": one.stop_signal,
            "stop_grace_period": f"{one.stop_timeout}s",
            "volumes": [
                {"type": "bind", "source": source, "target": target, "read_only": not writable}
                for source, (target, writable) in one.mounts.items()
            ],
        }
        optional: dict[str, tuple[Any, Callable[[], Any]]] = {
            "entrypoint": (one.entrypoint, lambda: plain(one.entrypoint)),
            "command": (one.command, lambda: plain(one.command)),
            "environment": (one.env, lambda: one.env),
            "network_mode": (not one.is_in_network, lambda: one.network),
            "extra_hosts": (one.host_names, lambda: one.extra_hosts),
            "ports": (one.ports, lambda: [f"127.0.0.1:{port}:{port}" for port in one.ports]),
            "depends_on": (one.needs, lambda: {need: {"condition": "service_started"} for need in one.needs}),
            "healthcheck": (
                one.health,
                lambda: {
                    "test": ["CMD", *plain(one.health)],
                    "interval": "10s",
                    "timeout": "5s",
                    "start_period": "300s",
                },
            ),
        }
        return content | {key: made() for key, (given, made) in optional.items() if given}

    return {"name": name, "services": {one.service: service(one) for one in containers}}
