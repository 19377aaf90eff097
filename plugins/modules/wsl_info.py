#!/usr/bin/python
"""Ansible module: report what kind of WSL distribution this host is, if any."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wsl_info
short_description: Report what kind of WSL distribution this host is
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only. It returns in one task what the role wsl decides by. On any other host it says just that, at once.
  - Of the user's settings of Docker, which hold passwords, it returns what Docker Desktop has left in them.
options:
  user:
    description: Whose settings of Docker are read; by default who logged in, also when the module runs by sudo.
    type: str
    default: ""
  root:
    description: Where the host's files are.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: Examine the WSL distribution
  gaiaflow.setup.wsl_info:
  register: wsl_found

- name: Show what WSL starts
  ansible.builtin.debug:
    var: wsl_found.conf.boot.command
  when: wsl_found.wsl
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
name:
  description: The distribution's name, where it is known.
  returned: on WSL
  type: str
systemd:
  description: Whether systemd is installed (C(installed)), and whether it runs (C(running)).
  returned: on WSL
  type: dict
memory_mb:
  description: Megabytes of memory.
  returned: on WSL
  type: int
cpus:
  description: How many processors there are.
  returned: on WSL
  type: int
conf:
  description: The file wsl.conf.
  returned: on WSL
  type: dict
  contains:
    path:
      description: Where it is.
      type: str
    newline:
      description: What ends its lines.
      type: str
    lines:
      description: >-
        Its lines; each with its C(number), its C(text), the C(section) that it is in, and of a setting the C(key), the
        C(name) as it is written, and the C(comment) behind it. Sections and keys are in lower case, as WSL compares
        them.
      type: list
      elements: dict
    boot:
      description: What it sets for C(systemd) and C(command) in the section boot; empty where it does not.
      type: dict
docker_desktop:
  description: Whether Docker Desktop for Windows serves this distribution.
  returned: on WSL
  type: bool
docker:
  description: The user's settings of Docker.
  returned: on WSL
  type: dict
  contains:
    path:
      description: Where they are.
      type: str
    error:
      description: Why they can't be read; empty where they can.
      type: str
    helpers:
      description: The credential helpers of Docker Desktop's that they name, and that aren't there.
      type: list
      elements: str
    context:
      description: The context that they choose, where it leads nowhere; else empty.
      type: str
"""

import getpass
import os
import pwd
import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.docker_config import missing_helpers, read_config, stale_context
from ..module_utils.machine import is_wsl, kernel

# What Docker Desktop writes as its credential helper; others are the user's own affair.
DESKTOP_HELPERS = ("desktop", "desktop.exe")
DESKTOP_PROGRAMS = "c/Program Files/Docker/Docker/resources/bin"
SECTION = re.compile(r"\s*\[([^\]]*)\]")
SETTING = re.compile(r"(?P<name>\s*(?P<key>[^#;=\s][^=]*?))\s*=(?P<value>.*?)(?P<comment>(\s+#.*)?)$")


# ---- The machine


def wsl_version(root: Path) -> int:
    """Return WSL's version: 1 has no kernel of its own, and always calls itself 4.4.0-BUILD-Microsoft."""
    return 1 if re.fullmatch(r"4\.4\.0-\d+-Microsoft", kernel(root)) else 2


def read_memory_mb(root: Path) -> int:
    """Return the memory that WSL was given."""
    found = re.search(r"MemTotal:\s+(\d+)", (root / "proc/meminfo").read_text())
    return int(found[1]) // 1024 if found else 0


def count_cpus(root: Path) -> int:
    """Return how many processors WSL was given."""
    return len(re.findall(r"^processor\s*:", (root / "proc/cpuinfo").read_text(), re.MULTILINE))


def find_systemd(root: Path) -> dict[str, bool]:
    """Return whether systemd is installed, and whether it runs."""
    installed = any((root / directory / "systemd/systemd").exists() for directory in ("lib", "usr/lib"))
    return {"installed": installed, "running": (root / "run/systemd/system").exists()}


# ---- wsl.conf


def parse(text: str) -> list[dict[str, Any]]:
    """Return the lines of wsl.conf with what they set."""
    section, lines = "", []
    for number, line in enumerate(text.splitlines()):
        head = SECTION.match(line)
        if head:
            section = head[1].strip().lower()
        setting = None if head else SETTING.match(line)
        found = setting.groupdict() if setting else {"name": "", "key": "", "value": "", "comment": ""}
        lines.append({"number": number, "text": line, "section": section, **found, "key": found["key"].lower()})
    return lines


def setting_of(lines: list[dict[str, Any]], section: str, key: str) -> str:
    """Return what wsl.conf sets, without quotes and comment; nothing when it does not."""
    values = [line["value"] for line in lines if (line["section"], line["key"]) == (section, key)]
    value = re.sub(r"^#.*", "", values[-1].strip()) if values else ""
    quoted = re.fullmatch(r"([\"'])([^\"']*)\1", value)
    return quoted[2] if quoted else value


def read_conf(path: Path) -> dict[str, Any]:
    """Return what wsl.conf holds; its line ends as they are."""
    text = path.read_bytes().decode() if path.exists() else ""
    lines = parse(text)
    boot = {key: setting_of(lines, "boot", key) for key in ("systemd", "command")}
    return {"path": str(path), "newline": "\r\n" if "\r\n" in text else "\n", "lines": lines, "boot": boot}


# ---- Docker


def examine_docker(root: Path, directory: Path, mounts: str) -> tuple[bool, dict[str, Any]]:
    """Return whether Docker Desktop serves this distribution, and what it has left in the user's settings."""
    path = directory / "config.json"
    try:
        config, error = read_config(path), ""
    except (ValueError, OSError) as problem:
        config, error = {}, str(problem)
    stale = stale_context(config, directory)
    serves = (root / "mnt/wsl/docker-desktop").exists()
    serves = serves or (config.get("currentContext") == "desktop-linux" and not stale)
    missing = [] if serves else missing_helpers(config, helper_path(root, mounts))
    helpers = [name for name in missing if name in DESKTOP_HELPERS]
    return serves, {"path": str(path), "error": error, "helpers": helpers, "context": stale or ""}


def helper_path(root: Path, mounts: str) -> str:
    """Return where credential helpers are; Windows' programs count, which neither SSH nor sudo has on its PATH."""
    more = [root / mounts.strip("/") / DESKTOP_PROGRAMS, *(root / name for name in ("usr/local/bin", "usr/bin"))]
    return os.pathsep.join([os.environ.get("PATH", ""), *map(str, more)])


# ---- The module


def examine(params: dict[str, Any]) -> dict[str, Any]:
    """Return all that the role decides by."""
    root = Path(params["root"])
    if not is_wsl(root):
        return {"wsl": False}
    user = params["user"] or os.environ.get("SUDO_USER") or getpass.getuser()
    directory = root / Path(pwd.getpwnam(user).pw_dir).relative_to("/") / ".docker"
    conf = read_conf(root / "etc/wsl.conf")
    docker_desktop, docker = examine_docker(root, directory, setting_of(conf["lines"], "automount", "root") or "/mnt")
    return {
        "wsl": True,
        "version": wsl_version(root),
        "name": os.environ.get("WSL_DISTRO_NAME", ""),
        "systemd": find_systemd(root),
        "memory_mb": read_memory_mb(root),
        "cpus": count_cpus(root),
        "conf": conf,
        "docker_desktop": docker_desktop,
        "docker": docker,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"user": {"type": "str", "default": ""}, "root": {"type": "path", "default": "/"}},
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **examine(module.params))
    except (OSError, KeyError, ValueError) as error:
        module.fail_json(msg=f"WSL's settings could not be told: {error!r}", hint="Nothing was changed.")


if __name__ == "__main__":
    main()
