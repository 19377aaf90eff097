"""Containers and networks that outlived their instance."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path

from ..engine import Engine
from .core import Context, Finding, Repair, check, plural, wrong
from .docker import silent

# Containers and networks carry their instance's directory, as its processes do in their environment.
LABEL = "gaiaflow.directory"


def orphans(context: Context, engine: Engine, kind: str) -> list[str]:
    """Return the ids of containers or networks of instances of this home that are no more."""
    question = urllib.parse.quote(json.dumps({"label": [LABEL]}))
    places = [(one["Id"], Path(one["Labels"][LABEL])) for one in engine.get(f"/{kind}?all=true&filters={question}")]
    return [one for one, place in places if place.parent == context.home / "instances" and not place.exists()]


@check("docker_leftovers", "containers left over")
def check_containers(context: Context) -> Finding | None:
    """Check for containers and networks that outlived their instance."""
    engine = context.engine.client
    if not engine:
        return silent(context)
    containers, networks = (orphans(context, engine, kind) for kind in ("containers/json", "networks"))
    if not containers and not networks:
        return None
    what = " and ".join(
        plural(len(ids), name) for ids, name in ((containers, "container"), (networks, "network")) if ids
    )
    commands = [f"docker rm -f {' '.join(one[:12] for one in containers)}"] if containers else []
    commands += [f"docker network rm {' '.join(one[:12] for one in networks)}"] if networks else []
    message = f"Docker has {what} of instances that no longer exist."
    data = {"socket": engine.socket, "containers": containers, "networks": networks}
    return wrong(message, "They keep ports and memory.", " && ".join(commands), Repair(f"Removed {what}.", data))
