"""A service of the catalogue as a container: what it shall be, how one that exists differs, and as Compose has it.

A container is described once, as the engine's API is told to create it. What the engine says of one that exists is in
the same words, so both are compared as they are; a label holds the digest of what the engine isn't told.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
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
LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
SECOND = 1_000_000_000
UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
# Does the preparation, and then becomes the command: for images that hold no Python.
PREPARED = '{preparation}; exec "$0" "$@"'


def byte_number(size: str) -> int:
    """Return the number of bytes of a size such as `512m` or `2g`.

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
        needs: The services that must answer first.
        body: What the engine is told to create.
    """

    service: str
    name: str
    needs: tuple[str, ...]
    body: dict[str, Any]

    @property
    def image(self) -> str:
        """The image that it is made from."""
        name: str = self.body["Image"]
        return name

    @property
    def network(self) -> str:
        """The instance's network, or `host`."""
        name: str = self.body["HostConfig"]["NetworkMode"]
        return name

    @property
    def is_in_network(self) -> bool:
        """Whether it is in a network of its own, and not in the host's."""
        return self.network != HOST_NETWORK

    @property
    def sources(self) -> list[Path]:
        """The directories and files of the host that it sees."""
        return [Path(mount["Source"]) for mount in self.body["HostConfig"]["Mounts"]]


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
        """Return the directory of what only one container sees."""
        return self.directory / "config" / "containers" / service

    @property
    def passwd(self) -> Path:
        """The file that gives the containers' user a name."""
        return self.directory / "config" / "containers" / "passwd"


def tops(directories: list[str]) -> list[str]:
    """Return the directories that are in no other of them."""
    return [one for one in directories if not any(Path(other) in Path(one).parents for other in directories)]


def describe(name: str, entry: Mapping[str, Any], images: Mapping[str, str], place: Place, workspace: str) -> Container:
    """Return the container of one service.

    Args:
        name: The service's name in the catalogue.
        entry: Its expanded description.
        images: The image of each environment.
        place: Where the instance's containers are.
        workspace: The project's directory.
    """
    is_own = "image" not in entry
    network = entry.get("network", place.prefix)
    ports = [f"{port}/tcp" for port in entry.get("publish", [])]
    labels = {DIRECTORY_LABEL: str(place.directory), PROGRAM_LABEL: name, DEFINITION_LABEL: digest(entry)}
    body = {
        "Image": images[entry["environment"]] if is_own else entry["image"],
        "User": place.user,
        "Labels": labels,
        "ExposedPorts": {port: {} for port in ports},
        "StopSignal": f"SIG{entry.get('stop_signal', 'TERM')}",
        "StopTimeout": place.stop_timeout,
        **({} if is_own else instructions(entry)),
        "HostConfig": {
            "NetworkMode": network,
            "Mounts": mounts(name, entry, place, workspace),
            "PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": port.partition("/")[0]}] for port in ports},
            "ExtraHosts": [f"{host}:{GATEWAY}" for host in entry.get("host_names", [])],
            "Memory": byte_number(entry["memory"]),
            "LogConfig": LOG,
            "CapDrop": ["ALL"],
            # SELinux would have no container read what is the user's, and its label isn't ours to change.
            "SecurityOpt": ["no-new-privileges:true", "label=disable"],
            "RestartPolicy": {"Name": KEPT_UP},
            "Init": True,
        },
    }
    if network != HOST_NETWORK:
        body["NetworkingConfig"] = {"EndpointsConfig": {network: {"Aliases": [name]}}}
    return Container(name, f"{place.prefix}-{name}", tuple(entry.get("needs", [])), body)


def mounts(name: str, entry: Mapping[str, Any], place: Place, workspace: str) -> list[dict[str, Any]]:
    """Return what of the host a container sees, by where it sees it."""
    found = {PRIVATE: (str(place.private(name)), True), PASSWD: (str(place.passwd), True)}
    found.update({path: (path, False) for path in tops(entry.get("directories", []))})
    found.update({one["target"]: (one["source"], bool(one.get("read_only"))) for one in entry.get("mounts", [])})
    if entry.get("sees_project"):
        found[workspace] = (workspace, False)
    return [
        {"Type": "bind", "Source": source, "Target": target, "ReadOnly": is_read_only}
        for target, (source, is_read_only) in found.items()
    ]


def instructions(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an image that isn't ours must be told, as it doesn't read the definition; no secrets."""
    found = {
        "Cmd": [str(word) for word in entry["command"]],
        "Env": [f"{key}={value}" for key, value in entry["env"].items()],
        "Healthcheck": {
            "Test": ["CMD", *map(str, entry["health_command"])],
            "Interval": 10 * SECOND,
            "Timeout": 5 * SECOND,
            "StartPeriod": 300 * SECOND,
        },
    }
    if "prepare" in entry:
        preparation = shlex.join(map(str, entry["prepare"]["command"]))
        found["Entrypoint"] = ["sh", "-ec", PREPARED.format(preparation=preparation)]
    return found


def digest(entry: Mapping[str, Any]) -> str:
    """Return what tells one definition of a service from another."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


# ---- What differs


def environment(variables: list[str] | None) -> dict[str, str]:
    """Return `NAME=value` lines as a mapping."""
    return dict(line.partition("=")[::2] for line in variables or [])


def given(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return those of the values that are set: the engine leaves out some that aren't, and gives others as empty."""
    return {key: value for key, value in (values or {}).items() if value}


def compared(config: Mapping[str, Any], host: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is compared of a container, by the words that a plan has for it.

    Args:
        config: What it runs, as the engine's API has it.
        host: What it has of this machine, as the engine's API has it.
    """
    return {
        "user": config.get("User") or "",
        "environment": environment(config.get("Env")),
        "entrypoint": config.get("Entrypoint") or [],
        "command": config.get("Cmd") or [],
        "labels": config.get("Labels") or {},
        "health check": given(config.get("Healthcheck")),
        "stop": [config.get("StopSignal", "SIGTERM"), config.get("StopTimeout")],
        "mounts": {one["Target"]: given(one) for one in host.get("Mounts") or []},
        "ports": host.get("PortBindings") or {},
        "host names": host.get("ExtraHosts") or [],
        "memory": host["Memory"],
        "log": host["LogConfig"],
        "capabilities": host.get("CapDrop") or [],
        "security": host.get("SecurityOpt") or [],
    }


def wanted_state(container: Container, image: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is compared of the container as it shall be.

    Args:
        container: What it shall be.
        image: What the engine says of its image, which gives what the container isn't told.
    """
    body, base = container.body, image["Config"]
    merged = {
        "Labels": {**(base.get("Labels") or {}), **body["Labels"]},
        "Env": [*(base.get("Env") or []), *body.get("Env", [])],
    }
    # An image's command is meant for its own entrypoint.
    entrypoint = {"Cmd": None} if "Entrypoint" in body else {}
    config = {**base, **entrypoint, **body, **merged}
    return {"image": image["Id"], **compared(config, body["HostConfig"]), "network": [container.network]}


def present_state(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is compared of a container as it is.

    Args:
        found: What the engine says of it.
    """
    networks = sorted(found["NetworkSettings"]["Networks"])
    return {"image": found["Image"], **compared(found["Config"], found["HostConfig"]), "network": networks}


def differences(
    container: Container, found: Mapping[str, Any] | None, image: Mapping[str, Any] | None
) -> dict[str, tuple[Any, Any]]:
    """Return what differs between a container and what it shall be: by what it is, as it is and as it shall be.

    Args:
        container: What it shall be.
        found: What the engine says of the one that exists, if any.
        image: What the engine says of the image that it shall be made from, if there is one.
    """
    if found is None:
        return {"container": ("absent", "present")}
    if image is None:
        return {"image": (found["Image"], container.image)}
    have, want = present_state(found), wanted_state(container, image)
    if not have["memory"]:  # an engine that can't limit memory drops the limit
        del want["memory"]
    return {what: (have[what], want[what]) for what in want if have[what] != want[what]}


# ---- Whose the containers are


def published_ports(engine: Engine) -> dict[int, tuple[str, str]]:
    """Return the container that publishes each port, and its instance, if any; none where no engine answers.

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
    """Return the ports of this machine that a container is to have."""
    bindings = engine.get(f"/containers/{container}/json")["HostConfig"]["PortBindings"] or {}
    return {int(one["HostPort"]) for those in bindings.values() for one in those or [] if one["HostPort"]}


# ---- For Compose


def compose(name: str, containers: list[Container]) -> dict[str, Any]:
    """Return the containers as a Compose file's content.

    Args:
        name: The Compose project's name.
        containers: The containers.
    """
    return {"name": name, "services": {one.service: compose_service(one) for one in containers}}


def compose_service(container: Container) -> dict[str, Any]:
    """Return a container as a service of a Compose file."""
    body, host = container.body, container.body["HostConfig"]
    health = body.get("Healthcheck")
    content = {
        "image": container.image,
        "pull_policy": "missing",
        "user": body["User"],
        "init": host["Init"],
        "restart": "unless-stopped",
        "mem_limit": host["Memory"],
        "cap_drop": host["CapDrop"],
        "security_opt": host["SecurityOpt"],
        "logging": {"driver": host["LogConfig"]["Type"], "options": host["LogConfig"]["Config"]},
        "stop_signal": body["StopSignal"],
        "stop_grace_period": f"{body['StopTimeout']}s",
        "volumes": [
            {"type": one["Type"], "source": one["Source"], "target": one["Target"], "read_only": one["ReadOnly"]}
            for one in host["Mounts"]
        ],
    }
    optional = {
        "entrypoint": literal(body.get("Entrypoint")),
        "command": literal(body.get("Cmd")),
        "environment": environment(body.get("Env")),
        "network_mode": "" if container.is_in_network else container.network,
        "extra_hosts": host["ExtraHosts"],
        "ports": [
            f"{one['HostIp']}:{one['HostPort']}:{port.partition('/')[0]}"
            for port, bindings in host["PortBindings"].items()
            for one in bindings
        ],
        "depends_on": {need: {"condition": "service_started"} for need in container.needs},
        "healthcheck": health
        and {
            "test": literal(health["Test"]),
            "interval": f"{health['Interval'] // SECOND}s",
            "timeout": f"{health['Timeout'] // SECOND}s",
            "start_period": f"{health['StartPeriod'] // SECOND}s",
        },
    }
    return content | given(optional)


def literal(words: list[str] | None) -> list[str]:
    """Return the words so that Compose puts no variables of its own in."""
    return [word.replace("$", "$$") for word in words or []]
