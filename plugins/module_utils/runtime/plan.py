"""What has to be made of an instance's images, network and containers before its services can start."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..container import KEPT_UP, Container, differences

Difference = dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Found:
    """What the engine has of an instance.

    Attributes:
        images: What it says of each image that is needed, None where there is no such image.
        containers: What it says of each program's container; nothing of those that it doesn't have.
        network: The id of the instance's network; empty where there is none.
        rewritten: The programs whose definition has changed since the last start.
    """

    images: Mapping[str, dict[str, Any] | None]
    containers: Mapping[str, dict[str, Any]]
    network: str
    rewritten: Iterable[str] = ()


@dataclass(frozen=True)
class Plan:
    """What has to be made before the services can start.

    Attributes:
        to_build: The images to build, as the definition describes them.
        to_pull: The names of other images that are missing.
        network: The name of the network to make; empty where it is there.
        differing: How the containers differ that are to be made, by program: as it is, and as it shall be.
        unkept: The restart policy of containers that run as they shall, but which nobody would start again.
        to_remove: The names of containers whose service is no more.
    """

    to_build: list[dict[str, Any]]
    to_pull: list[str]
    network: str
    differing: dict[str, Difference]
    unkept: dict[str, str]
    to_remove: list[str]

    @property
    def to_prepare(self) -> list[str]:
        """The names of what has to be there before a container can be made."""
        return [*(image["name"] for image in self.to_build), *self.to_pull, *([self.network] if self.network else [])]

    @property
    def changes(self) -> bool:
        """Whether anything has to be made or removed."""
        return bool(self.to_prepare or self.differing or self.to_remove)

    @property
    def diff(self) -> list[dict[str, str]]:
        """The same as Ansible shows differences, by name."""
        before: dict[str, Any] = {
            **{name: {what: pair[0] for what, pair in one.items()} for name, one in self.differing.items()},
            **{name: {"restart policy": policy} for name, policy in self.unkept.items()},
            **dict.fromkeys(self.to_remove, "present"),
        }
        after: dict[str, Any] = {
            **{name: {what: pair[1] for what, pair in one.items()} for name, one in self.differing.items()},
            **{name: {"restart policy": KEPT_UP} for name in self.unkept},
            **{image["name"]: "built" for image in self.to_build},
            **dict.fromkeys(self.to_pull, "pulled"),
            **({self.network: "a network"} if self.network else {}),
        }
        return [
            {
                "before_header": name,
                "after_header": name,
                "before": as_text(before.get(name)),
                "after": as_text(after.get(name)),
            }
            for name in sorted({*before, *after})
        ]


def make_plan(
    containers: Iterable[Container],
    found: Found,
    built: Mapping[str, dict[str, Any]],
    *,
    network: str,
    present: Iterable[str],
    known: Iterable[str],
    rebuild: bool,
) -> Plan:
    """Return what has to be made.

    Args:
        containers: What the containers shall be that are asked for.
        found: What the engine has.
        built: The images that are built here, by name.
        network: The name of the instance's network.
        present: The names of all containers of the instance.
        known: The names of those that the catalogue has a program for.
        rebuild: Whether images that are there are built again.
    """
    wanted = list(containers)
    to_build = [built[name] for name, image in found.images.items() if name in built and (rebuild or not image)]
    rebuilt = {image["name"] for image in to_build}
    differing = {one.service: difference for one in wanted if (difference := difference_of(one, found, rebuilt))}
    return Plan(
        to_build=to_build,
        to_pull=[name for name, image in found.images.items() if not image and name not in built],
        network="" if found.network else network,
        differing=differing,
        unkept={
            name: policy
            for name, one in found.containers.items()
            if name not in differing and one["State"]["Running"] and (policy := restart_policy(one)) != KEPT_UP
        },
        to_remove=sorted(set(present) - set(known)),
    )


def difference_of(container: Container, found: Found, rebuilt: Iterable[str]) -> Difference:
    """Return how a container differs from what it shall be."""
    present = found.containers.get(container.service)
    difference = differences(container, present, found.images[container.image])
    if present is None:
        return difference
    if container.image in rebuilt:
        difference["image"] = (present["Image"], container.image)
    if container.service in found.rewritten:
        difference["definition"] = ("another", "the catalogue's")
    joined = present["NetworkSettings"]["Networks"].get(container.network, {}).get("NetworkID")
    # One that was removed and made anew has the name, and none of the containers.
    if container.is_in_network and joined and joined != found.network:
        difference["network"] = ("one that was removed", container.network)
    return difference


def restart_policy(found: Mapping[str, Any]) -> str:
    """Return what the engine does when a container has ended."""
    name: str = found["HostConfig"]["RestartPolicy"]["Name"]
    return name


def as_build(image: Mapping[str, Any], index: Mapping[str, str]) -> dict[str, Any]:
    """Return what a build is told of an image: where packages come from makes no other image of it.

    Args:
        image: The definition's description.
        index: Build arguments that say where packages come from.
    """
    labels = {"gaiaflow.image": image["name"].partition(":")[0]}
    return {**image, "args": {**image["args"], **index}, "labels": labels}


def as_text(value: Any) -> str:
    """Return one side of a difference."""
    return "" if value is None else json.dumps(value, indent=2, sort_keys=True, default=str) + "\n"
