#!/usr/bin/python
"""Ansible module: report what a host has of Minikube and kubectl."""

from __future__ import annotations

DOCUMENTATION = r"""
module: minikube_info
short_description: Report what a host has of Minikube and kubectl
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only. It returns in one task what the role minikube decides by, so that a converged host costs one task.
  - The role keeps its programs in C(../lib/gaiaflow-setup) beside I(bin_directory), and links them into it. By that
    link they are told from programs of somebody else's.
  - The site of a program that is to be installed is asked whether it has the file; nothing is downloaded.
options:
  bin_directory:
    description: Where the programs are linked.
    type: path
    required: true
  minikube:
    description: Which Minikube is wanted.
    type: dict
    required: true
    suboptions: &wanted
      version:
        description: The version that is to be installed.
        type: str
        required: true
      oldest:
        description: >-
          The oldest version, as C(MAJOR.MINOR), that does where somebody else installed it; by default only exactly
          I(version) does.
        type: str
        default: ""
      url:
        description: >-
          Where it is; C({arch}) stands for the architecture. Without it, and where it is a file, nobody is asked.
        type: str
        default: ""
  kubectl:
    description: Which kubectl is wanted.
    type: dict
    required: true
    suboptions: *wanted
  programs:
    description: Further programs that are looked for.
    type: list
    elements: str
    default: []
  user:
    description: Whose programs count, besides the host's; by default who logged in, also when the module runs by sudo.
    type: str
    default: ""
  timeout:
    description: Seconds that a site may be silent for.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Examine Minikube and kubectl
  gaiaflow.setup.minikube_info:
    bin_directory: /usr/local/bin
    minikube:
      version: 1.38.1
      url: https://mirror.example.com/minikube/v1.38.1/minikube-linux-{arch}
    kubectl:
      version: 1.35.1
      oldest: "1.34"
    programs: [conntrack, socat]
  register: minikube_found

- name: Show where Minikube is
  ansible.builtin.debug:
    var: minikube_found.programs.minikube.path
"""

RETURN = r"""
programs:
  description: What there is of C(minikube) and C(kubectl).
  returned: always
  type: dict
  contains:
    kind:
      description: >-
        C(none); C(ours) and C(outdated), which the role installed, in the wanted version and in another one;
        C(accepted) and C(rejected), which somebody else did, in a version that does and in one that doesn't.
      type: str
    path:
      description: Where it is, or would be linked.
      type: str
    version:
      description: Its version; empty where it doesn't run.
      type: str
    conflict:
      description: >-
        A program of somebody else's that doesn't do (C(path), C(version)), and stands where ours would be linked or,
        with C(is_first), is found before ours; empty where there is none.
      type: dict
    kept:
      description: The files that the role keeps of it.
      type: list
      elements: str
    url:
      description: Its address for this host.
      type: str
    site:
      description: >-
        What the site answered that was asked; C(state) is C(ok), C(unreachable) or C(refused), with C(reason) and
        C(hint).
      type: dict
bin_directory:
  description: Where the programs are linked, as an absolute path.
  returned: always
  type: str
lib_directory:
  description: Where the role keeps them.
  returned: always
  type: str
missing_directories:
  description: Those of the two that aren't there.
  returned: always
  type: list
  elements: str
missing_programs:
  description: The further programs that aren't there.
  returned: always
  type: list
  elements: str
package_managers:
  description: The package managers that are there; C(dpkg) is one.
  returned: always
  type: list
  elements: str
dpkg_interrupted:
  description: Whether dpkg was interrupted before.
  returned: always
  type: bool
machine:
  description: The processor's architecture, as uname calls it.
  returned: always
  type: str
architecture:
  description: The same, as Kubernetes calls it; empty where it isn't known there.
  returned: always
  type: str
"""

import getpass
import json
import os
import platform
import pwd
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dpkg import journal
from ..module_utils.machine import ARCHITECTURES
from ..module_utils.site import ask

VERSION_COMMANDS = {"minikube": ["version", "--short"], "kubectl": ["version", "--client", "--output=json"]}
SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin")
PACKAGE_MANAGERS = ("dpkg", "apt-get", "dnf", "zypper", "pacman", "apk")


class Places:
    """Where programs are, ours and others'."""

    def __init__(self, bin_directory: Path, user: str) -> None:
        self.bin = Path(os.path.normpath(bin_directory.absolute()))
        self.lib = self.bin.parent / "lib" / "gaiaflow-setup"
        home = Path(pwd.getpwnam(user).pw_dir)
        own = [str(home / name) for name in (".local/bin", "bin")]
        listed = [*own, *os.environ.get("PATH", "").split(os.pathsep), *SYSTEM_DIRECTORIES, str(self.bin)]
        # The user's own directories come first on most hosts; sudo's PATH, which this may be, does not name them.
        self.search = list(dict.fromkeys(os.path.normpath(directory) for directory in listed if directory))

    def is_ours(self, name: str) -> bool:
        """Return whether the program in our place was put there by the role."""
        link = self.bin / name
        return link.is_symlink() and link.readlink().parent == self.lib

    def first(self, name: str) -> Path | None:
        """Return the program that a command line finds."""
        found = shutil.which(name, path=os.pathsep.join(self.search))
        return Path(found) if found else None

    def precedes(self, path: Path) -> bool:
        """Return whether a program is found before the one in our place."""
        return self.search.index(str(path.parent)) <= self.search.index(str(self.bin))

    def missing(self) -> list[str]:
        """Return which of our directories aren't there."""
        return [str(directory) for directory in (self.bin, self.lib) if not directory.is_dir()]

    def kept(self, name: str) -> list[str]:
        """Return the files that are kept of a program."""
        return sorted(map(str, self.lib.glob(f"{name}-*")))


def numbers(version: str) -> list[int]:
    """Return the major and the minor version."""
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def is_accepted(version: str, wanted: dict[str, Any]) -> bool:
    """Return whether a program of this version does, whoever installed it."""
    if wanted["oldest"] and version:
        return numbers(version) >= numbers(wanted["oldest"])
    return bool(version == wanted["version"])


def version_of(name: str, path: Path) -> str:
    """Return the version that a program says it is; nothing when it does not run, or says none."""
    try:
        output = subprocess.run(
            [path, *VERSION_COMMANDS[name]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=10,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if name == "kubectl":
        try:
            output = json.loads(output)["clientVersion"]["gitVersion"]
        except (ValueError, KeyError, TypeError):
            return ""
    found = re.search(r"\d+\.\d+\.\d+\S*", output)
    return found[0] if found else ""


def find(name: str, wanted: dict[str, Any], places: Places) -> dict[str, Any]:
    """Return what there is of a program, and which other one conflicts with it."""
    link, first = places.bin / name, places.first(name)
    if places.is_ours(name):
        version = version_of(name, link)
        kind = "ours" if version == wanted["version"] else "outdated"
        return {"kind": kind, "path": str(link), "version": version, "conflict": find_first(name, wanted, places)}
    for path in (link, first):
        if path and os.path.lexists(path) and is_accepted(version := version_of(name, path), wanted):
            return {"kind": "accepted", "path": str(path), "version": version, "conflict": {}}
    if os.path.lexists(link):
        found = {"path": str(link), "version": version_of(name, link)}
        return {"kind": "rejected", **found, "conflict": {**found, "is_first": False}}
    return {"kind": "none", "path": str(link), "version": "", "conflict": find_first(name, wanted, places)}


def find_first(name: str, wanted: dict[str, Any], places: Places) -> dict[str, Any]:
    """Return the program that a command line finds before ours, where it doesn't do."""
    first = places.first(name)
    if not first or first == places.bin / name or not places.precedes(first):
        return {}
    version = version_of(name, first)
    if first.resolve().parent == places.lib or is_accepted(version, wanted):
        return {}
    return {"path": str(first), "version": version, "is_first": True}


def examine_program(name: str, params: dict[str, Any], places: Places, architecture: str) -> dict[str, Any]:
    """Return what there is of a program, and whether it can be had."""
    wanted = params[name]
    found = find(name, wanted, places)
    url = wanted["url"].replace("{arch}", architecture)
    is_asked = found["kind"] in ("none", "outdated") and url and not url.startswith("file:") and architecture
    site = ask(url, params["timeout"]) if is_asked else {"state": "ok", "reason": "", "hint": ""}
    return {**found, "kept": places.kept(name), "url": url, "site": site}


def examine(params: dict[str, Any]) -> dict[str, Any]:
    """Return all that the role decides by."""
    user = params["user"] or os.environ.get("SUDO_USER") or getpass.getuser()
    places = Places(Path(params["bin_directory"]), user)
    architecture = ARCHITECTURES.get(platform.machine(), "")
    with ThreadPoolExecutor() as pool:
        programs = pool.map(lambda name: examine_program(name, params, places, architecture), VERSION_COMMANDS)
    return {
        "programs": dict(zip(VERSION_COMMANDS, programs, strict=True)),
        "bin_directory": str(places.bin),
        "lib_directory": str(places.lib),
        "missing_directories": places.missing(),
        "missing_programs": [name for name in params["programs"] if not places.first(name)],
        "package_managers": [name for name in PACKAGE_MANAGERS if shutil.which(name)],
        "dpkg_interrupted": bool(journal(Path("/"))),
        "machine": platform.machine(),
        "architecture": architecture,
    }


def main() -> None:
    """Run the module."""
    wanted = {
        "version": {"type": "str", "required": True},
        "oldest": {"type": "str", "default": ""},
        "url": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "bin_directory": {"type": "path", "required": True},
            "minikube": {"type": "dict", "required": True, "options": wanted},
            "kubectl": {"type": "dict", "required": True, "options": wanted},
            "programs": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **examine(module.params))
    except (OSError, KeyError) as error:
        hint = "Check minikube_user and minikube_bin_directory."
        module.fail_json(msg=f"It could not be told what there is of Minikube and kubectl: {error!r}", hint=hint)


if __name__ == "__main__":
    main()
