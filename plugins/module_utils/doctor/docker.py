"""The Docker engine: whether it runs, who may use it, and what it is told."""

from __future__ import annotations

import grp
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..docker_config import TYPES_OF_ENGINE, read_config, well_typed, wrong_types
from .core import Context, Finding, Repair, check, unknown, wrong

INSTALL = "gaiaflow-setup workstation"
NOT_HERE = "Docker isn't installed"
NOT_RUNNING = "the Docker engine doesn't answer"
OLDEST = (20, 10)
# Where resolvers on loopback keep the servers that they ask themselves; Docker reads the first one by itself.
UPSTREAMS = (
    "run/systemd/resolve/resolv.conf",
    "run/NetworkManager/no-stub-resolv.conf",
    "run/NetworkManager/resolv.conf",
    "run/dnsmasq/resolv.conf",
    "run/resolvconf/resolv.conf",
)
SYSTEMD_STUB = "127.0.0.53"
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def installed(context: Context) -> bool:
    """Return whether there is an engine on this machine, running or not."""
    program = shutil.which("dockerd", path=PROGRAMS) if context.root == Path("/") else None
    return bool(program) or context.path("snap/docker").exists() or context.engine.state != "down"


def silent(context: Context) -> Finding | None:
    """Return why nothing can be asked of the engine; None when it can."""
    if context.engine.state == "up":
        return None
    return unknown(NOT_RUNNING if installed(context) else NOT_HERE)


def settings(context: Context) -> dict[str, Any]:
    """Return what daemon.json says; nothing where it can't be read."""
    try:
        content: dict[str, Any] = read_config(context.path("etc/docker/daemon.json"))
    except (OSError, ValueError):
        return {}
    return dict(well_typed(content, TYPES_OF_ENGINE))


def group_name(context: Context) -> str:
    """Return the group whose members may use the engine."""
    return str(settings(context).get("group") or "docker")


def init_system(context: Context) -> str:
    """Return what starts the engine here: C(systemd), C(sysv), or C(none)."""
    if context.path("run/systemd/system").is_dir():
        return "systemd"
    return "sysv" if context.path("etc/init.d/docker").exists() else "none"


def engine_command(init: str, verb: str, otherwise: str) -> str:
    """Return the command that starts or restarts the engine.

    Args:
        init: What starts it.
        verb: C(start) or C(restart).
        otherwise: The command where no init does it.
    """
    return {"systemd": f"systemctl {verb} docker", "sysv": f"service docker {verb}"}.get(init, otherwise)


# ---- Settings


@check("docker_settings", "Docker's daemon.json")
def check_settings(context: Context) -> Finding | None:
    """Check daemon.json: the engine doesn't start with a broken one."""
    return check_file(context.path("etc/docker/daemon.json"), TYPES_OF_ENGINE, "The engine doesn't start with it.")


def check_file(path: Path, types: Mapping[str, Any], why: str) -> Finding | None:
    """Return what is wrong with a file of settings: it is none, no JSON object, or has a wrong type in it."""
    repair = f"Correct {path} with an editor: it was not touched."
    try:
        found = wrong_types(read_config(path), types)
    except IsADirectoryError:
        return wrong(f"{path} is a directory.", why, f"Remove it: sudo rmdir {path}")
    except ValueError as error:
        return wrong(f"{error}.", why, repair)
    except OSError as error:
        return unknown(str(error))
    return wrong(f"In {path}, {'; '.join(found)}.", why, repair) if found else None


# ---- Names


def servers(context: Context, name: str) -> list[str]:
    """Return the name servers that a resolv.conf names."""
    return re.findall(r"^\s*nameserver\s+(\S+)", context.text(name), re.MULTILINE)


def reachable(addresses: list[str]) -> list[str]:
    """Return those that a container can reach, too."""
    return [one for one in addresses if not one.startswith("127.") and one != "::1"]


@check("docker_dns", "names in containers")
def check_dns(context: Context) -> Finding | None:
    """Check that containers reach a name server: one on loopback they don't."""
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
    return wrong(message, why, repair, add_name_servers(context, path, found))


def add_name_servers(context: Context, path: Path, addresses: list[str]) -> Repair | None:
    """Return how daemon.json gets the name servers; None where it is broken, which is another check's finding."""
    try:
        read_config(path)
    except (OSError, ValueError):
        return None
    restart = engine_command(init_system(context), "restart", "kill dockerd, dockerd")
    done = f"{path} names {', '.join(addresses)} now; it holds after a restart of the engine ({restart})."
    data = {"path": str(path), "exists": path.exists(), "addresses": addresses}
    return Repair(done, data, needs_root=True)


# ---- Running


@check("docker_pid", "Docker's pid file")
def check_pid_file(context: Context) -> Finding | None:
    """Check for a killed engine's pid file: once another process has the number, no engine starts."""
    name = "var/run/docker.pid"
    pid = context.text(name)
    # Where an engine runs, it is its own: the machine may hide other users' processes.
    if not pid or context.engine.state != "down" or context.text(f"proc/{pid}/comm") == "dockerd":
        return None
    path = context.path(name)
    why = "An engine that was killed left it; the next one may refuse to start."
    automatic = Repair(f"{path} was removed.", {"path": str(path)}, needs_root=True)
    return wrong(f"{path} names process {pid}, which is no dockerd.", why, f"sudo rm {path}", automatic)


@check("docker_daemon", "Docker engine")
def check_daemon(context: Context) -> Finding | None:
    """Check that the engine answers."""
    state = context.engine.state
    if state in ("up", "denied"):
        return None
    if not installed(context):
        return unknown(NOT_HERE, INSTALL)
    verb, message = (
        ("restart", "accepts connections, but doesn't answer") if state == "hangs" else ("start", "isn't running")
    )
    init = init_system(context)
    command = engine_command(init, verb, "sh -c 'dockerd >>/var/log/docker.log 2>&1 &'")
    why = "No container can be started, and Minikube neither."
    data = {"init": init, "state": f"{verb}ed", "socket": context.engine.sockets[0]}
    automatic = Repair(f"The Docker engine was {verb}ed.", data, needs_root=True)
    return wrong(f"The Docker engine {message}.", why, f"sudo {command}", automatic)


@check("docker_version", "Docker's version")
def check_version(context: Context) -> Finding | None:
    """Check that the engine is one that Minikube and BuildKit work with."""
    if nothing := silent(context):
        return nothing
    found = tuple(int(part) for part in re.findall(r"\d+", context.engine.version)[:2])
    if found >= OLDEST:
        return None
    needed = ".".join(map(str, OLDEST))
    why = f"Minikube's docker driver and BuildKit need {needed} or later."
    repair = "Upgrade it with the package manager that it came with."
    return wrong(f"The Docker engine is version {context.engine.version}.", why, repair)


# ---- Who may use it


@check("docker_socket", "Docker's socket")
def check_socket(context: Context) -> Finding | None:
    """Check that the socket is root's and the group's, and nobody else's: whoever can use it is root."""
    path, group = context.path("var/run/docker.sock"), group_name(context)
    # Docker Desktop's is a link to a place that it looks after itself.
    if path.is_symlink() or not path.is_socket():
        return silent(context)
    state = path.stat()
    mode, owner = stat.S_IMODE(state.st_mode), group_of(state.st_gid)
    if not mode & 0o007 and owner == group:
        return None
    why = "Everybody on this machine is root by it." if mode & 0o007 else f"Members of the group {group} can't use it."
    repair = f"sudo chgrp {group} {path} && sudo chmod 660 {path}"
    done = f"{path} has mode 660 now, and belongs to root and the group {group}."
    automatic = Repair(done, {"path": str(path), "group": group}, needs_root=True)
    return wrong(f"{path} has mode {mode:o} and the group {owner}.", why, repair, automatic)


def group_of(gid: int) -> str:
    """Return a group's name, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def is_member(context: Context, group: str) -> bool:
    """Return whether the user is in the group, from the next login on at the latest."""
    try:
        return grp.getgrnam(group).gr_gid in os.getgrouplist(context.user, context.gid)
    except KeyError:
        return False


@check("docker_group", "Docker's group")
def check_group(context: Context) -> Finding | None:
    """Check that the user may use the engine by the group, and by nothing else."""
    if not installed(context):
        return unknown(NOT_HERE)
    is_system = context.engine.state == "down" or context.engine.socket == context.engine.sockets[0]
    if context.uid == 0 or not is_system:
        return None
    group = group_name(context)
    if is_member(context, group):
        return old_session(context, group)
    message = f"{context.user} is not in the group {group}."
    why = "Docker refuses: permission denied at its socket."
    done = f"{context.user} joined the group {group}: log in again, or run `newgrp {group}`."
    automatic = Repair(done, {"user": context.user, "group": group}, needs_root=True)
    return wrong(message, why, f"sudo usermod -aG {group} {context.user}", automatic)


def old_session(context: Context, group: str) -> Finding | None:
    """Return that this session is older than the membership, if it is: it doesn't have it."""
    if not context.is_self or context.engine.state != "denied" or grp.getgrnam(group).gr_gid in os.getgroups():
        return None
    message = f"{context.user} is in the group {group}, but this session began before that."
    return wrong(message, "Docker refuses: permission denied at its socket.", f"Log in again, or run: newgrp {group}")
