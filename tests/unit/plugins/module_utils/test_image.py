"""A project's image: what it is called, what goes into it, and what a failed build is said to be, without an engine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from cli_content import Content
from project_fixture import generate
from role_play import play

EXAMINE = "project_image : Examine the project and its image"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    """What the module decides, for what needs no engine."""
    from ansible_collections.gaiaflow.setup.plugins.module_utils import image

    return image


@pytest.fixture(scope="module")
def building() -> ModuleType:
    """What the stack's images and a project's share."""
    from ansible_collections.gaiaflow.setup.plugins.module_utils import build

    return build


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as the template makes it."""
    return generate(tmp_path_factory.mktemp("project"), "wine-tasting", project_name="Wine tasting")


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A project to change."""
    return shutil.copytree(template, tmp_path / "project")


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, building: ModuleType) -> Path:
    """The home of a user whose uv and pip have no settings."""
    import ansible_collections.gaiaflow.setup.plugins.module_utils.package_sources as sources

    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_", "XDG_CONFIG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sources, "PIP_OF_SYSTEM", tmp_path / "none")
    return tmp_path


# ---- The name


def test_the_name_is_the_one_that_the_dags_use(module: ModuleType, project: Path) -> None:
    package = project / "src/wine_tasting"
    (package / "__init__.py").write_text('"""About __version__."""\n__version__: str = "1.2.0+local.1"\n')
    name = module.image_name(module.project_name(project), package.name, module.package_version(package))
    assert name == "wine-tasting/wine_tasting:1.2.0-local.1"
    code = "import wine_tasting_dags as dags; print(dags.IMAGE)"
    done = subprocess.run(["python3", "-c", code], cwd=project / "dags", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == name


@pytest.mark.parametrize(("given", "name"), [("My.Project", "my-project"), ("a__b", "a-b"), ("Wine", "wine")])
def test_any_projects_name_fits(module: ModuleType, tmp_path: Path, given: str, name: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{given}"\nversion = "1"\n')
    assert module.image_name(module.project_name(tmp_path), "_My__Package", "1") == f"{name}/my_package:1"


REFUSED: dict[str, Callable[[Path], object]] = {
    "is no project: it has no pyproject.toml": lambda path: (path / "pyproject.toml").unlink(),
    "pyproject.toml is not valid TOML": lambda path: (path / "pyproject.toml").write_text("[project\n"),
    "has no name in [project]": lambda path: (path / "pyproject.toml").write_text("[tool.x]\n"),
    '"project.name" is required': lambda path: (path / "pyproject.toml").write_text("[project]\n"),
    "is not UTF-8": lambda path: (path / "pyproject.toml").write_bytes(b"[project]\n# \xf6\n"),
    "There is no package in": lambda path: shutil.rmtree(path / "src"),
    "several packages": lambda path: shutil.copytree(path / "src/wine_tasting", path / "src/other"),
    "has no __version__": lambda path: (path / "src/wine_tasting/__init__.py").write_text("version = '1'\n"),
    "computes its __version__": lambda path: (path / "src/wine_tasting/__init__.py").write_text("__version__ = f()\n"),
    "is not valid Python": lambda path: (path / "src/wine_tasting/__init__.py").write_text("__version__ = (\n"),
    "can't be called 'wine-tasting/wine_tasting:1 2'": (
        lambda path: (path / "src/wine_tasting/__init__.py").write_text("__version__ = '1 2'\n")
    ),
    "has no Dockerfile": lambda path: (path / "Dockerfile").unlink(),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_image_is_refused(module: ModuleType, project: Path, message: str) -> None:
    REFUSED[message](project)
    with pytest.raises(module.ImageError) as refused:
        module.examine({"project": str(project), "package": "", "base": "b", "index": "", "always": False})
    assert message in str(refused.value) and refused.value.hint


def test_one_of_several_packages_can_be_named(module: ModuleType, project: Path) -> None:
    shutil.copytree(project / "src/wine_tasting", project / "src/other")
    assert module.find_package(project, "other").name == "other"
    with pytest.raises(module.ImageError, match=r"no package 'third'.*'other', 'wine_tasting'"):
        module.find_package(project, "third")


# ---- What goes into it


@pytest.mark.parametrize(
    "path", ["src/wine_tasting/train.py", "src/wine_tasting/new/module.py", "README.md", "Dockerfile"]
)
def test_what_goes_into_it_changes_its_digest(module: ModuleType, project: Path, path: str) -> None:
    before = module.content_digest(project, "base")
    (project / path).parent.mkdir(exist_ok=True)
    with (project / path).open("a") as file:
        file.write("#")
    assert module.content_digest(project, "base") != before


@pytest.mark.parametrize("path", ["data/my.csv", ".env", "dags/new.py", "src/wine_tasting/__pycache__/train.pyc"])
def test_what_stays_out_of_it_does_not(module: ModuleType, project: Path, path: str) -> None:
    before = module.content_digest(project, "base")
    (project / path).parent.mkdir(exist_ok=True)
    (project / path).write_text("x")
    assert module.content_digest(project, "base") == before
    assert module.content_digest(project, "other base") != before


def test_dockerignore_decides(module: ModuleType, project: Path) -> None:
    with (project / ".dockerignore").open("a") as file:
        file.write("!data\n")
    before = module.content_digest(project, "base")
    (project / "data/my.csv").write_text("x")
    assert module.content_digest(project, "base") != before


# ---- Where packages come from

URL = "https://packages.example/simple"


def test_without_settings_none_is_named(building: ModuleType, no_settings: Path) -> None:
    assert building.package_index("") == {}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".config/uv/uv.toml", f'index-url = "{URL}"\n'),
        (".config/uv/uv.toml", f'[[index]]\nurl = "https://other.example"\n[[index]]\nurl = "{URL}"\ndefault = true\n'),
        (".config/pip/pip.conf", f"[global]\nindex-url = {URL}\n"),
        (".pip/pip.conf", f"[install]\nindex-url = {URL}\n"),
    ],
)
def test_the_users_settings_hold(building: ModuleType, no_settings: Path, file: str, text: str) -> None:
    (no_settings / file).parent.mkdir(parents=True)
    (no_settings / file).write_text(text)
    assert building.package_index("") == {"PIP_INDEX_URL": URL, "UV_DEFAULT_INDEX": URL}
    assert building.package_index("https://mine.example")["UV_DEFAULT_INDEX"] == "https://mine.example"


def test_extra_indexes_and_trusted_hosts_reach_a_build(building: ModuleType, no_settings: Path) -> None:
    (no_settings / ".pip").mkdir()
    settings = (
        f"[global]\nindex-url = {URL}\nextra-index-url = {URL}/2\n  file:///srv\ntrusted-host = packages.example\n"
    )
    (no_settings / ".pip/pip.conf").write_text(settings)
    assert building.package_index("") == {
        "PIP_INDEX_URL": URL,
        "UV_DEFAULT_INDEX": URL,
        "PIP_EXTRA_INDEX_URL": f"{URL}/2",
        "UV_INDEX": f"{URL}/2",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "PIP_TRUSTED_HOST": "packages.example",
        "UV_INSECURE_HOST": "packages.example",
    }


def test_a_directory_is_no_index_for_a_build(building: ModuleType, no_settings: Path) -> None:
    assert building.package_index("file:///srv/packages") == {}


def test_a_password_is_refused_and_not_shown(building: ModuleType, no_settings: Path) -> None:
    with pytest.raises(building.ImageError) as refused:
        building.package_index("https://me:s3cret@packages.example/simple")
    assert "packages.example" in str(refused.value) and "s3cret" not in str(refused.value) + refused.value.hint


# ---- The engine


def test_an_engine_that_is_not_there_is_named(tmp_path: Path, project: Path) -> None:
    socket = tmp_path / "docker.sock"
    played = play(tmp_path, "project_image", {"project_image_project": str(project)}, DOCKER_HOST=f"unix://{socket}")
    assert played.code == 2 and played.stats["changed"] == 0
    assert str(socket) in played.failure["msg"] and "gaiaflow-setup workstation" in played.failure["hint"]


def test_an_engine_elsewhere_is_refused(tmp_path: Path, project: Path) -> None:
    played = play(tmp_path, "project_image", {"project_image_project": str(project)}, DOCKER_HOST="tcp://far:2375")
    assert "tcp://far:2375" in played.failure["msg"] and "DOCKER_HOST" in played.failure["hint"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_who_may_not_use_the_engine_is_told_how(module: ModuleType) -> None:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        path = f"{directory}/docker.sock"
        Path(directory).chmod(0o755)
        server.bind(path)
        Path(path).chmod(0o600)
        server.listen()
        os.seteuid(65534)
        try:
            with pytest.raises(module.ImageError, match="may not use the Docker engine") as refused:
                module.ask_engine(module.Engine(path), "wine/wine:1")
        finally:
            os.seteuid(0)
    assert "usermod -aG docker" in refused.value.hint


# ---- Failed builds, as the builders report them

BUILDKIT = {
    "msg": "Building wine/wine:1 failed",
    "stderr": """#11 [package 2/3] RUN make
#11 0.190 make: \x1b[31mnot found\x1b[0m
#11 ERROR: executor failed running [/bin/sh -c make]: exit code: 127
------
 > [package 2/3] RUN make:
0.190 make: \x1b[31mnot found\x1b[0m
------
ERROR: failed to solve: executor failed running [/bin/sh -c make]: exit code: 127""",
}
LOGS = ["Step 1/2 : FROM x", " ---> 3aa07dc2fd9e", "Step 2/2 : RUN make", "make: \x1b[31mnot found\x1b[0m"]
COMMAND = "The command '/bin/sh -c make' returned a non-zero code: 127"
API = {"msg": f"Error building wine/wine - code: 127, message: {COMMAND}, logs: {LOGS}"}


@pytest.mark.parametrize(("failure", "step"), [(BUILDKIT, "[package 2/3] RUN make"), (API, "2/2 : RUN make")])
def test_the_step_that_failed_is_named(building: ModuleType, failure: dict[str, str], step: str) -> None:
    output = building.last_step(building.output_of(failure))
    refusal = building.explain(failure, output, "wine/wine:1", "base:1")
    assert f"wine/wine:1 couldn't be built: step {step} of the Dockerfile failed" in str(refusal)
    assert any(line.endswith("make: not found") for line in output)
    assert not any("FROM x" in line for line in output), "only what the failed step printed"


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("write /layer.tar: no space left on device", "the disk is full"),
        (" > [internal] load metadata for docker.io/library/base:1:\n------\nERROR: no such host", "base image base:1"),
        ("pull access denied for base, repository does not exist", "base image base:1"),
        ("manifest for base:1 not found: manifest unknown: manifest unknown", "base image base:1"),
        ('Get "https://registry.example/v2/": dial tcp: no such host', "base image base:1"),
        ("something that nobody knows", "something that nobody knows"),
    ],
)
def test_the_cause_is_named(building: ModuleType, output: str, named: str) -> None:
    for failure in ({"msg": "Building failed", "stderr": output}, {"msg": f"{output}, logs: []"}, {"msg": output}):
        refusal = building.explain(failure, building.last_step(building.output_of(failure)), "wine/wine:1", "base:1")
        if failure.get("stderr") and "nobody" in named:
            assert "Building failed" in str(refusal)
        else:
            assert named in str(refusal) and refusal.hint


# ---- The command

TELL = """
- name: Keep what was handed over
  ansible.builtin.copy:
    dest: "{{ lookup('env', 'HOME') }}/handed-over"
    content: >-
      {{ hostvars[inventory_hostname] | dict2items | selectattr('key', 'match', 'project_image_') | items2dict
         | to_json }}
    mode: "0600"
- name: Name the image
  ansible.builtin.debug:
    var: project_image
  vars:
    project_image: wine/wine:1
"""


@pytest.mark.parametrize(
    ("options", "always", "cache"), [([], False, True), (["-b"], True, False), (["-b", "-c"], True, True)]
)
def test_options_reach_the_role(content: Content, options: list[str], always: bool, cache: bool) -> None:
    content.playbook("images", TELL)
    done = content.run("images", *options)
    assert done.returncode == 0, done.stderr
    assert "Image: wine/wine:1\n" in done.stdout
    assert json.loads((content.user / "handed-over").read_text()) == {
        "project_image_project": str(content.user),
        "project_image_always": always,
        "project_image_cache": cache,
    }


def test_the_image_is_in_the_document(content: Content) -> None:
    content.playbook("images", TELL)
    assert content.json("images")["image"] == "wine/wine:1"
    assert "nowhere" in content.run("images", "--project", "nowhere").stderr


def test_what_a_rescue_says_is_the_failure(content: Content) -> None:
    fails = "      ansible.builtin.fail:\n        msg: "
    content.playbook(
        "images",
        "- name: Build\n  block:\n    - name: Try\n" + fails + "raw\n"
        "  rescue:\n    - name: Explain\n" + fails + "explained\n",
    )
    document = content.json("images", code=1)
    assert document["error"]["message"] == "explained" and "image" not in document
    assert "raw" not in content.run("images").stderr
