#!/usr/bin/python
"""Ansible module: the services of one instance, brought to the state that is asked for in either runtime."""

from __future__ import annotations

DOCUMENTATION = r"""
module: services
short_description: Start, stop, restart and remove the services of an instance
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Compares what there is with the catalogue, all in one go, brings the former to the latter, starts everything at
    once, and returns when every service answers its health check. A service waits by itself for those it needs.
  - With the runtime C(native), services are processes under supervisord; the module writes config/services.json, which
    run_service.py reads, and config/supervisord.conf.
  - With the runtime C(docker), services are containers, each with a directory of its own under config/containers, which
    holds its definition and no credentials but its own. Images and the network are made by Ansible's modules for
    Docker. Where one is missing, the module says so with C(to_prepare), and has changed nothing.
  - Runs with the Python of the environment that holds supervisor and psutil.
options:
  runtime:
    description: What runs the services.
    type: str
    choices: [native, docker]
    required: true
  directory:
    description: The instance's directory.
    type: path
    required: true
  socket:
    description: The socket by which supervisord or the engine is asked; empty takes what the instance's record says.
    type: path
    default: ""
  state:
    description:
      - The state that is asked for. C(started) starts what isn't running, applies changed definitions and nothing else;
        C(restarted) stops first.
      - C(defined) brings files and containers to what the definition says, while another runtime may still be running;
        C(exported) also lets the containers' user write to the data.
      - C(stopped) ends the services. C(absent) removes what runs them, too; their data stays.
    type: str
    choices: [started, restarted, defined, exported, stopped, absent]
    required: true
  definition:
    description: The catalogue of services and what they share; without it, what the last start has kept.
    type: dict
    default: {}
  bases:
    description: What several services of the definition share, by the name that their C(base) gives.
    type: dict
    default: {}
  configuration:
    description:
      - The content of supervisord.conf (native); needed with a definition. Its last section, which begins with
        C([program:), is repeated for each program.
      - C(@{program.name}), C(@{program.digest}) and C(@{program.stop_signal}) in it are filled in.
    type: str
    default: ""
  programs:
    description: Directory of run_service.py and of its like (native); needed with a definition.
    type: path
    default: ""
  services:
    description: What the state is asked of, by the catalogue's C(service) names; empty for all.
    type: list
    elements: str
    default: []
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
  build:
    description: Whether images that exist already are built again (docker).
    type: str
    choices: [missing, always]
    default: missing
  prepared:
    description: Whether images and network have been made by now (docker); one that is missing is an error then.
    type: bool
    default: false
  purge:
    description: Whether the stack's images that no container is made from any more are removed at the end (docker).
    type: bool
    default: false
  start_timeout:
    description: Seconds until every service must be healthy.
    type: int
    default: 600
  stop_timeout:
    description: Seconds a service has to end before it is killed.
    type: int
    default: 15
"""

EXAMPLES = r"""
- name: Start the services and wait until they are healthy
  gaiaflow.setup.services:
    runtime: native
    directory: "{{ mlops_directory }}"
    state: started
    definition: "{{ mlops_definition }}"
    bases: "{{ mlops_bases }}"
    configuration: "{{ lookup('ansible.builtin.template', 'supervisord.conf.j2') }}"
    programs: "{{ mlops_files }}/programs"

- name: Stop JupyterLab's container
  gaiaflow.setup.services:
    runtime: docker
    directory: "{{ mlops_directory }}"
    state: stopped
    services: [jupyter]
"""

RETURN = r"""
to_prepare:
  description: Whether images or the network have to be made before the services can start; nothing has changed then.
  returned: when the state is started, restarted, defined or exported
  type: bool
to_build:
  description: The images to build, as name, dockerfile, args and labels.
  returned: with the runtime docker, when the state is started, restarted, defined or exported
  type: list
  elements: dict
to_pull:
  description: The names of other images that are missing.
  returned: with the runtime docker, when the state is started, restarted, defined or exported
  type: list
  elements: str
network:
  description: The network's name and labels, and whether it is missing.
  returned: with the runtime docker, when the state is started, restarted, defined or exported
  type: dict
engine:
  description: Where the engine is asked.
  returned: with the runtime docker, when the state is started, restarted, defined or exported
  type: str
buildx:
  description: Whether images can be built with BuildKit.
  returned: with the runtime docker, when the state is started, restarted, defined or exported
  type: bool
compose:
  description: The same containers as a Compose file's content.
  returned: with the runtime docker, when the state is started, restarted, defined or exported
  type: dict
endpoints:
  description: service, url, user and the file of its password, for each service that a user opens.
  returned: when the services were started
  type: list
  elements: dict
notes:
  description: What a user should know of what was done, a line each.
  returned: when the services were started
  type: list
  elements: str
"""

import contextlib
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.catalogue import expand
from ..module_utils.common import ServiceError, end_with_run, locked
from ..module_utils.errors import SetupError
from ..module_utils.runtime import implementation
from ..module_utils.runtime.base import Runtime, Settings

DEFINED = ("started", "restarted", "defined", "exported")


def runtime_of(module: AnsibleModule) -> Runtime:
    """Return the instance's runtime, as the module is asked for it."""
    params = module.params
    given = {one.name: params[one.name] for one in fields(Settings) if one.name in params}
    definition = params["definition"]
    if definition:
        services = expand(definition["services"], params["bases"], params["runtime"])
        definition = {**definition, "services": services}
    runtime = implementation(params["runtime"])
    settings = Settings(check_mode=module.check_mode, **given)
    return runtime(Path(params["directory"]), params["socket"], definition, settings)


@contextlib.contextmanager
def sole_writer(runtime: Runtime) -> Iterator[None]:
    """Hold the instance's lock while something changes."""
    if runtime.settings.check_mode or not runtime.directory.is_dir():
        yield
    else:
        with locked(runtime.directory / ".lock"):
            yield


def bring_to(runtime: Runtime, state: str, services: list[str]) -> dict[str, Any]:
    """Bring the services to the state that is asked for, and return the module's result.

    Args:
        runtime: What runs them.
        state: The state.
        services: Their names; all when empty.

    Raises:
        ServiceError: One doesn't reach it.
    """
    if state not in DEFINED:
        return {"changed": runtime.bring_to(state, services)}
    comparison = runtime.compare(services, keep=state == "exported")
    facts = {**comparison.facts, "to_prepare": comparison.to_prepare, "diff": comparison.diff}
    if state in {"defined", "exported"} or comparison.to_prepare:
        return {**facts, "changed": comparison.changed}
    changed = runtime.bring_to(state, services) or comparison.changed
    return {**facts, "changed": changed, "endpoints": runtime.endpoints(), "notes": runtime.notes}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "runtime": {"type": "str", "choices": ["native", "docker"], "required": True},
            "directory": {"type": "path", "required": True},
            "socket": {"type": "path", "default": ""},
            "state": {"type": "str", "choices": [*DEFINED, "stopped", "absent"], "required": True},
            "definition": {"type": "dict", "default": {}},
            "bases": {"type": "dict", "default": {}},
            "configuration": {"type": "str", "default": ""},
            "programs": {"type": "path", "default": ""},
            "services": {"type": "list", "elements": "str", "default": []},
            "shell_rules": {"type": "list", "elements": "dict", "default": []},
            "shell_basics": {"type": "list", "elements": "str", "default": []},
            "build": {"type": "str", "choices": ["missing", "always"], "default": "missing"},
            "prepared": {"type": "bool", "default": False},
            "purge": {"type": "bool", "default": False},
            "start_timeout": {"type": "int", "default": 600},
            "stop_timeout": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    end_with_run()
    try:
        runtime = runtime_of(module)
        with sole_writer(runtime):
            result = bring_to(runtime, module.params["state"], module.params["services"])
    except ServiceError as error:
        module.fail_json(msg=str(error), details=error.details, hint=error.hint)
    except SetupError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    except (OSError, ValueError, xmlrpc.client.Error) as error:
        message, hint = implementation(module.params["runtime"]).explain(error)
        module.fail_json(msg=message, **({"hint": hint} if hint else {}))
    for note in result.get("notes", []):
        module.warn(note)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
