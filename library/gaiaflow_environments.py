#!/usr/bin/python
"""Ansible module: the services' Python environments, each from its hashed lock file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_environments
short_description: Make Python environments from hashed lock files
description:
  - Each environment stands in a directory named after a digest of all that went into it, so that one that exists is
    right, a change makes a new one beside it, and instances with the same needs share one.
  - All that are missing are made at once, in parallel.
options:
  root:
    description: Directory of the environments.
    type: path
    required: true
  locks:
    description: Directory of the lock files, NAME.txt each.
    type: path
    required: true
  names:
    description: The environments that are needed.
    type: list
    elements: str
    required: true
  uv:
    description: The uv program.
    type: path
    required: true
  cache:
    description: uv's cache directory, unless UV_CACHE_DIR is set.
    type: path
    required: true
  project:
    description: Directory of a project whose dependencies are installed too, into those of C(with_project).
    type: str
    default: ""
  with_project:
    description: The environments that run the project's code.
    type: list
    elements: str
    default: []
"""

RETURN = r"""
environments:
  description: The directory of each environment by name.
  returned: always
  type: dict
site_packages:
  description: The directory of each environment's packages by name.
  returned: always
  type: dict
"""

import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gaiaflow import locked, read_json, report_progress

COMPLETE = ".complete"
PIP_CONFIGURATIONS = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")


class Failed(Exception):
    """uv could not do it; carries what uv said."""


@dataclass(frozen=True)
class Environment:
    """One environment: what goes into it and where it stands."""

    name: str
    lock: Path
    dependencies: tuple[str, ...]
    directory: Path

    @property
    def site_packages(self) -> str:
        """Where its packages are."""
        return f"{self.directory}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"

    @property
    def complete(self) -> bool:
        """Whether it was made to the end."""
        return (self.directory / COMPLETE).exists()


def project_dependencies(project: str) -> tuple[str, ...]:
    """The dependencies that the project's pyproject.toml declares."""
    path = Path(project) / "pyproject.toml"
    if not project or not path.exists():
        return ()
    try:
        content = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise Failed(f"{path} is not valid TOML: {error}") from error
    return tuple(content.get("project", {}).get("dependencies", []))


def describe(module: AnsibleModule, name: str, dependencies: tuple[str, ...]) -> Environment:
    """The environment of that name, in the directory that its content decides."""
    lock = Path(module.params["locks"]) / f"{name}.txt"
    wanted = dependencies if name in module.params["with_project"] else ()
    content = "\n".join([sys.version, lock.read_text(), *wanted])
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return Environment(name, lock, wanted, Path(module.params["root"]) / f"{name}-{digest}")


def pip_setting(name: str) -> str | None:
    """A setting of the system's pip, which uv does not read."""
    if value := os.environ.get(f"PIP_{name.upper()}"):
        return value
    parser = configparser.RawConfigParser()
    parser.read([os.environ.get("PIP_CONFIG_FILE", ""), *(str(Path(path).expanduser()) for path in PIP_CONFIGURATIONS)])
    return parser.get("global", name.replace("_", "-"), fallback=None)


def uv_environment(cache: str) -> dict[str, str]:
    """What uv is told: the user's own settings, and otherwise the mirror and certificates that pip is given."""
    settings = {"UV_CACHE_DIR": cache, "UV_NO_PROGRESS": "1", "UV_LINK_MODE": "hardlink", "UV_HTTP_TIMEOUT": "120"}
    index, certificates = pip_setting("index_url"), pip_setting("cert")
    if index:
        settings["UV_DEFAULT_INDEX"] = index
    if certificates:
        settings["SSL_CERT_FILE"] = certificates
    return {**settings, **os.environ}


def run_uv(arguments: list[str], environment: dict[str, str]) -> None:
    """Runs uv; its complaint becomes ours."""
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Failed(done.stderr.strip() or f"uv ended with code {done.returncode}")


def make(environment: Environment, uv: str, settings: dict[str, str]) -> None:
    """Makes the environment; the mark comes last, so that one left half-made by an interrupted run is made anew."""
    shutil.rmtree(environment.directory, ignore_errors=True)
    python = str(environment.directory / "bin" / "python")
    run_uv([uv, "venv", "--quiet", "--python", sys.executable, str(environment.directory)], settings)
    install = [uv, "pip", "install", "--quiet", "--python", python, "--compile-bytecode"]
    run_uv([*install, "--require-hashes", "--requirements", str(environment.lock)], settings)
    if environment.dependencies:
        add_project_dependencies(environment, install, settings)
    (environment.directory / COMPLETE).touch()


def add_project_dependencies(environment: Environment, install: list[str], settings: dict[str, str]) -> None:
    """Installs what the project needs beside the service's own packages, which stay as locked."""
    try:
        run_uv([*install, "--constraints", str(environment.lock), "--", *environment.dependencies], settings)
    except Failed as error:
        raise Failed(
            f"The project's dependencies do not fit beside {environment.name}'s, or cannot be had:\n{error}"
        ) from error


def make_all(missing: list[Environment], uv: str, settings: dict[str, str]) -> None:
    """Makes the environments in parallel."""
    done: list[str] = []
    report_progress(f"environments 0/{len(missing)}: {', '.join(one.name for one in missing)}")

    def make_one(environment: Environment) -> None:
        make(environment, uv, settings)
        done.append(environment.name)
        report_progress(f"environments {len(done)}/{len(missing)}: {environment.name} is ready")

    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(make_one, environment) for environment in missing]:
            future.result()


def remove_unused(root: Path, environments: list[Environment]) -> None:
    """Removes the environments that no instance's definition names any more."""
    used = {environment.directory.name for environment in environments}
    for definition in (root.parent / "instances").glob("*/config/services.json"):
        used.update(Path(path).name for path in read_json(definition).get("environments", {}).values())
    for directory in root.iterdir():
        if directory.is_dir() and directory.name not in used:
            shutil.rmtree(directory)


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "locks": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "uv": {"type": "path", "required": True},
            "cache": {"type": "path", "required": True},
            "project": {"type": "str", "default": ""},
            "with_project": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    root = Path(module.params["root"])
    try:
        dependencies = project_dependencies(module.params["project"])
        environments = [describe(module, name, dependencies) for name in module.params["names"]]
        changed = not all(environment.complete for environment in environments)
        if changed and not module.check_mode:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(root / ".lock"):
                missing = [environment for environment in environments if not environment.complete]
                make_all(missing, module.params["uv"], uv_environment(module.params["cache"]))
                remove_unused(root, environments)
    except (Failed, OSError) as error:
        module.fail_json(
            msg=str(error),
            hint="A package that cannot be downloaded needs the network or a mirror (pip's and uv's settings are used)."
            " A conflict needs another version in the project's pyproject.toml. Nothing that ran was changed.",
        )
    module.exit_json(
        changed=changed,
        environments={environment.name: str(environment.directory) for environment in environments},
        site_packages={environment.name: environment.site_packages for environment in environments},
    )


if __name__ == "__main__":
    main()
