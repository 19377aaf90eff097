"""Asks a cluster's API server what there is, with what a kubeconfig holds, and without Kubernetes' Python client."""

from __future__ import annotations

import base64
import json
import os
import ssl
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .common import read_whole, refusal_message
from .errors import SetupError

ANSWER_S = 5.0
STATUS_S = 1.5
DNS_PODS = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns"


class KubeconfigError(SetupError):
    """A kubeconfig can't be used."""


class ApiError(OSError):
    """The API server refuses a request.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The API server answers {status}: {message}")
        self.status = status


@dataclass(frozen=True)
class Access:
    """What one context of a kubeconfig says.

    Attributes:
        server: The API server's address.
        authority: Its certificate authority, as PEM.
        certificate: The client's certificate and key, as PEM, if it shows one.
        token: The client's token, if it has one.
        by_program: A program gives the credentials, so only a full client can use this.
    """

    server: str
    authority: str = ""
    certificate: str = ""
    token: str = ""
    by_program: bool = False

    def get(self, path: str, *, proxies: bool = False, seconds: float = ANSWER_S) -> Any:
        """Return what the API server says of something.

        Args:
            path: A path of its API, such as `/readyz`.
            proxies: Whether the environment's proxies are used.
            seconds: How long it may be silent for.

        Raises:
            ApiError: It refuses.
            OSError: It doesn't answer.
        """
        request = urllib.request.Request(self.server.rstrip("/") + path)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        handlers: list[Any] = [urllib.request.HTTPSHandler(context=self._tls())]
        if not proxies:
            handlers.append(urllib.request.ProxyHandler({}))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=seconds) as answer:
                said = answer.read()
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, refusal_message(error.read())) from error
        try:
            return json.loads(said)
        except ValueError:
            return said.decode(errors="replace")

    def time(self) -> str:
        """Return the API server's time, as HTTP writes it.

        Raises:
            OSError: It doesn't answer.
        """
        handlers = (urllib.request.HTTPSHandler(context=self._tls()), urllib.request.ProxyHandler({}))
        with urllib.request.build_opener(*handlers).open(
            self.server.rstrip("/") + "/version", timeout=ANSWER_S
        ) as answer:
            return str(answer.headers["Date"])

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority or None)
        if self.certificate:
            # The library reads certificates from files only.
            descriptor, name = tempfile.mkstemp()
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(self.certificate)
                context.load_cert_chain(name)
            finally:
                Path(name).unlink()
        return context


def read_kubeconfig(file: Path, context: str = "") -> Access:
    """Return what a kubeconfig says of one context.

    Args:
        file: The kubeconfig.
        context: The context's name; the current one when empty.

    Raises:
        KubeconfigError: It can't be read, or has no such context.
    """
    content = _parse(file)
    names = [str(one.get("name")) for one in content.get("contexts") or ()]
    name = context or str(content.get("current-context") or "")
    if name not in names:
        there = ", ".join(names) or "none"
        raise KubeconfigError(f"{file} has no context '{name}'; there are: {there}.")
    chosen = _named(content, "contexts", name, "context", file)
    cluster = _named(content, "clusters", chosen.get("cluster"), "cluster", file)
    user = _named(content, "users", chosen.get("user"), "user", file)
    if "server" not in cluster:
        raise KubeconfigError(f"{file}: the cluster '{chosen.get('cluster')}' has no server.")
    pair = _data(user, "client-certificate", file) + "\n" + _data(user, "client-key", file)
    return Access(
        server=str(cluster["server"]),
        authority=_data(cluster, "certificate-authority", file),
        certificate=pair if pair.strip() else "",
        token=str(user.get("token") or ""),
        by_program="exec" in user or "auth-provider" in user,
    )


def read_connection(directory: Path) -> Access:
    """Return how an instance's Airflow reaches its cluster, with the API server's address as this machine has it.

    Args:
        directory: What role cluster has written for the instance.

    Raises:
        KubeconfigError: The kubeconfig can't be read.
    """
    access = read_kubeconfig(directory / "kubeconfig")
    kept = read_whole(directory / "cluster.json")
    # Containers are led there by another name.
    return replace(access, server=str(kept["server"])) if kept.get("api") else access


def _parse(file: Path) -> dict[str, Any]:
    try:
        content = _load(file.read_text())
    except OSError as error:
        raise KubeconfigError(f"{file} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise KubeconfigError(f"{file} is no kubeconfig: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict) or content.get("kind", "Config") != "Config" or "contexts" not in content:
        raise KubeconfigError(f"{file} is no kubeconfig: it has no contexts.")
    return content


def _load(text: str) -> Any:
    """Return what a YAML text holds. JSON, which is YAML and which our own files are, needs no library."""
    try:
        return json.loads(text)
    except ValueError:
        import yaml

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error


def _named(content: dict[str, Any], group: str, name: Any, what: str, file: Path) -> dict[str, Any]:
    for one in content.get(group) or ():
        if isinstance(one, dict) and one.get("name") == name and isinstance(one.get(what), dict):
            return dict(one[what])
    raise KubeconfigError(f"{file}: there is no {what} '{name}'.")


def _data(entry: dict[str, Any], name: str, file: Path) -> str:
    """Return what stands in a kubeconfig itself, or in a file that it names."""
    try:
        if inline := entry.get(f"{name}-data"):
            return base64.b64decode(inline, validate=True).decode()
        return (file.parent / entry[name]).read_text() if entry.get(name) else ""
    except (OSError, ValueError) as error:
        raise KubeconfigError(f"{file}: {name} can't be read ({error}).") from error


def finds_names(admin: Access) -> bool:
    """Return whether a pod of the cluster's DNS is ready; an API server that doesn't tell is no reason to say no.

    Args:
        admin: How an administrator reaches the cluster.
    """
    try:
        conditions = [one for pod in admin.get(DNS_PODS)["items"] for one in pod["status"].get("conditions", ())]
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    except (OSError, KeyError, TypeError):
        return True


def cluster_row(directory: Path) -> list[dict[str, Any]]:
    """Return the cluster that an instance is connected with, as `status` shows services; nothing where there is none.

    Args:
        directory: The instance's directory.
    """
    connection = directory / "config" / "cluster"
    kept = read_whole(connection / "cluster.json")
    if not kept:
        return []
    row = {"name": "kubernetes", "service": "cluster", "url": str(kept.get("server", "")), "uptime_s": None}
    try:
        access = read_connection(connection)
        access.get(f"/api/v1/namespaces/{kept.get('namespace', 'default')}/pods?limit=1", seconds=STATUS_S)
        state, health = "running", "healthy"
    except ApiError:
        state, health = "running", "unhealthy"
    except (OSError, KubeconfigError):
        state, health = "stopped", "stopped"
    return [{**row, "state": state, "health": health, "memory_bytes": None}]
