#!/usr/bin/python
"""Ansible module: a project made from the template."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gaiaflow_project
short_description: Make a project from the cookiecutter template
description:
  - Makes the project where there is none, and never touches one that is there.
options:
  directory:
    description: The project's directory.
    type: path
    required: true
  template:
    description: The cookiecutter template.
    type: path
    required: true
  include_example:
    description: Whether the project holds the example DAG, code and notebook.
    type: bool
    default: true
"""

RETURN = r"""
directory:
  description: The project's directory as an absolute path.
  returned: always
  type: str
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


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
    first = {"project_name": words.title() if words.islower() else words, "project_folder": directory.name}
    package = re.sub(r"^(?=[0-9])", "project_", words.lower().replace(" ", "_"))
    return [first, {**first, "package_name": f"{package}_project"}]


def run_cookiecutter(template: Path, aside: Path, answers: dict[str, str]) -> str:
    """Runs cookiecutter; returns what it complained of, nothing when it made the project."""
    configuration = aside / "cookiecutter.yml"
    # Cookiecutter would otherwise leave a record in the user's home.
    configuration.write_text(json.dumps({"replay_dir": str(aside / "replay"), "cookiecutters_dir": str(aside)}))
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--config-file", str(configuration)]
    command += ["--output-dir", str(aside / "made"), str(template)]
    command += [f"{key}={value}" for key, value in answers.items()]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return (done.stderr.strip() or f"cookiecutter ended with code {done.returncode}") if done.returncode else ""


def generate(template: Path, directory: Path, include_example: bool) -> None:
    """Makes the project beside its place and moves it there, so that an interrupted run leaves no half of one."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gaiaflow-new-", dir=directory.parent) as path:
        aside, complaint = Path(path), ""
        for choice in names(directory):
            complaint = run_cookiecutter(template, aside, {**choice, "include_example": str(include_example)})
            if not complaint:
                break
        else:
            raise ValueError(complaint)
        if directory.is_dir():
            directory.rmdir()
        next((aside / "made").iterdir()).rename(directory)


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "template": {"type": "path", "required": True},
            "include_example": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    directory = Path(module.params["directory"]).absolute()
    try:
        changed = not is_project(directory)
        if changed:
            refuse_unusable(directory)
        if changed and not module.check_mode:
            generate(Path(module.params["template"]), directory, module.params["include_example"])
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error), hint="Name another directory with --project DIR.")
    module.exit_json(changed=changed, directory=str(directory))


if __name__ == "__main__":
    main()
