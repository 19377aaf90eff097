#!/usr/bin/python
"""Ansible module: Minikube and kubectl at their pinned versions, and which of their packages are missing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_minikube
short_description: Have Minikube and kubectl
description:
  - Examines what is there, and downloads what is missing or of another version than the pinned one. A file takes its
    place only when its checksum and version are right; a download that fails leaves everything as it was.
  - A site that can't be reached is no error, the program is deferred; a file that is wrong always is one.
  - Programs are kept beside I(bin_directory), in C(../lib/gaiaflow-setup), and linked into it. By that link the module
    knows what it installed itself; programs of anybody else's are used or told about, and never replaced.
options:
  state:
    description: C(absent) removes what the module installed.
    type: str
    choices: [present, absent]
    default: present
  bin_directory:
    description: Where the programs are linked.
    type: path
    required: true
  minikube:
    description: >-
      The version that is wanted (C(version)), its address (C(url), where C({arch}) stands for the architecture), and
      its checksums by architecture (C(sha256)).
    type: dict
    required: true
  kubectl:
    description: The same for kubectl. One that is there is used if it is at most one minor version older, or newer.
    type: dict
    required: true
  programs:
    description: What else Minikube needs; the packages of those that are missing are returned.
    type: list
    elements: str
    default: []
  user:
    description: Whose programs count, besides the host's; by default who logged in, also when the module runs by sudo.
    type: str
    default: ""
  may_install:
    description: Whether packages can be installed; if not, missing ones are deferred.
    type: bool
    default: true
  timeout:
    description: Seconds that a site may be silent for.
    type: int
    default: 30
  strict:
    description: Whether something deferred is an error.
    type: bool
    default: false
"""

RETURN = r"""
packages:
  description: The packages that are missing and can be installed.
  returned: always
  type: list
  elements: str
interrupted:
  description: Whether packages are missing, and dpkg was interrupted before.
  returned: always
  type: bool
programs:
  description: Path and version of minikube and kubectl, where they are there.
  returned: always
  type: dict
deferred:
  description: What is left for later, each with C(component), C(reason) and C(finish).
  returned: always
  type: list
  elements: dict
"""

import getpass
import json
import os
import platform
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gaiaflow import end_with_run, locked, report_progress
from ansible.module_utils.gaiaflow_download import DownloadError, UnreachableError, download, opened
from ansible.module_utils.gaiaflow_dpkg import journal

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
VERSION_COMMANDS = {"minikube": ["version", "--short"], "kubectl": ["version", "--client", "--output=json"]}
SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin")
INSTALLERS = {
    "apt-get": "apt-get install",
    "dnf": "dnf install",
    "zypper": "zypper install",
    "pacman": "pacman -S",
    "apk": "apk add",
}
AGAIN = "gaiaflow-setup workstation"
WRITABLE = "Set minikube_bin_directory to a directory that can be written."


# ---- What is there


@dataclass(frozen=True)
class Pin:
    """A program as it is wanted."""

    name: str
    version: str
    url: str
    sha256: dict[str, str]

    def accepts(self, version: str) -> bool:
        """Whether a program of this version, installed by anybody, does."""
        if self.name == "minikube" or not version:
            return version == self.version
        (major, minor), (wanted_major, wanted_minor) = (numbers(one)[:2] for one in (version, self.version))
        return (major, minor) >= (wanted_major, wanted_minor - 1)


@dataclass
class Finding:
    """What there is of a program."""

    pin: Pin
    path: str = ""
    version: str = ""
    wanted: bool = False
    error: Exception | None = None
    deferred: list[dict[str, str]] = field(default_factory=list)


class Places:
    """Where programs are, ours and others'."""

    def __init__(self, bin_directory: Path, user: str) -> None:
        self.bin = Path(os.path.normpath(bin_directory.absolute()))
        self.lib = self.bin.parent / "lib" / "gaiaflow-setup"
        home = Path(pwd.getpwnam(user).pw_dir)
        own = [str(home / one) for one in (".local/bin", "bin")]
        listed = [*own, *os.environ.get("PATH", "").split(os.pathsep), *SYSTEM_DIRECTORIES, str(self.bin)]
        # The user's own directories come first on most hosts; sudo's PATH, which this may be, does not name them.
        self.search = list(dict.fromkeys(os.path.normpath(one) for one in listed if one))

    def link(self, name: str) -> Path:
        """Where a program of ours is linked."""
        return self.bin / name

    def is_ours(self, name: str) -> bool:
        """Whether the program in our place was put there by this module."""
        link = self.link(name)
        return link.is_symlink() and link.readlink().parent == self.lib

    def first(self, name: str) -> Path | None:
        """The program that a command line finds."""
        found = shutil.which(name, path=os.pathsep.join(self.search))
        return Path(found) if found else None


def numbers(version: str) -> tuple[int, ...]:
    """A version that can be compared; at least two numbers."""
    found = [int(one) for one in re.findall(r"\d+", version)[:3]]
    return tuple(found + [0] * (2 - len(found)))


def version_of(name: str, path: Path) -> str:
    """The version that a program says it is; empty when it does not run, or says none."""
    try:
        said = subprocess.run(
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
            said = json.loads(said)["clientVersion"]["gitVersion"]
        except (ValueError, KeyError, TypeError):
            return ""
    found = re.search(r"\d+\.\d+\.\d+\S*", said)
    return found[0] if found else ""


def find(pin: Pin, places: Places) -> Finding:
    """What there is of a program, and whether ours is to be installed."""
    link, first = places.link(pin.name), places.first(pin.name)
    if places.is_ours(pin.name):
        version = version_of(pin.name, link)
        return Finding(pin, str(link), version, wanted=version != pin.version, deferred=hidden(pin, places))
    for path in (link, first):
        if path and os.path.lexists(path) and pin.accepts(version := version_of(pin.name, path)):
            return Finding(pin, str(path), version)
    if os.path.lexists(link):
        return Finding(pin, str(link), version_of(pin.name, link), deferred=[foreign(pin, link, "is in the way")])
    return Finding(pin, wanted=True, deferred=hidden(pin, places))


def hidden(pin: Pin, places: Places) -> list[dict[str, str]]:
    """What the user is told when a command line finds another program than ours."""
    first, link = places.first(pin.name), places.link(pin.name)
    if not first or first == link or places.search.index(str(first.parent)) > places.search.index(str(places.bin)):
        return []
    if first.resolve().parent == places.lib or pin.accepts(version_of(pin.name, first)):
        return []
    return [foreign(pin, first, f"comes before {link} on the path")]


def foreign(pin: Pin, path: Path, trouble: str) -> dict[str, str]:
    """What the user is told of a program that somebody else installed."""
    version = version_of(pin.name, path)
    what = f"{path} is {pin.name} {version}" if version else f"{path} doesn't run"
    return {
        "component": f"{pin.name} {pin.version}",
        "reason": f"{what}, wasn't installed by gaiaflow-setup, and {trouble}",
        "finish": f"sudo rm {path} && {AGAIN}",
    }


# ---- Packages


def package_of(program: str) -> str:
    """The package that a program comes in; Debian's family has names of its own."""
    return "conntrack-tools" if program == "conntrack" and not shutil.which("dpkg") else program


def missing_packages(programs: list[str], places: Places) -> list[str]:
    """The packages of the programs that aren't there."""
    return [package_of(one) for one in programs if not places.first(one)]


def deferred_packages(packages: list[str]) -> list[dict[str, str]]:
    """What the user is told of packages that only root can install."""
    if not packages:
        return []
    installer = next((line for program, line in INSTALLERS.items() if shutil.which(program)), "apt-get install")
    return [
        {
            "component": " and ".join(packages),
            "reason": "only root can install packages, and root wasn't to be used",
            "finish": f"sudo {installer} {' '.join(packages)}",
        }
    ]


# ---- Downloads


def url_of(pin: Pin) -> str:
    """The address for this host."""
    return pin.url.replace("{arch}", architecture())


def architecture() -> str:
    """This host's, as Kubernetes calls it."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise DownloadError(f"The processor is {machine}; allowed are {', '.join(sorted(ARCHITECTURES))}")
    return ARCHITECTURES[machine]


def fetch(pin: Pin, new: Path, timeout: int) -> None:
    """Puts the program there, if its checksum is right; UnreachableError or DownloadError."""
    report_progress(f"downloading {pin.name} {pin.version}")
    download(url_of(pin), pin.sha256.get(architecture(), ""), new, timeout)
    new.chmod(0o755)


# ---- Installing


def take_into_use(finding: Finding, new: Path, places: Places) -> None:
    """Gives a downloaded program its place, if it is what it should be."""
    pin = finding.pin
    version = version_of(pin.name, new)
    if version != pin.version:
        said = f"says that it is {version}" if version else "doesn't run on this host"
        raise DownloadError(f"What {url_of(pin)} serves {said}; {pin.name} {pin.version} was expected")
    target, link = places.lib / f"{pin.name}-{pin.version}", places.link(pin.name)
    new.replace(target)
    aside = link.with_name(f".{link.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)
    for old in places.lib.glob(f"{pin.name}-*"):
        if old != target:
            old.unlink()
    finding.path, finding.version = str(link), version


def install(findings: list[Finding], places: Places, timeout: int) -> None:
    """Downloads all at once, and takes into use what is right."""
    if not findings:
        return
    places.lib.mkdir(parents=True, exist_ok=True)
    places.bin.mkdir(parents=True, exist_ok=True)
    # An interrupted run's files are overwritten: the lock is held, so nobody else writes them.
    with locked(places.lib / ".lock"):
        new = {one.pin.name: places.lib / f".{one.pin.name}.new" for one in findings}
        try:
            attempt(findings, lambda one: fetch(one.pin, new[one.pin.name], timeout))
            for one in findings:
                if not one.error:
                    attempt([one], lambda one: take_into_use(one, new[one.pin.name], places))
        finally:
            for path in new.values():
                path.unlink(missing_ok=True)


def attempt(findings: list[Finding], action: Callable[[Finding], None]) -> None:
    """Does something for all at once, and keeps what went wrong in the finding."""

    def one_of_them(one: Finding) -> None:
        try:
            action(one)
        except (DownloadError, UnreachableError) as error:
            one.error = error
        except OSError as error:
            one.error = DownloadError(f"{one.pin.name} can't be written: {error}", WRITABLE)

    with ThreadPoolExecutor() as pool:
        list(pool.map(one_of_them, findings))


def settle(findings: list[Finding]) -> None:
    """Leaves for later what no site gave, and refuses what is wrong."""
    for one in findings:
        if isinstance(one.error, UnreachableError):
            component = f"{one.pin.name} {one.pin.version}"
            one.deferred = [{"component": component, "reason": str(one.error), "finish": AGAIN}]
    refused = {one.pin.name: one.error for one in findings if isinstance(one.error, DownloadError)}
    for name, error in refused.items():
        check = f"{name} was left as it was. Check its version and mirror; a new version needs its own {name}_sha256."
        raise DownloadError(". ".join(map(str, refused.values())), error.hint or check)


# ---- The module


def present(module: AnsibleModule, places: Places, pins: list[Pin]) -> dict[str, Any]:
    """Brings programs to their versions."""
    params = module.params
    findings = [find(pin, places) for pin in pins]
    before = describe(findings)
    wanted = [one for one in findings if one.wanted]
    # Sites are asked before anything is written, and in check mode, too; only a bundle's files aren't there yet then.
    asked = [one for one in wanted if not (module.check_mode and one.pin.url.startswith("file:"))]
    attempt(asked, lambda one: opened(url_of(one.pin), params["timeout"]).close())
    coming = [one for one in wanted if not one.error]
    if module.check_mode:
        for one in coming:
            one.version = one.pin.version
    else:
        install(coming, places, params["timeout"])
    settle(wanted)
    packages = missing_packages(params["programs"], places)
    deferred = [one for finding in findings for one in finding.deferred]
    if not params["may_install"]:
        deferred += deferred_packages(packages)
        packages = []
    return {
        "changed": any(not one.error for one in coming) or bool(module.check_mode and packages),
        "packages": packages,
        "interrupted": bool(packages and journal(Path("/"))),
        "programs": {one.pin.name: {"path": one.path, "version": one.version} for one in findings if one.version},
        "deferred": deferred,
        "diff": {"before": before, "after": describe(findings) + "".join(f"package {one}\n" for one in packages)},
    }


def describe(findings: list[Finding]) -> str:
    """What there is, for a diff."""
    return "".join(f"{one.pin.name} {one.version}\n" for one in findings if one.version)


def absent(module: AnsibleModule, places: Places, pins: list[Pin]) -> dict[str, Any]:
    """Removes what this module installed."""
    links = [places.link(pin.name) for pin in pins if places.is_ours(pin.name)]
    changed = bool(links) or places.lib.exists()
    if changed and not module.check_mode:
        for link in links:
            link.unlink()
        shutil.rmtree(places.lib)
    return {"changed": changed, "packages": [], "interrupted": False, "programs": {}, "deferred": []}


def refuse_deferred(deferred: list[dict[str, str]]) -> None:
    """Makes what is left for later an error."""
    if deferred:
        reasons = "; ".join(f"{one['component']}: {one['reason']}" for one in deferred)
        raise DownloadError(f"{reasons}. With minikube_strict nothing may be left for later", deferred[0]["finish"])


def main() -> None:
    """Runs the module."""
    pin = {
        "version": {"type": "str", "required": True},
        "url": {"type": "str", "required": True},
        "sha256": {"type": "dict", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "bin_directory": {"type": "path", "required": True},
            "minikube": {"type": "dict", "required": True, "options": pin},
            "kubectl": {"type": "dict", "required": True, "options": pin},
            "programs": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "default": ""},
            "may_install": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 30},
            "strict": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    end_with_run()
    params = module.params
    try:
        places = Places(
            Path(params["bin_directory"]), params["user"] or os.environ.get("SUDO_USER") or getpass.getuser()
        )
        pins = [Pin(name, **params[name]) for name in VERSION_COMMANDS]
        result = (present if params["state"] == "present" else absent)(module, places, pins)
        if params["strict"]:
            refuse_deferred(result["deferred"])
    except DownloadError as error:
        module.fail_json(msg=f"{error}.", hint=error.hint)
    except (OSError, KeyError) as error:
        module.fail_json(msg=f"Minikube and kubectl could not be installed: {error}", hint=WRITABLE)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
