"""Ansible filter: the entry whose pattern fits a text."""

from __future__ import annotations

DOCUMENTATION = r"""
name: first_match
short_description: Find the first entry whose pattern fits a text
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Roles keep in a list why a program failed, in words, by what it prints. The first entry that fits counts.
positional: _input, text
options:
  _input:
    description: The entries. Each has a regular expression as its C(pattern).
    type: list
    elements: dict
    required: true
  text:
    description: What is searched.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Explain why git failed
  ansible.builtin.fail:
    msg: "{{ (git_failures | gaiaflow.setup.first_match(git_output)).hint }}"
  vars:
    git_failures:
      - pattern: Authentication failed
        hint: Log in.
      - pattern: ""
        hint: Run it again.
"""

RETURN = r"""
_value:
  description: The entry.
  type: dict
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def first_match(entries: Iterable[Mapping[str, Any]], text: str) -> Mapping[str, Any]:
    """Return the first entry whose pattern is found in a text.

    Args:
        entries: The entries, each with a `pattern`.
        text: The text.

    Raises:
        AnsibleFilterError: None fits.
    """
    for entry in entries:
        if re.search(entry["pattern"], text):
            return entry
    raise AnsibleFilterError("No pattern fits: end the list with an empty one.")


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"first_match": first_match}
