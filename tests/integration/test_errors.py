"""A clear message is never followed by a traceback, and nothing ends with a traceback alone.

The table is where the next report goes: a situation, as a shell makes it before the command, and what is said of it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_content import Content, script_of

CHECKOUT = Path(__file__).parents[2]
OK = "- name: Say it\n  ansible.builtin.debug:\n    msg: hello"


@dataclass
class Case:
    """What is run, in a shell, with $G for gaiaflow-setup; how it ends, and what is said."""

    script: str
    code: int
    said: str = ""
    as_user: bool = False


CASES = {
    "closed standard input": Case("$G mlops --start <&-", 0),
    "closed standard output": Case("$G --version >&-", 0),
    "closed standard error": Case("$G mlops --start 2>&-", 0),
    "all streams closed": Case("$G mlops --start <&- >&- 2>&-", 0),
    "asking with closed standard input": Case("$G mlops --stop -v <&-", 2, "Nobody can be asked here"),
    "asking for a password with closed standard input": Case("$G mlops --start -K <&-", 2, "No password"),
    "asking for a project's values at the end of input": Case("$G new </dev/null", 130, "Aborted."),
    "reader that has gone": Case("{ $G --help; echo $? >code; } | true", 0),
    "full device": Case("$G --help >/dev/full", 1, "The disk is full"),
    "full device in JSON": Case("$G instances --json >/dev/full", 1, "The disk is full"),
    "ASCII terminal": Case("LC_ALL=POSIX $G new nothing=é", 2, "has no 'nothing'"),
    "Latin-1 terminal": Case("LC_ALL=C PYTHONIOENCODING=latin-1 $G status '🍷'", 2, "🍷"),
    "argument that isn't UTF-8": Case("$G status $(printf 'caf\\351')", 2, "caf"),
    "project that isn't UTF-8": Case("$G mlops --start --project $(printf 'caf\\351')", 2, "isn't in UTF-8"),
    "variable that isn't UTF-8": Case(
        "PIP_INDEX_URL=$(printf 'caf\\351') $G mlops --start", 2, "The environment variable PIP_INDEX_URL isn't UTF-8"
    ),
    "working directory that was removed": Case("mkdir x; cd x; rmdir $PWD; $G mlops --start", 0),
    "relative path in a directory that was removed": Case(
        "mkdir x; cd x; rmdir $PWD; $G mlops --start --project .", 1, "The working directory doesn't exist any more"
    ),
    "unset HOME": Case("unset HOME GAIAFLOW_HOME; $G instances", 0),
    "empty HOME": Case("unset GAIAFLOW_HOME; HOME= $G instances", 0),
    "relative HOME": Case("unset GAIAFLOW_HOME; HOME=x $G instances; test ! -e x", 0),
    "home below a file": Case("touch f; GAIAFLOW_HOME=$PWD/f/x $G mlops --start", 1, "f"),
    "home that can't be written": Case(
        "mkdir ro; chmod 555 ro; GAIAFLOW_HOME=$PWD/ro/x $G mlops --start", 1, "This isn't allowed", as_user=True
    ),
    "logs that can't be written": Case("mkdir -p h; touch h/logs; GAIAFLOW_HOME=$PWD/h $G mlops --start", 1, "log"),
    "home on a full disk": Case("GAIAFLOW_HOME=/dev/full/x $G mlops --start", 1, "/dev/full"),
    "temporary directory that isn't there": Case("TMPDIR=/proc/nowhere $G mlops --start", 0),
    "relative temporary directory": Case("mkdir t; TMPDIR=t $G mlops --start", 0),
    "file of variables that isn't there": Case("$G mlops --start -e @nothing.yml", 2, "doesn't exist"),
    "file of variables that is a directory": Case("mkdir d; $G mlops --start -e @d", 2, "doesn't exist"),
    "file of variables that isn't YAML": Case("echo 'a: [' >v; $G mlops --start -e @v", 1, "v"),
    "file of variables that isn't UTF-8": Case("printf 'a: caf\\351' >v; $G mlops --start -e @v", 1, "v"),
    "JSON that is no object": Case("$G mlops --start -e '{1}'", 2, "is not a JSON object"),
    "record of an instance that is no JSON": Case("mkdir -p $R; echo '[' >$R/instance.json; $G credentials", 1),
    "record of an instance of another type": Case("mkdir -p $R; echo '[]' >$R/instance.json; $G credentials", 1),
    "cookiecutter's settings that are no YAML": Case("echo 'a: [' >~/.cookiecutterrc; $G new --no-input", 1, "YAML"),
    "too few open files": Case("ulimit -n 6; $G instances --json", 0),
    "unknown command": Case("$G nothing", 2, "There is no command 'nothing'"),
    "unknown option": Case("$G status --nothing", 2, "--nothing"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_goes_wrong_is_said_without_a_traceback(content: Content, case: Case) -> None:
    if case.as_user and os.geteuid() == 0:
        pytest.skip("root can write anywhere")
    content.playbook("mlops", OK)
    shutil.copytree(CHECKOUT / "template", content.root / "template")
    content.checkouts_own("new", "project")
    command = shlex.join(script_of(content.root / "gaiaflow_py"))
    script = f'G={shlex.quote(command)}; g() {{ {command} "$@"; }}; R=$GAIAFLOW_HOME/instances/default\n'
    done = subprocess.run(
        ["bash", "-c", script + case.script.replace("$G", "g")],
        env=content.environment,
        cwd=content.user,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == case.code, done.stdout + done.stderr
    assert case.said in done.stderr


BROKEN = "raise RuntimeError('a bug')\n"


def test_a_bug_is_a_message_and_its_traceback_is_kept(content: Content) -> None:
    (content.root / "gaiaflow_py" / "commands" / "instances.py").write_text(BROKEN)
    done = content.run("instances")
    (log,) = content.logs()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: Something unexpected happened: RuntimeError: a bug\nWhat to do: ")
    assert str(log) in done.stderr and "Traceback" not in done.stderr
    assert "RuntimeError: a bug" in log.read_text() and log.stat().st_mode & 0o777 == 0o600
    document = json.loads(content.run("instances", "--json").stdout)
    assert document["error"]["message"] == "Something unexpected happened: RuntimeError: a bug"
    content.environment["GAIAFLOW_DEBUG"] = "1"
    assert "Traceback" in content.run("instances").stderr
