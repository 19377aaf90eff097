"""The role preflight, played for real on this machine."""

from __future__ import annotations

import platform
from pathlib import Path

from role_play import play

CHECK = "gaiaflow.setup.preflight : Check that the machine can run the stack"


def test_this_machine_does(tmp_path: Path) -> None:
    played = play(tmp_path, "preflight", {"preflight_home": str(tmp_path / "none" / "home")})
    assert (played.code, played.stats["changed"]) == (0, 0)


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    needed = {"preflight_memory_mb": 9999999, "preflight_disk_mb": 888888888}
    played = play(tmp_path, "preflight", {"preflight_home": str(tmp_path / "none" / "home"), **needed})
    assert played.code == 2
    said = played.failure["msg"]
    assert "9999999 are needed (preflight_memory_mb)" in said
    # The disk is the one of the nearest directory that exists.
    assert f"disk of {tmp_path} " in said and "888888888 are needed (preflight_disk_mb)" in said
    assert "Nothing was changed" in played.failure["hint"]


def test_a_host_of_another_kind_than_the_controller_is_refused(tmp_path: Path) -> None:
    other = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    home = {"preflight_home": str(tmp_path / "home")}
    played = play(tmp_path, "preflight", {**home, "preflight_controller": other})
    assert played.code == 2
    assert f"The processor is {platform.machine()}, and {other} on the machine that Ansible" in played.failure["msg"]
    assert play(tmp_path, "preflight", {**home, "preflight_controller": platform.machine()}).code == 0
