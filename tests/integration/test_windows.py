"""What can be told of the Windows tasks without a Windows: their arguments, their syntax, and what they decide."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_play import ROOT, Played, play

ROLES = ("wsl", "docker", "minikube")
# What a task may say besides its module.
KEYWORDS = {"name", "register", "when", "changed_when", "loop", "loop_control"}
PINS = {"kubectl_version": "1.35.1", "minikube_version": "1.38.1", "minikube_state": "present"}
# Stands in for a module that only Windows can run: tells its arguments, and answers what the test has prepared.
DOUBLE = """#!/usr/bin/python
import json, os, sys
# WANT_JSON: so Ansible gives the arguments in a file.
params = {key: value for key, value in json.load(open(sys.argv[1])).items() if not key.startswith("_ansible")}
name = "%s"
with open(os.environ["DOUBLES"] + "/calls", "a") as file:
    file.write(json.dumps([name, params]) + "\\n")
answers = json.load(open(os.environ["DOUBLES"] + "/answers"))
print(json.dumps({"changed": False, **answers.get(name, {})}))
"""


def tasks(role: str) -> list[dict[str, Any]]:
    loaded = yaml.safe_load((ROOT / "roles" / role / "tasks/windows.yml").read_text())
    assert isinstance(loaded, list)
    return loaded


def module_of(task: dict[str, Any]) -> str:
    (name,) = set(task) - KEYWORDS
    return name


ALL = [pytest.param(task, id=task["name"]) for role in ROLES for task in tasks(role)]


@pytest.fixture(scope="module")
def documentation() -> dict[str, dict[str, Any]]:
    """What the installed collections say about the modules."""
    names = sorted({module_of(task) for role in ROLES for task in tasks(role)})
    program = Path(sys.executable).with_name("ansible-doc")
    done = subprocess.run([program, "--json", *names], capture_output=True, text=True, check=True)
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    assert set(found) == set(names)
    return found


@pytest.mark.parametrize("task", ALL)
def test_arguments_are_the_modules_own(task: dict[str, Any], documentation: dict[str, dict[str, Any]]) -> None:
    name = module_of(task)
    options = documentation[name]["doc"]["options"]
    given = task[name]
    assert set(given) <= set(options)
    assert {key for key, option in options.items() if option.get("required")} <= set(given)
    for key, value in given.items():
        templated = isinstance(value, str) and "{{" in value
        choices = options[key].get("choices")
        assert templated or not choices or value in choices, key
        types: dict[str, tuple[type, ...]] = {
            "list": (list, str),
            "int": (int,),
            "float": (int, float),
            "bool": (bool,),
        }
        expected = types.get(options[key].get("type", "str"), (str,))
        assert templated or isinstance(value, expected), key


def test_results_that_conditions_use_are_documented(documentation: dict[str, dict[str, Any]]) -> None:
    used = {"ansible.windows.win_optional_feature": "reboot_required", "ansible.windows.win_reg_stat": "value"}
    conditions = " ".join(task.get("when", "") for task in tasks("wsl"))
    for name, result in used.items():
        assert result in documentation[name]["return"]
        assert f".{result}" in conditions


class Windows:
    """Plays Windows tasks on doubles of the modules."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: dict[str, dict[str, Any]] = {}
        for role in ROLES:
            for task in tasks(role):
                namespace, collection, name = module_of(task).split(".")
                plugins = directory / "ansible_collections" / namespace / collection / "plugins/modules"
                plugins.mkdir(parents=True, exist_ok=True)
                (plugins / f"{name}.py").write_text(DOUBLE % name)

    def play(self, role: str, *options: str, **variables: Any) -> tuple[Played, list[tuple[str, dict[str, Any]]]]:
        """Return the play, and which modules were called with what."""
        calls = self.directory / "calls"
        calls.write_text("")
        (self.directory / "answers").write_text(json.dumps(self.answers))
        played = play(
            self.directory,
            role,
            {**PINS, "docker_state": "present", **variables},
            *options,
            tasks_from="windows",
            DOUBLES=str(self.directory),
            ANSIBLE_COLLECTIONS_PATH=f"{self.directory}:{ROOT}",
        )
        assert played.code == 0, played
        return played, [(name, params) for name, params in map(json.loads, calls.read_text().splitlines())]


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    return Windows(tmp_path)


def test_wsl_2_is_enabled_and_windows_restarted(windows: Windows) -> None:
    windows.answers = {
        "win_optional_feature": {"changed": True, "reboot_required": True},
        "win_reg_stat": {"exists": False},
    }
    _, calls = windows.play("wsl")
    assert [name for name, _ in calls] == ["win_optional_feature", "win_reboot", "win_reg_stat", "win_command"]
    assert calls[0][1]["name"] == ["Microsoft-Windows-Subsystem-Linux", "VirtualMachinePlatform"]
    assert calls[3][1]["argv"] == ["wsl.exe", "--set-default-version", "2"]


def test_a_windows_that_has_wsl_2_is_left_alone(windows: Windows) -> None:
    windows.answers = {
        "win_optional_feature": {"reboot_required": False},
        "win_reg_stat": {"exists": True, "value": 2},
    }
    played, calls = windows.play("wsl")
    assert [name for name, _ in calls] == ["win_optional_feature", "win_reg_stat"]
    assert played.stats["changed"] == 0


def test_docker_desktop_is_kept_or_pinned(windows: Windows) -> None:
    assert windows.play("docker")[1] == [("win_chocolatey", {"name": "docker-desktop", "state": "present"})]
    _, calls = windows.play("docker", docker_desktop_version="4.48.0")
    assert calls == [("win_chocolatey", {"name": "docker-desktop", "state": "downgrade", "version": "4.48.0"})]
    assert windows.play("docker", docker_state="absent")[1][0][1]["state"] == "absent"


def test_minikube_and_kubectl_have_their_pinned_versions(windows: Windows) -> None:
    _, calls = windows.play("minikube")
    assert [params for _, params in calls] == [
        {"name": "kubernetes-cli", "version": "1.35.1", "state": "downgrade"},
        {"name": "minikube", "version": "1.38.1", "state": "downgrade"},
    ]
    _, calls = windows.play("minikube", minikube_state="absent")
    assert [params for _, params in calls] == [
        {"name": "kubernetes-cli", "state": "absent"},
        {"name": "minikube", "state": "absent"},
    ]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A playbook of all three roles, for the inventory that users copy."""
    playbook = tmp_path / "windows.yml"
    roles = [f"gaiaflow.setup.{role}" for role in ROLES]
    playbook.write_text(json.dumps([{"hosts": "windows", "gather_facts": False, "roles": roles}]))
    return playbook


def ansible(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [program, "-i", ROOT / "inventory/windows.example.yml", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_example_inventory_leads_to_the_windows_tasks(example: Path) -> None:
    checked = ansible("--syntax-check", example)
    assert checked.returncode == 0, checked.stderr
    # There is no such host; which task wanted to reach it tells that Windows' file was chosen.
    played = ansible(example, "-e", "ansible_psrp_auth=basic")
    included = next(line for line in played.stdout.splitlines() if line.startswith("included: "))
    file, _, hosts = included.partition(" for ")
    assert file.endswith("roles/wsl/tasks/windows.yml")
    assert sorted(hosts.split(", ")) == ["laptop-1.example.com", "laptop-2.example.com"]
    assert "TASK [gaiaflow.setup.wsl : Enable WSL 2 in Windows]" in played.stdout
    assert "linux.yml" not in played.stdout


def test_the_example_inventory_holds_no_password() -> None:
    inventory = yaml.safe_load((ROOT / "inventory/windows.example.yml").read_text())
    variables = inventory["all"]["children"]["windows"]["vars"]
    assert not any("pass" in name for name in variables)
    assert variables["ansible_psrp_cert_validation"] == "validate"
