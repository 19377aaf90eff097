"""What the template says of a pod that can't start, or that the cluster has ended."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from stack import CHECKOUT

DAGS = "template/{{cookiecutter.project_folder}}/dags/{{cookiecutter.package_name}}_dags"
TAINT = (
    "0/1 nodes are available: 1 node(s) had untolerated taint {{node.kubernetes.io/{}: }}. Preemption is not helpful"
)


@pytest.fixture(scope="module")
def states() -> ModuleType:
    """The template's module; it imports nothing of Airflow's, and leaves no bytecode, which new projects would get."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("pod_states", CHECKOUT / DAGS / "pod_states.py")
    assert spec and spec.loader
    module = sys.modules["pod_states"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.undo()
    return module


def make_pod(
    *, phase: str, conditions: tuple[Any, ...] = (), state: Any = None, container_id: str | None = None, **status: str
) -> SimpleNamespace:
    """Return a pod as Kubernetes' client gives it."""
    statuses = [SimpleNamespace(name="base", state=state, container_id=container_id)] if state else []
    told = {"reason": None, "message": None, **status}
    resources = SimpleNamespace(requests={"memory": "1Gi"}, limits={})
    container = SimpleNamespace(name="base", image="wine:1", resources=resources)
    # As a service mesh does it, before all others.
    proxy = SimpleNamespace(name="proxy", image="proxy:1", resources=SimpleNamespace(requests={}, limits={}))
    return SimpleNamespace(
        status=SimpleNamespace(phase=phase, conditions=conditions, container_statuses=statuses, **told),
        spec=SimpleNamespace(containers=[proxy, container]),
    )


def terminated(code: int, reason: str) -> SimpleNamespace:
    """Return a container's state that has ended."""
    return SimpleNamespace(terminated=SimpleNamespace(exit_code=code, reason=reason, message=""))


def test_evicted_pod_names_the_reason_and_not_its_exit_code(states: ModuleType) -> None:
    message = "The node was low on resource: ephemeral-storage."
    pod = make_pod(phase="Failed", state=terminated(137, "Error"), reason="Evicted", message=message)
    end = states.find_end(pod)
    assert states.describe_failure(end, None, None) == f"the pod ended (Evicted): {message}"


def test_container_that_is_killed_for_its_memory_says_so(states: ModuleType) -> None:
    end = states.find_end(make_pod(phase="Failed", state=terminated(137, "OOMKilled")))
    assert "OOMKilled" in states.describe_failure(end, None, "64Mi")


@pytest.mark.parametrize(
    ("taint", "relief"), [("disk-pressure", "docker system df"), ("memory-pressure", "give it more memory")]
)
def test_node_under_pressure_is_named_with_what_to_do(states: ModuleType, taint: str, relief: str) -> None:
    condition = SimpleNamespace(
        type="PodScheduled", status="False", reason="Unschedulable", message=TAINT.format(taint)
    )
    problem = states.find_problem(make_pod(phase="Pending", conditions=(condition,)), "wine:1", False)
    assert taint.replace("-", " ") in problem.text and relief in problem.text
    assert "ask for less" not in problem.text
    assert problem.patience == 5


def waiting(reason: str | None) -> SimpleNamespace:
    """Return a container's state that has not begun."""
    return SimpleNamespace(terminated=None, running=None, waiting=SimpleNamespace(reason=reason, message=None))


@pytest.mark.parametrize(
    ("reason", "container_id", "patience"),
    [(None, "containerd://577d", 60), (None, None, None), ("ContainerCreating", None, None)],
)
def test_container_that_its_node_forgot_is_given_up(
    states: ModuleType, reason: str | None, container_id: str | None, patience: int | None
) -> None:
    pod = make_pod(phase="Pending", state=waiting(reason), container_id=container_id)
    problem = states.find_problem(pod, "wine:1", False)
    assert (problem and problem.patience) == patience
    assert not problem or not problem.lasting
