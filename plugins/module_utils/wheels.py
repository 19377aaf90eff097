"""Find out which wheels a machine needs, and download them: by lock files, for any of the platforms."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .common import report_progress
from .environments import uv_of
from .errors import SetupError

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOTHING = "Nothing was made."
PARALLEL = 4
POLL_S = 0.2
LOG_LINES = 10
FULL_BYTES = 64 << 20


class DownloadError(SetupError):
    """A wheel can't be had.

    Args:
        message: Which, and why.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, NOTHING)


@dataclass(frozen=True)
class Target:
    """The machines that wheels are for.

    Attributes:
        platform: Operating system and processor, such as `linux/amd64`.
        python: The version of Python, such as `3.12`.
        glibc: The C library that the wheels may ask for, such as `2.28`.
    """

    platform: str
    python: str
    glibc: str

    @property
    def architecture(self) -> str:
        """The processor, as the vendors of programs call it."""
        return self.platform.partition("/")[2]

    @property
    def machine(self) -> str:
        """The processor, as Python calls it."""
        return MACHINES[self.architecture]

    @property
    def newest_python(self) -> str:
        """A version that is newer than any patch release: a package may exclude old ones."""
        return f"{self.python}.99"

    def marker_environments(self) -> Iterator[dict[str, str]]:
        """Yield what markers are evaluated for: the first and the last of Python's patch releases."""
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
        """Return what makes pip take wheels for the target."""
        major, minor = self.glibc.split(".")
        names = [*(f"manylinux_{major}_{older}" for older in range(int(minor), 4, -1)), "manylinux2014", "manylinux1"]
        platforms = [option for name in [*names, "linux"] for option in ("--platform", f"{name}_{self.machine}")]
        return ["--only-binary", ":all:", "--implementation", "cp", "--python-version", self.newest_python, *platforms]

    def uv_options(self) -> list[str]:
        """Return what makes uv resolve for the target."""
        platform = f"{self.machine}-manylinux_{self.glibc.replace('.', '_')}"
        return ["--only-binary", ":all:", "--python-platform", platform, "--python-version", self.newest_python]


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
    """Return the packages of a lock file that the target needs.

    Args:
        lock: The lock file's text, as uv writes it.
        target: The machines.
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
    """Return each package's version once, with all its hashes, sorted by name.

    Args:
        found: The packages of all lock files.
    """
    hashes: dict[tuple[str, str], frozenset[str]] = {}
    for pin in found:
        key = (pin.name, pin.version)
        hashes[key] = hashes.get(key, frozenset()) | pin.hashes
    return [Pin(*key, hashes[key]) for key in sorted(hashes)]


def wheels_of(found: Iterable[Pin], wheels: Path) -> list[str]:
    """Return the names of the wheels of some packages.

    Args:
        found: The packages.
        wheels: The directory with their wheels, and others.
    """
    from packaging.utils import parse_wheel_filename

    wanted = {(pin.name, pin.version) for pin in found}
    parsed = {wheel.name: parse_wheel_filename(wheel.name) for wheel in wheels.iterdir()}
    return sorted(name for name, (package, version, *_) in parsed.items() if (package, str(version)) in wanted)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals wait: a program that was just started is otherwise lost when one comes before it has a name."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Programs:
    """Programs that have ended when this is left as a context.

    Attributes:
        private: A directory for what they write.
    """

    private: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    least_free: int = sys.maxsize

    def __post_init__(self) -> None:
        self.environment = {
            **uv_of("", str(self.private / "cache")).environment,
            "PIP_CONSTRAINT": "",
            "PYTHONUNBUFFERED": "1",  # or the progress comes in lumps
            "TMPDIR": str(self.private),
        }

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            for one in self.running:
                one.kill()
                one.wait()

    def start(self, command: list[str], **streams: Any) -> subprocess.Popen[str]:
        """Start a program.

        Args:
            command: Its command line.
            streams: What subprocess.Popen takes.
        """
        with uninterrupted():
            self.running.append(subprocess.Popen(command, env=self.environment, text=True, **streams))
        return self.running[-1]

    def note_free_space(self) -> int:
        """Return the least that was free on the disk so far: a program that fails frees what it took."""
        self.least_free = min(self.least_free, shutil.disk_usage(self.private).free)
        return self.least_free

    def failure(self, what: str, output: str) -> Exception:
        """Return what a program's complaint comes to; written to a full disk, it may be cut short itself.

        Args:
            what: What failed.
            output: The complaint.
        """
        if os.strerror(errno.ENOSPC) in output or self.note_free_space() < FULL_BYTES:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        tail = "\n".join(output.strip().splitlines()[-LOG_LINES:])
        return DownloadError(f"{what}:\n{tail}")

    def run_uv(self, arguments: list[str], what: str, text: str) -> str:
        """Run uv, and return its output.

        Args:
            arguments: Its arguments.
            what: What failed, if it does.
            text: Its input.

        Raises:
            DownloadError: It failed.
            OSError: The disk is full.
        """
        uv = str(Path(sys.executable).with_name("uv"))
        pipe = subprocess.PIPE
        process = self.start([uv, *arguments], stdin=pipe, stdout=pipe, stderr=pipe)
        output, complaint = process.communicate(text)
        if process.returncode:
            raise self.failure(what, complaint)
        return str(output)


def resolve(programs: Programs, target: Target, lock: Path, dependencies: Iterable[str]) -> list[Pin]:
    """Return the packages that a project needs in an environment, within the versions of its lock file.

    Args:
        programs: What runs uv.
        target: The machines.
        lock: The environment's lock file.
        dependencies: What the project declares.

    Raises:
        DownloadError: They don't fit, or can't be had.
        OSError: The disk is full.
    """
    command = ["pip", "compile", "--quiet", "--no-config", "--generate-hashes", "--no-header", "--no-annotate"]
    command += [*target.uv_options(), "--constraints", str(lock), "-"]
    what = f"The project's dependencies don't fit beside {lock.stem}'s, or can't be had"
    return pins(programs.run_uv(command, what, "\n".join(dependencies)), target)


def download(programs: Programs, target: Target, needed: list[Pin], pip: str, wheels: Path) -> None:
    """Download wheels, whose hashes pip checks.

    Args:
        programs: What runs uv and pip.
        target: The machines.
        needed: The packages, each version once.
        pip: The pip that downloads, as a requirement with hashes.
        wheels: The directory that the wheels are put into.

    Raises:
        DownloadError: One can't be had.
        OSError: The disk is full.
    """
    place = programs.private / "pip"
    install = ["pip", "install", "--quiet", "--no-config", "--no-deps", "--require-hashes", "--target", str(place)]
    programs.run_uv([*install, "--python", sys.executable, "--requirements", "-"], "pip can't be had", pip)
    # A package may be needed at several versions, and one pip takes one.
    count = max(PARALLEL, *Counter(pin.name for pin in needed).values())
    groups = [group for start in range(count) if (group := needed[start::count])]
    logs = [programs.private / f"pip-{number}.log" for number in range(len(groups))]
    running = []
    for group, log in zip(groups, logs, strict=True):
        requirements = log.with_suffix(".txt")
        requirements.write_text("".join(f"{pin.line}\n" for pin in group))
        running.append(_start_pip(programs, target, place / "pip", requirements, log, wheels))
    while any(one.poll() is None for one in running) and not any(one.poll() for one in running):
        begun = sum(log.read_text(errors="replace").count("Collecting ") for log in logs)
        programs.note_free_space()
        report_progress("wheels", begun, len(needed))
        time.sleep(POLL_S)
    for one, log in zip(running, logs, strict=True):
        if one.poll():
            raise programs.failure("The wheels can't be downloaded", log.read_text(errors="replace"))


def _start_pip(
    programs: Programs, target: Target, pip: Path, requirements: Path, log: Path, wheels: Path
) -> subprocess.Popen[str]:
    command = [sys.executable, str(pip), "download", "--no-deps", "--require-hashes", "--no-input", "--no-color"]
    command += ["--progress-bar", "off", "--disable-pip-version-check", *target.pip_options()]
    command += ["--dest", str(wheels), "--requirement", str(requirements)]
    with log.open("wb") as output:
        return programs.start(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
