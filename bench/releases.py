"""A release of a changed line of code, with its image and its DAGs."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

from companies import AUTHOR, CDR, NAME, PACKAGE, REPOSITORY, Company, lacking, make
from git_over_http import git

from bench.measure import CHECKOUT, Bench, BenchError, Row, run, seconds, turns, yes_no

ROUNDS = 3

NOTES = f"""\
- 24: {ROUNDS} rounds, each with another line of code and another version, to a registry with a login and to git's own
  HTTP server: `release all`, with all that it checks. The peer is `docker build`, `docker push`,
  and `git clone`, `commit` and `push` of the DAGs with the image's digest."""


def begin(bench: Bench) -> Company:
    """Make a registry, a git server with the central DAG repository, and a project."""
    if reason := lacking():
        raise BenchError(reason)
    tools = Path(run([str(CHECKOUT / "tests/release/build")], bench.environment).output)
    directory = bench.root / "company"
    directory.mkdir()
    company = make(tools, directory, bench.cleanup)
    bench.cleanup.callback(company.remove_images)
    user, password = next(iter(company.registry.logins.items()))
    login = ["docker", "login", company.registry.host, "--username", user, "--password-stdin"]
    config = {**bench.environment, "DOCKER_CONFIG": str(directory / "docker")}
    subprocess.run(login, input=password, text=True, env=config, check=True, capture_output=True)
    return company


def change(company: Company, number: int) -> str:
    """Commit one more line of code as a version of its own; return the version."""
    with (company.project / "src" / PACKAGE / "starter.py").open("a") as code:
        code.write(f"\nCHANGED = {number}\n")
    company.raise_version(f"0.{number}.0")
    return f"0.{number}.0"


def by_command(company: Company) -> tuple[float, str]:
    """Return how long the command takes, and the time of each of its steps as it tells them."""
    begun = time.perf_counter()
    done = company.setup("release", "all", "--project", str(company.project))
    taken = time.perf_counter() - begun
    found = re.findall(r"^\S+ (\S.*) \(([^)]+)\)$", done.stderr, re.MULTILINE)
    return taken, ", ".join(f"{title} {lasted}" for title, lasted in found)


def by_hand(company: Company, bench: Bench, version: str) -> float:
    """Return how long the same takes with Docker and git alone."""
    environment = {**bench.environment, "DOCKER_CONFIG": str(company.directory / "docker"), **AUTHOR}
    name = f"{company.registry.host}/{REPOSITORY}:{version}"
    taken = seconds(["docker", "build", "--quiet", "--tag", name, str(company.project)], environment)
    taken += seconds(["docker", "push", "--quiet", name], environment)
    begun, checkout = time.perf_counter(), company.directory / "by-hand"
    address = company.git.url(CDR).replace("://", f"://{company.git.user}:{company.git.token}@")
    git("clone", "--quiet", address, str(checkout))
    folder = checkout / "dags" / NAME
    shutil.copytree(company.project / "dags", folder, dirs_exist_ok=True)
    digest = company.registry.digest(REPOSITORY, version)
    (folder / f"{PACKAGE}_dags" / "image.txt").write_text(f"{company.registry.host}/{REPOSITORY}@{digest}\n")
    git("-C", str(checkout), "add", "--all")
    git("-C", str(checkout), "commit", "--quiet", "--message", f"Release {version}", **AUTHOR)
    git("-C", str(checkout), "push", "--quiet", "origin", "HEAD")
    taken += time.perf_counter() - begun
    shutil.rmtree(checkout)
    return taken


def measure_release(bench: Bench) -> Row:
    """Measure a release of a changed line, against the same by hand."""
    company, numbers = begin(bench), iter(range(2, 99))
    steps = ""

    def ours() -> float:
        nonlocal steps
        change(company, next(numbers))
        taken, steps = by_command(company)
        return taken

    def other() -> float:
        return by_hand(company, bench, change(company, next(numbers)))

    taken, peer = turns(ROUNDS, ours, other)
    ratio = taken.median / peer.median
    against = f"`docker build`, `docker push`, `git push`: {peer}"
    return Row(
        24,
        "a release of a changed line",
        f"{taken}; {steps}",
        against,
        f"{ratio:.2f}",
        "at most 1.2 times",
        yes_no(ratio <= 1.2),
    )
