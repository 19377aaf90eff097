"""Whether containers can look up names."""

from __future__ import annotations

import json
import re

from ansible.module_utils.gaiaflow_docker_config import read_config
from ansible.module_utils.gaiaflow_doctor.core import Context, Finding, unknown, wrong
from ansible.module_utils.gaiaflow_doctor.docker import INSTALL, NOT_HERE, installed, service_command, settings

# Where resolvers on loopback keep the servers that they ask themselves; Docker reads the first one by itself.
UPSTREAMS = (
    "run/systemd/resolve/resolv.conf",
    "run/NetworkManager/no-stub-resolv.conf",
    "run/NetworkManager/resolv.conf",
    "run/dnsmasq/resolv.conf",
    "run/resolvconf/resolv.conf",
)
SYSTEMD_STUB = "127.0.0.53"


def servers(context: Context, name: str) -> list[str]:
    """The name servers that a resolv.conf names."""
    return re.findall(r"^\s*nameserver\s+(\S+)", context.text(name), re.MULTILINE)


def reachable(addresses: list[str]) -> list[str]:
    """Those that a container can reach, too."""
    return [one for one in addresses if not one.startswith("127.") and one != "::1"]


def look_for_dns(context: Context) -> Finding | None:
    """A name server on loopback can't be reached from inside a container."""
    if not installed(context) and not context.path("etc/docker/daemon.json").exists():
        return unknown(NOT_HERE, INSTALL)
    own = servers(context, "etc/resolv.conf")
    if not own or reachable(own) or settings(context).get("dns"):
        return None
    upstreams = {name: found for name in UPSTREAMS if (found := reachable(servers(context, name)))}
    if own == [SYSTEMD_STUB] and UPSTREAMS[0] in upstreams:
        return None
    message = f"{context.path('etc/resolv.conf')} names only {', '.join(own)}, and daemon.json has no `dns`."
    why = "Containers can't reach a name server on loopback, so they may not look up names."
    path = context.path("etc/docker/daemon.json")
    if not upstreams:
        return wrong(message, why, f'Name a server that containers reach in {path}: {{"dns": ["ADDRESS"]}}')
    found = next(iter(upstreams.values()))
    repair = f"Add {json.dumps({'dns': found})} to {path} and restart Docker: gaiaflow-setup doctor --fix"
    return wrong(message, why, repair, lambda: tell_engine(context, found), as_root=True)


def tell_engine(context: Context, addresses: list[str]) -> str:
    """Adds the name servers to daemon.json; a restart would end containers, so it is left to the user."""
    path = context.path("etc/docker/daemon.json")
    content = {**read_config(path), "dns": addresses}
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(content, indent=2) + "\n")
    new.chmod(0o644)
    new.replace(path)
    restart = " ".join(service_command(context, "restart")) or "kill dockerd, dockerd"
    return f"{path} names {', '.join(addresses)} now; it holds after a restart of the engine ({restart})."
