#!/usr/bin/python
"""Ansible module: what a host has of Docker, and what it lacks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_docker
short_description: Examine a host's Docker engine
description:
  - Changes nothing. Tells in one task what the role has to do, so that a host where nothing is missing costs one task.
  - An engine that is there already is used, whatever it came with, or refused with a reason; it is never replaced.
options:
  user:
    description: The user who shall run containers; by default who logged in, also when the module runs by sudo.
    type: str
    default: ""
  source:
    description: Where an engine that is missing comes from; C(auto) is Docker's repository if it can be reached.
    type: str
    choices: [auto, docker, distribution]
    required: true
  repository:
    description: Docker's package repositories, one directory for each distribution.
    type: str
    required: true
  fingerprints:
    description: The fingerprint that the repository's key must have, for C(deb) and for C(rpm).
    type: dict
    required: true
  docker_packages:
    description: What Docker's repository is asked for.
    type: list
    elements: str
    required: true
  distribution_packages:
    description: What the distribution is asked for, by its id, or its id and version.
    type: dict
    required: true
  minimum_version:
    description: The oldest engine that is used.
    type: str
    required: true
  daemon:
    description: Settings of the user's for daemon.json; they replace what is there.
    type: dict
    default: {}
  daemon_defaults:
    description: Settings that are added when the file has none of them.
    type: dict
    default: {}
  privileged:
    description: Whether the role may become root; without, all that needs it is left for later.
    type: bool
    default: true
  timeout:
    description: Seconds that Docker's repository has to answer.
    type: int
    default: 10
  root:
    description: Where the host's files are.
    type: path
    default: /
"""

RETURN = r"""
engine:
  description: The engine that is there; C(kind) is C(none) where there is none. C(running) is whether it answers.
  returned: always
  type: dict
init:
  description: What starts services; C(systemd), C(sysv) or C(none).
  returned: always
  type: str
enabled:
  description: Whether systemd starts the engine with the machine; true where there is no systemd.
  returned: always
  type: bool
install:
  description: >-
    Where an engine that is missing is installed from (C(source), C(packages), C(repository), C(key)), and whether dpkg
    was interrupted before (C(interrupted)).
  returned: always
  type: dict
settings:
  description: The engine's settings that are to be written, each with C(path) and C(content).
  returned: always
  type: list
  elements: dict
user:
  description: The user who shall run containers.
  returned: always
  type: str
restart:
  description: Whether the engine that runs has yet to read settings that the role has written, or is to write now.
  returned: always
  type: bool
member:
  description: Whether the user may use the engine.
  returned: always
  type: bool
containers:
  description: How many containers run.
  returned: always
  type: int
deferred:
  description: What is left for later, each with C(component), C(reason) and C(finish).
  returned: always
  type: list
  elements: dict
"""

import base64
import binascii
import getpass
import grp
import hashlib
import http.client
import json
import os
import platform
import pwd
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gaiaflow_dpkg import journal, unfinished
from ansible.module_utils.gaiaflow_engine import Engine

SOCKET = "run/docker.sock"
DESKTOP = "mnt/wsl/docker-desktop"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# The families of distributions that Docker has a repository for, by what os-release says they are like.
DEB_FAMILIES = ("ubuntu", "debian")
RPM_FAMILIES = ("fedora", "rhel", "centos")
NOTHING_TO_DO: dict[str, Any] = {
    "enabled": True,
    "settings": [],
    "restart": False,
    "member": True,
    "install": {},
    "deferred": [],
}
# Written before the engine's settings are; newer than the engine's own file when that has yet to be restarted.
WRITTEN, STARTED = "run/gaiaflow-setup.docker", "run/docker.pid"
# A host that is a container itself can't switch IPv6 off for its containers, and an engine from 26 on then starts none.
DROP_IN = "[Service]\nEnvironment=DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE=1\n"
PLUGINS = ("docker-compose", "docker-buildx")
PLUGIN_DIRECTORIES = ("usr/libexec", "usr/lib", "usr/local/lib", "usr/local/libexec")


class Refused(Exception):
    """The host's engine, or its settings, cannot be used as they are."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Unreachable(Exception):
    """Docker's repository does not answer, or has nothing for this distribution."""


# ---- The engine


def find_engine(root: Path, user: str) -> dict[str, Any]:
    """The engine that is there, running or not."""
    for path, rootless in ((str(root / SOCKET), False), (rootless_socket(root, user), True)):
        try:
            version = Engine(path).get("/version")
        except PermissionError:
            return {"kind": "engine", "version": "", "socket": path, "running": True, "denied": True}
        except OSError:
            continue
        kind = kind_of(root, version, rootless)
        return {"kind": kind, "version": version["Version"], "socket": path, "running": True}
    if (root / "snap/docker").exists():
        return {"kind": "snap", "version": "", "socket": str(root / SOCKET), "running": False}
    program = shutil.which("dockerd", path=search_path(root))
    kind = "engine" if program else "none"
    return {"kind": kind, "version": program_version(program), "socket": str(root / SOCKET), "running": False}


def rootless_socket(root: Path, user: str) -> str:
    """Where a rootless engine of the user's listens."""
    return str(root / "run/user" / str(pwd.getpwnam(user).pw_uid) / "docker.sock")


def kind_of(root: Path, version: dict[str, Any], rootless: bool) -> str:
    """What kind of engine answers."""
    name = version.get("Platform", {}).get("Name", "")
    components = " ".join(one.get("Name", "") for one in version.get("Components", []))
    if "Podman" in components:
        return "podman"
    if "Desktop" in name or (root / DESKTOP).exists():
        return "desktop"
    if (root / "snap/docker").exists():
        return "snap"
    return "rootless" if rootless else "engine"


def search_path(root: Path) -> str:
    """Where programs are, for root and everybody else."""
    return os.pathsep.join(str(root / one) for one in ("usr/sbin", "usr/bin", "sbin", "bin", "usr/local/bin"))


def program_version(program: str | None) -> str:
    """The version of a dockerd that does not run."""
    if not program:
        return ""
    said = subprocess.run([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = re.search(r"\d+\.\d+\.\d+", said.stdout)
    return found[0] if found else ""


def refuse_unusable(engine: dict[str, Any], minimum: str) -> None:
    """Refuses an engine that the stack would fail on later."""
    if engine["kind"] == "podman":
        raise Refused(
            "Podman answers at Docker's socket; Minikube's docker driver and the images need a Docker engine.",
            "Stop podman.socket (systemctl disable --now podman.socket), or leave Docker out: --without docker.",
        )
    if engine["kind"] == "snap" and not engine["running"]:
        raise Refused("Docker is installed as a snap and does not run.", "Start it: sudo snap start docker.")
    version = engine["version"]
    if version and numbers(version) < numbers(minimum):
        raise Refused(
            f"The Docker engine is version {version}; {minimum} is the oldest that is used.",
            "Upgrade it with the package manager that it came with, and run this again. It was not touched.",
        )


def numbers(version: str) -> tuple[int, ...]:
    """A version that can be compared."""
    return tuple(int(one) for one in re.findall(r"\d+", version)[:3])


# ---- The host


def os_release(root: Path) -> dict[str, str]:
    """What the distribution says about itself."""
    text = (root / "etc/os-release").read_text()
    return {key: value.strip("\"'") for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)}


def init_system(root: Path) -> str:
    """What starts services here."""
    if (root / "run/systemd/system").exists():
        return "systemd"
    has_script = (root / "etc/init.d/docker").exists() or (root / "usr/sbin/update-rc.d").exists()
    return "sysv" if has_script else "none"


def is_enabled(root: Path, init: str) -> bool:
    """Whether systemd starts the engine with the machine."""
    return init != "systemd" or any((root / "etc/systemd/system").glob("*.wants/docker.s*"))


def is_member(user: str) -> bool:
    """Whether the user may use the engine's socket, at the next login at the latest."""
    account = pwd.getpwnam(user)
    if account.pw_uid == 0:
        return True
    try:
        group = grp.getgrnam("docker")
    except KeyError:
        return False
    return user in group.gr_mem or account.pw_gid == group.gr_gid


def has_plugin(root: Path, name: str) -> bool:
    """Whether Docker's command line has the plugin."""
    return any((root / one / "docker/cli-plugins" / name).exists() for one in PLUGIN_DIRECTORIES)


# ---- Where it can be installed from


class Distribution:
    """What the distribution is, and what of it matters to Docker's repository."""

    def __init__(self, release: dict[str, str]) -> None:
        self.id = release.get("ID", "linux")
        self.version = release.get("VERSION_ID", "")
        self.name = release.get("PRETTY_NAME", self.id)
        like = [self.id, *release.get("ID_LIKE", "").split()]
        self.deb_family = next((one for one in DEB_FAMILIES if one in like), None)
        self.rpm_family = None if self.deb_family else next((one for one in RPM_FAMILIES if one in like), None)
        ubuntu = release.get("UBUNTU_CODENAME", "")
        codename = release.get("DEBIAN_CODENAME") or release.get("VERSION_CODENAME", "")
        self.codename = ubuntu if self.deb_family == "ubuntu" and ubuntu else codename

    def packages(self, table: dict[str, list[str]]) -> list[str]:
        """What the distribution's own packages are called; those of the nearest relative that is known."""
        major = self.version.split(".")[0]
        for key in (f"{self.id}-{self.version}", f"{self.id}-{major}", self.id, self.deb_family, self.rpm_family):
            if key in table:
                return table[key]
        return []


def fetch(url: str, timeout: int) -> bytes:
    """What is there; Unreachable when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise Unreachable(f"{url} answers {error.code}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{url} cannot be reached ({getattr(error, 'reason', error)})") from error


def key_fingerprint(armoured: bytes) -> str:
    """The fingerprint of the first key (RFC 9580, section 5.5.4.2: version 4)."""
    lines = armoured.decode("ascii", "replace").split("-----BEGIN PGP PUBLIC KEY BLOCK-----")[-1].split("-----END")[0]
    body = "".join(line for line in lines.split("\n\n", 1)[-1].splitlines() if not line.startswith("="))
    try:
        packets = base64.b64decode(body)
        length_of_length = 1 << (packets[0] & 3) if not packets[0] & 0x40 else 1
        length = int.from_bytes(packets[1 : 1 + length_of_length], "big")
        start = 1 + length_of_length
        if packets[0] & 0x40 and length >= 192:
            length, start = ((length - 192) << 8) + packets[2] + 192, 3
    except (binascii.Error, IndexError) as error:
        raise Refused("What Docker's repository serves as its key is no OpenPGP key.", KEY_HINT) from error
    key = packets[start : start + length]
    return hashlib.sha1(b"\x99" + len(key).to_bytes(2, "big") + key).hexdigest().upper()


KEY_HINT = (
    "Nothing was installed. If you use a mirror, check docker_repository; if Docker has changed its key, its new"
    " fingerprint belongs into docker_fingerprints. -e docker_source=distribution installs the distribution's packages."
)


def repository_file(params: dict[str, Any], distribution: Distribution) -> dict[str, str]:
    """The repository's file and key for this distribution; Unreachable or Refused when it cannot be used."""
    base, timeout = params["repository"].rstrip("/"), params["timeout"]
    if distribution.deb_family:
        base = f"{base}/{distribution.deb_family}"
        fetch(f"{base}/dists/{distribution.codename}/Release", timeout)
        path, key_path = "/etc/apt/sources.list.d/docker.sources", "/etc/apt/keyrings/docker.asc"
        architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
        lines = ["Types: deb", f"URIs: {base}", f"Suites: {distribution.codename}", "Components: stable"]
        lines += [f"Architectures: {architecture}", f"Signed-By: {key_path}"]
    elif distribution.rpm_family:
        base = f"{base}/{'fedora' if distribution.rpm_family == 'fedora' else distribution.id}"
        path, key_path = "/etc/yum.repos.d/docker-ce.repo", "/etc/pki/rpm-gpg/docker.asc"
        lines = ["[docker-ce-stable]", "name=Docker CE Stable", f"baseurl={base}/$releasever/$basearch/stable"]
        lines += ["enabled=1", "gpgcheck=1", f"gpgkey=file://{key_path}"]
    else:
        raise Unreachable(f"Docker has no packages for {distribution.name}")
    key = fetch(f"{base}/gpg", timeout)
    wanted = params["fingerprints"]["deb" if distribution.deb_family else "rpm"].replace(" ", "").upper()
    found = key_fingerprint(key)
    if found != wanted:
        raise Refused(f"The key of {base} has the fingerprint {found}, and not {wanted}.", KEY_HINT)
    return {"path": path, "content": "\n".join(lines) + "\n", "key_path": key_path, "key": key.decode()}


def from_docker(params: dict[str, Any], distribution: Distribution, packages: list[str]) -> dict[str, Any]:
    """An installation from Docker's repository; Unreachable when it cannot be used."""
    return {"source": "docker", "packages": packages, "repository": repository_file(params, distribution), "reason": ""}


def engine_to_install(params: dict[str, Any], distribution: Distribution) -> dict[str, Any]:
    """Where a whole engine is installed from."""
    reason = ""
    if params["source"] != "distribution":
        try:
            return from_docker(params, distribution, params["docker_packages"])
        except Unreachable as error:
            reason = str(error)
    packages = distribution.packages(params["distribution_packages"])
    if params["source"] == "docker" or not packages:
        raise Refused(
            f"Docker's engine cannot be installed: {reason or f'{distribution.name} has no packages of it'}.",
            "Check the network, a proxy or docker_repository; or leave Docker out: --without docker.",
        )
    return {"source": "distribution", "packages": packages, "repository": None, "reason": reason}


def plugins_to_install(params: dict[str, Any], distribution: Distribution, missing: list[str]) -> dict[str, Any]:
    """Plugins that the engine came without; only Docker's repository has them, and only if it is asked for."""
    if params["source"] != "docker" or not missing:
        return {}
    try:
        return from_docker(params, distribution, [f"{name}-plugin" for name in missing])
    except Unreachable as error:
        raise Refused(f"Docker's plugins cannot be installed: {error}.", "Check the network, or a proxy.") from error


def rest_to_install(params: dict[str, Any], distribution: Distribution, root: Path) -> dict[str, Any]:
    """What an interrupted installation has left to do; nothing where there was none."""
    left = unfinished(root)
    for packages in (params["docker_packages"], distribution.packages(params["distribution_packages"])):
        if left & set(packages):
            return {"source": "interrupted", "packages": packages, "repository": None, "reason": ""}
    return {}


def deferred_plugins(missing: list[str], install: dict[str, Any]) -> list[dict[str, str]]:
    """What the user is told of plugins that stay missing."""
    coming = " ".join(install.get("packages", []))
    left = [name.replace("-", " ") for name in missing if name not in coming]
    if not left:
        return []
    reason = install.get("reason") or "Docker's own repository was not used"
    return [
        {
            "component": " and ".join(left),
            "reason": f"the distribution has no package for it, and {reason}",
            "finish": "gaiaflow-setup workstation -e docker_source=docker",
        }
    ]


def deferred_for_root(engine: dict[str, Any]) -> list[dict[str, str]]:
    """What the user is told of an engine that cannot be used, where nobody may become root."""
    if engine["running"] and not engine.get("denied"):
        return []
    what = "may not be used by this user" if engine.get("denied") else "does not run"
    reason = "there is none" if engine["kind"] == "none" else f"the one that is there {what}"
    return [
        {
            "component": "Docker engine",
            "reason": f"{reason}, and that takes root (no sudo without a password here)",
            "finish": "gaiaflow-setup workstation -K",
        }
    ]


def deferred_restart(restart: bool, containers: int) -> list[dict[str, str]]:
    """What the user is told when the engine cannot be restarted now."""
    if not restart or not containers:
        return []
    return [
        {
            "component": "new settings of the Docker engine",
            "reason": f"{containers} containers are running, which a restart would end",
            "finish": "sudo service docker restart",
        }
    ]


# ---- daemon.json


def read_daemon(path: Path) -> dict[str, Any]:
    """The engine's settings; Refused with line and column when they are broken."""
    try:
        text = path.read_text()
        content = json.loads(text) if text.strip() else {}
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise Refused(
            f"{path} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}.",
            "Mend the file and run this again. It was not touched.",
        ) from error
    if not isinstance(content, dict):
        raise Refused(f"{path} holds no JSON object.", "Mend the file and run this again. It was not touched.")
    return content


def merged(old: Any, new: Any) -> Any:
    """Both; where they differ, the new value."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
    return new


def wanted_daemon(before: dict[str, Any], settings: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """What daemon.json shall hold."""
    base = before if set(before) & set(defaults) else {**before, **defaults}
    wanted: dict[str, Any] = merged(base, settings)
    return wanted


def files_to_write(params: dict[str, Any], root: Path, init: str) -> list[dict[str, str]]:
    """The engine's settings that are not yet as they shall be, as files."""
    daemon, files = root / "etc/docker/daemon.json", []
    before = read_daemon(daemon)
    wanted = wanted_daemon(before, params["daemon"], params["daemon_defaults"])
    if wanted != before:
        files.append({"path": str(daemon), "content": json.dumps(wanted, indent=2) + "\n"})
    drop_in = root / "etc/systemd/system/docker.service.d/gaiaflow-setup.conf"
    if init == "systemd" and not os.access(root / "proc/sys/net", os.W_OK) and not drop_in.exists():
        files.append({"path": str(drop_in), "content": DROP_IN})
    mark = {"path": str(root / WRITTEN), "content": f"{time.time()}\n"}
    return [mark, *files] if files else []


def is_outdated(root: Path) -> bool:
    """Whether the engine runs with older settings than the role has written."""
    try:
        return (root / WRITTEN).stat().st_mtime > (root / STARTED).stat().st_mtime
    except FileNotFoundError:
        return False


def examine(params: dict[str, Any]) -> dict[str, Any]:
    """All that the role decides by."""
    root, user = Path(params["root"]), params["user"] or os.environ.get("SUDO_USER") or getpass.getuser()
    engine = find_engine(root, user)
    refuse_unusable(engine, params["minimum_version"])
    found = {"user": user, "engine": engine, "init": init_system(root), "containers": running_containers(engine)}
    if engine["kind"] not in ("none", "engine"):
        return {**found, **NOTHING_TO_DO}  # somebody else's installer looks after it
    if not params["privileged"]:
        return {**found, **NOTHING_TO_DO, "deferred": deferred_for_root(engine)}
    return {**found, **work(params, root, found)}


def work(params: dict[str, Any], root: Path, found: dict[str, Any]) -> dict[str, Any]:
    """What there is to do about an engine that the role looks after."""
    distribution = Distribution(os_release(root))
    missing = [name for name in PLUGINS if not has_plugin(root, name)]
    settings = files_to_write(params, root, found["init"])
    install = rest_to_install(params, distribution, root)
    if not install and found["engine"]["kind"] == "none":
        install = engine_to_install(params, distribution)
    elif not install:
        install = plugins_to_install(params, distribution, missing)
    if install:
        install["interrupted"] = bool(journal(root) or install["source"] == "interrupted")
    restart = found["engine"]["running"] and (bool(settings) or is_outdated(root))
    return {
        "enabled": is_enabled(root, found["init"]),
        "settings": settings,
        "restart": restart,
        "member": is_member(found["user"]),
        "install": install,
        "deferred": deferred_plugins(missing, install) + deferred_restart(restart, found["containers"]),
    }


def running_containers(engine: dict[str, Any]) -> int:
    """How many containers a restart of the engine would end."""
    may_ask = engine["running"] and not engine.get("denied")
    return len(Engine(engine["socket"]).get("/containers/json")) if may_ask else 0


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": ""},
            "source": {"type": "str", "choices": ["auto", "docker", "distribution"], "required": True},
            "repository": {"type": "str", "required": True},
            "fingerprints": {"type": "dict", "required": True},
            "docker_packages": {"type": "list", "elements": "str", "required": True},
            "distribution_packages": {"type": "dict", "required": True},
            "minimum_version": {"type": "str", "required": True},
            "daemon": {"type": "dict", "default": {}},
            "daemon_defaults": {"type": "dict", "default": {}},
            "privileged": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 10},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **examine(module.params))
    except Refused as error:
        module.fail_json(msg=str(error), hint=error.hint)
    except (OSError, KeyError) as error:
        module.fail_json(msg=f"Docker's state could not be told: {error!r}")


if __name__ == "__main__":
    main()
