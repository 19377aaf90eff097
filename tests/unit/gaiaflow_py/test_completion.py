"""Completion in real shells: what they offer for a line that a user has begun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[3] / "gaiaflow-setup"

# How a shell, that has read the script, is asked what it offers for a line.
ASK = {
    "bash": """
source <("$LAUNCHER" completion bash)
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_gaiaflow_setup_completion "$LAUNCHER"
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "fish": """
"$LAUNCHER" completion fish | source
complete --do-complete (string join ' ' -- $argv)
""",
    "zsh": """
# Completion needs a terminal's line editor: the offers are recorded where the script hands them over.
autoload -U compinit; compinit -D -u
_describe() { print -l -- ${(P)4-} }
compdef() { : }; compadd() { : }
words=("$@"); CURRENT=$#
_GAIAFLOW_SETUP_COMPLETE=zsh_complete COMP_WORDS="$*" COMP_CWORD=$(($# - 1)) "$LAUNCHER"
""",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two instances."""
    for name in ("first", "second"):
        directory = tmp_path / "instances" / name
        directory.mkdir(parents=True)
        (directory / "instance.json").write_text(json.dumps({"ports": {}}))
    return tmp_path


def offered(shell: str, home: Path, *words: str) -> set[str]:
    """What a shell offers for the last of the words."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} isn't installed here")
    path = f"{LAUNCHER.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "LAUNCHER": str(LAUNCHER), "GAIAFLOW_HOME": str(home), "PATH": path}
    command = [program, "-c", ASK[shell]] + ([] if shell == "fish" else [shell]) + [LAUNCHER.name, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {line.replace("plain,", "").partition("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", ASK)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["wor"], {"workstation"}),
        (["in"], {"instances"}),
        (["mlops", "--st"], {"--start", "--stop"}),
        (["mlops", "--service", ""], {"airflow", "mlflow", "minio", "jupyter"}),
        (["mlops", "--service", "m"], {"mlflow", "minio"}),
        (["mlops", "--runtime", ""], {"native", "docker"}),
        (["status", "--instance", ""], {"first", "second"}),
        (["status", "--instance", "se"], {"second"}),
        (["new", "project_n"], {"project_name="}),
        (["plan", "w"], {"workstation"}),
        (["bundle", "c"], {"create"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
    ],
)
def test_a_shell_offers_what_fits(shell: str, home: Path, words: list[str], expected: set[str]) -> None:
    assert expected <= offered(shell, home, *words)


def test_nothing_is_installed_for_a_completion(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    shutil.copy(LAUNCHER, tmp_path)
    (tmp_path / "requirements/cli.txt").write_text("click==0\n")
    environment = {**os.environ, "_GAIAFLOW_SETUP_COMPLETE": "bash_complete", "COMP_WORDS": "x", "COMP_CWORD": "1"}
    done = subprocess.run([tmp_path / "gaiaflow-setup"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / ".venv").exists()
