"""The cluster on this machine: its start, a start with nothing to do, and changed code."""

from __future__ import annotations

import time
from pathlib import Path

from bench.containers import need_plugins
from bench.measure import (
    CHECKOUT,
    IDLE_ROUNDS,
    Bench,
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

PROFILE, PLAIN, PORT = "gaiaflow-bench", "plain-bench", 5021
START_ROUNDS, CODE_ROUNDS = 2, 3
VARIABLES = (f"cluster_profile={PROFILE}", f"cluster_registry_port={PORT}")
OPTIONS = [word for one in VARIABLES for word in ("-e", one)]

NOTES = f"""\
- 17: {START_ROUNDS} rounds from nothing, with the image built and pushed before. The peer is `minikube start` with the
  same driver, processors, memory and runtime, and nothing connected with it.
- 18: {IDLE_ROUNDS} rounds, with everything running. The floor is Ansible itself.
- 19: {CODE_ROUNDS} changes of a line of code, from `cluster --build-only` to a pod that has run it; against
  `docker build` and `minikube image load` of the same.
- 23: {IDLE_ROUNDS} rounds, with the image in the registry. The floor is Ansible itself, which isn't run for that."""


def need_minikube(bench: Bench) -> None:
    """Have a Minikube on the path: the machine's, or one built for the tests."""
    build = CHECKOUT / "tests" / "kube" / "build"
    cache = Path.home() / ".cache" / "gaiaflow-setup" / "kube"
    if not run(["bash", "-c", "command -v minikube || true"], bench.environment).output:
        seconds([str(build), str(cache)], bench.environment)
        said = run(["bash", "-c", f'. "{cache}/env" && env --null'], bench.environment).output
        pairs = (line.partition("=") for line in said.split("\0") if "=" in line)
        bench.environment.update({name: value for name, _, value in pairs})


def need_cluster(bench: Bench) -> None:
    """Make the stack and a cluster that is connected with it, unless they are there."""
    need_plugins(bench)
    need_minikube(bench)
    bench.need_stack()
    bench.native.setup("cluster", "--start", *OPTIONS)


def kept(bench: Bench) -> dict[str, dict[str, str]]:
    """Return what tasks need to know of the cluster."""
    content: dict[str, dict[str, str]] = bench.native.read("config/cluster/cluster.json")
    return content


def kubectl(bench: Bench, *arguments: str, profile: str = PROFILE) -> str:
    """Return what kubectl says to the administrator of a profile."""
    file = bench.home / "cluster/admin.kubeconfig" if profile == PROFILE else bench.root / "plain.kubeconfig"
    return run(["kubectl", "--kubeconfig", str(file), *arguments], bench.environment).output


def start_plain(bench: Bench) -> float:
    """Return how long plain Minikube takes from nothing; it is gone afterwards."""
    environment = {**bench.environment, "KUBECONFIG": str(bench.root / "plain.kubeconfig")}
    words = ["--driver=docker", "--container-runtime=containerd", "--cpus=2", "--memory=4096", "--interactive=false"]
    taken = seconds(["minikube", "start", f"--profile={PLAIN}", "--force", *words], environment)
    seconds(["minikube", "delete", f"--profile={PLAIN}"], environment)
    return taken


def measure_start(bench: Bench) -> Row:
    """From nothing to a pod that can be made, against plain Minikube."""
    need_cluster(bench)

    def ours() -> float:
        bench.native.setup("cluster", "--delete", "--yes", *OPTIONS)
        return bench.native.setup("cluster", "--start", *OPTIONS).seconds

    samples = turns(START_ROUNDS, ours, lambda: start_plain(bench))
    return ratio_row(17, "`cluster --start` from nothing", samples, "`minikube start`", 1.1)


def measure_nothing_to_do(bench: Bench) -> Row:
    """Measure a start with nothing to do, against Ansible doing nothing."""
    need_cluster(bench)
    samples = turns(IDLE_ROUNDS, lambda: idle_seconds(bench.native.setup("cluster", "--start", *OPTIONS)), bench.floor)
    return idle_row(18, "`cluster --start` on a running cluster", samples, 4)


def run_pod(bench: Bench, image: str, code: str) -> str:
    """Return what Python code prints in a pod."""
    words = ["-n", str(kept(bench)["namespace"])]
    command = ["--restart=Never", "--command", "--", "python", "-c", code]
    kubectl(bench, *words, "run", "bench", f"--image={image}", *command)
    try:
        kubectl(bench, *words, "wait", "pod/bench", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        return kubectl(bench, *words, "logs", "bench")
    finally:
        kubectl(bench, *words, "delete", "pod", "bench", "--wait=true", "--grace-period=1")


def measure_changed_code(bench: Bench) -> Row:
    """From a changed line of code to a pod that has run it, against building and loading the image."""
    need_cluster(bench)
    source = next((bench.project / "src").glob("*/starter.py"))
    package, before = source.parent.name, source.read_text()
    (name,) = kept(bench)["images"]

    def change() -> str:
        mark = str(time.time_ns())
        source.write_text(f"{before}\nMARK = {mark}\n")
        return mark

    def ours() -> float:
        mark, begun = change(), time.perf_counter()
        bench.native.setup("cluster", "--build-only", *OPTIONS)
        said = run_pod(bench, kept(bench)["images"][name], f"from {package}.starter import MARK; print(MARK)")
        assert said.strip() == mark, said
        return time.perf_counter() - begun

    def by_hand() -> float:
        change()
        environment = {**bench.environment, "KUBECONFIG": str(bench.home / "cluster/admin.kubeconfig")}
        build = seconds(["docker", "build", "--quiet", "--tag", name, str(bench.project)], environment)
        return build + seconds(["minikube", "image", "load", f"--profile={PROFILE}", "--daemon", name], environment)

    try:
        taken, other = Sample(tuple(ours() for _ in range(CODE_ROUNDS))), Sample((by_hand(),))
    finally:
        source.write_text(before)
    ratio = taken.median / other.median
    target, met = "under 10 s and at most 0.15 times", yes_no(taken.median < 10 and ratio <= 0.15)
    against = f"`docker build` and `minikube image load`: {other}"
    return Row(19, "a changed line of code until a pod has run it", str(taken), against, f"{ratio:.2f}", target, met)


def measure_unchanged_image(bench: Bench) -> Row:
    """Measure an image that pods find as it is, against Ansible doing nothing."""
    need_cluster(bench)
    bench.native.setup("cluster", "--build-only", *OPTIONS)
    samples = turns(
        IDLE_ROUNDS, lambda: idle_seconds(bench.native.setup("cluster", "--build-only", *OPTIONS)), bench.floor
    )
    return idle_row(23, "`cluster --build-only` of an unchanged image", samples, 1)
