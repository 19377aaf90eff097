#!/usr/bin/python
"""Ansible module: makes, deletes and lists secrets of Kubernetes, and tells all about them but their values."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_secret
short_description: Make, delete or list secrets of Kubernetes
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - A secret is replaced whole where its content differs, so that a key which was taken out is gone.
  - Says which keys come, change and go; no value is in its result, in a difference or in an error.
  - Everything is checked before the first secret changes.
  - Runs with a Python that has Kubernetes' client.
options:
  state:
    description: The state.
    type: str
    choices: [present, absent, listed]
    default: present
  secrets:
    description: The secrets, as the lookup plugin P(gaiaflow.setup.kube_secret_content#lookup) returns them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The secret's name.
        type: str
        required: true
      data:
        description: Its values in base64, by key.
        type: dict
        default: {}
      refused:
        description: Why it can't be made; the task fails with just that.
        type: str
        default: ""
      hint:
        description: What to do about that.
        type: str
        default: ""
      warnings:
        description: What its user should know of it.
        type: list
        elements: str
        default: []
  namespace:
    description: Their namespace.
    type: str
    required: true
  kubeconfig:
    description: The kubeconfig of somebody who may write secrets.
    type: path
    required: true
  context:
    description: The context in it; empty takes the current one, or the only one.
    type: str
    default: ""
  start_command:
    description: What starts the cluster, for the advice in errors.
    type: str
    default: gaiaflow-setup cluster --start
"""

EXAMPLES = r"""
- name: Make a secret from a file of variables
  gaiaflow.setup.kube_secret:
    secrets: "{{ query('gaiaflow.setup.kube_secret_content', 'my-creds', env_files=['/home/me/project/.env']) }}"
    namespace: gaiaflow
    kubeconfig: ~/.kube/config

- name: List the secrets
  gaiaflow.setup.kube_secret:
    state: listed
    namespace: gaiaflow
    kubeconfig: ~/.kube/config
  register: kept
"""

RETURN = r"""
secrets:
  description: Each secret, with C(name), C(namespace), C(ours) and C(keys) (C(key), C(bytes), C(ends_with_newline)).
  returned: always
  type: list
notes:
  description: What a user should know, a line each.
  returned: always
  type: list
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SetupError
from ..module_utils.kube_client import ClientError, NoClientError, make_client, reason, status_message

LABEL = {"app.kubernetes.io/managed-by": "gaiaflow-setup"}
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
OPAQUE = "Opaque"
NEWLINE = ", ends with a newline"
ANSWER_S = (5, 30)


class SecretError(SetupError):
    """Something that can't be done; the message holds no value."""


class Secrets:
    """The secrets of one namespace.

    Args:
        params: The module's parameters.
        check_mode: Let the API server check what would be done, and do nothing.
    """

    def __init__(self, params: Mapping[str, Any], *, check_mode: bool) -> None:
        self._namespace = params["namespace"]
        self._start = params["start_command"]
        self._kubeconfig = params["kubeconfig"]
        self._dry = {"dry_run": "All"} if check_mode else {}
        self._api = self._client(params["context"])

    def all(self) -> list[dict[str, Any]]:
        """Return the secrets that tasks can be given."""
        found = self._call("list_namespaced_secret", field_selector=f"type={OPAQUE}")
        return list(found["items"])

    def find(self, name: str) -> dict[str, Any] | None:
        """Return a secret, or None where there is none.

        Args:
            name: Its name.
        """
        try:
            found: dict[str, Any] = self._call("read_namespaced_secret", name)
        except AbsentError:
            return None
        return found

    def put(self, name: str, body: dict[str, Any], *, exists: bool) -> None:
        """Make a secret, or replace it whole.

        Args:
            name: Its name.
            body: What it is to be.
            exists: Whether it is there.
        """
        if exists:
            self._call("replace_namespaced_secret", name, body=body, **self._dry)
        else:
            self._call("create_namespaced_secret", body=body, **self._dry)

    def delete(self, name: str) -> None:
        """Delete a secret.

        Args:
            name: Its name.
        """
        self._call("delete_namespaced_secret", name, **self._dry)

    def _hint(self, ours: str, others: str) -> str:
        """Return what to do next.

        Args:
            ours: What the start of a cluster does about it.
            others: What somebody does about it whose cluster this product doesn't start.
        """
        return f"{self._start} {ours}" if self._start else others

    def _client(self, context: str) -> Any:
        if not Path(self._kubeconfig).is_file():
            message = f"{'There is no cluster here yet: ' * bool(self._start)}{self._kubeconfig} is missing."
            raise SecretError(message, self._hint("makes one.", "Name the cluster's: --kubeconfig FILE."))
        try:
            reached = make_client(self._kubeconfig, context)
        except NoClientError as error:
            hint = self._hint("installs it.", "Install the Python package kubernetes.")
            raise SecretError(str(error), hint) from None
        except ClientError as error:
            hint = self._hint("writes it again.", "Correct it, or name another one: --kubeconfig FILE --context NAME.")
            raise SecretError(str(error), hint) from None
        from kubernetes import client

        self._server = reached.configuration.host
        return client.CoreV1Api(reached)

    def _call(self, method: str, *name: str, **options: Any) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = getattr(self._api, method)(
                *name, namespace=self._namespace, _preload_content=False, _request_timeout=ANSWER_S, **options
            )
            return json.loads(answer.data)
        except ApiException as error:
            raise self._refusal(method, name, error) from None
        except (HTTPError, OSError) as error:
            message = f"The cluster at {self._server} doesn't answer: {reason(error)}"
            hint = self._hint("starts it.", "Check that it runs, and that this machine reaches it.")
            raise SecretError(message, hint) from None

    def _refusal(self, method: str, name: tuple[str, ...], error: Any) -> Exception:
        if error.status == 404 and not method.startswith(("create", "list")):
            return AbsentError(f"There is no secret '{name[0]}' any more: somebody else deleted it.", "Run this again.")
        said = status_message(error.body)
        if error.status == 404:
            hint = self._hint("makes it.", f"Make it: kubectl create namespace {self._namespace}")
            return SecretError(f"The cluster has no namespace '{self._namespace}' yet.", hint)
        hints = {
            401: self._hint(f"writes {self._kubeconfig} again.", "Log in to the cluster again, and run this again."),
            403: f"{self._kubeconfig} must be of somebody who may write secrets in '{self._namespace}'.",
            409: "Somebody else changed it at the same time: run this again.",
        }
        return SecretError(f"The cluster answers {error.status} {error.reason}: {said}", hints.get(error.status, ""))


class AbsentError(SecretError):
    """There is no such secret, or none any more."""


def body_of(name: str, data: Mapping[str, str], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a secret is to be: labels and annotations of others stay.

    Args:
        name: Its name.
        data: Base64 by key.
        found: What is there.

    Raises:
        SecretError: What is there can't be replaced.
    """
    before = (found or {}).get("metadata", {})
    if found and found.get("type") != OPAQUE:
        message = f"There is a secret '{name}' of type {found.get('type')}, which is for another use."
        raise SecretError(message, "Choose another name.")
    if found and found.get("immutable"):
        raise SecretError(
            f"The secret '{name}' is immutable.", f"Delete it first: gaiaflow-setup secrets delete {name}"
        )
    # kubectl keeps a copy of all values here.
    annotations = {key: value for key, value in (before.get("annotations") or {}).items() if key != APPLIED}
    metadata = {"name": name, "labels": {**(before.get("labels") or {}), **LABEL}, "annotations": annotations}
    if found:
        metadata["resourceVersion"] = before["resourceVersion"]
    return {"apiVersion": "v1", "kind": "Secret", "type": OPAQUE, "metadata": metadata, "data": dict(data)}


def is_same(body: Mapping[str, Any], found: Mapping[str, Any] | None) -> bool:
    """Return whether a secret is as it is to be.

    Args:
        body: What it is to be.
        found: What is there.
    """
    if found is None or (found.get("data") or {}) != body["data"]:
        return False
    return all((found["metadata"].get(one) or {}) == body["metadata"][one] for one in ("labels", "annotations"))


def described(secret: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Return all about a secret but its values.

    Args:
        secret: The secret.
        namespace: Its namespace.
    """
    keys = []
    for key, encoded in sorted((secret.get("data") or {}).items()):
        value = base64.b64decode(encoded)
        keys.append({"key": key, "bytes": len(value), "ends_with_newline": value.endswith(b"\n")})
    labels = secret["metadata"].get("labels") or {}
    ours = all(labels.get(name) == value for name, value in LABEL.items())
    return {"name": secret["metadata"]["name"], "namespace": namespace, "ours": ours, "keys": keys}


def changes(name: str, wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Return in words which keys come, change and go, a line each.

    Args:
        name: The secret's name.
        wanted: What is to be, base64 by key.
        found: What is there.
    """
    kinds = {
        "comes": [key for key in wanted if key not in found],
        "changes": [key for key in wanted if key in found and wanted[key] != found[key]],
        "goes": [key for key in found if key not in wanted],
    }
    return "".join(f"{name}: {key} {kind}\n" for kind, keys in kinds.items() for key in sorted(keys))


def make(secrets: Secrets, module: AnsibleModule) -> dict[str, Any]:
    """Bring secrets to what they are to hold.

    Args:
        secrets: The secrets of the namespace.
        module: The module.
    """
    steps = []
    for one in module.params["secrets"]:
        found = secrets.find(one["name"])
        body = body_of(one["name"], one["data"], found)
        steps.append((body, found, one["warnings"]))
    result: dict[str, Any] = {"changed": False, "secrets": [], "notes": []}
    said = ""
    for body, found, warnings in steps:
        name = body["metadata"]["name"]
        result["notes"] += warnings
        result["notes"].append(kept_note(described(body, module.params["namespace"]), module.check_mode))
        result["secrets"].append(described(body, module.params["namespace"]))
        if is_same(body, found):
            continue
        secrets.put(name, body, exists=found is not None)
        result["changed"] = True
        said += changes(name, body["data"], (found or {}).get("data") or {}) or f"{name}: its labels change\n"
    if module.check_mode and said:
        result["notes"].append(f"What would change: {'; '.join(said.splitlines())}.")
    return {**result, "diff": {"prepared": said}} if said else result


def kept_note(secret: Mapping[str, Any], check_mode: bool) -> str:
    """Return what a secret holds, in a line.

    Args:
        secret: All about it.
        check_mode: It isn't made.
    """
    keys = [
        f"{one['key']} ({one['bytes']} byte{'s' * (one['bytes'] != 1)}{NEWLINE * one['ends_with_newline']})"
        for one in secret["keys"]
    ]
    holds = "would hold" if check_mode else "holds"
    return f"Secret {secret['name']} in namespace {secret['namespace']} {holds} {', '.join(keys)}."


def remove(secrets: Secrets, module: AnsibleModule) -> dict[str, Any]:
    """Delete secrets.

    Args:
        secrets: The secrets of the namespace.
        module: The module.
    """
    result: dict[str, Any] = {"changed": False, "secrets": [], "notes": []}
    said = ""
    for one in module.params["secrets"]:
        found = secrets.find(one["name"])
        if found is None:
            where = f"in namespace {module.params['namespace']}"
            result["notes"].append(f"There is no secret '{one['name']}' {where}: nothing was deleted.")
            continue
        said += changes(one["name"], {}, found.get("data") or {}) or f"{one['name']}: it goes, and was empty\n"
        secrets.delete(one["name"])
        is_gone = "would be deleted" if module.check_mode else "is deleted"
        result["notes"].append(f"Secret {one['name']} in namespace {module.params['namespace']} {is_gone}.")
        result["changed"] = True
    return {**result, "diff": {"prepared": said}} if said else result


def enumerate_all(secrets: Secrets, module: AnsibleModule) -> dict[str, Any]:
    """Return all about the secrets of the namespace but their values.

    Args:
        secrets: The secrets of the namespace.
        module: The module.
    """
    found = [described(one, module.params["namespace"]) for one in secrets.all()]
    return {"changed": False, "secrets": found, "notes": []}


def main() -> None:
    """Run the module."""
    one = {
        "name": {"type": "str", "required": True},
        "data": {"type": "dict", "no_log": True, "default": {}},
        "warnings": {"type": "list", "elements": "str", "default": []},
        "refused": {"type": "str", "default": ""},
        "hint": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent", "listed"], "default": "present"},
            # Its name makes Ansible suspect values, and there are some, one level below.
            "secrets": {"type": "list", "elements": "dict", "options": one, "default": [], "no_log": False},
            "namespace": {"type": "str", "required": True},
            "kubeconfig": {"type": "path", "required": True},
            "context": {"type": "str", "default": ""},
            "start_command": {"type": "str", "default": "gaiaflow-setup cluster --start"},
        },
        supports_check_mode=True,
    )
    for secret in module.params["secrets"]:
        if secret["refused"]:
            module.fail_json(msg=secret["refused"], hint=secret["hint"])
        if not secret["name"]:
            # The API server takes it for all that are there.
            module.fail_json(msg="A secret has no name.", hint="Name it.")
    work = {"present": make, "absent": remove, "listed": enumerate_all}[module.params["state"]]
    try:
        result = work(Secrets(module.params, check_mode=module.check_mode), module)
    except SecretError as failed:
        module.fail_json(msg=str(failed), hint=failed.hint)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
