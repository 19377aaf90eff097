"""What a secret is to hold: .env files of all kinds, names, keys, and what is refused by its place.

The tables are where the next report goes.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gaiaflow.setup.plugins.lookup import kube_secret_content

OPTIONS: dict[str, Any] = {"data": {}, "env_files": [], "files": {}, "project": ""}

PARSED = {
    "plain": (b"A=b\n", {"A": "b"}),
    "no newline at the end": (b"A=b", {"A": "b"}),
    "export": (b"export A=b\n", {"A": "b"}),
    "spaces around": (b"  A = b  \n", {"A": "b"}),
    "empty": (b"A=\nB=c\n", {"A": "", "B": "c"}),
    "empty in quotes": (b"A=\"\"\nB=''\n", {"A": "", "B": ""}),
    "comment": (b"# A=x\nA=b\n", {"A": "b"}),
    "comment behind": (b"A=b # c\n", {"A": "b"}),
    "comment behind quotes": (b'A="b" # c\n', {"A": "b"}),
    "hash in a value": (b"A=b#c\n", {"A": "b#c"}),
    "hash in quotes": (b"A='b # c'\n", {"A": "b # c"}),
    "spaces within": (b"A=b c\n", {"A": "b c"}),
    "double quotes": (b'A="b c"\n', {"A": "b c"}),
    "quotes of the other kind": (b'A=\'say "hi"\'\nB="it\'s"\n', {"A": 'say "hi"', "B": "it's"}),
    "quote within a word": (b"A=it's\n", {"A": "it's"}),
    "escapes in double quotes": (b'A="a\\nb\\\\c\\"d"\n', {"A": 'a\nb\\c"d'}),
    "backslashes in single quotes": (b"A='C:\\new'\n", {"A": "C:\\new"}),
    "backslashes in a plain value": (b"A=C:\\new\n", {"A": "C:\\new"}),
    "many lines": (b'A="one\ntwo\n"\nB=c\n', {"A": "one\ntwo\n", "B": "c"}),
    "many lines in single quotes": (b"A='-----BEGIN\nabc=\n-----END'\n", {"A": "-----BEGIN\nabc=\n-----END"}),
    "Windows": (b'A=b\r\nB="c\r\nd"\r\n', {"A": "b", "B": "c\nd"}),
    "byte order mark": (b"\xef\xbb\xbfA=b\n", {"A": "b"}),
    "umlauts": ("A=é🍷\n".encode(), {"A": "é🍷"}),
    "equals sign in a value": (b"A=b=c==\n", {"A": "b=c=="}),
    "dollars": (b"A=a$$b $(NAME) $HOME\n", {"A": "a$$b $(NAME) $HOME"}),
    "shell's substitution in single quotes": (b"A='${B}'\n", {"A": "${B}"}),
    "template": (b"A={{ 7 * 7 }}\n", {"A": "{{ 7 * 7 }}"}),
    "percent": (b"A=50%\n", {"A": "50%"}),
    "URL": (b"A=postgresql://u:p%40@h:5432/d?x=1&y=2\n", {"A": "postgresql://u:p%40@h:5432/d?x=1&y=2"}),
    "JSON": (b"A='{\"a\": [1]}'\n", {"A": '{"a": [1]}'}),
    "nothing": (b"\n# only a comment\n", {}),
}


@pytest.mark.parametrize("case", PARSED)
def test_env_file_is_read(case: str) -> None:
    written, expected = PARSED[case]
    assert {key: value for key, value, _ in kube_secret_content.parse_env(written, ".env")} == expected


REFUSED = {
    "open quote": (b'A=b\nB="c\n', ".env, line 2 is not understood"),
    "text after quotes": (b'A="b" c\n', ".env, line 1 is not understood"),
    "no assignment": (b"A=b\n\nC\n", ".env, line 3: C has no value"),
    "words": (b"hello world\n", ".env, line 1 is not understood"),
    "twice": (b"A=b\nB=c\nA=d\n", ".env has A twice, in lines 1 and 3"),
    "substitution": (b"A=b\nB=${A}/c\n", ".env, line 2: B has ${...}"),
    "substitution in double quotes": (b'B="${A}"\n', ".env, line 1: B has ${...}"),
    "key with a hyphen": (b"MY-KEY=b\n", ".env, line 1: 'MY-KEY' is not a name"),
    "key that begins with a digit": (b"1A=b\n", ".env, line 1: '1A' is not a name"),
    "key with an umlaut": ("Ä=b\n".encode(), "is not a name"),
    "not UTF-8": (b"A=b\nB=caf\xe9\n", ".env, line 2 isn't UTF-8"),
    "UTF-16": ("A=b\n".encode("utf-16"), ".env, line 1 isn't UTF-8"),
    "line after many lines": (b'A="one\ntwo"\n\n\n1B=c\n', ".env, line 5: '1B'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_in_an_env_file_is_named_with_its_line(case: str) -> None:
    written, message = REFUSED[case]
    with pytest.raises(kube_secret_content.RefusedError) as refused:
        list(kube_secret_content.parse_env(written, ".env"))
    assert message in str(refused.value)


NAMES = {"my-creds": True, "a": True, "a.b-c.d1": True, "1": True, "a" * 253: True} | dict.fromkeys(
    ("", "My", "a_b", "-a", "a-", "a..b", ".a", "a b", "é", "a/b", "{{ a }}", "a" * 254, "gaiaflow-s3"), False
)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_those_of_kubernetes(name: str) -> None:
    (one,) = results(name, data={"A": "b"})
    assert bool(one.get("refused")) is not NAMES[name]


def results(*terms: str, **given: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kube_secret_content.results(terms, {**OPTIONS, **given}, Path.read_bytes)
    return found


def decoded(one: dict[str, Any]) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in one["data"].items()}


def test_sources_are_taken_together(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "two.env").write_text("B=2\n")
    (tmp_path / "key.bin").write_bytes(b"\x00\xff\n")
    files = {"key.bin": str(tmp_path / "key.bin")}
    env_files = [str(tmp_path / ".env"), str(tmp_path / "two.env")]
    (one,) = results("a", data={"C": "3"}, env_files=env_files, files=files)
    assert decoded(one) == {"A": b"1", "B": b"2", "C": b"3", "key.bin": b"\x00\xff\n"}
    assert any("key.bin is no variable's name" in warning for warning in one["warnings"])


GIVEN: dict[str, tuple[dict[str, Any], str]] = {
    "number": ({"data": {"A": 1}}, "The value of A is a int, not text"),
    "NUL": ({"data": {"A": "b\0c"}}, "the value of A has a NUL byte"),
    "lone surrogate": ({"data": {"A": "b\udce9"}}, "the value of A isn't UTF-8"),
    "key": ({"data": {"A B": "c"}}, "'A B' is not a name for an environment variable"),
    "file that isn't there": ({"env_files": ["/nowhere/.env"]}, "There is no file /nowhere/.env"),
    "directory": ({"env_files": ["/"]}, "/ is a directory"),
    "key of a file": ({"files": {"a/b": __file__}}, "'a/b' is not a key"),
    "dots": ({"files": {"..": __file__}}, "'..' is not a key"),
    "twice": ({"data": {"A": "b"}, "files": {"A": __file__}}, "A is given twice"),
    "nothing": ({}, "would be empty"),
    "too much": ({"data": {"A": "b" * (1024 * 1024 + 1)}}, "Kubernetes takes 1048576 at most"),
}


@pytest.mark.parametrize("case", GIVEN)
def test_what_is_wrong_is_refused_by_name_and_without_its_value(case: str) -> None:
    given, message = GIVEN[case]
    (one,) = results("my-creds", **given)
    assert message in one["refused"]
    assert one["data"] == {}


ENCODED = {
    base64.b64encode(b"a password of some length").decode(): True,
    base64.b64encode(b"a password of some length\n").decode(): True,
    base64.b64encode(bytes(range(128, 160))).decode(): False,
    "1234": False,
    "password": False,
    "0123456789abcdef0123456789abcdef": False,
}


@pytest.mark.parametrize("value", ENCODED)
def test_what_looks_encoded_is_warned_of(value: str) -> None:
    (one,) = results("my-creds", data={"A": value})
    assert any("base64" in warning for warning in one["warnings"]) is ENCODED[value]


DECLARED = {
    "several": ('my-creds = ".env"\nother = "other.env"', ""),
    "file that isn't there": ('my-creds = "nothing.env"', "There is no file"),
    "not a file's name": ("my-creds = 1", "secrets are names with a .env file each"),
    "name": ('My_Creds = ".env"', "'My_Creds' is not a secret's name"),
    "none": ("", "declares no secrets"),
}


@pytest.mark.parametrize("case", DECLARED)
def test_project_declares_secrets(tmp_path: Path, case: str) -> None:
    table, message = DECLARED[case]
    (tmp_path / "pyproject.toml").write_text(f"[tool.gaiaflow.secrets]\n{table}\n")
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "other.env").write_text("B=2\n")
    found = results(project=str(tmp_path))
    if message:
        assert message in found[0]["refused"]
    else:
        assert {one["name"]: decoded(one) for one in found} == {"my-creds": {"A": b"1"}, "other": {"B": b"2"}}


def test_project_without_a_table_or_a_file_is_told_the_right_form(tmp_path: Path) -> None:
    assert "There is no file" in results(project=str(tmp_path))[0]["refused"]
    for content in ("", "tool = 1", "[tool]\ngaiaflow = 1", "[tool.gaiaflow]\nsecrets = []"):
        (tmp_path / "pyproject.toml").write_text(content)
        assert "[tool.gaiaflow.secrets]" in results(project=str(tmp_path))[0]["hint"]
