"""What the launcher takes out of the package ansible: what the roles and playbooks use, and what that needs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ansible_collections  # type: ignore[import-untyped]

CHECKOUT = Path(__file__).parents[2]
LISTED = re.search(r"^collections='(.*)'$", (CHECKOUT / "gaiaflow-setup").read_text(), re.MULTILINE)
TASK = re.compile(r"^\s*(?:- )?(\w+)\.(\w+)\.\w+:", re.MULTILINE)
NO_TASKS = {"ansible/builtin", "mlflow/server"}
IMPORT = re.compile(r"ansible_collections\.(\w+)\.(\w+)\.")


def listed() -> set[str]:
    assert LISTED
    return set(LISTED[1].split())


def test_every_collection_that_a_task_uses_is_installed() -> None:
    used = {
        f"{namespace}/{name}"
        for directory in ("roles", "playbooks", "library")
        for file in (CHECKOUT / directory).rglob("*")
        if file.suffix in {".yml", ".py"}
        for namespace, name in (*TASK.findall(file.read_text()), *IMPORT.findall(file.read_text()))
    } - NO_TASKS
    assert "community/docker" in used
    assert used <= listed()


def test_what_a_collection_depends_on_is_installed() -> None:
    (root,) = ansible_collections.__path__
    for name in listed():
        manifest = json.loads((Path(root) / name / "MANIFEST.json").read_text())
        needed = {one.replace(".", "/", 1) for one in manifest["collection_info"]["dependencies"]}
        assert needed <= listed(), name
