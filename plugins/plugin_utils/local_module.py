"""Ansible action: run a module of this collection where it is installed, on the machine that Ansible runs on.

Ansible looks for all that a module imports, and packs it into an archive, out of which Python compiles it: with many
helpers that takes longer than a module's work. On this machine all of it is there already. A link to this file in
`plugins/action` makes it the action of the module with that name. On other hosts, and where this Ansible has no such
parts, the module runs as any does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ansible
from ansible import constants
from ansible.executor.interpreter_discovery import InterpreterDiscoveryRequiredError
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.plugins.action.normal import ActionModule as NormalAction

import ansible_collections

try:
    from ansible.executor.module_common import _BuiltModule, _get_shebang
    from ansible.module_utils._internal._ansiballz._loader import run_module  # noqa: F401  PROGRAM calls it
except ImportError:
    _BuiltModule = None

# How parameters and results are written for a module that asks for no other way.
PROFILE = "legacy"
# What the interpreter gets in the archive's place. It may be another environment's: of this one it gets Ansible alone.
PROGRAM = """\
{shebang}
import sys
sys.path[:] = [path for path in sys.path if path not in ("", ".")]
import types
for name, directories in {packages!r}.items():
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = directories
    package.__file__ = directories[0] + "/__init__.py"
from ansible.module_utils._internal._ansiballz._loader import run_module
run_module(json_params={params!r}, profile={profile!r}, module_fqn={module!r}, modlib_path={root!r}, extensions={{}})
"""


class ActionModule(NormalAction):  # type: ignore[misc]
    """Run the task's module as Ansible does, but for where its code comes from."""

    def _configure_module(self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> Any:
        """Return what the interpreter is given to run the module, and the module's file.

        Args:
            module_name: The module, as the task names it.
            module_args: Its parameters, with Ansible's own.
            task_vars: The task's variables.
        """
        found = self._shared_loader_obj.module_loader.find_plugin_with_context(
            module_name, collection_list=self._task.collections
        )
        shebang = self._shebang(task_vars)
        # What runs a task in the background is a module of Ansible's own, and asked for here, too.
        if not (shebang and found.resolved) or module_name != self._task.action:
            return super()._configure_module(module_name, module_args, task_vars)
        path = Path(found.plugin_resolved_path)
        package = Path(ansible.__file__).parent
        encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
        program = PROGRAM.format(
            shebang=shebang,  # what runs it in the background reads it there
            packages={
                "ansible": [str(package)],
                "ansible_collections": [str(one) for one in ansible_collections.__path__],
            },
            params=json.dumps({"ANSIBLE_MODULE_ARGS": module_args}, cls=encoder).encode(),
            profile=PROFILE,
            module=f"ansible_collections.{found.plugin_resolved_collection}.plugins.modules.{path.stem}",
            root=str(package.parent),
        )
        built = _BuiltModule(
            b_module_data=program.encode(), module_style="new", shebang=shebang, serialization_profile=PROFILE
        )
        return built, str(path)

    def _shebang(self, task_vars: dict[str, Any]) -> str:
        """Return the line that names the interpreter; nothing where the module runs as any module does.

        Args:
            task_vars: The task's variables.
        """
        is_elsewhere = self._connection.transport != "local" or self._task.delegate_to
        # Another user may not be able to read this one's files. Who keeps a run's files wants to read the archive.
        if _BuiltModule is None or is_elsewhere or self._connection.become or constants.DEFAULT_KEEP_REMOTE_FILES:
            return ""
        try:
            shebang, _ = _get_shebang("/usr/bin/python", task_vars, self._templar)
        except InterpreterDiscoveryRequiredError:
            return ""
        return str(shebang)
