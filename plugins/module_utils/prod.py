"""A project's `prod.yaml`: where the pods of each stage run, and where a release of it goes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .errors import SetupError

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
OWNER = re.compile(r"@[\w.-]+(/[\w./-]+)?|[\w.+-]+@[\w-]+(\.[\w-]+)+")
REGISTRY = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*")
BRANCH = re.compile(r"(?!-)[\w./-]+(?<![./])")
CHOICES = {"deliver": ("push", "pull_request"), "platform": ("github", "gitlab", "none")}
# What `gaiaflow-setup prod check` reads, and pods don't.
FOR_CHECK = "check"
DEFAULTS = {"registry": "", "dag_repository": "", "branch": "main", "deliver": "push", "platform": "", "after": ""}


class ProdFileError(SetupError):
    """A project's `prod.yaml` is wrong, or says too little."""


@dataclass(frozen=True)
class Stage:
    """One of the company's environments, as a project's `prod.yaml` describes it.

    Attributes:
        name: Its name; empty where the file has no stages.
        pods: The settings of its pods, as the DAGs read them.
        release: Where a release goes; all keys are there.
        others: What `release` is for the other stages, by their names.
    """

    name: str
    pods: dict[str, Any]
    release: dict[str, Any]
    others: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_stage(path: Path, wanted: str) -> Stage:
    """Return what a `prod.yaml` says of a stage.

    Args:
        path: The file.
        wanted: The stage's name; empty takes the first one.

    Raises:
        ProdFileError: The file can't be read, a value isn't allowed, or there is no such stage.
    """
    content = _read(path)
    stages = _map(path, "stages", content.pop("stages", None))
    common = _map(path, "release", content.pop("release", None))
    if wanted and wanted not in stages:
        known = f"it has: {', '.join(stages)}" if stages else "it has no stages"
        raise ProdFileError(f"{path} has no stage '{wanted}'; {known}.", "Name one that is there: --stage NAME.")
    described = {name: _map(path, f"stages.{name}", stage) for name, stage in stages.items()}
    for name in described:
        if not NAME.fullmatch(str(name)):
            raise ProdFileError(f"{path}: '{name}' is no stage's name.", "Use lower-case letters, digits and hyphens.")
    releases = {
        name: _release(path, {**common, **_map(path, f"stages.{name}.release", stage.pop("release", None))})
        for name, stage in described.items()
    }
    if len({one["registry"] for one in releases.values()}) > 1:
        raise ProdFileError(
            f"{path}: the stages have several registries, and one image goes through all of them.",
            "Name one registry, in `release` above the stages.",
        )
    for name, release in releases.items():
        if release["after"] and (release["after"] not in releases or release["after"] == name):
            raise ProdFileError(
                f"{path}: {name} comes after '{release['after']}', which is no other stage.", "Correct it."
            )
    name = wanted or next(iter(described), "")
    if not name:
        return Stage("", _of_pods(content), _release(path, common))
    return Stage(name, _of_pods({**content, **described[name]}), releases[name], releases)


def _of_pods(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != FOR_CHECK}


def _read(path: Path) -> dict[str, Any]:
    try:
        return _map(path, "", yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ProdFileError(f"There is no {path}.", "Copy the one of a new project: gaiaflow-setup new.") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ProdFileError(f"{path} can't be read: {error}.", "Correct it.") from error


def _map(path: Path, key: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ProdFileError(f"{path}: {key or 'the file'} holds {value!r}; it takes a map.", "Correct it.")
    return dict(value)


def _release(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    release = {**DEFAULTS, "owners": [], **given}
    for key, value in release.items():
        if key not in (*DEFAULTS, "owners"):
            allowed = ", ".join([*DEFAULTS, "owners"])
            raise ProdFileError(f"{path}: release has the unknown key '{key}'.", f"Allowed are {allowed}.")
        if complaint := _complaint(key, value):
            raise ProdFileError(f"{path}: release.{key} is {value!r}; {complaint}.", "Correct it.")
    return release


def _complaint(key: str, value: Any) -> str:
    """Say what is wrong with a value; nothing where it is right."""
    if key == "owners":
        is_right = isinstance(value, list) and all(isinstance(one, str) and OWNER.fullmatch(one) for one in value)
        return "" if is_right else "it takes a list of @name, @org/team or email addresses"
    if not isinstance(value, str):
        return "it takes text"
    if value and key in CHOICES and value not in CHOICES[key]:
        return f"it takes one of {', '.join(CHOICES[key])}"
    if value and key == "registry" and not REGISTRY.fullmatch(value):
        return "it takes a host and a path in lower case, without https://"
    if key == "branch" and (not BRANCH.fullmatch(value) or ".." in value):
        return "it takes a branch's name"
    if key == "dag_repository" and re.match(r"\w+://[^/@]*:[^/@]*@", value):
        return "an address must hold no password; GAIAFLOW_CDR_TOKEN takes one"
    return "an address can't begin with a hyphen" if key == "dag_repository" and value.startswith("-") else ""
