"""The thin wrapper of gaiaflow-setup: commands become playbooks, run through ansible-runner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gaiaflow_py.manager import create_secrets as create_secrets


def __getattr__(name: str) -> Any:
    """Import what Python code asks for only then: that keeps the command line fast."""
    if name == "create_secrets":
        from gaiaflow_py.manager import create_secrets

        return create_secrets
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
