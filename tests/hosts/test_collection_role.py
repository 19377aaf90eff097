"""A role of the collection in somebody else's playbook, from the artifact, on a host with systemd."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from collection_artifact import build, install, run
from hosts import USER, Host

PLAYBOOK = """
- name: Have Docker
  hosts: all
  gather_facts: false
  roles: [gaiaflow.setup.docker]
"""


def test_role_docker_works_from_the_artifact_and_changes_nothing_again(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host("bookworm")
    artifact = build(tmp_path)
    with tempfile.TemporaryDirectory() as name:  # short enough for SSH's sockets, which Ansible keeps in the home
        folder = Path(name)
        install(artifact, folder)
        (folder / "site.yml").write_text(PLAYBOOK)
        told = [run("ansible-playbook", "-i", str(host.inventory), "site.yml", cwd=folder) for _ in range(2)]
    changed = [int(re.findall(r"changed=(\d+)", one)[-1]) for one in told]
    assert changed[0] > 0 == changed[1], told
    assert host.run("docker run --rm gaiaflow-setup/check:1 /bin/true", user=USER).returncode == 0
