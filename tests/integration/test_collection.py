"""The collection as an artifact: built from the checkout, installed elsewhere, and used by somebody else's playbook."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from collection_artifact import CHECKOUT, build, install, run
from role_play import interpreter

TOP = {
    "CHANGELOG.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md", "docs", "inventory", "meta", "playbooks",
    "plugins", "requirements", "roles", "template",
}  # fmt: skip
# Those of ansible-test's that need nothing installed; the others want packages of their own.
SANITY = (
    "action-plugin-docs", "compile", "empty-init", "ignores", "line-endings", "no-assert", "no-get-exception",
    "no-illegal-filenames", "no-smart-quotes", "replace-urlopen", "shebang", "symlinks", "use-argspec-type-path",
    "use-compat-six",
)  # fmt: skip
PLAYBOOK = """
- name: Use one role and one module
  hosts: all
  gather_facts: false
  roles:
    - role: gaiaflow.setup.preflight
  tasks:
    - name: Generate a project
      gaiaflow.setup.project:
        directory: "{{ playbook_dir }}/project"
        template: "{{ lookup('ansible.builtin.env', 'COLLECTION') }}/template"
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection, built from the checkout."""
    return build(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def installed(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the collection installed in it."""
    folder = tmp_path_factory.mktemp("somebody's folder")
    install(artifact, folder)
    return folder


def test_artifact_holds_the_collection_and_nothing_else(artifact: Path) -> None:
    with tarfile.open(artifact) as tar:
        names = tar.getnames()
    assert {name.split("/")[0] for name in names} == TOP
    assert not [name for name in names if name.endswith(".pyc") or name.startswith("docs/recordings")]


def test_roles_and_modules_work_in_somebody_elses_playbook(installed: Path) -> None:
    (installed / "site.yml").write_text(PLAYBOOK)
    inventory = f"localhost ansible_connection=local ansible_python_interpreter={interpreter()}\n"
    (installed / "hosts.ini").write_text(inventory)
    collection = installed / "collections" / "ansible_collections" / "gaiaflow" / "setup"
    variables = {"COLLECTION": str(collection), "ANSIBLE_COLLECTIONS_PATH": str(installed / "collections")}
    told = [run("ansible-playbook", "-i", "hosts.ini", "site.yml", cwd=installed, **variables) for _ in range(2)]
    assert [int(found) for one in told for found in re.findall(r"changed=(\d+)", one)] == [1, 0], told
    assert (installed / "project" / "pyproject.toml").is_file()


def test_documentation_of_every_module_can_be_read(installed: Path) -> None:
    told = run("ansible-doc", "--list", "gaiaflow.setup", cwd=installed,
               ANSIBLE_COLLECTIONS_PATH=str(installed / "collections"))  # fmt: skip
    modules = {file.stem for file in (CHECKOUT / "plugins" / "modules").glob("*.py")}
    assert set(re.findall(r"^gaiaflow\.setup\.(\w+)", told, re.MULTILINE)) == modules


def test_sanity(installed: Path, tmp_path: Path) -> None:
    collection = installed / "collections" / "ansible_collections" / "gaiaflow" / "setup"
    tests = collection / "tests"
    for name in ("config.yml", "sanity"):
        tests.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", CHECKOUT / "tests" / name, tests], check=True)
    chosen = [word for name in SANITY for word in ("--test", name)]
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    run("ansible-test", "sanity", "--python", version, *chosen, cwd=collection, HOME=str(tmp_path))
