#!/usr/bin/python
"""Ansible module: a project made from the template."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project
short_description: Make a project from the cookiecutter template
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - With I(directory), makes the project where there is none, and never touches one that is there. Its names are made
    of the directory's.
  - With I(parent), makes a new project of the template's variables in there, and refuses where something stands in its
    place. Values that aren't given are the user's own defaults of cookiecutter, or the template's.
  - Only the machine that Ansible runs on has the template and cookiecutter. For other hosts the project is made there
    with I(packed) true, and put in its place with I(content). With I(directory) alone, the module only looks.
options:
  directory:
    description: The project's directory.
    type: path
  parent:
    description:
      - The directory in which the project's own is made, by the name that the template's variables give it.
      - Unlike a path, it may hold a C($), which stands for itself.
    type: str
  values:
    description: The template's variables, with I(parent). Text is taken as it is, and never as a template.
    type: dict
    default: {}
  template:
    description: The cookiecutter template.
    type: path
  packed:
    description: Whether to return the project as C(content), instead of putting it in its place.
    type: bool
    default: false
  content:
    description: A project that was packed.
    type: str
  include_example:
    description: Whether the project holds the example DAG, code and notebook, with I(directory).
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Provide the project
  gaiaflow.setup.project:
    directory: /home/me/my-project
    template: template

- name: Make a new project
  gaiaflow.setup.project:
    parent: /home/me
    values:
      project_name: My project
    template: template
"""

RETURN = r"""
project:
  description: The project's directory as an absolute path.
  returned: without I(packed)
  type: str
missing:
  description: Whether there was no project.
  returned: with I(directory), without I(packed)
  type: bool
content:
  description: The project as an archive, in base64.
  returned: with I(packed)
  type: str
wrong_input:
  description: Whether what was asked for isn't allowed, and so the failure is the caller's.
  returned: on failure
  type: bool
"""

import base64
import io
import re
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.common import path_in_home
from ..module_utils.errors import SetupError
from ..module_utils.template import RefusedValueError, place, render

FOLDER = "project"


def is_project(directory: Path) -> bool:
    """Return whether a project stands there."""
    return (directory / "dags").is_dir()


def refuse_unusable(directory: Path) -> None:
    """Raise RefusedValueError where no project can be made."""
    if directory.exists() and not directory.is_dir():
        raise RefusedValueError(f"{directory} is a file; a project needs a directory.")
    if directory.is_dir() and any(directory.iterdir()):
        raise RefusedValueError(f"{directory} is neither empty nor a project (it has no directory 'dags').")
    existing = next(parent for parent in directory.parents if parent.exists())
    if not existing.is_dir():
        raise RefusedValueError(f"{directory} cannot be made: {existing} is a file.")


def names(directory: Path) -> list[dict[str, str]]:
    """Return the project's names after its directory's; the second are for names that would hide a Python module."""
    words = re.sub(r"[^0-9a-zA-Z]+", " ", directory.name).strip() or "project"
    first = {"project_name": words.title() if words.islower() else words, "project_folder": FOLDER}
    package = re.sub(r"^(?=[0-9])", "project_", words.lower().replace(" ", "_"))
    return [first, {**first, "package_name": f"{package}_project"}]


def generate(template: Path, name: Path, include_example: bool, aside: Path) -> Path:
    """Make the project that is to stand at `name`, aside, and return where."""
    first, second = ({**choice, "include_example": include_example} for choice in names(name))
    try:
        return render(template, first, aside / "first", user_defaults=False)
    except RefusedValueError:
        return render(template, second, aside / "second", user_defaults=False)


def pack(project: Path) -> str:
    """Return a project as text, which another host can be sent."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(project, arcname=FOLDER)
    return base64.b64encode(file.getvalue()).decode()


def unpack(content: str, aside: Path) -> Path:
    """Unpack a project aside, and return where."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(content)), mode="r:gz") as tar:
        # It keeps nothing of the other machine's owners; older Pythons have no such filters.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(aside / "made")
    return aside / "made" / FOLDER


def ensure(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Provide the project in its directory; return what the module does."""
    directory = Path(params["directory"]).absolute()
    with tempfile.TemporaryDirectory() as aside:

        def make() -> Path:
            if params["content"]:
                return unpack(params["content"], Path(aside))
            return generate(Path(params["template"]), directory, params["include_example"], Path(aside))

        if params["packed"]:
            return {"changed": False, "content": pack(make())}
        missing = not is_project(directory)
        if missing:
            refuse_unusable(directory)
        can_make = bool(params["content"] or params["template"])
        if missing and can_make and not check_mode:
            place(make(), directory)
    return {"changed": missing and (can_make or check_mode), "missing": missing, "project": str(directory)}


def make_new(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Make a new project in the parent directory; return what the module does."""
    parent = path_in_home(params["parent"]).absolute()
    with tempfile.TemporaryDirectory() as aside:
        try:
            made = render(Path(params["template"]), params["values"], Path(aside, "made"), user_defaults=True)
            target = parent / made.name
            if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
                hint = "Choose another name or --output-dir."
                raise RefusedValueError(f"'{target}' exists already and isn't empty.", hint)
            if not check_mode:
                place(made, target)
        except OSError as error:
            raise RefusedValueError(f"The project can't be put into '{parent}': {error}") from error
    return {"changed": True, "project": str(target)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path"},
            "parent": {"type": "str"},
            "values": {"type": "dict", "default": {}},
            "template": {"type": "path"},
            "include_example": {"type": "bool", "default": True},
            "packed": {"type": "bool", "default": False},
            "content": {"type": "str"},
        },
        required_one_of=[("directory", "parent")],
        mutually_exclusive=[("directory", "parent")],
        required_by={"parent": ["template"]},
        supports_check_mode=True,
    )
    action = make_new if module.params["parent"] else ensure
    try:
        result = action(module.params, module.check_mode)
    except (OSError, SetupError) as error:
        usual = "" if module.params["parent"] else "Name another directory with --project DIR."
        hint = getattr(error, "hint", "") or usual
        module.fail_json(msg=str(error), hint=hint, wrong_input=isinstance(error, RefusedValueError))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
