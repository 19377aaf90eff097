"""What a user types is text: in `new`, in names of directories, in options. It is never a template.

The tables are where the next report goes.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from cli_content import Content, script_of
from tables import rows

from gaiaflow_py.errors import InputError
from gaiaflow_py.paths import OF_HOME, OF_PROJECT, usable

CHECKOUT = Path(__file__).parents[2]

# ruff: noqa: RUF001
LINES = {
    "percent and block": "50 {% rabatt",
    "block": "{% for x in y %}",
    "end of a block": "%} {% endraw %}",
    "raw": "{% raw %}{{ x }}{% endraw %}",
    "expression": "{{ 7*7 }}",
    "expression of cookiecutter's": "{{ cookiecutter.author }}",
    "undefined": "{{ nothing.at.all }}",
    "open expression": "{{",
    "closed expression": "}}",
    "comment of Jinja's": "{# comment #}",
    "line statement": "# for item in seq",
    "Python's format": "{0} {x!r} %s %(name)s %",
    "shell variable": "${HOME} $HOME ${A:-b}",
    "command substitution": "$(id) `id`",
    "double quotes": 'he said "hi"',
    "single quotes": "it's 'mine'",
    "three double quotes": 'a """ b',
    "three single quotes": "a ''' b",
    "backslash": "C:\\new\\table",
    "backslash at the end": "ends with \\",
    "escape sequences": "\\n \\x41 \\u0041 \\N{BULLET} \\",
    "hash": "# 1 of # 2",
    "TOML": 'x" = [1]\\',
    "TOML table": "[project]",
    "YAML": "- a: b\t? *x &y !z".replace("\t", " "),
    "HTML": "<b>bold</b> & <!-- -->",
    "Markdown": "*a* _b_ `c` [d](e) ![f] > g | h ~~i~~",
    "assignment": "a=b=c",
    "leading equals sign": "=1+1",
    "leading dash": "--version",
    "leading at sign": "@/etc/passwd",
    "tilde": "~/x",
    "spaces around": "  a  b  ",
    "umlauts": "Zoë Müller-Lüdenscheidt",
    "emoji": "wine 🍷 and 👩‍🔬",
    "right to left": "שלום \u200fעולם مرحبا",
    "Chinese": "机器学习",
    "combining": "e\u0301 a\u0308",
    "no-break space": "a\u00a0b",
    "zero width": "a\u200bb\ufeffc",
    "beyond the basic plane": "𝕏 \U0010fffd",
    "10 kB": "x{{y}}\"'\\" * 1250,
    "true": "true",
    "number": "007",
    "null": "null",
    "JSON": '{"a": [1, "b"]}',
}
REFUSED = {
    "newline": ("description=a\nb", "description 'a\\nb' cannot be used: allowed is one line"),
    "carriage return": ("description=a\rb", "description 'a\\rb' cannot be used: allowed is one line"),
    "tab": ("author=a\tb", "author 'a\\tb' cannot be used: allowed is one line"),
    "escape": ("author=\x1b[31m", "author '\\x1b[31m' cannot be used: allowed is one line"),
    "delete": ("author=a\x7fb", "author 'a\\x7fb' cannot be used: allowed is one line"),
    "line separator": ("author=a\u2028b", "author 'a\\u2028b' cannot be used: allowed is one line"),
    "next line": ("author=a\x85b", "author 'a\\x85b' cannot be used: allowed is one line"),
    "name with a newline": ("project_name=a\nb", "project_name 'a\\nb' cannot be used"),
    "no UTF-8": (b"author=caf\xe9", "author isn't text in UTF-8: b'caf\\xe9'"),
    "package that is a keyword": ("package_name=class", "it is a keyword of Python"),
    "package of Python's": ("package_name=json", "it would hide the Python module"),
    "package of Airflow": ("package_name=airflow", "it would hide the Python module"),
    "package that is a template": ("package_name={{ 7*7 }}", "package_name '{{ 7*7 }}' cannot be used"),
    "package with a dash": ("package_name=a-b", "package_name 'a-b' cannot be used"),
    "package with a dot": ("package_name=a.b", "package_name 'a.b' cannot be used"),
    "package in other letters": ("package_name=größe", "package_name 'größe' cannot be used"),
    "empty package": ("package_name=", "package_name '' cannot be used"),
    "folder elsewhere": ("project_folder=../x", "project_folder '../x' cannot be used"),
    "empty folder": ("project_folder=", "project_folder '' cannot be used"),
    "folder that is a template": ("project_folder={{ 7*7 }}", "project_folder '{{ 7*7 }}' cannot be used"),
    "folder with a dash": ("project_folder=-rf", "project_folder '-rf' cannot be used"),
    "folder too long": ("project_folder=" + "ü" * 128, "can't be put into"),
    "answer that is neither yes nor no": ("include_example={{ 1 }}", "include_example"),
    "unknown": ("nothing=1", "the template has no 'nothing'"),
}
USUAL_LINES = {
    *("percent and block", "raw", "expression of cookiecutter's", "command substitution", "double quotes"),
    *("three double quotes", "backslash at the end", "TOML", "YAML", "spaces around", "emoji", "10 kB"),
}
USUALLY_REFUSED = {
    *("newline", "escape", "no UTF-8", "package that is a keyword", "package that is a template", "empty package"),
    *("folder elsewhere", "folder that is a template", "unknown"),
}


@pytest.mark.parametrize("text", rows(LINES, USUAL_LINES))
def test_a_project_holds_what_was_typed(tmp_path: Path, text: str) -> None:
    given = [f"{name}={text}" for name in ("project_name", "author", "description")]
    done = gaiaflow(tmp_path, "new", "--no-input", "--", *given, "package_name=odd", "project_folder=odd")
    assert done.returncode == 0, done.stdout + done.stderr
    project = tmp_path / "odd"
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert metadata["description"] == text
    assert metadata["authors"] == [{"name": text}]
    readme = (project / "README.md").read_text().splitlines()
    assert [unescaped(readme[0]), unescaped(readme[2])] == [f"# {text}", text]
    for path in project.rglob("*.py"):
        ast.parse(path.read_text(), str(path))


@pytest.mark.parametrize(("value", "message"), rows(REFUSED, USUALLY_REFUSED))
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    tmp_path: Path, value: str | bytes, message: str
) -> None:
    done = gaiaflow(tmp_path, "new", "--no-input", "--output-dir", "in/here", os.fsdecode(value))
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_directory_that_a_project_goes_to_is_text_too(tmp_path: Path) -> None:
    directory = "it's {{ 7*7 }} {% x %(HOME)s $HOME 🍷"
    done = gaiaflow(tmp_path, "new", "--no-input", "--output-dir", directory, "project_folder=my wine")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [directory]
    assert [path.name for path in (tmp_path / directory).iterdir()] == ["my wine"]


def test_what_is_typed_at_a_prompt_is_text_too(tmp_path: Path) -> None:
    text = LINES["expression"] + LINES["double quotes"]
    typed = "\n".join([text, "odd", "odd", text, text, "y", "1", ""])
    done = gaiaflow(tmp_path, "new", given=typed)
    assert done.returncode == 0, done.stdout + done.stderr
    metadata = tomllib.loads((tmp_path / "odd" / "pyproject.toml").read_text())["project"]
    assert (metadata["description"], metadata["authors"]) == (text, [{"name": text}])


SAID = """
- name: Keep what was said
  ansible.builtin.copy:
    content: "{{ [mlops_project, given | default(''), mlops_port_overrides | default({})] | to_json }}"
    dest: '{{ lookup("env", "HOME") }}/said'
    mode: '0600'
"""
DIRECTORIES = {
    "expression": "{{ 7*7 }}",
    "block": "{% if x",
    "comment": "{# x #}",
    "supervisord's variable": "%(ENV_HOME)s 100% %d",
    "quotes": 'it\'s "mine" """',
    "backslash": "a\\nb\\",
    "shell": "`id`; (x) & | > < ! ~ * ?",
    "YAML": "- a: [b] {c} # &d *e !f",
    "unsafe": "!unsafe x",
    "umlauts and emoji": "Köln 🍷 👩‍🔬",
    "right to left": "שלום\u200f",
    "no-break space": "a\u00a0b",
    "spaces around": "  x  ",
    "leading dash": "-x",
    "number": "007",
    "true": "true",
}
USUAL_DIRECTORIES = {"expression", "quotes", "shell", "umlauts and emoji", "spaces around"}
DIRECTORIES_OF_PROJECTS_REFUSED = ["a$b", "$HOME", "a:b", "a\nb", "a\tb", "a\x7fb", os.fsdecode(b"caf\xe9")]
DIRECTORIES_OF_OURS_REFUSED = [*DIRECTORIES_OF_PROJECTS_REFUSED, *OF_HOME]


@pytest.mark.parametrize("name", rows(DIRECTORIES, USUAL_DIRECTORIES))
def test_a_directory_is_named_to_ansible_as_it_is(content: Content, name: str) -> None:
    content.playbook("mlops", SAID)
    project = content.user / name.replace(":", "")
    project.mkdir()
    done = content.run("mlops", "--start", "--project", str(project))
    assert done.returncode == 0, done.stderr
    assert json.loads((content.user / "said").read_text())[0] == str(project)


def test_extra_variables_are_ansibles_own_templates_included(content: Content) -> None:
    content.playbook("mlops", SAID)
    (content.user / "{{ 1 }}").mkdir()
    given = ["-e", "given={{ 7*7 }} {{ mlops_project }}", "-e", '{"mlops_port_overrides": {"mlflow": "{{ 5001 }}"}}']
    done = content.run("mlops", "--start", "-j", "8900", "--project", "{{ 1 }}", *given)
    assert done.returncode == 0, done.stderr
    project = str(content.user / "{{ 1 }}")
    ports = {"jupyter": 8900, "mlflow": 5001}
    assert json.loads((content.user / "said").read_text()) == [project, f"49 {project}", ports]


@pytest.mark.parametrize("name", DIRECTORIES_OF_PROJECTS_REFUSED, ids=repr)
def test_a_project_whose_name_means_something_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="--project"):
        usable("--project", Path("/x", name), OF_PROJECT)


@pytest.mark.parametrize("name", DIRECTORIES_OF_OURS_REFUSED, ids=repr)
def test_a_home_whose_name_means_something_is_refused(content: Content, name: str) -> None:
    content.environment["GAIAFLOW_HOME"] = f"{content.root}/{name}"
    done = content.run("instances")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: GAIAFLOW_HOME ") and "What to do: " in done.stderr


def gaiaflow(cwd: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    home = cwd.parent / f"{cwd.name}-home"
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    command = script_of(CHECKOUT / "gaiaflow_py", *arguments)
    return subprocess.run(command, cwd=cwd, env=environment, input=given, capture_output=True, text=True, check=False)


def unescaped(markdown: str) -> str:
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown)
