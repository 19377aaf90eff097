"""The stack from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_content import Content

SCRIPT = """
import json, sys
from gaiaflow_py.errors import GaiaflowError
from gaiaflow_py.manager import MlopsManager
try:
    print(json.dumps({code}))
except GaiaflowError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def evaluate(content: Content, code: str) -> object:
    done = content.python(SCRIPT.replace("{code}", code))
    assert done.stderr == "", "nothing is shown unless asked for"
    return json.loads(done.stdout)


TELL = """
- name: Tell
  ansible.builtin.debug:
    var: services
  vars:
    services:
      - name: '{{ mlops_state }}'
"""


def test_actions_give_a_result(content: Content) -> None:
    content.playbook("mlops", TELL)
    for action, state in (("start", "started"), ("stop", "stopped"), ("restart", "restarted")):
        code = f"(lambda result: [result.status, result.total().ok, result.services])(MlopsManager().{action}())"
        assert evaluate(content, code) == ["ok", 1, [{"name": state}]]


def test_status_gives_the_services(content: Content) -> None:
    assert evaluate(content, "MlopsManager().status()") == []
    content.stopped_instance()
    states = "[[one['name'], one['state']] for one in MlopsManager().status()]"
    assert evaluate(content, states) == [["mlflow", "stopped"], ["postgres", "stopped"]]


def test_a_failure_is_an_error_with_a_type(content: Content) -> None:
    content.playbook("mlops", "- name: Start it\n  ansible.builtin.fail:\n    msg: port taken")
    assert evaluate(content, "MlopsManager().start()") == ["RunError", "Start it on localhost: port taken"]


def test_the_projects_image_is_built_and_named(content: Content) -> None:
    variables = "{{ project_image_project }} {{ project_image_always }} {{ project_image_cache }}"
    content.playbook(
        "images",
        f"- name: Tell\n  ansible.builtin.debug:\n    var: project_image\n  vars:\n    project_image: '{variables}'",
    )
    code = f"MlopsManager({str(content.user)!r}).build_image(always=True, cache=False)"
    assert evaluate(content, code) == f"{content.user} True False"
    refused = evaluate(content, "MlopsManager().build_image()")
    assert refused == ["InputError", "There is no project to build an image of; give MlopsManager one."]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("services=['nginx']", "nginx"),
        ("jupyter_port=99999", "99999"),
        ("instance='A b'", "A b"),
        ("project='/no/where'", "/no/where"),
    ],
)
def test_wrong_values_are_named(content: Content, arguments: str, named: str) -> None:
    refused = evaluate(content, f"MlopsManager({arguments})")
    assert isinstance(refused, list)
    assert refused[0] == "InputError"
    assert named in refused[1]


def test_local_files_are_read(content: Content) -> None:
    directory = content.instance()
    (directory / "logs" / "mlflow.log").touch()
    assert evaluate(content, "MlopsManager().credentials()['airflow']['user']") == "admin"
    assert evaluate(content, "MlopsManager().urls()['mlflow']") == "http://127.0.0.1:5000"
    assert evaluate(content, "{n: str(p) for n, p in MlopsManager().logs('mlflow').items()}") == {
        "mlflow": str(directory / "logs" / "mlflow.log")
    }
    assert evaluate(content, "MlopsManager(instance='other').credentials()") == [
        "InputError",
        "There is no instance 'other' on this machine.",
    ]


def test_main_takes_the_options_of_the_command(content: Content, tmp_path: Path) -> None:
    content.playbook(
        "mlops", "- name: Tell\n  ansible.builtin.debug:\n    msg: '{{ mlops_project }} {{ mlops_state }}'"
    )
    project = tmp_path / "project"
    project.mkdir()
    script = f"from gaiaflow_py.manager import MlopsManager; MlopsManager.main(project={str(project)!r})"
    done = content.python(script, "--stop")
    assert done.returncode == 0, done.stderr
    assert f"{project} stopped" in content.logs()[0].read_text()
    assert content.python(script, "--stop", "--service", "x").returncode == 2
