"""The command line: what it accepts, what it refuses, and what it prints."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys

import pytest
from cli_content import Content, wait_for

TELL = """
- name: Keep what was handed over
  ansible.builtin.copy:
    dest: "{{ lookup('env', 'HOME') }}/handed-over"
    content: >-
      {{ hostvars[inventory_hostname] | dict2items | selectattr('key', 'match', 'mlops_|uninstall_') | items2dict
         | to_json }}
    mode: "0600"
"""


def handed_over(content: Content, *arguments: str, playbook: str = "mlops") -> dict[str, object]:
    content.playbook(playbook, TELL)
    done = content.run(*arguments)
    assert done.returncode == 0, done.stderr
    values = json.loads((content.user / "handed-over").read_text())
    assert isinstance(values, dict)
    return values


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mlops", "--start"], {"mlops_state": "started"}),
        (
            ["mlops", "--restart", "--service", "airflow", "--service", "mlflow", "-j", "8900", "--instance", "b"],
            {
                "mlops_state": "restarted",
                "mlops_services": ["airflow", "mlflow"],
                "mlops_port_overrides": {"jupyter": 8900},
                "mlops_instance": "b",
            },
        ),
        (["mlops", "--stop", "-v", "--yes"], {"mlops_state": "stopped", "mlops_delete_volumes": True}),
        (["mlops", "--start", "--runtime", "native"], {"mlops_state": "started", "mlops_runtime": "native"}),
        (
            ["mlops", "--start", "--runtime", "docker", "-b", "-c", "--no-carry-data"],
            {
                "mlops_state": "started",
                "mlops_runtime": "docker",
                "mlops_build": "always",
                "mlops_build_cache": True,
                "mlops_carry_data": False,
            },
        ),
        (
            ["mlops", "--export-compose", "/srv/compose.yaml"],
            {"mlops_state": "exported", "mlops_runtime": "docker", "mlops_export_file": "/srv/compose.yaml"},
        ),
        (["mlops", "--start", "-e", 'mlops_more={"a": 1}'], {"mlops_state": "started", "mlops_more": '{"a": 1}'}),
        (["mlops", "--start", "-e", '{"mlops_more": [1]}'], {"mlops_state": "started", "mlops_more": [1]}),
    ],
)
def test_options_become_variables(content: Content, arguments: list[str], expected: dict[str, object]) -> None:
    assert handed_over(content, *arguments) == expected


def test_the_project_is_handed_over_with_its_whole_path(content: Content) -> None:
    (content.user / "my project").mkdir()
    expected = {"mlops_state": "started", "mlops_project": str(content.user / "my project")}
    assert handed_over(content, "mlops", "--start", "--project", "my project") == expected
    expected = {"mlops_project": str(content.user / "absent")}
    assert handed_over(content, "workstation", "--project", "absent", playbook="workstation") == expected


def test_uninstall_hands_over_what_to_delete(content: Content) -> None:
    assert handed_over(content, "uninstall", "--yes", playbook="uninstall") == {}
    expected = {"uninstall_instance": "second"}
    assert handed_over(content, "uninstall", "--yes", "--instance", "second", playbook="uninstall") == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["mlops", "--start", "--service", "nginx"], ["nginx", "airflow", "jupyter"]),
        (["mlops", "--start", "-j", "99999"], ["99999", "1", "65535"]),
        (["mlops", "--start", "-j", "zero"], ["zero"]),
        (["mlops", "--start", "--instance", "My_Own"], ["My_Own", "lower-case"]),
        (["mlops", "--start", "--project", "nowhere/here"], ["nowhere/here", "doesn't exist"]),
        (["mlops"], ["--start", "--stop", "--restart"]),
        (["mlops", "--start", "--stop"], ["--start and --stop"]),
        (["mlops", "--start", "-e", "novalue"], ["novalue", "key=value"]),
        (["mlops", "--start", "-e", "{1}"], ["{1}", "JSON"]),
        (["mlops", "--start", "--runtime", "podman"], ["podman", "native", "docker"]),
        (["mlops", "--start", "-c"], ["--cache", "--docker-build"]),
        (["mlops", "--start", "-b", "--runtime", "native"], ["--docker-build", "--runtime docker"]),
        (["mlops", "--start", "--export-compose", "compose.yaml"], ["--start", "--export-compose"]),
        (["mlops", "--stop", "-v"], ["every object in S3", "--yes"]),
        (["mlops", "--stop", "-v", "--service", "mlflow"], ["MLflow's experiments", "--yes"]),
        (["uninstall"], ["all instances", "--yes"]),
        (["plan", "cluster"], ["cluster", "workstation", "mlops"]),
        (["start"], ["start", "workstation", "uninstall"]),
        (["logs", "airflow", "--instance", "gone"], ["gone", "default"]),
        (["logs", "nginx"], ["nginx", "airflow-scheduler", "mlflow"]),
        (["open", "nginx"], ["nginx", "airflow"]),
        (["credentials", "--instance", "gone"], ["gone", "default"]),
    ],
)
def test_wrong_input_is_refused_naming_the_value_and_what_is_allowed(
    content: Content, arguments: list[str], named: list[str]
) -> None:
    content.playbook("mlops", TELL)
    logs = content.instance() / "logs"
    for program in ("airflow-scheduler", "mlflow"):
        (logs / f"{program}.log").touch()
    done = content.run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    for word in named:
        assert word in done.stderr
    error = content.json(*arguments, code=2)
    assert error["status"] == "error"
    assert named[0] in error["error"]["message"]


def test_deleting_data_is_asked_for_and_no_is_the_default(content: Content) -> None:
    content.playbook("mlops", TELL)
    for answer, code in ((b"\n", 1), (b"y\n", 0)):
        master, slave = pty.openpty()
        with subprocess.Popen(
            content.command("mlops", "--stop", "-v"),
            stdin=slave,
            stderr=subprocess.PIPE,
            env=content.environment,
            cwd=content.user,
        ) as run:
            os.write(master, answer)
            assert run.stderr is not None
            assert b"every object in S3" in run.stderr.read()
            assert run.wait(timeout=60) == code
        assert (content.user / "handed-over").exists() == (code == 0)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from gaiaflow_py.cli import run; run(['--help'])\n"
        "print(sorted({'rich', 'ansible', 'ansible_runner', 'cookiecutter', 'yaml', 'dataclasses'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize(
    "name", ["workstation", "mlops", "plan", "status", "credentials", "logs", "open", "instances", "new", "uninstall"]
)
def test_every_command_has_help_with_examples(content: Content, name: str) -> None:
    (content.root / "template").mkdir()
    (content.root / "template" / "cookiecutter.json").write_text("{}")
    shown = content.run(name, "--help").stdout
    assert f"Examples:\n    gaiaflow-setup {name}" in shown


def test_version(content: Content) -> None:
    from gaiaflow_py import __version__

    assert content.run("--version").stdout == f"gaiaflow-setup {__version__}\n"


SERVICES = """
- name: Ask
  ansible.builtin.debug:
    var: services
  vars:
    services:
      - {name: airflow, state: running, health: healthy, url: "http://127.0.0.1:8080", uptime_s: 3700,
         memory_bytes: 104857600}
      - {name: mlflow, state: stopped, health: null, url: null, uptime_s: null, memory_bytes: null}
"""


def test_status_is_a_table_or_a_document(content: Content) -> None:
    content.instance()
    content.playbook("status", SERVICES)
    shown = content.run("status", "-e", "asked=anew").stdout.splitlines()
    assert [line.split() for line in shown] == [
        ["Service", "State", "Health", "URL", "Uptime", "Memory"],
        ["airflow", "running", "healthy", "http://127.0.0.1:8080", "1", "h", "1", "min", "100", "MiB"],
        ["mlflow", "stopped", "-", "-", "-", "-"],
    ]
    services = content.json("status", "-e", "asked=anew")["services"]
    assert services[0]["memory_bytes"] == 104857600
    assert set(services[1]) == {"name", "state", "health", "url", "uptime_s", "memory_bytes"}


def test_status_of_an_absent_instance_is_refused(content: Content) -> None:
    content.instance("second")
    assert "second" in content.json("status", "--instance", "gone", code=2)["error"]["hint"]


def test_status_of_two_hosts_names_them(content: Content) -> None:
    content.playbook("status", SERVICES)
    (content.user / "two.ini").write_text("a ansible_connection=local\nb ansible_connection=local\n")
    services = content.json("status", "-i", "two.ini")["services"]
    assert [service["host"] for service in services] == ["a", "a", "b", "b"]


def test_a_failed_status_is_an_error(content: Content) -> None:
    content.instance()
    content.playbook("status", "- name: Ask\n  ansible.builtin.fail:\n    msg: no idea")
    assert content.json("status", "-e", "asked=anew", code=1)["error"]["message"] == "no idea"


STOPPED = {"state": "stopped", "health": "stopped", "uptime_s": 0, "memory_bytes": 0}


def test_status_of_this_machine_runs_no_playbook(content: Content) -> None:
    content.stopped_instance()
    assert content.json("status") == {
        "services": [
            {"name": "mlflow", "service": "mlflow", "url": "http://127.0.0.1:5000", **STOPPED},
            {"name": "postgres", "service": "airflow", "url": "", **STOPPED},
        ]
    }
    shown = content.run("status").stdout.splitlines()
    assert shown[1].split() == ["mlflow", "stopped", "stopped", "http://127.0.0.1:5000", "0", "s", "0", "MiB"]
    assert content.logs() == []


@pytest.mark.parametrize("option", [["-i", "two.ini"], ["--limit", "all"], ["-e", "a=b"], ["-v"]], ids=" ".join)
def test_status_with_an_option_of_ansibles_runs_the_playbook(content: Content, option: list[str]) -> None:
    content.stopped_instance()
    content.playbook("status", SERVICES)
    (content.user / "two.ini").write_text("a ansible_connection=local\n")
    assert "airflow" in content.run("status", *option).stdout


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("config/services.json", "[]", "isn't what a start has written"),
        ("config/services.json", '{"services": {"mlflow": {}}, "environments": {"base": "/nowhere"}}', "no Python"),
        ("instance.json", '{"ports": {}, "urls": {}, "runtime": "docker", "engine": "/nowhere"}', "Docker engine"),
    ],
    ids=["a list", "no Python", "no engine"],
)
def test_status_tells_what_it_cannot_ask(content: Content, name: str, text: str, told: str) -> None:
    directory = content.stopped_instance()
    shutil.copy(directory / "config" / "services.json", directory / "config" / "containers.json")
    (directory / name).write_text(text)
    error = content.json("status", code=1)["error"]
    assert told in error["message"]
    assert error["hint"]


def test_the_endpoints_are_a_table_at_the_end(content: Content) -> None:
    endpoints = '[{"service": "airflow", "url": "http://127.0.0.1:8080", "user": "admin", "password_in": "a file"}]'
    task = f"- name: Tell\n  ansible.builtin.debug:\n    var: endpoints\n  vars:\n    endpoints: {endpoints}"
    content.playbook("workstation", task)
    lines = content.run("workstation").stdout.splitlines()
    assert lines[0].split() == ["Service", "URL", "Sign", "in", "as"]
    assert lines[1].split() == ["airflow", "http://127.0.0.1:8080", "admin"]
    assert lines[2] == "Passwords and tokens: `gaiaflow-setup credentials` shows them; they are kept in a file"
    assert lines[3:] == ["ok=1 changed=0 deferred=0 failed=0"]


def test_the_endpoints_of_several_hosts_name_them(content: Content) -> None:
    endpoints = '[{"service": "airflow", "url": "http://127.0.0.1:{{ number }}", "user": "", "password_in": ""}]'
    task = f"""
- name: Tell
  ansible.builtin.debug:
    var: endpoints
  vars:
    endpoints: {endpoints}
  when: number | int != 3
"""
    content.playbook("workstation", task)
    hosts = "".join(f"{name} ansible_connection=local number={number}\n" for number, name in enumerate("abcd"))
    (content.user / "fleet.ini").write_text(hosts)
    lines = content.run("workstation", "-i", "fleet.ini").stdout.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["Host", "Service", "URL", "Sign", "in", "as"],
        *([host, "airflow", f"http://127.0.0.1:{number}"] for number, host in enumerate("abc")),
    ]
    told = content.json("workstation", "-i", "fleet.ini", "--limit", "b")["endpoints"]
    assert [one.get("host") for one in told] == [None]


def test_credentials_hide_what_is_internal(content: Content) -> None:
    content.instance()
    assert content.json("credentials") == {"airflow": {"user": "admin", "password": "pw-of-airflow"}}
    shown = content.run("credentials").stdout
    assert "pw-of-airflow" in shown
    assert "never-shown" not in shown


def test_instances_are_listed(content: Content) -> None:
    assert content.json("instances") == {"instances": []}
    content.instance()
    content.instance("second")
    assert [one["name"] for one in content.json("instances")["instances"]] == ["default", "second"]
    assert "second" in content.run("instances").stdout


def test_open_prints_the_url_where_there_is_no_browser(content: Content) -> None:
    content.instance()
    done = content.run("open", "airflow")
    assert (done.returncode, done.stdout) == (0, "http://127.0.0.1:8080\n")
    assert "No browser" in done.stderr
    assert content.json("open", "mlflow")["opened"] is False


def test_logs_of_several_programs_are_one_in_the_order_of_time(content: Content) -> None:
    logs = content.instance() / "logs"
    (logs / "airflow-scheduler.log").write_text(
        "[2026-11-23T10:00:01.5+0000] one\n  more of one\n[2026-11-23T10:00:03.5+0000] three\n"
    )
    (logs / "airflow-triggerer.log").write_text("2026-11-23 10:00:02,7 two\n")
    shown = content.run("logs", "airflow").stdout.splitlines()
    assert [line.partition(" | ")[0] for line in shown] == ["airflow-scheduler"] * 2 + [
        "airflow-triggerer",
        "airflow-scheduler",
    ]
    assert content.run("logs", "airflow-triggerer").stdout == "2026-11-23 10:00:02,7 two\n"
    lines = content.json("logs", "airflow", "-n", "1")["lines"]
    assert lines == [{"program": "airflow-scheduler", "text": "[2026-11-23T10:00:03.5+0000] three"}]
    assert content.run("logs", "airflow", "-n", "0").stdout == ""


def test_the_end_of_a_long_log_is_found(content: Content) -> None:
    logs = content.instance() / "logs"
    (logs / "mlflow.log").write_text("".join(f"line {number} {'x' * 90}\n" for number in range(5000)))
    shown = content.run("logs", "mlflow", "-n", "2000").stdout.splitlines()
    assert (len(shown), shown[0].split()[1], shown[-1].split()[1]) == (2000, "3000", "4999")


def test_a_followed_log_goes_on_through_rotation(content: Content) -> None:
    log = content.instance() / "logs" / "mlflow.log"
    log.write_text("old\n")
    with content.started("logs", "-f", "mlflow") as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "old\n"
        with log.open("a") as file:
            file.write("added\nhalf")
        assert run.stdout.readline() == "added\n"
        log.rename(log.with_suffix(".log.1"))
        log.write_text("after rotation\n")
        assert run.stdout.readline() == "after rotation\n"
        run.send_signal(2)
        assert run.wait(timeout=60) == 130
        assert run.stderr is not None
        assert "Traceback" not in run.stderr.read()


@pytest.fixture
def template(content: Content) -> Content:
    """Return a content directory with a small template."""
    template = content.root / "template"
    project = template / "{{cookiecutter.project_name}}"
    project.mkdir(parents=True)
    (template / "cookiecutter.json").write_text(
        '{"project_name": "thing", "kind": ["big", "small"], "_copy_without_render": []}'
    )
    (project / "README.md").write_text("# {{ cookiecutter.kind }}\n")
    (template / "hooks").mkdir()
    (template / "hooks" / "post_gen_project.py").write_text("print('noise of a hook')\n")
    content.checkouts_own("new", "project")
    return content


def test_new_makes_a_project_and_leaves_nothing_else(template: Content) -> None:
    document = template.json("new", "--no-input", "--output-dir", "in here", "kind=small")
    project = template.user / "in here" / "thing"
    assert document == {"project": str(project)}
    assert (project / "README.md").read_text() == "# small\n"
    assert [path.name for path in template.user.iterdir()] == ["in here"]
    assert [path.name for path in project.parent.iterdir()] == ["thing"]


def test_new_asks(template: Content) -> None:
    done = template.run("new", "kind=small", input="asked\n\n")
    assert done.returncode == 0, done.stderr
    assert (template.user / "asked").is_dir()
    assert "gaiaflow-setup mlops --start --project" in done.stdout


@pytest.mark.parametrize(
    ("value", "named"), [("colour=red", ["colour", "project_name, kind"]), ("kind=huge", ["huge", "big"]), ("x", ["x"])]
)
def test_new_refuses_what_the_template_does_not_have(template: Content, value: str, named: list[str]) -> None:
    done = template.run("new", "--no-input", value)
    assert done.returncode == 2
    for word in named:
        assert word in done.stderr


def test_new_takes_an_empty_directory_only(template: Content) -> None:
    (template.user / "thing").mkdir()
    assert template.run("new", "--no-input").returncode == 0
    done = template.run("new", "--no-input")
    assert done.returncode == 2
    assert f"'{template.user / 'thing'}' exists already" in done.stderr
    assert [path.name for path in template.user.iterdir()] == ["thing"]


def test_output_into_a_closed_pipe_is_no_error(content: Content) -> None:
    content.instance()
    (content.home / "instances" / "default" / "logs" / "mlflow.log").write_text("line\n" * 100_000)
    with content.started("logs", "-n", "100000", "mlflow") as run:
        assert run.stdout is not None
        run.stdout.readline()
        run.stdout.close()
        wait_for(lambda: run.poll() is not None)
        assert run.stderr is not None
        assert "Traceback" not in run.stderr.read()


FOUND = """
- name: Say what is there, and what is missing
  ansible.builtin.debug:
    var: prod_check_findings
  vars:
    made: "{{ prod_check_apply | default(false) }}"
    prod_check_findings:
      - {id: a, title: namespace team, state: "{{ 'fixed' if made else 'missing' }}", message: there is none, why: "",
         repair: --apply makes it, makes: Namespace team}
      - {id: b, title: quota, state: ok, message: none is set, why: "", repair: "", makes: ""}
      - {id: c, title: image, state: unknown, message: no pod has run, why: "", repair: "", makes: ""}
"""


def test_check_of_production_shows_all_there_is(content: Content) -> None:
    content.playbook("prod", FOUND)
    done = content.run("prod", "check")
    assert done.returncode == 1, done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert rows[:4] == ["Check", "namespace team", "quota", "image"]
    assert "1 well, 1 missing, 1 not checked." in done.stdout
    assert content.json("prod", "check", code=1)["findings"][0]["state"] == "missing"


def test_what_apply_makes_is_agreed_to_first(content: Content) -> None:
    content.playbook("prod", FOUND)
    refused = content.run("prod", "check", "--apply")
    assert refused.returncode == 2
    assert "Namespace team" in refused.stderr and "--yes" in refused.stderr
    done = content.run("prod", "check", "--apply", "--yes")
    assert done.returncode == 0, done.stderr
    assert "1 fixed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--secret", "a=b"], "--apply"),
        (["--apply", "--secret", "a"], "NAME=FILE"),
        (["--project", "nowhere/here"], "nowhere/here"),
        (["--kubeconfig", "gone"], "gone"),
    ],
)
def test_wrong_input_for_the_check_of_production_is_refused(content: Content, arguments: list[str], named: str) -> None:
    done = content.run("prod", "check", *arguments)
    assert done.returncode == 2
    assert named in done.stderr
