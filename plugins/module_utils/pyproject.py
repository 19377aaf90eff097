"""What a project declares that it needs: its pyproject.toml, checked, and the other places that people use.

Sources: https://packaging.python.org/en/latest/specifications/pyproject-toml/,
https://docs.astral.sh/uv/concepts/projects/dependencies/, https://python-poetry.org/docs/dependency-specification/
"""

from __future__ import annotations

import codecs
import configparser
import hashlib
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import SetupError

MARKS = {codecs.BOM_UTF8: "UTF-8 with a byte order mark", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
"""How files begin that editors of another system have saved."""

IGNORED = {
    ".git",
    ".venv",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    "build",
    "dist",
    "node_modules",
}
"""What in a directory of a package is no part of it."""

FORMS = {
    "project": '[project] with name = "my-project" and version = "0.1.0"',
    "name": 'name = "my-project"',
    "version": 'version = "0.1.0"',
    "description": 'description = "What it does, in one line"',
    "readme": 'readme = "README.md"',
    "requires-python": 'requires-python = ">=3.11"',
    "license": 'license = "MIT"',
    "license-files": 'license-files = ["LICENSE"]',
    "authors": 'authors = [{name = "Ada", email = "ada@example.org"}]',
    "maintainers": 'maintainers = [{name = "Ada", email = "ada@example.org"}]',
    "keywords": 'keywords = ["weather"]',
    "classifiers": 'classifiers = ["Programming Language :: Python :: 3"]',
    "urls": '[project.urls] with Homepage = "https://example.org"',
    "scripts": '[project.scripts] with my-program = "my_package.module:function"',
    "gui-scripts": '[project.gui-scripts] with my-program = "my_package.module:function"',
    "entry-points": '[project.entry-points.group] with name = "my_package.module:object"',
    "dependencies": 'dependencies = ["numpy>=2", "pandas"]',
    "optional-dependencies": '[project.optional-dependencies] with plots = ["matplotlib"]',
    "dynamic": 'dynamic = ["version"]',
}
"""What is right, by the key in [project]."""

TABLES = {"urls": dict, "scripts": dict, "gui-scripts": dict, "entry-points": dict, "optional-dependencies": dict}
LISTS = ("dependencies", "dynamic", "authors", "maintainers", "keywords", "classifiers", "license-files")


class ProjectFileError(SetupError):
    """A file of the project is wrong; the message names it, the place, and the right form."""


@dataclass
class Declared:
    """What a project needs.

    Attributes:
        requirements: What to install, paths absolute.
        warnings: What is declared and can't be installed, and what to do about it.
        indexes: Package indexes that the project names, beside the machine's own.
        default_index: The one that the project names in the place of the machine's own.
        inputs: Files and directories besides, whose content decides what is installed.
    """

    requirements: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    default_index: str = ""
    inputs: list[Path] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """What tells one content of the inputs from another, or nothing where there are none."""
        if not self.inputs:
            return ""
        digest = hashlib.sha256()
        for path in self.inputs:
            for file in files_of(path):
                digest.update(f"{file}\0".encode(errors="surrogateescape"))
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


def files_of(path: Path) -> Iterator[Path]:
    """Yield the files of a package's directory, or the one file, in order.

    Args:
        path: The directory or file.
    """
    if path.is_file():
        yield path
    elif path.is_dir():
        for entry in sorted(path.iterdir()):
            if entry.name not in IGNORED and not entry.name.endswith((".egg-info", ".pyc")):
                yield from files_of(entry)


def read_text(path: Path) -> str:
    """Return a text file of the project's.

    Args:
        path: The file.

    Raises:
        ProjectFileError: It is in another encoding than UTF-8.
    """
    content = path.read_bytes()
    for mark, name in MARKS.items():
        if content.startswith(mark):
            raise ProjectFileError(f"{path} is saved as {name}. Save it as UTF-8 without a byte order mark.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise ProjectFileError(
            f"{path}, line {line}, column {column}: the byte 0x{content[error.start]:02x} is not UTF-8; in Latin-1 or "
            f"Windows-1252 it is {content[error.start : error.start + 1].decode('latin-1')!r}. Save the file as UTF-8."
        ) from error


def declared(project: Path, python: str = "") -> Declared:
    """Return what a project needs.

    Args:
        project: The project's directory.
        python: The version of Python that it will run in, to be checked; none is when this is empty.

    Raises:
        ProjectFileError: A file of the project is wrong.
    """
    found = Declared()
    content = read_pyproject(project / "pyproject.toml", python)
    table = content.get("project")
    if table is not None and "dependencies" not in table.get("dynamic", []):
        found.requirements += table.get("dependencies", [])
    elif table is not None:
        take_dynamic(project, content, found)
    elif "poetry" in content.get("tool", {}):
        take_poetry(project, content["tool"]["poetry"], found)
    else:
        take_requirements(project / "requirements.txt", found)
        take_setup_cfg(project, found)
    take_sources(project, content, found)
    found.requirements = [absolute(one, project, found) for one in found.requirements]
    found.warnings += others(project, content, found)
    return found


# ---- pyproject.toml


def read_pyproject(path: Path, python: str) -> dict[str, Any]:
    """Return the content of a pyproject.toml, checked; an empty one where there is no file.

    Args:
        path: The file.
        python: The version of Python to check `requires-python` against, if it isn't empty.

    Raises:
        ProjectFileError: It is wrong.
    """
    if not path.is_file():
        return {}
    text = read_text(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProjectFileError(f"{path} is not valid TOML: {error}.") from error
    if "project" in content:
        complain(path, text, structure(content["project"]) or standard(path, content))
        complain(path, text, wrong_python(content["project"], python) if python else [])
    return content


def complain(path: Path, text: str, faults: list[tuple[str, str, str]]) -> None:
    """Refuse a pyproject.toml that has faults.

    Args:
        path: The file.
        text: What it holds.
        faults: The key, the value that is wrong, and what is wrong with it.

    Raises:
        ProjectFileError: There are faults.
    """
    if faults:
        lines = [
            f"{path}, line {line_of(text, key, value)}: {message}{f' Right is: {FORMS[key]}' if key in FORMS else ''}"
            for key, value, message in faults
        ]
        raise ProjectFileError("\n".join(lines))


def line_of(text: str, key: str, value: str) -> int:
    """Return the line in which a key of [project] has a value, or begins; 1 where it isn't found.

    Args:
        text: What the file holds.
        key: The key.
        value: The value, if there are several.
    """
    lines = text.splitlines()
    table, begun = "", 0
    for number, line in enumerate(lines, 1):
        if header := re.match(r"\s*\[\[?\s*([\w.\"'-]+?)\s*\]\]?\s*(#.*)?$", line):
            table = header[1]
            begun = number if table in (f"project.{key}", key) and not begun else begun
        elif table == "project" and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*(\.|=)", line):
            begun = number
        if begun and value and value in line:
            return number
    return begun or next((number for number, line in enumerate(lines, 1) if "[project" in line), 1)


def structure(table: Any) -> list[tuple[str, str, str]]:
    """Return what is of a wrong type in [project].

    Args:
        table: The table.
    """
    if not isinstance(table, dict):
        return [("project", "", "`project` must be a table.")]
    dynamic = table.get("dynamic", [])
    faults = []
    for key, value in table.items():
        kind = type(value).__name__.replace("dict", "table").replace("str", "string")
        if key in LISTS and not isinstance(value, list):
            faults.append((key, "", f"`{key}` must be a list, and is a {kind}."))
        elif key in LISTS[:2] and any(not isinstance(one, str) for one in value):
            faults.append((key, "", f"each of `{key}` must be a string."))
        elif key in TABLES and not isinstance(value, dict):
            faults.append((key, "", f"`{key}` must be a table, and is a {kind}."))
        elif key in ("name", "version", "description", "requires-python") and not isinstance(value, str):
            faults.append((key, "", f"`{key}` must be a string, and is a {kind}."))
        elif isinstance(dynamic, list) and key in dynamic:
            faults.append((key, "", f"`{key}` is given, and named in `dynamic`, too; only one can be."))
        elif key not in FORMS and key != "import-names" and key != "import-namespaces":
            faults.append((key, "", f"the standard knows no key `{key}` in [project]{meant(key)}."))
    return faults


def meant(key: str) -> str:
    """Return the key that may be meant by one that is wrong, as words.

    Args:
        key: The wrong one.
    """
    import difflib

    close = difflib.get_close_matches(key, FORMS, n=1)
    return f"; `{close[0]}` may be meant" if close else ""


def standard(path: Path, content: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what is against the packaging standard.

    A host of a fleet may have no library for that: there uv checks, when it installs.

    Args:
        path: The file.
        content: What it holds.
    """
    table = content["project"]
    faults = []
    if importlib.util.find_spec("packaging") is not None:
        from packaging.requirements import InvalidRequirement, Requirement

        optional = table.get("optional-dependencies", {})
        listed = [("dependencies", one) for one in table.get("dependencies", [])]
        listed += [
            ("optional-dependencies", one) for many in optional.values() if isinstance(many, list) for one in many
        ]
        for key, one in listed:
            # The standard knows no path that is relative to the project; what stands before it must be a name.
            text = str(one).partition("@")[0] if local_path(str(one)) else str(one)
            if local_path(text):
                continue
            try:
                Requirement(text)
            except InvalidRequirement as error:
                reason = str(error).splitlines()[0].rstrip(":. ")
                faults.append((key, str(one), f"{one!r} is no requirement: {reason}."))
    if faults or importlib.util.find_spec("pyproject_metadata") is None:
        return faults
    import pyproject_metadata

    checked = {**table, "dependencies": [one for one in table.get("dependencies", []) if not local_path(one)]}
    if "dependencies" not in table:
        del checked["dependencies"]
    try:
        pyproject_metadata.StandardMetadata.from_pyproject({**content, "project": checked}, path.parent)
    except pyproject_metadata.ConfigurationError as error:
        key = str(error.key or "project.name").removeprefix("project.").partition(".")[0].partition("[")[0]
        return [(key, "", f"{str(error).rstrip('.')}.")]
    return []


def wrong_python(table: Mapping[str, Any], python: str) -> list[tuple[str, str, str]]:
    """Return that the project wants another Python, if it does.

    Args:
        table: The table [project].
        python: The version of Python.
    """
    wanted = table.get("requires-python")
    if not wanted or importlib.util.find_spec("packaging") is None:
        return []
    from packaging.specifiers import SpecifierSet

    if SpecifierSet(wanted).contains(python, prereleases=True):
        return []
    message = f"`requires-python` is {wanted!r}, and the services run with Python {python}. Allow it, or run "
    return [("requires-python ", "", f"{message}gaiaflow-setup with a Python that fits.")]


# ---- Dependencies that stand elsewhere


def take_requirements(path: Path, found: Declared, seen: frozenset[Path] = frozenset()) -> None:
    """Take the lines of a requirements file, and of those that it names.

    Args:
        path: The file; it may be absent.
        found: Where they go.
        seen: Files that are being read.
    """
    if path in seen or not path.is_file():
        return
    found.inputs.append(path)
    for number, line in enumerate(re.sub(r"\\\r?\n", " ", read_text(path)).splitlines(), 1):
        text = re.sub(r"(^|\s)#.*$", "", line).strip()
        option, _, value = text.partition(" ")
        if option in ("-r", "--requirement"):
            take_requirements(path.parent / value.strip(), found, seen | {path})
        elif option in ("-e", "--editable"):
            found.requirements.append(value.strip())
        elif text.startswith("-"):
            found.warnings.append(
                f"{path}, line {number}: the option {option} is left out. Set it for pip or uv (docs/projects.md)."
            )
        elif text:
            found.requirements.append(re.sub(r"\s+--hash[= ]\S+", "", text))


def take_dynamic(project: Path, content: Mapping[str, Any], found: Declared) -> None:
    """Take dependencies that the build backend finds, where that is known.

    Args:
        project: The project's directory.
        content: Its pyproject.toml.
        found: Where they go.
    """
    source = content.get("tool", {}).get("setuptools", {}).get("dynamic", {}).get("dependencies", {})
    files = source.get("file", []) if isinstance(source, Mapping) else []
    for name in [files] if isinstance(files, str) else files:
        take_requirements(project / name, found)
    if not files and "poetry" in content.get("tool", {}):
        take_poetry(project, content["tool"]["poetry"], found)
    elif not files and not take_setup_cfg(project, found):
        found.warnings.append(
            f"{project / 'pyproject.toml'}: its dependencies are dynamic, known to the build backend alone, and none "
            f"is installed. List them: {FORMS['dependencies']}."
        )


def take_setup_cfg(project: Path, found: Declared) -> bool:
    """Take the dependencies of a setup.cfg; return whether there were any.

    Args:
        project: The project's directory.
        found: Where they go.
    """
    path = project / "setup.cfg"
    if not path.is_file():
        return False
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path))
    except configparser.Error as error:
        raise ProjectFileError(f"{path} can't be read: {error}") from error
    listed = parser.get("options", "install_requires", fallback="")
    lines = [line.strip() for line in listed.splitlines() if line.strip()]
    for line in lines:
        if line.startswith("file:"):
            take_requirements(project / line.removeprefix("file:").strip(), found)
        else:
            found.requirements.append(line)
    found.inputs += [path] if lines else []
    return bool(lines)


def take_poetry(project: Path, table: Mapping[str, Any], found: Declared) -> None:
    """Take the dependencies of Poetry's own table.

    Args:
        project: The project's directory.
        table: The table tool.poetry.
        found: Where they go.
    """
    for name, value in table.get("dependencies", {}).items():
        for one in value if isinstance(value, list) else [value]:
            if name.lower() == "python":
                continue
            wanted = {"version": one} if isinstance(one, str) else one
            if not isinstance(wanted, Mapping):
                raise ProjectFileError(
                    f'{project / "pyproject.toml"}: {name} in tool.poetry must be like {name} = "^1.2".'
                )
            if not wanted.get("optional"):
                found.requirements.append(of_poetry(name, wanted))


def of_poetry(name: str, wanted: Mapping[str, Any]) -> str:
    """Return one of Poetry's dependencies as the packaging standard writes it.

    Args:
        name: The package.
        wanted: What Poetry's table says of it.
    """
    extras = f"[{','.join(wanted['extras'])}]" if wanted.get("extras") else ""
    marker = f" ; {wanted['markers']}" if wanted.get("markers") else ""
    if "path" in wanted or "url" in wanted:
        return f"{name}{extras} @ {wanted.get('path', wanted.get('url'))}{marker}"
    if "git" in wanted:
        revision = next((f"@{wanted[key]}" for key in ("rev", "tag", "branch") if key in wanted), "")
        folder = f"#subdirectory={wanted['subdirectory']}" if "subdirectory" in wanted else ""
        return f"{name}{extras} @ git+{wanted['git']}{revision}{folder}{marker}"
    return f"{name}{extras}{specifier(str(wanted.get('version', '*')))}{marker}"


def specifier(constraint: str) -> str:
    """Return Poetry's constraint on a version as the packaging standard writes it.

    Args:
        constraint: Like `^1.2`, `~1.2`, `1.*`, `>=1,<2`.
    """
    parts = []
    for one in filter(None, (part.strip() for part in constraint.split(","))):
        release = [int(part) for part in re.findall(r"\d+", one.split("-")[0])] if one[0] in "^~" else []
        if one.startswith("^"):
            last = next((place for place, part in enumerate(release) if part), len(release) - 1)
            above = [*release[:last], release[last] + 1]
        elif one.startswith("~") and not one.startswith("~="):
            above = [*release[:1], release[1] + 1] if len(release) > 1 else [release[0] + 1]
        elif one == "*":
            continue
        else:
            parts.append(one if one[0] in "<>=!~" else f"=={one}")
            continue
        parts.append(f">={one[1:].strip()},<{'.'.join(map(str, above))}")
    return ",".join(parts)


def take_sources(project: Path, content: Mapping[str, Any], found: Declared) -> None:
    """Take from tool.uv where packages of the project's come from.

    Args:
        project: The project's directory.
        content: Its pyproject.toml.
        found: Where that goes.
    """
    table = content.get("tool", {}).get("uv", {})
    indexes = [one for one in table.get("index", []) if isinstance(one, Mapping) and one.get("url")]
    for one in indexes:
        if one.get("default"):
            found.default_index = str(one["url"])
        elif not one.get("explicit"):
            found.indexes.append(str(one["url"]))
    for name, listed in table.get("sources", {}).items():
        for source in listed if isinstance(listed, list) else [listed]:
            for place, requirement in enumerate(found.requirements):
                head = re.match(r"\s*([\w.-]+)\s*(\[[^]]*\])?", requirement)
                if head and normal(head[1]) == normal(name) and isinstance(source, Mapping):
                    wanted = source.get("index")
                    found.indexes += [str(index["url"]) for index in indexes if wanted and index.get("name") == wanted]
                    found.requirements[place] = sourced(project, requirement, head[0].strip(), name, source)


def sourced(project: Path, requirement: str, head: str, name: str, source: Mapping[str, Any]) -> str:
    """Return a requirement with the place that tool.uv.sources gives it.

    Args:
        project: The project's directory.
        requirement: The requirement.
        head: Its name and extras.
        name: Its name in the table.
        source: What the table says.
    """
    marker = requirement.partition(";")[2]
    tail = f" ; {marker.strip()}" if marker else ""
    if source.get("workspace"):
        return f"{head} @ {member(project, name)}{tail}"
    if "path" in source or "url" in source:
        return f"{head} @ {source.get('path', source.get('url'))}{tail}"
    if "git" in source:
        return of_poetry(head, source) + tail
    return requirement


def member(project: Path, name: str) -> Path:
    """Return the directory of a member of the workspace that the project is in.

    Args:
        project: The project's directory.
        name: The member's name.

    Raises:
        ProjectFileError: There is none.
    """
    for root in (project, *project.parents):
        path = root / "pyproject.toml"
        table = read_pyproject(path, "").get("tool", {}).get("uv", {}).get("workspace") if path.is_file() else None
        if not isinstance(table, Mapping):
            continue
        for directory in (one for pattern in table.get("members", []) for one in sorted(root.glob(pattern))):
            own = read_pyproject(directory / "pyproject.toml", "").get("project", {}).get("name", "")
            if normal(own) == normal(name):
                return directory
    raise ProjectFileError(
        f"{project / 'pyproject.toml'}: '{name}' is to come from the workspace, and no member of it has that name. "
        "Its directory must be among the members in [tool.uv.workspace]."
    )


def normal(name: str) -> str:
    """Return a package's name as names are compared.

    Args:
        name: The name.
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def local_path(requirement: str) -> str:
    """Return the path of a requirement that names a directory or file, or nothing.

    Args:
        requirement: The requirement.
    """
    head, separator, place = requirement.partition("@")
    place = (place if separator and re.fullmatch(r"\s*[\w.-]+\s*(\[[^]]*\])?\s*", head) else requirement).strip()
    place = place.split(" ;")[0].strip()
    if place.startswith("{root:uri}"):
        return "." + place.removeprefix("{root:uri}")
    if place.startswith("file:"):
        return place.removeprefix("file://").removeprefix("file:").removeprefix("localhost")
    is_path = place.startswith(("./", "../", "/", "~/")) or place in (".", "..") or (separator and "://" not in place)
    return place if is_path and not place.startswith("git+") else ""


def absolute(requirement: str, project: Path, found: Declared) -> str:
    """Return a requirement with its path, if it has one, as an absolute address.

    Args:
        requirement: The requirement.
        project: The directory that paths are relative to.
        found: What gets to know the path.

    Raises:
        ProjectFileError: Nothing is there.
    """
    place = local_path(requirement)
    if not place:
        return requirement
    path = (project / Path(place).expanduser()).resolve()
    if not path.exists():
        raise ProjectFileError(f"{project / 'pyproject.toml'}: {requirement!r} names {path}, and nothing is there.")
    found.inputs.append(path)
    head, separator, rest = requirement.partition("@")
    marker = rest.partition(" ;")[2]
    named = f"{head.strip()} @ {path.as_uri()}" if separator and "/" not in head else path.as_uri()
    return f"{named} ; {marker.strip()}" if marker else named


def others(project: Path, content: Mapping[str, Any], found: Declared) -> list[str]:
    """Return warnings of files whose dependencies are not installed.

    Args:
        project: The project's directory.
        content: Its pyproject.toml.
        found: What is installed.
    """
    known = {normal(head[0]) for one in found.requirements if (head := re.match(r"[\w.-]+", one))}
    hint = f"List what your tasks need in pyproject.toml: {FORMS['dependencies']}."
    warnings = []
    for name in ("environment.yml", "environment.yaml", "conda.yaml"):
        if (project / name).is_file():
            text = read_text(project / name)
            packages = re.findall(r"^\s*-\s+[\"']?(?:[\w.-]+::)?([A-Za-z][\w.-]*)[^:\n]*$", text, re.MULTILINE)
            missing = [
                one for one in packages if normal(one) not in known | {"python", "pip", "conda-forge", "defaults"}
            ]
            if missing:
                warnings.append(
                    f"{project / name}: {', '.join(missing)} not installed beside Airflow and JupyterLab, which are no "
                    f"conda environments. {hint}"
                )
    has_project = "project" in content or "poetry" in content.get("tool", {})
    elsewhere = {"Pipfile": True, "pixi.toml": True, "setup.py": not has_project and not found.requirements}
    elsewhere["requirements.txt"] = has_project and (project / "requirements.txt") not in found.inputs
    for name, counts in elsewhere.items():
        path = project / name
        if counts and path.is_file():
            own = Declared()
            if name == "requirements.txt":
                take_requirements(path, own)
                names = [head[0] for one in own.requirements if (head := re.match(r"[\w.-]+", one))]
                missing = [one for one in names if normal(one) not in known]
                if not missing:
                    continue
                warnings.append(f"{path}: {', '.join(missing)} not installed, as pyproject.toml has the say. {hint}")
            else:
                warnings.append(f"{path}: what it lists is not installed. {hint}")
    if "pixi" in content.get("tool", {}):
        warnings.append(f"{project / 'pyproject.toml'}: what tool.pixi lists is not installed. {hint}")
    return warnings


def python_version() -> str:
    """Return the version of this Python."""
    return ".".join(map(str, sys.version_info[:3]))
