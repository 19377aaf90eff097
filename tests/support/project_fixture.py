"""Projects made from the template, and an Airflow to run them in."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parents[1]
LOCK = ROOT / "roles" / "mlops" / "files" / "locks" / "airflow.txt"
ENVIRONMENTS = ROOT / ".cache" / "test-environments"


def cookiecutter(output: Path, *options: str, **answers: str) -> subprocess.CompletedProcess[str]:
    """Run cookiecutter on the template as a user would, and return how it went."""
    command = [sys.executable, "-m", "cookiecutter", str(ROOT / "template"), "--no-input", "-o", str(output), *options]
    command += [f"{name}={value}" for name, value in answers.items()]
    # Cookiecutter keeps the last answers in the home directory.
    environment = {**os.environ, "HOME": str(output)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def generate(output: Path, folder: str, **answers: str) -> Path:
    """Make a project and return its folder, which must be the given one."""
    output.mkdir(parents=True, exist_ok=True)
    done = cookiecutter(output, **answers)
    assert done.returncode == 0, done.stderr
    assert (output / folder).is_dir(), sorted(path.name for path in output.iterdir())
    return output / folder


@functools.cache
def airflow_python() -> Path:
    """Return a Python with Airflow, the dependencies of a generated project, and pytest.

    GAIAFLOW_TEST_AIRFLOW_PYTHON names one; otherwise it is built once from the stack's lock file, with that file as
    constraint for the project's dependencies, as the stack does it.
    """
    if given := os.environ.get("GAIAFLOW_TEST_AIRFLOW_PYTHON"):
        return Path(given)
    pyproject = ROOT / "template" / "{{cookiecutter.project_folder}}" / "pyproject.toml"
    wanted = hashlib.sha256(sys.version.encode() + LOCK.read_bytes() + pyproject.read_bytes()).hexdigest()[:16]
    environment = ENVIRONMENTS / f"airflow-{wanted}"
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / "complete").exists():
            build(environment)
            (environment / "complete").touch()
    return environment / "bin" / "python"


def build(environment: Path) -> None:
    uv("venv", "--quiet", "--clear", "--python", sys.executable, environment)
    project = generate(environment / "project", "dependencies", project_name="Dependencies")
    install: list[str | Path] = ["--quiet", "--compile-bytecode", "--python", environment / "bin" / "python"]
    uv("pip", "sync", *install, LOCK)
    uv("pip", "install", *install, "-c", LOCK, "-r", project / "pyproject.toml", "pytest")


def uv(*arguments: str | Path) -> None:
    done = subprocess.run(["uv", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.args}\n{done.stderr}"


def run_airflow(
    arguments: list[str | Path], home: Path, path: list[Path], **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python where Airflow is, with an Airflow home of its own, and return how it went.

    Args:
        arguments: of Python.
        home: the directory for Airflow's settings and database.
        path: folders to import from.
        variables: more environment.
    """
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": "kubernetes://",
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        **variables,
    }
    return subprocess.run(
        [airflow_python(), *arguments], env=environment, cwd=home, capture_output=True, text=True, check=False
    )
