"""Which cluster pods run in, and what each of them gets there."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NO_CLUSTER = "no cluster is connected: gaiaflow-setup cluster --start"
PROD_FILE = Path(__file__).with_name("prod.yaml")


class NoCluster(Exception):
    """There is no cluster to run pods in."""


@dataclass(frozen=True)
class Cluster:
    """A cluster, as this project uses it.

    Attributes:
        namespace: where pods run; the cluster's own default if empty.
        stack: tells this Airflow's pods from those of another that has the same DAGs.
        kubeconfig: the file to connect with.
        connection: Airflow's connection to connect with. Without either, Airflow runs in the cluster itself.
        env_secrets: secrets whose entries every pod gets in its environment.
        images: what the cluster pulls, by the name that DAGs use.
        host_aliases: addresses by host name, for pods.
        no_proxy: hosts that are reached without a proxy.
        service_account: of the pods.
        image_pull_secrets: what images are pulled with.
        node_selector: labels of the nodes that pods may run on.
        tolerations: as in a pod's specification.
        start_seconds: how long a pod may wait for a node and for its image.
    """

    namespace: str = ""
    stack: str = ""
    kubeconfig: str | None = None
    connection: str | None = None
    env_secrets: list[str] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    host_aliases: dict[str, str] = field(default_factory=dict)
    no_proxy: list[str] = field(default_factory=list)
    service_account: str | None = None
    image_pull_secrets: list[str] = field(default_factory=list)
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    start_seconds: int = 600


def read_cluster(env: str) -> Cluster:
    """Read which cluster the environment's pods run in, as it is now.

    Raises:
        NoCluster: `prod_local`, and no cluster is connected.
        ValueError: `prod.yaml` has wrong content.
    """
    return _read_local() if env == "prod_local" else read_prod()


def _read_local() -> Cluster:
    """Read what `gaiaflow-setup cluster` has written for this machine's Airflow."""
    kubeconfig = os.environ.get("GAIAFLOW_KUBECONFIG", "")
    try:
        written = json.loads(Path(os.environ.get("GAIAFLOW_CLUSTER", "")).read_text())
    except (OSError, ValueError):
        raise NoCluster(NO_CLUSTER) from None
    if not os.access(kubeconfig, os.R_OK):
        raise NoCluster(NO_CLUSTER)
    return Cluster(
        namespace=os.environ.get("GAIAFLOW_NAMESPACE") or written.get("namespace", "default"),
        stack=written.get("stack", ""),
        kubeconfig=kubeconfig,
        env_secrets=written.get("env_secrets", []),
        images=written.get("images", {}),
        host_aliases=written.get("host_aliases", {}),
        no_proxy=written.get("no_proxy", []),
    )


def read_prod() -> Cluster:
    """Read `prod.yaml` beside the DAGs, if there is one; environment variables count more.

    Raises:
        ValueError: a key is unknown or has a value of the wrong type.
    """
    written: Any = {}
    if PROD_FILE.is_file():
        import yaml

        try:
            written = yaml.safe_load(PROD_FILE.read_text()) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"{PROD_FILE} is no YAML: {error}") from None
    settings = {
        **_check(_settings_of_stage(written)),
        **{name: value for name, variable in VARIABLES.items() if (value := os.environ.get(variable))},
    }
    if "stack" not in settings:
        settings["stack"] = _name_of_airflow()
    return Cluster(**settings)


def _settings_of_stage(written: Any) -> Any:
    """Take out what is a release's; the stage that GAIAFLOW_STAGE names counts more than what stands above it."""
    if not isinstance(written, dict):
        return written
    stage = os.environ.get("GAIAFLOW_STAGE")
    stages = written.get("stages") or {}
    if stage and stage not in stages:
        raise ValueError(f"{PROD_FILE} has no stage {stage!r}, which GAIAFLOW_STAGE names; it has {list(stages)}")
    settings = {**written, **(stages[stage] or {})} if stage else written
    return {key: value for key, value in settings.items() if key not in ("release", "stages")}


VARIABLES = {
    "namespace": "GAIAFLOW_NAMESPACE",
    "service_account": "GAIAFLOW_SERVICE_ACCOUNT",
    "connection": "GAIAFLOW_KUBERNETES_CONN_ID",
}
TEXT, NUMBER, NAMES = "text", "an int above 0", "a list of names"
LABELS, OBJECTS = "a map of text to text", "a list of maps"
FOR_SETUP = {"check"}  # what `gaiaflow-setup` reads of `prod.yaml`, and pods don't
KEYS = {
    "namespace": TEXT,
    "stack": TEXT,
    "connection": TEXT,
    "service_account": TEXT,
    "env_secrets": NAMES,
    "image_pull_secrets": NAMES,
    "node_selector": LABELS,
    "tolerations": OBJECTS,
    "start_seconds": NUMBER,
}


def _check(written: Any) -> dict[str, Any]:
    if not isinstance(written, dict):
        raise ValueError(f"{PROD_FILE} holds {written!r}; it takes a map of {', '.join(KEYS)}")
    settings = {key: value for key, value in written.items() if key not in FOR_SETUP}
    for key, value in settings.items():
        if key not in KEYS:
            raise ValueError(f"{PROD_FILE} has the unknown key {key!r}; allowed are {', '.join(KEYS)}")
        if not _is(KEYS[key], value):
            raise ValueError(f"{PROD_FILE}: {key} is {value!r}; it takes {KEYS[key]}")
    return settings


def _is(kind: str, value: Any) -> bool:
    if kind == NUMBER:
        return isinstance(value, int) and not isinstance(value, bool) and value > 0
    if kind == TEXT:
        return isinstance(value, str) and bool(value)
    if kind == LABELS:
        return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
    wanted = str if kind == NAMES else dict
    return isinstance(value, list) and all(isinstance(item, wanted) for item in value)


def _name_of_airflow() -> str:
    """Name this Airflow by its address: two that share a cluster have different ones."""
    from airflow.sdk.configuration import conf

    address = conf.get("api", "base_url", fallback="") or ""
    return f"airflow-{hashlib.sha256(address.encode()).hexdigest()[:8]}"
