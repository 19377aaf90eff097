"""All checks, in the order in which they are shown and their findings repaired."""

from __future__ import annotations

from . import (
    client,
    cluster,
    docker,
    docker_leftovers,
    leftovers,
    machine,
    minikube,
    tasks,
)
from .core import Check

FILES = (machine, docker, client, docker_leftovers, minikube, cluster, tasks, leftovers)
CHECKS: tuple[Check, ...] = tuple(one for file in FILES for one in vars(file).values() if isinstance(one, Check))
