"""run_service.py, run as supervisord runs it, and the rules of what services see of the user's shell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from doctor_machine import CHECKOUT

RUN_SERVICE = CHECKOUT / "roles/mlops/files/programs/run_service.py"
VARIABLES = yaml.safe_load((CHECKOUT / "roles/mlops/vars/main/environment.yml").read_text())
RULES: list[dict[str, Any]] = VARIABLES["mlops_shell_rules"]


def run_service(
    tmp_path: Path, users: dict[str, str] | None, code: str, supervisors: dict[str, str] | None = None, **entry: Any
) -> str:
    """What a service prints that is the given Python code, in the environment of a user."""
    config = tmp_path / "config"
    (config / "environment").mkdir(parents=True, exist_ok=True)
    service = {"environment": "own", "waits_for": [], "env": {}, "command": [sys.executable, "-c", code], **entry}
    description = {
        "credentials": str(config / "credentials.json"),
        "working_directory": str(tmp_path),
        "environments": {"own": str(tmp_path / "own")},
        "services": {"one": service},
    }
    (config / "services.json").write_text(json.dumps(description))
    (config / "credentials.json").write_text(json.dumps({"a": {"b": "the secret"}}))
    if users is not None:
        (config / "environment" / "one.json").write_text(json.dumps(users))
    command = [sys.executable, "-I", "-S", str(RUN_SERVICE), str(config / "services.json"), "one"]
    environment = {"PATH": "/usr/bin:/bin", "SUPERVISOR_ENABLED": "1", **(supervisors or {})}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
