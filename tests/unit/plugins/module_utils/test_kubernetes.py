"""What is read of a kubeconfig, and what Minikube's events are made into."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from stack import CHECKOUT

from gaiaflow_py.phases import WAITING

RUN_MINIKUBE = CHECKOUT / "roles" / "cluster" / "files" / "run_minikube.py"


@pytest.fixture
def kubernetes() -> ModuleType:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import kubernetes

    return kubernetes


def kubeconfig(**changes: Any) -> dict[str, Any]:
    """Return a kubeconfig with one context, with changes."""
    data = base64.b64encode(b"PEM\n").decode()
    return {
        "kind": "Config",
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": "https://h:1", "certificate-authority-data": data}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    } | changes


def test_context_is_read_inline(kubernetes: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(json.dumps(kubeconfig()))
    access = kubernetes.read_kubeconfig(file)
    assert (access.server, access.authority, access.token, access.by_program) == ("https://h:1", "PEM\n", "t", False)


def test_files_that_a_kubeconfig_names_are_read_beside_it(kubernetes: ModuleType, tmp_path: Path) -> None:
    user = {"client-certificate": "c.pem", "client-key": "k.pem"}
    for name in ("c.pem", "k.pem", "ca.pem"):
        (tmp_path / name).write_text(f"{name}\n")
    clusters = [{"name": "here", "cluster": {"server": "https://h:1", "certificate-authority": "ca.pem"}}]
    file = tmp_path / "config"
    # YAML that is no JSON, as kubectl writes it.
    file.write_text("# mine\n" + json.dumps(kubeconfig(users=[{"name": "me", "user": user}], clusters=clusters)))
    access = kubernetes.read_kubeconfig(file)
    assert access.authority == "ca.pem\n"
    assert access.certificate.split() == ["c.pem", "k.pem"]


def test_credentials_that_a_program_gives_are_left_to_full_clients(kubernetes: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(json.dumps(kubeconfig(users=[{"name": "me", "user": {"exec": {"command": "aws"}}}])))
    assert kubernetes.read_kubeconfig(file).by_program


WRONG = {
    "not YAML": ("a: [", "is no kubeconfig"),
    "a list": ("- 1", "is no kubeconfig"),
    "another kind": (json.dumps({"kind": "Pod", "contexts": []}), "is no kubeconfig"),
    "no such context": (json.dumps(kubeconfig(contexts=[])), "has no context 'one'; there are: none"),
    "no such cluster": (json.dumps(kubeconfig(clusters=[])), "there is no cluster 'here'"),
    "no such user": (json.dumps(kubeconfig(users=[])), "there is no user 'me'"),
    "no server": (json.dumps(kubeconfig(clusters=[{"name": "here", "cluster": {}}])), "has no server"),
    "no base64": (
        json.dumps(
            kubeconfig(clusters=[{"name": "here", "cluster": {"server": "h", "certificate-authority-data": "%"}}])
        ),
        "certificate-authority can't be read",
    ),
    "a file that isn't there": (
        json.dumps(kubeconfig(users=[{"name": "me", "user": {"client-certificate": "gone.pem"}}])),
        "client-certificate can't be read",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_kubeconfig_is_refused_by_name(kubernetes: ModuleType, tmp_path: Path, wrong: str) -> None:
    content, message = WRONG[wrong]
    file = tmp_path / "a config"
    file.write_text(content)
    with pytest.raises(kubernetes.KubeconfigError, match=message) as refused:
        kubernetes.read_kubeconfig(file)
    assert str(file) in str(refused.value)


def events(*data: tuple[str, dict[str, Any]]) -> str:
    """Return a program that writes these events, as Minikube does, and klog's lines between them."""
    lines = [json.dumps({"type": f"io.k8s.sigs.minikube.{kind}", "data": one}) for kind, one in data]
    return "".join(f"print({line!r})\nprint('I1126 klog')\n" for line in lines)


def run_minikube(program: str, tmp_path: Path, run: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program in Minikube's place, for a run of Ansible; this process, unless another is given."""
    command = [sys.executable, str(RUN_MINIKUBE), str(run or os.getpid()), sys.executable, "-c", program]
    environment = {"GAIAFLOW_PROGRESS_FILE": str(tmp_path / "progress"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_steps_are_told_to_the_display(tmp_path: Path) -> None:
    steps = [("step", {"currentstep": str(n), "totalsteps": "19", "name": f"step {n}"}) for n in (1, 8)]
    assert run_minikube(events(*steps), tmp_path).returncode == 0
    told = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert [(one["done"], one["total"], one["item"]) for one in told] == [(1, 19, "step 1"), (8, 19, "step 8")]
    assert {one["phase"] for one in told} == {WAITING}


def test_failure_names_minikubes_error_and_advice(tmp_path: Path) -> None:
    error = ("error", {"name": "RSRC_X", "message": "too little", "advice": "give more"})
    done = run_minikube(events(error) + "raise SystemExit(23)", tmp_path)
    assert done.returncode == 23
    assert "RSRC_X too little give more" in done.stderr


def test_error_event_of_a_start_that_goes_on_is_no_failure(tmp_path: Path) -> None:
    done = run_minikube(events(("error", {"message": "should not be used with root privileges"})), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_failure_without_an_event_tells_the_end_of_the_output(tmp_path: Path) -> None:
    done = run_minikube("print('no such flag')\nraise SystemExit(14)", tmp_path)
    assert (done.returncode, done.stderr.strip()) == (14, "no such flag")


def test_minikube_ends_with_the_run_that_began_it(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert run_minikube("import time; time.sleep(50)", tmp_path, ended.pid).returncode == 128 + signal.SIGTERM
