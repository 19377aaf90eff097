#!/usr/bin/python
"""Ansible module: what kind of WSL distribution this host is, if any, and what it needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_wsl
short_description: Examine a WSL distribution, and repair what Docker Desktop left in it
description:
  - On any other host it tells just that, at once.
  - Tells what /etc/wsl.conf shall hold and writes it not. Docker's settings of the user it repairs itself, as they hold
    passwords that must reach neither a log nor a diff.
options:
  systemd:
    description: Whether systemd shall run; if not, Docker is started by WSL's boot command.
    type: bool
    required: true
  memory_mb:
    description: Megabytes of memory that Minikube needs.
    type: int
    required: true
  cpus:
    description: Processors that Minikube needs.
    type: int
    required: true
  user:
    description: Whose settings of Docker are looked at; by default who logged in, also when the module runs by sudo.
    type: str
    default: ""
  may_write:
    description: Whether /etc/wsl.conf can be written; if not, its change is deferred.
    type: bool
    default: true
  root:
    description: Where the host's files are.
    type: path
    default: /
"""

RETURN = r"""
wsl:
  description: Whether this is a WSL distribution; if not, nothing else is returned.
  returned: always
  type: bool
version:
  description: WSL's version.
  returned: on WSL
  type: int
systemd:
  description: Whether systemd runs.
  returned: on WSL
  type: bool
docker_desktop:
  description: Whether Docker Desktop for Windows serves this distribution; also as the fact C(wsl_docker_desktop).
  returned: on WSL
  type: bool
conf:
  description: The file wsl.conf (C(path)), what it shall hold (C(content)), and whether to write that (C(write)).
  returned: on WSL
  type: dict
deferred:
  description: What is left for later, each with C(component), C(reason) and C(finish).
  returned: on WSL
  type: list
  elements: dict
"""

import getpass
import json
import os
import pwd
import re
import shlex
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gaiaflow_docker_config import (
    missing_helpers,
    read_config,
    stale_context,
    without_context,
    without_helpers,
)
from ansible.module_utils.gaiaflow_errors import SetupError
from ansible.module_utils.gaiaflow_machine import is_wsl, kernel

RESTART = "wsl.exe --shutdown, then open the distribution again"
START_DOCKER = "service docker start"
# What Docker Desktop writes as its credential helper; others are the user's own affair.
DESKTOP_HELPERS = ("desktop", "desktop.exe")
DESKTOP_PROGRAMS = "c/Program Files/Docker/Docker/resources/bin"


class WslError(SetupError):
    """A setting of WSL's that a user has to change."""


# ---- What this host is


def wsl_version(root: Path) -> int:
    """WSL's version: 1 has no kernel of its own, and always calls itself 4.4.0-BUILD-Microsoft."""
    return 1 if re.fullmatch(r"4\.4\.0-\d+-Microsoft", kernel(root)) else 2


def refuse_version_1(version: int) -> None:
    """Refuses WSL 1, where no Docker engine can run."""
    if version == 1:
        name = shlex.quote(os.environ.get("WSL_DISTRO_NAME", "DISTRIBUTION"))
        raise WslError(
            "This is WSL 1, which has no Linux kernel: neither a Docker engine nor Minikube runs in it.",
            f"In PowerShell: wsl --set-version {name} 2 (wsl --list shows its name), and run this again.",
        )


def has_docker_desktop(root: Path, docker: Path, config: dict[str, Any]) -> bool:
    """Whether Docker Desktop serves this distribution: its mount is there, or its context leads somewhere."""
    if (root / "mnt/wsl/docker-desktop").exists():
        return True
    return config.get("currentContext") == "desktop-linux" and not stale_context(config, docker)


# ---- wsl.conf


def lines_of(text: str) -> list[tuple[str, str, str]]:
    """The lines of wsl.conf: each with its section, in lower case, and the key that it sets, or nothing."""
    section, found = "", []
    for line in text.splitlines():
        head = re.match(r"\s*\[([^\]]*)\]", line)
        if head:
            section = head[1].strip().lower()
        setting = None if head else re.match(r"\s*([^#;=\s][^=]*?)\s*=", line)
        found.append((line, section, setting[1].lower() if setting else ""))
    return found


def setting_of(text: str, section: str, key: str) -> str:
    """What wsl.conf sets, without quotes and comment; empty when it does not."""
    values = [
        line.split("=", 1)[1]
        for line, its_section, its_key in lines_of(text)
        if (its_section, its_key) == (section, key)
    ]
    value = re.sub(r"(^|\s)#.*", "", values[-1]).strip() if values else ""
    quoted = re.fullmatch(r"([\"'])([^\"']*)\1", value)
    return quoted[2] if quoted else value


def with_setting(text: str, section: str, key: str, value: str) -> str:
    """wsl.conf with a setting; every other line stays as it is.

    The key's line is replaced where it stands, its comment kept; else it is added to the section, or both at the end.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    found = lines_of(text)
    lines = [line for line, _, _ in found]
    ours = [place for place, (_, its_section, its_key) in enumerate(found) if (its_section, its_key) == (section, key)]
    in_section = [
        place for place, (line, its_section, _) in enumerate(found) if its_section == section and line.strip()
    ]
    for place in ours:
        comment = re.search(r"\s+#.*$", lines[place])
        lines[place] = f"{lines[place].split('=', 1)[0].rstrip()} = {value}{comment[0] if comment else ''}"
    if not ours and in_section:
        lines.insert(in_section[-1] + 1, f"{key} = {value}")
    elif not ours:
        lines += [""] * bool(lines and lines[-1].strip()) + [f"[{section}]", f"{key} = {value}"]
    return newline.join(lines) + newline


def wanted_conf(text: str, systemd: bool, own_engine: bool) -> str:
    """What wsl.conf shall hold.

    Args:
        text: What it holds.
        systemd: Whether systemd shall run.
        own_engine: Whether the engine is this distribution's own, which something must start.
    """
    if systemd:
        is_on = setting_of(text, "boot", "systemd").lower() == "true"
        return text if is_on else with_setting(text, "boot", "systemd", "true")
    command = setting_of(text, "boot", "command")
    if not own_engine or "docker" in command or setting_of(text, "boot", "systemd").lower() == "true":
        return text
    # First, as the user's own command may end with something that nothing can follow, such as `&`.
    return with_setting(text, "boot", "command", f"{START_DOCKER}; {command}" if command else START_DOCKER)


# ---- What the user is told


def deferred_conf(path: Path, changed: bool, may_write: bool) -> list[dict[str, str]]:
    """What the user is told of a wsl.conf that only root can write."""
    if may_write or not changed:
        return []
    return [
        {
            "component": str(path),
            "reason": "only root can write it, and root wasn't to be used",
            "finish": "gaiaflow-setup workstation, as a user who may use sudo",
        }
    ]


def deferred_systemd(root: Path, wanted: bool) -> list[dict[str, str]]:
    """What the user is told of systemd that does not run yet."""
    if not wanted or (root / "run/systemd/system").exists():
        return []
    if not has_systemd(root):
        install = "sudo apt-get install systemd systemd-sysv && gaiaflow-setup workstation"
        return [{"component": "systemd", "reason": "it isn't installed in this distribution", "finish": install}]
    reason = "WSL starts it with the distribution only (and not at all before WSL 0.67.6: wsl.exe --update)"
    return [{"component": "systemd", "reason": reason, "finish": RESTART}]


def deferred_resources(root: Path, memory_mb: int, cpus: int) -> list[dict[str, str]]:
    """What the user is told of memory and processors that are too few for Minikube."""
    has_memory = int(re.search(r"MemTotal:\s+(\d+)", (root / "proc/meminfo").read_text())[1]) // 1024  # type: ignore[index]
    has_cpus = len(re.findall(r"^processor\s*:", (root / "proc/cpuinfo").read_text(), re.MULTILINE))
    # The kernel keeps some of what .wslconfig gives for itself.
    if has_memory >= memory_mb * 0.9 and has_cpus >= cpus:
        return []
    return [
        {
            "component": "memory and processors for Minikube",
            "reason": f"WSL has {has_memory} MB and {has_cpus} processors; Minikube needs {memory_mb} MB and {cpus}",
            "finish": rf"In %UserProfile%\.wslconfig, below [wsl2]: memory={max(memory_mb, has_memory)}MB and"
            f" processors={max(cpus, has_cpus)}; then {RESTART}",
        }
    ]


def has_systemd(root: Path) -> bool:
    """Whether systemd is installed."""
    return any((root / one / "systemd/systemd").exists() for one in ("lib", "usr/lib"))


# ---- Docker's settings


def helper_path(root: Path, conf: str) -> str:
    """Where credential helpers are; Windows' programs count, which neither SSH nor sudo has on its PATH."""
    mounts = setting_of(conf, "automount", "root") or "/mnt"
    more = [root / mounts.strip("/") / DESKTOP_PROGRAMS, *(root / one for one in ("usr/local/bin", "usr/bin"))]
    return os.pathsep.join([os.environ.get("PATH", ""), *map(str, more)])


def repaired(config: dict[str, Any], docker: Path, search_path: str, desktop: bool) -> dict[str, Any]:
    """The settings without what Docker Desktop left behind."""
    left_over = [one for one in missing_helpers(config, search_path) if one in DESKTOP_HELPERS and not desktop]
    better: dict[str, Any] = without_helpers(config, left_over)
    return without_context(better) if stale_context(better, docker) else better


def write_repaired(module: AnsibleModule, path: Path, config: dict[str, Any]) -> None:
    """Writes the settings in place of the old ones, with their owner and mode, and keeps those beside it."""
    module.backup_local(str(path))
    # Indented as Docker does it.
    text = json.dumps(config, indent="\t")
    new, old = path.with_name(f".{path.name}.new"), path.stat()
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.chown(new, old.st_uid, old.st_gid)
    new.chmod(old.st_mode & 0o7777)
    new.replace(path)


# ---- The module


def examine(module: AnsibleModule) -> dict[str, Any]:
    """All that the role decides by; repairs Docker's settings."""
    params = module.params
    root = Path(params["root"])
    if not is_wsl(root):
        return {"changed": False, "wsl": False}
    version = wsl_version(root)
    refuse_version_1(version)
    user = params["user"] or os.environ.get("SUDO_USER") or getpass.getuser()
    docker = root / Path(pwd.getpwnam(user).pw_dir).relative_to("/") / ".docker"
    conf = root / "etc/wsl.conf"
    text = read(conf)
    config, broken = settings(docker)
    desktop = has_docker_desktop(root, docker, config)
    better = repaired(config, docker, helper_path(root, text), desktop)
    if better != config and not module.check_mode:
        write_repaired(module, docker / "config.json", better)
    # Without systemd's program, systemd=true would only make WSL complain at each start.
    systemd = params["systemd"] and has_systemd(root)
    content = wanted_conf(text, systemd, not desktop)
    write = content != text and params["may_write"]
    return {
        "changed": better != config,
        "wsl": True,
        "version": version,
        "systemd": (root / "run/systemd/system").exists(),
        "docker_desktop": desktop,
        "ansible_facts": {"wsl_docker_desktop": desktop},
        "removed": sorted(set(config) - set(better)),
        "conf": {"path": str(conf), "content": content, "write": write},
        "deferred": deferred_conf(conf, content != text, params["may_write"])
        + deferred_systemd(root, params["systemd"])
        + deferred_resources(root, params["memory_mb"], params["cpus"])
        + broken,
    }


def read(path: Path) -> str:
    """The text of a file, with the line ends that it has; empty when there is none."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""


def settings(docker: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Docker's settings, or what the user is told when they cannot be read."""
    try:
        return read_config(docker / "config.json"), []
    except (ValueError, OSError) as error:
        told = {"component": "Docker's settings", "reason": str(error), "finish": f"Mend {docker / 'config.json'}"}
        return {}, [told]


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "systemd": {"type": "bool", "required": True},
            "memory_mb": {"type": "int", "required": True},
            "cpus": {"type": "int", "required": True},
            "user": {"type": "str", "default": ""},
            "may_write": {"type": "bool", "default": True},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    try:
        result = examine(module)
    except WslError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    except (OSError, KeyError, ValueError) as error:
        module.fail_json(msg=f"WSL's settings could not be told or repaired: {error!r}", hint="Nothing was changed.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
