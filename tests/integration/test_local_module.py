"""Modules of the collection run where they are installed: real Ansible, with a module that tells where it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from role_play import ROOT, interpreter

PLUGINS = ROOT / "plugins"
MODULE = """
from __future__ import annotations

import os
import sys
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.helper import greeting


def main() -> None:
    module = AnsibleModule(argument_spec={"text": {"type": "raw"}, "fails": {"type": "bool"}}, supports_check_mode=True)
    if module.params["fails"]:
        raise OSError("nothing works")
    module.warn("beware")
    module.exit_json(
        changed=False, file=__file__, text=module.params["text"], check=module.check_mode, greeting=greeting(),
        variable=os.environ.get("OF_THE_TASK"), python=sys.executable, user=os.geteuid(),
        command=Path("/proc/self/cmdline").read_text(),
    )


if __name__ == "__main__":
    main()
"""
TEXTS: list[Any] = [
    "it's \"quoted\" {braces} {{ '{{' }} %s \\ $(id) \n\t\x01 ü 統",
    None,
    True,
    2**70,
    [],
    {"a": {"b": -0.5}},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Somebody's folder with a collection of its own, and with files that have names of Python's modules."""
    collection = tmp_path / "ansible_collections" / "some" / "body"
    for path, text in {
        "plugins/modules/tell.py": MODULE,
        "plugins/module_utils/helper.py": "def greeting() -> str:\n    return 'hello'\n",
        "plugins/action/tell.py": (PLUGINS / "plugin_utils" / "local_module.py").read_text(),
    }.items():
        (collection / path).parent.mkdir(parents=True, exist_ok=True)
        (collection / path).write_text(text)
    for name in ("random", "types", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the wrong place')\n")
    return tmp_path


def play(folder: Path, *options: str, task: dict[str, Any] | None = None, **environment: str) -> dict[str, Any]:
    """Play one task with the module in that folder; return its result."""
    plays = [{"hosts": "localhost", "gather_facts": False, "tasks": [task or {"some.body.tell": {"text": "plain"}}]}]
    (folder / "site.yml").write_text(json.dumps(plays))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "site.yml", *options]
    variables = {
        **os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{folder}:{ROOT}", "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"), "ANSIBLE_REMOTE_TEMP": str(folder / "remote"), **environment,
    }  # fmt: skip
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)
    told = json.loads(done.stdout[done.stdout.index("{") :])
    result: dict[str, Any] = told["plays"][0]["tasks"][0]["hosts"]["localhost"]
    return result


def options(**variables: Any) -> tuple[str, ...]:
    """Return the options that make the host this machine, with further variables."""
    return "-e", json.dumps({"ansible_connection": "local", "ansible_python_interpreter": interpreter(), **variables})


def installed(folder: Path) -> str:
    """Return the file of the module."""
    return str(folder / "ansible_collections" / "some" / "body" / "plugins" / "modules" / "tell.py")


def test_every_module_has_the_action() -> None:
    actions = {file.name: file.resolve() for file in (PLUGINS / "action").glob("*.py")}
    modules = [file.name for file in (PLUGINS / "modules").glob("[a-z]*.py")]
    assert actions == dict.fromkeys(modules, PLUGINS / "plugin_utils" / "local_module.py")


def test_module_runs_where_it_is_installed(folder: Path) -> None:
    result = play(folder, *options())
    assert result["file"] == installed(folder) and result["greeting"] == "hello"
    assert result["warnings"] == ["beware"]


@pytest.mark.parametrize("pipelining", ["false", "true"])
def test_parameters_environment_and_check_mode_reach_it(folder: Path, pipelining: str) -> None:
    task = {"some.body.tell": {"text": "{{ texts }}"}, "environment": {"OF_THE_TASK": "it's set"}}
    result = play(folder, *options(texts=TEXTS[1:]), "--check", task=task, ANSIBLE_PIPELINING=pipelining)
    assert result["text"] == TEXTS[1:] and result["check"] and result["variable"] == "it's set"
    assert result["file"] == installed(folder)
    text = play(folder, *options(), task={"some.body.tell": {"text": TEXTS[0]}}, ANSIBLE_PIPELINING=pipelining)
    assert text["text"] == str(TEXTS[0]).replace("{{ '{{' }}", "{{")
    assert "quoted" not in text["command"], "parameters can be secrets, and everybody sees a command"


def test_it_runs_in_the_background(folder: Path) -> None:
    result = play(folder, *options(), task={"some.body.tell": {"text": "plain"}, "async": 30, "poll": 1})
    assert result["finished"] and result["file"] == installed(folder)


def test_interpreter_needs_no_ansible_of_its_own(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "other"], check=True)
    python = str(folder / "other" / "bin" / "python")
    result = play(folder, *options(ansible_python_interpreter=python))
    assert result["python"] == python and result["file"] == installed(folder)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"some.body.tell": {"fails": True}}, "nothing works"),
        ({"some.body.tell": {"txt": 1}}, "Unsupported parameters for (some.body.tell) module: txt"),
    ],
    ids=["it fails", "a parameter that it doesn't have"],
)
def test_failure_is_told_as_of_any_module(folder: Path, task: dict[str, Any], said: str) -> None:
    here = play(folder, *options(), task=task)
    packed = play(folder, *options(), task=task, ANSIBLE_KEEP_REMOTE_FILES="true")
    assert here["failed"] and said in here["msg"] and here["msg"] == packed["msg"]


def test_kept_files_are_those_of_an_archive(folder: Path) -> None:
    result = play(folder, *options(), ANSIBLE_KEEP_REMOTE_FILES="true")
    assert result["file"] != installed(folder) and result["greeting"] == "hello"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root may without a password")
def test_another_user_reads_none_of_this_ones_files(folder: Path) -> None:
    folder.chmod(0o711)
    become = options(ansible_become=True, ansible_become_method="su", ansible_become_user="nobody",
                     ansible_become_flags="-s /bin/sh", ansible_python_interpreter="/usr/bin/python3",
                     ansible_remote_tmp="/tmp")  # fmt: skip
    result = play(folder, *become, ANSIBLE_PIPELINING="true")
    assert result["user"] != 0 and result["file"] != installed(folder)
