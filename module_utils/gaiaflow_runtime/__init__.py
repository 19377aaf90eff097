"""What runs an instance's services: one interface (`base`), and an implementation for each runtime.

The modules and `gaiaflow-setup status` ask the same code; the latter without Ansible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.gaiaflow_runtime.base import Runtime


def implementation(runtime: str) -> type[Runtime]:
    """Return the implementation of a runtime; nothing of the other one is imported.

    Args:
        runtime: `native` or `docker`.
    """
    if runtime == "docker":
        from ansible.module_utils.gaiaflow_runtime.docker import DockerRuntime

        return DockerRuntime
    from ansible.module_utils.gaiaflow_runtime.native import NativeRuntime

    return NativeRuntime
