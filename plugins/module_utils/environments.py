"""The services' Python environments, each from its hashed lock file.

Each stands in a directory named after a digest of all that went into it, so that one that exists is right, a change
makes a new one beside it, and instances with the same needs share one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .common import COMPLETE, locked, read_json, report_progress, write_private
from .errors import SetupError
from .package_sources import Unreadable, uv_arguments, uv_settings
from .pyproject import Declared, ProjectFileError, declared, local_path, python_version
from .shell import user_environment

TELL_S = 0.5

# Half of all code is big and seldom or never imported; it compiles itself when it is.
NOT_COMPILED = r"/(tests?|kubernetes|kubernetes_asyncio|databricks|debugpy|fontTools|libcst|narwhals|pygments/lexers)/"


class EnvironmentFailedError(SetupError):
    """A Python environment can't be made.

    Args:
        message: Why.
        hint: What to do next, where it isn't what uv's complaints ask for.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        usual = (
            "A package that cannot be downloaded needs the network or a mirror (pip's and uv's settings are used)."
            " A conflict needs another version in the project's pyproject.toml. Nothing that ran was changed."
        )
        super().__init__(message, hint or usual)


@dataclass(frozen=True)
class Environment:
    """One environment: what goes into it and where it stands."""

    name: str
    lock: Path
    project: Path | None
    declared: Declared
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
        return has_files(self.directory, made)


def has_files(directory: Path, made: list[str]) -> bool:
    """Whether all files are there, and have their sizes.

    Each is asked for by its name: with tens of thousands, a look at all directories takes twice as long.

    Args:
        directory: Where they are.
        made: A line for each: its size and its path.
    """
    stat, root = os.stat, os.open(directory, os.O_RDONLY)
    try:
        return all(
            stat(path, dir_fd=root, follow_symlinks=False).st_size == int(size)
            for size, _, path in (line.partition(" ") for line in made)
        )
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    finally:
        os.close(root)


def files(directory: Path) -> dict[str, str]:
    """Return the sizes of all files in an environment by their paths, but for what Python compiles itself."""
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


def needs_of(project: str, *, in_images: bool = False) -> Declared:
    """Return what the project needs.

    Args:
        project: The project's directory, or nothing.
        in_images: Whether it is installed into images, which have a Python of their own and don't see this machine.

    Raises:
        EnvironmentFailedError: A file of the project is wrong.
    """
    if not project or not Path(project).is_dir():
        return Declared()
    try:
        needs = declared(Path(project), "" if in_images else python_version())
    except ProjectFileError as error:
        raise EnvironmentFailedError(
            str(error), "Correct the file. Nothing was installed, and what runs goes on running."
        ) from error
    local = [one for one in needs.requirements if local_path(one)] if in_images else []
    if local:
        needs.requirements = [one for one in needs.requirements if one not in local]
        needs.warnings.append(
            f"Not in the images: {', '.join(local)}. An image's build sees no directory of this machine; use a package "
            "index or a Git repository, or run natively."
        )
    return needs


def describe(root: Path, lock: Path, project: str, needs: Declared) -> Environment:
    """Return the environment of that lock file, in the directory that its content decides."""
    indexes = [needs.default_index, *needs.indexes] if needs.default_index or needs.indexes else []
    content = "\n".join([sys.version, lock.read_text(), *needs.requirements, *indexes, *filter(None, [needs.digest])])
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return Environment(lock.stem, lock, Path(project) if project else None, needs, root / f"{lock.stem}-{digest}")


def image_of(name: str, files: Path, dependencies: Sequence[str], base_image: str) -> dict[str, Any]:
    """Return the image of an environment, by whose name it is known whether it is made already.

    Args:
        name: The environment.
        files: What the images are built from.
        dependencies: The project's own.
        base_image: What it stands on.

    Returns:
        What its build must be told: name, dockerfile and args.
    """
    arguments = {"BASE_IMAGE": base_image, "ENVIRONMENT": name, "NOT_COMPILED": NOT_COMPILED}
    if dependencies:
        arguments["PROJECT_DEPENDENCIES"] = "\n".join(dependencies)
    dockerfile = files / "images" / "environment.Dockerfile"
    sources = [dockerfile, files / "locks" / "uv.txt", files / "locks" / f"{name}.txt"]
    sources += sorted((files / "programs").glob("*.py"))
    content = "\n".join([*(source.read_text() for source in sources), *arguments.values()])
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return {
        "name": f"gaiaflow/{name}:{digest}",
        "dockerfile": str(dockerfile.relative_to(files)),
        "args": arguments,
    }


@dataclass(frozen=True)
class Uv:
    """How uv is run.

    Attributes:
        program: The program.
        environment: Its environment: the user's own settings, and those of the machine's pip.
        options: What tells it where packages come from and no variable does.
    """

    program: str
    environment: dict[str, str]
    options: tuple[str, ...] = ()


def uv_of(program: str, cache: str, wheels: str = "") -> Uv:
    """Return how uv is run.

    Args:
        program: The program.
        cache: Its cache, unless UV_CACHE_DIR is set.
        wheels: A directory of wheels, to take packages from there and nowhere else.

    Raises:
        EnvironmentFailedError: pip's configuration can't be read.
    """
    settings = {"UV_CACHE_DIR": cache, "UV_NO_PROGRESS": "1", "UV_LINK_MODE": "hardlink", "UV_HTTP_TIMEOUT": "120"}
    try:
        user = user_environment()
        told, options = uv_settings(user), uv_arguments(user)
    except (Unreadable, ValueError) as error:
        raise EnvironmentFailedError(str(error), "Correct it, or name another one in PIP_CONFIG_FILE.") from error
    if wheels:
        options = ["--offline", "--no-index", "--find-links", wheels]
    return Uv(program, {**settings, **told, **os.environ}, tuple(options))


def run_uv(
    arguments: list[str],
    environment: dict[str, str],
    tell: Callable[[int], None] | None = None,
    directory: Path = Path("/"),
) -> None:
    """Run uv; its complaint becomes ours.

    Args:
        arguments: The command.
        environment: Its environment.
        tell: Called twice a second with the number of bytes that uv has written.
        directory: Where it runs: it reads the settings of a project there.

    Raises:
        EnvironmentFailedError: uv failed.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        arguments,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
    ) as process:
        while True:
            try:
                _, said = process.communicate(timeout=TELL_S)
                break
            except subprocess.TimeoutExpired:
                if tell:
                    tell(written_by(process.pid))
    if process.returncode:
        raise EnvironmentFailedError(said.strip() or f"uv ended with code {process.returncode}")


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


def make(environment: Environment, uv: Uv, telling: Telling) -> None:
    """Make the environment.

    Args:
        environment: The environment.
        uv: How uv is run.
        telling: Tells the display how far it is.

    Raises:
        EnvironmentFailedError: uv failed; nothing of the environment is left.
    """
    if (environment.directory / COMPLETE).exists():
        # It was whole once. Its files are links into uv's cache, so what changed one of them changed the cache's, too.
        uv = replace(uv, environment={**uv.environment, "UV_NO_CACHE": "1"})
    shutil.rmtree(environment.directory, ignore_errors=True)
    try:
        fill(environment, uv, telling)
    except BaseException:
        shutil.rmtree(environment.directory, ignore_errors=True)
        raise


def fill(environment: Environment, uv: Uv, telling: Telling) -> None:
    """Install what belongs into the environment, and mark it as complete by a list of its files."""
    size = telling.size(environment.name)
    python = str(environment.directory / "bin" / "python")
    run_uv([uv.program, "venv", "--quiet", "--python", sys.executable, str(environment.directory)], uv.environment)
    install = [uv.program, "pip", "install", "--quiet", "--python", python, *uv.options]
    run_uv([*install, "--require-hashes", "--requirements", str(environment.lock)], uv.environment, size)
    if environment.declared.requirements:
        telling.tell(f"{environment.name}, the project's dependencies")
        add_project_dependencies(environment, install, uv)
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


def add_project_dependencies(environment: Environment, install: list[str], uv: Uv) -> None:
    """Install what the project needs beside the service's own packages, which stay as locked."""
    needs = environment.declared
    settings = dict(uv.environment)
    if needs.default_index and not os.environ.get("UV_DEFAULT_INDEX"):
        settings["UV_DEFAULT_INDEX"] = needs.default_index
    if needs.indexes:
        settings["UV_INDEX"] = " ".join([*needs.indexes, *settings.get("UV_INDEX", "").split()])
    # By a file: an address may hold a password, which has no place on a command line.
    listed = environment.directory / "project.txt"
    listed.write_text("".join(f"{one}\n" for one in needs.requirements))
    command = [*install, "--constraints", str(environment.lock), "--requirements", str(listed)]
    try:
        run_uv(command, settings, directory=environment.project or Path("/"))
    except EnvironmentFailedError as error:
        raise EnvironmentFailedError(
            f"The project's dependencies do not fit beside {environment.name}'s, or cannot be had:\n{error}"
        ) from error


def make_all(missing: list[Environment], uv: Uv) -> None:
    """Make the environments in parallel."""
    if not missing:
        return
    telling = Telling([one.name for one in missing])

    def make_one(environment: Environment) -> None:
        make(environment, uv, telling)
        telling.finish(environment.name)

    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(make_one, environment) for environment in missing]:
            future.result()


def remove_unused(root: Path, environments: list[Environment]) -> None:
    """Remove the environments that no instance's definition names any more; none where a definition is broken."""
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
    """Return the environments that an instance needs.

    Args:
        root: The directory of all environments.
        locks: The directory of their lock files.
        names: The environments, and whether each runs the project's code and so needs its dependencies.
        project: The project's directory.

    Raises:
        EnvironmentFailedError: The project's pyproject.toml cannot be read.
    """
    needs = needs_of(project)
    return [
        describe(root, locks / f"{name}.txt", *((project, needs) if runs_project else ("", Declared())))
        for name, runs_project in names.items()
    ]


def ensure(root: Path, environments: list[Environment], uv: str, cache: str, wheels: str = "") -> None:
    """Make those that are missing, and remove what no instance uses any more.

    Args:
        root: The directory of all environments.
        environments: Those that are needed.
        uv: The uv program.
        cache: uv's cache directory, unless UV_CACHE_DIR is set.
        wheels: A directory of wheels, to install from them alone and without a network.

    Raises:
        EnvironmentFailedError: uv could not make one; what it said is the message.
    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(root / ".lock"):
        missing = [environment for environment in environments if not environment.complete]
        make_all(missing, uv_of(uv, cache, wheels))
        remove_unused(root, environments)
