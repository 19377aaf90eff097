"""Filter `first_match`: which entry it finds, and that none is an error."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.gaiaflow.setup.plugins.filter.first_match import FilterModule

ENTRIES = [{"pattern": "denied|40[13]", "hint": "log in"}, {"pattern": "", "hint": "run it again"}]


@pytest.mark.parametrize(("text", "hint"), [("HTTP 403", "log in"), ("denied\nlate", "log in"), ("", "run it again")])
def test_first_pattern_that_fits_counts(text: str, hint: str) -> None:
    assert FilterModule().filters()["first_match"](ENTRIES, text)["hint"] == hint


def test_no_pattern_that_fits_is_an_error() -> None:
    with pytest.raises(AnsibleFilterError, match="No pattern fits"):
        FilterModule().filters()["first_match"](ENTRIES[:1], "fine")
