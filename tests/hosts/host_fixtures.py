"""The fixture that hands out real hosts; a test file imports it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hosts import Host, remove
from preparation import await_made


@pytest.fixture(scope="module")
def make_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Host]]:
    """Return what makes a host of a suite; all are removed when the file's tests have ended."""
    await_made("make_host")
    root, made = tmp_path_factory.mktemp("hosts"), list[Host]()

    def make(suite: str, *, init: bool = True) -> Host:
        made.append(Host(root / f"{suite}-{len(made)}", suite, init=init))
        return made[-1]

    yield make
    remove(made)
