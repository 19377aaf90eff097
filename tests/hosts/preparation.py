"""What the tests on hosts need of the machine, and the images they share: each made once, beside the first tests."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
HOST_IMAGE = "gaiaflow-test/host:{suite}"
BASE_IMAGE = "python:3.13-slim"
CACHE = HERE.parents[1] / ".cache" / "hosts"
DOCKER_PLUGINS = CACHE / "docker-plugins"
PROGRAMS = ("apt-ftparchive", "docker", "dpkg-deb", "gpg", "ip", "mmdebstrap", "ssh", "unshare")

# What a test that uses a fixture needs, in the order in which it is made.
NEEDED_BY = {
    "make_host": ("bookworm", "trixie"),
    "built": ("base", "plugins"),
    "stack": ("base", "services", "plugins"),
}

_begun: dict[str, Future[None]] = {}
# What is made waits for downloads most of the time.
_pool = ThreadPoolExecutor(max_workers=2)


@functools.cache
def lacking() -> str:
    """Return why this machine can't run tests on hosts, or nothing."""
    if os.geteuid():
        return "the tests on hosts need root (docs/testing.md)"
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"the tests on hosts need {', '.join(missing)}, which .ci/run installs (docs/testing.md)"
    if subprocess.run(["docker", "version"], capture_output=True).returncode:
        return "the tests on hosts need a Docker engine, and none answers (docs/testing.md)"
    return ""


def begin(fixtures: Iterable[str]) -> None:
    """Begin to make what tests with these fixtures need; the rest of the run goes on meanwhile."""
    for fixture in fixtures:
        for part in NEEDED_BY.get(fixture, ()):
            if part not in _begun:
                _begun[part] = _pool.submit(_make, part)


def await_made(fixture: str) -> None:
    """Return when what tests with this fixture need is there; AssertionError when it can't be made."""
    begin([fixture])
    for part in NEEDED_BY[fixture]:
        _begun[part].result()


def add_docker_plugins(config: Path) -> None:
    """Give a directory of Docker's settings buildx and Compose."""
    config.mkdir(exist_ok=True)
    (config / "cli-plugins").symlink_to(DOCKER_PLUGINS / "cli-plugins")


def build_host_image(suite: str) -> None:
    """Make the image of a Debian suite's hosts, unless it is there."""
    image = HOST_IMAGE.format(suite=suite)
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode:
        _run("build_image", suite, image)


def _make(part: str) -> None:
    """Make a part, unless it is there; other runs on this machine wait for it."""
    if part == "services":
        _begun["base"].result()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{part}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_locked(part)


def _make_locked(part: str) -> None:
    if part == "base":
        _run("build_base_images", BASE_IMAGE)
    elif part == "services":
        _run("build_service_images")
    elif part == "plugins":
        _unpack_plugins()
    else:
        build_host_image(part)


def _unpack_plugins() -> None:
    """Unpack the plugins for all runs; an interrupted run leaves none that are incomplete."""
    if not DOCKER_PLUGINS.exists():
        partial = DOCKER_PLUGINS.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _run("unpack_docker_plugins", str(partial))
        partial.rename(DOCKER_PLUGINS)


def _run(script: str, *arguments: str) -> None:
    done = subprocess.run([HERE / script, *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{script} {' '.join(arguments)}: {done.stdout}{done.stderr}"
