#!/usr/bin/python
"""Ansible module: report what a host has of Docker."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_engine_info
short_description: Report what a host has of Docker
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only. It returns in one task what the role docker decides by, so that a converged host costs one task.
  - What follows from it is written in the role, mostly in C(vars/main.yml).
options:
  user:
    description: The user who is to run containers; by default who logged in, also when the module runs by sudo.
    type: str
    default: ""
  daemon_file:
    description: The engine's settings.
    type: path
    default: /etc/docker/daemon.json
  drop_in:
    description: The role's addition to the engine's systemd unit.
    type: path
    required: true
  settings_mark:
    description: >-
      The file that the role touches before it writes settings. It is newer than the engine's process when the engine
      has yet to read them.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Examine the Docker engine
  gaiaflow.setup.docker_engine_info:
    drop_in: /etc/systemd/system/docker.service.d/gaiaflow-setup.conf
    settings_mark: /run/gaiaflow-setup.docker
  become: true
  register: docker_found

- name: Show which engine there is
  ansible.builtin.debug:
    var: docker_found.engine.kind
"""

RETURN = r"""
engine:
  description: The engine that is there, whether it runs or not.
  returned: always
  type: dict
  contains:
    kind:
      description: >-
        C(none), C(engine), or what somebody else looks after: C(desktop), C(podman), C(rootless) or C(snap).
      type: str
    version:
      description: Its version; empty where it isn't known.
      type: str
    socket:
      description: Where it listens.
      type: str
    running:
      description: Whether it answers.
      type: bool
    denied:
      description: Whether it refuses to answer this user.
      type: bool
    enabled:
      description: Whether systemd starts it with the machine; true where there is no systemd.
      type: bool
    containers:
      description: How many containers run.
      type: int
    has_unread_settings:
      description: Whether it runs with older settings than those that the role has written.
      type: bool
daemon:
  description: The engine's settings (C(content)), and why they can't be read (C(error)).
  returned: always
  type: dict
lacks_drop_in:
  description: Whether the engine's unit needs I(drop_in), and has none.
  returned: always
  type: bool
missing_plugins:
  description: The plugins of Docker's command line that aren't there.
  returned: always
  type: list
  elements: str
dpkg:
  description: Whether dpkg was interrupted (C(interrupted)), and the packages that it hasn't set up (C(unfinished)).
  returned: always
  type: dict
init:
  description: What starts services; C(systemd), C(sysv) or C(none).
  returned: always
  type: str
os_release:
  description: What the distribution says about itself, by the names in os-release.
  returned: always
  type: dict
machine:
  description: The processor's architecture, as uname calls it.
  returned: always
  type: str
user:
  description: The user who is to run containers.
  returned: always
  type: str
is_member:
  description: Whether that user may use the engine, from the next login on at the latest.
  returned: always
  type: bool
"""

import getpass
import grp
import os
import platform
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.docker_config import read_config
from ..module_utils.dpkg import journal, unfinished
from ..module_utils.engine import Engine

ROOT = Path("/")
SOCKET = "/run/docker.sock"
PID_FILE = Path("/run/docker.pid")
SNAP = Path("/snap/docker")
DESKTOP = Path("/mnt/wsl/docker-desktop")
# For root and everybody else.
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"
PLUGINS = ("docker-compose", "docker-buildx")
PLUGIN_DIRECTORIES = ("/usr/libexec", "/usr/lib", "/usr/local/lib", "/usr/local/libexec")


# ---- The engine


def find_engine(user: str) -> dict[str, Any]:
    """Return the engine that is there, running or not."""
    absent = {"kind": "none", "version": "", "socket": SOCKET, "running": False, "denied": False}
    account = pwd.getpwnam(user)
    own = f"/run/user/{account.pw_uid}/docker.sock"
    desktop = f"{account.pw_dir}/.docker/desktop/docker.sock"
    for path, rootless in ((SOCKET, False), (own, True), (desktop, False)):
        try:
            version = Engine(path).get("/version")
        except PermissionError:
            return {**absent, "kind": "engine", "socket": path, "running": True, "denied": True}
        except OSError:
            continue
        found = {"kind": kind_of(version, rootless), "version": version["Version"], "socket": path, "running": True}
        return {**absent, **found}
    if SNAP.exists():
        return {**absent, "kind": "snap"}
    program = shutil.which("dockerd", path=SEARCH_PATH)
    return {**absent, "kind": "engine", "version": program_version(program)} if program else absent


def kind_of(version: dict[str, Any], rootless: bool) -> str:
    """Return the kind of an engine that answers.

    Args:
        version: What it says of its version.
        rootless: Whether its socket is a user's.
    """
    if any("Podman" in component.get("Name", "") for component in version.get("Components", [])):
        return "podman"
    if "Desktop" in version.get("Platform", {}).get("Name", "") or DESKTOP.exists():
        return "desktop"
    if SNAP.exists():
        return "snap"
    return "rootless" if rootless else "engine"


def program_version(program: str) -> str:
    """Return the version of a dockerd that doesn't run."""
    output = subprocess.run([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    found = re.search(r"\d+\.\d+\.\d+", output)
    return found[0] if found else ""


def count_containers(engine: dict[str, Any]) -> int:
    """Return how many containers run."""
    may_ask = engine["running"] and not engine["denied"]
    return len(Engine(engine["socket"]).get("/containers/json")) if may_ask else 0


def has_unread_settings(mark: Path) -> bool:
    """Return whether the role wrote settings after the engine was started."""
    try:
        return mark.stat().st_mtime > PID_FILE.stat().st_mtime
    except FileNotFoundError:
        return False


def read_daemon(path: Path) -> dict[str, Any]:
    """Return the engine's settings, or why they can't be read."""
    try:
        return {"content": read_config(path), "error": ""}
    except (OSError, ValueError) as error:
        return {"content": {}, "error": str(error)}


def lacks_drop_in(path: Path, init: str) -> bool:
    """Return whether the engine's unit needs the role's addition: where the kernel's network settings are read-only."""
    return init == "systemd" and not os.access("/proc/sys/net", os.W_OK) and not path.exists()


def has_plugin(name: str) -> bool:
    """Return whether Docker's command line has the plugin."""
    return any(Path(directory, "docker/cli-plugins", name).exists() for directory in PLUGIN_DIRECTORIES)


# ---- The host


def read_os_release() -> dict[str, str]:
    """Return what the distribution says about itself."""
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    return {key: value.strip("\"'") for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)}


def init_system() -> str:
    """Return what starts services."""
    if Path("/run/systemd/system").exists():
        return "systemd"
    return "sysv" if Path("/etc/init.d/docker").exists() or Path("/usr/sbin/update-rc.d").exists() else "none"


def is_enabled(init: str) -> bool:
    """Return whether systemd starts the engine with the machine."""
    return init != "systemd" or any(Path("/etc/systemd/system").glob("*.wants/docker.s*"))


def is_member(user: str) -> bool:
    """Return whether the user may use the engine's socket, from the next login on at the latest."""
    account = pwd.getpwnam(user)
    if account.pw_uid == 0:
        return True
    try:
        group = grp.getgrnam("docker")
    except KeyError:
        return False
    return user in group.gr_mem or account.pw_gid == group.gr_gid


def examine(params: dict[str, Any]) -> dict[str, Any]:
    """Return all that the role decides by."""
    user, init = params["user"] or os.environ.get("SUDO_USER") or getpass.getuser(), init_system()
    engine = find_engine(user)
    engine["enabled"] = is_enabled(init)
    engine["containers"] = count_containers(engine)
    engine["has_unread_settings"] = engine["running"] and has_unread_settings(Path(params["settings_mark"]))
    return {
        "engine": engine,
        "daemon": read_daemon(Path(params["daemon_file"])),
        "lacks_drop_in": lacks_drop_in(Path(params["drop_in"]), init),
        "missing_plugins": [name for name in PLUGINS if not has_plugin(name)],
        "dpkg": {"interrupted": bool(journal(ROOT)), "unfinished": sorted(unfinished(ROOT))},
        "init": init,
        "os_release": read_os_release(),
        "machine": platform.machine(),
        "user": user,
        "is_member": is_member(user),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": ""},
            "daemon_file": {"type": "path", "default": "/etc/docker/daemon.json"},
            "drop_in": {"type": "path", "required": True},
            "settings_mark": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **examine(module.params))
    except (OSError, KeyError) as error:
        module.fail_json(msg=f"Docker's state could not be told: {error!r}")


if __name__ == "__main__":
    main()
