#!/usr/bin/python
"""Ansible module: the services of one instance under supervisord, brought to the state that is asked for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: services
short_description: Start, stop, restart and query the services that run under supervisord
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Writes config/services.json, which run_service.py reads, and config/supervisord.conf.
  - Runs with the Python of the environment that holds supervisor, psutil and botocore.
  - C(started) starts what is not running, applies changed definitions and nothing else, and returns when every service
    answers its health check. All start at once; a service waits by itself for those it needs.
  - C(stopped) ends the services; when none is left, it ends supervisord and every process of the instance.
options:
  directory:
    description: The instance's directory.
    type: path
    required: true
  definition:
    description: The catalogue of services and what they share; needed to start, and kept in config/services.json.
    type: dict
    default: {}
  bases:
    description: What several services of the definition share, by the name that their C(base) gives.
    type: dict
    default: {}
  shell_rules:
    description: What becomes of the variables of the user's shell, as vars/main/environment.yml has it.
    type: list
    elements: dict
    default: []
  shell_basics:
    description: Names and patterns of the variables that services see which run no code of the user's.
    type: list
    elements: str
    default: []
  programs:
    description: Directory of run_service.py, the program that becomes a service, and of its like; needed to start.
    type: path
    default: ""
  socket:
    description: supervisord's control socket.
    type: path
    required: true
  state:
    description: The state that is asked for; C(query) only looks.
    type: str
    choices: [started, stopped, restarted, query]
    required: true
  services:
    description: What the state is asked of, by the catalogue's C(service) names; empty for all.
    type: list
    elements: str
    default: []
  start_timeout:
    description: Seconds until every service must be healthy.
    type: int
    default: 120
  stop_timeout:
    description: Seconds a service has to end before its process group is killed.
    type: int
    default: 15
"""

EXAMPLES = r"""
- name: Query the services
  gaiaflow.setup.services:
    directory: ~/.local/share/gaiaflow/instances/default
    socket: ~/.local/share/gaiaflow/instances/default/run/supervisor.sock
    state: query
  register: stack
"""

RETURN = r"""
services:
  description: name, state, health, url, uptime_s and memory_bytes of each service.
  returned: when the state is query
  type: list
endpoints:
  description: service, url, user and the file of its password, for each service that a user opens.
  returned: when the services were started
  type: list
notes:
  description: What a user should know of what was done, a line each.
  returned: when the services were started
  type: list
"""

import configparser
import contextlib
import functools
import hashlib
import http.client
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.catalogue import expand
from ..module_utils.common import (
    INSTANCE_VARIABLE,
    ServiceError,
    end_with_run,
    locked,
    report_progress,
    write_private,
)
from ..module_utils.health import Patience
from ..module_utils.shell import Seen, lines, seen, user_environment
from ..module_utils.supervisor import UP_STATES, Service, Supervised, probe, runs_tasks, status

STACKS_OWN = "the stack sets it itself, for its own services"
POLL_SECONDS = 0.25
LOG_LINES = 15
# A service that runs for so long should answer its health check; it gets a while longer, and is then restarted.
SETTLED_S = 60
SICK_S = 20
# A service that supervisord has had to start this often within one start is not going to come up.
MOST_STARTS = 4
DOWN_STATES = {"STOPPED", "EXITED", "FATAL"}


class Stack(Supervised):
    """One instance, and what of the user's environment its services see."""

    def __init__(self, directory: Path, socket: str, shell: Shell) -> None:
        super().__init__(directory, socket)
        self.shell = shell

    def selected(self, names: list[str]) -> list[Service]:
        """The entries that make up the named services, all of them when none is named."""
        return [one for one in self.services.values() if not names or one.service in names]

    def with_needs(self, services: list[Service]) -> list[Service]:
        """The entries and, before them, what they need."""
        chosen: dict[str, Service] = {}
        for service in services:
            for name in (*service.needs, service.name):
                chosen[name] = self.services[name]
        return list(chosen.values())

    def log_end(self, name: str) -> str:
        """The last lines of a service's log."""
        try:
            lines = (self.directory / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-LOG_LINES:])


# ---- Configuration


def supervisor_configuration(stack: Stack, definition: dict[str, Any], stop_timeout: int) -> str:
    """Supervisord's configuration file for these services."""

    def plain(text: object) -> str:
        return str(text).replace("%", "%%")

    config, logs = stack.directory / "config", stack.directory / "logs"
    configuration = configparser.RawConfigParser()
    configuration["unix_http_server"] = {"file": plain(stack.socket), "chmod": "0600"}
    configuration["supervisord"] = {
        "logfile": plain(logs / "supervisord.log"),
        "logfile_maxbytes": "5MB",
        "logfile_backups": "1",
        "pidfile": plain(Path(stack.socket).with_name("supervisord.pid")),
        "childlogdir": plain(logs),
        "umask": "077",
    }
    configuration["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    # For people: `supervisorctl -c FILE status`.
    configuration["supervisorctl"] = {"serverurl": f"unix://{plain(stack.socket)}"}
    for name, entry in definition["services"].items():
        command = [sys.executable, "-I", "-S", str(config / "run_service.py"), str(config / "services.json"), name]
        shared = {key: value for key, value in definition.items() if key not in {"services", "environments"}}
        content = json.dumps([entry, definition["environments"][entry["environment"]], shared], sort_keys=True)
        configuration[f"program:{name}"] = {
            "command": plain(shlex.join(command)),
            # A changed definition changes this line, and supervisord then restarts what changed.
            "environment": f'GAIAFLOW_DEFINITION="{hashlib.sha256(content.encode()).hexdigest()}"',
            "directory": "/",
            "autostart": "false",
            "autorestart": "true",
            "startsecs": "2",
            "startretries": "3",
            "stopsignal": entry.get("stop_signal", "TERM"),
            "stopwaitsecs": str(stop_timeout),
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": plain(logs / f"{name}.log"),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "3",
        }
    text = io.StringIO()
    configuration.write(text)
    return text.getvalue()


def configure(stack: Stack, module: AnsibleModule) -> list[dict[str, str]]:
    """Writes the configuration files that differ from what they shall hold; returns the differences."""
    if not module.params["definition"]:
        stack.load_kept()
        return []
    definition = dict(module.params["definition"])
    definition["services"] = expand(definition["services"], module.params["bases"], "native")
    supervisor = supervisor_configuration(stack, definition, module.params["stop_timeout"])
    differences = []
    files = {
        "services.json": json.dumps(definition, indent=2) + "\n",
        # Copies of our own: a killed service must come back though the checkout has moved.
        **{program.name: program.read_text() for program in Path(module.params["programs"]).glob("*.py")},
        "supervisord.conf": supervisor,
    }
    for name, text in files.items():
        path = stack.directory / "config" / name
        before = path.read_text(errors="replace") if path.is_file() else ""
        if before != text:
            differences.append({"before_header": str(path), "after_header": str(path), "before": before, "after": text})
            if not module.check_mode:
                write_private(path, text)
    stack.load(definition)
    return differences


# ---- The user's environment


class Shell:
    """The environment of the user's shell, and what of it the services see.

    Args:
        rules: What becomes of its variables.
        basics: Names and patterns of those that every service sees.
    """

    def __init__(self, rules: list[dict[str, Any]], basics: list[str]) -> None:
        self.rules = rules
        self.basics = basics
        self.told: dict[str, list[str]] = {}

    @functools.cached_property
    def given(self) -> dict[str, str]:
        """The user's environment."""
        variables: dict[str, str] = user_environment()
        return variables

    def for_every_service(self) -> dict[str, str]:
        """What supervisord sees, and services that run no code of the user's."""
        found: Seen = seen(self.given, self.rules, self.basics)
        return self._told(found)

    def for_service(self, service: Service) -> dict[str, str]:
        """What a service sees."""
        if not service.runs_users_code:
            return self.for_every_service()
        found: Seen = seen(self.given, self.rules)
        named = {name for names in found.told.values() for name in names}
        if own := sorted(set(service.own_variables) & set(found.variables) - named):
            found.told[STACKS_OWN] = own
        return self._told(found)

    def _told(self, found: Seen) -> dict[str, str]:
        variables: dict[str, str] = found.variables
        for why, names in found.told.items():
            self.told[why] = sorted({*self.told.get(why, []), *names})
        return variables

    @property
    def notes(self) -> list[str]:
        """What is told of variables that services see otherwise."""
        notes: list[str] = lines(self.told)
        return notes


def keep_environments(stack: Stack, names: list[str]) -> None:
    """Keeps what services that are about to start see of the user's environment, also when they are started again."""
    directory = stack.directory / "config" / "environment"
    directory.mkdir(exist_ok=True, mode=0o700)
    for name in names:
        write_private(directory / f"{name}.json", json.dumps(stack.shell.for_service(stack.services[name])) + "\n")


# ---- Start


def start_supervisor(stack: Stack) -> None:
    """Starts supervisord, after ending what one that was killed may have left running."""
    end_leftovers(stack, grace=5)
    Path(stack.socket).unlink(missing_ok=True)
    environment = {**stack.shell.for_every_service(), INSTANCE_VARIABLE: str(stack.directory)}
    configuration = str(stack.directory / "config" / "supervisord.conf")
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", configuration]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise ServiceError("supervisord did not start.", done.stdout + done.stderr)
    patience = Patience(10)
    while not stack.supervised():
        if patience.ended():
            raise ServiceError("supervisord started but does not answer.", stack.log_end("supervisord"))
        time.sleep(0.02)


def apply_definitions(stack: Stack, timeout: int) -> set[str]:
    """Makes supervisord's processes those of its configuration; returns those that must be started (again)."""
    supervisor = stack.supervisor
    (added, changed, removed), *_ = supervisor.reloadConfig()
    running = {name for name, info in stack.processes().items() if info["statename"] in UP_STATES}
    stop_together(stack, [*changed, *removed], timeout)
    for name in (*changed, *removed):
        supervisor.removeProcessGroup(name)
    for name in (*added, *changed):
        supervisor.addProcessGroup(name)
    return running & set(changed)


def start_processes(stack: Stack, services: list[Service]) -> bool:
    """Starts what is not up, all at once; tells whether there was anything to start."""
    processes = stack.processes()
    down = [one.name for one in services if processes[one.name]["statename"] not in UP_STATES]
    keep_environments(stack, down)
    for name in down:
        stack.supervisor.startProcess(name, False)
    return bool(down)


def wait_until_healthy(stack: Stack, services: list[Service], timeout: int) -> None:
    """Returns when every service answers, or fails naming the one that does not."""
    patience = Patience(timeout)
    starts: dict[str, set[int]] = {one.name: set() for one in services}
    waiting = services
    answered: list[Service] | bool = True
    while True:
        if answered:
            report_progress(items={one.name: one not in waiting for one in services})
        processes = stack.processes()
        for one in waiting:
            starts[one.name].add(processes[one.name]["start"])
            refuse_hopeless(stack, one, processes[one.name], len(starts[one.name]))
        health = probe(stack, waiting, processes)
        answered = [one for one in waiting if health[one.name]]
        waiting = [one for one in waiting if not health[one.name]]
        if not waiting:
            return
        if patience.ended():
            slowest = waiting[0].name
            raise ServiceError(f"{slowest} is not healthy after {patience.waited} s.", stack.log_end(slowest))
        time.sleep(POLL_SECONDS)


def refuse_hopeless(stack: Stack, service: Service, process: dict[str, Any], starts: int) -> None:
    """Fails at once for a service that keeps ending."""
    if process["statename"] == "FATAL" or starts >= MOST_STARTS:
        raise ServiceError(f"{service.name} ends as soon as it has started.", stack.log_end(service.name))


def started(stack: Stack, names: list[str], start_timeout: int, stop_timeout: int) -> bool:
    """Everything asked for is up and healthy; tells whether anything had to be done."""
    changed = False
    if not stack.supervised():
        start_supervisor(stack)
        changed = True
    interrupted = apply_definitions(stack, stop_timeout)
    again = [stack.services[name] for name in interrupted if name in stack.services]
    services = stack.with_needs([*stack.selected(names), *again])
    reopened = reopen_logs(stack)
    sick = unhealthy_for_long(stack, services)
    stop_together(stack, sick, stop_timeout)
    changed = start_processes(stack, services) or bool(interrupted or sick or reopened) or changed
    wait_until_healthy(stack, services, start_timeout)
    return changed


def reopen_logs(stack: Stack) -> bool:
    """Has supervisord open logs again that somebody has removed: it goes on writing to what nobody can read."""
    logs = stack.directory / "logs"
    up = [name for name, info in stack.processes().items() if info["statename"] in UP_STATES]
    if all((logs / f"{name}.log").exists() for name in ("supervisord", *up)):
        return False
    os.kill(stack.supervisor.getPID(), signal.SIGUSR2)
    return True


def unhealthy_for_long(stack: Stack, services: list[Service]) -> list[str]:
    """Services that have run for long, and won't answer again by themselves: what they need was taken from them."""
    processes = stack.processes()
    useless = [one.name for one in services if not runs_tasks(stack, one, processes[one.name])]
    settled = [
        one
        for one in services
        if (info := processes[one.name])["statename"] in UP_STATES and info["now"] - info["start"] > SETTLED_S
    ]
    sick, patience = settled, Patience(SICK_S)
    while sick:
        health = probe(stack, sick, stack.processes())
        sick = [one for one in sick if not health[one.name]]
        if patience.ended():
            break
        time.sleep(POLL_SECONDS if sick else 0)
    return list({*useless, *(one.name for one in sick)})


# ---- Stop


def end_leftovers(stack: Stack, grace: float) -> None:
    """Ends every process of the instance that supervisord no longer knows."""
    import psutil

    processes = stack.leftovers()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=grace)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def wait_for(condition: Callable[[], bool], timeout: float) -> bool:
    """Whether the condition came true within so many seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def stop_processes(stack: Stack, services: list[Service], timeout: int) -> bool:
    """Ends the services, dependants before what they need; tells whether any was up."""
    needed = {name for one in services for name in one.needs}
    changed = False
    for group in ([one for one in services if one.name not in needed], [one for one in services if one.name in needed]):
        changed = stop_together(stack, [one.name for one in group], timeout) or changed
    return changed


def stop_together(stack: Stack, names: list[str], timeout: int) -> bool:
    """Ends these processes at the same time."""
    processes = stack.processes()
    up = [name for name in names if processes.get(name, {}).get("statename", "STOPPED") not in DOWN_STATES]
    for name in up:
        with contextlib.suppress(xmlrpc.client.Fault):
            stack.supervisor.stopProcess(name, False)
    if not up:
        return False
    report_progress(items=dict.fromkeys(up, False))
    # supervisord itself kills the group of one that does not end in time.
    if not wait_for(lambda: all_down(stack, up), timeout + 10):
        raise ServiceError(f"{', '.join(up)} did not stop within {timeout + 10} s.")
    return True


def all_down(stack: Stack, names: list[str]) -> bool:
    """Whether none of the processes runs."""
    processes = stack.processes()
    return all(processes.get(name, {}).get("statename", "STOPPED") in DOWN_STATES for name in names)


def stop_supervisor(stack: Stack) -> None:
    """Ends supervisord and whatever is left of the instance."""
    if stack.supervised():
        with contextlib.suppress(OSError, http.client.HTTPException, xmlrpc.client.Error):
            stack.supervisor.shutdown()
        wait_for(lambda: not stack.supervised(), 10)
    end_leftovers(stack, grace=5)


def stopped(stack: Stack, names: list[str], timeout: int) -> bool:
    """Everything asked for is down; tells whether anything was up."""
    if not stack.supervised():
        left = bool(stack.leftovers())
        end_leftovers(stack, grace=5)
        return left
    changed = stop_processes(stack, stack.selected(names), timeout)
    if all_down(stack, list(stack.services)):
        stop_supervisor(stack)
        changed = True
    return changed


# ---- The module


def endpoints(stack: Stack) -> list[dict[str, str]]:
    """Where a user finds each service and what it asks for; the passwords stay in their file."""
    secret_file = str(stack.directory / "credentials.json")
    return [
        {"service": one.service, "url": one.url, "user": one.user, "password_in": secret_file if one.user else ""}
        for one in stack.services.values()
        if one.url
    ]


def would_change(stack: Stack, state: str, names: list[str]) -> bool:
    """What check mode answers, the configuration aside."""
    up = {name for name, info in stack.processes().items() if info["statename"] in UP_STATES}
    wanted = {one.name for one in stack.selected(names)}
    if state == "started":
        return not wanted <= up
    return state == "restarted" or bool(wanted & up) or stack.supervised()


def bring_to(stack: Stack, module: AnsibleModule) -> bool:
    """Brings the services to the state that is asked for; tells whether anything changed."""
    names, state = module.params["services"], module.params["state"]
    if module.check_mode:
        return would_change(stack, state, names)
    changed, stop_timeout = False, module.params["stop_timeout"]
    if state in {"stopped", "restarted"}:
        changed = stopped(stack, names, stop_timeout)
    if state in {"started", "restarted"}:
        changed = started(stack, names, module.params["start_timeout"], stop_timeout) or changed
    return changed


@contextlib.contextmanager
def sole_writer(stack: Stack, module: AnsibleModule) -> Iterator[None]:
    """Holds the instance's lock while something changes."""
    if module.check_mode or module.params["state"] == "query" or not stack.directory.is_dir():
        yield
    else:
        with locked(stack.directory / ".lock"):
            yield


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "socket": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped", "restarted", "query"], "required": True},
            "definition": {"type": "dict", "default": {}},
            "bases": {"type": "dict", "default": {}},
            "shell_rules": {"type": "list", "elements": "dict", "default": []},
            "shell_basics": {"type": "list", "elements": "str", "default": []},
            "programs": {"type": "path", "default": ""},
            "services": {"type": "list", "elements": "str", "default": []},
            "start_timeout": {"type": "int", "default": 120},
            "stop_timeout": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    end_with_run()
    state = module.params["state"]
    try:
        shell = Shell(module.params["shell_rules"], module.params["shell_basics"])
        stack = Stack(Path(module.params["directory"]), module.params["socket"], shell)
        with sole_writer(stack, module):
            if state == "query":
                stack.load_kept()
                module.exit_json(changed=False, services=status(stack))
            differences = configure(stack, module)
            changed = bring_to(stack, module)
            result = {"changed": changed or bool(differences), "diff": differences}
            if state != "stopped":
                result.update(endpoints=endpoints(stack), notes=shell.notes)
                for note in shell.notes:
                    module.warn(note)
            module.exit_json(**result)
    except ServiceError as error:
        module.fail_json(
            msg=str(error),
            details=error.details,
            hint=error.hint,
        )
    except (OSError, ValueError, xmlrpc.client.Error) as error:
        module.fail_json(msg=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
