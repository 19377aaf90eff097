"""The machine: kernel, memory, disk, limits, clock, names, ports, and whose files are whose."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import os
import re
import shlex
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ..common import INSTANCE_VARIABLE
from ..container import UNPRIVILEGED, published_ports
from ..machine import existing, is_wsl, memory_mb
from .core import Context, Finding, Repair, check, plural, unknown, wrong

OLDEST_KERNEL = (4, 19)
# A stack that is there grows by logs, runs and artifacts only.
DISK_OF_A_STACK_MB = 1000
# What Kubernetes in a container is recommended to have; a repair goes at least this far.
INOTIFY = {"max_user_watches": 524288, "max_user_instances": 512}
SYSCTL_FILE = "etc/sysctl.d/60-gaiaflow.conf"
SKEW_S = 60
ANSWER_S = 2.0
WALK_S = 2.5
SHOWN = 3
CONTAINER_USER = UNPRIVILEGED.partition(":")[0]
# PostgreSQL refuses to run as root, so root's stack has it run as somebody else, as its containers do.
POSTGRES_OF_ROOT = ["-path", "*/data/postgres", "-prune", "-o", "!", "-uid", CONTAINER_USER]
LISTENING = "0A"


def port_answers(host: str, port: int) -> bool:
    """Return whether somebody accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_S):
            return True
    except OSError:
        return False


# ---- Size


@check("kernel", "kernel")
def check_kernel(context: Context) -> Finding | None:
    """Check that the kernel is one that current engines and Kubernetes support."""
    release = context.text("proc/sys/kernel/osrelease")
    if not release:
        return unknown("the kernel's version isn't known")
    if tuple(int(part) for part in re.findall(r"\d+", release)[:2]) >= OLDEST_KERNEL:
        return None
    needed = ".".join(map(str, OLDEST_KERNEL))
    repair = "In Windows: wsl --update" if is_wsl(context.root) else "Upgrade the distribution."
    return wrong(f"The kernel is {release}.", f"Docker and Kubernetes are tested with {needed} and later.", repair)


@check("memory", "memory")
def check_memory(context: Context) -> Finding | None:
    """Check that the machine's memory, or the container's limit, is enough."""
    total = memory_mb(context.root)
    if total is None:
        return unknown("the amount of memory isn't known")
    if total >= context.memory_mb:
        return None
    repair = "Close other programs, or start only what you need: gaiaflow-setup mlops --start --service airflow"
    if is_wsl(context.root):
        repair = "In Windows, give WSL more: memory=8GB below [wsl2] in .wslconfig, then wsl --shutdown"
    why = "The kernel ends programs when memory runs out, most likely Airflow's tasks."
    return wrong(f"There are {total} MB of memory; {context.memory_mb} are needed.", why, repair)


@check("disk", "disk")
def check_disk(context: Context) -> Finding | None:
    """Check that there is room for the stack, and for Docker's images."""
    is_there = any((context.home / "environments").glob("*/.complete"))
    places = [(context.home, min(context.disk_mb, DISK_OF_A_STACK_MB) if is_there else context.disk_mb)]
    if engine := context.engine.client:
        places.append((context.path(engine.get("/info")["DockerRootDir"].lstrip("/")), context.disk_mb))
    for place, needed in places:
        with contextlib.suppress(PermissionError):
            free = shutil.disk_usage(existing(place)).free // 2**20
            if free < needed:
                return full(context, place, free, needed)
    return None


def full(context: Context, place: Path, free: int, needed: int) -> Finding:
    """Return what is said of a disk with too little room."""
    repair = "See what can go: docker system df, then docker system prune"
    if place == context.home:
        repair = f"See what can go: du -sh {place}/*; {place}/cache always can."
    why = "Installing, building and starting stop half way on a full disk."
    return wrong(f"On the disk of {place} {free} MB are free; {needed} are needed.", why, repair)


# ---- inotify


@check("inotify", "inotify limits")
def check_inotify(context: Context) -> Finding | None:
    """Check that enough files and directories may be watched."""
    current = {name: context.text(f"proc/sys/fs/inotify/{name}") for name in INOTIFY}
    low = {
        name: int(value) for name, value in current.items() if value.isdigit() and int(value) < context.inotify[name]
    }
    if not low:
        return None if all(current.values()) else unknown("the kernel's inotify limits aren't known")
    wanted = {name: max(INOTIFY[name], context.inotify[name]) for name in low}
    message = " ".join(
        f"fs.inotify.{name} is {value}; {context.inotify[name]} is the least." for name, value in low.items()
    )
    why = "Programs that watch files fail: too many open files, no space left on device."
    settings = " ".join(f"fs.inotify.{name}={value}" for name, value in wanted.items())
    path = context.path(SYSCTL_FILE)
    data = {"path": str(path), "limits": {f"fs.inotify.{name}": value for name, value in wanted.items()}}
    automatic = Repair(f"{path} was written and applied.", data, needs_root=True)
    return wrong(message, why, f"sudo sysctl -w {settings}", automatic)


# ---- Clock


def package_index() -> str:
    """Return the package index that this machine is set up for; empty where it is left to pip's default."""
    from ..package_sources import Unreadable, default_index, pip_settings
    from ..shell import user_environment

    try:
        environ = user_environment()
        named = f"{default_index(environ)} {pip_settings(environ).get('extra-index-url', '')}"
    except (Unreadable, ValueError):
        return ""
    return next((url for url in named.split() if url.startswith("http")), "")


def server_time(url: str) -> float | None:
    """Return what time a server says it is; None when it says nothing."""
    address = urllib.parse.urlsplit(url)
    # Without the user and password that the address may hold: the certificate is not checked, as a wrong clock makes
    # every certificate look wrong, and only the time is asked for.
    port = f":{address.port}" if address.port else ""
    request = urllib.request.Request(f"{address.scheme}://{address.hostname}{port}/", method="HEAD")
    trusting = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
    try:
        with urllib.request.build_opener(trusting).open(request, timeout=ANSWER_S) as answer:
            said = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        said = error.headers.get("Date")
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return email.utils.parsedate_to_datetime(said).timestamp() if said else None


@check("clock", "clock")
def check_clock(context: Context) -> Finding | None:
    """Compare the clock with the package index's."""
    try:
        url = package_index()
    except ImportError:
        url = ""
    if not url:
        return unknown("pip's settings name no package index to compare with")
    there = server_time(url)
    if there is None:
        return unknown("the package index doesn't answer")
    skew = time.time() - there
    if abs(skew) <= SKEW_S:
        return None
    message = f"The clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the package index's."
    why = "Certificates and signed requests to S3 are refused, and schedules run at the wrong time."
    command = ["hwclock", "--hctosys"] if is_wsl(context.root) else ["timedatectl", "set-ntp", "true"]
    automatic = Repair("The clock was set.", {"command": command}, needs_root=True)
    return wrong(message, why, f"sudo {' '.join(command)}", automatic)


# ---- Owners


def owned_trees(context: Context) -> list[Path]:
    """Return what must be the user's: the stack, its projects, and the settings of Docker, kubectl and Minikube."""
    projects = [Path(record["project"]) for record in context.instances().values() if record.get("project")]
    settings = [context.user_home / name for name in (".docker", ".kube", ".minikube")]
    return [path for path in dict.fromkeys([context.home, *projects, *settings]) if os.path.lexists(path)]


def foreign_files(context: Context) -> Iterator[Path]:
    """Yield what isn't the user's, as far as there is time to look."""
    deadline = time.monotonic() + WALK_S
    uid = context.uid
    # The containers of root's stack run as somebody else.
    owners = {uid, *([int(CONTAINER_USER)] if uid == 0 else [])}
    for tree in owned_trees(context):
        if tree.lstat().st_uid != uid:
            yield tree
        for directory, folders, files, descriptor in os.fwalk(tree):
            if time.monotonic() > deadline:
                return
            if uid == 0 and Path(directory).name == "data":
                # PostgreSQL refuses to run as root, so root's stack has it run as somebody else.
                folders[:] = [name for name in folders if name != "postgres"]
            for name in (*folders, *files):
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_uid not in owners:
                        yield Path(directory, name)


@check("owners", "owners of files")
def check_owners(context: Context) -> Finding | None:
    """Check that no files are somebody else's, as after sudo."""
    found = list(foreign_files(context))
    if not found:
        return None
    shown = ", ".join(map(str, found[:SHOWN])) + (", ..." if len(found) > SHOWN else "")
    message = f"{plural(len(found), 'file')} of {context.user} belong to somebody else: {shown}."
    why = "They can't be written: typical after a command was run with sudo that shouldn't have been."
    trees = [str(tree) for tree in owned_trees(context) if any(tree in (one, *one.parents) for one in found)]
    command = chown_command(context, trees)
    automatic = Repair(
        f"{plural(len(found), 'file')} belong to {context.user} again.", {"command": command}, needs_root=True
    )
    return wrong(message, why, f"sudo {shlex.join(command)}", automatic)


def chown_command(context: Context, trees: list[str]) -> list[str]:
    """Return the command that gives the user what is somebody else's in these trees, and touches nothing else.

    -execdir runs chown in each file's own directory: the user can't put a link in the place of a directory above it.
    """
    kept = POSTGRES_OF_ROOT if context.uid == 0 else []
    return ["find", *trees, *kept, "!", "-user", context.user, "-execdir", "chown", "-h", f"{context.user}:", "{}", "+"]


# ---- Ports


def listeners() -> dict[int, str]:
    """Return the TCP ports in use on this machine, each with its socket's number."""
    found: dict[int, str] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == LISTENING:
                    found[int(local.rpartition(":")[2], 16)] = rest[5]
    return found


def holders(sockets: set[str]) -> dict[str, Path]:
    """Return the processes (their directories in /proc) that hold these sockets, as far as this user may see them."""
    links = {f"socket:[{number}]": number for number in sockets}
    found: dict[str, Path] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = str(descriptor.readlink())
                    if target in links:
                        found[links[target]] = process
    return found


def instance_of(process: Path) -> str:
    """Return the instance's directory that a process carries as its mark; empty for other programs."""
    with contextlib.suppress(OSError):
        for line in (process / "environ").read_bytes().split(b"\0"):
            name, _, value = line.partition(b"=")
            if name.decode(errors="replace") == INSTANCE_VARIABLE:
                return os.fsdecode(value)
    return ""


def wanted_ports(context: Context) -> Iterator[tuple[int, str]]:
    """Yield the ports that the stack wants, and for what: of its instances, and of one that is yet to be made."""
    instances = {directory.name: record.get("ports", {}) for directory, record in context.instances().items()}
    for instance, ports in {"default": {}, **instances}.items():
        for name, default in context.ports.items():
            port = ports.get(name, default if instance == "default" else None)
            if port:
                yield int(port), name if instance == "default" else f"{name} of instance {instance}"


@check("ports", "ports")
def check_ports(context: Context) -> Finding | None:
    """Check that nobody but the stack itself uses the ports that it wants."""
    in_use = listeners()
    wanted = {port: name for port, name in wanted_ports(context) if port in in_use}
    processes = holders({in_use[port] for port in wanted})
    containers = published_ports(context.engine.client) if wanted and context.engine.client else {}
    taken: dict[int, str] = {}
    for port in sorted(wanted):
        process = processes.get(in_use[port])
        container, directory = containers.get(port, ("", instance_of(process) if process else ""))
        if Path(directory).parent != context.home / "instances":
            taken[port] = f"the container {container}" if container else describe(process)
    if not taken:
        return None
    message = " ".join(f"Port {port} ({wanted[port]}) is taken by {who}." for port, who in taken.items())
    free = ", ".join(f'"{wanted[port]}": {port + 10}' for port in taken if " " not in wanted[port])
    repair = f"End that program (to see it: sudo ss -ltnp 'sport = :{next(iter(taken))}'), or use another port: "
    repair += f"gaiaflow-setup mlops --start -e '{{\"mlops_port_overrides\": {{{free}}}}}'"
    return wrong(message, "The service can't start.", repair)


def describe(process: Path | None) -> str:
    """Return a process as messages name it."""
    if process is None:
        return "a process of another user"
    with contextlib.suppress(OSError):
        return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return f"pid {process.name}"
