"""The services' Python environments, each from its hashed lock file.

Each stands in a directory named after a digest of all that went into it, so that one that exists is right, a change
makes a new one beside it, and instances with the same needs share one.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.gaiaflow import locked, read_json, report_progress, write_private

COMPLETE = ".complete"
TELL_S = 0.5
PIP_CONFIGURATIONS = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
SYSTEM_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

# Half of all code is big and seldom or never imported; it compiles itself when it is.
NOT_COMPILED = r"/(tests?|kubernetes|kubernetes_asyncio|databricks|debugpy|fontTools|libcst|narwhals|pygments/lexers)/"


class Failed(Exception):
    """uv could not do it; carries what uv said."""


@dataclass(frozen=True)
class Environment:
    """One environment: what goes into it and where it stands."""

    name: str
    lock: Path
    dependencies: tuple[str, ...]
    directory: Path

    @property
    def site_packages(self) -> str:
        """Where its packages are."""
        return f"{self.directory}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"

    @property
    def complete(self) -> bool:
        """Whether it was made to the end, and nothing of it has gone or become another since."""
        try:
            made = (self.directory / COMPLETE).read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return False
        # The Python that it links to may have been removed, or replaced by an upgrade.
        if not os.access(self.directory / "bin" / "python", os.X_OK):
            return False
        present = files(self.directory)
        return all(present.get(path) == size for size, _, path in (line.partition(" ") for line in made))


def files(directory: Path) -> dict[str, str]:
    """The sizes of all files in an environment by their paths, but for what Python compiles itself."""
    found: dict[str, str] = {}
    todo = [str(directory)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo += [entry.path] * (entry.name != "__pycache__")
                elif entry.is_file(follow_symlinks=False) and entry.name != COMPLETE:
                    found[entry.path[len(str(directory)) + 1 :]] = str(entry.stat(follow_symlinks=False).st_size)
    return found


def project_dependencies(project: str) -> tuple[str, ...]:
    """The dependencies that the project's pyproject.toml declares."""
    path = Path(project) / "pyproject.toml"
    if not project or not path.exists():
        return ()
    try:
        content = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise Failed(f"{path} is not valid TOML: {error}") from error
    return tuple(content.get("project", {}).get("dependencies", []))


def describe(root: Path, lock: Path, dependencies: tuple[str, ...]) -> Environment:
    """The environment of that lock file, in the directory that its content decides."""
    content = "\n".join([sys.version, lock.read_text(), *dependencies])
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return Environment(lock.stem, lock, dependencies, root / f"{lock.stem}-{digest}")


def image_of(name: str, files: Path, dependencies: tuple[str, ...], base_image: str) -> dict[str, Any]:
    """The image of an environment, by whose name it is known whether it is made already.

    Args:
        name: The environment.
        files: What the images are built from.
        dependencies: The project's own.
        base_image: What it stands on.

    Returns:
        What its build must be told: name, dockerfile and args.
    """
    arguments = {"BASE_IMAGE": base_image, "NOT_COMPILED": NOT_COMPILED}
    if dependencies:
        arguments["PROJECT_DEPENDENCIES"] = "\n".join(dependencies)
    dockerfile = files / "images" / f"{name}.Dockerfile"
    sources = [dockerfile, files / "locks" / "uv.txt", files / "locks" / f"{name}.txt"]
    sources += sorted((files / "programs").glob("*.py"))
    content = "\n".join([*(source.read_text() for source in sources), *arguments.values()])
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return {
        "name": f"gaiaflow/{name}:{digest}",
        "dockerfile": str(dockerfile.relative_to(files)),
        "args": arguments,
    }


def pip_setting(name: str) -> str | None:
    """A setting of the system's pip, which uv does not read."""
    if value := os.environ.get(f"PIP_{name.upper()}"):
        return value
    parser = configparser.RawConfigParser()
    parser.read([os.environ.get("PIP_CONFIG_FILE", ""), *(str(Path(path).expanduser()) for path in PIP_CONFIGURATIONS)])
    return parser.get("global", name.replace("_", "-"), fallback=None)


def uv_environment(cache: str) -> dict[str, str]:
    """What uv is told: the user's own settings, and otherwise the mirror and certificates that pip is given."""
    settings = {"UV_CACHE_DIR": cache, "UV_NO_PROGRESS": "1", "UV_LINK_MODE": "hardlink", "UV_HTTP_TIMEOUT": "120"}
    index, certificates = pip_setting("index_url"), pip_setting("cert")
    if index:
        settings["UV_DEFAULT_INDEX"] = index
    if certificates:
        settings["SSL_CERT_FILE"] = certificates
    elif any(Path(bundle).exists() for bundle in SYSTEM_CERTIFICATES):
        settings["UV_SYSTEM_CERTS"] = "true"  # a company's own authority is among them
    return {**settings, **os.environ}


def run_uv(arguments: list[str], environment: dict[str, str], tell: Callable[[int], None] | None = None) -> None:
    """Run uv; its complaint becomes ours.

    Args:
        arguments: The command.
        environment: Its environment.
        tell: Called twice a second with the number of bytes that uv has written.

    Raises:
        Failed: uv failed.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        arguments, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as process:
        while True:
            try:
                _, said = process.communicate(timeout=TELL_S)
                break
            except subprocess.TimeoutExpired:
                if tell:
                    tell(written_by(process.pid))
    if process.returncode:
        raise Failed(said.strip() or f"uv ended with code {process.returncode}")


def written_by(pid: int) -> int:
    """Return how many bytes a process has written, as the kernel counts them; 0 where that can't be known."""
    try:
        counters = Path(f"/proc/{pid}/io").read_text()
    except OSError:
        return 0
    found = re.search(r"^wchar: (\d+)", counters, re.MULTILINE)
    return int(found[1]) if found else 0


class Telling:
    """Tells the display how far the environments are.

    Args:
        names: The environments that are made.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.done = 0
        self.lock = threading.Lock()
        self.tell(", ".join(names))

    def tell(self, item: str) -> None:
        """Tell what is done now."""
        report_progress(item, self.done, len(self.names))

    def size(self, name: str) -> Callable[[int], None]:
        """Return what tells how much of an environment is written."""
        return lambda size: self.tell(f"{name}, {size / 10**6:.0f} MB" if size > 10**6 else name)

    def finish(self, name: str) -> None:
        """Take note that an environment is ready."""
        with self.lock:
            self.done += 1
            self.tell(f"{name} is ready")


def offline(wheels: str) -> list[str]:
    """What makes uv take wheels from a directory and from nowhere else; nothing where no directory is given."""
    return ["--offline", "--no-index", "--find-links", wheels] if wheels else []


def make(environment: Environment, uv: str, settings: dict[str, str], wheels: str, telling: Telling) -> None:
    """Makes the environment; the mark comes last, so that one left half-made by an interrupted run is made anew."""
    shutil.rmtree(environment.directory, ignore_errors=True)
    try:
        fill(environment, uv, settings, wheels, telling)
    except BaseException:
        shutil.rmtree(environment.directory, ignore_errors=True)
        raise


def fill(environment: Environment, uv: str, settings: dict[str, str], wheels: str, telling: Telling) -> None:
    """Installs what belongs into the environment, and marks it as complete by a list of its files."""
    size = telling.size(environment.name)
    python = str(environment.directory / "bin" / "python")
    run_uv([uv, "venv", "--quiet", "--python", sys.executable, str(environment.directory)], settings)
    install = [uv, "pip", "install", "--quiet", "--python", python, *offline(wheels)]
    run_uv([*install, "--require-hashes", "--requirements", str(environment.lock)], settings, size)
    if environment.dependencies:
        telling.tell(f"{environment.name}, the project's dependencies")
        add_project_dependencies(environment, install, settings)
    telling.tell(f"{environment.name}, compiling")
    compile_bytecode(environment, python)
    listed = "".join(f"{one} {path}\n" for path, one in files(environment.directory).items() if "\n" not in path)
    write_private(environment.directory / COMPLETE, listed)


def compile_bytecode(environment: Environment, python: str) -> None:
    """Halves every start; a file that is no Python of this version fails alone, and is no concern of ours.

    A process for each core, with a share each, and not compileall's own pool: that one may hang for ever when it is
    interrupted, and nobody ends it, or frees the lock on the environments, once the wrapper has been killed.
    """
    cores = os.cpu_count() or 1
    # "./" as NOT_COMPILED looks for whole names of directories.
    entries = sorted(f"./{path.name}" for path in Path(environment.site_packages).iterdir())
    command = [python, "-m", "compileall", "-q", "-x", NOT_COMPILED]
    nowhere = subprocess.DEVNULL
    processes = [
        subprocess.Popen(
            [*command, *share], cwd=environment.site_packages, stdin=nowhere, stdout=nowhere, stderr=nowhere
        )
        for share in (entries[core::cores] for core in range(cores))
        if share
    ]
    for process in processes:
        process.wait()


def add_project_dependencies(environment: Environment, install: list[str], settings: dict[str, str]) -> None:
    """Installs what the project needs beside the service's own packages, which stay as locked."""
    try:
        run_uv([*install, "--constraints", str(environment.lock), "--", *environment.dependencies], settings)
    except Failed as error:
        raise Failed(
            f"The project's dependencies do not fit beside {environment.name}'s, or cannot be had:\n{error}"
        ) from error


def make_all(missing: list[Environment], uv: str, settings: dict[str, str], wheels: str) -> None:
    """Makes the environments in parallel."""
    if not missing:
        return
    telling = Telling([one.name for one in missing])

    def make_one(environment: Environment) -> None:
        make(environment, uv, settings, wheels, telling)
        telling.finish(environment.name)

    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(make_one, environment) for environment in missing]:
            future.result()


def remove_unused(root: Path, environments: list[Environment]) -> None:
    """Removes the environments that no instance's definition names any more; none where a definition is broken."""
    used = {environment.directory.name for environment in environments}
    instances = root.parent / "instances"
    for definition in (*instances.glob("*/config/services.json"), *instances.glob("*/config/containers.json")):
        try:
            used.update(Path(path).name for path in read_json(definition).get("environments", {}).values())
        except (OSError, ValueError, AttributeError, TypeError):
            return
    for directory in root.iterdir():
        if directory.is_dir() and directory.name not in used:
            shutil.rmtree(directory)


def describe_all(root: Path, locks: Path, names: Mapping[str, bool], project: str) -> list[Environment]:
    """The environments that an instance needs.

    Args:
        root: The directory of all environments.
        locks: The directory of their lock files.
        names: The environments, and whether each runs the project's code and so needs its dependencies.
        project: The project's directory.

    Raises:
        Failed: The project's pyproject.toml cannot be read.
    """
    dependencies = project_dependencies(project)
    return [
        describe(root, locks / f"{name}.txt", dependencies if runs_project else ())
        for name, runs_project in names.items()
    ]


def ensure(root: Path, environments: list[Environment], uv: str, cache: str, wheels: str = "") -> None:
    """Makes those that are missing, and removes what no instance uses any more.

    Args:
        root: The directory of all environments.
        environments: Those that are needed.
        uv: The uv program.
        cache: uv's cache directory, unless UV_CACHE_DIR is set.
        wheels: A directory of wheels, to install from them alone and without a network.

    Raises:
        Failed: uv could not make one; what it said is the message.
    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(root / ".lock"):
        missing = [environment for environment in environments if not environment.complete]
        make_all(missing, uv, uv_environment(cache), wheels)
        remove_unused(root, environments)
