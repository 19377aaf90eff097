"""What Ansible's modules share (module_utils), for use without Ansible."""

from __future__ import annotations

import importlib
from typing import Any

from gaiaflow_py.paths import content_root


def module_utils(name: str) -> Any:
    """Import what the modules share, as Ansible would; of Ansible itself nothing is loaded but two empty packages.

    Args:
        name: Its name.
    """
    import ansible.module_utils

    directory = str(content_root() / "module_utils")
    if directory not in ansible.module_utils.__path__:
        ansible.module_utils.__path__.append(directory)
    return importlib.import_module(f"ansible.module_utils.{name}")
