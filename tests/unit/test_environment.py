"""What the wrapped Ansible, and its modules on this machine, see of the user's environment."""

from __future__ import annotations

import json
import os
import subprocess

from cli_content import Content, content

__all__ = ["content"]

HAND_OVER = """
- name: Keep what is handed over for the services
  ansible.builtin.copy:
    src: '{{ lookup("env", "GAIAFLOW_USER_ENVIRONMENT") }}'
    dest: '{{ lookup("env", "HOME") }}/handed-over'
    mode: preserve
"""


def test_the_services_are_handed_the_users_whole_environment_as_it_is(content: Content) -> None:
    content.playbook("mlops", HAND_OVER)
    odd = {
        b"PYTHONHASHSEED": b"7",
        b"AIRFLOW__CORE__X": b"{{ 7*7 }}\n$HOME %(ENV_X)s",
        b"LATIN_1": b"caf\xe9",
        b"EMPTY": b"",
        b"BASH_FUNC_module%%": b"() {  echo x\n}",
    }
    environment = {os.fsencode(k): os.fsencode(v) for k, v in content.environment.items()} | odd
    done = subprocess.run(content.command("mlops", "--start"), env=environment, cwd=content.user, capture_output=True)
    assert done.returncode == 0, done.stderr
    file = content.user / "handed-over"
    assert file.stat().st_mode & 0o777 == 0o600
    handed_over = {os.fsencode(k): os.fsencode(v) for k, v in json.loads(file.read_text()).items()}
    assert {name: handed_over.get(name) for name in environment} == environment
    assert content.leftovers() == []
