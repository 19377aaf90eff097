"""What a playbook is told, as the file of variables that Ansible reads."""

from __future__ import annotations

import json
from typing import Any

from gaiaflow_py.request import Request

TEMPLATE = frozenset("{#")
"""What every template has one of, its header `#jinja2:` included."""


class _Text(str):
    """Text that a user typed, or that follows from it: never a template."""


def document(request: Request) -> str:
    """Return the variables of a run as YAML.

    What the command's own options say is text, whatever it looks like. What the user gives with `-e` is Ansible's own:
    templates work there, as they do with ansible-playbook.

    Args:
        request: The run.
    """
    given, extra = _as_text(request.variables), request.options.extra_vars
    merged = {
        name: {**given[name], **value}
        for name, value in extra.items()
        if isinstance(value, dict) and isinstance(given.get(name), dict)
    }
    return _yaml({**given, **extra, **merged})


def _as_text(value: Any) -> Any:
    if isinstance(value, str):
        return _Text(value)
    if isinstance(value, list | tuple):
        return [_as_text(one) for one in value]
    return {name: _as_text(one) for name, one in value.items()} if hasattr(value, "items") else value


def _yaml(value: Any) -> str:
    """Return a value in YAML's flow style, in ASCII, as no character means anything else there."""
    if isinstance(value, str):
        escaped = value.encode("unicode_escape").decode().replace('"', '\\"')
        # The tag makes Ansible read 0123 and yes as plain scalars, quotes or not, so it is only where it is needed.
        is_tagged = isinstance(value, _Text) and not TEMPLATE.isdisjoint(value)
        return f'{"!unsafe " * is_tagged}"{escaped}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_yaml(str(name))}: {_yaml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return json.dumps(value)
