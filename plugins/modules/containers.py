#!/usr/bin/python
"""Ansible module: the services of one instance in containers, examined, started, stopped and asked together."""

from __future__ import annotations

DOCUMENTATION = r"""
module: containers
short_description: Start, stop, restart and query the services that run in containers
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Compares the instance's images, network and containers with what the catalogue says, all in one go, and returns what
    has to be made; Ansible's modules for Docker make it. Every service that runs in a container has a directory of its
    own under config/containers, with its definition and no credentials but its own.
  - C(started) starts what is not running and returns when every service answers its health check; C(restarted) stops
    first. Where something has to be made before, both return without having done anything.
  - C(defined) looks and writes the definitions, while another runtime may still be running; C(exported) also lets the
    containers' user write to the data. C(stopped), C(absent) and C(query) need no definition.
options:
  directory:
    description: The instance's directory.
    type: path
    required: true
  state:
    description: The state that is asked for.
    type: str
    choices: [started, restarted, defined, exported, stopped, absent, query]
    required: true
  definition:
    description: The catalogue of services, what they share, and the images of their environments.
    type: dict
    default: {}
  services:
    description: What the state is asked of, by the catalogue's C(service) names; empty for all.
    type: list
    elements: str
    default: []
  shell_rules:
    description: What becomes of the variables of the user's shell, as vars/main/environment.yml has it.
    type: list
    elements: dict
    default: []
  shell_basics:
    description: Names and patterns of those variables that containers see.
    type: list
    elements: str
    default: []
  build:
    description: Whether images that exist already are built again.
    type: str
    choices: [missing, always]
    default: missing
  purge:
    description: Whether the stack's images that no container is made from any more are removed at the end.
    type: bool
    default: false
  start_timeout:
    description: Seconds until every service must be healthy.
    type: int
    default: 600
  stop_timeout:
    description: Seconds a service has to end before it is killed.
    type: int
    default: 15
  docker_socket:
    description: The engine's socket; empty takes what the instance's record says.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Query the services
  gaiaflow.setup.containers:
    directory: ~/.local/share/gaiaflow/instances/default
    state: query
  register: stack
"""

RETURN = r"""
to_define:
  description: Whether anything of the following has to be made before the services can start.
  returned: when a definition was given
  type: bool
to_build:
  description: The images to build, as name, dockerfile, args and labels.
  returned: when a definition was given
  type: list
to_pull:
  description: The names of other images that are missing.
  returned: when a definition was given
  type: list
to_create:
  description: The containers to make (again), as options of community.docker.docker_container.
  returned: when a definition was given
  type: list
to_remove:
  description: The names of containers whose service is no more.
  returned: when a definition was given
  type: list
network:
  description: The network's name and labels, and whether it is missing.
  returned: when a definition was given
  type: dict
buildx:
  description: Whether images can be built with BuildKit.
  returned: when a definition was given
  type: bool
compose:
  description: The same containers as a Compose file's content.
  returned: when a definition was given
  type: dict
services:
  description: name, state, health, url, uptime_s and memory_bytes of each service; null where a figure isn't known.
  returned: when the state is query
  type: list
endpoints:
  description: service, url, user and the file of its password, for each service that a user opens.
  returned: when the services were started
  type: list
notes:
  description: What a user should know of what was done, a line each.
  returned: when the services were started
  type: list
"""

import contextlib
import json
import os
import time
import urllib.parse
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.build import ImageError, has_buildkit, package_index
from ..module_utils.catalogue import expand, fill_in
from ..module_utils.common import (
    ServiceError,
    end_with_run,
    locked,
    read_json,
    report_progress,
    write_private,
)
from ..module_utils.container import (
    DIRECTORY_LABEL,
    ENVIRONMENT,
    KEPT_UP,
    LEFT_DOWN,
    PRIVATE,
    UNPRIVILEGED,
    Container,
    Place,
    compose,
    describe,
    differences,
    options,
)
from ..module_utils.engine import Engine, EngineError
from ..module_utils.health import Patience
from ..module_utils.running import (
    DEFINITIONS,
    Containers,
    absent_as_none,
    explain,
    healthy,
    parallel,
    status,
)
from ..module_utils.shell import lines, seen_in_container, user_environment

POLL_SECONDS = 0.25
LOG_LINES = 15
# A container that the engine has had to start this often within one start is not going to come up.
MOST_RESTARTS = 4


class Stack(Containers):
    """One instance, and what its containers shall be."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        definition = module.params["definition"]
        if definition:
            definition = {**definition, "services": expand(definition["services"], definition["bases"], "docker")}
            del definition["bases"]
        params = module.params
        directory, stop_timeout = Path(params["directory"]), params["stop_timeout"]
        super().__init__(directory, params["docker_socket"], stop_timeout + 30, definition)
        self.place = Place(directory, self.prefix, owner(self.engine), stop_timeout)
        self.notes: list[str] = []

    def selected(self) -> list[str]:
        """The services that are asked for, and before them what they need."""
        names = self.module.params["services"]
        chosen: dict[str, None] = {}
        for name, entry in self.entries.items():
            if not names or entry["service"] in names:
                chosen.update(dict.fromkeys([*entry.get("needs", []), name]))
        return list(chosen)

    def asked_for(self) -> list[str]:
        """The services that are asked for, alone."""
        names = self.module.params["services"]
        return [name for name, entry in self.entries.items() if not names or entry["service"] in names]

    def container(self, name: str) -> Container:
        """What the service's container shall be."""
        images = {name: image["name"] for name, image in self.definition.get("images", {}).items()}
        return describe(name, self.entries[name], images, self.place, self.definition["working_directory"])

    def own(self, kind: str) -> list[dict[str, Any]]:
        """All of this instance's containers or networks, by their label."""
        label = json.dumps({"label": [f"{DIRECTORY_LABEL}={self.directory}"]})
        found: list[dict[str, Any]] = self.engine.get(f"/{kind}?all=true&filters={urllib.parse.quote(label)}") or []
        return found

    def log_end(self, service: str) -> str:
        """The last lines that a container has written."""
        path = f"/containers/{self.name_of(service)}/logs?stdout=true&stderr=true&tail={LOG_LINES}"
        with contextlib.suppress(OSError):
            return unframed(self.engine.read(path)).decode(errors="replace")
        return ""


def unframed(stream: bytes) -> bytes:
    """The text of a log, of which each piece begins with eight bytes: its stream and its length."""
    text = b""
    while len(stream) >= 8:
        length = int.from_bytes(stream[4:8], "big")
        text += stream[8 : 8 + length]
        stream = stream[8 + length :]
    return text


def owner(engine: Engine) -> str:
    """The user and group id of the containers: those of who calls, unless that is root.

    In a rootless engine, root in a container is the user outside.
    """
    if any("rootless" in option for option in engine.get("/info").get("SecurityOptions") or []):
        return "0:0"
    return UNPRIVILEGED if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"


# ---- What the containers find on the host


def write_definitions(stack: Stack) -> list[str]:
    """Writes what differs of the files that containers read; returns the services whose definition has changed."""
    changed: list[str] = []
    credentials = read_json(stack.directory / "credentials.json")
    # In check mode, an instance that is to be made has none yet, and no container that reads them.
    if not credentials:
        return changed
    user_id = int(stack.place.user.partition(":")[0])
    passwd = f"root:x:0:0::/:/sbin/nologin\ngaiaflow:x:{user_id}:{stack.place.user.partition(':')[2]}::/tmp:/bin/sh\n"
    write(stack, stack.place.passwd, passwd, mode=0o644)
    for name in stack.selected():
        entry = stack.entries[name]
        if "image" in entry:
            files = {Path(file["path"]).name: fill_in(file["text"], credentials) for file in entry.get("files", [])}
        else:
            files = {
                "service.json": json.dumps(own_definition(stack, name), indent=2) + "\n",
                "credentials.json": json.dumps(own_credentials(entry, credentials), indent=2) + "\n",
            }
        written = [write(stack, stack.place.private(name) / file, text) for file, text in files.items()]
        changed += [name] * any(written)
    text = json.dumps({key: value for key, value in stack.definition.items() if key != "images"}, indent=2) + "\n"
    services = stack.directory / "config" / DEFINITIONS
    if not stack.module.check_mode and (not services.exists() or services.read_text() != text):
        write_private(services, text)
    return changed


def keep_environments(stack: Stack, names: list[str]) -> None:
    """Writes what services that are about to start see of the user's environment; other images see nothing of it."""
    params = stack.module.params
    seen, files = seen_in_container(user_environment(), params["shell_rules"], params["shell_basics"], PRIVATE)
    for name in names:
        if "image" not in stack.entries[name]:
            private = stack.place.private(name)
            write(stack, private / "environment.json", json.dumps(seen.variables) + "\n")
            for file, source in files.items():
                write(stack, private / file, source.read_text(errors="replace"))
            stack.notes = lines(seen.told)


def write(stack: Stack, path: Path, text: str, mode: int = 0o600) -> bool:
    """Writes a file of the containers' user that differs; tells whether it did."""
    if path.exists() and path.read_text() == text:
        return False
    if not stack.module.check_mode:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o755)
        # In place where there is one, as a container that runs sees a file and not its name.
        if path.exists() and path == stack.place.passwd:
            path.write_text(text)
        else:
            write_private(path, text)
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, *map(int, stack.place.user.split(":")))
    return True


def own_definition(stack: Stack, name: str) -> dict[str, Any]:
    """The services file of a container, with one service."""
    entry = stack.entries[name]
    return {
        "credentials": f"{PRIVATE}/credentials.json",
        "working_directory": stack.definition["working_directory"] if entry.get("sees_project") else "/tmp",
        "environments": {entry["environment"]: ENVIRONMENT},
        "services": {name: entry},
    }


def own_credentials(entry: dict[str, Any], credentials: dict[str, Any]) -> dict[str, Any]:
    """The credentials that the service's environment and files name, and no others."""
    text = json.dumps([entry["env"], entry.get("files")])
    return {
        group: kept
        for group, values in credentials.items()
        if (kept := {key: value for key, value in values.items() if f"@{{{group}.{key}}}" in text})
    }


def make_directories(stack: Stack, container: Container) -> None:
    """Makes the directories that the container is going to see."""
    for source in map(Path, container.mounts):
        if stack.directory / "data" in source.parents or source == stack.directory / "workspace":
            source.mkdir(parents=True, exist_ok=True)
        elif source == stack.directory / "config" / "cluster":
            source.mkdir(parents=True, exist_ok=True, mode=0o700)


def hand_over(stack: Stack, container: Container) -> None:
    """Lets the container's user write to what it sees of root's; not before the runtime of before has ended."""
    user_id, group_id = map(int, stack.place.user.split(":"))
    for source in map(Path, container.mounts) if os.geteuid() == 0 else ():
        if stack.directory in source.parents:
            give(source, user_id, group_id)
        elif str(source) == stack.definition["working_directory"]:
            share_with_group(source)


def give(directory: Path, user_id: int, group_id: int) -> None:
    """Makes the user the owner of a directory and of all in it."""
    for parent, directories, files in os.walk(directory, topdown=False):
        for path in (Path(parent), *(Path(parent) / name for name in (*directories, *files))):
            if path.lstat().st_uid != user_id:
                os.chown(path, user_id, group_id, follow_symlinks=False)


def share_with_group(project: Path) -> None:
    """Lets root's group, in which the containers are and nobody else, write to root's project."""
    for parent, directories, files in os.walk(project):
        directories[:] = [name for name in directories if name not in {".git", ".venv"}]
        for path in (Path(parent), *(Path(parent) / name for name in files)):
            state = path.lstat()
            if state.st_uid == 0 and state.st_gid == 0 and not path.is_symlink():
                path.chmod(state.st_mode | 0o060 | (0o010 if path.is_dir() else 0))


# ---- What is to be made


def examine(stack: Stack) -> dict[str, Any]:
    """What has to be made before the services can start, and what of it differs."""
    containers = [stack.container(name) for name in stack.selected()]
    names = sorted({one.image for one in containers})
    images = dict(
        zip(names, parallel(lambda name: absent_as_none(stack.engine, f"/images/{name}/json"), names), strict=True)
    )
    present = stack.inspect(stack.selected())
    changed = write_definitions(stack)
    built = {image["name"]: image for image in stack.definition.get("images", {}).values() if image["name"] in names}
    always = stack.module.params["build"] == "always"
    to_build = [image for name, image in built.items() if always or not images[name]]
    rebuilt = {image["name"] for image in to_build}
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    for one in containers:
        difference = difference_of(one, present.get(one.service), images[one.image])
        if one.image in rebuilt and one.service in present:
            difference["image"] = (present[one.service]["Image"], one.image)
        if one.service in changed and one.service in present:
            difference.setdefault("definition", ("another", "the catalogue's"))
        if difference:
            found[one.service] = difference
    unkept = {
        name: restart_policy(one)
        for name, one in present.items()
        if name not in found and one["State"]["Running"] and restart_policy(one) != KEPT_UP
    }
    index = package_index("") if to_build else {}
    network = not any(one["Name"] == stack.place.prefix for one in stack.own("networks"))
    known = {stack.name_of(name) for name in stack.entries}
    to_remove = [name for one in stack.own("containers/json") if (name := one["Names"][0].lstrip("/")) not in known]
    return {
        "to_build": [as_build(image, index) for image in to_build],
        "to_pull": [name for name, image in images.items() if not image and name not in built],
        "to_create": [options(one) for one in containers if one.service in found or network],
        "to_remove": to_remove,
        "network": {
            "name": stack.place.prefix,
            "labels": {DIRECTORY_LABEL: str(stack.directory)},
            "missing": network,
        },
        "differences": {name: {what: list(pair) for what, pair in one.items()} for name, one in found.items()},
        "unkept": unkept,
        "to_define": bool(to_build or found or network or to_remove),
        "engine": f"unix://{stack.engine.socket}",
        "buildx": bool(to_build) and has_buildkit(stack.engine.get("/version")["ApiVersion"]),
    }


def as_build(image: dict[str, Any], index: dict[str, str]) -> dict[str, Any]:
    """What a build is told of an image: where packages come from makes no other image of it."""
    labels = {"gaiaflow.image": image["name"].partition(":")[0]}
    return {**image, "args": {**image["args"], **index}, "labels": labels}


def difference_of(
    container: Container, present: dict[str, Any] | None, image: dict[str, Any] | None
) -> dict[str, tuple[Any, Any]]:
    """How the container differs from what it shall be."""
    if present is None:
        return {"container": ("absent", "present")}
    if image is None:
        return {"image": (present["Image"], container.image)}
    found: dict[str, tuple[Any, Any]] = differences(container, present, image)
    return found


def as_diff(examined: dict[str, Any]) -> list[dict[str, str]]:
    """What is to be made, as Ansible shows differences."""
    before: dict[str, Any] = {
        name: {what: pair[0] for what, pair in one.items()} for name, one in examined["differences"].items()
    }
    after: dict[str, Any] = {
        name: {what: pair[1] for what, pair in one.items()} for name, one in examined["differences"].items()
    }
    before.update({name: {"restart policy": policy} for name, policy in examined["unkept"].items()})
    after.update({name: {"restart policy": KEPT_UP} for name in examined["unkept"]})
    after.update({image["name"]: "built" for image in examined["to_build"]})
    after.update(dict.fromkeys(examined["to_pull"], "pulled"))
    before.update(dict.fromkeys(examined["to_remove"], "present"))
    if examined["network"]["missing"]:
        after[examined["network"]["name"]] = "a network"
    names = sorted({*before, *after})
    return [
        {
            "before_header": name,
            "after_header": name,
            "before": as_text(before.get(name)),
            "after": as_text(after.get(name)),
        }
        for name in names
    ]


def as_text(value: Any) -> str:
    """One side of a difference."""
    return "" if value is None else json.dumps(value, indent=2, sort_keys=True, default=str) + "\n"


# ---- Start, stop


def start_containers(stack: Stack, names: list[str]) -> bool:
    """Starts what is not up, all at once; tells whether there was anything to start."""
    present = stack.inspect(names)
    kept = set_restart_policy(stack, present, KEPT_UP)
    down = [name for name in names if not present[name]["State"]["Running"]]
    keep_environments(stack, down)
    for name in down:
        hand_over(stack, stack.container(name))
    parallel(lambda name: stack.engine.post(f"/containers/{stack.name_of(name)}/start"), down)
    return bool(kept or down)


def restart_policy(found: dict[str, Any]) -> str:
    """What the engine does when a container has ended."""
    name: str = found["HostConfig"]["RestartPolicy"]["Name"]
    return name


def set_restart_policy(stack: Stack, present: dict[str, dict[str, Any]], policy: str) -> list[str]:
    """Has the engine keep the containers up, or leave them down; returns those for which that is new."""
    others = [name for name, found in present.items() if restart_policy(found) != policy]
    wanted = {"RestartPolicy": {"Name": policy}}
    parallel(lambda name: stack.engine.post(f"/containers/{stack.name_of(name)}/update", wanted), others)
    return others


def wait_until_healthy(stack: Stack, names: list[str], timeout: int) -> None:
    """Returns when every service answers, or fails naming the one that does not."""
    patience = Patience(timeout)
    before = {name: one["RestartCount"] for name, one in stack.inspect(names).items()}
    waiting = names
    answered = True
    while True:
        if answered:
            report_progress(items={name: name not in waiting for name in names})
        present = stack.inspect(waiting)
        for name in waiting:
            refuse_hopeless(stack, name, present.get(name), before.get(name, 0))
        still = unhealthy(stack, present)
        answered, waiting = len(still) < len(waiting), still
        if not waiting:
            return
        if patience.ended():
            raise ServiceError(f"{waiting[0]} is not healthy after {patience.waited} s.", stack.log_end(waiting[0]))
        time.sleep(POLL_SECONDS)


def unhealthy(stack: Stack, present: dict[str, dict[str, Any]]) -> list[str]:
    """Those of the services that don't answer their health check, asked in parallel."""
    health = parallel(lambda name: healthy(stack, name, present[name]), list(present))
    return [name for name, answer in zip(present, health, strict=True) if not answer]


def refuse_hopeless(stack: Stack, name: str, found: dict[str, Any] | None, restarts: int) -> None:
    """Fails at once for a service that keeps ending."""
    if found is None:
        raise ServiceError(f"The container of {name} was removed while it started.")
    if found["RestartCount"] - restarts >= MOST_RESTARTS or found["State"]["Status"] in {"exited", "dead"}:
        reason = "runs out of its memory" if found["State"].get("OOMKilled") else "ends as soon as it has started"
        raise ServiceError(f"{name} {reason}.", stack.log_end(name))


def stop_containers(stack: Stack, names: list[str]) -> bool:
    """Stops the services, dependants before what they need; tells whether any was up."""
    present = stack.inspect(names)
    set_restart_policy(stack, present, LEFT_DOWN)
    up = [name for name in names if name in present and present[name]["State"]["Status"] in {"running", "restarting"}]
    needed = {need for entry in stack.entries.values() for need in entry.get("needs", [])}
    if up:
        report_progress(items=dict.fromkeys(up, False))
    question = f"stop?t={stack.place.stop_timeout}"
    for group in ([name for name in up if name not in needed], [name for name in up if name in needed]):
        parallel(lambda name: stack.engine.post(f"/containers/{stack.name_of(name)}/{question}"), group)
    return bool(up)


def remove(stack: Stack) -> bool:
    """Removes the containers and the network, and if that is asked for the images that no container uses any more."""
    containers, networks = stack.own("containers/json"), stack.own("networks")
    if stack.module.check_mode:
        return bool(containers or networks)
    parallel(
        lambda number: stack.engine.delete(f"/containers/{number}?force=true&v=true"), [one["Id"] for one in containers]
    )
    for network in networks:
        stack.engine.delete(f"/networks/{network['Id']}")
    if stack.module.params["purge"]:
        remove_unused_images(stack.engine)
    return bool(containers or networks)


def remove_unused_images(engine: Engine) -> None:
    """Removes the stack's images that no container is made from; the engine keeps the others."""
    label = urllib.parse.quote(json.dumps({"label": ["gaiaflow.image"]}))
    used = {container["ImageID"] for container in engine.get("/containers/json?all=true")}
    for image in engine.get(f"/images/json?filters={label}"):
        if image["Id"] not in used:
            with contextlib.suppress(EngineError):
                engine.delete(f"/images/{image['Id']}?force=true")


def endpoints(stack: Stack) -> list[dict[str, str]]:
    """Where a user finds each service and what it asks for; the passwords stay in their file."""
    secret_file = str(stack.directory / "credentials.json")
    return [
        {
            "service": entry["service"],
            "url": entry["url"],
            "user": entry.get("user", ""),
            "password_in": secret_file if entry.get("user") else "",
        }
        for entry in stack.entries.values()
        if entry.get("url")
    ]


# ---- The module


def defined(stack: Stack) -> dict[str, Any]:
    """Brings the services to their state, unless something has to be made before."""
    module, state = stack.module, stack.module.params["state"]
    examined = examine(stack)
    result = {
        **examined,
        "changed": False,
        "diff": as_diff(examined),
        "compose": compose(stack.place.prefix, [stack.container(name) for name in stack.selected()]),
    }
    if module.check_mode:
        present = stack.inspect(stack.selected())
        down = [name for name in stack.selected() if not present.get(name, {}).get("State", {}).get("Running")]
        return {
            **result,
            "changed": examined["to_define"]
            or state == "restarted"
            or (state == "started" and bool(down or examined["unkept"])),
        }
    for name in stack.selected():
        make_directories(stack, stack.container(name))
        if state == "exported":
            keep_environments(stack, [name])
            hand_over(stack, stack.container(name))
    if examined["to_define"] or state in {"defined", "exported"}:
        return {**result, "changed": False}
    changed = state == "restarted" and stop_containers(stack, stack.asked_for())
    changed = start_containers(stack, stack.selected()) or changed
    wait_until_healthy(stack, stack.selected(), module.params["start_timeout"])
    if module.params["purge"]:
        remove_unused_images(stack.engine)
    for note in stack.notes:
        module.warn(note)
    return {**result, "changed": changed, "endpoints": endpoints(stack), "notes": stack.notes}


def stopped(stack: Stack) -> bool:
    """Everything asked for is down; tells whether anything was up."""
    names = stack.asked_for() if stack.definition else []
    if stack.module.check_mode:
        return any(one["State"]["Running"] for one in stack.inspect(names).values())
    return stop_containers(stack, names)


def bring_to(stack: Stack) -> dict[str, Any]:
    """Does what the state asks for, and returns the module's result."""
    state = stack.module.params["state"]
    if state == "query":
        return {"changed": False, "services": status(stack) if stack.definition else []}
    if state == "absent":
        return {"changed": remove(stack)}
    if state == "stopped":
        return {"changed": stopped(stack)}
    return defined(stack)


def main() -> None:
    """Runs the module."""
    states = ["started", "restarted", "defined", "exported", "stopped", "absent", "query"]
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "state": {"type": "str", "choices": states, "required": True},
            "definition": {"type": "dict", "default": {}},
            "services": {"type": "list", "elements": "str", "default": []},
            "shell_rules": {"type": "list", "elements": "dict", "default": []},
            "shell_basics": {"type": "list", "elements": "str", "default": []},
            "build": {"type": "str", "choices": ["missing", "always"], "default": "missing"},
            "purge": {"type": "bool", "default": False},
            "start_timeout": {"type": "int", "default": 600},
            "stop_timeout": {"type": "int", "default": 15},
            "docker_socket": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    end_with_run()
    try:
        stack = Stack(module)
        if module.check_mode or module.params["state"] == "query" or not stack.directory.is_dir():
            module.exit_json(**bring_to(stack))
        with locked(stack.directory / ".lock"):
            module.exit_json(**bring_to(stack))
    except ServiceError as error:
        module.fail_json(msg=str(error), details=error.details, hint=error.hint)
    except ImageError as refusal:
        module.fail_json(msg=str(refusal), hint=refusal.hint)
    except (OSError, ValueError) as error:
        message, hint = explain(error)
        module.fail_json(msg=message, **({"hint": hint} if hint else {}))


if __name__ == "__main__":
    main()
