"""Reaches a cluster with Kubernetes' own Python client, which knows every way of signing in that a kubeconfig has."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import SetupError

NEAR = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "192.168.0.0/16")))


class ClientError(SetupError):
    """A kubeconfig can't be used."""


class NoClientError(ClientError):
    """The client isn't installed."""


def make_client(kubeconfig: str, context: str) -> Any:
    """Return a client of the API server that a kubeconfig names.

    Args:
        kubeconfig: The file.
        context: The context in it; empty takes the current one, or the only one.

    Raises:
        NoClientError: The client isn't installed.
        ClientError: It can't use the file.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise NoClientError(f"Kubernetes' Python client is missing: {error}.") from None
    settings = client.Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            kubeconfig, context=context or only_context(kubeconfig), client_configuration=settings
        )
    except Exception as error:  # the client's own, YAML's, and those of programs that give credentials
        raise ClientError(f"{kubeconfig} can't be used: {error}") from None
    settings.retries = False
    if is_near(settings.host):
        settings.proxy = None
    return client.ApiClient(settings)


def only_context(kubeconfig: str) -> str | None:
    """Return the context of a kubeconfig that has no current one, as Minikube's is, if there is no other.

    Args:
        kubeconfig: The file.
    """
    import yaml

    content = yaml.safe_load(Path(kubeconfig).read_text())
    contexts = [one["name"] for one in content.get("contexts") or []]
    return str(contexts[0]) if not content.get("current-context") and len(contexts) == 1 else None


def status_message(body: Any) -> str:
    """Return the API server's message; it names keys, and never values.

    Args:
        body: Its answer.
    """
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        return "no reason was given"


def reason(error: BaseException) -> str:
    """Return the cause at the bottom of an error of the network.

    Args:
        error: The error.
    """
    while (below := error.__cause__ or error.__context__ or getattr(error, "reason", None)) is not None:
        if not isinstance(below, BaseException) or below is error:
            break
        error = below
    return str(getattr(error, "strerror", None) or error).rstrip(".") + "."


def is_near(server: str) -> bool:
    """Return whether a server is where Minikube's are, and where no proxy leads.

    Args:
        server: Its address.
    """
    host = urlsplit(server).hostname or ""
    try:
        return any(ipaddress.ip_address(host) in network for network in NEAR)
    except ValueError:
        return host == "localhost"
