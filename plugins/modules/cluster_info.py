#!/usr/bin/python
"""Ansible module: how the cluster is, and what is missing of what a start makes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_info
short_description: Say how a Minikube profile or another cluster is, and what is missing
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only. Looks at Minikube, the Docker engine, the API server, and what an instance is connected with.
options:
  profile:
    description: The Minikube profile; empty for a cluster that isn't Minikube's.
    type: str
    default: ""
  admin_kubeconfig:
    description: The kubeconfig of whoever may change the cluster.
    type: path
    required: true
  context:
    description: The context in it.
    type: str
    default: ""
  namespace:
    description: The namespace of the instance's pods.
    type: str
    required: true
  connection:
    description: The directory of what the instance is connected with; empty where there is no instance.
    type: path
    default: ""
  definition:
    description: The digest of what a start would make.
    type: str
    default: ""
  stack_at:
    description: The instance's runtime, and the ports at which its services and the API server are found.
    type: dict
    default: {}
  cpus:
    description: The node's processors.
    type: int
    required: true
  memory_mb:
    description: The node's memory in MB.
    type: int
    required: true
  registry:
    description: The name of the registry's container.
    type: str
    default: ""
  registry_port:
    description: The port of the registry on this machine.
    type: int
    default: 0
  hosts_file:
    description: The file in the node that leads to the registry.
    type: str
    default: ""
  bundles:
    description: The directory of unpacked bundles.
    type: path
    default: ""
  host_address:
    description: The address of this machine that pods of a cluster that isn't Minikube's reach.
    type: str
    default: ""
  required:
    description: >-
      Whether it is an error that the cluster can't be examined; otherwise it isn't ready, and RV(notes) says why.
    type: bool
    default: true
  will_start:
    description: Whether the cluster is to be started, so that the machine must have what it needs.
    type: bool
    default: false
  force_new:
    description: Whether a broken profile is to be made anew.
    type: bool
    default: false
  await:
    description: >-
      What to wait for, the network of the profile, its node with the kubelet, the API server, or that pods can be made.
    type: str
    choices: ["", network, node, api, pods]
    default: ""
  job:
    description: Where Ansible keeps how a start in the background has ended. The waiting ends with one that fails, and
      C(await=pods) waits for its end, too; that it has failed is told by its own task.
    type: path
    default: ""
  job_timeout:
    description: Seconds until such a start has failed.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Examine the cluster
  gaiaflow.setup.cluster_info:
    profile: airflow
    admin_kubeconfig: ~/.kube/config
    context: airflow
    namespace: gaiaflow
    cpus: 2
    memory_mb: 4096
  register: cluster
"""

RETURN = r"""
state:
  description: absent, stopped, running or broken.
  returned: always
  type: str
problem:
  description: What is wrong, or nothing.
  returned: always
  type: str
ready:
  description: Whether a pod can be made.
  returned: always
  type: bool
start_failed:
  description: Whether the start in the background has failed.
  returned: always
  type: bool
finds_names:
  description: Whether a pod would find names; what nobody has looked for counts as yes.
  returned: always
  type: bool
made:
  description: Whether all that a start would make in the cluster is there.
  returned: always
  type: bool
connected:
  description: Whether the instance is connected with this cluster as a start would do it.
  returned: always
  type: bool
connection_owner:
  description: The id of the user to whom the connection's directory belongs; -1 where there is none.
  returned: always
  type: int
bundle:
  description: The directory in a bundle of what Minikube would download; nothing where no bundle has it.
  returned: always
  type: str
lost_node_image:
  description: The image of a node whose container is gone while its volume is there; else nothing.
  returned: always
  type: str
certificates_end:
  description: Whether certificates of the profile end within a day, or have ended.
  returned: always
  type: bool
profile_directory:
  description: Where Minikube keeps the profile.
  returned: always
  type: str
registry_exists:
  description: Whether there is a container of the registry.
  returned: always
  type: bool
registry_ready:
  description: Whether the registry runs, and the node finds it.
  returned: always
  type: bool
registry_address:
  description: The registry's address in the node's network.
  returned: always
  type: str
gateway:
  description: The address of this machine in the node's network.
  returned: always
  type: str
subnet:
  description: The node's network.
  returned: always
  type: str
server:
  description: The API server's address.
  returned: always
  type: str
images:
  description: The images that were pushed, and what they are called in the cluster.
  returned: always
  type: dict
image_ids:
  description: The ids of those images on this machine.
  returned: always
  type: dict
engine:
  description: The Docker engine's address.
  returned: always
  type: str
minikube:
  description: The program.
  returned: always
  type: str
kubectl:
  description: The program; nothing where it isn't installed.
  returned: always
  type: str
notes:
  description: Why the cluster can't be examined, a line each.
  returned: always
  type: list
  elements: str
is_root:
  description: Whether Minikube would run as root.
  returned: always
  type: bool
"""

import ipaddress
import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.common import read_whole
from ..module_utils.engine import Engine, EngineElsewhere, EngineError, own_socket
from ..module_utils.errors import SetupError
from ..module_utils.kubernetes import Access, ApiError, KubeconfigError, finds_names, read_connection, read_kubeconfig
from ..module_utils.machine import memory_mb

PROFILE = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
API_PORT = 8443
KUBELET_UNIT = "/lib/systemd/system/kubelet.service"
LEAST_MEMORY_MB = 1800
LEAST_CPUS = 2
LEAST_DISK_MB = 3000
FULL_PERCENT = 85
STATUS_S = 60
DAY_S = 24 * 3600.0
READY_S = 60.0
LOOK_S = 0.2
FORBIDDEN = 403
LOGIN = "Log in to it again, or name another context: --kubeconfig FILE --context NAME."
REPAIR = "gaiaflow-setup cluster --start --force-new makes it anew, without what is in it."


class ClusterError(SetupError):
    """Something about the cluster or this machine that a user has to change."""


# ---- Minikube and its node


def find_program(name: str) -> str:
    """Return a program of this user; nothing where it isn't installed."""
    path = os.pathsep.join((os.environ.get("PATH", ""), str(Path.home() / ".local/bin")))
    return shutil.which(name, path=path) or ""


def find_minikube() -> str:
    """Return the program."""
    found = find_program("minikube")
    if not found:
        raise ClusterError("Minikube isn't installed.", "Install it: gaiaflow-setup workstation.")
    return found


def ask_minikube(minikube: str, profile: str, kubeconfig: str) -> dict[str, Any]:
    """Return what `minikube status` says of a profile; nothing where there is no profile."""
    command = [minikube, "status", f"--profile={profile}", "--output=json"]
    environment = {**os.environ, "KUBECONFIG": kubeconfig}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=STATUS_S)
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"`minikube status` of profile '{profile}' didn't end within {STATUS_S} s.", REPAIR
        ) from None
    for line in done.stdout.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        # Of a profile with one node it is an object, and `null` while that is just being started.
        nodes = said if isinstance(said, list) else [said]
        if nodes and isinstance(nodes[0], dict) and "Host" in nodes[0]:
            return dict(nodes[0])
    return {}


def profile_directory(profile: str) -> Path:
    """Return where Minikube keeps a profile."""
    home = Path(os.environ.get("MINIKUBE_HOME") or Path.home())
    return (home if home.name == ".minikube" else home / ".minikube") / "profiles" / profile


def node_of(engine: Engine, profile: str) -> dict[str, Any]:
    """Return the node's container; nothing where there is none."""
    try:
        return dict(engine.get(f"/containers/{profile}/json"))
    except EngineError as error:
        if error.status == 404:
            return {}
        raise


def volume_exists(engine: Engine, name: str) -> bool:
    """Return whether there is a volume of that name."""
    try:
        return bool(engine.get(f"/volumes/{name}"))
    except EngineError:
        return False


def bundle_with_cluster(bundles: str) -> str:
    """Return the directory in the newest bundle that has what Minikube would download; nothing where none has it."""
    found = sorted(
        Path(bundles or "/nowhere").glob("*/cluster/minikube-cache.tar"), key=lambda one: one.stat().st_mtime
    )
    return str(found[-1].parent) if found else ""


def image_of_lost_node(engine: Engine, profile: str) -> str:
    """Return the image of a node whose container is gone while its volume is there; else nothing."""
    kept = read_whole(profile_directory(profile) / "config.json")
    lost = kept and not node_of(engine, profile) and volume_exists(engine, profile)
    return str(kept.get("KicBaseImage", "")) if lost else ""


def node_access(engine: Engine, profile: str) -> Access | None:
    """Return how an administrator reaches a profile's node itself; None where Minikube hasn't made it yet.

    Minikube writes its kubeconfig at the end of a start, seconds after the API server has come up.
    """
    directory = profile_directory(profile)
    attached = node_of(engine, profile).get("NetworkSettings", {}).get("Networks", {}).get(profile) or {}
    nodes = read_whole(directory / "config.json").get("Nodes") or [{}]
    try:
        authority = (directory.parent.parent / "ca.crt").read_text()
        certificate = "\n".join((directory / f"client.{part}").read_text() for part in ("crt", "key"))
    except OSError:
        return None
    address = attached.get("IPAddress")
    server = f"https://{address}:{nodes[0].get('Port') or API_PORT}"
    return Access(server, authority, certificate) if address else None


def has_kubelet(engine: Engine, profile: str) -> bool:
    """Return whether the node runs, and Minikube has put the kubelet and its certificates there."""
    state = node_of(engine, profile).get("State") or {}
    runs = state.get("Running") and node_access(engine, profile) is not None
    return bool(runs) and has_file(engine, profile, KUBELET_UNIT)


def has_file(engine: Engine, container: str, path: str) -> bool:
    """Return whether there is a file in a container."""
    try:
        return bool(engine.read(f"/containers/{container}/archive?path={urllib.parse.quote(path)}"))
    except OSError:
        return False


def runs_kubelet(engine: Engine, profile: str) -> bool:
    """Return whether the kubelet is among the node's processes."""
    try:
        found = engine.get(f"/containers/{profile}/top")["Processes"]
        return any(Path(row[-1].split()[0]).name == "kubelet" for row in found)
    except (EngineError, KeyError, IndexError, TypeError):
        return False


def state_of_profile(
    engine: Engine, minikube: str, profile: str, kubeconfig: str, admin: Access | None
) -> tuple[str, str]:
    """Return how a profile is, and what is wrong with it. Minikube's exit codes don't tell."""
    directory = profile_directory(profile)
    kept = read_whole(directory / "config.json")
    node = node_of(engine, profile)
    if not directory.exists():
        if node:
            return "broken", f"there is a container '{profile}', but no profile of Minikube's to which it belongs"
        return "absent", ""
    if not kept:
        return "broken", f"{directory / 'config.json'} isn't what Minikube has written"
    if kept.get("Driver", "docker") != "docker":
        return "broken", f"it is made with the driver {kept['Driver']}"
    if not node:
        if volume_exists(engine, profile):
            return "stopped", "the node's container is gone; it is made anew from its volume, with all that is in it"
        return "broken", "the node's container and its volume are gone, with all that was in the cluster"
    if not node["State"]["Running"]:
        return "stopped", ""
    if node["State"].get("Paused"):
        return "broken", f"the node's container is paused (docker unpause {profile})"
    # What `minikube status` looks at, in a tenth of its time; where not all is well, Minikube says what it is.
    if answers(admin) and runs_kubelet(engine, profile):
        return "running", ""
    said = ask_minikube(minikube, profile, kubeconfig)
    parts = {part: said.get(part, "unknown") for part in ("Host", "Kubelet", "APIServer", "Kubeconfig")}
    wrong = [f"{part} is {how}" for part, how in parts.items() if how not in ("Running", "Configured")]
    return ("stopped", "not everything in it runs: " + ", ".join(wrong)) if wrong else ("running", "")


def network_of(engine: Engine, profile: str) -> dict[str, str]:
    """Return the gateway and subnet of a profile's network, and the address in it that the registry has."""
    try:
        found = engine.get(f"/networks/{profile}")["IPAM"]["Config"][0]
    except (EngineError, IndexError, KeyError):
        return {"gateway": "", "subnet": "", "registry_address": ""}
    network = ipaddress.ip_network(found["Subnet"])
    gateway = found.get("Gateway") or str(network[1])
    return {"gateway": gateway, "subnet": str(network), "registry_address": str(network[-2])}


def certificates_end(profile: str) -> float | None:
    """Return when the first of a profile's certificates ends, in seconds since the epoch; None where it isn't known."""
    try:
        from cryptography import x509
    except ImportError:
        return None
    ends = []
    for file in profile_directory(profile).glob("*.crt*"):
        try:
            ends.append(x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp())
        except (OSError, ValueError):
            continue
    return min(ends, default=None)


def expiry_problem(ends: float | None) -> str:
    """Return what is wrong with certificates that end within a day; else nothing."""
    if ends is None or ends - time.time() >= DAY_S:
        return ""
    return f"its certificates end on {time.strftime('%Y-%m-%d at %H:%M', time.localtime(ends))}; this start renews them"


# ---- The machine


def wish(variable: str, value: int) -> int:
    """Return what Minikube would take: its own variable comes first."""
    given = os.environ.get(variable, "").lower().removesuffix("mb").removesuffix("m")
    return int(given) if given.isdigit() else value


def check_machine(cpus: int, memory: int, root: str) -> None:
    """Refuse a node that this machine can't have."""
    cpus, memory = wish("MINIKUBE_CPUS", cpus), wish("MINIKUBE_MEMORY", memory)
    has_cpus, has_memory = len(os.sched_getaffinity(0)), memory_mb()
    if cpus < LEAST_CPUS:
        raise ClusterError(
            f"cluster_cpus is {cpus}; Kubernetes needs {LEAST_CPUS}.", "Give it more: -e cluster_cpus=2."
        )
    if memory < LEAST_MEMORY_MB:
        raise ClusterError(
            f"cluster_memory_mb is {memory}; Kubernetes needs {LEAST_MEMORY_MB}.",
            "Give it more: -e cluster_memory_mb=4096.",
        )
    if cpus > has_cpus:
        raise ClusterError(
            f"cluster_cpus is {cpus}, and this machine has {has_cpus}.", f"Give it less: -e cluster_cpus={has_cpus}."
        )
    if has_memory is not None and memory > has_memory:
        raise ClusterError(
            f"cluster_memory_mb is {memory}, and this machine has {has_memory}.",
            f"Give it less: -e cluster_memory_mb={max(LEAST_MEMORY_MB, has_memory // 2)}.",
        )
    free = shutil.disk_usage(root).free // 2**20 if Path(root).exists() else LEAST_DISK_MB
    if free < LEAST_DISK_MB:
        raise ClusterError(
            f"On the Docker engine's disk {free} MB are free; {LEAST_DISK_MB} are needed.", "docker system prune"
        )


def disk_note(root: str) -> list[str]:
    """Return a warning where the engine's disk is so full that Kubernetes may evict pods."""
    if not Path(root).exists():
        return []
    used = shutil.disk_usage(root)
    if 100 - 100 * used.free // used.total <= FULL_PERCENT:
        return []
    # The limit, not the figure: what two looks of a run find is told once.
    full = f"The Docker engine's disk is over {FULL_PERCENT} % full"
    return [f"{full}: Kubernetes may refuse or evict pods (docker system df)."]


# ---- What a start makes


def answers(access: Access | None) -> bool:
    """Return whether the API server is there."""
    if access is None or access.by_program:
        return access is not None
    try:
        access.get("/readyz")
        return True
    except OSError:
        return False


def require_answer(access: Access | None) -> None:
    """Refuse a cluster of somebody else's that can't be asked."""
    if access is None or access.by_program:
        return
    try:
        access.get("/readyz")
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise ClusterError(f"The cluster at {access.server} refuses: {error}", LOGIN) from error
    except OSError as error:
        hint = "Check that it runs, and that this machine reaches it."
        raise ClusterError(f"The cluster at {access.server} doesn't answer: {error}", hint) from error


def takes_pods(access: Access | None, *, is_other: bool) -> bool:
    """Return whether a pod can be made: the API server, a node and the default account are there.

    Args:
        access: How the API server is reached.
        is_other: It is somebody else's cluster, of which this user may not see all.
    """
    if access is None or access.by_program:
        return access is not None
    try:
        access.get("/readyz")
        access.get("/api/v1/namespaces/default/serviceaccounts/default")
        conditions = [one for node in access.get("/api/v1/nodes")["items"] for one in node["status"]["conditions"]]
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    except ApiError as error:
        return is_other and error.status == FORBIDDEN
    except (OSError, KeyError, TypeError):
        return False


class Job:
    """A start in the background.

    Args:
        file: Where Ansible keeps how it is; nothing where there is no such start.
        seconds: How long it may take. Of one that takes longer, and is killed, Ansible writes nothing.
    """

    def __init__(self, file: str, seconds: float) -> None:
        self._file, self._seconds = Path(file) if file else None, seconds

    def runs(self) -> bool:
        """Return whether it goes on."""
        return self._goes_on() and not self._is_late()

    def has_failed(self) -> bool:
        """Return whether it has ended in vain."""
        kept = self._kept()
        return self._is_late() if "started" in kept else bool(kept.get("failed") or kept.get("rc"))

    def _kept(self) -> dict[str, Any]:
        return read_whole(self._file) if self._file else {}

    def _goes_on(self) -> bool:
        return "started" in self._kept()

    def _is_late(self) -> bool:
        # It is written when the start begins, and again at its end.
        return self._file is not None and time.time() - self._file.stat().st_mtime > self._seconds


def job_of(parameters: dict[str, Any]) -> Job:
    """Return the start in the background."""
    return Job(parameters["job"], parameters["job_timeout"])


def awaited(condition: Callable[[], bool], seconds: float, job: Job) -> bool:
    """Return whether a condition comes true within a while; that begins when a start in the background has ended."""
    deadline = time.monotonic() + seconds
    while not condition():
        if job.runs():
            deadline = time.monotonic() + seconds
        elif job.has_failed() or time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True


def all_is_made(admin: Access, parameters: dict[str, Any]) -> bool:
    """Return whether all that a start makes in the cluster is there, as it would be made now."""
    if admin.by_program:
        return False
    namespace = urllib.parse.quote(parameters["namespace"])
    marked = f"?labelSelector=gaiaflow%2Fdefinition%3D{parameters['definition']}"
    rights = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    wanted = {
        f"/api/v1/namespaces/{namespace}/secrets": 3,
        f"/api/v1/namespaces/{namespace}/serviceaccounts": 1,
        f"{rights}/roles": 1,
        f"{rights}/rolebindings": 1,
    }
    try:
        return all(len(admin.get(path + marked)["items"]) == number for path, number in wanted.items())
    except (OSError, KeyError, TypeError):
        return False


def server_of_airflow(kept: dict[str, Any]) -> str:
    """Return where the kubeconfig of an instance's Airflow must lead to: the API server, or the stack's forwarder."""
    if not kept.get("api"):
        return str(kept["server"])
    return f"https://{kept['api']['name']}:{kept['stack_at']['api']}"


def is_connected(admin: Access, parameters: dict[str, Any], address: str) -> bool:
    """Return whether the account's kubeconfig works, and what tasks are told is what they would be told now."""
    directory, namespace = Path(parameters["connection"]), urllib.parse.quote(parameters["namespace"])
    kept = read_whole(directory / "cluster.json")
    if admin.by_program or not kept or kept.get("definition") != parameters["definition"]:
        return False
    kind = "minikube" if parameters["profile"] else "external"
    if (kept.get("kind"), kept.get("namespace")) != (kind, parameters["namespace"]):
        return False
    if kept.get("stack_at") != parameters["stack_at"]:
        return False
    if kept.get("server") != admin.server or kept.get("forward", {}).get("address", "") != address:
        return False
    try:
        if read_kubeconfig(directory / "kubeconfig").server != server_of_airflow(kept):
            return False
        own = read_connection(directory)
        if (own.server, own.authority.strip()) != (admin.server, admin.authority.strip()):
            return False
        own.get(f"/api/v1/namespaces/{namespace}/pods?limit=1")
        return True
    except (OSError, KubeconfigError, KeyError, TypeError):
        return False


def registry_state(engine: Engine, parameters: dict[str, Any], node: dict[str, Any], address: str) -> tuple[bool, bool]:
    """Return whether the registry's container exists, and whether it runs where the node finds it."""
    name, profile = parameters["registry"], parameters["profile"]
    found = node_of(engine, name)
    if not found:
        return False, False
    attached = found["NetworkSettings"]["Networks"].get(profile) or {}
    if not found["State"]["Running"] or attached.get("IPAddress") != address or not node:
        return True, False
    bindings = found["HostConfig"].get("PortBindings") or {}
    if {one["HostPort"] for each in bindings.values() for one in each or ()} != {str(parameters["registry_port"])}:
        return True, False
    return True, has_file(engine, profile, parameters["hosts_file"])


# ---- The module


def own_engine(*, needed: bool) -> Engine | None:
    """Return this machine's engine; None where it doesn't answer and isn't needed."""
    try:
        return _own_engine()
    except ClusterError:
        if needed:
            raise
        return None


def _own_engine() -> Engine:
    try:
        engine = Engine(own_socket(), timeout=30)
        engine.get("/version")
        return engine
    except EngineElsewhere as error:
        raise ClusterError(f"{error}.", "Unset DOCKER_HOST, or run this on that machine.") from error
    except PermissionError:
        raise ClusterError(
            "This user may not use the Docker engine.", "Run `sudo usermod -aG docker $USER`, and log in again."
        ) from None
    except OSError as error:
        raise ClusterError(
            f"No Docker engine answers ({error}).", "Install or start one: gaiaflow-setup workstation."
        ) from error


def admin_access(parameters: dict[str, Any]) -> Access | None:
    """Return how an administrator reaches the cluster; None where Minikube hasn't written it yet."""
    file = Path(parameters["admin_kubeconfig"])
    if parameters["profile"] and not file.exists():
        return None
    try:
        return read_kubeconfig(file, parameters["context"])
    except KubeconfigError as error:
        if parameters["profile"]:
            return None
        raise ClusterError(
            str(error), "Name a kubeconfig and one of its contexts: --kubeconfig FILE --context NAME."
        ) from error


def first_access(parameters: dict[str, Any], engine: Engine) -> Access | None:
    """Return how the API server of a profile is reached, as soon as it answers."""
    ways = (node_access(engine, parameters["profile"]), admin_access(parameters))
    return next((way for way in ways if answers(way)), None)


def examine_minikube(parameters: dict[str, Any], engine: Engine, admin: Access | None) -> dict[str, Any]:
    """Return how a Minikube profile is."""
    profile = parameters["profile"]
    if not PROFILE.fullmatch(profile):
        raise ClusterError(f"'{profile}' is no profile's name.", "Use letters a-z, digits and hyphens between them.")
    minikube = find_minikube()
    state, problem = "running", ""  # as Minikube has said just now, if something is waited for
    if not parameters["await"]:
        state, problem = state_of_profile(engine, minikube, profile, parameters["admin_kubeconfig"], admin)
    looks = parameters["will_start"] and not parameters["await"] and state != "absent"
    ending = expiry_problem(certificates_end(profile)) if looks else ""
    if ending and state in ("running", "stopped"):
        state, problem = "stopped", f"{problem}; {ending}" if problem else ending
    root = str(engine.get("/info").get("DockerRootDir", ""))
    notes = disk_note(root)
    if parameters["will_start"] and state != "running":
        check_machine(parameters["cpus"], parameters["memory_mb"], root)
        if state == "broken" and not parameters["force_new"]:
            raise ClusterError(f"Minikube's profile '{profile}' is broken: {problem}.", REPAIR)
        notes += [f"Minikube's profile '{profile}': {problem}."] * bool(problem)
    network = network_of(engine, profile)
    if parameters["await"] == "network":
        awaited(lambda: bool(network_of(engine, profile)["gateway"]), READY_S, job_of(parameters))
        network = network_of(engine, profile)
        if not network["gateway"]:
            raise ClusterError("Minikube has made no network.", "Find out more: gaiaflow-setup doctor.")
    if parameters["await"] == "node" and not awaited(lambda: has_kubelet(engine, profile), READY_S, job_of(parameters)):
        raise ClusterError("Minikube has made no node.", "Find out more: gaiaflow-setup doctor.")
    exists, ready = registry_state(engine, parameters, node_of(engine, profile), network["registry_address"])
    found: dict[str, Any] = {"state": state, "problem": problem, "minikube": minikube, "notes": notes}
    found["lost_node_image"] = image_of_lost_node(engine, profile)
    found |= {"certificates_end": bool(ending), "profile_directory": str(profile_directory(profile))}
    return {**found, **network, "registry_exists": exists, "registry_ready": ready}


def examine(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return how the cluster is, and what is missing."""
    admin, job = admin_access(parameters), job_of(parameters)
    engine = own_engine(needed=bool(parameters["profile"]))
    found: dict[str, Any] = {
        "state": "running",
        "problem": "",
        "minikube": "",
        "gateway": "",
        "subnet": "",
        "notes": [],
    }
    found |= {"certificates_end": False, "profile_directory": "", "finds_names": True}
    found |= {"lost_node_image": "", "registry_address": "", "registry_exists": False, "registry_ready": True}
    if parameters["profile"]:
        if engine is None:
            raise AssertionError("a profile is examined with an engine")
        found |= examine_minikube(parameters, engine, admin)
    else:
        require_answer(admin)
    running, ready = found["state"] == "running", False
    if parameters["await"] == "api" and engine is not None:
        awaited(lambda: first_access(parameters, engine) is not None, READY_S, job)
        admin = first_access(parameters, engine)
        if admin is None:
            raise ClusterError("The API server doesn't answer.", "Find out more: gaiaflow-setup doctor.")
    elif parameters["await"] == "node" and engine is not None:
        admin = node_access(engine, parameters["profile"])
    elif running and parameters["await"] != "network":
        # A cluster that has just come up, by whoever's hand, is given a while.
        is_other = not parameters["profile"]
        ready = awaited(
            lambda: not job.runs() and takes_pods(admin_access(parameters), is_other=is_other), READY_S, job
        )
        admin = admin_access(parameters)
        # One on which the cluster's DNS doesn't come up is restarted by a start.
        if ready and parameters["profile"] and parameters["will_start"] and not parameters["await"]:
            found["finds_names"] = awaited(lambda: finds_names(_known(admin)), READY_S, job)
        if parameters["await"] == "pods" and not ready and not job.has_failed():
            raise ClusterError("The node isn't ready to take pods.", "Find out more: gaiaflow-setup doctor.")
    # What is missing is of no interest before the API server answers, and none any more when it has been made.
    connects = running and parameters["await"] in ("", "api") and bool(parameters["connection"]) and admin is not None
    made = connects and all_is_made(_known(admin), parameters)
    connected = made and is_connected(_known(admin), parameters, found["gateway"] or parameters["host_address"])
    connection = Path(parameters["connection"] or "/nowhere")
    kept = read_whole(connection / "cluster.json")
    return {
        **found,
        "connection_owner": connection.stat().st_uid if connection.is_dir() else -1,
        "bundle": bundle_with_cluster(parameters["bundles"]),
        "ready": ready,
        "start_failed": job.has_failed(),
        "made": made,
        "connected": connected,
        "server": admin.server if admin else "",
        "images": kept.get("images", {}),
        "image_ids": kept.get("image_ids", {}),
        "engine": f"unix://{engine.socket}" if engine else "",
        "kubectl": find_program("kubectl"),
        "is_root": os.geteuid() == 0,
    }


def _known(access: Access | None) -> Access:
    if access is None:
        raise AssertionError("a cluster that runs can be asked")
    return access


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "profile": {"type": "str", "default": ""},
            "admin_kubeconfig": {"type": "path", "required": True},
            "context": {"type": "str", "default": ""},
            "namespace": {"type": "str", "required": True},
            "connection": {"type": "path", "default": ""},
            "definition": {"type": "str", "default": ""},
            "stack_at": {"type": "dict", "default": {}},
            "cpus": {"type": "int", "required": True},
            "memory_mb": {"type": "int", "required": True},
            "registry": {"type": "str", "default": ""},
            "registry_port": {"type": "int", "default": 0},
            "hosts_file": {"type": "str", "default": ""},
            "bundles": {"type": "path", "default": ""},
            "host_address": {"type": "str", "default": ""},
            "required": {"type": "bool", "default": True},
            "will_start": {"type": "bool", "default": False},
            "force_new": {"type": "bool", "default": False},
            "await": {"type": "str", "choices": ["", "network", "node", "api", "pods"], "default": ""},
            "job": {"type": "path", "default": ""},
            "job_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    try:
        found = examine(module.params)
    except ClusterError as refusal:
        end_without(module, refusal)
    except (ApiError, EngineError, OSError) as error:
        hint = "Find out more: gaiaflow-setup doctor."
        end_without(module, ClusterError(f"The cluster can't be examined: {error}", hint))
    module.exit_json(changed=False, **found)


def end_without(module: AnsibleModule, error: ClusterError) -> None:
    """End the module where the cluster can't be examined."""
    if module.params["required"]:
        module.fail_json(msg=str(error), hint=error.hint)
    note = f"The cluster wasn't told where the stack is now: {error} Afterwards: gaiaflow-setup cluster --start"
    module.exit_json(changed=False, state="unknown", ready=False, connected=False, notes=[note])


if __name__ == "__main__":
    main()
