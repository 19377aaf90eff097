"""What a project declares: each way of writing it down, each mistake, and what is said of what can't be installed."""

from __future__ import annotations

import codecs
from pathlib import Path
from types import ModuleType

import pytest

HEAD = '[project]\nname = "wine"\nversion = "1"\n'
NEEDS = HEAD + "dependencies = "
SOURCES = NEEDS + '["x"]\n[tool.uv.sources]\nx = '
POETRY = "[tool.poetry.dependencies]\n"
DYNAMIC = '[project]\nname = "wine"\nversion = "1"\ndynamic = ["dependencies"]\n'


@pytest.fixture(scope="module")
def module() -> ModuleType:
    import ansible_collections.gaiaflow.setup.plugins.module_utils.pyproject as module

    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with packages of its own beside it."""
    project = tmp_path / "the project"
    for directory in (project / "libs/x", tmp_path / "beside", project / "packages/tool"):
        directory.mkdir(parents=True)
        (directory / "pyproject.toml").write_text(f'[project]\nname = "{directory.name}"\nversion = "1"\n')
    return project


def write(project: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)


# ---- What is installed

INSTALLED = {
    "a list": ({"pyproject.toml": NEEDS + '["numpy>=2", "pandas[excel] ; python_version > \'3\'"]'},
               ["numpy>=2", "pandas[excel] ; python_version > '3'"]),
    "none": ({"pyproject.toml": HEAD}, []),
    "no file at all": ({}, []),
    "CRLF": ({"pyproject.toml": (NEEDS + '["numpy"]\n').replace("\n", "\r\n")}, ["numpy"]),
    "a path from the root": ({"pyproject.toml": NEEDS + '["x @ {root:uri}/libs/x"]'}, ["x @ {uri}/libs/x"]),
    "a relative path": ({"pyproject.toml": NEEDS + '["x @ ./libs/x"]'}, ["x @ {uri}/libs/x"]),
    "a relative file": ({"pyproject.toml": NEEDS + '["x @ file:./libs/x"]'}, ["x @ {uri}/libs/x"]),
    "a path without name": ({"pyproject.toml": NEEDS + '["./libs/x"]'}, ["{uri}/libs/x"]),
    "a path above": ({"pyproject.toml": NEEDS + '["beside @ file:../beside"]'}, ["beside @ {above}/beside"]),
    "a path with marker": (
        {"pyproject.toml": NEEDS + '["x @ ./libs/x ; python_version > \'3\'"]'},
        ["x @ {uri}/libs/x ; python_version > '3'"]),
    "a Git address": (
        {"pyproject.toml": NEEDS + '["x @ git+https://git.example/x@main"]'},
        ["x @ git+https://git.example/x@main"]),
    "uv, path": (
        {"pyproject.toml": NEEDS + '["x>=1"]\n[tool.uv.sources]\nx = {path = "libs/x", editable = true}'},
        ["x @ {uri}/libs/x"]),
    "uv, Git": (
        {"pyproject.toml": SOURCES + '{git = "https://g.example/x", tag = "v1"}'},
        ["x @ git+https://g.example/x@v1"]),
    "uv, address": (
        {"pyproject.toml": SOURCES + '{url = "https://e.example/x-1.whl"}'},
        ["x @ https://e.example/x-1.whl"]),
    "uv, member of the workspace": (
        {"pyproject.toml": NEEDS + '["Tool"]\n[tool.uv.sources]\ntool = {workspace = true}\n'
                                  '[tool.uv.workspace]\nmembers = ["packages/*"]'},
        ["Tool @ {uri}/packages/tool"]),
    "setuptools, a file": (
        {"pyproject.toml": DYNAMIC + '[tool.setuptools.dynamic]\ndependencies = {file = ["needs.txt"]}',
         "needs.txt": "numpy  # why\n\n# none\n-r more.txt\n", "more.txt": "pandas \\\n  >=2\n"},
        ["numpy", "pandas    >=2"]),
    "setuptools, setup.cfg": (
        {"pyproject.toml": DYNAMIC, "setup.cfg": "[options]\ninstall_requires =\n  numpy\n  pandas>=2\n"},
        ["numpy", "pandas>=2"]),
    "requirements.txt alone": ({"requirements.txt": "numpy==2.0\n./libs/x\n-e ./libs/x\n"},
                               ["numpy==2.0", "{uri}/libs/x", "{uri}/libs/x"]),
    "requirements.txt with hashes": ({"requirements.txt": "numpy==2.0 \\\n  --hash=sha256:0 \\\n  --hash=sha256:1\n"},
                                     ["numpy==2.0"]),
    "setup.cfg alone": ({"setup.cfg": "[options]\ninstall_requires = numpy\n"}, ["numpy"]),
    "Poetry, caret": ({"pyproject.toml": POETRY + 'python = "^3.11"\nnumpy = "^2.1"'}, ["numpy>=2.1,<3"]),
    "Poetry, caret below 1": ({"pyproject.toml": POETRY + 'x = "^0.2.3"'}, ["x>=0.2.3,<0.3"]),
    "Poetry, tilde": ({"pyproject.toml": POETRY + 'x = "~1.2.3"'}, ["x>=1.2.3,<1.3"]),
    "Poetry, any": ({"pyproject.toml": POETRY + 'x = "*"'}, ["x"]),
    "Poetry, exact": ({"pyproject.toml": POETRY + 'x = "1.2"'}, ["x==1.2"]),
    "Poetry, a range": ({"pyproject.toml": POETRY + 'x = ">=1,<2"'}, ["x>=1,<2"]),
    "Poetry, extras and marker": (
        {"pyproject.toml": POETRY + 'x = {version = "^1", extras = ["a"], markers = "os_name == \'posix\'"}'},
        ["x[a]>=1,<2 ; os_name == 'posix'"]),
    "Poetry, path": ({"pyproject.toml": POETRY + 'x = {path = "./libs/x", develop = true}'},
                     ["x @ {uri}/libs/x"]),
    "Poetry, Git": ({"pyproject.toml": POETRY + 'x = {git = "https://g.example/x", branch = "dev"}'},
                    ["x @ git+https://g.example/x@dev"]),
    "Poetry, optional": ({"pyproject.toml": POETRY + 'x = {version = "1", optional = true}'}, []),
    "Poetry 2, dynamic": ({"pyproject.toml": DYNAMIC + POETRY + 'x = "^1"'}, ["x>=1,<2"]),
}  # fmt: skip


@pytest.mark.parametrize("case", INSTALLED)
def test_what_is_declared_is_installed(module: ModuleType, project: Path, case: str) -> None:
    files, expected = INSTALLED[case]
    write(project, files)
    places = {"{uri}": project.as_uri(), "{above}": project.parent.as_uri()}
    for name, place in places.items():
        expected = [one.replace(name, place) for one in expected]
    found = module.declared(project)
    assert found.requirements == expected
    assert found.warnings == []


@pytest.mark.parametrize("case", [case for case in INSTALLED if "numpy" in str(INSTALLED[case])])
def test_a_changed_file_makes_another_environment(module: ModuleType, project: Path, case: str) -> None:
    files, _ = INSTALLED[case]
    write(project, files)
    before = module.declared(project)
    assert before == module.declared(project)
    for name in files:
        write(project, {name: files[name].replace("numpy", "polars")})
    after = module.declared(project)
    assert (before.requirements, before.digest) != (after.requirements, after.digest)


def test_a_changed_package_beside_the_project_makes_another_environment(module: ModuleType, project: Path) -> None:
    write(project, {"pyproject.toml": NEEDS + '["x @ ./libs/x"]'})
    before = module.declared(project).digest
    write(project, {"libs/x/__pycache__/x.pyc": "compiled", "libs/x/x.egg-info/PKG-INFO": "built"})
    assert module.declared(project).digest == before
    write(project, {"libs/x/x.py": "changed = True"})
    assert module.declared(project).digest != before


# ---- What can't be

WARNED = {
    "conda": (
        {"environment.yml": "dependencies:\n  - python=3.12\n  - gdal>=3\n  - pip:\n    - rich\n"},
        ["gdal", "rich"]),
    "conda, some declared": (
        {"pyproject.toml": NEEDS + '["rich"]', "environment.yml": "dependencies:\n  - gdal\n  - rich\n"},
        ["gdal not installed"]),
    "Pipfile": ({"Pipfile": '[packages]\nnumpy = "*"\n'}, ["Pipfile", "pyproject.toml"]),
    "pixi.toml": ({"pixi.toml": "[dependencies]\ngdal = '*'\n"}, ["pixi.toml"]),
    "pixi in pyproject": ({"pyproject.toml": HEAD + "[tool.pixi.dependencies]\ngdal = '*'\n"}, ["tool.pixi"]),
    "setup.py alone": ({"setup.py": "from setuptools import setup\nsetup(install_requires=['numpy'])\n"}, ["setup.py"]),
    "dynamic by a backend": ({"pyproject.toml": DYNAMIC}, ["dynamic", "dependencies = ["]),
    "requirements.txt beside": (
        {"pyproject.toml": NEEDS + '["numpy"]', "requirements.txt": "numpy==2\npolars\n"}, ["polars not installed"]),
    "an option in requirements.txt": (
        {"requirements.txt": "--index-url https://a.example\nnumpy\n"},
        ["line 1", "--index-url"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WARNED)
def test_what_cannot_be_installed_is_named_with_what_to_do(module: ModuleType, project: Path, case: str) -> None:
    files, words = WARNED[case]
    write(project, files)
    (warning,) = module.declared(project).warnings
    assert not [word for word in words if word not in warning], warning


# ---- What is wrong

WRONG = {
    "a string for a list": (NEEDS + '"numpy"', ["line 4", "must be a list", 'dependencies = ["numpy>=2"']),
    "a table for a list": (HEAD + '[project.dependencies]\nnumpy = "2"', ["line 4", "must be a list", "is a table"]),
    "a number in the list": (HEAD + "dependencies = [1]", ["line 4", "must be a string"]),
    "no requirement": (NEEDS + '[\n  "numpy",\n  "pandas=>2",\n]', ["line 6", "'pandas=>2'", "no requirement"]),
    "two in one": (NEEDS + '["numpy pandas"]', ["line 4", "'numpy pandas'"]),
    "optional, no requirement": (HEAD + '[project.optional-dependencies]\nx = ["a b"]', ["line 5", "'a b'"]),
    "a misspelled key": (
        HEAD + 'dependancies = ["numpy"]',
        ["line 4", "`dependancies`", "`dependencies` may be meant"]),
    "no name": ('[project]\nversion = "1"\n', ["line 1", "name", 'name = "my-project"']),
    "no version": ('[project]\nname = "wine"\n', ["version"]),
    "a wrong name": ('[project]\nname = "my wine!"\nversion = "1"\n', ["line 2", "my wine!"]),
    "a wrong version": ('[project]\nname = "wine"\nversion = "one"\n', ["line 3", "one", 'version = "0.1.0"']),
    "a number for a version": ('[project]\nname = "wine"\nversion = 1.0\n', ["line 3", "must be a string", "float"]),
    "a wrong requires-python": (HEAD + 'requires-python = "3.11+"', ["line 4", "3.11+", 'requires-python = ">=3.11"']),
    "another Python": (HEAD + 'requires-python = ">=3.99"', ["line 4", ">=3.99", "3.11.0"]),
    "dynamic and given": (HEAD + 'dynamic = ["dependencies"]\ndependencies = ["numpy"]', ["dependencies"]),
    "authors as a string": (HEAD + 'authors = "Ada"', ["line 4", "must be a list", "{name ="]),
    "scripts as a list": (HEAD + 'scripts = ["a"]', ["line 4", "must be a table"]),
    "a missing readme": (HEAD + 'readme = "NOTHING.md"', ["line 4", "NOTHING.md"]),
    "project as a list": ("[[project]]\nname = 'a'\n", ["line 1", "must be a table"]),
    "no TOML": ('[project]\nname = "wine\n', ["not valid TOML", "line 2"]),
    "a key twice": (HEAD + 'name = "x"\n', ["not valid TOML", "line 4"]),
    "nothing at the path": (NEEDS + '["x @ ./libs/gone"]', ["libs/gone", "nothing is there"]),
    "no such member": (
        NEEDS + '["gone"]\n[tool.uv.sources]\ngone = {workspace = true}\n[tool.uv.workspace]\nmembers = ["p/*"]',
        ["'gone'", "workspace"]),
    "Poetry, a number": (POETRY + "x = 1\n", ["tool.poetry", 'x = "^1.2"']),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_named_with_its_line_and_the_right_form(module: ModuleType, project: Path, case: str) -> None:
    text, words = WRONG[case]
    write(project, {"pyproject.toml": text})
    with pytest.raises(module.ProjectFileError) as raised:
        module.declared(project, "3.11.0")
    said = str(raised.value)
    assert said.startswith(str(project / "pyproject.toml"))
    assert not [word for word in words if word not in said], said


ENCODINGS = {
    "latin-1": ("ö".encode("latin-1"), ["line 2, column 4", "0xf6", "'ö'", "UTF-8"]),
    "windows-1252": ("Größe €".encode("cp1252"), ["line 2", "UTF-8"]),
    "utf-8 with a mark": (None, ["UTF-8 with a byte order mark"]),
    "utf-16": (None, ["UTF-16"]),
}


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.txt", "setup.cfg", "environment.yml"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_another_encoding_is_named_with_the_file(module: ModuleType, project: Path, name: str, encoding: str) -> None:
    word, parts = ENCODINGS[encoding]
    content = {"utf-8 with a mark": codecs.BOM_UTF8 + b"# x\n", "utf-16": "# x\n".encode("utf-16")}
    (project / name).write_bytes(content.get(encoding) or b"# x\n# y" + (word or b"") + b"\n")
    with pytest.raises(module.ProjectFileError) as raised:
        module.declared(project)
    assert not [part for part in (str(project / name), *parts) if part not in str(raised.value)], raised.value


# ---- Indexes


def test_the_projects_indexes_are_asked(module: ModuleType, project: Path) -> None:
    indexes = "".join(
        f'[[tool.uv.index]]\nname = "{name}"\nurl = "https://{name}.example"\n{more}\n'
        for name, more in {
            "main": "default = true",
            "more": "",
            "own": "explicit = true",
            "idle": "explicit = true",
        }.items()
    )
    write(project, {"pyproject.toml": f'{SOURCES}{{index = "own"}}\n{indexes}'})
    found = module.declared(project)
    assert found.default_index == "https://main.example"
    assert found.indexes == ["https://more.example", "https://own.example"]
    assert found.requirements == ["x"]
