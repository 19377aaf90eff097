"""A figure that the engine doesn't give is unknown, and no zero."""

from __future__ import annotations

from typing import Any

import pytest

from gaiaflow_py.report import memory

# As engines answer: with cgroup v2, with cgroup v1, and where the host can't tell, whose figures have no read time.
STATISTICS = {
    "cgroup v2": ({"usage": 300 * 2**20, "stats": {"inactive_file": 100 * 2**20}}, "200 MiB"),
    "cgroup v1": ({"usage": 300 * 2**20, "stats": {"total_inactive_file": 50 * 2**20}}, "250 MiB"),
    "no details": ({"usage": 10 * 2**20}, "10 MiB"),
    "nothing": ({}, "-"),
    "zero": ({"usage": 0, "stats": {}}, "-"),
}


@pytest.mark.parametrize(("statistics", "shown"), STATISTICS.values(), ids=STATISTICS)
def test_memory_of_a_container(statistics: dict[str, Any], shown: str) -> None:
    from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime import docker

    assert memory(docker.used_memory({"memory_stats": statistics})) == shown
