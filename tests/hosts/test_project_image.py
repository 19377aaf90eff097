"""`gaiaflow-setup images` on a real engine, with BuildKit and with the engine's own builder; what is in the image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hosts import CHECKOUT, LAUNCHER, docker, document
from preparation import BASE_IMAGE, add_docker_plugins, await_made

IMAGE = "gaiaflow-test/gaiaflow_test:0.1.0"
PACKAGE = "gaiaflow_test"
# By this label all that the tests build is found again.
LABEL = "gaiaflow.test=images"
SYSTEM_PLUGINS = [f"{one}/docker/cli-plugins/docker-buildx" for one in ("/usr/libexec", "/usr/lib", "/usr/local/lib")]
# What the task is called that builds.
TASKS = {"buildkit": "Build the image with BuildKit", "api": "Build the image with the engine's own builder"}


@dataclass
class Built:
    """A project whose image has been built once, without a cache.

    Attributes:
        project: Its directory.
        builder: What builds it.
        config: Docker's own directory of settings and plugins.
        index: Where its packages came from.
    """

    project: Path
    builder: str
    config: Path
    index: str

    def images(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        own = {"GAIAFLOW_HOME": str(self.config / "home"), "DOCKER_CONFIG": str(self.config)}
        environment = {**os.environ, **own, "UV_DEFAULT_INDEX": self.index}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [LAUNCHER, "images", "--project", str(self.project), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)

    def change(self, line: str) -> None:
        """Add a line of code."""
        with (self.project / f"src/{PACKAGE}/starter.py").open("a") as file:
            file.write(f"\n{line}\n")


def told(done: subprocess.CompletedProcess[str]) -> tuple[str, int]:
    """The image's name and the number of changes in a run that must succeed."""
    content = document(done)
    assert done.returncode == 0, content
    return content["image"], content["hosts"]["localhost"]["changed"]


def ran(done: subprocess.CompletedProcess[str], builder: str) -> bool:
    """Whether the run's log has a result of the task that builds with this builder."""
    return TASKS[builder] in Path(document(done)["log"]).read_text()


def image_id() -> str:
    return docker("image", "inspect", "--format", "{{.Id}}", IMAGE).stdout.strip()


def layers() -> list[str]:
    """The digests of the image's layers, the oldest first."""
    found: list[str] = json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", IMAGE).stdout)
    return found


def run_task(function: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one task by hand, as the documentation says."""
    environment = {"GAIAFLOW_FUNC_PATH": f"{PACKAGE}.{function}", **variables}
    options = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
    return docker("run", "--rm", *options, IMAGE, *arguments, check=False)


def package_index() -> str:
    """The index that this machine uses, or pip's own."""
    code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    return os.environ.get("UV_DEFAULT_INDEX") or docker("run", "--rm", BASE_IMAGE, "python", "-c", code).stdout.strip()


def make_project(directory: Path) -> Path:
    """A project from the template, whose stages are labelled."""
    answers = ["project_name=Gaiaflow test", f"--output-dir={directory}"]
    command = [sys.executable, "-m", "cookiecutter", "--no-input", str(CHECKOUT / "template"), *reversed(answers)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HOME": str(directory)})
    dockerfile = directory / "gaiaflow-test/Dockerfile"
    lines = dockerfile.read_text().splitlines()
    # Stages that begin with the same layer are one to the engine's own cache, which then goes on with the wrong one.
    labelled = [
        f"{line}\nLABEL {LABEL} gaiaflow.test.line={number}" if line.startswith("FROM ") else line
        for number, line in enumerate(lines)
    ]
    dockerfile.write_text("\n".join(labelled) + "\n")
    return dockerfile.parent


@pytest.fixture(scope="module", params=["buildkit", pytest.param("api", marks=pytest.mark.thorough)])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    await_made("built")
    config = tmp_path_factory.mktemp("docker")
    if request.param == "buildkit":
        add_docker_plugins(config)
    elif any(Path(one).exists() for one in SYSTEM_PLUGINS):
        pytest.skip("this machine has buildx for all users")
    one = Built(make_project(tmp_path_factory.mktemp("projects")), request.param, config, package_index())
    assert told(one.images("-b", "--json")) == (IMAGE, 1)
    yield one
    docker("image", "rm", "--force", IMAGE)
    while left := docker("image", "ls", "--all", "--quiet", "--filter", f"label={LABEL}").stdout.split():
        docker("image", "rm", "--force", *sorted({*left}), check=False)


def test_nothing_to_do_is_no_change(built: Built) -> None:
    before = image_id()
    done = built.images("--json")
    assert told(done) == (IMAGE, 0)
    assert not ran(done, built.builder)
    assert f"Image: {IMAGE}\n" in built.images().stdout
    assert built.images("--check").stdout.endswith("ok=2 changed=0 deferred=0 failed=0\n")
    assert image_id() == before


def test_changed_code_is_all_that_is_built_again(built: Built) -> None:
    # From the cache, too: the first build was one without, and a cache may hold layers of builds before that.
    built.change("# changed for the first time")
    assert told(built.images("--json")) == (IMAGE, 1)
    before = layers()
    built.change("def number() -> int:\n    return 7")
    done = built.images("--json")
    assert told(done) == (IMAGE, 1)
    assert ran(done, built.builder)
    assert run_task("starter:number").stdout == "7\n"
    # Dependencies that were installed again would be a layer of other bytes.
    after = layers()
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]


def test_check_mode_builds_nothing(built: Built) -> None:
    before = image_id()
    built.change("# changed")
    assert told(built.images("--check", "--diff", "--json")) == (IMAGE, 1)
    assert image_id() == before
    assert told(built.images("-b", "-c", "--json")) == (IMAGE, 1)
    assert told(built.images("--json")) == (IMAGE, 0)
    assert image_id() != before


@pytest.mark.parametrize(
    ("line", "options", "named"),
    [
        ("RUN echo begun; ls nowhere", [], ["RUN echo begun; ls nowhere", "cannot access 'nowhere'"]),
        ("RUN cat /dev/zero >/dev/full", [], ["disk is full", "docker builder prune"]),
        ("", ["-e", "base_image=nowhere.invalid/python:9"], ["base image nowhere.invalid/python:9", "docker pull"]),
    ],
)
def test_a_failed_build_leaves_the_image(built: Built, line: str, options: list[str], named: list[str]) -> None:
    before = image_id()
    dockerfile = built.project / "Dockerfile"
    kept = dockerfile.read_text()
    try:
        dockerfile.write_text(f"{kept}{line}\n")
        done = built.images(*options)
    finally:
        dockerfile.write_text(kept)
    assert done.returncode == 1
    for words in named:
        assert words in done.stderr, done.stderr
    assert image_id() == before
    assert told(built.images("--json")) == (IMAGE, 0)


def test_the_image_is_fit_for_a_cluster(built: Built) -> None:
    (content,) = json.loads(docker("image", "inspect", IMAGE).stdout)
    config: dict[str, Any] = content["Config"]
    assert config["User"] == "1000"
    assert config["Labels"]["org.opencontainers.image.title"] == "gaiaflow-test"
    assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"
    code = f"from importlib.metadata import version; print(version('{PACKAGE.replace('_', '-')}'))"
    assert docker("run", "--rm", IMAGE, "python", "-c", code).stdout == "0.1.0\n"
    assert docker("run", "--rm", IMAGE, "sh", "-c", "command -v uv || id -u").stdout == "1000\n"


def test_where_packages_come_from_stays_out_of_it(built: Built) -> None:
    history = docker("history", "--no-trunc", IMAGE).stdout + docker("image", "inspect", IMAGE).stdout
    assert built.index not in history and "INDEX" not in history


def test_one_task_by_hand(built: Built) -> None:
    arguments = json.dumps({"environment": {"greeting": 'he said "hi"\n'}})
    done = run_task("starter:report", GAIAFLOW_FUNC_KWARGS=arguments)
    assert (done.returncode, json.loads(done.stdout)) == (0, 'greeting: he said "hi"\n')
    # As a pod does it: the same, to a file, and nothing is printed.
    runner = ("python", "-m", f"{PACKAGE}.runner")
    done = run_task("starter:report", *runner, GAIAFLOW_FUNC_KWARGS=arguments, GAIAFLOW_RESULT_FILE="/tmp/result")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("starter:report", {"environment": None}, "AttributeError: 'NoneType' object has no attribute 'items'"),
        ("starter:report", {"wrong": 1}, "cannot be called with ['wrong']"),
        ("starter:nowhere", {}, "has no 'nowhere'"),
        ("nowhere:report", {}, f"No module named '{PACKAGE}.nowhere'"),
        ("starter", {}, "use 'module.path:function'"),
    ],
)
def test_a_failing_task_says_why(built: Built, function: str, arguments: dict[str, Any], message: str) -> None:
    done = run_task(function, GAIAFLOW_FUNC_KWARGS=json.dumps(arguments))
    assert done.returncode == 1 and done.stdout == ""
    assert "Traceback" in done.stderr and message in done.stderr
