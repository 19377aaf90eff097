#!/usr/bin/python
"""Ansible module: a bundle of `gaiaflow-setup bundle create`, verified and unpacked once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle
short_description: Unpack a bundle for an installation without a network
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Verifies every file in the bundle by the checksums in its manifest, and unpacks it into a directory that is named
    after the manifest's digest. Where that is there, nothing is done. A bundle that is damaged, or for other machines
    than this one, is refused, and leaves nothing.
  - With I(src) alone it tells about the bundle. With I(about) and without I(src) it tells whether the bundle is
    C(missing) here, so that no host is sent what it has, or what doesn't fit it.
options:
  src:
    description: The bundle, on the host.
    type: path
  about:
    description: What this module told about a bundle that isn't on the host.
    type: dict
  dest:
    description: The directory in which bundles are unpacked.
    type: path
"""

EXAMPLES = r"""
- name: Unpack the bundle
  gaiaflow.setup.bundle:
    src: /tmp/gaiaflow-bundle.tar
    dest: ~/.local/share/gaiaflow/bundles
  register: bundle
"""

RETURN = r"""
about:
  description: What the bundle is for, and what is in it.
  returned: always
  type: dict
directory:
  description: Where the bundle is unpacked.
  returned: with I(dest)
  type: str
missing:
  description: Whether it isn't unpacked there yet.
  returned: with I(dest)
  type: bool
carried:
  description: Where the file is to be carried to; it is removed when it is unpacked.
  returned: with I(dest)
  type: str
temporary:
  description: Where it may be while it is carried; removed with it.
  returned: with I(dest)
  type: str
wheels:
  description: The directory of its wheels.
  returned: with I(dest)
  type: str
urls:
  description: The URLs of the programs in it, by name (C(minikube), C(kubectl)).
  returned: with I(dest)
  type: dict
"""

import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.bundle import Bundle, BundleError, read, unpack
from ..module_utils.common import end_with_run, locked, report_progress
from ..module_utils.machine import ARCHITECTURES

CARRIED = ".{}.carried"
TEMPORARY = ".carrying"
# What interrupted runs leave, of this bundle or of others.
LEFTOVERS = (".*.partial", CARRIED.format("*"), TEMPORARY)


def tell(bundle: Bundle) -> dict[str, Any]:
    """Return what a host must know of a bundle that isn't there."""
    programs = sorted(name.partition("/")[2] for name in bundle.manifest["files"] if name.startswith("programs/"))
    fits = {name: bundle.manifest[name] for name in ("platform", "python")}
    return {"path": str(bundle.path), "digest": bundle.digest, "programs": programs, **fits}


def refuse_strange(about: dict[str, Any]) -> None:
    """Check that the bundle is for this kind of processor and version of Python."""
    here = f"linux/{ARCHITECTURES.get(platform.machine(), platform.machine())}"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    for what, wanted, found in (("platform", about["platform"], here), ("Python", about["python"], python)):
        if wanted != found:
            raise BundleError(f"The bundle {about['path']} is for {what} {wanted}; this is {found}.")


def ensure(bundle: Bundle, directory: Path, check_mode: bool) -> None:
    """Unpack the bundle; in check mode it is verified only."""
    report_progress(f"verifying {len(bundle.manifest['files'])} files of {bundle.path.name}")
    if check_mode:
        unpack(bundle, None)
        return
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(directory.parent / ".lock"):
        try:
            if not directory.is_dir():
                unpack(bundle, directory)
        finally:
            sweep(directory.parent)


def sweep(directory: Path) -> None:
    """Remove what was carried here, and what interrupted runs left."""
    for left in (path for pattern in LEFTOVERS for path in directory.glob(pattern)):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def describe(about: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return what the roles are told."""
    return {
        "directory": str(directory),
        "missing": not directory.is_dir(),
        "carried": str(directory.with_name(CARRIED.format(directory.name))),
        "temporary": str(directory.with_name(TEMPORARY)),
        "wheels": str(directory / "wheels"),
        "urls": {name: (directory / "programs" / name).as_uri() for name in about["programs"]},
    }


def examine(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Do what is asked for, and tell about it."""
    bundle = read(Path(params["src"]).absolute()) if params["src"] else None
    about = params["about"] if bundle is None else tell(bundle)
    if not params["dest"]:
        return {"changed": False, "about": about}
    refuse_strange(about)
    directory = Path(params["dest"]).absolute() / about["digest"]
    was_missing = not directory.is_dir()
    if bundle and was_missing:
        ensure(bundle, directory, check_mode)
    changed = was_missing and (bundle is not None or check_mode)
    return {"changed": changed, "about": about, **describe(about, directory)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path"},
            "about": {"type": "dict"},
            "dest": {"type": "path"},
        },
        required_one_of=[("src", "about")],
        supports_check_mode=True,
    )
    end_with_run()
    try:
        result = examine(module.params, module.check_mode)
    except BundleError as error:
        hint = "Nothing was installed. Copy the bundle anew, or make it anew: gaiaflow-setup bundle create FILE."
        module.fail_json(msg=str(error), hint=hint)
    except OSError as error:
        module.fail_json(
            msg=f"The bundle can't be unpacked into {module.params['dest']}: {error.strerror}.",
            hint="Nothing was installed. Correct this first.",
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
