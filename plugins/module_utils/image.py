"""A project's image: what it is called, and whether it is to be built anew."""

from __future__ import annotations

import ast
import hashlib
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What docker_image itself reads .dockerignore with.
from ansible_collections.community.docker.plugins.module_utils._api.utils.build import (  # type: ignore[import-untyped]
    exclude_paths,
)

from .build import ImageError, has_buildkit, package_index
from .engine import Engine, EngineElsewhere, EngineError, own_socket
from .pyproject import ProjectFileError, normal, read_pyproject, read_text

DIGEST = "gaiaflow.digest"


# ---- The project


def project_name(project: Path) -> str:
    """Return the name in the project's metadata, written as package indexes do, which is fit for an image's name."""
    path = project / "pyproject.toml"
    if not path.is_file():
        raise ImageError(f"{project} is no project: it has no pyproject.toml.", "Name one: --project DIR.")
    try:
        content = read_pyproject(path, "")
    except ProjectFileError as error:
        raise ImageError(str(error), "Correct it.") from error
    if "project" not in content:
        raise ImageError(f"{path} has no name in [project].", "Add it: name = 'my-project'.")
    name: str = normal(str(content["project"]["name"]))
    return name


def find_package(project: Path, wanted: str) -> Path:
    """Return the directory of the project's package."""
    found = sorted(path.parent for path in (project / "src").glob("*/__init__.py"))
    names = [path.name for path in found]
    if wanted and wanted not in names:
        raise ImageError(f"There is no package '{wanted}' in {project}/src; there are: {names}.", "Name one of them.")
    if not found:
        raise ImageError(
            f"There is no package in {project}/src: no directory there has an __init__.py.",
            "Put the code that tasks run into one package there.",
        )
    if len(found) > 1 and not wanted:
        raise ImageError(
            f"There are several packages in {project}/src: {names}.", "Name one: -e project_image_package=NAME."
        )
    return project / "src" / (wanted or names[0])


def package_version(package: Path) -> str:
    """Return the package's version, without importing it."""
    source = package / "__init__.py"
    hint = 'Add a line like __version__ = "0.1.0".'
    try:
        statements = ast.parse(read_text(source), str(source)).body
    except ProjectFileError as error:
        raise ImageError(str(error), "Correct it.") from error
    except SyntaxError as error:
        raise ImageError(f"{source} is not valid Python: {error}.", "Correct it.") from error
    for one in statements:
        targets = one.targets if isinstance(one, ast.Assign) else [one.target] if isinstance(one, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == "__version__" for target in targets):
            value = getattr(one, "value", None)
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                return value.value
            raise ImageError(f"{source} computes its __version__; the image needs it written out.", hint)
    raise ImageError(f"{source} has no __version__, which the image is named after.", hint)


def image_name(project: str, package: str, version: str) -> str:
    """Return the image's name; a local version's plus sign is not allowed there."""
    name = f"{project}/{re.sub('_+', '_', package.lower()).strip('_')}:{version.replace('+', '-')}"
    if not re.fullmatch(r"[a-z0-9-]+/[a-z0-9_]+:\w[\w.-]{0,127}", name, re.ASCII):
        raise ImageError(
            f"The image can't be called '{name}'.",
            "Letters a-z, digits and single signs between them are allowed in the project's and the package's name.",
        )
    return name


def context_files(project: Path) -> Iterator[Path]:
    """Yield what a build is given: all that .dockerignore doesn't keep out."""
    try:
        lines = [line.strip() for line in read_text(project / ".dockerignore").splitlines()]
    except FileNotFoundError:
        lines = []
    ignored = [line for line in lines if line and not line.startswith("#")]
    yield from (project / path for path in sorted({*exclude_paths(str(project), ignored), "Dockerfile"}))


def content_digest(project: Path, base: str) -> str:
    """Tell one image's content from another's."""
    if not (project / "Dockerfile").is_file():
        raise ImageError(f"{project} has no Dockerfile.", "Copy the one of a new project: gaiaflow-setup new.")
    digest = hashlib.sha256(base.encode())
    for path in context_files(project):
        if path.is_symlink():
            content = str(path.readlink()).encode()
        elif path.is_file():
            content = path.read_bytes()
        else:
            continue
        for part in (str(path.relative_to(project)), kind_of(path), hashlib.sha256(content).hexdigest()):
            digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def kind_of(path: Path) -> str:
    """Return what the image's user sees of a file's mode: a checkout's other bits are those of whoever made it."""
    mode = path.lstat().st_mode
    return oct(stat.S_IFMT(mode) | mode & 0o105)


# ---- The engine


def engine_address() -> str:
    """Where the engine is: a socket of this machine."""
    try:
        return f"unix://{own_socket()}"
    except EngineElsewhere as error:
        raise ImageError(f"{error}.", "Unset DOCKER_HOST, or run this on that machine.") from error


def ask_engine(engine: Engine, image: str) -> tuple[str, dict[str, Any]]:
    """Return the engine's API version, and what it says of the image; nothing where it isn't there."""
    try:
        version = str(engine.get("/version")["ApiVersion"])
        try:
            return version, dict(engine.get(f"/images/{image}/json"))
        except EngineError as error:
            if error.status == 404:
                return version, {}
            raise
    except EngineError as error:
        raise ImageError(str(error), "Find out more: gaiaflow-setup doctor.") from error
    except PermissionError:
        raise ImageError(
            f"This user may not use the Docker engine ({engine.socket}).",
            "Run `sudo usermod -aG docker $USER`, and log in again; gaiaflow-setup workstation does it, too.",
        ) from None
    except OSError as error:
        raise ImageError(
            f"No Docker engine answers at {engine.socket} ({error}).",
            "Install or start one: gaiaflow-setup workstation.",
        ) from error


def examine(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what the image is called, and whether and how it is to be built."""
    project = Path(parameters["project"]).absolute()
    name = project_name(project)
    package = find_package(project, parameters["package"])
    version = package_version(package)
    image = image_name(name, package.name, version)
    digest = content_digest(project, parameters["base"])
    address = engine_address()
    api, there = ask_engine(Engine(address.removeprefix("unix://")), image)
    labels = (there.get("Config") or {}).get("Labels") or {}
    build = parameters["always"] or labels.get(DIGEST) != digest
    index = package_index(parameters["index"]) if build else {}
    return {
        "project_image": image,
        "build": build,
        "builder": "buildkit" if has_buildkit(api) else "api",
        "engine": address,
        "image_id": there.get("Id", ""),
        "pushed_names": there.get("RepoDigests") or [],
        "args": {"BASE_IMAGE": parameters["base"], **index},
        "labels": {
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version,
            DIGEST: digest,
        },
    }
