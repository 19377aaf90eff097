"""Variables that `-e name=value` gives are texts: 'false' is true where a role doesn't say what it takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
# A parameter, a keyword or a variable that gets the value as it is knows its own type.
AS_IT_IS = re.compile(r'[\w.]+: "\{\{ \w+ \}\}"')


def names() -> set[str]:
    """Return the variables of all roles that are true or false."""
    specs = [yaml.safe_load(file.read_text())["argument_specs"] for file in ROLES.glob("*/meta/argument_specs.yml")]
    entries = [entry.get("options", {}) for spec in specs for entry in spec.values()]
    return {name for options in entries for name, option in options.items() if option.get("type") == "bool"}


def lines(role: Path) -> list[str]:
    """Return the lines of a role in which expressions can be."""
    files = [file for part in ("tasks", "vars", "handlers") for file in (role / part).rglob("*.yml")]
    templates = list((role / "templates").rglob("*.j2"))
    texts = [line.strip() for file in files + templates for line in file.read_text().splitlines()]
    return [line for line in texts if not line.startswith("#") and not AS_IT_IS.fullmatch(line)]


@pytest.mark.parametrize("role", sorted(ROLES.glob("*")), ids=lambda role: role.name)
def test_true_and_false_are_taken_as_such(role: Path) -> None:
    used = re.compile(rf"(?<![\w./'\"-])({'|'.join(sorted(names()))})\b(?![:=])(?!\s*\|\s*bool)")
    assert not [line for line in lines(role) if used.search(line)]
