"""A model that MLflow has registered: which version is asked for, its files, and what it needs to be served.

MLflow is asked by REST, as its client isn't where Ansible runs, and the stack's MLflow hands out all artifacts itself.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .common import report_progress
from .environments import (
    Environment,
    EnvironmentFailedError,
    describe,
    run_uv,
    uv_of,
)
from .errors import SetupError
from .pyproject import Declared

ANSWER_S = 60.0
LOCK, REQUIREMENTS, FILES = "model.txt", "requirements.txt", "model"
PROXIED = "mlflow-artifacts"
# What MLflow calls a thing that it hasn't got.
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
SPECIFICATION = re.compile(r"(?P<name>[^@/:]+)(@(?P<alias>[\w-]+)|/(?P<version>\d+))?")
PREFIX, LONGEST_NAME = "models-", 50
MLFLOW = re.compile(r"\s*mlflow(-skinny)?\b(?![-.])", re.IGNORECASE)
# The first MLflow whose scoring server runs under uvicorn.
OLDEST_MLFLOW = 3


class ModelError(SetupError):
    """A model can't be served as it is asked for."""


# ---- Which one is meant


@dataclass(frozen=True)
class Asked:
    """What a user asks for.

    Attributes:
        name: The registered model.
        alias: The alias that names the version, or nothing.
        version: The version, or nothing; with neither, it is the newest.
    """

    name: str
    alias: str = ""
    version: str = ""


def asked_for(text: str) -> Asked:
    """Return what NAME, NAME@ALIAS or NAME/VERSION asks for.

    Raises:
        ModelError: It is none of these.
    """
    found = SPECIFICATION.fullmatch(text)
    if not found:
        raise ModelError(f"{text!r} names no model.", "Write NAME, NAME@ALIAS or NAME/VERSION, as in wine@champion.")
    return Asked(found["name"], found["alias"] or "", found["version"] or "")


def program_of(name: str) -> str:
    """Return what a model's program, image and Deployment are called: fit for a file's, an image's and a DNS name.

    Raises:
        ModelError: Nothing is left of the name, or too much.
    """
    short = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not short or len(short) > LONGEST_NAME:
        raise ModelError(
            f"The model {name!r} can't be served under a name made from its own: of letters a-z and digits, 1 to"
            f" {LONGEST_NAME} are needed.",
            "Register it under another name: MlflowClient().copy_model_version(...).",
        )
    return PREFIX + short


# ---- What MLflow says of it


class Registry:
    """MLflow, asked by REST.

    Args:
        url: Its address.
        hint: What to do where it doesn't answer.
    """

    def __init__(self, url: str, hint: str = "") -> None:
        self.url, self.hint = url.rstrip("/"), hint
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def open(self, endpoint: str, /, **query: str) -> Any:
        """Return the answer to a GET, to be read and closed.

        Raises:
            urllib.error.HTTPError: MLflow refuses.
            ModelError: It doesn't answer.
        """
        parameters = f"?{urllib.parse.urlencode(query)}" if query else ""
        try:
            return self.opener.open(f"{self.url}/api/2.0/{endpoint}{parameters}", timeout=ANSWER_S)
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise ModelError(f"MLflow doesn't answer at {self.url} ({error}).", self.hint) from error

    def get(self, endpoint: str, /, **query: str) -> dict[str, Any]:
        """Return what MLflow says; nothing where it has no such thing.

        Raises:
            ModelError: It doesn't answer, or with another error.
        """
        try:
            with self.open(endpoint, **query) as answer:
                said: dict[str, Any] = json.load(answer)
                return said
        except urllib.error.HTTPError as error:
            code, told = reason_of(error)
            if error.code == http.client.NOT_FOUND or code in NOT_THERE:
                return {}
            raise ModelError(
                f"MLflow answers {error.code} to {endpoint}: {told}", "See: gaiaflow-setup logs mlflow"
            ) from error
        except ValueError as error:
            raise ModelError(f"What answers at {self.url} is no MLflow ({error}).", self.hint) from error

    def names(self) -> list[str]:
        """Return the names of the registered models."""
        found = self.get("mlflow/registered-models/search", max_results="100").get("registered_models", [])
        return sorted(one["name"] for one in found)

    def version(self, asked: Asked) -> dict[str, Any]:
        """Return the version that is asked for.

        Raises:
            ModelError: There is no such model, alias or version, or MLflow hasn't finished it.
        """
        model = self.get("mlflow/registered-models/get", name=asked.name).get("registered_model")
        if not model:
            known = ", ".join(self.names())
            raise ModelError(
                f"MLflow has no registered model {asked.name!r}.",
                f"There are: {known}." if known else "There are none yet: train one, and register it.",
            )
        found = self._found(asked, model)
        if found.get("status", "READY") != "READY":
            raise ModelError(
                f"Version {found['version']} of {asked.name!r} is {found['status']}.", "Register it again."
            )
        return found

    def _found(self, asked: Asked, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the version by its alias or number, or the newest."""
        newest = max((int(one["version"]) for one in model.get("latest_versions", [])), default=0)
        if asked.alias:
            found = self.get("mlflow/registered-models/alias", name=asked.name, alias=asked.alias)
            there = ", ".join(sorted(one["alias"] for one in model.get("aliases", []))) or "none"
            what, hint = f"no alias {asked.alias!r}", f"Its aliases are: {there}. Its newest version is {newest}."
        else:
            version = asked.version or str(newest)
            found = self.get("mlflow/model-versions/get", name=asked.name, version=version)
            what = f"no version {version}" if newest else "no versions"
            hint = f"Its newest version is {newest}." if newest else "Train one, and register it."
        if not found.get("model_version"):
            raise ModelError(f"The model {asked.name!r} has {what}.", hint)
        version_found: dict[str, Any] = found["model_version"]
        return version_found

    def place(self, name: str, version: str) -> str:
        """Return where the artifacts of a version are, as a path on MLflow's own artifact server.

        Raises:
            ModelError: They are elsewhere.
        """
        said = self.get("mlflow/model-versions/get-download-uri", name=name, version=version)
        uri = str(said.get("artifact_uri", ""))
        if uri.startswith("models:/m-"):
            logged = self.get(f"mlflow/logged-models/{uri.removeprefix('models:/')}")
            uri = str(logged.get("model", {}).get("info", {}).get("artifact_uri", ""))
        address = urllib.parse.urlsplit(uri)
        if address.scheme != PROXIED:
            raise ModelError(
                f"The files of {name!r} version {version} are at {uri or 'no place that MLflow knows'}, and not with"
                " the stack's MLflow.",
                "Log the model to this MLflow again, and register it.",
            )
        return address.path.strip("/")

    def files(self, place: str, under: str = "") -> Iterator[tuple[str, int]]:
        """Yield the path below `place`, and the size in bytes, of each file."""
        said = self.get("mlflow-artifacts/artifacts", path="/".join(filter(None, [place, under])))
        for one in said.get("files", []):
            path = "/".join(filter(None, [under, Path(one["path"]).name]))
            if one.get("is_dir"):
                yield from self.files(place, path)
            else:
                yield path, int(one.get("file_size") or 0)

    def artifact(self, place: str, path: str) -> Any:
        """Return an open artifact.

        Raises:
            ModelError: It isn't there.
        """
        quoted = urllib.parse.quote(f"{place}/{path}")
        try:
            return self.open(f"mlflow-artifacts/artifacts/{quoted}")
        except urllib.error.HTTPError as error:
            raise ModelError(
                f"MLflow has no file {path} of the model ({error.code}: {reason_of(error)[1]}).",
                "Its artifacts were deleted from S3, or S3 is down: gaiaflow-setup status.",
            ) from error


def reason_of(error: urllib.error.HTTPError) -> tuple[str, str]:
    """Return the code and the message of an answer of MLflow's that is an error."""
    try:
        said = json.loads(error.read())
        return str(said.get("error_code", "")), str(said.get("message", "")).splitlines()[0]
    except (ValueError, AttributeError, IndexError, OSError):
        return "", error.reason


# ---- Whether it can be served


def check_model_file(text: str, model: str) -> str:
    """Return the Python with which a model was logged, as in `3.12`.

    Args:
        text: The model's file MLmodel. It is YAML, as MLflow writes it; Ansible's Python on a host may lack a reader.
        model: What the model is called in messages.

    Raises:
        ModelError: It can't be served.
    """
    log_again = (
        "Log it again, and register it: mlflow.MODULE.log_model(..., signature=infer_signature(inputs, outputs))."
    )
    if not re.search(r"^  python_function:", text, re.MULTILINE):
        raise ModelError(f"{model} has no flavour python_function, which MLflow's server needs.", log_again)
    if not re.search(r"^signature:(?!\s*(null|\{\})\s*$)", text, re.MULTILINE):
        raise ModelError(f"{model} has no signature, so that nobody knows what it takes and gives.", log_again)
    logged = re.search(r"^mlflow_version: ['\"]?(\d+)\.", text, re.MULTILINE)
    if logged and int(logged[1]) < OLDEST_MLFLOW:
        raise ModelError(f"{model} was logged with MLflow {logged[1]}, whose server is another one.", log_again)
    python = re.search(r"^    python_version: ['\"]?(\d+\.\d+)", text, re.MULTILINE)
    return python[1] if python else python_here()


def mlflow_of(text: str) -> str:
    """Return the version of MLflow that a model's file MLmodel names."""
    found = re.search(r"^mlflow_version: ['\"]?([\w.]+)", text, re.MULTILINE)
    return found[1] if found else ""


def python_here() -> str:
    """Return this Python's version, as in `3.12`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def older(one: str, other: str) -> str:
    """Return the older of two versions of Python."""
    return min(one, other, key=lambda version: [int(part) for part in version.split(".")])


def look(registry: Registry, text: str) -> dict[str, Any]:
    """Return all that is known of the version that is asked for.

    Args:
        registry: MLflow.
        text: NAME, NAME@ALIAS or NAME/VERSION.

    Returns:
        name, version, alias; `program`, what it is called where it is served; `place`, where MLflow has its files;
        `files`, their directory in `data/models`; `python`, the version that it was logged with.

    Raises:
        ModelError: It can't be served.
    """
    asked = asked_for(text)
    program = program_of(asked.name)
    found = registry.version(asked)
    version = str(found["version"])
    place = registry.place(asked.name, version)
    with registry.artifact(place, "MLmodel") as answer:
        described = answer.read().decode(errors="replace")
    # A registry that was made anew begins at version 1 again.
    digest = hashlib.sha256(f"{place}\n{found.get('creation_timestamp', '')}".encode()).hexdigest()[:8]
    return {
        "name": asked.name,
        "version": version,
        "alias": asked.alias,
        "program": program,
        "place": place,
        "files": f"{program.removeprefix(PREFIX)}/{version}-{digest}",
        "python": check_model_file(described, f"Version {version} of {asked.name!r}"),
    }


# ---- Its files, and its lock


def fetch(registry: Registry, place: str, directory: Path) -> None:
    """Download the files of a model.

    Args:
        registry: MLflow.
        place: Where MLflow has them.
        directory: A directory that isn't there yet.

    Raises:
        ModelError: One can't be had, or not all of it.
    """
    listed = list(registry.files(place))
    for number, (path, size) in enumerate(listed):
        report_progress(path, number, len(listed))
        target = (directory / path).resolve()
        if directory.resolve() not in target.parents:
            raise ModelError(f"The model has a file outside of itself: {path!r}.", "Log it again.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with registry.artifact(place, path) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)
        if size and target.stat().st_size != size:
            raise ModelError(f"MLflow gave {target.stat().st_size} of {size} bytes of {path}.", "Run this again.")


def complete_requirements(text: str, mlflow: str) -> str:
    """Return a model's requirements, with MLflow's server if they don't name it.

    Args:
        text: What its requirements.txt holds.
        mlflow: The version of MLflow that logged it.
    """
    if any(MLFLOW.match(line) for line in text.splitlines()):
        return text
    return f"{text.rstrip()}\nmlflow-skinny=={mlflow}\n".lstrip()


def lock(directory: Path, python: str, uv: str, cache: str, wheels: str) -> None:
    """Pin all that a model needs, with hashes, in a lock file beside its files.

    Args:
        directory: Where its files are in a directory `model`.
        python: The oldest Python that it shall run with.
        uv: The uv program.
        cache: uv's cache, unless UV_CACHE_DIR is set.
        wheels: A directory of wheels, to take packages from there and nowhere else.

    Raises:
        ModelError: The requirements can't be had together.
    """
    tool = uv_of(uv, cache, wheels)
    files = directory / FILES
    given = files / REQUIREMENTS
    text = given.read_text() if given.is_file() else ""
    # Beside its own, as that may name other files of the model.
    needs = files / ".gaiaflow-requirements.txt"
    needs.write_text(complete_requirements(text, mlflow_of((files / "MLmodel").read_text())))
    report_progress("pinning the requirements")
    options = [
        "--universal",
        "--python-version",
        python,
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--quiet",
    ]
    command = [tool.program, "pip", "compile", *options, *tool.options, "--output-file", str(directory / LOCK)]
    try:
        run_uv([*command, str(needs)], tool.environment, directory=files)
    except EnvironmentFailedError as error:
        raise ModelError(
            f"What the model needs (its {REQUIREMENTS}) can't be had together:\n{error}",
            "Packages need the network or a mirror; a conflict needs other pip_requirements when the model is logged.",
        ) from error
    finally:
        needs.unlink()


def keep(registry: Registry, place: str, directory: Path, **how: str) -> None:
    """Put a model's files and their lock into a directory, whole or not at all.

    Args:
        registry: MLflow.
        place: Where MLflow has the files.
        directory: The directory.
        how: What `lock` takes.

    Raises:
        ModelError: Something can't be had.
    """
    new = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    (new / FILES).mkdir(parents=True, mode=0o700)
    try:
        fetch(registry, place, new / FILES)
        lock(new, **how)
        new.rename(directory)
    finally:
        shutil.rmtree(new, ignore_errors=True)


# ---- The models of an instance


def kept_models(record: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return the models that an instance serves: those whose files were deleted with its data are served no more."""
    models: dict[str, Any] = record.get("models") or {}
    return {name: one for name, one in models.items() if lock_of(one, directory).is_file()}


def lock_of(model: Mapping[str, Any], directory: Path) -> Path:
    """Return the lock file of a model that an instance serves."""
    return directory / "data" / "models" / str(model["files"]) / LOCK


def with_models(catalogue: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of each service, with the pages of the models that are served."""
    service = catalogue.get("models")
    if not service:
        return dict(catalogue)
    pages = {**service["pages"], **dict.fromkeys(models, service["first_port"])}
    return {**catalogue, "models": {**service, "pages": pages}}


def environments_of(models: Mapping[str, Any], directory: Path, root: Path) -> list[Environment]:
    """Return the Python environments of the models that are served; models with the same needs share one.

    Args:
        models: The models, by the name of their program.
        directory: The instance's directory.
        root: The directory of all environments.
    """
    locks = {name: lock_of(one, directory) for name, one in models.items()}
    # In check mode, a model's files may not be there yet.
    return [replace(describe(root, path, "", Declared()), name=name) for name, path in locks.items() if path.is_file()]
