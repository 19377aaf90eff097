"""`secrets` with the real Ansible and no cluster: what is refused, how it is said, and that no value is."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_content import PACKAGE, script_of

VALUE = "never-to-be-seen-4711"
NO_CLUSTER = "There is no cluster here yet"
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: x}}]
contexts: [{name: only, context: {cluster: c, user: u}}]
"""


@dataclass
class Case:
    """What is run, in a shell, with $G for gaiaflow-setup; how it ends, and what is said."""

    script: str
    code: int
    said: str


CASES = {
    "value in the process list": Case(
        "$G create a --from-literal PW=$V", 2, "Write PW=- and give the value on standard"
    ),
    "value alone in the process list": Case("$G create a --from-literal $V", 2, "Write KEY=-"),
    "two from standard input": Case("$G create a --from-literal A=- --from-literal B=-", 2, "can be given once"),
    "key that is no variable": Case("echo $V | $G create a --from-literal A-B=-", 2, "'A-B' is not a name"),
    "nothing": Case("$G create a", 2, "Say what it is to hold"),
    "file without a key": Case("$G create a --from-file =x", 2, "is not FILE or KEY=FILE"),
    "file's key twice": Case("$G create a --from-file A=x --from-file A=y", 2, "gives A twice"),
    "input that isn't UTF-8": Case("printf 'caf\\351' | $G create a --from-literal A=-", 2, "isn't UTF-8"),
    "empty input": Case("$G create a --from-literal A=- </dev/null", 2, "Standard input is empty"),
    "file that is too big": Case("truncate -s 9M e; $G create a --from-file e", 1, "e is too big for a secret"),
    "delete without being asked": Case("$G delete a </dev/null", 2, "give --yes to agree"),
    "name": Case("echo $V | $G create My_Creds --from-literal A=-", 1, "'My_Creds' is not a secret's name"),
    "name of the product's own": Case("echo $V | $G create gaiaflow-s3 --from-literal A=-", 1, "Choose another name"),
    "file that isn't there": Case("$G create a --from-env-file nothing", 1, "There is no file $PWD/nothing"),
    "file that can't be parsed": Case('printf "A=1\\nB=\'$V" >e; $G create a --from-env-file e', 1, "e, line 2 is not"),
    "vault without its password": Case(
        "printf '$ANSIBLE_VAULT;1.1;AES256\\n6162\\n' >e; $G create a --from-env-file e", 1, "can't be decrypted"
    ),
    "no cluster": Case("echo $V | $G create a --from-literal A=-", 1, NO_CLUSTER),
    "no cluster to list from": Case("$G list", 1, NO_CLUSTER),
    "no cluster to delete from": Case("$G delete a --yes", 1, NO_CLUSTER),
    "cluster that is stopped": Case(
        "echo $V | $G create a --from-literal A=- --kubeconfig config", 1, "doesn't answer"
    ),
    "context that isn't there": Case("$G list --kubeconfig config --context other", 1, "can't be used"),
    "kubeconfig that is none": Case("echo 'a: [' >c; $G list --kubeconfig c", 1, "can't be used"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_named_and_no_value_is_told(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    (tmp_path / "config").write_text(KUBECONFIG)
    command = shlex.join(script_of(PACKAGE, "secrets"))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("GAIAFLOW_", "ANSIBLE_"))},
        "GAIAFLOW_HOME": str(tmp_path / "home"),
        "V": VALUE,
    }
    script = case.script.replace("$G", command)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    output = done.stdout + done.stderr
    assert done.returncode == case.code, output
    assert case.said.replace("$PWD", str(tmp_path)) in output
    assert "Traceback" not in output
    kept = [path.read_text() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert not [text for text in (output, *kept) if VALUE in text]


def test_error_is_a_document_with_json(tmp_path: Path) -> None:
    environment = {**os.environ, "GAIAFLOW_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        script_of(PACKAGE, "secrets", "list", "--json"), env=environment, capture_output=True, text=True, timeout=120
    )
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1
    assert NO_CLUSTER in error["message"]
    assert "cluster --start" in error["hint"]


def test_function_refuses_what_is_not_text(tmp_path: Path) -> None:
    script = "from gaiaflow_py import create_secrets\ncreate_secrets(secret_name='a', secret_data={'PORT': 1})"
    environment = {**os.environ, "GAIAFLOW_HOME": str(tmp_path / "home"), "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(script_of_python(script), env=environment, capture_output=True, text=True, timeout=120)
    assert "InputError: The value of PORT is of type int" in done.stderr


def script_of_python(script: str) -> list[str]:
    """Return the command line that runs a script with the Python of the tests."""
    import sys

    return [sys.executable, "-c", script]
