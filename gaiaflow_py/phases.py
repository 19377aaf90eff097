"""What a run does, in phases that its user knows: which tasks belong to which, and how far the running one is."""

from __future__ import annotations

import fnmatch
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

WAITING = "Waiting for Kubernetes"
"""While Minikube starts in the background: its steps are shown in this phase alone."""

TITLES: Mapping[str, str] = {
    "roles/preflight/*": "Checking this machine",
    "roles/bundle/tasks/pack_programs.yml": "Programs",
    "roles/bundle/tasks/pack_*.yml": "Cluster",
    "roles/bundle/*": "Bundle",
    "roles/wsl/*": "WSL",
    "roles/docker/*": "Docker",
    "roles/minikube/*": "Kubernetes tools",
    "roles/conda/*": "Miniforge",
    "roles/project/*": "Project",
    "roles/project_image/*": "Image of the project",
    "roles/cluster/tasks/begin_minikube.yml": "Starting Kubernetes",
    "roles/cluster/tasks/end_minikube.yml": WAITING,
    "roles/cluster/tasks/wait.yml": WAITING,
    "roles/cluster/tasks/configure_node.yml": WAITING,
    "roles/cluster/tasks/stopped.yml": "Stopping Kubernetes",
    "roles/cluster/tasks/absent.yml": "Deleting Kubernetes",
    "roles/cluster/tasks/start_registry.yml": "Registry of images",
    "roles/cluster/tasks/connect.yml": "Connecting Airflow with Kubernetes",
    "roles/cluster/tasks/built.yml": "Image of the project",
    "roles/cluster/tasks/note.yml": "Connecting Airflow with Kubernetes",
    "roles/cluster/tasks/push.yml": "Pushing the image",
    "roles/cluster/*": "Looking at Kubernetes",
    "roles/model_files/*": "Model",
    "roles/model_server/*": "Model",
    "roles/model_image/*": "Image of the model",
    "roles/model_deployment/tasks/push.yml": "Pushing the image",
    "roles/model_deployment/*": "Deploying the model",
    "roles/kube_secret/*": "Secrets",
    "roles/release/tasks/ask_registry.yml": "Asking the registry",
    "roles/release/tasks/build_image.yml": "Pushing the image",
    "roles/release/tasks/push_image.yml": "Pushing the image",
    "roles/release/tasks/find_earlier_image.yml": "Asking the registry",
    "roles/release/tasks/tag.yml": "Pushing the image",
    "roles/release/tasks/attest.yml": "Pushing the image",
    "roles/release/tasks/sign.yml": "Signing the image",
    "roles/release/tasks/promote.yml": "Looking at the stage before",
    "roles/release/*": "Looking at the release",
    "roles/dag_repository/tasks/parse.yml": "Parsing DAGs with the company's Airflow",
    "roles/dag_repository/tasks/check_project.yml": "Parsing DAGs with the company's Airflow",
    "roles/dag_repository/tasks/push.yml": "Pushing the DAGs",
    "roles/dag_repository/tasks/retry.yml": "Pushing the DAGs",
    "roles/dag_repository/tasks/request.yml": "Pushing the DAGs",
    "roles/dag_repository/tasks/request_on_github.yml": "Making the pull request",
    "roles/dag_repository/*": "Central DAG repository",
    "roles/prod_check/tasks/apply.yml": "Making what is missing",
    "roles/prod_check/*": "Looking at production",
    "roles/airflow_on_kubernetes/*": "Airflow on Kubernetes",
    "roles/doctor/tasks/attempt.yml": "Repairing",
    "roles/doctor/tasks/repair/*": "Repairing",
    "roles/doctor/*": "Looking for troubles",
    "roles/mlops/tasks/upload*.yml": "Copying files to the hosts",
    "roles/mlops/tasks/import_objects.yml": "Moving the data",
    "roles/mlops/tasks/export_objects.yml": "Moving the data",
    "roles/mlops/tasks/prepare.yml": "Python environments",
    "roles/mlops/tasks/exported.yml": "Compose file",
    "roles/mlops/tasks/absent.yml": "Removing the instance",
    "roles/mlops/tasks/docker/pull.yml": "Images",
    "roles/mlops/tasks/docker/build.yml": "Images",
    "roles/mlops/tasks/docker/create.yml": "Containers",
    "roles/mlops/tasks/queried.yml": "Services",
    "roles/mlops/tasks/start.yml": "Starting services",
    "roles/mlops/tasks/stopped.yml": "Stopping services",
    "roles/mlops/tasks/leave.yml": "Leaving the other runtime",
    "roles/mlops/*": "",
    "roles/uninstall/*": "Removing what was shared",
}
"""The phase of the tasks in a file; the first pattern that fits counts. Without a title they belong to what runs."""

SERVICES: Mapping[str, str] = {"minio": "s3", "postgres": "database"}
"""What users call a service whose name is another one."""

SILENT = frozenset({"include_tasks", "include_role", "import_tasks", "import_role", "meta", "validate_argument_spec"})
"""What Ansible does on its own account."""

SKIP_S = 1.0
"""A task that still runs after this time isn't skipped."""

PLACE = re.compile(r"(?:^|.*/)((?:roles|playbooks)/[^:]+)")

State = Literal["running", "done", "deferred", "failed", "interrupted"]


@dataclass
class Phase:
    """One phase of a run.

    Attributes:
        title: What it is called.
        begun: When it began, in seconds of the clock.
        ended: When it ended, if it has.
        state: How it is, or how it ended.
        left: Whether something of it is left for later.
        hosts: How many hosts have done the task that runs, and how many there are.
    """

    title: str
    begun: float
    ended: float | None = None
    state: State = "running"
    left: bool = False
    hosts: tuple[int, int] = (0, 1)

    def seconds(self, now: float) -> float:
        """Return how long it has taken.

        Args:
            now: The clock's time.
        """
        return (now if self.ended is None else self.ended) - self.begun


@dataclass(frozen=True)
class Step:
    """How far a long task is, as it tells.

    Attributes:
        done: How many of its parts are done.
        total: How many there are, if they can be counted.
        item: What it does now.
        items: Its parts by name, and whether each is done.
    """

    done: int = 0
    total: int = 0
    item: str = ""
    items: Mapping[str, bool] = field(default_factory=dict)


class Phases:
    """Finds the phases in Ansible's events.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.all: list[Phase] = []
        self._next: tuple[str, float] | None = None
        self._hosts: set[str] = set()
        self._done = 0

    @property
    def current(self) -> Phase | None:
        """The phase that runs."""
        return self.all[-1] if self.all and self.all[-1].state == "running" else None

    def task_begins(self, data: Mapping[str, Any]) -> None:
        """Take note of a task that may yet be skipped.

        Args:
            data: Ansible's event.
        """
        self._done = 0
        title = title_of(data)
        self._next = (title, self.clock()) if title else None

    def task_works(self, host: str) -> None:
        """Take note that the task which runs was not skipped on a host.

        Args:
            host: The host.
        """
        self._hosts.add(host)
        self._done += 1
        self._enter()
        if self.current:
            self.current.hosts = (self._done, len(self._hosts))

    def tick(self) -> None:
        """Enter the phase of a task that has run for too long to be skipped."""
        if self._next and self.clock() - self._next[1] > SKIP_S:
            self._enter()

    def interrupt(self) -> None:
        """End the phase of the task that runs, though it may not have run for long."""
        self._enter()
        self.end("interrupted")

    def defer(self) -> None:
        """Take note that something of this phase is left for later."""
        if self.current:
            self.current.left = True

    def end(self, state: State, at: float | None = None) -> None:
        """End the phase that runs.

        Args:
            state: How it ended.
            at: When, if that was earlier.
        """
        phase = self.current
        if phase:
            phase.ended = self.clock() if at is None else at
            phase.state = "deferred" if state == "done" and phase.left else state

    def _enter(self) -> None:
        """Enter the phase of the task that runs, and end the one before, unless it is the same."""
        if self._next:
            (title, at), self._next = self._next, None
            if self.current is None or self.current.title != title:
                self.end("done", at)
                self.all.append(Phase(title, at))


def title_of(data: Mapping[str, Any]) -> str:
    """Return the phase that a task belongs to, or nothing if it belongs to whichever runs.

    Args:
        data: Ansible's event.
    """
    if str(data.get("task_action", "")).rpartition(".")[2] in SILENT:
        return ""
    found = PLACE.search(str(data.get("task_path", "")))
    place = found[1] if found else ""
    fitting = (title for pattern, title in TITLES.items() if fnmatch.fnmatch(place, pattern))
    # A role or playbook that isn't ours, or has no title yet.
    return next(fitting, str(data.get("role") or data.get("task") or "").replace("_", " "))


class Steps:
    """Reads what long tasks tell of their steps.

    Args:
        file: The file that they write to; it may be absent.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def latest(self, since: float, title: str = "") -> Step | None:
        """Return the last step of the running phase that was told, if there is one.

        Args:
            since: When the phase began, on the system's monotonic clock in seconds; what was told before is of another.
            title: The phase's title. What runs in the background names the phase that shows its steps; there, they
                count from whenever they were told.
        """
        try:
            lines = self._file.read_text(errors="replace").rpartition("\n")[0].splitlines()
            every: Iterator[dict[str, Any]] = map(json.loads, reversed(lines))
            told = next((one for one in every if one.get("phase", title) == title), {})
            if not told or (told["at"] < since and "phase" not in told):
                return None
            return Step(int(told["done"]), int(told["total"]), str(told["item"]), dict(told["items"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # none was told, or by a module that isn't ours
