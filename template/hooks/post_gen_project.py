"""Leaves the example in the project, or puts the skeleton in its place; and of the workflows those of the platform."""

import shutil
from pathlib import Path

PACKAGE = "{{ cookiecutter.package_name }}"
INCLUDE_EXAMPLE = "{{ cookiecutter.include_example }}"
CI_PLATFORM = "{{ cookiecutter.ci_platform }}"
WORKFLOWS = {"github": ".github", "gitlab": ".gitlab-ci.yml"}
EXAMPLE_ONLY = [
    f"dags/{PACKAGE}_dags/example_dag.py",
    f"src/{PACKAGE}/serving.py",
    "notebooks/inference.ipynb",
    "notebooks/serving.ipynb",
    "tests/test_serving.py",
]

if INCLUDE_EXAMPLE == "False":
    for path in EXAMPLE_ONLY:
        Path(path).unlink()
    shutil.copytree(".skeleton", ".", dirs_exist_ok=True)
shutil.rmtree(".skeleton")
for platform, path in WORKFLOWS.items():
    if platform != CI_PLATFORM:
        shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
