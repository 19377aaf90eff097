"""The Docker engine: whether it runs, who may use it, and what it is told."""

from __future__ import annotations

import grp
import os
import re
import shutil
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.gaiaflow_docker_config import TYPES_OF_ENGINE, read_config, well_typed, wrong_types
from ansible.module_utils.gaiaflow_dockerd import NotStarted, start_dockerd
from ansible.module_utils.gaiaflow_doctor.core import CannotMend, Context, Finding, run, unknown, wrong

INSTALL = "gaiaflow-setup workstation"
NOT_HERE = "Docker isn't installed"
NOT_RUNNING = "the Docker engine doesn't answer"
OLDEST = (20, 10)
START_S = 20.0
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def installed(context: Context) -> bool:
    """Whether there is an engine on this machine, running or not."""
    program = shutil.which("dockerd", path=PROGRAMS) if context.root == Path("/") else None
    return bool(program) or context.path("snap/docker").exists() or context.engine.state != "down"


def silent(context: Context) -> Finding | None:
    """Why nothing can be asked of the engine; None when it can."""
    if context.engine.state == "up":
        return None
    return unknown(NOT_RUNNING if installed(context) else NOT_HERE)


def settings(context: Context) -> dict[str, Any]:
    """What daemon.json says; nothing where it can't be read."""
    try:
        content: dict[str, Any] = read_config(context.path("etc/docker/daemon.json"))
    except (OSError, ValueError):
        return {}
    return dict(well_typed(content, TYPES_OF_ENGINE))


def group_name(context: Context) -> str:
    """The group whose members may use the engine."""
    return str(settings(context).get("group") or "docker")


# ---- Running


def service_command(context: Context, verb: str) -> list[str]:
    """How the engine is started or restarted here; nothing where no init does it."""
    if context.path("run/systemd/system").is_dir():
        return ["systemctl", verb, "docker"]
    if context.path("etc/init.d/docker").exists():
        return ["service", "docker", verb]
    return []


def start(context: Context, verb: str) -> str:
    """Starts or restarts the engine, and waits until it answers."""
    command = service_command(context, verb)
    if not command:
        start_without_init()
    elif command[0] == "systemctl":
        # Otherwise systemd refuses an engine that failed a few times. A unit that isn't loaded fits a pattern, too.
        run("systemctl", "reset-failed", "docker.*")
        run(*command)
    else:
        start_with_script(command)
    deadline = time.monotonic() + START_S
    while context.fresh().engine.state in ("down", "hangs"):
        if time.monotonic() > deadline:
            raise CannotMend(f"The engine doesn't answer after {START_S:.0f} s; its log says why.")
        time.sleep(0.2)
    return f"The Docker engine was {verb}ed."


def start_with_script(command: list[str]) -> None:
    """Starts the engine by its script, which raises limits first; a container or a small machine may forbid that."""
    try:
        run(*command)
    except CannotMend:
        start_without_init()


def start_without_init() -> None:
    """Starts the engine where no init does."""
    try:
        start_dockerd()
    except NotStarted as error:
        raise CannotMend(f"dockerd does not start: {str(error)[-200:]}") from error


def look_for_settings(context: Context) -> Finding | None:
    """A daemon.json that is broken keeps the engine from starting."""
    return look_at_settings(
        context.path("etc/docker/daemon.json"), TYPES_OF_ENGINE, "The engine doesn't start with it."
    )


def look_at_settings(path: Path, types: Mapping[str, Any], why: str) -> Finding | None:
    """What is wrong with a file of settings: it is none, no JSON object, or has something of another type in it."""
    repair = f"Mend {path} with an editor: it was not touched."
    try:
        found = wrong_types(read_config(path), types)
    except IsADirectoryError:
        return wrong(f"{path} is a directory.", why, f"Remove it: sudo rmdir {path}")
    except ValueError as error:
        return wrong(f"{error}.", why, repair)
    except OSError as error:
        return unknown(str(error))
    return wrong(f"In {path}, {'; '.join(found)}.", why, repair) if found else None


def look_for_pid_file(context: Context) -> Finding | None:
    """A pid file that a killed engine left keeps the next one from starting, once another process has the number."""
    name = "var/run/docker.pid"
    pid = context.text(name)
    if not pid or context.text(f"proc/{pid}/comm") == "dockerd":
        return None
    path = context.path(name)

    def mend() -> str:
        path.unlink()
        return f"{path} was removed."

    why = "An engine that was killed left it; the next one may refuse to start."
    return wrong(f"{path} names process {pid}, which is no dockerd.", why, f"sudo rm {path}", mend, as_root=True)


def look_for_daemon(context: Context) -> Finding | None:
    """The engine must answer."""
    state = context.engine.state
    if state in ("up", "denied"):
        return None
    if not installed(context):
        return unknown(NOT_HERE, INSTALL)
    verb, message = (
        ("restart", "accepts connections, but doesn't answer") if state == "hangs" else ("start", "isn't running")
    )
    command = " ".join(service_command(context, verb)) or "sh -c 'dockerd >>/var/log/docker.log 2>&1 &'"
    why = "No container can be started, and Minikube neither."
    return wrong(f"The Docker engine {message}.", why, f"sudo {command}", lambda: start(context, verb), as_root=True)


def look_for_version(context: Context) -> Finding | None:
    """The oldest engine that Minikube and BuildKit work with."""
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


def look_for_socket(context: Context) -> Finding | None:
    """The socket is root's and the group's, and nobody else's: whoever can use it is root."""
    path, group = context.path("var/run/docker.sock"), group_name(context)
    # Docker Desktop's is a link to a place that it looks after itself.
    if path.is_symlink() or not path.is_socket():
        return silent(context)
    state = path.stat()
    mode, owner = stat.S_IMODE(state.st_mode), group_of(state.st_gid)
    if not mode & 0o007 and owner == group:
        return None

    def mend() -> str:
        run("groupadd", "--force", "--system", group)
        os.chown(path, 0, grp.getgrnam(group).gr_gid)
        path.chmod(0o660)
        return f"{path} has mode 660 now, and belongs to root and the group {group}."

    why = "Everybody on this machine is root by it." if mode & 0o007 else f"Members of the group {group} can't use it."
    repair = f"sudo chgrp {group} {path} && sudo chmod 660 {path}"
    return wrong(f"{path} has mode {mode:o} and the group {owner}.", why, repair, mend, as_root=True)


def group_of(gid: int) -> str:
    """A group's name, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def is_member(context: Context, group: str) -> bool:
    """Whether the user is in the group, from the next login on at the latest."""
    try:
        return grp.getgrnam(group).gr_gid in os.getgrouplist(context.user, context.gid)
    except KeyError:
        return False


def look_for_group(context: Context) -> Finding | None:
    """The user may use the engine by the group, and by nothing else."""
    if not installed(context):
        return unknown(NOT_HERE)
    is_system = context.engine.state == "down" or context.engine.socket == context.engine.sockets[0]
    if context.uid == 0 or not is_system:
        return None
    group = group_name(context)
    if is_member(context, group):
        return old_session(context, group)

    def mend() -> str:
        run("groupadd", "--force", "--system", group)
        run("usermod", "--append", "--groups", group, context.user)
        return f"{context.user} joined the group {group}: log in again, or run `newgrp {group}`."

    message = f"{context.user} is not in the group {group}."
    why = "Docker refuses: permission denied at its socket."
    return wrong(message, why, f"sudo usermod -aG {group} {context.user}", mend, as_root=True)


def old_session(context: Context, group: str) -> Finding | None:
    """A session that is older than the membership doesn't have it."""
    if not context.is_self or context.engine.state != "denied" or grp.getgrnam(group).gr_gid in os.getgroups():
        return None
    message = f"{context.user} is in the group {group}, but this session began before that."
    return wrong(message, "Docker refuses: permission denied at its socket.", f"Log in again, or run: newgrp {group}")
