"""What is said with options reaches Ansible as text, whatever it looks like."""

from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from gaiaflow_py.extravars import document
from gaiaflow_py.request import Request

TEXTS = (
    "1234",
    "0123",
    "1e3",
    "yes",
    "~",
    "null",
    "=",
    "<<",
    "2020-01-01",
    "{{ 1 + 1 }}",
    "{% if %}",
    "#jinja2: x",
    "",
)


@pytest.mark.parametrize("text", TEXTS)
def test_text_stays_text(text: str) -> None:
    said = document(Request("p", "c", {"one": text, "many": [text], "by_name": {text: text}}))
    read = DataLoader().load(trust_as_template(said))
    assert read == {"one": text, "many": [text], "by_name": {text: text}}
    assert Templar(loader=DataLoader(), variables=read).template(read["one"]) == text
