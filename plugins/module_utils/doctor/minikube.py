"""The Minikube profile that runs the project's pods on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .core import Context, Finding, Repair, check, unknown, wrong

STATUS_S = 4.0
PARTS = {"Host": "its container", "Kubelet": "the kubelet", "APIServer": "the API server"}


@check("minikube", "Minikube profile")
def check_minikube(context: Context) -> Finding | None:
    """Check that a profile works as a whole, or is stopped as a whole."""
    program, profile = shutil.which("minikube"), context.minikube_profile
    if not program:
        return unknown("Minikube isn't installed")
    if not context.is_self:
        return unknown(f"only {context.user} can ask Minikube")
    directory = minikube_home(context) / "profiles" / profile
    if not directory.is_dir():
        return None
    # What `gaiaflow-setup cluster` has made has a kubeconfig of its own, and keeps what is in it.
    own = context.home / "cluster" / "admin.kubeconfig"
    if not (directory / "config.json").is_file():
        return half_made(program, profile, "has no settings")
    status = ask(program, profile, own)
    if not status:
        return unknown("`minikube status` says nothing that can be understood")
    finding = judge(program, profile, status)
    if finding and own.exists():
        return wrong(finding.message, finding.why, "gaiaflow-setup cluster --start")
    return finding


def minikube_home(context: Context) -> Path:
    """Return where Minikube keeps its profiles."""
    home = Path(os.environ.get("MINIKUBE_HOME") or context.user_home)
    return home if home.name == ".minikube" else home / ".minikube"


def ask(program: str, profile: str, own: Path) -> dict[str, Any]:
    """Return what Minikube says of the profile; its exit code tells the same once more."""
    command = [program, "status", "-p", profile, "-o", "json"]
    environment = {**os.environ, "KUBECONFIG": str(own)} if own.exists() else None
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env=environment,
        timeout=STATUS_S,
    )
    try:
        status = json.loads(done.stdout)
    except ValueError:
        return {}
    # A profile of several nodes gives a list; the first node is the one that controls the others.
    first = status[0] if isinstance(status, list) and status else status
    return first if isinstance(first, dict) else {}


def judge(program: str, profile: str, status: dict[str, Any]) -> Finding | None:
    """Return what is said of the states of the profile's parts."""
    states = {part: str(status.get(part, "unknown")) for part in PARTS}
    if "Nonexistent" in states.values():
        return half_made(program, profile, "has no container")
    if status.get("Host") in ("Stopped", "Paused"):
        return None
    down = [f"{PARTS[part]} is {state.lower()}" for part, state in states.items() if state not in ("Running", "Paused")]
    if down:
        message = f"Minikube's profile {profile} doesn't work: {', '.join(down)}."
        return repaired_by([program, "start", "-p", profile], message, "No pod can run.")
    if status.get("Kubeconfig") == "Misconfigured":
        message = f"kubectl's settings lead to another place than Minikube's profile {profile}."
        return repaired_by([program, "update-context", "-p", profile], message, "kubectl doesn't reach the cluster.")
    return None


def half_made(program: str, profile: str, lack: str) -> Finding:
    """Return what is said of a profile whose making, or whose removal, was interrupted."""
    message = f"Minikube's profile {profile} {lack}: its making or its removal was interrupted."
    return repaired_by([program, "delete", "-p", profile], message, "`minikube start` may go on failing with it.")


def repaired_by(command: list[str], message: str, why: str) -> Finding:
    """Return a finding that one command of Minikube's repairs."""
    shown = " ".join([Path(command[0]).name, *command[1:]])
    return wrong(message, why, shown, Repair(f"`{shown}` was run.", {"command": command}))
