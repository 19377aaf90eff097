"""What a pod's state means: what keeps it from starting, and how it ended. Nothing here asks the cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

CONTAINER = "base"

# An image that isn't there won't come; a registry that doesn't answer may.
NOT_THERE = re.compile(
    r"not found|no such image|does not exist|unauthorized|denied|forbidden|authorization failed", re.I
)
MISSING = re.compile(r"not found|couldn't find key|non-existent config key|doesn't exist|references non-existent", re.I)


RELIEF = {
    "disk": "make room on its disk (docker system df, docker system prune)",
    "memory": "give it more memory, or run less on it",
    "pid": "run fewer processes on it",
}


@dataclass(frozen=True)
class Problem:
    """What keeps a pod from starting.

    Attributes:
        text: what it is and what to do.
        patience: for how many seconds it may go away by itself.
        lasting: a retry can't help.
    """

    text: str
    patience: float
    lasting: bool = False


@dataclass(frozen=True)
class End:
    """How a container ended.

    Attributes:
        exit_code: None where the pod ended without it.
        reason: Kubernetes' word for it.
        message: the termination message.
    """

    exit_code: int | None
    reason: str
    message: str


def find_container(pod: Any) -> Any:
    """Return what the cluster says of the container that runs the function; None while there is none."""
    for status in pod.status.container_statuses or ():
        if status.name == CONTAINER:
            return status
    return None


def find_specification(pod: Any) -> Any:
    """Return what is asked of the container that runs the function: a service mesh may have put its own before it."""
    return next((one for one in pod.spec.containers if one.name == CONTAINER), pod.spec.containers[0])


def find_status(pod: Any) -> Any:
    """Return the state of the container that runs the function; None while there is none."""
    container = find_container(pod)
    return container and container.state


def is_running(pod: Any) -> bool:
    """Tell whether the container runs."""
    state = find_status(pod)
    return bool(state and state.running)


def find_end(pod: Any) -> End | None:
    """Return how the container ended; None if it hasn't."""
    state = find_status(pod)
    # An evicted pod's container has an exit code, too, which says nothing of the reason.
    if pod.status.phase == "Failed" and pod.status.reason:
        return End(None, pod.status.reason, pod.status.message or "")
    if state and state.terminated:
        ended = state.terminated
        return End(ended.exit_code, ended.reason or "", ended.message or "")
    if pod.status.phase in ("Failed", "Succeeded"):
        return End(None, pod.status.reason or "", pod.status.message or "")
    return None


def find_problem(pod: Any, image: str, waits_for_nodes: bool) -> Problem | None:
    """Return what keeps a pod from starting.

    Args:
        pod: as the cluster describes it.
        image: as the DAG names it.
        waits_for_nodes: the cluster may get nodes that fit.
    """
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False" and condition.reason == "Unschedulable":
            return _unschedulable(pod, condition.message or "", waits_for_nodes)
    state = find_status(pod)
    if not (state and state.waiting):
        return None
    reason, message = state.waiting.reason or "", state.waiting.message or ""
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"):
        return _no_image(pod, image, reason, message)
    if reason == "CreateContainerConfigError":
        return _no_configuration(message)
    if reason in ("CreateContainerError", "RunContainerError", "StartError"):
        return Problem(f"the container could not be started ({reason}): {message}", 3)
    if not reason and find_container(pod).container_id:
        # A node that ends at this moment leaves it so for good: its kubelet takes it for one that is being started.
        return Problem("the container was made and has not been started: its node may have ended meanwhile", 60)
    return None


def _no_image(pod: Any, image: str, reason: str, message: str) -> Problem:
    pulled = find_specification(pod).image
    name = image if pulled == image else f"{image} ({pulled} in the cluster)"
    text = f"the image {name} could not be had ({reason}): {message or 'no more is known'}"
    if reason == "InvalidImageName":
        return Problem(f"{text}\nImages are named like my-project/my_project:0.1.0", 0, lasting=True)
    text += "\nBuild it and put it into the cluster: gaiaflow-setup cluster --build-only"
    # The back-off's message names no cause in older clusters; the ErrImagePull before it did.
    absent = reason == "ErrImageNeverPull" or bool(NOT_THERE.search(message))
    return Problem(text, 0 if absent else 10, lasting=absent)


def _no_configuration(message: str) -> Problem:
    text = f"the pod's environment could not be made (CreateContainerConfigError): {message}"
    # One that is made at this moment may not be known to the node yet.
    if secret := re.search(r'secret "([^"]+)" not found', message):
        return Problem(f"{text}\nCreate it: gaiaflow-setup secrets create {secret[1]}", 3, lasting=True)
    return Problem(text, 3, lasting=bool(MISSING.search(message)))


def _unschedulable(pod: Any, message: str, waits_for_nodes: bool) -> Problem:
    asked = describe_amounts(find_specification(pod).resources)
    text = f"no node takes the pod: {message}\nIt asks for {asked}"
    if re.search(r'persistentvolumeclaim "[^"]+" not found', message):
        return Problem(text, 3, lasting=True)
    # A pod that would fit once others have ended waits for them. One that fits on no node at all says so:
    # Kubernetes looks there for nothing that could make room.
    hopeless = "Preemption is not helpful" in message and not waits_for_nodes
    if pressure := re.search(r"(disk|memory|pid)-pressure", message):
        text += f"\nThe node is under {pressure[1]} pressure"
        return Problem(f"{text}: {RELIEF[pressure[1]]}", 5 if hopeless else float("inf"))
    return Problem(f"{text}: ask for less (resources), or give the cluster more", 5 if hopeless else float("inf"))


def describe_amounts(resources: Any) -> str:
    """Write what a container asks for."""
    requests = (resources and resources.requests) or {}
    limits = (resources and resources.limits) or {}
    others = {kind: amount for kind, amount in limits.items() if kind not in ("cpu", "memory")}
    return ", ".join(f"{kind} {amount}" for kind, amount in {**requests, **others}.items()) or "nothing"


def describe_failure(end: End, error: str | None, limit: str | None) -> str:
    """Write how a container failed, for who reads the task's log.

    Args:
        end: how it ended.
        error: what the runner wrote of the function's error.
        limit: the container's memory limit.
    """
    if end.exit_code is None:
        return f"the pod ended ({end.reason or 'no reason given'}): {end.message or 'no more is known'}"
    if end.reason == "OOMKilled":
        return (
            f"the container used more memory than its limit of {limit or 'the node'} and was killed "
            f"(OOMKilled, exit code {end.exit_code}): give the task more with resources"
        )
    text = f"the container ended with exit code {end.exit_code}"
    if end.reason and end.reason not in ("Error", "Completed"):
        text += f" ({end.reason})"
    if error:
        return f"{text}\n{error}"
    # What the container itself has to say is the end of its log.
    if end.message.strip():
        return f"{text}\nIts last words:\n{end.message.strip()}"
    if end.exit_code == 0:
        return (
            f"{text}, and gave no outcome: its runner is another than this DAG folder's, or the function ended Python. "
            "Build the image again: gaiaflow-setup images"
        )
    if end.exit_code == 137:
        return (
            f"{text}, so it was killed: most often for using more memory than its limit of {limit or 'the node'}; "
            "give the task more with resources"
        )
    if end.exit_code > 128:
        return f"{text}, so by signal {end.exit_code - 128}, and said nothing"
    return f"{text}, and said nothing"
