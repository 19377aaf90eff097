#!/usr/bin/python
"""Ansible module: what one instance of the stack has before its services start: ports, credentials, environments."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_instance
short_description: Keep the record of an instance of the stack
description:
  - Makes the instance's directories, gives it ports that are free and keeps them, and generates its credentials
    into a file that only its owner reads. No credential is returned.
  - Makes the Python environments that its services run in, from hashed lock files, in parallel.
  - All in one module, since every task of a run that has nothing to do costs a third of a second.
  - The first instance takes the default ports; a port that is taken is an error that names the process.
    Every further instance takes the next free ones.
options:
  home:
    description: Directory of all instances, environments and logs.
    type: path
    required: true
  name:
    description: The instance's name.
    type: str
    required: true
  state:
    description:
      - C(present) makes what is missing; C(query) only reads.
      - C(left) notes that the runtime of before has been left for C(runtime), and C(carried) that its data has been
        brought along.
    type: str
    choices: [present, query, left, carried]
    default: present
  project:
    description: Directory of the project whose DAGs the instance runs; empty keeps what is recorded.
    type: str
    default: ""
  default_ports:
    description: The first instance's ports by name.
    type: dict
    required: true
  port_overrides:
    description: Ports that the user asks for, by name; kept in the record.
    type: dict
    default: {}
  needed_ports:
    description: Names of the ports that must be free, or this instance's own, now.
    type: list
    elements: str
    default: []
  internal_ports:
    description: Names of the ports that no user sees; one that is taken is replaced by a free one.
    type: list
    elements: str
    default: []
  environments:
    description: The Python environments by name, and whether each holds the project's dependencies, too.
    type: dict
    default: {}
  runtime:
    description: What runs the services; empty keeps what is recorded, which is C(native) for a new instance.
    type: str
    choices: ["", native, docker]
    default: ""
  files:
    description: The role's files, with the environments' lock files and what the images are built from.
    type: path
    default: ""
  base_image:
    description: What the images stand on.
    type: str
    default: ""
  docker_socket:
    description: The Docker engine's socket, where it isn't found.
    type: str
    default: ""
  wheels:
    description: A directory of wheels, to make the environments from them alone and without a network.
    type: path
    default: ""
  uv:
    description: The uv program.
    type: path
    default: ""
"""

RETURN = r"""
record:
  description: The directory, ports, urls and project; empty where the instance does not exist.
  returned: always
  type: dict
environments:
  description: The directories of the instance's Python environments by name; when queried, of those it runs on now.
  returned: always
  type: dict
site_packages:
  description: The directory of each environment's packages by name.
  returned: when the state is present
  type: dict
notes:
  description: What the project declares that was not installed, and what to do about it.
  returned: when the state is present
  type: list
  elements: str
leaves:
  description: The runtime that has to be left first, or nothing.
  returned: when the state is present
  type: str
to_make:
  description: Whether an environment was missing.
  returned: when the state is present
  type: bool
"""

import base64
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gaiaflow import (
    INSTANCE_VARIABLE,
    copy_of,
    end_with_run,
    kept,
    locked,
    read_whole,
    write_private,
)
from ansible.module_utils.gaiaflow_container import prefix_of, published_ports
from ansible.module_utils.gaiaflow_engine import Engine, EngineElsewhere, own_socket
from ansible.module_utils.gaiaflow_environments import Failed, describe_all, ensure, image_of, needs_of
from ansible.module_utils.gaiaflow_pyproject import Declared
from ansible.module_utils.gaiaflow_record import (
    DEFINITIONS,
    PORT_RANGE,
    Lost,
    definition_of,
    holds_data,
    kept_record,
    own_record,
)

INSTANCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
# SeaweedFS listens for gRPC this far above these ports.
GRPC_OFFSET = 10000
PORTS_WITH_GRPC = {"store", "minio", "filer", "volume", "master"}
CLASHING_ADDRESSES = {"127.0.0.1", "0.0.0.0", "::", "::1"}
SUBDIRECTORIES = ("config", "data", "logs", "workspace/dags")
# The kernel allows 107 bytes for a socket's path; the longest name that is put there has 20.
LONGEST_SOCKET_DIRECTORY = 85
# Where the ports are noted that instances have, for those of other homes and users. Not in TMPDIR: shells differ in it.
RESERVATIONS = Path("/tmp/gaiaflow-{user}-ports")


class Taken(Exception):
    """A port belongs to somebody else."""


def listeners() -> dict[int, int | None]:
    """The ports in use on an address that loopback clashes with, and the process behind each where it can be seen."""
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
    """The process as an error message names it."""
    import psutil

    if pid is None:
        return "a process of another user"
    try:
        process = psutil.Process(pid)
        return f"{process.name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"


def with_grpc(name: str, port: int) -> list[int]:
    """The port, and the second one that goes with it."""
    return [port, port + GRPC_OFFSET] if name in PORTS_WITH_GRPC else [port]


class Ports:
    """Gives an instance its ports, knowing who listens and what other instances have reserved."""

    def __init__(self, directory: Path, reserved: set[int]) -> None:
        self.directory = directory
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
        for one in with_grpc(name, port):
            if one in self.listeners and not belongs_to(self.listeners[one], self.directory):
                container, directory = self.containers.get(one, ("", ""))
                if not container:
                    return describe(self.listeners[one])
                if directory != str(self.directory):
                    return f"the container {container}"
        return None

    def can_keep(self, name: str, port: int) -> bool:
        """Return whether the instance can go on with a port: nobody else uses it, or has noted it unused."""
        numbers = set(with_grpc(name, port))
        return self.holder(name, port) is None and not (numbers & self.reserved and numbers.isdisjoint(self.listeners))

    def free_from(self, name: str, first: int, taken: set[int]) -> int:
        """The first usable port from `first` on."""
        for port in range(first, PORT_RANGE.stop):
            wanted = set(with_grpc(name, port))
            if max(wanted) not in PORT_RANGE:
                break
            if not wanted & (taken | self.reserved) and self.holder(name, port) is None:
                return port
        raise Taken(f"No port from {first} up is free for {name}.")


def with_all_grpc(ports: dict[str, int]) -> set[int]:
    """Return the ports with the second ones that go with them."""
    return {number for name, port in ports.items() for number in with_grpc(name, port)}


def reserved_in(home: Path, directory: Path) -> set[int]:
    """Return the ports that the records of a home's other instances name."""
    others = [record.parent for record in (home / "instances").glob("*/instance.json") if record.parent != directory]
    return set().union(*(with_all_grpc(kept_record(other).get("ports", {})) for other in others))


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
def reserving_ports(directory: Path) -> Iterator[None]:
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
        ports = sorted(with_all_grpc(kept_record(directory).get("ports", {})))
        note = place / f"{hashlib.sha256(os.fsencode(directory)).hexdigest()}.json"
        write_private(note, json.dumps({"directory": str(directory), "ports": ports}))
        note.chmod(0o644)
        for other in place.glob("*.json"):
            if not Path(read_whole(other).get("directory", "/")).exists():
                other.unlink()


def own_reservations() -> Path:
    """Return where the ports of this user's instances are noted."""
    return RESERVATIONS.with_name(RESERVATIONS.name.format(user=os.geteuid()))


def checked_overrides(overrides: dict[str, Any], known: dict[str, int]) -> dict[str, int]:
    """The ports that the user asks for, as numbers."""
    checked = {}
    for name, value in overrides.items():
        if name not in known:
            raise ValueError(f"There is no port named {name!r}; the ports are {', '.join(known)}.")
        if not str(value).isdigit() or int(value) not in PORT_RANGE:
            raise ValueError(f"{value!r} is no port for {name}: a port is a whole number from 1 to 65535.")
        if max(with_grpc(name, int(value))) not in PORT_RANGE:
            raise ValueError(f"Port {value} is too high for {name}: {GRPC_OFFSET} above it must be a port, too.")
        checked[name] = int(value)
    return checked


def choose_ports(module: AnsibleModule, record: dict[str, Any], directory: Path, home: Path) -> dict[str, int]:
    """The ports that the instance shall have."""
    defaults: dict[str, int] = module.params["default_ports"]
    overrides = checked_overrides(module.params["port_overrides"], defaults)
    kept: dict[str, int] = record.get("ports", {})
    first_instance = module.params["name"] == "default"
    allocator = Ports(directory, reserved_in(home, directory) | reserved_elsewhere(directory))
    ports: dict[str, int] = {}
    for name, default in defaults.items():
        port = overrides.get(name, kept.get(name))
        others = {
            one for other, number in {**kept, **ports}.items() if other != name for one in with_grpc(other, number)
        }
        internal = name in module.params["internal_ports"]
        if port is None and not internal and first_instance:
            port = default
        if port is None or (internal and not allocator.can_keep(name, port)):
            port = allocator.free_from(name, default, others)
        ports[name] = port
    refuse_doubles(ports)
    refuse_taken(module.params["needed_ports"], ports, allocator)
    return ports


def refuse_doubles(ports: dict[str, int]) -> None:
    """Two services cannot share a port."""
    for name, port in ports.items():
        for other, number in ports.items():
            if other < name and number == port:
                raise ValueError(f"Port {port} is asked for twice: for {other} and for {name}.")


def refuse_taken(needed: list[str], ports: dict[str, int], allocator: Ports) -> None:
    """Every port that is needed now must be free or ours."""
    taken = [(name, holder) for name in needed if (holder := allocator.holder(name, ports[name]))]
    if taken:
        raise Taken(" ".join(f"Port {ports[name]} ({name}) is taken by {holder}." for name, holder in taken))


def checked_project(path: str, check_mode: bool) -> str:
    """The project's directory as an absolute path; in check mode it may be one that would have been made by now."""
    project = Path(path).expanduser()
    if check_mode and not project.exists():
        return str(project.resolve())
    if not project.is_dir():
        raise ValueError(f"There is no project directory {path!r}. `gaiaflow-setup new` makes one.")
    if not (project / "dags").is_dir():
        raise ValueError(
            f"{path!r} is not a project: it has no directory 'dags'. `gaiaflow-setup new` makes a project."
        )
    return str(project.resolve())


def generate_credentials() -> dict[str, dict[str, str]]:
    """Credentials nobody else has; `internal` ones are the services' own and are never shown."""
    return {
        "airflow": {"user": "admin", "password": secrets.token_urlsafe(18)},
        "minio": {"access_key": "gaiaflow-" + secrets.token_hex(6), "secret_key": secrets.token_urlsafe(30)},
        "jupyter": {"token": secrets.token_urlsafe(24)},
        "postgres": {"user": "airflow", "password": secrets.token_hex(24)},
        "internal": {
            "airflow_fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "airflow_jwt_secret": secrets.token_urlsafe(64),
            "airflow_secret_key": secrets.token_urlsafe(32),
            "s3_read_key": secrets.token_urlsafe(32),
            "s3_write_key": secrets.token_urlsafe(32),
        },
    }


def keep_credentials(path: Path, check_mode: bool) -> bool:
    """Adds the credentials that are missing and mends the file's mode; tells whether that was needed.

    Raises:
        Lost: They are gone or broken, with their copy, while there is data that only they open.
    """
    present = kept(path, are_credentials)
    if not present and holds_data(path.parent):
        raise Lost(
            f"{path} {'is broken' if path.exists() else 'is gone'}, and so is the copy of it: only with the passwords"
            " in it can the stack's databases and objects be opened.",
            "Put it back from a backup, or give the data up: gaiaflow-setup mlops --restart --delete-volume",
        )
    generated = generate_credentials()
    complete = {service: {**values, **present.get(service, {})} for service, values in generated.items()}
    private = path.exists() and path.stat().st_mode & 0o777 == 0o600
    if private and complete == read_whole(path):
        keep_copy(path, complete, check_mode)
        return False
    if not check_mode:
        write_private(path, json.dumps(complete, indent=2) + "\n")
    keep_copy(path, complete, check_mode)
    return True


# ---- What an editor, a cleaner or a full disk may take, and its copy


def are_credentials(content: dict[str, Any]) -> bool:
    """Whether these are an instance's credentials."""
    known = generate_credentials()
    return set(known) <= set(content) and all(
        isinstance(group, dict) and all(value and isinstance(value, str) for value in group.values())
        for group in content.values()
    )


def keep_copy(path: Path, content: dict[str, Any], check_mode: bool) -> None:
    """Keeps a copy of what a file is to hold."""
    copy = copy_of(path)
    if not check_mode and read_whole(copy) != content:
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(copy, json.dumps(content, indent=2) + "\n")


def socket_directory(directory: Path) -> Path:
    """Where the instance's sockets are: inside it, or in a private place with a short path."""
    inside = directory / "run"
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_DIRECTORY:
        return inside
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"gaiaflow-{os.geteuid()}-{digest}"


def make_directories(directory: Path, sockets: Path) -> None:
    """All directories of the instance, private to their owner."""
    for path in (directory, *(directory / name for name in SUBDIRECTORIES), sockets):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if sockets.is_symlink() or sockets.stat().st_uid != os.geteuid():
        raise ValueError(f"{sockets} belongs to another user; the stack's sockets cannot be there.")
    sockets.chmod(0o700)
    directory.chmod(0o700)


def make_record(module: AnsibleModule, record: dict[str, Any], directory: Path, home: Path) -> dict[str, Any]:
    """The record as it shall be."""
    ports = choose_ports(module, record, directory, home)
    project = module.params["project"]
    runtime = choose_runtime(module.params["runtime"], record)
    return {
        **record,
        "directory": str(directory),
        "sockets": str(socket_directory(directory)),
        "ports": ports,
        "project": checked_project(project, module.check_mode) if project else kept_project(record),
        **runtime,
        **choose_engine(module.params["docker_socket"], record, runtime["runtime"]),
        "containers": prefix_of(directory),
        "urls": {name: f"http://127.0.0.1:{ports[name]}" for name in ("airflow", "mlflow", "s3", "minio", "jupyter")},
    }


def kept_project(record: dict[str, Any]) -> str | None:
    """The project that the instance is wired to.

    Raises:
        Lost: It isn't there any more.
    """
    project: str | None = record.get("project")
    if project and not Path(project).is_dir():
        raise Lost(
            f"The project {project} is gone, whose DAGs this instance runs.",
            "Put it back, or give the instance another one: gaiaflow-setup mlops --start --project DIRECTORY",
        )
    return project


def choose_runtime(asked: str, record: dict[str, Any]) -> dict[str, str]:
    """The runtime, and the one whose data is still to be brought along."""
    before = record.get("runtime", "")
    wanted = asked or before or "native"
    return {"runtime": wanted, "carry_from": record.get("carry_from", "") if before == wanted else ""}


def choose_engine(asked: str, record: dict[str, Any], runtime: str) -> dict[str, str]:
    """The socket of the engine that has the containers, or shall have them; the same for all commands from then on."""
    if "docker" not in (runtime, record.get("runtime")):
        return {}
    if asked and not Path(asked).is_socket():
        raise ValueError(f"No Docker engine answers at {asked} (mlops_docker_socket).")
    kept: str = record.get("engine", "") if record.get("runtime") == "docker" else ""
    return {"engine": asked or (kept if Path(kept).is_socket() else own_socket())}


def runtime_to_leave(record: dict[str, Any], wanted: str, directory: Path) -> str:
    """The runtime that has to be left for the one that is wanted, or nothing; one that never came to run is not."""
    before: str = record.get("runtime", "")
    return before if before not in ("", wanted) and (directory / "config" / DEFINITIONS[before]).exists() else ""


def ensure_instance(module: AnsibleModule, home: Path, directory: Path) -> dict[str, Any]:
    """Brings the record to its wanted state and returns the module's result."""
    if module.params["state"] == "present":
        provide_psutil(module, home)
    path = directory / "instance.json"
    before = own_record(directory)
    if module.params["state"] == "query":
        record = {"runtime": "native", **before} if before else {}
        definition = definition_of(directory, record) if before else {}
        return {"changed": False, "record": record, "environments": definition.get("environments", {})}
    if module.params["state"] in {"left", "carried"}:
        left = module.params["state"] == "left"
        noted = {"runtime": module.params["runtime"], "carry_from": before["runtime"]} if left else {"carry_from": ""}
        write_private(path, json.dumps({**before, **noted}, indent=2) + "\n")
        keep_copy(path, {**before, **noted}, check_mode=False)
        return {"changed": True, "record": {**before, **noted}}
    wanted = make_record(module, before, directory, home)
    leaves = runtime_to_leave(before, wanted["runtime"], directory)
    # The runtime of before is on record until it has been left: nobody may lose sight of what still runs.
    settled = {**wanted, "runtime": leaves, "carry_from": before.get("carry_from", "")} if leaves else wanted
    if not module.check_mode:
        make_directories(directory, Path(wanted["sockets"]))
    changed = keep_credentials(directory / "credentials.json", module.check_mode)
    if settled != read_whole(path):
        changed = True
        if not module.check_mode:
            write_private(path, json.dumps(settled, indent=2) + "\n")
    keep_copy(path, settled, module.check_mode)
    diff = {"before": json.dumps(before, indent=2) + "\n", "after": json.dumps(wanted, indent=2) + "\n"}
    return {"changed": changed, "record": wanted, "leaves": leaves, "diff": diff}


def provide_psutil(module: AnsibleModule, home: Path) -> None:
    """Takes psutil from the base environment, made for it if need be, where the host's Python has none."""
    if importlib.util.find_spec("psutil") is None:
        root = home / "environments"
        (base,) = describe_all(root, Path(module.params["files"]) / "locks", {"base": False}, "")
        if not base.complete and not module.check_mode:
            ensure(root, [base], module.params["uv"], str(home / "cache" / "uv"), module.params["wheels"])
        sys.path.append(base.site_packages)


def ensure_environments(module: AnsibleModule, home: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Makes the environments that are missing and returns where all of them are."""
    root, project, files = home / "environments", record["project"] or "", Path(module.params["files"])
    wanted: dict[str, bool] = module.params["environments"]
    in_containers = record["runtime"] == "docker"
    on_host = {"base": False} if in_containers else wanted
    needs = needs_of(project, in_images=True) if in_containers else Declared()
    images = images_of(module, files, wanted, needs) if in_containers else {}
    environments = describe_all(root, files / "locks", on_host, project)
    to_make = not all(environment.complete for environment in environments)
    if to_make and not module.check_mode:
        ensure(root, environments, module.params["uv"], str(home / "cache" / "uv"), module.params["wheels"])
    return {
        "environments": {
            **{environment.name: str(environment.directory) for environment in environments},
            **{name: image["name"] for name, image in images.items()},
        },
        "images": images,
        "notes": sorted({*needs.warnings, *(note for one in environments for note in one.declared.warnings)}),
        "site_packages": {environment.name: environment.site_packages for environment in environments},
        "to_make": to_make,
    }


def images_of(module: AnsibleModule, files: Path, names: dict[str, bool], needs: Declared) -> dict[str, Any]:
    """The images that take the place of the environments, but for that of this host."""
    return {
        name: image_of(name, files, needs.requirements if runs_project else (), module.params["base_image"])
        for name, runs_project in names.items()
        if name != "base"
    }


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "query", "left", "carried"], "default": "present"},
            "project": {"type": "str", "default": ""},
            "default_ports": {"type": "dict", "required": True},
            "port_overrides": {"type": "dict", "default": {}},
            "needed_ports": {"type": "list", "elements": "str", "default": []},
            "internal_ports": {"type": "list", "elements": "str", "default": []},
            "environments": {"type": "dict", "default": {}},
            "runtime": {"type": "str", "choices": ["", "native", "docker"], "default": ""},
            "files": {"type": "path", "default": ""},
            "base_image": {"type": "str", "default": ""},
            "docker_socket": {"type": "str", "default": ""},
            "uv": {"type": "path", "default": ""},
            "wheels": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    end_with_run()
    home, name = Path(module.params["home"]).absolute(), module.params["name"]
    if not INSTANCE_NAME.fullmatch(name):
        module.fail_json(msg=f"{name!r} is no instance's name: up to 31 lower-case letters, digits and hyphens are.")
    directory = home / "instances" / name
    try:
        if module.params["state"] == "query" or module.check_mode:
            result = ensure_instance(module, home, directory)
        else:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Two instances that start at once must not be given the same ports, whatever home they are of.
            with reserving_ports(directory):
                result = ensure_instance(module, home, directory)
        if module.params["state"] == "present":
            made = ensure_environments(module, home, result["record"])
            result = {**result, **made, "changed": result["changed"] or made["to_make"]}
    except Failed as error:
        module.fail_json(
            msg=str(error),
            hint=error.hint
            or "A package that cannot be downloaded needs the network or a mirror (pip's and uv's settings are used)."
            " A conflict needs another version in the project's pyproject.toml. Nothing that ran was changed.",
        )
    except Taken as error:
        module.fail_json(
            msg=str(error),
            hint='End that process, or give the service another port: -e \'{"mlops_port_overrides": {"NAME": PORT}}\''
            " (for JupyterLab also -j PORT). `--instance NAME` makes a second stack on free ports.",
        )
    except Lost as error:
        module.fail_json(msg=str(error), hint=error.hint)
    except EngineElsewhere as error:
        module.fail_json(msg=f"{error}.", hint="Unset DOCKER_HOST, or run this on that machine.")
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
