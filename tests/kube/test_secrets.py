"""Secrets on a real cluster: made, replaced, left alone, deleted; and values that are nowhere but there."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster
from stack import CHECKOUT, SUMMARY

pytestmark = pytest.mark.usefixtures("tools")

NAME = "my-creds"
VALUE = "never-to-be-seen-4711"
ENCODED = base64.b64encode(VALUE.encode()).decode()
HARD = {
    "DOLLARS": "a$$b $(DOLLARS) ${HOME} $HOME",
    "QUOTES": "he said \"hi\", it's 'fine'",
    "BACKSLASH": "C:\\new\\table \\",
    "PERCENT": "50% %(x)s",
    "UMLAUTS": "é Zoë 🍷",
    "TEMPLATE": "{{ 7 * 7 }} {% raw %}",
    "LINES": "one\ntwo\n",
    "NUMBER": "0123",
    "YES": "yes",
    "EMPTY": "",
    "SPACES": "  a  ",
}


@pytest.fixture(autouse=True)
def _no_secret_is_left(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.kubectl("-n", namespace(cluster), "delete", "secret", NAME, "--ignore-not-found")


def namespace(cluster: Cluster) -> str:
    return "default" if cluster.stack.instance == "default" else f"gaiaflow-{cluster.stack.instance}"


def secrets(
    cluster: Cluster, *words: str, ok: bool = True, given: str | None = None, more: dict[str, str] | None = None
) -> tuple[str, int]:
    """Run `gaiaflow-setup secrets`, and return what it says and how many tasks changed something."""
    command = [str(CHECKOUT / "gaiaflow-setup"), "secrets", *words, "--instance", cluster.stack.instance]
    done = subprocess.run(
        command, env={**cluster.environment, **(more or {})}, input=given, capture_output=True, text=True, timeout=180
    )
    said = done.stdout + done.stderr
    assert (done.returncode == 0) is ok, said
    found = SUMMARY.search(done.stdout)
    return said, int(found[2]) if found else 0


def kept(cluster: Cluster, name: str = NAME) -> dict[str, Any]:
    """What the cluster has of a secret."""
    found: dict[str, Any] = cluster.get("-n", namespace(cluster), "secret", name)
    return found


def values(cluster: Cluster) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in kept(cluster).get("data", {}).items()}


def create_in_python(cluster: Cluster, data: dict[str, str]) -> None:
    call = f"create_secrets(secret_name={NAME!r}, secret_data={data!r}, instance={cluster.stack.instance!r})"
    environment = {**cluster.environment, "PYTHONPATH": str(CHECKOUT)}
    script = f"from gaiaflow_py import create_secrets; {call}"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=180)


def test_secret_is_made_replaced_whole_and_left_alone(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "a b.env"
    file.write_text("A=1\nexport B='two words' # c\n")
    assert secrets(cluster, "create", NAME, "--from-env-file", str(file))[1] == 1
    secret = kept(cluster)
    assert (secret["type"], values(cluster)) == ("Opaque", {"A": b"1", "B": b"two words"})
    assert secret["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "gaiaflow-setup"}
    assert "annotations" not in secret["metadata"]
    assert secrets(cluster, "create", NAME, "--from-env-file", str(file))[1] == 0
    file.write_text("B=three\nC=\n")
    assert secrets(cluster, "create", NAME, "--from-env-file", str(file))[1] == 1
    assert values(cluster) == {"B": b"three", "C": b""}


def test_values_arrive_as_they_are_given(cluster: Cluster) -> None:
    create_in_python(cluster, HARD)
    assert values(cluster) == {key: value.encode() for key, value in HARD.items()}


def test_pod_sees_the_values_as_they_were_given(cluster: Cluster) -> None:
    create_in_python(cluster, HARD)
    (image,) = cluster.kept["images"].values()
    code = "import json, os; print(json.dumps({k: v for k, v in os.environ.items()}))"
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", code],
        "envFrom": [{"secretRef": {"name": NAME}}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "secret-probe"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    where = ("-n", namespace(cluster))
    cluster.kubectl(*where, "create", "-f", "-", stdin=json.dumps(pod))
    try:
        for _ in range(120):
            phase = cluster.get(*where, "pod", "secret-probe")["status"]["phase"]
            if phase in ("Succeeded", "Failed"):
                break
            time.sleep(0.5)
        seen = json.loads(cluster.kubectl(*where, "logs", "secret-probe"))
    finally:
        cluster.kubectl(*where, "delete", "pod", "secret-probe", "--now")
    assert {key: seen[key] for key in HARD} == HARD


def test_sources_go_together(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "key.bin").write_bytes(b"\x00\xff\n")
    words = ["--from-env-file", str(tmp_path / ".env"), "--from-literal", "B=-"]
    words += ["--from-file", str(tmp_path / "key.bin"), "--from-file", f"C={tmp_path / '.env'}"]
    said, _ = secrets(cluster, "create", NAME, *words, given="two\n")
    assert values(cluster) == {"A": b"1", "B": b"two", "key.bin": b"\x00\xff\n", "C": b"A=1\n"}
    assert "B (3 bytes)" in said
    assert "C (4 bytes, ends with a newline)" in said
    assert "key.bin is no variable's name" in said


@pytest.mark.parametrize("options", [["-vvv", "--diff"], ["--check", "--diff", "-vvv"], ["--json"]], ids=" ".join)
def test_no_value_is_told_or_kept_by_this_product(cluster: Cluster, options: list[str], tmp_path: Path) -> None:
    secrets(cluster, "create", NAME, "--from-literal", "OLD=-", given=VALUE)
    said, _ = secrets(
        cluster, "create", NAME, "--from-literal", "PW=-", *options, given=VALUE + "x", more={"TMPDIR": str(tmp_path)}
    )
    texts = [said, secrets(cluster, "list", "--json")[0]]
    texts += [file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file()]
    texts += [file.read_text(errors="replace") for file in (cluster.home / "logs").glob("*secrets*.log")]
    for secret in (VALUE, ENCODED, base64.b64encode(f"{VALUE}x".encode()).decode()):
        assert not [text for text in texts if secret in text]


def test_check_mode_names_keys_and_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("A=1\nB=2\nC=3\n")
    said, changed = secrets(cluster, "create", NAME, "--from-env-file", str(file), "--check")
    assert changed == 1
    assert "A comes" in said
    cluster.kubectl("-n", namespace(cluster), "get", "secret", NAME, ok=False)
    secrets(cluster, "create", NAME, "--from-env-file", str(file))
    file.write_text("B=two\nC=3\nD=4\n")
    said, changed = secrets(cluster, "create", NAME, "--from-env-file", str(file), "--check", "--diff")
    assert changed == 1
    for change in ("D comes", "B changes", "A goes"):
        assert f"{NAME}: {change}" in said
    assert f"{NAME}: C" not in said
    assert values(cluster) == {"A": b"1", "B": b"2", "C": b"3"}
    assert secrets(cluster, "delete", NAME, "--check")[1] == 1
    assert values(cluster) == {"A": b"1", "B": b"2", "C": b"3"}


def test_list_tells_keys_and_lengths(cluster: Cluster) -> None:
    secrets(cluster, "create", NAME, "--from-literal", "PW=-", given="12345")
    listed = json.loads(cluster.setup("secrets", "list", "--json", "--instance", cluster.stack.instance).stdout)
    (one,) = (one for one in listed["secrets"] if one["name"] == NAME)
    assert one["keys"] == [{"key": "PW", "bytes": 5, "ends_with_newline": False}]
    assert one["ours"] is True


def test_delete_without_a_name_deletes_nothing(cluster: Cluster) -> None:
    before = cluster.kubectl("get", "secrets", "--all-namespaces", "--output=name")
    said, _ = secrets(cluster, "delete", "", "--yes", ok=False)
    assert "No secret is named." in said
    assert cluster.kubectl("get", "secrets", "--all-namespaces", "--output=name") == before


def test_delete_takes_it_away_once(cluster: Cluster) -> None:
    secrets(cluster, "create", NAME, "--from-literal", "PW=-", given="12345")
    assert secrets(cluster, "delete", NAME, "--yes")[1] == 1
    said, changed = secrets(cluster, "delete", NAME, "--yes")
    assert changed == 0
    assert f"There is no secret '{NAME}'" in said


def test_what_kubectl_keeps_in_an_annotation_goes(cluster: Cluster) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME, "labels": {"team": "a"}}}
    manifest = json.dumps({**body, "data": {"PW": ENCODED}})
    cluster.kubectl("-n", namespace(cluster), "apply", "-f", "-", stdin=manifest)
    secrets(cluster, "create", NAME, "--from-literal", "PW=-", given="new")
    assert ENCODED not in json.dumps(kept(cluster))
    assert kept(cluster)["metadata"]["labels"]["team"] == "a"


def test_secret_for_another_use_is_refused(cluster: Cluster) -> None:
    words = ["docker-registry", NAME, "--docker-username=a", "--docker-password=b", "--docker-server=c"]
    cluster.kubectl("-n", namespace(cluster), "create", "secret", *words)
    said, _ = secrets(cluster, "create", NAME, "--from-literal", "PW=-", ok=False, given="new")
    assert "of type kubernetes.io/dockerconfigjson" in said


def test_immutable_secret_is_refused(cluster: Cluster) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME}, "immutable": True}
    cluster.kubectl("-n", namespace(cluster), "create", "-f", "-", stdin=json.dumps({**body, "data": {"PW": ENCODED}}))
    said, _ = secrets(cluster, "create", NAME, "--from-literal", "PW=-", ok=False, given="new")
    assert "is immutable" in said
    assert f"secrets delete {NAME}" in said


def test_missing_right_and_namespace_are_named(cluster: Cluster, tmp_path: Path) -> None:
    said, _ = secrets(cluster, "create", NAME, "--from-literal", "A=-", "--namespace", "nowhere", ok=False, given=VALUE)
    assert "no namespace 'nowhere'" in said
    weak = tmp_path / "weak"
    weak.write_text(weaker(cluster))
    said, _ = secrets(
        cluster, "create", NAME, "--from-literal", "A=-", "--kubeconfig", str(weak), ok=False, given=VALUE
    )
    assert "answers 403 Forbidden: secrets" in said
    assert "must be of somebody who may write secrets" in said
    assert VALUE not in said


def weaker(cluster: Cluster) -> str:
    """A kubeconfig of the namespace's default account, which may do nothing."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    token = cluster.kubectl("-n", namespace(cluster), "create", "token", "default").strip()
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    return json.dumps(config)


def test_secrets_that_a_project_declares_are_made(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.gaiaflow.secrets]\n{NAME} = "conf/.env"\n')
    said, _ = declared(cluster, tmp_path, ok=False)
    assert f"There is no file {tmp_path}/conf/.env" in said
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / ".env").write_text("A=1\n")
    assert declared(cluster, tmp_path)[1] == 1
    assert values(cluster) == {"A": b"1"}
    assert declared(cluster, tmp_path)[1] == 0


def declared(cluster: Cluster, project: Path, *, ok: bool = True) -> tuple[str, int]:
    """Run the playbook, as somebody without the wrapper does."""
    variables = {
        "kube_secret_state": "declared",
        "kube_secret_project": str(project),
        "kube_secret_instance": cluster.stack.instance,
    }
    command = [
        str(CHECKOUT / ".venv" / "bin" / "ansible-playbook"),
        "playbooks/secrets.yml",
        "-e",
        json.dumps(variables),
    ]
    environment = {**os.environ, **cluster.environment}
    done = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=180)
    said = done.stdout + done.stderr
    assert (done.returncode == 0) is ok, said
    return said, int(said.rpartition("changed=")[2].split()[0])


def test_vault_is_opened_with_the_users_password(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open sesame")
    file = tmp_path / ".env"
    file.write_text(f"PW={VALUE}\n")
    vault = [str(CHECKOUT / ".venv" / "bin" / "ansible-vault"), "encrypt", "--vault-password-file"]
    subprocess.run([*vault, str(tmp_path / "password"), str(file)], check=True, capture_output=True)
    assert VALUE not in file.read_text()
    said, _ = secrets(cluster, "create", NAME, "--from-env-file", str(file), ok=False)
    assert "encrypted by Ansible Vault" in said
    password = {"ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "password")}
    secrets(cluster, "create", NAME, "--from-env-file", str(file), more=password)
    assert values(cluster) == {"PW": VALUE.encode()}
