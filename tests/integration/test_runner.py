"""The runner, on the real ansible-runner and real playbooks."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from cli_content import Content, is_running, processes, wait_for

from gaiaflow_py import cli
from gaiaflow_py.events import Counts, RunResult
from gaiaflow_py.request import Request

OK = "- name: Say it\n  ansible.builtin.debug:\n    msg: hello"
WRITE = """
- name: Write it
  ansible.builtin.copy:
    dest: '{{ lookup("env", "HOME") }}/written'
    content: new
    mode: '0600'
"""
SLEEP = "- name: Work for long\n  ansible.builtin.command: sleep {seconds}\n  changed_when: true"


def test_success_ends_with_one_line_and_leaves_only_a_log(content: Content) -> None:
    content.playbook("mlops", f"{OK}\n{WRITE}")
    done = content.run("mlops", "--start")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ok=2 changed=1 deferred=0 failed=0\n"
    (log,) = content.logs()
    assert f"Log: {log}" in done.stderr
    assert "hello" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert content.leftovers() == []
    assert [path.name for path in content.user.iterdir()] == ["written"], "~/.ansible must not be made"


def test_json_is_one_document(content: Content) -> None:
    content.playbook("mlops", WRITE)
    document = content.json("mlops", "--start")
    assert document == {
        "status": "ok",
        "hosts": {"localhost": {"ok": 1, "changed": 1, "deferred": 0, "failed": 0}},
        "log": str(content.logs()[0]),
    }


def test_each_phase_is_shown_with_its_time_and_no_control_character(content: Content) -> None:
    content.playbook("mlops", f"{OK}\n{SLEEP.format(seconds=2)}")
    shown = content.run("mlops", "--start").stderr
    assert re.findall(r"^✔ (.*) \(([\d.]+) s\)$", shown, re.MULTILINE)[0][0] == "Say it"
    seconds = {title: float(time) for title, time in re.findall(r"^✔ (.*) \(([\d.]+) s\)$", shown, re.MULTILINE)}
    assert seconds["Work for long"] >= 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f]|Validating", shown)


def test_skipped_tasks_are_not_shown_and_long_ones_before_they_end(content: Content) -> None:
    tasks = """
- name: Skip it
  ansible.builtin.command: "true"
  when: 1 > 2
- name: Skip all of it
  ansible.builtin.command: "true"
  loop: [1, 2]
  when: item > 2
- name: Fail, and go on
  ansible.builtin.command: "false"
  ignore_errors: true
"""
    content.playbook("mlops", f"{OK}\n{tasks}\n{SLEEP.format(seconds=60)}")
    with content.started("mlops", "--start") as run:
        assert run.stderr is not None
        shown = [run.stderr.readline() for _ in range(2)]
        run.send_signal(signal.SIGINT)
        shown += run.communicate(timeout=60)[1].splitlines()
    assert [line.partition(" (")[0].strip() for line in shown[:3]] == [
        "✔ Say it",
        "✔ Fail, and go on",
        "✘ Work for long",
    ]


def test_a_failure_names_task_host_message_and_what_to_do(content: Content) -> None:
    fail = "- name: Start it\n  ansible.builtin.command: sh -c 'echo the end of the log >&2; exit 3'"
    content.playbook("mlops", fail)
    done = content.run("mlops", "--start")
    assert done.returncode == 1
    assert "Failed: Start it on localhost: non-zero return code" in done.stderr
    assert "  | the end of the log" in done.stderr
    assert done.stdout == "ok=0 changed=0 deferred=0 failed=1\n"
    assert str(content.logs()[0]) in done.stderr


def test_a_modules_hint_and_details_are_shown(content: Content) -> None:
    library = content.root / "library"
    library.mkdir()
    (content.root / "ansible.cfg").write_text("[defaults]\nlibrary = library\n")
    (library / "broken.py").write_text(
        "from ansible.module_utils.basic import AnsibleModule\n"
        "AnsibleModule(argument_spec={}).fail_json(msg='port 8080 is taken', hint='stop nginx', details=['a', 'b'])\n"
    )
    content.playbook("mlops", "- name: Look\n  broken:")
    document = content.json("mlops", "--start", code=1)
    assert document["status"] == "failed"
    error = {"task": "Look", "host": "localhost", "message": "port 8080 is taken", "hint": "stop nginx"}
    assert document["error"] == error | {"details": "a\nb"}
    assert "What to do: stop nginx" in content.run("mlops", "--start").stderr


def test_a_tasks_hint_stands_after_its_message(content: Content) -> None:
    content.playbook("mlops", "- name: Refuse it\n  ansible.builtin.fail:\n    msg: [port 8080 is taken, stop nginx]")
    error = content.json("mlops", "--start", code=1)["error"]
    assert (error["message"], error["hint"]) == ("port 8080 is taken", "stop nginx")


def test_rescued_and_ignored_failures_are_none(content: Content) -> None:
    tasks = """
- name: Try
  block:
    - name: Fail
      ansible.builtin.fail:
  rescue:
    - name: Save
      ansible.builtin.debug:
- name: Never mind
  ansible.builtin.fail:
  ignore_errors: true
"""
    content.playbook("mlops", tasks)
    done = content.run("mlops", "--start")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("failed=0\n")


def test_the_failed_item_of_a_loop_is_the_one_that_is_shown(content: Content) -> None:
    loop = (
        "- name: Each\n  ansible.builtin.assert:\n    that: item != 2\n    fail_msg: not {{ item }}\n  loop: [1, 2, 3]"
    )
    content.playbook("mlops", loop)
    assert "Each on localhost: not 2" in content.run("mlops", "--start").stderr


def test_wrong_arguments_of_a_role_are_named(content: Content) -> None:
    role = content.root / "playbooks" / "roles" / "thing" / "meta"
    role.mkdir(parents=True)
    (role / "argument_specs.yml").write_text(
        "argument_specs:\n  main:\n    options:\n      thing_port:\n        type: int\n        choices: [1, 2]\n"
    )
    content.playbook("mlops", "- name: Do the thing\n  ansible.builtin.include_role:\n    name: thing")
    done = content.run("mlops", "--start", "-e", "thing_port=99")
    assert done.returncode == 1
    assert "thing_port must be one of: 1, 2, got: 99" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--limit", "nowhere"], "no hosts to target", 1),
        (["-i", "elsewhere.yml"], "elsewhere.yml' doesn't exist", 2),
        (["-e", "@vars.yml"], "vars.yml' doesn't exist", 2),
    ],
)
def test_no_host_and_no_file_are_errors(content: Content, arguments: list[str], message: str, code: int) -> None:
    content.playbook("mlops", OK)
    done = content.run("mlops", "--start", *arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr


def test_a_play_without_a_host_is_an_error(content: Content) -> None:
    content.playbook("mlops", OK)
    path = content.root / "playbooks" / "mlops.yml"
    path.write_text(path.read_text().replace("hosts: all", "hosts: others"))
    done = content.run("mlops", "--start")
    assert done.returncode == 1
    assert "No host matched" in done.stderr


def test_a_broken_playbook_is_shown(content: Content) -> None:
    content.playbook("mlops", "- name: Bad\n  no_such_module_at_all:")
    done = content.run("mlops", "--start")
    assert done.returncode == 1
    assert "no_such_module_at_all" in done.stderr
    assert done.stdout == "ok=0 changed=0 deferred=0 failed=1\n"


def test_an_unreachable_host_is_a_failure_on_that_host(content: Content) -> None:
    content.playbook("mlops", OK.replace("ansible.builtin.debug:\n    msg: hello", "ansible.builtin.ping:"))
    inventory = content.user / "fleet.ini"
    inventory.write_text("far ansible_host=127.0.0.1 ansible_port=1 ansible_connection=ssh\n")
    document = content.json("mlops", "--start", "-i", "fleet.ini", code=1)
    assert document["hosts"] == {"far": {"ok": 0, "changed": 0, "deferred": 0, "failed": 1}}
    assert document["error"]["host"] == "far"
    assert "can log in" in document["error"]["hint"]


def test_what_is_deferred_is_counted_and_listed(content: Content) -> None:
    fact = '[{"component": "docker", "reason": "no root", "finish": "run it as root"}]'
    deferred = (
        f"- name: Later\n  ansible.builtin.debug:\n    var: docker_deferred\n  vars:\n    docker_deferred: {fact}"
    )
    content.playbook("mlops", deferred)
    done = content.run("mlops", "--start")
    assert done.stdout == "ok=1 changed=0 deferred=1 failed=0\n"
    assert "Left for later: docker: no root. To finish: run it as root\n" in done.stderr


def test_verbose_shows_ansibles_own_output_and_json_keeps_it_off_standard_output(content: Content) -> None:
    content.playbook("mlops", OK)
    assert "TASK [Say it]" in content.run("mlops", "--start", "--verbose").stdout
    done = content.run("mlops", "--start", "--verbose", "--json")
    assert "TASK [Say it]" in done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


def test_plan_shows_changes_with_their_differences_and_changes_nothing(content: Content) -> None:
    content.playbook("mlops", f"{OK}\n{WRITE}")
    done = content.run("plan", "mlops", "--start")
    assert done.returncode == 0, done.stderr
    assert "would change on localhost: Write it" in done.stdout
    assert "+new" in done.stdout
    assert not (content.user / "written").exists()
    (change,) = content.json("plan", "mlops")["changes"]
    assert (change["host"], change["task"]) == ("localhost", "Write it")
    content.run("mlops", "--start")
    assert content.run("plan", "mlops").stdout.startswith("Nothing would change.\n")


def test_variables_are_handed_over_in_a_file(content: Content) -> None:
    look = "- name: Look\n  ansible.builtin.shell: tr '\\0' ' ' < /proc/$PPID/cmdline; ps -ef\n  register: seen"
    content.playbook("mlops", f"{look}\n- name: Tell\n  ansible.builtin.debug:\n    msg: '{{{{ seen.stdout }}}}'")
    (content.user / "vars.yml").write_text("token: my-secret-value\n")
    done = content.run("mlops", "--start", "-e", "@vars.yml")
    assert done.returncode == 0, done.stderr
    assert "my-secret-value" not in content.logs()[0].read_text()
    assert content.leftovers() == []


def test_no_log_stays_hidden(content: Content) -> None:
    content.playbook("mlops", OK.replace("hello", "'{{ secret }}'") + "\n  no_log: true")
    done = content.run("mlops", "--start", "-e", "secret=hidden-thing", "--verbose")
    assert "hidden-thing" not in done.stdout + done.stderr + content.logs()[0].read_text()


def test_only_the_newest_logs_are_kept(content: Content) -> None:
    content.playbook("mlops", OK)
    logs = content.home / "logs"
    logs.mkdir(parents=True)
    for number in range(60):
        (logs / f"20200101T0000{number:02}Z-mlops.log").touch()
    content.run("mlops", "--start")
    assert len(content.logs()) == 50
    assert content.logs()[0].name == "20200101T000011Z-mlops.log"


def test_a_locale_that_is_not_there_is_no_obstacle(content: Content) -> None:
    content.playbook("mlops", OK)
    content.environment |= {"LANG": "xx_YY.UTF-8"}
    assert content.run("mlops", "--start").returncode == 0


def test_the_second_run_on_an_instance_is_told_who_holds_it(content: Content) -> None:
    content.playbook("mlops", SLEEP.format(seconds=4031))
    with content.started("mlops", "--start") as first:
        wait_for(lambda: is_running("sleep", "4031"))
        second = content.run("mlops", "--restart")
        assert second.returncode == 75
        assert f"`gaiaflow-setup mlops --start` (pid {first.pid}, since " in second.stderr
        assert "instance 'default'" in second.stderr
        document = content.json("mlops", "--stop", code=75)
        assert "instance 'default'" in document["error"]["message"]
        content.playbook("mlops", OK)
        assert content.run("mlops", "--start", "--instance", "second").returncode == 0
        assert content.run("plan", "mlops").returncode == 0
        first.send_signal(signal.SIGTERM)
        first.communicate()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_cleanly_and_says_how_things_are(
    content: Content, signum: signal.Signals, code: int
) -> None:
    content.playbook("mlops", f"{WRITE}\n{SLEEP.format(seconds=4032)}")
    with content.started("mlops", "--start") as run:
        wait_for(lambda: is_running("sleep", "4032"))
        run.send_signal(signum)
        output, errors = run.communicate(timeout=60)
    assert run.returncode == code, errors
    assert not is_running("sleep", "4032")
    assert "Interrupted during 'Work for long'. Done before: " in errors
    assert "Nothing was undone" in errors
    assert "run `gaiaflow-setup mlops --start` again: it keeps what is done, and goes on with 'Work for long'" in errors
    assert output == "ok=1 changed=1 deferred=0 failed=0\n"
    # On a busy machine, Ansible now and then ends a module before that has removed what it unpacked for itself.
    assert [path for path in content.leftovers() if "_payload_" not in path.name] == []
    content.playbook("mlops", OK)
    assert content.run("mlops", "--start").returncode == 0


def test_an_interruption_leaves_services_alone(content: Content) -> None:
    serve = "- name: Serve\n  ansible.builtin.shell: setsid sleep 4033 >/dev/null 2>&1 &"
    content.playbook("mlops", f"{serve}\n{SLEEP.format(seconds=4034)}")
    with content.started("mlops", "--start") as run:
        wait_for(lambda: is_running("sleep", "4034"))
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    assert is_running("sleep", "4033")
    os.kill(processes("sleep", "4033")[0], signal.SIGKILL)


def test_killing_the_wrapper_ends_the_run_and_the_next_one_works(content: Content) -> None:
    content.playbook("mlops", SLEEP.format(seconds=4035))
    with content.started("mlops", "--start") as run:
        wait_for(lambda: is_running("sleep", "4035"))
        run.kill()
        content.playbook("mlops", OK)
        done = content.run("mlops", "--start")
    assert done.returncode == 0, done.stderr
    assert not is_running("sleep", "4035")
    wait_for(lambda: content.leftovers() == [], met=lambda: sorted(content.temporary.rglob("*")))


def test_a_task_that_misses_the_interrupt_of_a_killed_wrapper_ends_too(content: Content) -> None:
    deaf = "ansible.builtin.shell: trap '' INT; exec sleep 4037"
    content.playbook("mlops", f"- name: Work for long\n  {deaf}\n  changed_when: true")
    with content.started("mlops", "--start") as run:
        wait_for(lambda: is_running("sleep", "4037"))
        run.kill()
        content.playbook("mlops", OK)
        done = content.run("mlops", "--start")
    assert done.returncode == 0, done.stderr
    assert not is_running("sleep", "4037")


@pytest.mark.parametrize("delay_s", [0.05, 0.3, 0.6, 1.0])
def test_killing_the_wrapper_early_does_no_harm(content: Content, delay_s: float) -> None:
    content.playbook("mlops", SLEEP.format(seconds=4036))
    with content.started("mlops", "--start") as run:
        time.sleep(delay_s)
        run.kill()
    content.playbook("mlops", OK)
    assert content.run("mlops", "--start").returncode == 0
    wait_for(lambda: not is_running("sleep", "4036"))


def test_what_a_killed_wrapper_left_is_swept(content: Content) -> None:
    content.playbook("mlops", OK)
    old = content.temporary / "gaiaflow-run-old"
    old.mkdir()
    (old / "owner").touch()
    os.utime(old, (0, 0))
    content.run("mlops", "--start")
    assert content.leftovers() == []


def test_uninstall_leaves_no_file_and_keeps_the_log_of_a_failure(content: Content) -> None:
    content.instance()
    remove = (
        '- name: Remove\n  ansible.builtin.file:\n    path: \'{{ lookup("env", "GAIAFLOW_HOME") }}\'\n    state: absent'
    )
    content.playbook("uninstall", "- name: Fail\n  ansible.builtin.fail:")
    failed = content.run("uninstall", "--yes")
    assert failed.returncode == 1
    (log,) = content.leftovers()
    assert f"Log: {log}" in failed.stderr
    content.playbook("uninstall", remove)
    document = content.json("uninstall", "--yes")
    assert (document["status"], document["log"]) == ("ok", None)
    assert not content.home.exists()
    assert content.leftovers() == [log]


def test_a_terminal_gets_a_live_line(content: Content) -> None:
    content.playbook("mlops", f"{OK}\n{SLEEP.format(seconds=1)}")
    master, slave = pty.openpty()
    environment = content.environment | {"TERM": "xterm", "COLUMNS": "120"}
    command = content.command("mlops", "--start")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=slave, cwd=content.user) as run:
        assert run.wait(timeout=60) == 0
    shown = os.read(master, 100_000).decode()
    assert "\x1b[2K" in shown
    assert "✔\x1b[0m Work for long" in shown


def test_the_package_writes_no_state_into_the_checkout(content: Content) -> None:
    content.playbook("mlops", OK)
    content.run("mlops", "--start")
    kept = {path.name for path in Path(content.root).iterdir()}
    assert kept == {"ansible.cfg", "ansible_collections", "gaiaflow_py", "inventory", "playbooks", "plugins", "roles"}


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (
            "mlops --start --instance two --service minio --project '/my projects/corn' -i a, -e pw=x",
            "mlops --start --service minio --project '/my projects/corn' --instance two --inventory a,",
        ),
        ("uninstall --instance second --yes", "uninstall --instance second --yes"),
        ("models deploy wine --rollback", "models deploy wine --rollback"),
        ("workstation --without docker -v", "workstation --without docker --verbose"),
    ],
)
def test_a_command_is_named_so_that_it_can_be_typed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, typed: str, named: str
) -> None:
    asked: list[str] = []

    def run(request: Request) -> RunResult:
        asked.append(request.command)
        return RunResult(hosts={"a": Counts(ok=1)})

    monkeypatch.setenv("GAIAFLOW_HOME", str(tmp_path))
    monkeypatch.setattr("gaiaflow_py.runner.run", run)
    assert cli.run(shlex.split(typed)) == 0
    assert asked == [named]
