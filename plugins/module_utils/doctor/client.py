"""The user's settings of Docker's command line: credential helpers, contexts, proxies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import urllib.parse
from pathlib import Path
from typing import Any

from ..docker_config import (
    TYPES_OF_CLIENT,
    missing_helpers,
    read_config,
    stale_context,
    well_typed,
)
from ..shell import is_on_loopback
from .core import Context, Finding, Repair, check, wrong
from .docker import check_file, settings
from .engine import answers
from .machine import port_answers

# Where helpers are, too, though a session that nobody logged in to has no such PATH.
MORE_PROGRAMS = (
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/snap/bin",
    "/mnt/c/Program Files/Docker/Docker/resources/bin",
)
STARTUP_FILES = (".profile", ".bash_profile", ".bashrc", ".zprofile", ".zshrc", ".zshenv", ".config/fish/config.fish")
VARIABLE = re.compile(r"\s*(?:export\s+|set\s+-\S+\s+)?DOCKER_HOST[=\s][\"']?([^\s\"'$]+)[\"']?\s*$")


def config_path(context: Context) -> Path:
    """Return the settings' file."""
    return Path(context.docker_directory, "config.json")


def config(context: Context) -> dict[str, Any]:
    """Return the settings; nothing where they can't be read, which is another check's finding."""
    try:
        content: dict[str, Any] = read_config(config_path(context))
    except (OSError, ValueError):
        return {}
    return dict(well_typed(content, TYPES_OF_CLIENT))


@check("docker_config", "Docker's config.json")
def check_config(context: Context) -> Finding | None:
    """Check config.json: with a broken one, every command of Docker's complains or fails."""
    return check_file(config_path(context), TYPES_OF_CLIENT, "Docker can't read its settings and logins.")


@check("docker_helpers", "credential helpers")
def check_helpers(context: Context) -> Finding | None:
    """Check that credential helpers are there: without one, every pull and build fails."""
    places = [*os.environ.get("PATH", "").split(os.pathsep), *MORE_PROGRAMS, str(context.user_home / ".local/bin")]
    missing = missing_helpers(config(context), os.pathsep.join(places))
    if not missing:
        return None
    path, named = config_path(context), ", ".join(missing)
    why = "Pulling and building images fails (error getting credentials)."
    programs = ", ".join(f"docker-credential-{name}" for name in missing)
    repair = f"Remove {named} from credsStore and credHelpers in {path}: gaiaflow-setup doctor --fix"
    automatic = Repair(f"{path} no longer names {named}.", {"path": str(path), "helpers": missing})
    return wrong(f"{path} names {named}, but there is no program {programs}.", why, repair, automatic)


# ---- Contexts


def context_host(directory: Path, name: str) -> str:
    """Return where a context's engine is; empty when that isn't known."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    try:
        content = json.loads((directory / "contexts/meta" / digest / "meta.json").read_text())
        return str(content["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def host_answers(host: str) -> bool:
    """Return whether an engine seems to be there."""
    address = urllib.parse.urlsplit(host)
    if address.scheme == "unix":
        return bool(answers(address.path))
    try:
        return bool(address.hostname) and port_answers(str(address.hostname), address.port or 22)
    except ValueError:
        return False


def is_elsewhere(context: Context, host: str) -> bool:
    """Return whether the engine that runs here is another one."""
    engine = context.engine
    if not host or engine.state not in ("up", "denied"):
        return False
    return not host.startswith("unix://") or os.path.realpath(host[7:]) != os.path.realpath(engine.socket)


@check("docker_context", "Docker context")
def check_context(context: Context) -> Finding | None:
    """Check that Docker's command line talks to the engine that runs here."""
    places = startup_lines(context)
    host = os.environ.get("DOCKER_HOST") if context.is_self else None
    # A session that nobody logged in to hasn't read what a shell reads.
    host = host or next(iter(places.values()), None)
    if host:
        return check_variable(context, host, list(places))
    content, directory = config(context), context.docker_directory
    stale = stale_context(content, directory)
    name = str(content.get("currentContext") or "default")
    there = context_host(directory, name)
    if stale and not there:
        return dead_context(context, f"The context {stale} is chosen, but it doesn't exist.")
    # An engine that is merely not running is no reason to choose another one.
    if not is_elsewhere(context, there):
        return None
    if stale or not host_answers(there):
        return dead_context(context, f"The context {name} leads to {there}, where nobody answers.")
    message = f"The context {name} leads to {there}, while the engine at {context.engine.socket} runs, too."
    why = "Two engines have two sets of images and containers: what one has, the other doesn't find."
    return wrong(message, why, "Choose one: docker context use default, or stop the other engine.")


def dead_context(context: Context, message: str) -> Finding:
    """Return what is said of a context that leads nowhere; the default one takes its place."""
    automatic = Repair("The default context is used again.", {"path": str(config_path(context))})
    return wrong(message, "No command of Docker's reaches an engine.", "docker context use default", automatic)


def check_variable(context: Context, host: str, places: list[str]) -> Finding | None:
    """Check DOCKER_HOST, which overrules every context."""
    if not is_elsewhere(context, host):
        return None
    there = "where an engine answers, too" if host_answers(host) else "where nobody answers"
    message = f"DOCKER_HOST leads to {host}, {there}; the engine of this machine is at {context.engine.socket}."
    why = "Docker and Minikube use that one, whatever context is chosen."
    where = ", ".join(places) or "wherever your shell gets it from"
    return wrong(message, why, f"unset DOCKER_HOST, and remove it from {where}.")


def startup_lines(context: Context) -> dict[str, str]:
    """Return where the user's shells are told of DOCKER_HOST, each with what they are told."""
    files = [context.path("etc/environment"), *sorted(context.path("etc/profile.d").glob("*.sh"))]
    found = {}
    for path in (*files, *(context.user_home / name for name in STARTUP_FILES)):
        with contextlib.suppress(OSError):
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                if told := VARIABLE.match(line):
                    found[f"{path}:{number}"] = told[1]
    return found


# ---- Proxies


@check("docker_proxy", "proxies")
def check_proxy(context: Context) -> Finding | None:
    """Check proxies: a container can't reach one on loopback; the engine itself can, if it runs."""
    kept = config(context).get("proxies")
    for content in kept.values() if isinstance(kept, dict) else ():
        for name, proxy in content.items() if isinstance(content, dict) else ():
            if name in ("httpProxy", "httpsProxy", "ftpProxy", "allProxy") and is_on_loopback(str(proxy)):
                message = f"{config_path(context)} gives containers the proxy {proxy} ({name})."
                why = "In a container that address is the container itself: nothing is downloaded there."
                repair = "Name the address at which containers see this machine (docker0's, mostly 172.17.0.1), "
                repair += "and let the proxy listen there."
                return wrong(message, why, repair)
    return check_engine_proxy(context)


def check_engine_proxy(context: Context) -> Finding | None:
    """Check the engine's own proxy, which may be on loopback if it runs there."""
    kept = settings(context).get("proxies")
    for name, proxy in kept.items() if isinstance(kept, dict) else ():
        if name != "no-proxy" and is_on_loopback(str(proxy)) and not proxy_answers(str(proxy)):
            path = context.path("etc/docker/daemon.json")
            message = f"{path} names the proxy {proxy} ({name}), where nobody answers."
            return wrong(message, "The engine can't pull images.", f"Start that proxy, or name another one in {path}.")
    return None


def proxy_answers(proxy: str) -> bool:
    """Return whether somebody listens at a proxy's address."""
    address = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    try:
        return bool(port_answers(str(address.hostname), address.port or (443 if address.scheme == "https" else 80)))
    except ValueError:
        return False
