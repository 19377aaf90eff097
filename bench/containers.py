"""The stack in containers, and a project's image."""

from __future__ import annotations

import json
from pathlib import Path

from bench.measure import (
    CACHE,
    CHECKOUT,
    IDLE_ROUNDS,
    Bench,
    BenchError,
    Row,
    Sample,
    idle_row,
    idle_seconds,
    ratio_row,
    run,
    seconds,
    turns,
    yes_no,
)

HOSTS = CHECKOUT / "tests" / "hosts"
START_ROUNDS, REBUILD_ROUNDS = 3, 5
PACKAGE, TITLE = "gaiaflow_bench", "gaiaflow-bench"
ENVIRONMENT = "/opt/gaiaflow/environment"
MEGABYTE = 1_000_000

NOTES = f"""\
- 10: {START_ROUNDS} rounds, from stopped containers to all of them healthy. The peer has the file that
  `mlops --export-compose` wrote: the same images on the same data, in containers of its own, after `compose stop`.
- 11: {IDLE_ROUNDS} rounds, with everything running. The floor is Ansible itself.
- 12: the whole `gaiaflow-setup images`, with BuildKit. The median of {REBUILD_ROUNDS} builds, each after one more line
  of code, against one build with `--docker-build`, without a cache.
- 13: sizes as the engine gives them, unpacked, each with its base; the environment is what that image has of it."""


# ---- What is needed


def docker(bench: Bench, *arguments: str) -> str:
    """Return what `docker` prints."""
    return run(["docker", *arguments], bench.environment).output


def need_plugins(bench: Bench) -> None:
    """Has buildx and Compose: docker's own, or those of Debian 13, unpacked once."""
    try:
        docker(bench, "buildx", "version")
        docker(bench, "compose", "version")
    except BenchError:
        config = CACHE / "docker"
        bench.environment["DOCKER_CONFIG"] = str(config)
        if not (config / "cli-plugins" / "docker-compose").exists():
            seconds([str(HOSTS / "unpack_docker_plugins"), str(config)], bench.environment)


def need_project(bench: Bench) -> Path:
    """Return a project from the template, with an engine that can build its image."""
    need_plugins(bench)
    seconds([str(HOSTS / "build_service_images")], bench.environment)
    project = bench.root / TITLE
    if not project.exists():
        bench.setup("new", "--no-input", "--output-dir", str(bench.root), f"project_name={TITLE}")
    return project


def need_containers(bench: Bench) -> None:
    """Make the stack in containers, unless it is there; it runs afterwards."""
    project = need_project(bench)
    bench.containers.setup("mlops", "--start", "--runtime", "docker", "--project", str(project))


# ---- The stack


def start(bench: Bench) -> float:
    """How long it takes from stopped to healthy; it is stopped afterwards."""
    taken = bench.containers.setup("mlops", "--start").seconds
    services = json.loads(bench.containers.setup("status", "--json").output)["services"]
    unhealthy = [one["name"] for one in services if one["health"] != "healthy"]
    if unhealthy:
        raise BenchError(f"`mlops --start` returned before {unhealthy} were healthy")
    bench.containers.setup("mlops", "--stop")
    return taken


def measure_start(bench: Bench) -> Row:
    """From stopped to all healthy, against Compose."""
    need_containers(bench)
    file = str(bench.root / "compose.yaml")
    bench.containers.setup("mlops", "--export-compose", file)
    bench.containers.setup("mlops", "--stop")
    compose = ["docker", "compose", "--file", file]

    def other() -> float:
        taken = seconds([*compose, "up", "--wait"], bench.environment)
        seconds([*compose, "stop"], bench.environment)
        return taken

    try:
        samples = turns(START_ROUNDS, lambda: start(bench), other)
    finally:
        seconds([*compose, "down"], bench.environment)
    return ratio_row(10, "all containers healthy from stopped", samples, "`docker compose up --wait`", 1.0)


def measure_nothing_to_do(bench: Bench) -> Row:
    """Measure a start with nothing to do, against Ansible doing nothing."""
    need_containers(bench)
    samples = turns(IDLE_ROUNDS, lambda: idle_seconds(bench.containers.setup("mlops", "--start")), bench.floor)
    return idle_row(11, "a start with nothing to do, in containers", samples, 4)


def image_sizes(bench: Bench) -> dict[str, int]:
    """Return the bytes of each image that the stack runs from."""
    label = f"label=gaiaflow.directory={bench.containers.directory}"
    images = sorted({*docker(bench, "ps", "--all", "--filter", label, "--format", "{{.Image}}").split()})
    return {one: int(docker(bench, "image", "inspect", "--format", "{{.Size}}", one)) for one in images}


def measure_sizes(bench: Bench) -> Row:
    """Return the images' sizes, and Airflow's against its own environment."""
    need_containers(bench)
    sizes = image_sizes(bench)
    airflow = next(image for image in sizes if image.startswith("gaiaflow/airflow:"))
    du = docker(bench, "run", "--rm", "--entrypoint", "du", airflow, "--summarize", "--bytes", ENVIRONMENT)
    environment = int(du.split()[0])
    ratio = sizes[airflow] / environment
    said = ", ".join(f"{image.partition(':')[0]} {size / MEGABYTE:.0f} MB" for image, size in sizes.items())
    against = f"the environment in gaiaflow/airflow: {environment / MEGABYTE:.0f} MB"
    return Row(13, "sizes of the images", said, against, f"{ratio:.2f}", "at most 1.2 times", yes_no(ratio <= 1.2))


# ---- A project's image


def remove_images(bench: Bench) -> None:
    """Remove the project's images, those that a later build took the name from, too."""
    label = f"label=org.opencontainers.image.title={TITLE}"
    if found := docker(bench, "image", "ls", "--all", "--quiet", "--filter", label).split():
        docker(bench, "image", "rm", "--force", *sorted({*found}))


def build(bench: Bench, project: Path, *arguments: str) -> float:
    """How long a build takes that must build something."""
    done = bench.setup("images", "--project", str(project), *arguments)
    if "changed=1" not in done.output:
        raise BenchError(f"`images` built nothing: {done.output[-600:]}")
    return done.seconds


def rebuild(bench: Bench, project: Path) -> float:
    """How long a build takes after one more line of code."""
    with (project / "src" / PACKAGE / "starter.py").open("a") as code:
        code.write("# one more line\n")
    return build(bench, project)


def measure_image(bench: Bench) -> Row:
    """Measure the project's image after a change of its code, against its first build."""
    project = need_project(bench)
    bench.cleanup.callback(remove_images, bench)
    first = build(bench, project, "--docker-build")
    ours = Sample(tuple(rebuild(bench, project) for _ in range(REBUILD_ROUNDS + 1))[1:])
    ratio = ours.median / first
    what, against = "the project's image after a one-line change", f"its first build: {first:.1f} s"
    met = yes_no(ours.median < 5 and ratio <= 0.1)
    return Row(12, what, str(ours), against, f"{ratio:.2f}", "under 5 s and at most 0.1 times", met)
