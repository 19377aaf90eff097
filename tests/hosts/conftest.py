"""The fixtures that hand out real hosts. They need a Docker engine on this machine; CI has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import Host, build_image, docker

SUITES = ("bookworm", "trixie")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests on hosts where there is no engine to run them with."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if here and docker("version", check=False).returncode:
        for item in here:
            item.add_marker(pytest.mark.skip("no Docker engine here (docs/testing.md)"))


@pytest.fixture(scope="session")
def make_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Host]]:
    """Returns what makes a host of a suite; all are removed at the end."""
    root, made = tmp_path_factory.mktemp("hosts"), list[Host]()

    def make(suite: str, *, init: bool = True) -> Host:
        build_image(suite)
        made.append(Host(root / f"{suite}-{len(made)}", suite, init=init))
        return made[-1]

    yield make
    for host in made:
        host.remove()


@pytest.fixture(scope="session", params=SUITES)
def fresh_host(request: pytest.FixtureRequest, make_host: Callable[..., Host]) -> Host:
    """A host of each suite, on which nothing was installed but by the tests of one file, in their order."""
    return make_host(request.param)
