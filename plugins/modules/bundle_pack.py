#!/usr/bin/python
"""Ansible module: a bundle for machines without a network, made whole or not at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_pack
short_description: Make a bundle for installations without a network
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Downloads the wheels that lock files and projects need, checked by the hashes in the lock files, and packs them with
    programs and other files into one tar file. The same contents make the same bytes.
  - The file is made beside its place and moved there. What an interrupted run left is removed by the next one.
  - In check mode nothing is downloaded: it tells only whether a bundle of this release for these machines is there.
options:
  path:
    description: The bundle; its directory must be there. Unlike in a path, a C($) in it stands for itself.
    type: str
    required: true
  platform:
    description: The operating system and processor that it is for.
    type: str
    choices: [linux/amd64, linux/arm64]
    required: true
  python:
    description: The version of Python that it is for, such as C(3.12).
    type: str
    required: true
  glibc:
    description: The C library that the wheels may ask for, such as C(2.28).
    type: str
    required: true
  launcher_locks:
    description: Lock files of what the launcher installs; it finds their wheels by a list.
    type: list
    elements: path
    default: []
  locks:
    description: Lock files of the other wheels.
    type: list
    elements: path
    default: []
  projects:
    description: Projects whose dependencies are packed, too.
    type: list
    elements: path
    default: []
  template:
    description: A cookiecutter template, whose project's dependencies are packed, too.
    type: path
  project_locks:
    description: The lock files of the environments that a project's dependencies are installed into.
    type: list
    elements: path
    default: []
  pip:
    description: The pip that downloads, as a requirement with hashes.
    type: str
    required: true
  programs:
    description: Programs that are packed, by name.
    type: dict
    default: {}
  files:
    description: Other files that are packed, by the name that they have in the bundle.
    type: dict
    default: {}
  trees:
    description: Directories that are packed, each as a tar file of its own, by the name that it has in the bundle.
    type: dict
    default: {}
  about:
    description: What else the bundle's manifest says.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Make a bundle of what some lock files need
  gaiaflow.setup.bundle_pack:
    path: /media/usb/gaiaflow.tar
    platform: linux/amd64
    python: "3.12"
    glibc: "2.28"
    locks: [requirements/cli.txt]
    pip: "{{ bundle_pip }}"
"""

RETURN = r"""
bundle:
  description: The bundle.
  returned: always
  type: str
digest:
  description: The digest of its manifest, which names it.
  returned: not in check mode
  type: str
wrong_input:
  description: Whether what was asked for can't be done, and so the failure is the caller's.
  returned: on failure
  type: bool
"""

import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.bundle import FORMAT, MANIFEST, BundleError, digest_of, read
from ..module_utils.common import end_with_run, path_in_home, report_progress
from ..module_utils.environments import EnvironmentFailedError, needs_of
from ..module_utils.errors import SetupError
from ..module_utils.template import render
from ..module_utils.wheels import (
    INTERRUPTS,
    MACHINES,
    NOTHING,
    Pin,
    Programs,
    Target,
    download,
    merged,
    pins,
    resolve,
    uninterrupted,
    wheels_of,
)

PRIVATE = ".making"


@contextmanager
def private_directory(file: Path) -> Iterator[Path]:
    """Make a directory beside the file, and remove it; and those of killed runs, which nobody holds any more."""
    for left in file.parent.glob(f".{glob.escape(file.name)}.*{PRIVATE}"):
        with held(left) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)  # its programs may not have ended yet
    new = tempfile.TemporaryDirectory(prefix=f".{file.name}.", suffix=PRIVATE, dir=file.parent)
    with new as private, held(Path(private)):
        yield Path(private)


@contextmanager
def held(directory: Path) -> Iterator[bool]:
    """Hold a directory as long as this process lives; yield whether nobody else does."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def locked_pins(locks: list[str], target: Target) -> list[Pin]:
    """Return the packages of some lock files that the target needs."""
    return [pin for lock in locks for pin in pins(Path(lock).read_text(), target)]


def project_pins(params: dict[str, Any], target: Target, programs: Programs) -> Iterator[Pin]:
    """Yield what the example project and the user's own need, in each environment that runs a project's code."""
    projects = [Path(project) for project in params["projects"]]
    if params["template"]:
        place = programs.private / "example"
        projects.insert(0, render(Path(params["template"]), {}, place, user_defaults=False))
    for project in projects:
        dependencies = needs_of(str(project)).requirements
        for lock in map(Path, params["project_locks"] if dependencies else ()):
            report_progress(f"resolving the dependencies of {project.name} in {lock.stem}")
            yield from resolve(programs, target, lock, dependencies)


def collect(params: dict[str, Any], target: Target, programs: Programs) -> Path:
    """Bring everything that is packed together, but for what only has to be read; return the directory."""
    contents = programs.private / "contents"
    wheels = contents / "wheels"
    wheels.mkdir(parents=True)
    launcher = locked_pins(params["launcher_locks"], target)
    needed = [*launcher, *locked_pins(params["locks"], target), *project_pins(params, target, programs)]
    if needed:
        download(programs, target, merged(needed), params["pip"], wheels)
    names = "".join(f"wheels/{name}\n" for name in wheels_of(launcher, wheels))
    (contents / "launcher.txt").write_text(names)
    for name, tree in params["trees"].items():
        report_progress(f"packing {tree}")
        pack_tree(path_in_home(tree), contents / name)
    return contents


def pack_tree(tree: Path, file: Path) -> None:
    """Pack a directory's files, without empty ones."""
    file.parent.mkdir(exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for path in sorted(path for path in tree.rglob("*") if path.is_file() and path.stat().st_size):
            add_file(tar, str(path.relative_to(tree)), path)


def members(params: dict[str, Any], contents: Path) -> dict[str, tuple[Path, int]]:
    """Return the files that are packed and their modes, by their names in the bundle."""
    found = {str(path.relative_to(contents)): (path, 0o644) for path in contents.rglob("*") if path.is_file()}
    found |= {f"programs/{name}": (path_in_home(path), 0o755) for name, path in params["programs"].items()}
    found |= {name: (path_in_home(path), 0o644) for name, path in params["files"].items()}
    return dict(sorted(found.items()))


def write(params: dict[str, Any], contents: Path, private: Path) -> tuple[bool, str]:
    """Write the bundle, if it isn't there as it shall be; return whether it has changed, and its digest."""
    report_progress("writing the bundle")
    packed = members(params, contents)
    about = params["about"]
    manifest = {
        "format": FORMAT,
        "gaiaflow_setup": about.pop("gaiaflow_setup", ""),
        "platform": params["platform"],
        "python": params["python"],
        **about,
        "files": {name: describe(path) for name, (path, _mode) in packed.items()},
    }
    text = json.dumps(manifest, indent=1).encode()
    file = Path(params["path"])
    if is_there(file, digest_of(text)):
        return False, digest_of(text)
    new = private / "bundle.tar"
    with tarfile.open(new, "w") as tar:
        add(tar, MANIFEST, io.BytesIO(text), len(text))
        for name, (path, mode) in packed.items():
            add_file(tar, name, path, mode)
            if contents in path.parents:
                path.unlink()  # or the disk must hold everything twice
    new.replace(file)
    return True, digest_of(text)


def is_there(file: Path, digest: str) -> bool:
    """Return whether the bundle is there already, whole as far as its size and manifest tell."""
    try:
        bundle = read(file)
    except BundleError:
        return False
    least = sum(one["size"] for one in bundle.manifest["files"].values())
    return bundle.digest == digest and file.stat().st_size > least


def would_change(params: dict[str, Any]) -> bool:
    """Return whether there is no bundle of this release for these machines: what is in it, only downloads can tell."""
    try:
        manifest = read(Path(params["path"])).manifest
    except BundleError:
        return True
    wanted = {"gaiaflow_setup": params["about"].get("gaiaflow_setup", "")}
    wanted |= {name: params[name] for name in ("platform", "python")}
    return any(manifest.get(name) != value for name, value in wanted.items())


def describe(path: Path) -> dict[str, Any]:
    """Return a file's checksum and size in bytes."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def add_file(tar: tarfile.TarFile, name: str, path: Path, mode: int | None = None) -> None:
    """Add a file, with its own mode unless another one is given."""
    with path.open("rb") as content:
        add(tar, name, content, path.stat().st_size, path.stat().st_mode if mode is None else mode)


def add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int, mode: int = 0o644) -> None:
    """Add a file without owner and time: the same contents make the same bundle."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode & 0o777
    tar.addfile(member, content)


def pack(params: dict[str, Any]) -> dict[str, Any]:
    """Make the bundle; return what the module does."""
    file = Path(params["path"])
    target = Target(params["platform"], params["python"], params["glibc"])
    with private_directory(file) as private, Programs(private) as programs:
        changed, digest = write(params, collect(params, target, programs), private)
    return {"changed": changed, "bundle": str(file), "digest": digest}


def interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    """End the module as Ctrl-C does: what it has begun is removed on the way out, however often it is asked."""
    for signum in INTERRUPTS:
        signal.signal(signum, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Run the module."""
    paths = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "platform": {"type": "str", "required": True, "choices": [f"linux/{name}" for name in MACHINES]},
            "python": {"type": "str", "required": True},
            "glibc": {"type": "str", "required": True},
            "launcher_locks": paths,
            "locks": paths,
            "projects": paths,
            "template": {"type": "path"},
            "project_locks": paths,
            "pip": {"type": "str", "required": True},
            "programs": {"type": "dict", "default": {}},
            "files": {"type": "dict", "default": {}},
            "trees": {"type": "dict", "default": {}},
            "about": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    file = module.params["path"] = str(path_in_home(module.params["path"]).absolute())
    if module.check_mode:
        module.exit_json(changed=would_change(module.params), bundle=file)
    with uninterrupted():  # its thread goes on to let signals wait: they reach this one, which may do so, too
        end_with_run()
    for signum in INTERRUPTS:
        signal.signal(signum, interrupt)
    try:
        result = pack(module.params)
    except KeyboardInterrupt:
        sys.exit(130)
    except EnvironmentFailedError as error:
        module.fail_json(msg=str(error), hint=NOTHING, wrong_input=True)
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            module.fail_json(
                msg=f"The disk of {Path(file).parent} is full.", hint="Nothing was made; free some space first."
            )
        module.fail_json(msg=f"The bundle '{file}' can't be made: {error.strerror or error}.", wrong_input=True)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
