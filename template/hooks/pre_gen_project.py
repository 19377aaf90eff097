"""Refuses answers that would not give a working project, before anything is written."""

import json
import keyword
import re
import sys
import unicodedata

# JSON never has three quotes in a row, so any answer fits into this literal.
ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

# Modules that a project's environment holds, and names that pytest and Python's tools give a meaning to.
TAKEN = {
    "airflow", "conftest", "cookiecutter", "dags", "data", "docker", "gaiaflow", "gaiaflow_manager", "gaiaflow_py",
    "joblib", "jupyter", "jupyterlab", "kubernetes", "matplotlib", "mlflow", "notebooks", "numpy", "pandas", "pip",
    "pytest", "requests", "scipy", "setuptools", "skops", "sklearn", "sqlalchemy", "src", "tests", "uv", "yaml",
}  # fmt: skip


def problem_with_package_name(name: str) -> str | None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        return (
            "allowed are lower-case letters a-z, digits and single underscores between them, "
            "starting with a letter, such as 'my_project'"
        )
    if keyword.iskeyword(name):
        return "it is a keyword of Python; allowed is any other name, such as 'my_project'"
    if name in sys.stdlib_module_names or name in TAKEN:
        return f"it would hide the Python module of that name; allowed is any other name, such as '{name}_project'"
    return None


def problem_with_folder(name: str) -> str | None:
    if not name.strip() or name != name.strip() or name in (".", "..") or name.startswith(("-", "~")):
        return "allowed is a directory's name that isn't '.' or '..' and has no space, '-' or '~' in front"
    if "/" in name or "\\" in name or has_control_characters(name):
        return "allowed is one directory's name, without '/', '\\' or control characters"
    if any("{" + sign in name for sign in "#%{"):  # Cookiecutter takes the names of directories as templates, too.
        return "allowed is a directory's name in which no '{' is followed by another, by '%' or by '#'"
    return None


def has_control_characters(text: str) -> bool:
    # Not isprintable: that refuses what joins emoji, what turns the direction of writing, and spaces that don't break.
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def problem_with_line(text: str) -> str | None:
    return "allowed is one line of text without control characters" if has_control_characters(text) else None


def problems() -> list[str]:
    checks = {
        "package_name": problem_with_package_name,
        "project_folder": problem_with_folder,
        "project_name": problem_with_line,
        "author": problem_with_line,
        "description": problem_with_line,
    }
    found = [(name, check(ANSWERS[name])) for name, check in checks.items()]
    return [f"{name} {ANSWERS[name]!r} cannot be used: {problem}" for name, problem in found if problem]


if found := problems():
    sys.exit("\n".join(found))
