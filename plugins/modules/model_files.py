#!/usr/bin/python
"""Ansible module: the files of a registered model, with a lock file of all that it needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_files
short_description: Fetch a registered model's files, and pin what it needs
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Downloads the files of a model's version from MLflow, and resolves its own requirements into a lock file with
    hashes. A version doesn't change, so that a directory which is there is right; an interrupted run leaves none.
options:
  model:
    description: What C(gaiaflow.setup.model_info) returned.
    type: dict
    required: true
  tracking_uri:
    description: MLflow's address.
    type: str
    required: true
  root:
    description: The directory of all models' files.
    type: path
    required: true
  uv:
    description: The uv program.
    type: path
    required: true
  cache:
    description: uv's cache, unless UV_CACHE_DIR is set.
    type: path
    required: true
  wheels:
    description: A directory of wheels, to resolve the requirements from them alone and without a network.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Fetch the model's files
  gaiaflow.setup.model_files:
    model: "{{ model_files_found.model }}"
    tracking_uri: http://127.0.0.1:5000
    root: "{{ model_files_directory }}"
    uv: /usr/local/bin/uv
    cache: /var/cache/uv
"""

RETURN = r"""
directory:
  description: Where C(model), the files, and C(model.txt), the lock file, are.
  returned: always
  type: str
notes:
  description: What a user should know of how it is served.
  returned: always
  type: list
  elements: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.common import end_with_run, locked
from ..module_utils.errors import SetupError
from ..module_utils.model import Registry, keep, older, python_here


def notes_of(model: dict[str, Any]) -> list[str]:
    """Return what a user should know: a pickled model may not load in another Python."""
    if model["python"] == python_here():
        return []
    return [
        f"Version {model['version']} of {model['name']!r} was logged with Python {model['python']}, and this machine"
        f" serves with {python_here()}."
    ]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "model": {"type": "dict", "required": True},
            "tracking_uri": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "uv": {"type": "path", "required": True},
            "cache": {"type": "path", "required": True},
            "wheels": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    end_with_run()
    given, model = module.params, module.params["model"]
    directory = Path(given["root"]) / model["files"]
    changed = not directory.is_dir()
    try:
        if changed and not module.check_mode:
            directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(directory.parent / ".lock"):
                keep(
                    Registry(given["tracking_uri"]),
                    model["place"],
                    directory,
                    python=older(model["python"], python_here()),
                    **{name: given[name] for name in ("uv", "cache", "wheels")},
                )
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    except OSError as error:
        module.fail_json(msg=f"The model's files can't be kept in {directory}: {error}")
    module.exit_json(changed=changed, directory=str(directory), notes=notes_of(model))


if __name__ == "__main__":
    main()
