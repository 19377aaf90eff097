"""How long a start is waited for, on machines that keep up and on others."""

from __future__ import annotations

import datetime
import json
import time
import urllib.error
import urllib.parse
from email.message import Message
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def health() -> ModuleType:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import health

    return health


@pytest.mark.parametrize(("load", "waited"), [(0.5, 10), (2.0, 10), (4.0, 20), (100.0, 40)])
def test_a_busy_machine_gets_more_time_and_not_for_ever(
    health: ModuleType, monkeypatch: pytest.MonkeyPatch, load: float, waited: int
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    patience = health.Patience(10)
    while not patience.ended():
        clock[0] += 0.25
    assert patience.waited == waited


@pytest.mark.parametrize(("started", "is_healthy"), [(-60, True), (-1, False), (7200, True)])
def test_heartbeat_counts_if_it_is_of_this_start(
    health: ModuleType, monkeypatch: pytest.MonkeyPatch, started: int, is_healthy: bool
) -> None:
    beat = datetime.datetime.fromtimestamp(time.time() - 5, datetime.UTC).isoformat()
    report = {"scheduler": {"status": "healthy", "latest_scheduler_heartbeat": beat}}
    monkeypatch.setattr(health, "get", lambda url: json.dumps(report))
    # A start that lies ahead was before the clock was set back.
    assert health.heartbeat_since("http://x", "scheduler", time.time() + started) is is_healthy


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("path", "signature"),
    [
        ("?lifecycle=", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ("?prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_a_request_is_signed_as_in_the_examples_of_aws(health: ModuleType, path: str, signature: str) -> None:
    keys = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
    now = datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC)
    signed = health.signed("examplebucket.s3.amazonaws.com", path, keys, now, EMPTY)
    assert signed["Authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    ("objects", "made_later", "healthy"),
    [
        ({}, False, True),
        ({"a b": 206, "c": 206}, False, True),
        ({"a b": 500, "c": 500}, False, False),
        ({"a b": 500, "c": 206}, False, True),
        ({"a b": 416}, False, True),
        (None, False, False),
        (None, True, True),
    ],
)
def test_s3_is_healthy_when_it_lists_and_reads(
    health: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    objects: dict[str, int] | None,
    made_later: bool,
    healthy: bool,
) -> None:
    def s3_get(_port: int, path: str, _keys: object, _headers: object = None) -> bytes:
        if "?" in path and objects is not None:
            names = "".join(f"<Contents><Key>{name}</Key></Contents>" for name in objects)
            return f'<ListBucketResult xmlns="http://s3/">{names}</ListBucketResult>'.encode()
        status = (objects or {}).get(urllib.parse.unquote(path.removeprefix("bucket/")), 404)
        if status >= 400:
            raise urllib.error.HTTPError(path, status, "", Message(), None)
        return b"x"

    monkeypatch.setattr(health, "s3_get", s3_get)
    described = {"s3_bucket": "bucket", "made_later": made_later}
    assert health.answers(9000, described, {}, 0.0) is healthy


FAILED = "2026-11-27T08:38:19.648037Z [error    ] Workload execution failed.     [airflow.executors.local_executor]"
BEGUN = "2026-11-27T08:39:52.984138Z [info     ] Workload finished              [supervisor] exit_code=0"
OTHER = "2026-11-27T08:40:00.000000Z [info     ] Adopting or resetting orphaned tasks"
FAILED_AT = 1795768699.6


@pytest.mark.parametrize(
    ("lines", "started", "begin"),
    [
        ([], 0.0, True),
        ([OTHER], 0.0, True),
        ([BEGUN, OTHER], 0.0, True),
        ([FAILED], 0.0, False),
        ([FAILED, "Traceback (most recent call last):", "ValueError: Unknown scheme", OTHER], 0.0, False),
        ([BEGUN, FAILED], 0.0, False),
        ([FAILED, BEGUN, OTHER], 0.0, True),
        ([FAILED], FAILED_AT + 60, True),
        ([FAILED], FAILED_AT - 60, False),
        ([FAILED] + [OTHER] * 10_000, 0.0, True),
        (["nonsense Workload execution failed"], 0.0, True),
    ],
)
def test_scheduler_that_could_not_begin_a_task_is_known_by_its_log(
    health: ModuleType, tmp_path: Path, lines: list[str], started: float, begin: bool
) -> None:
    log = tmp_path / "airflow-scheduler.log"
    log.write_text("".join(f"{line}\n" for line in lines))
    assert health.tasks_begin(log, started) is begin


def test_scheduler_without_a_log_is_not_called_unhealthy_for_that(health: ModuleType, tmp_path: Path) -> None:
    assert health.tasks_begin(tmp_path / "none.log", 0.0)
