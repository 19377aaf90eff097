#!/usr/bin/python
"""Ansible module: what one instance of the stack has before its services start: ports, credentials, environments."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance
short_description: Keep the record of an instance of the stack
author: The developers of gaiaflow-setup (!UNKNOWN)
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
    type: path
    default: ""
  catalogue:
    description: What is said of each service, by name, as C(mlops_service_NAME) has it.
    type: dict
    default: {}
  services:
    description: Those that are asked for; their ports must be free now, or this instance's own.
    type: list
    elements: str
    default: []
  models:
    description:
      - The models that are served, by the name of their program; each has C(name), C(version), C(alias), and in
        C(files) its directory in the instance's C(data/models). Without it, those are kept whose files are there.
    type: dict
  port_overrides:
    description: Ports that the user asks for, by name; kept in the record.
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

EXAMPLES = r"""
- name: Read the record of an instance
  gaiaflow.setup.instance:
    home: ~/.local/share/gaiaflow
    name: default
    state: query
  register: instance
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
hosts:
  description: By port, the host where the services find one another.
  returned: when the state is present
  type: dict
peer_urls:
  description: The same with the port, as URLs.
  returned: when the state is present
  type: dict
to_make:
  description: Whether an environment was missing.
  returned: when the state is present
  type: bool
"""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.catalogue import environment_names
from ..module_utils.common import end_with_run, read_whole, write_private
from ..module_utils.credentials import keep_copy, keep_credentials
from ..module_utils.engine import EngineElsewhere, own_socket
from ..module_utils.environments import describe_all, ensure, image_of, needs_of
from ..module_utils.errors import SetupError
from ..module_utils.model import environments_of, kept_models, with_models
from ..module_utils.ports import choose_ports, known_ports, reserving_ports
from ..module_utils.pyproject import Declared
from ..module_utils.record import (
    DEFINITIONS,
    LostFileError,
    definition_of,
    own_record,
    prefix_of,
    socket_directory,
)

INSTANCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
SUBDIRECTORIES = ("config", "data", "logs", "workspace/dags")


def checked_project(path: str, check_mode: bool) -> str:
    """Return the project's directory as an absolute path; in check mode, one that would have been made by now."""
    project = Path(path)
    if check_mode and not project.exists():
        return str(project.resolve())
    if not project.is_dir():
        raise ValueError(f"There is no project directory {path!r}. `gaiaflow-setup new` makes one.")
    if not (project / "dags").is_dir():
        raise ValueError(
            f"{path!r} is not a project: it has no directory 'dags'. `gaiaflow-setup new` makes a project."
        )
    return str(project.resolve())


def make_directories(directory: Path, sockets: Path) -> None:
    """All directories of the instance, private to their owner."""
    for path in (directory, *(directory / name for name in SUBDIRECTORIES), sockets):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if sockets.is_symlink() or sockets.stat().st_uid != os.geteuid():
        raise ValueError(f"{sockets} belongs to another user; the stack's sockets cannot be there.")
    sockets.chmod(0o700)
    directory.chmod(0o700)


def make_record(module: AnsibleModule, record: dict[str, Any], directory: Path, home: Path) -> dict[str, Any]:
    """Return the record as it shall be."""
    models = kept_models(record, directory) if module.params["models"] is None else module.params["models"]
    catalogue = with_models(module.params["catalogue"], models)
    known = known_ports(catalogue, module.params["services"])
    ports = choose_ports(known, module.params["port_overrides"], record.get("ports", {}), directory, home)
    project = module.params["project"]
    runtime = choose_runtime(module.params["runtime"], record)
    return {
        **record,
        "directory": str(directory),
        "sockets": str(socket_directory(directory)),
        "ports": ports,
        "models": models,
        "project": checked_project(project, module.check_mode) if project else kept_project(record),
        **runtime,
        **choose_engine(module.params["docker_socket"], record, runtime["runtime"]),
        "containers": prefix_of(directory),
        "urls": {page: f"http://127.0.0.1:{ports[page]}" for one in catalogue.values() for page in one["pages"]},
    }


def kept_project(record: dict[str, Any]) -> str | None:
    """Return the project that the instance is wired to.

    Raises:
        LostFileError: It isn't there any more.
    """
    project: str | None = record.get("project")
    if project and not Path(project).is_dir():
        raise LostFileError(
            f"The project {project} is gone, whose DAGs this instance runs.",
            "Put it back, or give the instance another one: gaiaflow-setup mlops --start --project DIRECTORY",
        )
    return project


def choose_runtime(asked: str, record: dict[str, Any]) -> dict[str, str]:
    """Return the runtime, and the one whose data is still to be brought along."""
    before = record.get("runtime", "")
    wanted = asked or before or "native"
    return {"runtime": wanted, "carry_from": record.get("carry_from", "") if before == wanted else ""}


def choose_engine(asked: str, record: dict[str, Any], runtime: str) -> dict[str, str]:
    """Return the socket of the engine that has the containers, or is to have them; all commands use it from then on."""
    if "docker" not in (runtime, record.get("runtime")):
        return {}
    if asked and not Path(asked).is_socket():
        raise ValueError(f"No Docker engine answers at {asked} (mlops_docker_socket).")
    kept: str = record.get("engine", "") if record.get("runtime") == "docker" else ""
    return {"engine": asked or (kept if Path(kept).is_socket() else own_socket())}


def runtime_to_leave(record: dict[str, Any], wanted: str, directory: Path) -> str:
    """Return the runtime to leave for the one that is wanted, or nothing; one that never came to run is not left."""
    before: str = record.get("runtime", "")
    return before if before not in ("", wanted) and (directory / "config" / DEFINITIONS[before]).exists() else ""


def ensure_instance(module: AnsibleModule, home: Path, directory: Path) -> dict[str, Any]:
    """Bring the record to its wanted state and return the module's result."""
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
    changed = keep_credentials(directory / "credentials.json", module.params["catalogue"], module.check_mode)
    if settled != read_whole(path):
        changed = True
        if not module.check_mode:
            write_private(path, json.dumps(settled, indent=2) + "\n")
    keep_copy(path, settled, module.check_mode)
    diff = {"before": json.dumps(before, indent=2) + "\n", "after": json.dumps(wanted, indent=2) + "\n"}
    return {"changed": changed, "record": wanted, "leaves": leaves, "diff": diff}


def provide_psutil(module: AnsibleModule, home: Path) -> None:
    """Take psutil from the base environment, made for it if need be, where the host's Python has none."""
    if importlib.util.find_spec("psutil") is None:
        root = home / "environments"
        (base,) = describe_all(root, Path(module.params["files"]) / "locks", {"base": False}, "")
        if not base.complete and not module.check_mode:
            ensure(root, [base], module.params["uv"], str(home / "cache" / "uv"), module.params["wheels"])
        sys.path.append(base.site_packages)


def ensure_environments(module: AnsibleModule, home: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Make the environments that are missing and return where all of them are."""
    root, project, files = home / "environments", record["project"] or "", Path(module.params["files"])
    wanted = {"base": False, **environment_names(module.params["catalogue"].values())}
    in_containers = record["runtime"] == "docker"
    on_host = {"base": False} if in_containers else wanted
    needs = needs_of(project, in_images=True) if in_containers else Declared()
    images = images_of(module, files, wanted, needs) if in_containers else {}
    environments = describe_all(root, files / "locks", on_host, project)
    if not in_containers:
        # Models with the same needs share one, which is made once.
        environments += environments_of(record["models"], Path(record["directory"]), root)
    to_make = not all(environment.complete for environment in environments)
    if to_make and not module.check_mode:
        once = {environment.directory: environment for environment in environments}
        ensure(root, [*once.values()], module.params["uv"], str(home / "cache" / "uv"), module.params["wheels"])
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


def addresses(catalogue: dict[str, Any], record: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return where the services find one another, by port: a host, and an address with it.

    Args:
        catalogue: What is known of each service; its `hosts` name the container that answers on a port.
        record: The instance's record.
    """
    containers = {port: container for one in catalogue.values() for port, container in one["hosts"].items()}
    in_containers = record["runtime"] == "docker"
    hosts = {port: container if in_containers else "127.0.0.1" for port, container in containers.items()}
    urls = {port: f"http://{host}:{record['ports'][port]}" for port, host in hosts.items()}
    return {"hosts": hosts, "peer_urls": urls}


def refuse_unknown(services: list[str], catalogue: dict[str, Any]) -> None:
    """Raise ValueError where one of the services isn't in the catalogue."""
    for service in services:
        if service not in catalogue:
            raise ValueError(f"There is no service {service!r}. There are: {', '.join(sorted(catalogue))}.")


def images_of(module: AnsibleModule, files: Path, names: dict[str, bool], needs: Declared) -> dict[str, Any]:
    """Return the images that take the place of the environments, but for that of this host."""
    return {
        name: image_of(name, files, needs.requirements if runs_project else (), module.params["base_image"])
        for name, runs_project in names.items()
        if name != "base"
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "query", "left", "carried"], "default": "present"},
            "project": {"type": "path", "default": ""},
            "catalogue": {"type": "dict", "default": {}},
            "services": {"type": "list", "elements": "str", "default": []},
            "models": {"type": "dict"},
            "port_overrides": {"type": "dict", "default": {}},
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
        refuse_unknown(module.params["services"], module.params["catalogue"])
        if module.params["state"] == "query" or module.check_mode:
            result = ensure_instance(module, home, directory)
        else:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Two instances that start at once must not be given the same ports, whatever home they are of.
            with reserving_ports(directory, known_ports(module.params["catalogue"], ())):
                result = ensure_instance(module, home, directory)
        if module.params["state"] == "present":
            made = ensure_environments(module, home, result["record"])
            found = addresses(module.params["catalogue"], result["record"])
            result = {**result, **made, **found, "changed": result["changed"] or made["to_make"]}
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    except EngineElsewhere as error:
        module.fail_json(msg=f"{error}.", hint="Unset DOCKER_HOST, or run this on that machine.")
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
