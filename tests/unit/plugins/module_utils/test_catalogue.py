"""How the catalogue's entries become what one runtime runs."""

from __future__ import annotations

import pytest

from ansible_collections.gaiaflow.setup.plugins.module_utils.catalogue import (
    combine,
    environment_names,
    expand,
    fill_in,
)

SERVICES = {
    "database": {"port": 5432, "command": ["postgres"]},
    "web": {"base": "python", "port": 8080, "needs": ["database"], "env": {"B": "own"}, "docker": {"user": "1000"}},
    "helper": {"only": "native", "port": 9},
}
BASES = {"python": {"command": ["python"], "env": {"A": "base", "B": "base"}, "native": {"env": {"C": "native"}}}}


def test_later_layer_wins_and_environments_are_put_together() -> None:
    combined = combine({"port": 1, "env": {"A": "1", "B": "1"}}, {"port": 2, "env": {"B": "2"}})
    assert combined == {"port": 2, "env": {"A": "1", "B": "2"}}


def test_entry_takes_over_what_its_base_says() -> None:
    web = expand(SERVICES, BASES, "native")["web"]
    assert web["command"] == ["python"]
    assert web["env"] == {"A": "base", "B": "own", "C": "native"}


@pytest.mark.parametrize(
    ("runtime", "names"), [("native", ["database", "helper", "web"]), ("docker", ["database", "web"])]
)
def test_entry_of_one_runtime_is_left_out_of_the_other(runtime: str, names: list[str]) -> None:
    assert sorted(expand(SERVICES, BASES, runtime)) == names


def test_what_is_said_for_one_runtime_is_said_for_no_other() -> None:
    native, docker = (expand(SERVICES, BASES, runtime)["web"] for runtime in ("native", "docker"))
    assert "user" not in native and docker["user"] == "1000"
    assert "C" not in docker["env"]
    assert not {"base", "only", "native", "docker"} & (native.keys() | docker.keys())


def test_service_waits_for_what_it_needs_where_its_runtime_has_it() -> None:
    assert expand(SERVICES, BASES, "native")["web"]["waits_for"] == [["127.0.0.1", 5432]]
    assert expand(SERVICES, BASES, "docker")["web"]["waits_for"] == [["database", 5432]]


def test_containers_know_each_other_by_name() -> None:
    assert expand(SERVICES, BASES, "docker")["web"]["peers"] == ["database", "web"]


def test_base_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError, match="python"):
        expand(SERVICES, {}, "native")


def test_environments_say_whether_a_project_is_in_them() -> None:
    services = [{"environments": {"jupyter": {"with_project": True}, "base": {}}}, {}]
    assert environment_names(services) == {"jupyter": True, "base": False}


def test_credentials_are_filled_in_and_other_braces_stay() -> None:
    assert fill_in("s3://@{minio.key}@host/{x}", {"minio": {"key": "k@{a.b}"}}) == "s3://k@{a.b}@host/{x}"
    with pytest.raises(KeyError):
        fill_in("@{nobody.key}", {})
