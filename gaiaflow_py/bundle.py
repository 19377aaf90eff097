"""Packing all that an installation downloads into one file, for machines without a network."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gaiaflow_py import __version__, progress
from gaiaflow_py.environment import passed_on
from gaiaflow_py.errors import InputError, SetupError
from gaiaflow_py.paths import content_root

PLATFORMS = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
"""The platforms that can be packed for, and what Python calls their processors."""

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The versions of Python that can be packed for."""

GLIBC = 28
"""The C library that the wheels may ask for, 2.28: Debian 10, RHEL 8 and Ubuntu 18.10 have it, and all newer ones."""

PROGRAMS = ("minikube", "kubectl")
LAUNCHER_PACKAGES = ["python3", "python3-venv"]
PRIVATE = ".making"
PARALLEL = 4
POLL_S = 0.2
TIMEOUT_S = 30
CHUNK = 1 << 20
LOG_LINES = 10
FULL_BYTES = 64 << 20
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Target:
    """What a bundle is for.

    Attributes:
        platform: Operating system and processor, as in PLATFORMS.
        python: The version of Python, as in PYTHONS.
    """

    platform: str
    python: str

    @property
    def machine(self) -> str:
        """The processor, as Python calls it."""
        return PLATFORMS[self.platform]

    @property
    def newest_python(self) -> str:
        """A version that is newer than any patch release: a package may exclude old ones."""
        return f"{self.python}.99"

    def marker_environments(self) -> Iterator[dict[str, str]]:
        """Returns what markers are evaluated for: the first and the last of Python's patch releases."""
        for full in (f"{self.python}.0", self.newest_python):
            yield {
                "implementation_name": "cpython",
                "os_name": "posix",
                "platform_machine": self.machine,
                "platform_python_implementation": "CPython",
                "platform_system": "Linux",
                "python_full_version": full,
                "python_version": self.python,
                "sys_platform": "linux",
            }

    def pip_options(self) -> list[str]:
        """Returns what makes pip take wheels for the target."""
        names = [*(f"manylinux_2_{minor}" for minor in range(GLIBC, 4, -1)), "manylinux2014", "manylinux1", "linux"]
        platforms = [option for name in names for option in ("--platform", f"{name}_{self.machine}")]
        return ["--only-binary", ":all:", "--implementation", "cp", "--python-version", self.newest_python, *platforms]

    def uv_options(self) -> list[str]:
        """Returns what makes uv resolve for the target."""
        platform = f"{self.machine}-manylinux_2_{GLIBC}"
        return ["--only-binary", ":all:", "--python-platform", platform, "--python-version", self.newest_python]


def this_machine() -> Target:
    """Returns the target that a bundle has when nothing else is said."""
    machine = os.uname().machine
    platform = next((name for name, known in PLATFORMS.items() if known == machine), "linux/amd64")
    return Target(platform, f"{sys.version_info.major}.{sys.version_info.minor}")


@dataclass
class Packed:
    """A bundle that was made.

    Attributes:
        file: Where it is.
        size: Its size in bytes.
        manifest: What it tells about itself.
    """

    file: Path
    size: int
    manifest: dict[str, Any]


def create(
    file: Path,
    target: Target,
    *,
    project: Path | None = None,
    variables: Mapping[str, Any] | None = None,
    cluster: bool = False,
    strict: bool = False,
    as_json: bool = False,
) -> Packed:
    """Makes a bundle, whole or not at all.

    Args:
        file: The file to make.
        target: What it is for.
        project: A project whose dependencies are packed, too.
        variables: What replaces the variables in versions.yml.
        cluster: Pack what `cluster --start` downloads, too.
        strict: A program that can't be had is an error.
        as_json: A program reads the output.

    Returns:
        What was made.

    Raises:
        InputError: The file can't be made there, or the project can't be read.
        SetupError: A wheel can't be had, the disk is full, a download isn't what it should be.
    """
    try:
        with _private_directory(file) as private, progress.Work(Path(private) / "steps", json=as_json) as display:
            packer = _Packer(file, target, Path(private), variables or {}, display)
            return packer.pack(project, cluster=cluster, strict=strict)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError(
                f"The disk of {file.parent} is full.", "Nothing was made; free some space first."
            ) from error
        raise InputError(f"The bundle '{file}' can't be made: {error.strerror or error}.") from error


@contextmanager
def _private_directory(file: Path) -> Iterator[str]:
    """Makes a directory beside the file, and removes it; and those of killed runs, which nobody holds any more."""
    for left in file.parent.glob(f".{glob.escape(file.name)}.*{PRIVATE}"):
        with _held(left) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)  # its programs may not have ended yet
    new = tempfile.TemporaryDirectory(prefix=f".{file.name}.", suffix=PRIVATE, dir=file.parent)
    with new as private, _held(Path(private)):
        yield private


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Lets signals wait: a program that was just started is otherwise lost when one comes before it has a name."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _held(directory: Path) -> Iterator[bool]:
    """Holds a directory as long as this process lives; tells whether nobody else does."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def read(file: Path) -> dict[str, Any]:
    """Reads what a bundle tells about itself.

    Args:
        file: The bundle.

    Returns:
        Its manifest, and its digest.

    Raises:
        InputError: The file isn't a bundle.
    """
    from ansible_collections.gaiaflow.setup.plugins.module_utils.bundle import BundleError
    from ansible_collections.gaiaflow.setup.plugins.module_utils.bundle import read as read_bundle

    try:
        bundle = read_bundle(file)
    except BundleError as error:
        raise InputError(str(error)) from error
    return {"digest": bundle.digest, **bundle.manifest}


@dataclass(frozen=True)
class Pin:
    """One package that is needed, at one version."""

    name: str
    version: str
    hashes: frozenset[str]

    @property
    def line(self) -> str:
        """As a requirement for pip."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={one}" for one in sorted(self.hashes))])


def pins(lock: str, target: Target) -> list[Pin]:
    """Returns the packages of a lock file that the target needs.

    Args:
        lock: The lock file's text, as uv writes it.
        target: What is packed for.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found = []
    for entry in re.split(r"\n(?=\S)", lock.replace("\\\n", " ")):
        text, *hashes = entry.split(" --hash=")
        if not text.strip() or text.startswith("#"):
            continue
        requirement = Requirement(text.strip())
        if not requirement.marker or any(map(requirement.marker.evaluate, target.marker_environments())):
            version = str(requirement.specifier).removeprefix("==")
            found.append(Pin(canonicalize_name(requirement.name), version, frozenset(map(str.strip, hashes))))
    return found


def merged(found: Iterable[Pin]) -> list[Pin]:
    """Returns each package's version once, with all its hashes, sorted by name.

    Args:
        found: The packages of all lock files.
    """
    hashes: dict[tuple[str, str], frozenset[str]] = {}
    for pin in found:
        key = (pin.name, pin.version)
        hashes[key] = hashes.get(key, frozenset()) | pin.hashes
    return [Pin(*key, hashes[key]) for key in sorted(hashes)]


@dataclass
class _Packer:
    """Makes one bundle in a private directory."""

    file: Path
    target: Target
    private: Path
    variables: Mapping[str, Any]
    display: progress.Work
    missing: list[dict[str, str]] = field(default_factory=list)
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    least_free: int = sys.maxsize

    def __post_init__(self) -> None:
        self.contents = self.private / "contents"
        self.wheels = self.contents / "wheels"
        self.programs = self.contents / "programs"
        for directory in (self.wheels, self.programs):
            directory.mkdir(parents=True)
        self.versions = {**_yaml("inventory/group_vars/all/versions.yml"), **self.variables}
        from ansible_collections.gaiaflow.setup.plugins.module_utils.environments import uv_of

        uv = uv_of("", str(self.private / "cache")).environment
        self.environment = {
            **passed_on(os.environ),
            **{name: value for name, value in uv.items() if os.environ.get(name) != value},
            "PIP_CONSTRAINT": "",
            "PYTHONUNBUFFERED": "1",  # or the progress comes in lumps
            "TMPDIR": str(self.private),
        }

    def pack(self, project: Path | None, *, cluster: bool, strict: bool) -> Packed:
        """Collects everything, and writes the file."""
        try:
            self._collect(project, cluster=cluster, strict=strict)
        finally:
            self._end_programs()
        self.display.begin("Writing the bundle")
        return self._write()

    def _collect(self, project: Path | None, *, cluster: bool, strict: bool) -> None:
        command_line, services = self._locks()
        self.display.begin("Resolving the projects' dependencies")
        projects = list(self._project_pins(project))
        self.display.begin("Wheels")
        self._download_wheels(merged([*command_line, *services, *projects]))
        self._list_for_launcher(command_line)
        self.display.begin("Programs")
        for name in PROGRAMS:
            self._download_program(name)
        if cluster:
            self.display.begin("Cluster")
            self._pack_cluster()
        if strict and self.missing:
            what = "; ".join(f"{one['component']}: {one['reason']}" for one in self.missing)
            raise SetupError(f"Not everything can be had (--strict): {what}", "Nothing was made.")

    def _start(self, command: list[str], **streams: Any) -> subprocess.Popen[str]:
        """Starts a program that ends with this one, at the latest."""
        with _uninterrupted():
            self.running.append(subprocess.Popen(command, env=self.environment, text=True, **streams))
        return self.running[-1]

    def _end_programs(self) -> None:
        with _uninterrupted():
            for one in self.running:
                one.kill()
                one.wait()

    def _locks(self) -> tuple[list[Pin], list[Pin]]:
        cli = content_root() / "requirements" / "cli.txt"
        if not cli.exists():
            self._miss(
                "the command line's packages", f"this installation has no {cli.name}; make the bundle in a checkout"
            )
        command_line = pins(cli.read_text(), self.target) if cli.exists() else []
        locks = sorted((content_root() / "roles" / "mlops" / "files" / "locks").glob("*.txt"))
        return command_line, [pin for lock in locks for pin in pins(lock.read_text(), self.target)]

    def _project_pins(self, project: Path | None) -> Iterator[Pin]:
        """What the example project and the user's own need, in each environment that runs a project's code."""
        from ansible_collections.gaiaflow.setup.plugins.module_utils import environments
        from gaiaflow_py.catalogue import environments as of_services
        from gaiaflow_py.project import generate

        example = generate(content_root() / "template", self.private / "example", {}, ask=False)
        with_project = [name for name, runs_project in of_services().items() if runs_project]
        for directory in filter(None, (example, project)):
            try:
                dependencies = environments.needs_of(str(directory)).requirements
            except environments.EnvironmentFailedError as error:
                raise InputError(str(error)) from error
            for name in with_project if dependencies else ():
                self.display.step(item=f"{directory.name} in {name}")
                yield from self._resolve(name, dependencies)

    def _resolve(self, environment: str, dependencies: Iterable[str]) -> list[Pin]:
        lock = content_root() / "roles" / "mlops" / "files" / "locks" / f"{environment}.txt"
        command = ["pip", "compile", "--quiet", "--no-config", "--generate-hashes", "--no-header", "--no-annotate"]
        command += [*self.target.uv_options(), "--constraints", str(lock), "-"]
        what = f"The project's dependencies don't fit beside {environment}'s, or can't be had"
        return pins(self._uv(command, what, "\n".join(dependencies)), self.target)

    def _uv(self, arguments: list[str], what: str, text: str) -> str:
        uv = str(Path(sys.executable).with_name("uv"))
        pipe = subprocess.PIPE
        process = self._start([uv, *arguments], stdin=pipe, stdout=pipe, stderr=pipe)
        output, complaint = process.communicate(text)
        if process.returncode:
            raise self._failure(what, complaint)
        return output

    def _free(self) -> int:
        """The least that was free on the disk so far: a program that fails frees what it took."""
        self.least_free = min(self.least_free, shutil.disk_usage(self.private).free)
        return self.least_free

    def _failure(self, what: str, output: str) -> Exception:
        """What a program's complaint comes to; written to a full disk, it may be cut short itself."""
        if os.strerror(errno.ENOSPC) in output or self._free() < FULL_BYTES:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        tail = "\n".join(output.strip().splitlines()[-LOG_LINES:])
        return SetupError(f"{what}:\n{tail}", "Nothing was made.")

    def _download_wheels(self, needed: list[Pin]) -> None:
        pip = self.private / "pip"
        install = ["pip", "install", "--quiet", "--no-config", "--no-deps", "--require-hashes", "--target", str(pip)]
        self._uv(
            [*install, "--python", sys.executable, "--requirements", "-"],
            "pip can't be had",
            self.versions["bundle_pip"],
        )
        # A package may be needed at several versions, and one pip takes one.
        count = max(PARALLEL, *Counter(pin.name for pin in needed).values())
        groups = [group for start in range(count) if (group := needed[start::count])]
        logs = [self.private / f"pip-{number}.log" for number in range(len(groups))]
        running = [self._start_pip(pip / "pip", group, log) for group, log in zip(groups, logs, strict=True)]
        while any(one.poll() is None for one in running) and not any(one.poll() for one in running):
            begun = sum(log.read_text(errors="replace").count("Collecting ") for log in logs)
            self._free()
            self.display.step(begun, len(needed), "wheels")
            time.sleep(POLL_S)
        for one, log in zip(running, logs, strict=True):
            if one.poll():
                raise self._failure("The wheels can't be downloaded", log.read_text(errors="replace"))

    def _start_pip(self, pip: Path, group: list[Pin], log: Path) -> subprocess.Popen[str]:
        requirements = log.with_suffix(".txt")
        requirements.write_text("".join(f"{pin.line}\n" for pin in group))
        command = [sys.executable, str(pip), "download", "--no-deps", "--require-hashes", "--no-input", "--no-color"]
        command += ["--progress-bar", "off", "--disable-pip-version-check", *self.target.pip_options()]
        command += ["--dest", str(self.wheels), "--requirement", str(requirements)]
        with log.open("wb") as output:
            return self._start(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def _list_for_launcher(self, command_line: list[Pin]) -> None:
        """The launcher is a shell script: it unpacks what it needs by a list of names."""
        from packaging.utils import parse_wheel_filename

        wanted = {(pin.name, pin.version) for pin in command_line}
        names = sorted(
            f"wheels/{wheel.name}"
            for wheel in self.wheels.iterdir()
            if (parsed := parse_wheel_filename(wheel.name)) and (parsed[0], str(parsed[1])) in wanted
        )
        (self.contents / "launcher.txt").write_text("".join(f"{name}\n" for name in names))

    def _download_program(self, name: str) -> None:
        architecture = self.target.platform.partition("/")[2]
        url = _rendered(self.versions[f"{name}_url"], self.versions).replace("{arch}", architecture)
        component = f"{name} {self.versions[f'{name}_version']}"
        self.display.step(item=component)
        path = self.programs / name
        try:
            found = _fetch(url, path)
        except _Unreachable as error:
            path.unlink(missing_ok=True)
            self._miss(component, str(error))
            return
        wanted = self.versions[f"{name}_sha256"][architecture]
        if found != wanted:
            raise SetupError(f"{url} is not {component}: its sha256 is {found} and not {wanted}.", "Nothing was made.")
        path.chmod(0o755)

    def _pack_cluster(self) -> None:
        """Takes what Minikube downloads, from its own cache, and the images that the engine has."""
        component, minikube = "the cluster", shutil.which("minikube")
        if self.target.platform != this_machine().platform:
            self._miss(component, f"it is packed for this machine's platform only, and not for {self.target.platform}")
            return
        if not minikube or not shutil.which("docker"):
            self._miss(component, "Minikube and a Docker engine are needed to pack it (gaiaflow-setup workstation)")
            return
        directory = self.contents / "cluster"
        directory.mkdir()
        home = Path(os.environ.get("MINIKUBE_HOME") or Path.home())
        home = home if home.name == ".minikube" else home / ".minikube"
        self.display.step(item="what Minikube downloads")
        node = self._download_cluster(minikube, home)
        with tarfile.open(directory / "minikube-cache.tar", "w") as tar:
            for path in sorted(path for path in (home / "cache").rglob("*") if path.is_file() and path.stat().st_size):
                with path.open("rb") as content:
                    name = str(path.relative_to(home / "cache"))
                    _add(tar, name, content, path.stat().st_size, path.stat().st_mode)
        registry = str(self.versions["registry_image"])
        self.display.step(item="images")
        self._run(["docker", "image", "inspect", registry], "") or self._run(["docker", "pull", registry], "")
        images = [one for one in (node, registry) if self._run(["docker", "image", "inspect", one], "")]
        if registry not in images:
            self._miss("the registry beside the cluster", f"the image {registry} can't be had")
        if images:
            self._run(
                ["docker", "save", "--output", str(directory / "images.tar"), *images], "The images can't be packed"
            )

    def _download_cluster(self, minikube: str, home: Path) -> str:
        """Has Minikube download what it needs, and returns its node's image."""
        profile = "gaiaflow-bundle"
        self.environment["KUBECONFIG"] = str(self.private / "kubeconfig")
        command = [
            minikube,
            "start",
            "--download-only",
            f"--profile={profile}",
            "--driver=docker",
            "--interactive=false",
        ]
        command += [] if os.environ.get("MINIKUBE_CONTAINER_RUNTIME") else ["--container-runtime=containerd"]
        version = f"--kubernetes-version=v{self.versions['kubernetes_version']}"
        command += [version, *(["--force"] if os.geteuid() == 0 else [])]
        try:
            self._run(command, "Minikube can't download what a cluster needs")
            kept = json.loads((home / "profiles" / profile / "config.json").read_text())
            # Without the digest, which an image that was saved and loaded doesn't have.
            return str(kept["KicBaseImage"]).partition("@")[0]
        finally:
            self._run([minikube, "delete", f"--profile={profile}"], "")

    def _run(self, command: list[str], failure: str) -> bool:
        """Runs a program to its end; tells whether it ended well where no message says that it must."""
        process = self._start(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate()
        if process.returncode and failure:
            raise self._failure(failure, output)
        return process.returncode == 0

    def _miss(self, component: str, reason: str) -> None:
        self.missing.append({"component": component, "reason": reason})

    def _write(self) -> Packed:
        paths = sorted(path for path in self.contents.rglob("*") if path.is_file())
        from ansible_collections.gaiaflow.setup.plugins.module_utils.bundle import FORMAT

        manifest = {
            "format": FORMAT,
            "gaiaflow_setup": __version__,
            "platform": self.target.platform,
            "python": self.target.python,
            "versions": {
                name: self.versions[f"{name}_version"] for name in PROGRAMS if (self.programs / name).exists()
            },
            "missing": self.missing,
            "packages": system_packages(),
            "files": {str(path.relative_to(self.contents)): _described(path) for path in paths},
        }
        new = self.private / "bundle.tar"
        with tarfile.open(new, "w") as tar:
            _add(tar, "manifest.json", io.BytesIO(text := json.dumps(manifest, indent=1).encode()), len(text))
            for path in paths:
                with path.open("rb") as content:
                    _add(tar, str(path.relative_to(self.contents)), content, path.stat().st_size, path.stat().st_mode)
                path.unlink()  # or the disk must hold everything twice
        new.replace(self.file)
        return Packed(self.file, self.file.stat().st_size, manifest)


class _Unreachable(Exception):
    """A download can't be had here and now."""


def _fetch(url: str, path: Path) -> str:
    """Downloads a file, as the roles do, and returns its sha256."""
    from ansible_collections.gaiaflow.setup.plugins.module_utils import site

    digest = hashlib.sha256()
    try:
        response = site.opened(url, TIMEOUT_S)
    except (site.RefusedError, site.UnreachableError) as error:
        raise _Unreachable(str(error)) from error
    with response, path.open("wb") as file:
        while chunk := _read(url, response):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _read(url: str, response: Any) -> bytes:
    try:
        return bytes(response.read(CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise _Unreachable(f"{url} fell silent ({error})") from error


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int, mode: int = 0o644) -> None:
    """Adds a file without owner and time: the same contents make the same bundle."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode & 0o777
    tar.addfile(member, content)


def _rendered(text: str, variables: Mapping[str, Any]) -> str:
    """Fills in variables that may refer to one another, as Ansible does."""
    from jinja2 import ChainableUndefined, Environment

    environment = Environment(undefined=ChainableUndefined, autoescape=False)
    for _ in range(10):
        if "{{" not in text:
            break
        text = environment.from_string(text).render(variables)
    return text


def _yaml(name: str) -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load((content_root() / name).read_text()) or {})


def system_packages() -> dict[str, Any]:
    """Returns the names of the distribution's packages that the roles install, by the variable that holds them.

    A variable of one distribution has that one's name behind its own.
    """
    found: dict[str, Any] = {"launcher": LAUNCHER_PACKAGES}
    for path in sorted((content_root() / "roles").glob("*/*/*.yml")):
        if path.parent.name in ("defaults", "vars"):
            where = "" if path.stem == "main" else f" ({path.stem})"
            for name, value in _yaml(str(path.relative_to(content_root()))).items():
                if name.endswith(("_packages", "_programs")) and value and not isinstance(value, str):
                    found[f"{name}{where}"] = value
    return found
