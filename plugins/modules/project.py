#!/usr/bin/python
"""Ansible module: a project made from the template."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project
short_description: Make a project from the cookiecutter template
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Makes the project where there is none, and never touches one that is there.
  - Only the machine that Ansible runs on has the template and cookiecutter. For other hosts the project is made there
    with I(packed) true, and put in its place with I(content). With I(directory) alone, the module only looks.
options:
  directory:
    description: The project's directory.
    type: path
    required: true
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
    description: Whether the project holds the example DAG, code and notebook.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Generate a project where there is none
  gaiaflow.setup.project:
    directory: ~/my-project
    template: /opt/templates/project
"""

RETURN = r"""
directory:
  description: The project's directory as an absolute path.
  returned: without I(packed)
  type: str
missing:
  description: Whether there was no project.
  returned: without I(packed)
  type: bool
content:
  description: The project as an archive, in base64.
  returned: with I(packed)
  type: str
"""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

FOLDER = "project"


def is_project(directory: Path) -> bool:
    """Whether a project stands there."""
    return (directory / "dags").is_dir()


def refuse_unusable(directory: Path) -> None:
    """Raises ValueError where no project can be made."""
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"{directory} is a file; a project needs a directory.")
    if directory.is_dir() and any(directory.iterdir()):
        raise ValueError(f"{directory} is neither empty nor a project (it has no directory 'dags').")
    existing = next(parent for parent in directory.parents if parent.exists())
    if not existing.is_dir():
        raise ValueError(f"{directory} cannot be made: {existing} is a file.")


def names(directory: Path) -> list[dict[str, str]]:
    """The project's names after its directory's; the second choice is for one that would hide a Python module."""
    words = re.sub(r"[^0-9a-zA-Z]+", " ", directory.name).strip() or "project"
    first = {"project_name": words.title() if words.islower() else words, "project_folder": FOLDER}
    package = re.sub(r"^(?=[0-9])", "project_", words.lower().replace(" ", "_"))
    return [first, {**first, "package_name": f"{package}_project"}]


def literal(text: str) -> str:
    """A template of Jinja's that gives this text: cookiecutter takes every answer as one."""
    escaped = text.encode("unicode_escape").decode().replace('"', '\\"')
    return f'{{{{ "{escaped}" }}}}'


def run_cookiecutter(template: Path, aside: Path, answers: dict[str, str], include_example: bool) -> str:
    """Runs cookiecutter; returns what it complained of, nothing when it made the project."""
    configuration = aside / "cookiecutter.yml"
    # Cookiecutter would otherwise leave a record in the user's home.
    configuration.write_text(json.dumps({"replay_dir": str(aside / "replay"), "cookiecutters_dir": str(aside)}))
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--config-file", str(configuration)]
    command += ["--output-dir", str(aside / "made"), str(template)]
    command += [f"{key}={literal(value)}" for key, value in answers.items()]
    command.append(f"include_example={include_example}")
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    complaint = done.stderr.strip() or done.stdout.strip() or f"cookiecutter ended with code {done.returncode}"
    return complaint if done.returncode else ""


def generate(template: Path, name: Path, include_example: bool, aside: Path) -> Path:
    """Makes the project that is to stand at `name`, aside, and returns where.

    Cookiecutter works elsewhere: it takes the names of the directories above the project as templates, too.
    """
    complaint = ""
    with tempfile.TemporaryDirectory() as elsewhere:
        for choice in names(name):
            complaint = run_cookiecutter(template, Path(elsewhere), choice, include_example)
            if not complaint:
                return Path(shutil.move(f"{elsewhere}/made/{FOLDER}", aside))
    raise ValueError(complaint)


def pack(project: Path) -> str:
    """A project as text, which another host can be sent."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(project, arcname="project")
    return base64.b64encode(file.getvalue()).decode()


def unpack(content: str, aside: Path) -> Path:
    """Unpacks a project aside, and returns where."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(content)), mode="r:gz") as tar:
        # It keeps nothing of the other machine's owners; older Pythons have no such filters.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(aside / "made")
    return aside / "made" / "project"


def place(directory: Path, make: Callable[[Path], Path]) -> None:
    """Has the project made beside its place and moves it there, so that an interrupted run leaves no half of one."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gaiaflow-new-", dir=directory.parent) as aside:
        project = make(Path(aside))
        if directory.is_dir():
            directory.rmdir()
        project.rename(directory)


def ensure(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Does what is asked for, and tells about it."""
    directory = Path(params["directory"]).absolute()

    def make(aside: Path) -> Path:
        if params["content"]:
            return unpack(params["content"], aside)
        return generate(Path(params["template"]), directory, params["include_example"], aside)

    if params["packed"]:
        with tempfile.TemporaryDirectory() as aside:
            return {"changed": False, "content": pack(make(Path(aside)))}
    missing = not is_project(directory)
    if missing:
        refuse_unusable(directory)
    can_make = bool(params["content"] or params["template"])
    if missing and can_make and not check_mode:
        place(directory, make)
    return {"changed": missing and (can_make or check_mode), "missing": missing, "directory": str(directory)}


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "template": {"type": "path"},
            "include_example": {"type": "bool", "default": True},
            "packed": {"type": "bool", "default": False},
            "content": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        result = ensure(module.params, module.check_mode)
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error), hint="Name another directory with --project DIR.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
