"""What runs an instance's services: one interface (`base`), and an implementation for each runtime.

The modules and `gaiaflow-setup status` ask the same code; the latter without Ansible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Runtime


def implementation(runtime: str) -> type[Runtime]:
    """Return the implementation of a runtime; nothing of the other one is imported.

    Args:
        runtime: `native` or `docker`.
    """
    if runtime == "docker":
        from .docker import DockerRuntime

        return DockerRuntime
    from .native import NativeRuntime

    return NativeRuntime
