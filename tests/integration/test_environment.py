"""What the wrapped Ansible, and its modules on this machine, see of the user's environment, home and directory.

The tables are where the next report goes: a row is one thing that a user may have, with a value that would break a run
or change what Ansible does. All rows are tried in one run, as each has its own name; when that run isn't like one
without them, each row is tried by itself, to find whose fault it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_content import Content, copy_launcher, mark_as_ready

from gaiaflow_py.environment import PASSED_ON, patterns

CHECKOUT = Path(__file__).parents[2]

RUNS_OWN = re.compile(r"gaiaflow-run-\w+|ansible-(tmp|local)-[\w.-]+|ansible_[\w.]+_payload_\w+")

# ---- A playbook that tells what it sees

PROBE = """
import json, os, resource, signal, sys
import yaml
from ansible.module_utils.basic import AnsibleModule

mask = os.umask(0)
os.umask(mask)
module = AnsibleModule(argument_spec={})
module.exit_json(
    seen={
        "environment": dict(os.environ), "flags": str(sys.flags), "path": sys.path, "umask": oct(mask),
        "modules": sorted({"sitecustomize", "usercustomize", "intruder"} & set(sys.modules)),
        "cwd": os.getcwd(), "children": str(signal.getsignal(signal.SIGCHLD)),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 1024, "yaml": yaml.__file__,
    },
)
"""
CONTROLLER = """
import os, sys
import jinja2
from ansible import constants

def controller(_):
    config = constants.config
    values = {name: str(config.get_config_value(name)) for name in config.get_configuration_definitions()}
    return {
        "environment": dict(os.environ), "flags": str(sys.flags), "path": sys.path, "config": values,
        "jinja2": jinja2.__file__, "cwd": os.getcwd(),
        "modules": sorted({"sitecustomize", "usercustomize", "intruder"} & set(sys.modules)),
    }

class FilterModule:
    def filters(self):
        return {"controller": controller}
"""
TASKS = """
- name: Look at the module
  probe:
  register: of_module
- name: Use a role
  ansible.builtin.include_role:
    name: thing
- name: Keep what was seen
  ansible.builtin.copy:
    content: "{{ {'module': of_module.seen, 'controller': 0 | controller, 'role': thing, 'given': given | default(0)}
      | to_json }}"
    dest: '{{ lookup("env", "HOME") }}/seen.json'
    mode: '0600'
"""


class Installed(Content):
    """A checkout with the real launcher and an environment for it, whose playbook tells what it sees."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.cwd = root / "somewhere"
        self.cwd.mkdir()
        self._install()
        (self.root / "ansible.cfg").write_text(
            "[defaults]\nlibrary = library\nroles_path = roles\ngathering = explicit\n"
        )
        for name, text in {
            "library/probe.py": PROBE,
            "roles/thing/tasks/main.yml": "- ansible.builtin.set_fact:\n    thing: the product's\n",
            "playbooks/filter_plugins/controller.py": CONTROLLER,
        }.items():
            write(self.root / name, text)
        self.playbook("mlops", TASKS)
        del self.environment["PYTHONPATH"]

    def _install(self) -> None:
        copy_launcher(self.root)
        write(self.root / "requirements" / "cli.txt", "")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.root / ".venv"], check=True)
        mark_as_ready(self.root)
        (packages,) = (self.root / ".venv" / "lib").glob("python3*/site-packages")
        write(packages / "gaiaflow.pth", f"../../../..\n{sysconfig.get_path('purelib')}\n")

    def command(self, *arguments: str) -> list[str]:
        return [str(self.root / "gaiaflow-setup"), *arguments]

    def see(self, variables: dict[str, str] | None = None, before: str = "") -> dict[str, str]:
        """Run the playbook, after something in a shell, and return what it saw and what was printed."""
        shell = ["bash", "-c", f'{before}; exec "$0" "$@"'] if before else []
        done = subprocess.run(
            [*shell, *self.command("mlops", "--start")],
            env=self.environment | (variables or {}),
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        seen = json.loads((self.user / "seen.json").read_text())
        return {name: RUNS_OWN.sub("OWN", value) for name, value in flat(seen | {"printed": done.stdout})}


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every single value of a structure with where it is."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from flat(one, f"{name}/{key}")
    else:
        yield name, str(value)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# ---- The tables

BOGUS = "gaiaflow-bogus"

ANSIBLES = {
    "ANSIBLE_ACTION_PLUGINS": "{cwd}/intruders/plugins",
    "ANSIBLE_ANY_ERRORS_FATAL": "True",
    "ANSIBLE_ASYNC_DIR": "/proc/nowhere",
    "ANSIBLE_BECOME": "True",
    "ANSIBLE_BECOME_METHOD": BOGUS,
    "ANSIBLE_CACHE_PLUGIN": BOGUS,
    "ANSIBLE_CACHE_PLUGINS": "{cwd}/intruders/plugins",
    "ANSIBLE_CALLBACKS_ENABLED": BOGUS,
    "ANSIBLE_CALLBACK_PLUGINS": "{cwd}/intruders/plugins",
    "ANSIBLE_COLLECTIONS_PATH": "{cwd}/intruders",
    "ANSIBLE_COLLECTIONS_PATHS": "{cwd}/intruders",
    "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "False",
    "ANSIBLE_CONFIG": "/proc/nowhere",
    "ANSIBLE_CONNECTION_PLUGINS": "{cwd}/intruders/plugins",
    "ANSIBLE_DEBUG": "True",
    "ANSIBLE_DISPLAY_FAILED_STDERR": "True",
    "ANSIBLE_ERROR_ON_UNDEFINED_VARS": "False",
    "ANSIBLE_EXECUTABLE": "/proc/nowhere",
    "ANSIBLE_FACT_PATH": "/proc/nowhere",
    "ANSIBLE_FILTER_PLUGINS": "{cwd}/intruders/plugins",
    "ANSIBLE_FORCE_COLOR": "True",
    "ANSIBLE_FORKS": BOGUS,
    "ANSIBLE_GATHERING": "implicit",
    "ANSIBLE_HASH_BEHAVIOUR": "merge",
    "ANSIBLE_HOME": "/proc/nowhere",
    "ANSIBLE_HOST_KEY_CHECKING": "False",
    "ANSIBLE_INJECT_FACT_VARS": "False",
    "ANSIBLE_INVENTORY": "/proc/nowhere",
    "ANSIBLE_INVENTORY_ENABLED": BOGUS,
    "ANSIBLE_JINJA2_EXTENSIONS": BOGUS,
    "ANSIBLE_JINJA2_NATIVE": "True",
    "ANSIBLE_KEEP_REMOTE_FILES": "True",
    "ANSIBLE_LIBRARY": "{cwd}/intruders/plugins",
    "ANSIBLE_LOCAL_TEMP": "/proc/nowhere",
    "ANSIBLE_LOG_PATH": "{cwd}/ansible.log",
    "ANSIBLE_LOOKUP_PLUGINS": "{cwd}/intruders/plugins",
    "ANSIBLE_MODULE_ARGS": BOGUS,
    "ANSIBLE_MODULE_UTILS": "{cwd}/intruders/plugins",
    "ANSIBLE_NO_LOG": "True",
    "ANSIBLE_NO_TARGET_SYSLOG": "True",
    "ANSIBLE_PIPELINING": "True",
    "ANSIBLE_PLAYBOOK_DIR": "/proc/nowhere",
    "ANSIBLE_PRIVATE_KEY_FILE": "/proc/nowhere",
    "ANSIBLE_PYTHON_INTERPRETER": "/proc/nowhere",
    "ANSIBLE_REMOTE_TEMP": "/proc/nowhere",
    "ANSIBLE_REMOTE_TMP": "/proc/nowhere",
    "ANSIBLE_REMOTE_USER": BOGUS,
    "ANSIBLE_ROLES_PATH": "{cwd}/intruders/roles",
    "ANSIBLE_RUN_TAGS": BOGUS,
    "ANSIBLE_SKIP_TAGS": "all",
    "ANSIBLE_SSH_ARGS": BOGUS,
    "ANSIBLE_STDOUT_CALLBACK": BOGUS,
    "ANSIBLE_STRATEGY": BOGUS,
    "ANSIBLE_TASK_TIMEOUT": "1",
    "ANSIBLE_TRANSPORT": BOGUS,
    "ANSIBLE_VARS_ENABLED": BOGUS,
    "ANSIBLE_VARS_PLUGINS": "{cwd}/intruders/plugins",
    "ANSIBLE_VERBOSE_TO_STDERR": "True",
    "ANSIBLE_VERBOSITY": "4",
    "ANSIBLE_WORKER_SHUTDOWN_POLL_COUNT": BOGUS,
    "K8S_AUTH_HOST": BOGUS,
}
RUNNERS = {
    "AD_HOC_COMMAND_ID": "1",
    "ANSIBLE_RUNNER_KEEPALIVE_SECONDS": BOGUS,
    "AWX_ISOLATED_DATA_DIR": "/proc/nowhere",
    "AWX_LIB_DIRECTORY": "/proc/nowhere",
    "JOB_ID": BOGUS,
    "ORIGINAL_STDOUT_CALLBACK": BOGUS,
    "PROJECT_UPDATE_ID": BOGUS,
    "RUNNER_OMIT_EVENTS": "True",
    "RUNNER_ONLY_FAILED_EVENTS": "True",
}
PYTHONS = {
    "PYTHONBREAKPOINT": BOGUS,
    "PYTHONCASEOK": "1",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONDEBUG": "1",
    "PYTHONDEVMODE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONEXECUTABLE": "/proc/nowhere",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONHASHSEED": BOGUS,
    "PYTHONHOME": "/usr",
    "PYTHONINSPECT": "1",
    "PYTHONINTMAXSTRDIGITS": "1",
    "PYTHONIOENCODING": "ascii",
    "PYTHONMALLOC": BOGUS,
    "PYTHONNODEBUGRANGES": "1",
    "PYTHONNOUSERSITE": "",
    "PYTHONOPTIMIZE": "2",
    "PYTHONPATH": "{cwd}/intruders/python",
    "PYTHONPLATLIBDIR": "lib64",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONPYCACHEPREFIX": "/proc/nowhere",
    "PYTHONSAFEPATH": "1",
    "PYTHONSTARTUP": "{cwd}/intruders/python/intruder.py",
    "PYTHONTRACEMALLOC": "25",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUSERBASE": "{cwd}/intruders/python",
    "PYTHONUTF8": "0",
    "PYTHONVERBOSE": "1",
    "PYTHONWARNINGS": "error",
    "PYTHON_COLORS": "1",
    "__PYVENV_LAUNCHER__": "/proc/nowhere",
    "VIRTUAL_ENV": "/proc/nowhere",
    "VIRTUAL_ENV_PROMPT": BOGUS,
    "PYENV_VIRTUAL_ENV": "/proc/nowhere",
    "CONDA_DEFAULT_ENV": "base",
    "CONDA_EXE": "/proc/nowhere",
    "CONDA_PREFIX": "/proc/nowhere",
    "CONDA_PYTHON_EXE": "/proc/nowhere",
    "CONDA_SHLVL": "1",
    "_CE_CONDA": "",
    "PIPENV_ACTIVE": "1",
    "POETRY_ACTIVE": "1",
}
SHELLS = {
    "BASH_ENV": "{cwd}/intruders/fail.sh",
    "BASH_FUNC_cmp%%": "() {{ exit 7\n}}",
    "BASH_FUNC_readlink%%": "() {{ exit 7\n}}",
    "BROWSER": BOGUS,
    "CDPATH": "/usr:/",
    "CI": "1",
    "CLICOLOR_FORCE": "1",
    "COLUMNS": "7",
    "DISPLAY": ":99",
    "EDITOR": BOGUS,
    "ENV": "{cwd}/intruders/fail.sh",
    "FORCE_COLOR": "1",
    "GIT_DIR": "/proc/nowhere",
    "GLOBIGNORE": "*",
    "GREP_OPTIONS": "--bogus",
    "IFS": "/",
    "LD_LIBRARY_PATH": "{cwd}/intruders",
    "LESSOPEN": BOGUS,
    "LINES": "1",
    "LOGNAME": "nobody",
    "MAKEFLAGS": "-j",
    "NO_COLOR": "1",
    "OLDPWD": "/proc/nowhere",
    "PAGER": BOGUS,
    "POSIXLY_CORRECT": "1",
    "PS4": "$(exit 7)",
    "PWD": "/proc/nowhere",
    "SHELL": "/bin/false",
    "SHELLOPTS": "noexec",
    "TAR_OPTIONS": "--bogus",
    "TEMP": "/proc/nowhere",
    "TERM": BOGUS,
    "TERMINFO": "/proc/nowhere",
    "TMP": "/proc/nowhere",
    "USER": "nobody",
    "GAIAFLOW_INSTANCE_DIRECTORY": "/proc/nowhere",
    "GAIAFLOW_PROGRESS_FILE": "/proc/nowhere",
    "GAIAFLOW_USER_ENVIRONMENT": "/proc/nowhere",
    "PIP_TARGET": "/proc/nowhere",
    "PIP_USER": "1",
    "UV_PYTHON": "2.7",
    "UV_SYSTEM_PYTHON": "1",
    "UV_TARGET": "/proc/nowhere",
}
VARIABLES = ANSIBLES | RUNNERS | PYTHONS | SHELLS

INTRUDER = "import sys\nsys.modules['intruder'] = sys\n"
BREAKS = INTRUDER + "raise SystemExit('an intruder is imported')\n"
PLUGIN = "raise SystemExit('an intruder is loaded')\n"
MODULE = '#!/bin/sh\necho \'{"seen": "an intruder"}\'\n'
ROLE = "- ansible.builtin.set_fact:\n    thing: an intruder's\n"
CONFIGURATION = "[defaults]\nforks = 3\ngathering = implicit\nhash_behaviour = merge\n"
FILES = {
    "~/.ansible.cfg": CONFIGURATION,
    "~/.ansible/collections/ansible_collections/ansible/posix/plugins/modules/intruder.py": MODULE,
    "~/.ansible/galaxy_token": BOGUS,
    "~/.ansible/plugins/action/probe.py": PLUGIN,
    "~/.ansible/plugins/become/sudo.py": PLUGIN,
    "~/.ansible/plugins/callback/intruder.py": PLUGIN,
    "~/.ansible/plugins/connection/local.py": PLUGIN,
    "~/.ansible/plugins/filter/controller.py": PLUGIN,
    "~/.ansible/plugins/inventory/yaml.py": PLUGIN,
    "~/.ansible/plugins/lookup/env.py": PLUGIN,
    "~/.ansible/plugins/module_utils/basic.py": PLUGIN,
    "~/.ansible/plugins/modules/probe.py": MODULE,
    "~/.ansible/plugins/strategy/linear.py": PLUGIN,
    "~/.ansible/plugins/test/core.py": PLUGIN,
    "~/.ansible/plugins/vars/intruder.py": PLUGIN,
    "~/.ansible/roles/thing/tasks/main.yml": ROLE,
    "~/.config/python/intruder.py": BREAKS,
    "~/.pythonrc.py": BREAKS,
    "~/.bashrc": "exit 7\n",
    "~/.profile": "exit 7\n",
    "~/.local/lib/python{version}/site-packages/intruder.pth": f"import sys; {INTRUDER.splitlines()[1]}\n",
    "~/.local/lib/python{version}/site-packages/jinja2/__init__.py": BREAKS,
    "~/.local/lib/python{version}/site-packages/sitecustomize.py": BREAKS,
    "~/.local/lib/python{version}/site-packages/usercustomize.py": BREAKS,
    "./action_plugins/probe.py": PLUGIN,
    "./ansible_collections/ansible/posix/plugins/modules/intruder.py": MODULE,
    "./ansible.cfg": CONFIGURATION,
    "./ansible/__init__.py": BREAKS,
    "./callback_plugins/intruder.py": PLUGIN,
    "./click/__init__.py": BREAKS,
    "./collections/ansible_collections/ansible/posix/plugins/modules/intruder.py": MODULE,
    "./encodings/__init__.py": BREAKS,
    "./filter_plugins/controller.py": PLUGIN,
    "./gaiaflow_py/__init__.py": BREAKS,
    "./group_vars/all.yml": "given: an intruder\n",
    "./host_vars/localhost.yml": "given: an intruder\n",
    "./hosts": BOGUS,
    "./inventory/local.yml": BOGUS,
    "./jinja2/__init__.py": BREAKS,
    "./json.py": BREAKS,
    "./library/probe.py": MODULE,
    "./lookup_plugins/env.py": PLUGIN,
    "./module_utils/basic.py": PLUGIN,
    "./pyvenv.cfg": "home = /proc/nowhere\n",
    "./roles/thing/tasks/main.yml": ROLE,
    "./sitecustomize.py": BREAKS,
    "./vars_plugins/intruder.py": PLUGIN,
    "./yaml.py": BREAKS,
}
INTRUDERS = {
    "python/intruder.py": BREAKS,
    "python/jinja2/__init__.py": BREAKS,
    "python/json.py": BREAKS,
    "python/sitecustomize.py": BREAKS,
    "python/usercustomize.py": BREAKS,
    "python/yaml.py": BREAKS,
    "plugins/probe.py": MODULE,
    "plugins/env.py": PLUGIN,
    "plugins/controller.py": PLUGIN,
    "plugins/local.py": PLUGIN,
    "roles/thing/tasks/main.yml": ROLE,
    "fail.sh": "exit 7\n",
    "ansible_collections/ansible/posix/plugins/modules/intruder.py": MODULE,
}
"""What the variables' values lead to."""

SITUATIONS = {
    "closed standard input": "exec <&-",
    "ignored end of child processes": "trap '' CHLD",
    "ignored hang-up": "trap '' HUP",
    "ignored interrupt": "trap '' INT",
    "few open files": "ulimit -S -n 64",
    "no core files": "ulimit -c 0",
    "open umask": "umask 0",
    "umask that takes rights from the owner": "umask 0322",
    "low priority": "renice -n 5 $$ >/dev/null",
    "working directory that was removed": 'mkdir gone && cd gone && rmdir "$PWD"',
    "unset HOME's trailing slash": "export HOME=$HOME/",
    "aliases": "shopt -s expand_aliases; alias python3=false exec=false",
    "exported functions": "python3() { false; }; env() { false; }; export -f python3 env",
    "positional parameters in a shell's options": "set -o noglob -o noclobber",
}
"""What a shell hands down beside variables."""


@dataclass
class Tried:
    """Everything in one run; what goes wrong there is tried by itself."""

    content: Installed

    @cached_property
    def usual(self) -> dict[str, str]:
        return self.content.see()

    @cached_property
    def all_at_once_is_usual(self) -> bool:
        variables = {name: self.filled(name) for name in VARIABLES}
        with self._files(FILES):
            return self._is_usual(variables)

    @cached_property
    def all_situations_are_usual(self) -> bool:
        return self._is_usual({}, "; ".join(SITUATIONS.values()))

    def variable(self, name: str) -> None:
        if not self.all_at_once_is_usual:
            self._compare({name: self.filled(name)})

    def file(self, name: str) -> None:
        if not self.all_at_once_is_usual:
            with self._files({name: FILES[name]}):
                self._compare({})

    def situation(self, name: str) -> None:
        if not self.all_situations_are_usual:
            self._compare({}, SITUATIONS[name])

    def _is_usual(self, variables: dict[str, str], before: str = "") -> bool:
        try:
            self._compare(variables, before)
        except AssertionError:
            return False
        return True

    def _compare(self, variables: dict[str, str], before: str = "") -> None:
        usual = self.usual  # before anything is tried
        seen = self.content.see(variables, before)
        differing = {name for name in usual.keys() | seen.keys() if usual.get(name) != seen.get(name)}
        assert {name: (usual.get(name), seen.get(name)) for name in differing} == {}

    def filled(self, name: str) -> str:
        return VARIABLES[name].format(cwd=self.content.cwd)

    @contextlib.contextmanager
    def _files(self, files: dict[str, str]) -> Iterator[None]:
        places = {"~": self.content.user, ".": self.content.cwd}
        paths = []
        for name, text in files.items():
            place, _, rest = name.partition("/")
            paths.append(places[place] / rest.format(version=f"{sys.version_info[0]}.{sys.version_info[1]}"))
            write(paths[-1], text)
        yield
        for path in paths:
            path.unlink()


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    installed = Installed(tmp_path_factory.mktemp("installed"))
    for name, text in INTRUDERS.items():
        write(installed.cwd / "intruders" / name, text)
    return Tried(installed)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_changes_nothing(tried: Tried, name: str) -> None:
    tried.variable(name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_changes_nothing(tried: Tried, name: str) -> None:
    tried.file(name)


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_a_shell_hands_down_changes_nothing(tried: Tried, name: str) -> None:
    tried.situation(name)


def test_ansible_runs_in_an_isolated_python(tried: Tried) -> None:
    assert "isolated=1" in tried.usual["/controller/flags"]
    assert tried.usual["/module/environment/PYTHONNOUSERSITE"] == "1"


HAND_OVER = """
- name: Keep what is handed over for the services
  ansible.builtin.copy:
    src: '{{ lookup("env", "GAIAFLOW_USER_ENVIRONMENT") }}'
    dest: '{{ lookup("env", "HOME") }}/handed-over'
    mode: preserve
"""


def test_the_services_are_handed_the_users_whole_environment_as_it_is(content: Content) -> None:
    content.playbook("mlops", HAND_OVER)
    odd = {
        b"PYTHONHASHSEED": b"7",
        b"AIRFLOW__CORE__X": b"{{ 7*7 }}\n$HOME %(ENV_X)s",
        b"LATIN_1": b"caf\xe9",
        b"EMPTY": b"",
        b"BASH_FUNC_module%%": b"() {  echo x\n}",
    }
    given = {os.fsencode(k): os.fsencode(v) for k, v in content.environment.items()} | odd
    done = subprocess.run(content.command("mlops", "--start"), env=given, cwd=content.user, capture_output=True)
    assert done.returncode == 0, done.stderr
    file = content.user / "handed-over"
    assert file.stat().st_mode & 0o777 == 0o600
    handed_over = {os.fsencode(k): os.fsencode(v) for k, v in json.loads(file.read_text()).items()}
    assert {name: handed_over.get(name) for name in given} == given
    assert content.leftovers() == []


def test_the_documented_list_is_the_list() -> None:
    text = (CHECKOUT / "docs" / "environment.md").read_text()
    rows = re.findall(r"^\| (`[A-Z].*`) \| (.*) \|$", text.partition("## ")[0], re.MULTILINE)
    assert {names.replace("`", ""): why for names, why in rows} == PASSED_ON


def test_the_launcher_keeps_the_same_of_pip_and_uv() -> None:
    script = (CHECKOUT / "gaiaflow-setup").read_text().partition("forget_environment() {")[2].partition("PIP_* |")[0]
    kept = set(re.findall(r"\b(?:PIP|UV)_[A-Z_]+[*A-Z]", script))
    assert kept == {name for name in patterns() if name.startswith(("PIP_", "UV_"))}


HOSTILE = VARIABLES | {
    "PIP_CONSTRAINT": "/proc/nowhere",
    "PIP_DRY_RUN": "1",
    "PIP_NO_BINARY": ":all:",
    "PIP_PREFIX": "/proc/nowhere",
    "PIP_PYTHON": "/proc/nowhere",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_ROOT": "/proc/nowhere",
    "UV_CONSTRAINT": "/proc/nowhere",
    "UV_NO_BINARY": "1",
    "UV_PROJECT": "/proc/nowhere",
    "UV_PROJECT_ENVIRONMENT": "/proc/nowhere",
    "UV_TORCH_BACKEND": BOGUS,
}


def test_a_first_use_installs_whatever_surrounds_it(tmp_path: Path, tried: Tried) -> None:
    root = tmp_path / "checkout"
    shutil.copytree(CHECKOUT / "gaiaflow_py", root / "gaiaflow_py", ignore=shutil.ignore_patterns("__pycache__"))
    copy_launcher(root)
    pinned = (CHECKOUT / "requirements" / "cli.txt").read_text()
    kept = [re.search(rf"^{name}==(?:.*\n)(?: .*\n)*", pinned, re.MULTILINE) for name in ("click", "uv")]
    write(root / "requirements" / "cli.txt", "".join(found[0] for found in kept if found))
    write(
        tmp_path / "home" / ".config" / "pip" / "pip.conf",
        "[install]\nuser = true\n[global]\nrequire-virtualenv = true\n",
    )
    hostile = {name: value.format(cwd=tried.content.cwd) for name, value in HOSTILE.items()}
    given = os.environ | hostile | {"HOME": str(tmp_path / "home")}
    done = subprocess.run([root / "gaiaflow-setup", "--version"], env=given, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gaiaflow-setup ")


def test_an_installed_command_isolates_itself(tried: Tried) -> None:
    start = "import sys; sys.argv[0] = 'gaiaflow-setup'; from gaiaflow_py.__main__ import main; main()"
    python = tried.content.root / ".venv" / "bin" / "python"
    before_python_starts = {
        "PYTHONEXECUTABLE", "PYTHONHASHSEED", "PYTHONHOME", "PYTHONINTMAXSTRDIGITS", "PYTHONMALLOC", "PYTHONPATH",
        "PYTHONPLATLIBDIR", "__PYVENV_LAUNCHER__",
    }  # fmt: skip
    variables = {name: tried.filled(name) for name in PYTHONS if name not in before_python_starts}
    packages = {"PYTHONPATH": f"{tried.content.cwd}/intruders/packages", "PYTHONWARNINGS": "ignore"}
    write(tried.content.cwd / "intruders" / "packages" / "jinja2" / "__init__.py", BREAKS)
    write(tried.content.cwd / "intruders" / "packages" / "click" / "__init__.py", BREAKS)
    write(tried.content.cwd / "intruders" / "packages" / "rich" / "__init__.py", BREAKS)
    done = subprocess.run(
        [python, "-c", start, "mlops", "--start"],
        env=tried.content.environment | variables | packages,
        cwd=tried.content.cwd,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_command_that_one_user_installed_finds_its_packages(tmp_path: Path) -> None:
    installed = Installed(tmp_path)
    packages = installed.user / ".local/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    for one in Path(sysconfig.get_path("purelib")).iterdir():
        if not one.name.startswith(("gaiaflow", "__pycache__", "ansible_collections")):
            (packages / one.name).symlink_to(one)
    shutil.copytree(installed.root / "gaiaflow_py", packages / "gaiaflow_py")
    collection = packages / "ansible_collections" / "gaiaflow" / "setup"
    collection.mkdir(parents=True)
    for one in Path(sysconfig.get_path("purelib"), "ansible_collections").iterdir():
        (packages / "ansible_collections" / one.name).symlink_to(one)
    for name in ("playbooks", "library", "plugins", "roles", "inventory", "ansible.cfg"):
        (collection / name).symlink_to(installed.root / name)
    python = Path(sys.base_prefix) / "bin" / "python3"
    start = "import sys; sys.argv[0] = 'gaiaflow-setup'; from gaiaflow_py.__main__ import main; main()"
    done = subprocess.run(
        [python, "-c", start, "mlops", "--start"],
        env=installed.environment | {"PYTHONUNBUFFERED": "1"},
        cwd=installed.cwd,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


IN_THE_BACKGROUND = """
- name: Begin something
  ansible.builtin.command: "true"
  vars:
    ansible_python_interpreter: %s
  register: begun
  async: 30
  poll: 0
- name: Wait for it
  ansible.builtin.async_status:
    jid: "{{ begun.ansible_job_id }}"
  register: ended
  until: ended is finished
  retries: 30
  delay: 1
"""


def test_minikube_is_started_in_the_background_from_a_path_with_a_space(tmp_path: Path) -> None:
    installed = Installed(tmp_path)
    assert " " in str(installed.root)
    variables = yaml.safe_load((CHECKOUT / "roles" / "cluster" / "vars" / "main.yml").read_text())
    installed.playbook("mlops", IN_THE_BACKGROUND % json.dumps(variables["cluster_background_python"]))
    command = installed.command("mlops", "--start")
    done = subprocess.run(command, env=installed.environment, cwd=installed.cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
