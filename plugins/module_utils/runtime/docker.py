"""The runtime `docker`: programs are containers, which a Docker engine starts, watches and ends."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..build import has_buildkit, package_index
from ..common import ServiceError, report_progress
from ..container import (
    DIRECTORY_LABEL,
    KEPT_UP,
    LEFT_DOWN,
    UNPRIVILEGED,
    Container,
    Place,
    compose,
    describe,
)
from ..engine import Engine, EngineElsewhere, EngineError, own_socket
from ..record import kept_record, prefix_of
from .base import (
    ENDS,
    LOG_LINES,
    Comparison,
    Program,
    Runtime,
    Settings,
    State,
    parallel,
)
from .container_files import ContainerFiles
from .plan import Found, Plan, as_build, make_plan, restart_policy

NOT_FOUND = 404
# How long the engine may be silent for, beyond what a program has to end.
ANSWER_S = 30


class DockerRuntime(Runtime):
    """The programs of one instance as containers, and the engine that runs them."""

    name: ClassVar[str] = "docker"
    most_restarts: ClassVar[int] = 4

    def __init__(
        self,
        directory: Path,
        socket: str = "",
        definition: dict[str, Any] | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(directory, socket, definition, settings)
        record = kept_record(directory)
        self.socket = socket or record.get("engine") or own_socket()
        self.engine = Engine(self.socket, timeout=self.settings.stop_timeout + ANSWER_S)
        self.is_purging = self.settings.purge
        self.prefix: str = record.get("containers") or prefix_of(directory)

    @staticmethod
    def explain(error: Exception) -> tuple[str, str]:
        """Return what to say of an error of the engine's, and what to do next."""
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

    @property
    def notes(self) -> list[str]:
        """What is told of variables of the user's shell that containers see otherwise."""
        from ..shell import lines

        return lines(self.files.told)

    @functools.cached_property
    def place(self) -> Place:
        """Where the containers are."""
        return Place(self.directory, self.prefix, owner(self.engine), self.settings.stop_timeout)

    @functools.cached_property
    def files(self) -> ContainerFiles:
        """What they find on the host."""
        return ContainerFiles(self.place, self.definition, self.settings)

    def container(self, program: Program) -> Container:
        """Return what the program's container shall be."""
        images = {name: image["name"] for name, image in self.definition.get("images", {}).items()}
        return describe(program.name, program.entry, images, self.place, self.definition["working_directory"])

    def name_of(self, program: str) -> str:
        """Return the name of the program's container."""
        return f"{self.prefix}-{program}"

    # ---- What the engine says

    def inspect(self, programs: Iterable[Program]) -> dict[str, dict[str, Any]]:
        """Return what the engine says of the programs' containers; nothing of those that it doesn't have."""
        names = [one.name for one in programs]
        found = parallel(lambda name: absent_as_none(self.engine, f"/containers/{self.name_of(name)}/json"), names)
        return {name: one for name, one in zip(names, found, strict=True) if one}

    def states(self, programs: Iterable[Program]) -> dict[str, State]:
        """Return what the engine says of the programs."""
        return {name: state_of(found) for name, found in self.inspect(programs).items()}

    def healthy(self, program: Program, state: State) -> bool:
        """Return whether the program answers its health check; one that isn't published is the engine's to ask."""
        if state.name == "running" and not program.entry.get("publish") and "path" not in program.health:
            return bool(state.process["State"].get("Health", {}).get("Status") == "healthy")
        return state.name == "running" and super().healthy(program, state)

    def memory(self, states: Mapping[str, State]) -> dict[str, int | None]:
        """Return the bytes of memory that each program uses, given those that are up."""
        question = "stats?stream=false&one-shot=true"
        found = parallel(lambda name: self.engine.get(f"/containers/{self.name_of(name)}/{question}"), states)
        return {name: used_memory(statistics) for name, statistics in zip(states, found, strict=True)}

    def log_end(self, program: str) -> str:
        """Return the last lines that a container has written."""
        path = f"/containers/{self.name_of(program)}/logs?stdout=true&stderr=true&tail={LOG_LINES}"
        with contextlib.suppress(OSError):
            return unframed(self.engine.read(path)).decode(errors="replace")
        return ""

    def refuse_hopeless(self, program: Program, state: State, starts_before: int) -> None:
        """Raise ServiceError at once for a program that won't become healthy, or whose container is gone."""
        if state.process is None:
            raise ServiceError(f"The container of {program.name} was removed while it started.")
        super().refuse_hopeless(program, state, starts_before)

    def own(self, kind: str) -> list[dict[str, Any]]:
        """Return all of this instance's containers or networks, by their label."""
        label = json.dumps({"label": [f"{DIRECTORY_LABEL}={self.directory}"]})
        found: list[dict[str, Any]] = self.engine.get(f"/{kind}?all=true&filters={urllib.parse.quote(label)}") or []
        return found

    # ---- What is to be made

    def compare(self, services: list[str], *, keep: bool = False) -> Comparison:
        """Compare images, network and containers with the definition, and make the containers that differ anew.

        Images and a network that are missing are for Ansible's own modules to make: nothing is changed before.
        """
        programs = self.programs.with_needs(self.programs.selected(services))
        containers = {one.name: self.container(one) for one in programs}
        plan = self.plan(programs, containers)
        if plan.to_prepare and self.settings.prepared:
            raise ServiceError(f"{', '.join(plan.to_prepare)} has been removed since it was made.")
        if not plan.to_prepare and not self.settings.check_mode:
            self.carry_out(plan, programs, containers)
            if keep:
                self.files.write_environments(programs)
                for one in containers.values():
                    self.files.hand_over(one)
        is_left = bool(plan.to_prepare) and not self.settings.check_mode
        return Comparison(
            diff=[] if is_left else plan.diff,
            changed=plan.changes and not is_left,
            to_prepare=bool(plan.to_prepare),
            facts={**self.preparation(plan), "compose": compose(self.prefix, list(containers.values()))},
        )

    def plan(self, programs: list[Program], containers: Mapping[str, Container]) -> Plan:
        """Return what has to be made before the programs can start."""
        names = sorted({one.image for one in containers.values()})
        images = parallel(lambda name: absent_as_none(self.engine, f"/images/{name}/json"), names)
        networks = [one["Id"] for one in self.own("networks") if one["Name"] == self.prefix]
        return make_plan(
            containers.values(),
            Found(
                images=dict(zip(names, images, strict=True)),
                containers=self.inspect(programs),
                network=next(iter(networks), ""),
                rewritten=self.files.outdated(programs),
            ),
            {image["name"]: image for image in self.definition.get("images", {}).values()},
            network=self.prefix,
            present=[one["Names"][0].lstrip("/") for one in self.own("containers/json")],
            known=[self.name_of(name) for name in self.programs],
            rebuild=self.settings.build == "always",
        )

    def preparation(self, plan: Plan) -> dict[str, Any]:
        """Return what Ansible's own modules need to make images and network."""
        index = package_index("") if plan.to_build else {}
        return {
            "to_build": [as_build(image, index) for image in plan.to_build],
            "to_pull": plan.to_pull,
            "network": {
                "name": self.prefix,
                "labels": {DIRECTORY_LABEL: str(self.directory)},
                "missing": bool(plan.network),
            },
            "engine": f"unix://{self.socket}",
            "buildx": bool(plan.to_build) and has_buildkit(self.engine.get("/version")["ApiVersion"]),
        }

    def carry_out(self, plan: Plan, programs: list[Program], containers: Mapping[str, Container]) -> None:
        """Write what containers find on the host, and make those that differ anew, without starting them."""
        for one in containers.values():
            self.files.make_directories(one)
        differing = [self.programs[name] for name in plan.differing]
        self.end(differing)
        parallel(self.delete_container, [*plan.to_remove, *map(self.name_of, plan.differing)])
        # Not before: who is interrupted here finds that no container is there, and one that was had its own definition.
        self.files.write_definitions(programs)
        parallel(lambda name: self.create_container(containers[name]), plan.differing)
        self.is_purging = self.settings.purge or bool(plan.differing)

    def create_container(self, container: Container) -> None:
        """Make a container."""
        self.engine.post(f"/containers/create?name={container.name}", container.body)

    def delete_container(self, name: str) -> None:
        """Stop and remove a container, if there is one."""
        with absent_is_well():
            self.engine.post(f"/containers/{name}/stop?t={self.settings.stop_timeout}")
            self.engine.delete(f"/containers/{name}?force=true&v=true")

    # ---- Start and stop

    def begin(self, programs: list[Program]) -> tuple[list[Program], bool]:
        """Start the containers that aren't up, all at once."""
        present = self.inspect(programs)
        kept = self.set_restart_policy(present, KEPT_UP)
        down = [one for one in programs if not present[one.name]["State"]["Running"]]
        self.files.write_environments(down)
        for one in down:
            self.files.hand_over(self.container(one))
        parallel(lambda one: self.engine.post(f"/containers/{self.name_of(one.name)}/start"), down)
        return programs, bool(kept or down)

    def end(self, programs: list[Program]) -> bool:
        """Stop the containers, and have the engine leave them down."""
        present = self.inspect(programs)
        self.set_restart_policy(present, LEFT_DOWN)
        up = [one for one in programs if one.name in present and state_of(present[one.name]).is_up]
        if up:
            report_progress(items={one.name: False for one in up})
        question = f"stop?t={self.settings.stop_timeout}"
        for group in self.programs.stop_groups(up):
            parallel(lambda one: self.engine.post(f"/containers/{self.name_of(one.name)}/{question}"), group)
        return bool(up)

    def set_restart_policy(self, present: Mapping[str, Mapping[str, Any]], policy: str) -> list[str]:
        """Have the engine keep the containers up, or leave them down; return those for which that is new."""
        others = [name for name, found in present.items() if restart_policy(found) != policy]
        wanted = {"RestartPolicy": {"Name": policy}}
        parallel(lambda name: self.engine.post(f"/containers/{self.name_of(name)}/update", wanted), others)
        return others

    def tidy(self) -> None:
        """Remove the stack's images that no container is made from any more, where there may be such."""
        if self.is_purging:
            remove_unused_images(self.engine)

    def remove(self) -> bool:
        """Remove the containers and the network; and images, if that is asked for."""
        containers, networks = self.own("containers/json"), self.own("networks")
        parallel(self.delete_container, [one["Id"] for one in containers])
        for network in networks:
            self.engine.delete(f"/networks/{network['Id']}")
        if self.settings.purge:
            remove_unused_images(self.engine)
        return bool(containers or networks)

    def would_change(self, state: str, services: list[str]) -> bool:
        """Return whether the state isn't there yet."""
        if state == "absent":
            return bool(self.own("containers/json") or self.own("networks"))
        return super().would_change(state, services)


# ---- The engine


def owner(engine: Engine) -> str:
    """Return the user and group id of the containers: those of who calls, unless that is root.

    In a rootless engine, root in a container is the user outside.
    """
    if any("rootless" in option for option in engine.get("/info").get("SecurityOptions") or []):
        return "0:0"
    return UNPRIVILEGED if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"


def state_of(found: Mapping[str, Any], now: float | None = None) -> State:
    """Return the state of a container.

    Args:
        found: What the engine says of it.
        now: The time, in seconds since the epoch; this machine's where it isn't given.
    """
    state = found["State"]
    # The engine gives nanoseconds, which Python won't read.
    started = datetime.datetime.fromisoformat(state["StartedAt"][:19] + "+00:00").timestamp()
    return State(
        name=state["Status"].replace("exited", "stopped"),
        is_up=bool(state["Running"]),
        is_kept=restart_policy(found) == KEPT_UP,
        started=started,
        uptime_s=int((time.time() if now is None else now) - started) if state["Running"] else 0,
        starts=found["RestartCount"],
        is_over=state["Status"] in {"exited", "dead"},
        fate="runs out of its memory" if state.get("OOMKilled") else ENDS,
        process=found,
    )


@contextlib.contextmanager
def absent_is_well() -> Iterator[None]:
    """Go on where the engine has no such thing."""
    try:
        yield
    except EngineError as error:
        if error.status != NOT_FOUND:
            raise


def absent_as_none(engine: Engine, path: str) -> Any:
    """Return what the engine says of something, or None where it has no such thing."""
    with absent_is_well():
        return engine.get(path)
    return None


def used_memory(statistics: Mapping[str, Any]) -> int | None:
    """Return the bytes that a container uses, without what the kernel only caches; None where the engine can't tell.

    Args:
        statistics: What the engine says of it.
    """
    figures = statistics["memory_stats"]
    if not figures.get("usage"):
        return None
    details = figures.get("stats", {})
    cached = details.get("total_inactive_file", details.get("inactive_file", 0))
    return int(figures["usage"]) - int(cached)


def unframed(stream: bytes) -> bytes:
    """Return the text of a log, of which each piece begins with eight bytes: its stream and its length."""
    text = b""
    while len(stream) >= 8:
        length = int.from_bytes(stream[4:8], "big")
        text += stream[8 : 8 + length]
        stream = stream[8 + length :]
    return text


def remove_unused_images(engine: Engine) -> None:
    """Remove the stack's images that no container is made from; the engine keeps the others."""
    label = urllib.parse.quote(json.dumps({"label": ["gaiaflow.image"]}))
    used = {container["ImageID"] for container in engine.get("/containers/json?all=true")}
    for image in engine.get(f"/images/json?filters={label}"):
        if image["Id"] not in used:
            with contextlib.suppress(EngineError):
                engine.delete(f"/images/{image['Id']}?force=true")
