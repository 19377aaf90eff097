"""What tasks and notebooks see of the user's shell: one table for the rules, one for the proxies.

A new report gets a row. The rules are those that the role has, and run_service.py is run as supervisord runs it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from service_run import RULES, VARIABLES, run_service

PASSED_ON, LEFT_OUT, TOLD, TOLD_ONLY = "passed on", "left out in silence", "left out and told", "passed on and told"


@pytest.fixture
def shell() -> ModuleType:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import shell

    return shell


@pytest.mark.parametrize(
    ("variable", "value", "outcome"),
    [
        # The user's own, of which nobody knows anything.
        ("MY_TOKEN", "abc", PASSED_ON),
        ("EMPTY", "", PASSED_ON),
        ("lower_case", "x y\nz", PASSED_ON),
        ("HF_HOME", "/models", PASSED_ON),
        ("WANDB_API_KEY", "k", PASSED_ON),
        ("DATABASE_URL", "postgresql://u:p@db/x", PASSED_ON),
        ("CUDA_VISIBLE_DEVICES", "0", PASSED_ON),
        ("OPENBLAS_NUM_THREADS", "2", PASSED_ON),
        ("OMP_NUM_THREADS", "2", PASSED_ON),
        ("JAVA_HOME", "/opt/java", PASSED_ON),
        ("KUBECONFIG", "/k", PASSED_ON),
        ("DISPLAY", ":0", PASSED_ON),
        ("EDITOR", "vi", PASSED_ON),
        # What a session needs, and what is only of its terminal.
        ("SSH_AUTH_SOCK", "/tmp/agent", PASSED_ON),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1/bus", PASSED_ON),
        ("XDG_RUNTIME_DIR", "/run/user/1", PASSED_ON),
        ("SHLVL", "2", LEFT_OUT),
        ("_", "/usr/bin/env", LEFT_OUT),
        ("PWD", "/root", LEFT_OUT),
        ("OLDPWD", "/", LEFT_OUT),
        ("TERM", "xterm", LEFT_OUT),
        ("TERM_PROGRAM", "vscode", LEFT_OUT),
        ("COLORTERM", "truecolor", LEFT_OUT),
        ("COLUMNS", "80", LEFT_OUT),
        ("TMUX", "/tmp/tmux", LEFT_OUT),
        ("PROMPT_COMMAND", "history -a", LEFT_OUT),
        ("BASH_FUNC_which%%", "() { :; }", LEFT_OUT),
        ("SSH_CONNECTION", "1 2 3 4", LEFT_OUT),
        ("SUDO_COMMAND", "/bin/sh", LEFT_OUT),
        ("NOTIFY_SOCKET", "/run/systemd/notify", LEFT_OUT),
        ("LISTEN_FDS", "1", LEFT_OUT),
        ("LISTEN_PID", "1", LEFT_OUT),
        ("JPY_PARENT_PID", "1", LEFT_OUT),
        ("SUPERVISOR_PROCESS_NAME", "x", LEFT_OUT),
        # Another Python environment that is active.
        ("VIRTUAL_ENV", "/home/me/.venv", LEFT_OUT),
        ("CONDA_PREFIX", "/opt/conda", LEFT_OUT),
        ("CONDA_DEFAULT_ENV", "base", LEFT_OUT),
        ("PYENV_VERSION", "3.9.1", LEFT_OUT),
        ("__PYVENV_LAUNCHER__", "/x", LEFT_OUT),
        ("PYTHONHOME", "/usr", TOLD),
        ("PYTHONPATH", "/old/site-packages", TOLD),
        ("PYTHONSTARTUP", "/home/me/.pythonrc", TOLD),
        ("PYTHONOPTIMIZE", "2", TOLD),
        ("PYTHONINSPECT", "1", TOLD),
        ("PYTHONVERBOSE", "1", TOLD),
        ("PYTHONMALLOC", "nonsense", TOLD),
        ("PYTHONPLATLIBDIR", "lib64", TOLD),
        ("PYTHONEXECUTABLE", "/x", TOLD),
        ("PYTHONUSERBASE", "/x", TOLD),
        ("PYTHONCASEOK", "1", TOLD),
        ("PYTHON_GIL", "0", TOLD),
        ("PYTHONNEXTIDEA", "1", TOLD),
        ("PYTHONHASHSEED", "0", PASSED_ON),
        ("PYTHONHASHSEED", "random", PASSED_ON),
        ("PYTHONHASHSEED", "abc", TOLD),
        ("PYTHONWARNINGS", "ignore", PASSED_ON),
        ("PYTHONWARNINGS", "error", TOLD),
        ("PYTHONWARNINGS", "ignore,error::DeprecationWarning", TOLD),
        ("PYTHONUTF8", "1", PASSED_ON),
        ("PYTHONUTF8", "yes", TOLD),
        ("PYTHONIOENCODING", "utf-8:replace", PASSED_ON),
        ("PYTHONIOENCODING", "latin-1", TOLD),
        ("PYTHONUNBUFFERED", "1", PASSED_ON),
        ("PYTHONDONTWRITEBYTECODE", "1", PASSED_ON),
        ("PYTHONBREAKPOINT", "ipdb.set_trace", PASSED_ON),
        # Libraries.
        ("LD_PRELOAD", "{tmp}/gone.so", TOLD),
        ("LD_PRELOAD", "libjemalloc.so.2", PASSED_ON),
        ("LD_PRELOAD", "{tmp}/conda/lib/libx.so", TOLD),
        ("LD_LIBRARY_PATH", "{tmp}/cuda/lib64", PASSED_ON),
        ("LD_LIBRARY_PATH", "/usr/lib", PASSED_ON),
        ("LD_LIBRARY_PATH", "{tmp}/conda/lib", TOLD),
        ("LD_LIBRARY_PATH", "{tmp}/python/lib", TOLD),
        # Airflow, MLflow, S3, Jupyter, Git, PostgreSQL: of another server than the stack's.
        ("AIRFLOW_HOME", "/other", TOLD),
        ("AIRFLOW_CONFIG", "/other/airflow.cfg", TOLD),
        ("AIRFLOW__CORE__EXECUTOR", "SequentialExecutor", TOLD),
        ("AIRFLOW__CORE__LOAD_EXAMPLES", "True", TOLD),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD", "false", TOLD),
        ("AIRFLOW_CONN_DB", "postgresql://u:p@db/x", PASSED_ON),
        ("AIRFLOW_VAR_COLOUR", "red", PASSED_ON),
        ("AIRFLOW_UID", "50000", PASSED_ON),
        ("MLFLOW_TRACKING_URI", "https://elsewhere", TOLD),
        ("MLFLOW_TRACKING_TOKEN", "secret", TOLD),
        ("MLFLOW_REGISTRY_URI", "databricks", TOLD),
        ("MLFLOW_RUN_ID", "1", TOLD),
        ("MLFLOW_S3_IGNORE_TLS", "true", TOLD),
        ("MLFLOW_EXPERIMENT_NAME", "wine", PASSED_ON),
        ("AWS_PROFILE", "work", TOLD),
        ("AWS_SESSION_TOKEN", "t", TOLD),
        ("AWS_ACCESS_KEY_ID", "AKIA", TOLD),
        ("AWS_ENDPOINT_URL", "https://s3.elsewhere", TOLD),
        ("AWS_ENDPOINT_URL_S3", "https://s3.elsewhere", TOLD),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", TOLD),
        ("AWS_ROLE_ARN", "arn", TOLD),
        ("AWS_CONFIG_FILE", "/home/me/aws", PASSED_ON),
        ("AWS_SHARED_CREDENTIALS_FILE", "/home/me/aws", PASSED_ON),
        ("JUPYTER_CONFIG_DIR", "/x", TOLD),
        ("JUPYTER_TOKEN", "t", TOLD),
        ("JUPYTERHUB_API_TOKEN", "t", TOLD),
        ("IPYTHONDIR", "/x", TOLD),
        ("JUPYTER_PATH", "/opt/kernels", PASSED_ON),
        ("GIT_DIR", "/repo/.git", TOLD),
        ("GIT_WORK_TREE", "/repo", TOLD),
        ("GIT_INDEX_FILE", "/repo/.git/index", TOLD),
        ("GIT_SSH_COMMAND", "ssh -i key", PASSED_ON),
        ("GIT_AUTHOR_NAME", "Me", PASSED_ON),
        ("PGSSLMODE", "require", TOLD),
        ("PGHOSTADDR", "10.0.0.1", TOLD),
        ("PGSERVICE", "x", TOLD),
        ("PGPASSWORD", "p", PASSED_ON),
        ("PGHOST", "db", PASSED_ON),
        ("WEB_CONCURRENCY", "8", TOLD),
        ("GUNICORN_CMD_ARGS", "--workers=9", TOLD),
        ("MPLBACKEND", "agg", PASSED_ON),
        ("MPLBACKEND", "QtAgg", TOLD),
        ("MPLBACKEND", "module://matplotlib_inline.backend_inline", TOLD),
        # Files, directories, zones and locales that must be there.
        ("SSL_CERT_FILE", "{tmp}/there.pem", PASSED_ON),
        ("SSL_CERT_FILE", "{tmp}/gone.pem", TOLD),
        ("REQUESTS_CA_BUNDLE", "{tmp}/gone.pem", TOLD),
        ("CURL_CA_BUNDLE", "{tmp}/gone.pem", TOLD),
        ("AWS_CA_BUNDLE", "{tmp}/gone.pem", TOLD),
        ("SSL_CERT_DIR", "{tmp}", PASSED_ON),
        ("SSL_CERT_DIR", "{tmp}/gone", TOLD),
        ("OPENSSL_CONF", "{tmp}/gone.cnf", TOLD),
        ("TMPDIR", "{tmp}", PASSED_ON),
        ("TMPDIR", "{tmp}/gone", TOLD),
        ("TMPDIR", "{tmp}/there.pem", TOLD),
        ("TMPDIR", "relative", TOLD),
        ("HOME", "{tmp}", PASSED_ON),
        ("HOME", "{tmp}/gone", TOLD_ONLY),
        ("TZ", "UTC", PASSED_ON),
        ("TZ", "Europe/Berlin", PASSED_ON),
        ("TZ", ":Europe/Berlin", PASSED_ON),
        ("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", PASSED_ON),
        ("TZ", "<+03>-3", PASSED_ON),
        ("TZ", "", PASSED_ON),
        ("TZ", "Mars/Olympus", TOLD),
        ("TZ", "Nonsense", TOLD),
        ("TZ", "/no/such/file", TOLD),
        ("LANG", "C.UTF-8", PASSED_ON),
        ("LC_ALL", "C", PASSED_ON),
        ("LC_ALL", "", PASSED_ON),
        ("LANG", "xx_YY.UTF-8", TOLD),
        ("LC_TIME", "nonsense", TOLD),
        ("LANGUAGE", "en_GB:en", PASSED_ON),
        # Proxies: what the clients accept, and what would keep Airflow from running any task.
        ("http_proxy", "", PASSED_ON),
        ("HTTP_PROXY", "http://proxy:3128", PASSED_ON),
        ("https_proxy", "proxy:3128", PASSED_ON),
        ("https_proxy", "proxy", PASSED_ON),
        ("HTTPS_PROXY", "https://proxy:443/", PASSED_ON),
        ("HTTPS_PROXY", "HTTP://proxy:3128", PASSED_ON),
        ("all_proxy", "socks5://proxy:1080", PASSED_ON),
        ("ALL_PROXY", "socks5h://user:pass%23word@proxy:1080", PASSED_ON),
        ("http_proxy", "http://user:p@ss@proxy:3128", PASSED_ON),
        ("http_proxy", "http://[::1]:3128", PASSED_ON),
        ("http_proxy", "[fd00::1]:3128", PASSED_ON),
        ("http_proxy", "localhost:3128", PASSED_ON),
        ("http_proxy", "//proxy:3128", PASSED_ON),
        ("ALL_PROXY", "socks://proxy:1080", TOLD),
        ("ALL_PROXY", "socks4://proxy:1080", TOLD),
        ("http_proxy", "ftp://proxy:21", TOLD),
        ("http_proxy", "http://", TOLD),
        ("http_proxy", "http://proxy:port", TOLD),
        ("http_proxy", "http://proxy:99999", TOLD),
        ("http_proxy", "http://user:pa#ss@proxy:3128", TOLD),
        ("http_proxy", "http://pro xy:3128", TOLD),
        ("http_proxy", "http://[::1:3128", TOLD),
        ("http_proxy", '"http://proxy:3128"', TOLD),
        # This product's own.
        ("GAIAFLOW_HOME", "/x", PASSED_ON),
        ("GAIAFLOW_NAMESPACE", "team-a", PASSED_ON),
        ("GAIAFLOW_INSTANCE_DIRECTORY", "/another", LEFT_OUT),
        ("GAIAFLOW_USER_ENVIRONMENT", "/x", LEFT_OUT),
    ],
)
def test_variable_of_the_users_shell(
    shell: ModuleType, tmp_path: Path, variable: str, value: str, outcome: str
) -> None:
    (tmp_path / "there.pem").touch()
    for directory in ("conda/conda-meta", "conda/lib", "cuda/lib64", "python/lib"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "conda/lib/libx.so").touch()
    (tmp_path / "cuda/lib64/libcudart.so.12").touch()
    (tmp_path / "python/lib/libpython3.9.so.1.0").touch()
    value = value.replace("{tmp}", str(tmp_path))
    seen = shell.seen({variable: value}, RULES)
    assert seen.variables == ({variable: value} if outcome in (PASSED_ON, TOLD_ONLY) else {})
    told = [name for names in seen.told.values() for name in names]
    assert told == ([variable] if outcome in (TOLD, TOLD_ONLY) else [])
    assert all(variable in line for line in shell.lines(seen.told))


def test_what_is_told_names_the_variable_and_no_value(shell: ModuleType) -> None:
    given = {"http_proxy": "http://me:s3cr3t#@proxy:3128", "AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "t0ken"}
    lines = shell.lines(shell.seen(given, RULES).told)
    assert len(lines) == 2
    assert "s3cr3t" not in str(lines)
    assert "t0ken" not in str(lines)
    assert any(line.startswith("AWS_PROFILE, AWS_SESSION_TOKEN of your shell are not passed on") for line in lines)


def test_other_libraries_are_taken_out_of_a_list(shell: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "conda" / "conda-meta").mkdir(parents=True)
    (tmp_path / "conda" / "lib").mkdir()
    (tmp_path / "cuda").mkdir()
    seen = shell.seen({"LD_LIBRARY_PATH": f"{tmp_path}/conda/lib:{tmp_path}/cuda"}, RULES)
    assert seen.variables == {"LD_LIBRARY_PATH": f"{tmp_path}/cuda"}
    assert [*seen.told.values()] == [["LD_LIBRARY_PATH"]]


def test_service_without_the_users_code_sees_the_basics(shell: ModuleType) -> None:
    given = {"MY_TOKEN": "t", "HOME": "/", "LC_ALL": "C", "https_proxy": "p:1", "NO_PROXY": "x", "TZ": "UTC"}
    seen = shell.seen(given, RULES, VARIABLES["mlops_shell_basics"])
    assert set(seen.variables) == set(given) - {"MY_TOKEN"}


def test_every_rule_says_why_and_asks_for_a_check_that_there_is(shell: ModuleType) -> None:
    for rule in RULES:
        assert set(rule) <= {"variables", "fits", "anyway", "quiet", "why"}
        assert rule["why"]
        shell.fitting("x", rule.get("fits", ""))
    with pytest.raises(ValueError, match="no check 'shape'"):
        shell.fitting("x", "shape")


def test_environment_that_the_wrapper_hands_over_is_the_users(
    shell: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "environment"
    file.write_text(json.dumps({"MY_TOKEN": "t", "ANSIBLE_CONFIG": "/users", "BYTES": "\udcff"}))
    monkeypatch.setenv("GAIAFLOW_USER_ENVIRONMENT", str(file))
    monkeypatch.setenv("ONLY_ANSIBLES", "1")
    given = shell.user_environment()
    assert given["MY_TOKEN"] == "t"
    assert given["ANSIBLE_CONFIG"] == "/users"
    assert given["BYTES"] == "\udcff"
    assert given["HOME"] == os.environ["HOME"]
    assert "ONLY_ANSIBLES" not in given
    file.unlink()
    with pytest.raises(ValueError, match="GAIAFLOW_USER_ENVIRONMENT names"):
        shell.user_environment()


def test_without_the_wrapper_it_is_this_process_without_ansibles(
    shell: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GAIAFLOW_USER_ENVIRONMENT", raising=False)
    monkeypatch.setenv("MY_TOKEN", "t")
    monkeypatch.setenv("ANSIBLE_CONFIG", "/ansibles")
    given = shell.user_environment()
    assert given["MY_TOKEN"] == "t"
    assert "ANSIBLE_CONFIG" not in given


# ---- run_service.py, as supervisord runs it


def seen_by_service(tmp_path: Path, users: dict[str, str] | None, **entry: Any) -> dict[str, str]:
    """The environment that a service finds itself in."""
    output = run_service(tmp_path, users, "import os, json; print(json.dumps(dict(os.environ)))", **entry)
    variables: dict[str, str] = json.loads(output.splitlines()[-1])
    return variables


@pytest.mark.parametrize(
    ("users", "seen"),
    [({}, "/stack"), ({"MPLCONFIGDIR": "/mine"}, "/mine"), ({"MPLCONFIGDIR": ""}, ""), (None, "/stack")],
)
def test_some_variables_are_the_stacks_unless_the_user_sets_them(
    tmp_path: Path, users: dict[str, str] | None, seen: str
) -> None:
    assert seen_by_service(tmp_path, users, unless_set={"MPLCONFIGDIR": "/stack"})["MPLCONFIGDIR"] == seen


OWN = "127.0.0.1,localhost,::1"


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ({}, {"NO_PROXY": OWN, "no_proxy": OWN}),
        ({"no_proxy": ".corp"}, {"NO_PROXY": f".corp,{OWN}", "no_proxy": f".corp,{OWN}"}),
        ({"NO_PROXY": ".corp"}, {"NO_PROXY": f".corp,{OWN}", "no_proxy": f".corp,{OWN}"}),
        ({"no_proxy": "a", "NO_PROXY": "b,a"}, {"NO_PROXY": f"a,b,{OWN}", "no_proxy": f"a,b,{OWN}"}),
        ({"no_proxy": "", "NO_PROXY": "b"}, {"NO_PROXY": f"b,{OWN}"}),
        ({"no_proxy": " a , b  c,, "}, {"NO_PROXY": f"a,b,c,{OWN}"}),
        ({"no_proxy": "localhost"}, {"NO_PROXY": "localhost,127.0.0.1,::1"}),
        ({"no_proxy": "*"}, {"NO_PROXY": "*", "no_proxy": "*"}),
        ({"NO_PROXY": ".corp,*"}, {"NO_PROXY": "*", "no_proxy": "*"}),
        ({"no_proxy": "10.0.0.0/8,127.0.0.0/8"}, {"NO_PROXY": f"10.0.0.0/8,127.0.0.0/8,{OWN}"}),
        ({"no_proxy": "fd00::/8,fd00::1,.corp"}, {"NO_PROXY": f"fd00::1,.corp,{OWN}"}),
        ({"no_proxy": "[::1],[fd00::2]:80"}, {"NO_PROXY": "::1,fd00::2,127.0.0.1,localhost"}),
        ({"no_proxy": "host:8080,*.corp,a_b"}, {"NO_PROXY": f"host:8080,*.corp,a_b,{OWN}"}),
        ({"no_proxy": "<local>,{x},a:b:c"}, {"NO_PROXY": OWN}),
        ({"HTTP_PROXY": "http://p:1"}, {"HTTP_PROXY": "http://p:1", "http_proxy": "http://p:1"}),
        ({"https_proxy": "http://p:1"}, {"HTTPS_PROXY": "http://p:1", "https_proxy": "http://p:1"}),
        ({"all_proxy": "socks5h://p:1"}, {"ALL_PROXY": "socks5h://p:1", "all_proxy": "socks5h://p:1"}),
        ({"http_proxy": "http://l:1", "HTTP_PROXY": "http://u:1"}, {"HTTP_PROXY": "http://l:1"}),
        ({"http_proxy": "", "HTTP_PROXY": "http://u:1"}, {"HTTP_PROXY": "", "http_proxy": ""}),
        ({"http_proxy": "proxy:3128"}, {"HTTP_PROXY": "http://proxy:3128", "http_proxy": "http://proxy:3128"}),
        ({"http_proxy": "u:p@proxy:3128"}, {"http_proxy": "http://u:p@proxy:3128"}),
        ({"http_proxy": "//proxy:3128"}, {"http_proxy": "http://proxy:3128"}),
        ({"MY_TOKEN": "é\udcff"}, {"MY_TOKEN": "é\udcff"}),
    ],
)
def test_service_sees(tmp_path: Path, users: dict[str, str], expected: dict[str, str]) -> None:
    variables = seen_by_service(tmp_path, users)
    assert {name: variables.get(name) for name in expected} == expected
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        assert variables.get(name) == variables.get(name.upper())


def test_stacks_own_variables_win_and_supervisors_are_not_seen(tmp_path: Path) -> None:
    users = {"AIRFLOW_HOME": "/theirs", "PATH": "/theirs", "MINE": "1"}
    variables = seen_by_service(tmp_path, users, env={"AIRFLOW_HOME": "/ours", "KEY": "@{a.b}"})
    assert variables["AIRFLOW_HOME"] == "/ours"
    assert variables["KEY"] == "the secret"
    assert variables["PATH"] == f"{tmp_path}/own/bin:/theirs"
    assert variables["MINE"] == "1"
    assert "SUPERVISOR_ENABLED" not in variables


def test_mark_of_the_instance_is_the_supervisors(tmp_path: Path) -> None:
    mark = {"GAIAFLOW_INSTANCE_DIRECTORY": "/this"}
    code = "import os; print(os.environ['GAIAFLOW_INSTANCE_DIRECTORY'])"
    assert run_service(tmp_path, {"GAIAFLOW_INSTANCE_DIRECTORY": "/other"}, code, mark).split() == ["/this"]


def test_no_proxy_stands_between_containers_of_the_stack(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "environment.json").write_text(json.dumps({"no_proxy": ".corp"}))
    variables = seen_by_service(tmp_path, None, peers=["minio", "mlflow"])
    assert variables["NO_PROXY"] == f".corp,{OWN},minio,mlflow"
    assert variables["SUPERVISOR_ENABLED"] == "1", "a container keeps what its image says"


def test_container_sees_what_can_be_there(shell: ModuleType, tmp_path: Path) -> None:
    certificates = tmp_path / "company.pem"
    certificates.touch()
    given = {
        "MY_TOKEN": "t",
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "HTTPS_PROXY": "http://proxy.corp:3128",
        "http_proxy": "http://127.0.0.1:3128",
        "ALL_PROXY": "socks5h://[::1]:1080",
        "no_proxy": ".corp",
        "SSL_CERT_FILE": str(certificates),
        "CURL_CA_BUNDLE": str(tmp_path / "gone.pem"),
    }
    seen, files = shell.seen_in_container(given, RULES, VARIABLES["mlops_container_basics"], "/run/gaiaflow")
    assert seen.variables == {
        "TZ": "UTC",
        "HTTPS_PROXY": "http://proxy.corp:3128",
        "no_proxy": ".corp",
        "SSL_CERT_FILE": "/run/gaiaflow/SSL_CERT_FILE.pem",
    }
    assert files == {"SSL_CERT_FILE.pem": certificates}
    told = sorted(name for names in seen.told.values() for name in names)
    assert told == ["ALL_PROXY", "CURL_CA_BUNDLE", "http_proxy"], "a proxy on loopback would be the container itself"
