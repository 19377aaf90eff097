#!/usr/bin/python
"""Ansible module: a bundle of `gaiaflow-setup bundle create`, verified and unpacked once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_bundle
short_description: Unpack a bundle for an installation without a network
description:
  - Verifies every file in the bundle by the checksums in its manifest, and unpacks it into a directory that is named
    after the manifest's digest. Where that is there, nothing is done. A bundle that is damaged, or for other machines
    than this one, is refused, and leaves nothing.
options:
  src:
    description: The bundle, on the host.
    type: path
    required: true
  dest:
    description: The directory in which bundles are unpacked.
    type: path
    required: true
"""

RETURN = r"""
directory:
  description: Where the bundle is unpacked.
  returned: always
  type: str
wheels:
  description: The directory of its wheels.
  returned: always
  type: str
urls:
  description: The URLs of the programs in it, by name (C(minikube), C(kubectl)).
  returned: always
  type: dict
"""

import platform
import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gaiaflow import locked, report_progress
from ansible.module_utils.gaiaflow_bundle import Bundle, Refused, read, unpack

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def refuse_strange(bundle: Bundle) -> None:
    """A bundle fits one kind of processor and one version of Python."""
    here = f"linux/{ARCHITECTURES.get(platform.machine(), platform.machine())}"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    for what, wanted, found in (
        ("platform", bundle.manifest["platform"], here),
        ("Python", bundle.manifest["python"], python),
    ):
        if wanted != found:
            raise Refused(f"The bundle {bundle.path} is for {what} {wanted}; this is {found}.")


def ensure(bundle: Bundle, directory: Path, check_mode: bool) -> bool:
    """Unpacks the bundle where it is not there yet; in check mode it is verified only."""
    if directory.is_dir():
        return False
    report_progress(f"verifying {bundle.path.name}, {len(bundle.manifest['files'])} files")
    if check_mode:
        unpack(bundle, None)
        return True
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(directory.parent / ".lock"):
        if not directory.is_dir():
            unpack(bundle, directory)
    return True


def describe(bundle: Bundle, directory: Path) -> dict[str, Any]:
    """What the roles are told."""
    programs = [name.partition("/")[2] for name in bundle.manifest["files"] if name.startswith("programs/")]
    return {
        "directory": str(directory),
        "wheels": str(directory / "wheels"),
        "urls": {name: (directory / "programs" / name).as_uri() for name in sorted(programs)},
    }


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={"src": {"type": "path", "required": True}, "dest": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    try:
        bundle = read(Path(module.params["src"]).absolute())
        refuse_strange(bundle)
        directory = Path(module.params["dest"]).absolute() / bundle.digest
        changed = ensure(bundle, directory, module.check_mode)
    except Refused as error:
        hint = "Nothing was installed. Copy the bundle anew, or make it anew: gaiaflow-setup bundle create FILE."
        module.fail_json(msg=str(error), hint=hint)
    except OSError as error:
        module.fail_json(
            msg=f"The bundle can't be unpacked into {module.params['dest']}: {error.strerror}.",
            hint="Nothing was installed. Mend this first.",
        )
    module.exit_json(changed=changed, **describe(bundle, directory))


if __name__ == "__main__":
    main()
