"""The collection gaiaflow.setup, and those that it needs: what galaxy.yml says, and what the launcher installs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import ansible_collections
from gaiaflow_py import __version__

CHECKOUT = Path(__file__).parents[2]
GALAXY: dict[str, Any] = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())
LISTED = re.search(r"^collections='(.*)'$", (CHECKOUT / "gaiaflow-setup").read_text(), re.MULTILINE)
TASK = re.compile(r"^\s*(?:- )?(\w+)\.(\w+)\.\w+:", re.MULTILINE)
NO_TASKS = {"ansible/builtin", "gaiaflow/setup", "mlflow/server"}
IMPORT = re.compile(r"ansible_collections\.(\w+)\.(\w+)\.")
NAMED = {".yml": TASK, ".py": IMPORT}
MODULES = sorted((CHECKOUT / "plugins" / "modules").glob("*.py"))
# How each kind of plugin stands in an example, and what its value is called.
PLUGIN_USES = {"lookup": ("'{}'", "_list"), "filter": ("| {}(", "_value")}
PLUGINS = sorted(path for kind in PLUGIN_USES for path in (CHECKOUT / "plugins" / kind).glob("*.py"))
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir())


def listed() -> set[str]:
    assert LISTED
    return set(LISTED[1].split())


def used() -> set[str]:
    """The collections that tasks and plugins name."""
    return {
        f"{namespace}/{name}"
        for directory in ("roles", "playbooks", "plugins")
        for file in (CHECKOUT / directory).rglob("*")
        if (named := NAMED.get(file.suffix))
        for namespace, name in named.findall(file.read_text())
    } - NO_TASKS


def about(name: str) -> dict[str, Any]:
    """What an installed collection says about itself."""
    (file,) = (path for one in ansible_collections.__path__ if (path := Path(one, name, "MANIFEST.json")).is_file())
    said: dict[str, Any] = json.loads(file.read_text())["collection_info"]
    return said


def test_every_collection_that_a_task_uses_is_installed() -> None:
    assert "community/docker" in used()
    assert used() <= listed()


def test_what_a_collection_depends_on_is_installed() -> None:
    for name in listed():
        needed = {one.replace(".", "/", 1) for one in about(name)["dependencies"]}
        assert needed <= listed(), name


def test_collection_declares_what_its_tasks_use_in_versions_that_are_installed() -> None:
    declared = GALAXY["dependencies"]
    assert {name.replace(".", "/") for name in declared} == used()
    for name, versions in declared.items():
        assert about(name.replace(".", "/"))["version"] in SpecifierSet(versions), name


def test_collection_has_the_version_of_the_command_line() -> None:
    assert GALAXY["version"] == __version__


def test_everything_in_the_collection_can_be_found_in_a_checkout() -> None:
    linked = CHECKOUT / "ansible_collections" / "gaiaflow" / "setup"
    assert all(path.is_symlink() and path.exists() for path in linked.iterdir())
    assert {"meta", "playbooks", "plugins", "roles", "template", "inventory"} <= {
        path.name for path in linked.iterdir()
    }


def documentation(file: Path) -> tuple[Any, str, Any]:
    """What a plugin says of itself: its options, its examples as text, and what it returns."""
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if node.targets[0].id in {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    }
    assert set(constants) == {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    assert yaml.safe_load(constants["EXAMPLES"])
    return yaml.safe_load(constants["DOCUMENTATION"]), constants["EXAMPLES"], yaml.safe_load(constants["RETURN"])


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_module_is_documented(file: Path) -> None:
    options, examples, returned = documentation(file)
    assert options["module"] == file.stem
    assert f"gaiaflow.setup.{file.stem}:" in examples
    assert returned


@pytest.mark.parametrize("file", PLUGINS, ids=lambda file: file.stem)
def test_plugin_is_documented(file: Path) -> None:
    options, examples, returned = documentation(file)
    use, value = PLUGIN_USES[file.parent.name]
    assert options["name"] == file.stem
    assert use.format(f"gaiaflow.setup.{file.stem}") in examples
    assert set(returned) == {value}


@pytest.mark.parametrize("role", ROLES)
def test_role_is_described(role: str) -> None:
    directory = CHECKOUT / "roles" / role
    meta = yaml.safe_load((directory / "meta" / "main.yml").read_text())
    assert meta["galaxy_info"]["description"]
    assert all(one["role"].removeprefix("gaiaflow.setup.") in ROLES for one in meta["dependencies"])
    assert (directory / "README.md").is_file()
    assert "argument_specs" in yaml.safe_load((directory / "meta" / "argument_specs.yml").read_text())
