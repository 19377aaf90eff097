#!/usr/bin/python
"""Ansible module: what a company's cluster and Airflow have of what a project's tasks need in production."""

from __future__ import annotations

DOCUMENTATION = r"""
module: prod_info
short_description: Say what a cluster and an Airflow have of what a project needs in production
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Reads only, but for the pod that it is given, which it makes and deletes. In check mode it makes none.
  - What it may not read is V(refused) in the result, and no error.
  - Tells the keys of secrets, and never a value.
options:
  kubeconfig:
    description: The kubeconfig of whoever asks.
    type: path
    required: true
  context:
    description: The context in it; empty takes the current one, or the only one.
    type: str
    default: ""
  namespace:
    description: The namespace of the tasks' pods.
    type: str
    required: true
  service_account:
    description: The account of the tasks' pods; empty where they have the namespace's default one.
    type: str
    default: ""
  starter:
    description: Airflow's account, which starts the pods, as C(namespace) and C(name); empty where it isn't known.
    type: dict
    default: {}
  rights:
    description: What Airflow's account must be allowed, as C(verb), C(resource) and C(subresource).
    type: list
    elements: dict
    default: []
  secrets:
    description: The keys that each secret must have, by its name.
    type: dict
    default: {}
  resources:
    description: What one task asks for, as C(requests) and C(limits).
    type: dict
    default: {}
  tasks:
    description: How many such tasks there are at once.
    type: int
    default: 1
  pod:
    description: A pod that looks around in the namespace, and leaves JSON as its termination message; empty for none.
    type: dict
    default: {}
  pod_seconds:
    description: How long that pod may take.
    type: int
    default: 120
  airflow_url:
    description: Airflow's address; empty where it isn't known.
    type: str
    default: ""
  airflow_token:
    description: A token of Airflow's REST API, for what it doesn't tell everybody.
    type: str
    default: ""
  airflow_ca_path:
    description: A file of certificates that Airflow's is checked with.
    type: path
"""

EXAMPLES = r"""
- name: Examine what the cluster has of what the project needs
  gaiaflow.setup.prod_info:
    kubeconfig: ~/.kube/config
    namespace: team
    service_account: tasks
    secrets:
      my-creds: [PASSWORD]
  register: prod_check_info
"""

RETURN = r"""
server:
  description: The API server's address.
  returned: always
  type: str
context:
  description: The context that was used.
  returned: always
  type: str
kubernetes:
  description: The version of Kubernetes.
  returned: always
  type: str
namespace:
  description: C(state) is present, absent or refused, C(said) what the API server says.
  returned: always
  type: dict
service_account:
  description: The same of the pods' account; C(state) is unnamed where there is none to look for.
  returned: always
  type: dict
starter:
  description: The same of Airflow's account.
  returned: always
  type: dict
rights:
  description: C(state) is present, absent, refused or unnamed, C(missing) what isn't allowed.
  returned: always
  type: dict
secrets:
  description: Each secret with C(name), C(state), C(said), C(type), C(keys) and C(missing).
  returned: always
  type: list
quota:
  description: C(state) is present, absent (there is no limit) or refused, C(lacks) what doesn't fit, a line each, and
    C(never) whether that stays so when nothing else runs.
  returned: always
  type: dict
pod:
  description: C(state) is ended, unmade, refused, waiting, pull, unscheduled, ended_early or failed, C(said) what is
    wrong, and C(told) what it left.
  returned: always
  type: dict
airflow:
  description: C(state) is present, absent or unnamed, C(said), C(version), and C(providers) (versions by name) with
    C(providers_state) present, refused or unnamed.
  returned: always
  type: dict
"""

import contextlib
import json
import time
import urllib.error
import urllib.parse
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

from ..module_utils.errors import SetupError
from ..module_utils.kube_client import (
    ClientError,
    NoClientError,
    make_client,
    only_context,
    reason,
    status_message,
)

ANSWER_S = (5, 30)
LOOK_S = 0.5
GONE_S = 30
PAGE = 100
PULL_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
START_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
SCOPES = {"NotTerminating", "NotBestEffort"}
"""The scopes of quotas that hold for tasks' pods."""

QUOTA_OF = {
    "cpu": ("requests", "cpu"),
    "memory": ("requests", "memory"),
    **{f"{part}.{kind}": (part, kind) for part in ("requests", "limits") for kind in ("cpu", "memory")},
    "requests.nvidia.com/gpu": ("limits", "nvidia.com/gpu"),
}


class ProdError(SetupError):
    """Why nothing can be looked at."""


class Cluster:
    """The cluster, as whoever asks may see it.

    Args:
        parameters: The module's parameters.

    Raises:
        ProdError: It can't be reached.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        file = parameters["kubeconfig"]
        if not Path(file).is_file():
            raise ProdError(f"The kubeconfig {file} isn't there.", "Name one: --kubeconfig FILE.")
        try:
            self._client = make_client(file, parameters["context"])
        except NoClientError as error:
            raise ProdError(str(error), "Install it for Ansible's Python: pip install kubernetes.") from None
        except ClientError as error:
            raise ProdError(str(error), "Name a context: --kubeconfig FILE --context NAME.") from None
        from kubernetes import client

        self.server: str = self._client.configuration.host
        self.core = client.CoreV1Api(self._client)
        self.authorization = client.AuthorizationV1Api(self._client)
        self.version: str = self.ask(client.VersionApi(self._client).get_code)["content"].get("gitVersion", "")

    def ask(self, call: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Return what the API server says, as `state` (present, absent, refused), `said` and `content`.

        Args:
            call: A method of the client.
            arguments: Its arguments.
            options: Its options.

        Raises:
            ProdError: It doesn't answer, or doesn't know who asks.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = call(*arguments, _preload_content=False, _request_timeout=ANSWER_S, **options)
            return {"state": "present", "said": "", "content": json.loads(answer.data)}
        except ApiException as error:
            said = status_message(error.body)
            if error.status == 401:
                message = f"The cluster at {self.server} doesn't know who asks: {said}"
                raise ProdError(message, "Sign in again, or name another --context.") from None
            return {"state": "absent" if error.status == 404 else "refused", "said": said, "content": {}}
        except (HTTPError, OSError) as error:
            message = f"The cluster at {self.server} doesn't answer: {reason(error)}"
            raise ProdError(message, "Check --kubeconfig, --context, and the network (a VPN?).") from None


def seen(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer without its content."""
    return {"state": answer["state"], "said": answer["said"]}


# ---- Who starts the pods, and what for


def account(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """Return whether a service account is there."""
    if not name:
        return {"state": "unnamed", "said": ""}
    return seen(cluster.ask(cluster.core.read_namespaced_service_account, name, namespace))


def rights(cluster: Cluster, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Airflow's account may not do of what it must."""
    starter, namespace = parameters["starter"], parameters["namespace"]
    if not starter.get("name"):
        return {"state": "unnamed", "said": "", "missing": []}
    missing = []
    for right in parameters["rights"]:
        answer = cluster.ask(
            cluster.authorization.create_namespaced_local_subject_access_review,
            namespace,
            review_of(starter, namespace, right),
        )
        if answer["state"] != "present":
            return {**seen(answer), "state": "refused", "missing": []}
        if not answer["content"]["status"].get("allowed"):
            missing.append(right)
    return {"state": "absent" if missing else "present", "said": "", "missing": missing}


def review_of(starter: Mapping[str, str], namespace: str, right: Mapping[str, str]) -> dict[str, Any]:
    """Return the question whether an account has a right in a namespace."""
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{starter['namespace']}", "system:authenticated"]
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "LocalSubjectAccessReview",
        "metadata": {"namespace": namespace},
        "spec": {
            "user": f"system:serviceaccount:{starter['namespace']}:{starter['name']}",
            "groups": groups,
            "resourceAttributes": {"namespace": namespace, **right},
        },
    }


def secret(cluster: Cluster, namespace: str, name: str, keys: list[str]) -> dict[str, Any]:
    """Return which keys a secret has, and which of the wanted ones it lacks."""
    answer = cluster.ask(cluster.core.read_namespaced_secret, name, namespace)
    there = sorted(answer["content"].get("data") or {})
    missing = [key for key in keys if key not in there]
    return {"name": name, **seen(answer), "type": answer["content"].get("type", ""), "keys": there, "missing": missing}


# ---- Quotas


def quota(cluster: Cluster, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the asked resources the namespace's quotas and limit ranges don't allow."""
    namespace = parameters["namespace"]
    quotas = cluster.ask(cluster.core.list_namespaced_resource_quota, namespace)
    ranges = cluster.ask(cluster.core.list_namespaced_limit_range, namespace)
    for answer in (quotas, ranges):
        if answer["state"] == "refused":
            return {**seen(answer), "lacks": [], "never": False}
    items, limits = quotas["content"].get("items", []), ranges["content"].get("items", [])
    found = [*over_quota(items, parameters["resources"], parameters["tasks"]), *out_of_range(limits, parameters)]
    return {
        "state": "present" if items or limits else "absent",
        "said": "",
        "lacks": [line for line, _ in found],
        "never": any(never for _, never in found),
    }


def over_quota(
    quotas: list[dict[str, Any]], resources: Mapping[str, Mapping[str, Any]], tasks: int
) -> Iterator[tuple[str, bool]]:
    """Yield what doesn't fit into a quota, and whether it wouldn't even if nothing else ran.

    Args:
        quotas: The namespace's quotas.
        resources: What one task asks for, as `requests` and `limits`.
        tasks: How many such tasks there are at once.
    """
    for one in quotas:
        spec = one["spec"]
        if spec.get("scopeSelector") or not SCOPES.issuperset(spec.get("scopes") or ()):
            continue
        status = one.get("status") or {}
        for resource, most in sorted((status.get("hard") or spec.get("hard") or {}).items()):
            asked = asked_of(resource, resources) * tasks
            used = number((status.get("used") or {}).get(resource, 0))
            whole = number(most)
            if asked > whole - used:
                free = written(max(whole - used, Decimal(0)), resource)
                line = f"{resource}: {written(asked, resource)} asked, {free} of {most} free"
                yield f"{line} (quota {one['metadata']['name']})", asked > whole


def number(quantity: Any) -> Decimal:
    """Return what Kubernetes reads a quantity as: cores, or bytes."""
    from kubernetes.utils.quantity import parse_quantity

    try:
        return Decimal(parse_quantity(quantity))  # type: ignore[no-untyped-call]
    except ValueError:
        raise ProdError(
            f"'{quantity}' is no amount of Kubernetes'.",
            "Write check.resources in prod.yaml like {limits: {memory: 2Gi}}.",
        ) from None


def asked_of(resource: str, resources: Mapping[str, Mapping[str, Any]]) -> Decimal:
    """Return how much of a quota's resource one task takes."""
    if resource in ("pods", "count/pods"):
        return Decimal(1)
    part, kind = QUOTA_OF.get(resource, ("", ""))
    return number((resources.get(part) or {}).get(kind, 0))


def written(amount: Decimal, resource: str) -> str:
    """Return an amount as people write it: cores and pods as a number, memory in MiB."""
    return f"{float(amount) / 2**20:g}Mi" if "memory" in resource else f"{float(amount):g}"


def out_of_range(ranges: list[dict[str, Any]], parameters: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield what one task asks for beyond what the limit ranges allow a pod of one container."""
    resources = parameters["resources"]
    for one in ranges:
        name = one["metadata"]["name"]
        for limit in one["spec"]["limits"]:
            if limit["type"] not in ("Container", "Pod"):
                continue
            for kind, most in sorted((limit.get("max") or {}).items()):
                asked = (resources.get("limits") or {}).get(kind)
                if asked is not None and number(asked) > number(most):
                    yield f"{kind}: {asked} asked as a limit, {most} at most (limit range {name})", True
            for kind, least in sorted((limit.get("min") or {}).items()):
                asked = (resources.get("requests") or {}).get(kind)
                if asked is not None and number(asked) < number(least):
                    yield f"{kind}: {asked} requested, {least} at least (limit range {name})", True


# ---- A pod that looks around


def look_around(cluster: Cluster, pod: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Make a pod, wait for its end, delete it, and return what it came to.

    Args:
        cluster: The cluster.
        pod: Its definition.
        seconds: How long it may take.
    """
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    remove(cluster, name, namespace)
    try:
        made = cluster.ask(cluster.core.create_namespaced_pod, namespace, pod)
        if made["state"] != "present":
            return {"state": "refused", "said": made["said"], "told": {}}
        return wait_for(cluster, name, namespace, seconds)
    finally:
        remove(cluster, name, namespace)


def wait_for(cluster: Cluster, name: str, namespace: str, seconds: float) -> dict[str, Any]:
    """Return how a pod has ended, or why it doesn't begin."""
    deadline = time.monotonic() + seconds
    while True:
        found = pod_state(cluster.ask(cluster.core.read_namespaced_pod, name, namespace)["content"])
        # A node may yet become free.
        is_final = found["state"] not in ("waiting", "unscheduled")
        if is_final or time.monotonic() > deadline:
            return found
        time.sleep(LOOK_S)


def pod_state(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a pod's status says.

    Args:
        pod: The pod, as the API server has it; nothing where somebody has deleted it.
    """
    status = pod.get("status")
    if not status:
        return {"state": "failed", "said": "somebody deleted the pod", "told": {}}
    containers = status.get("containerStatuses") or [{}]
    container: dict[str, Any] = containers[0].get("state") or {}
    if ended := container.get("terminated"):
        return ended_state(ended)
    if status.get("phase") == "Failed":
        return {
            "state": "ended_early",
            "said": f"{status.get('reason', '')} {status.get('message', '')}".strip(),
            "told": {},
        }
    waiting = container.get("waiting") or {}
    said = f"{waiting.get('reason', '')}: {waiting.get('message', '')}".strip(": ")
    if waiting.get("reason") in PULL_REASONS:
        return {"state": "pull", "said": said, "told": {}}
    if waiting.get("reason") in START_REASONS:
        return {"state": "failed", "said": said, "told": {}}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return {"state": "unscheduled", "said": condition.get("message", ""), "told": {}}
    return {"state": "waiting", "said": said or "it has not ended", "told": {}}


def ended_state(ended: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a container that has ended has told."""
    try:
        return {"state": "ended", "said": "", "told": dict(json.loads(ended.get("message", "")))}
    except ValueError:
        said = " ".join(str(ended.get("message", "")).split())[-300:]
        return {"state": "failed", "said": f"exit code {ended.get('exitCode')}: {said}".strip(": "), "told": {}}


def remove(cluster: Cluster, name: str, namespace: str) -> None:
    """Delete a pod, and wait until it is gone."""
    deadline = time.monotonic() + GONE_S
    gone = cluster.ask(cluster.core.delete_namespaced_pod, name, namespace, grace_period_seconds=0)
    while gone["state"] == "present" and time.monotonic() < deadline:
        time.sleep(LOOK_S)
        gone = cluster.ask(cluster.core.read_namespaced_pod, name, namespace)


# ---- Airflow


def airflow(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions of Airflow and its providers."""
    found: dict[str, Any] = {"state": "unnamed", "said": "", "version": ""}
    found |= {"providers": {}, "providers_state": "unnamed", "providers_said": ""}
    if not parameters["airflow_url"]:
        return found
    try:
        version = ask_airflow(parameters, "version")["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {**found, "state": "absent", "said": airflow_problem(error)}
    found |= {"state": "present", "version": str(version)}
    if not parameters["airflow_token"]:
        return found
    try:
        return {**found, "providers": providers(parameters), "providers_state": "present"}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {**found, "providers_state": "refused", "providers_said": airflow_problem(error)}


def providers(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of Airflow's providers by package."""
    found: dict[str, str] = {}
    while True:
        page = ask_airflow(parameters, f"providers?limit={PAGE}&offset={len(found)}")
        found |= {one["package_name"]: one["version"] for one in page["providers"]}
        if not page["providers"] or len(found) >= page["total_entries"]:
            return found


def ask_airflow(parameters: Mapping[str, Any], path: str) -> Any:
    """Return what Airflow's REST API says."""
    headers = {"Accept": "application/json"}
    if parameters["airflow_token"]:
        headers["Authorization"] = f"Bearer {parameters['airflow_token']}"
    address = f"{parameters['airflow_url'].rstrip('/')}/api/v2/{path}"
    with contextlib.closing(
        open_url(address, headers=headers, timeout=ANSWER_S[1], ca_path=parameters["airflow_ca_path"])
    ) as answer:
        return json.loads(answer.read())


def airflow_problem(error: Exception) -> str:
    """Return in words why Airflow told nothing."""
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers {error.code} {error.reason}"
    if isinstance(error, OSError):
        return reason(error).rstrip(".")
    return "what answers there isn't Airflow 3"


# ---- The module


def examine(parameters: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Return what there is.

    Args:
        parameters: The module's parameters.
        check_mode: Make no pod.
    """
    cluster = Cluster(parameters)
    namespace, starter = parameters["namespace"], parameters["starter"]
    found: dict[str, Any] = {
        "server": cluster.server,
        "context": parameters["context"] or only_context(parameters["kubeconfig"]) or "",
        "kubernetes": cluster.version.removeprefix("v"),
        "namespace": seen(cluster.ask(cluster.core.read_namespace, namespace)),
        "service_account": account(cluster, namespace, parameters["service_account"]),
        "starter": account(cluster, starter.get("namespace", ""), starter.get("name", "")),
        "rights": rights(cluster, parameters),
        "secrets": [secret(cluster, namespace, name, keys) for name, keys in parameters["secrets"].items()],
        "quota": quota(cluster, parameters),
        "airflow": airflow(parameters),
        "pod": {"state": "unmade", "said": "", "told": {}},
    }
    can_look = found["namespace"]["state"] != "absent" and found["service_account"]["state"] != "absent"
    if parameters["pod"] and can_look and not check_mode:
        found["pod"] = look_around(cluster, parameters["pod"], parameters["pod_seconds"])
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "kubeconfig": {"type": "path", "required": True},
            "context": {"type": "str", "default": ""},
            "namespace": {"type": "str", "required": True},
            "service_account": {"type": "str", "default": ""},
            "starter": {"type": "dict", "default": {}},
            "rights": {"type": "list", "elements": "dict", "default": []},
            # Names and keys alone.
            "secrets": {"type": "dict", "default": {}, "no_log": False},
            "resources": {"type": "dict", "default": {}},
            "tasks": {"type": "int", "default": 1},
            "pod": {"type": "dict", "default": {}},
            "pod_seconds": {"type": "int", "default": 120},
            "airflow_url": {"type": "str", "default": ""},
            "airflow_token": {"type": "str", "default": "", "no_log": True},
            "airflow_ca_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        found = examine(module.params, check_mode=module.check_mode)
    except ProdError as error:
        module.fail_json(msg=str(error), hint=error.hint)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
