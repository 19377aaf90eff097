"""What a task may use of its machine: `resources` of task_factory."""

from __future__ import annotations

import re
from typing import Any

Amounts = dict[str, dict[str, str]]

# What is asked for is set aside for the task; what it uses beyond its memory limit ends it.
PROFILES: dict[str, Amounts] = {
    "small": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    "medium": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
    "large": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}},
}
DEFAULT = "medium"
GPU = "nvidia.com/gpu"

QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(m|[kMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
FACTORS = {
    "m": 1e-3,
    **{letter: 1000.0**power for power, letter in enumerate(["", "k", "M", "G", "T", "P", "E"])},
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)},
}


def to_number(quantity: str) -> float:
    """Return what Kubernetes reads a quantity as: cores, or bytes.

    Raises:
        ValueError: it is no quantity.
    """
    match = QUANTITY.fullmatch(quantity)
    if not match:
        raise ValueError(quantity)
    number, unit = match[1], match[2] or ""
    return float(number + unit) if unit[:1] in ("e", "E") and unit[1:] else float(number) * FACTORS[unit]


def read_resources(resources: Any) -> Amounts:
    """Check `resources`, and return requests and limits as Kubernetes takes them.

    Args:
        resources: the name of a profile, or `{"requests": {"cpu", "memory"}, "limits": {...}, "gpu": 1}`. What isn't
            given is the default profile's. None stands for that profile.

    Raises:
        TypeError: the value or a part of it has the wrong type.
        ValueError: a name is unknown, or an amount isn't allowed.
    """
    if resources is None:
        resources = DEFAULT
    if isinstance(resources, str):
        if resources not in PROFILES:
            raise ValueError(f"resources {resources!r} is not allowed; use one of {', '.join(PROFILES)}, or a dict")
        resources = PROFILES[resources]
    if not isinstance(resources, dict):
        raise TypeError(
            f"resources {resources!r} is a {type(resources).__name__}; use the name of a profile, or a dict"
        )
    if unknown := sorted(map(str, resources.keys() - {"requests", "limits", "gpu"})):
        raise ValueError(f"resources has the unknown keys {unknown}; allowed are requests, limits and gpu")
    given = {part: _read_amounts(part, resources.get(part, {})) for part in ("requests", "limits")}
    amounts = _complete(given)
    for kind, amount in amounts["requests"].items():
        if to_number(amount) > to_number(amounts["limits"][kind]):
            raise ValueError(
                f"resources: requests[{kind!r}] {amount} is more than limits[{kind!r}] {amounts['limits'][kind]}"
            )
    gpu = resources.get("gpu", 0)
    if not isinstance(gpu, int) or isinstance(gpu, bool) or gpu < 0:
        raise ValueError(f"resources['gpu'] is {gpu!r}; use an int, 0 or more")
    if gpu:
        amounts["limits"][GPU] = str(gpu)
    return amounts


def _read_amounts(part: str, amounts: Any) -> dict[str, str]:
    if not isinstance(amounts, dict):
        raise TypeError(f"resources[{part!r}] is {amounts!r}; use a dict such as {PROFILES[DEFAULT][part]}")
    if unknown := sorted(map(str, amounts.keys() - {"cpu", "memory"})):
        raise ValueError(f"resources[{part!r}] has the unknown keys {unknown}; allowed are cpu and memory")
    read = {}
    for kind, amount in amounts.items():
        text = str(amount) if isinstance(amount, (int, float)) and not isinstance(amount, bool) else amount
        if not isinstance(text, str) or not QUANTITY.fullmatch(text) or to_number(text) <= 0:
            raise ValueError(
                f"resources[{part!r}][{kind!r}] is {amount!r}; use an amount such as "
                f"{PROFILES[DEFAULT][part][kind]!r}, in units that Kubernetes knows"
            )
        # Half a byte isn't meant.
        if kind == "memory" and to_number(text) < 1024 * 1024:
            raise ValueError(
                f"resources[{part!r}]['memory'] is {amount!r}, less than 1Mi; give a unit such as Mi or Gi"
            )
        read[kind] = text
    return read


def _complete(given: Amounts) -> Amounts:
    """Fill in what isn't given: from the other part where the default profile doesn't fit what is."""
    requests, limits = dict(given["requests"]), dict(given["limits"])
    for kind in ("cpu", "memory"):
        if kind not in limits:
            default = PROFILES[DEFAULT]["limits"][kind]
            asked = requests.get(kind, default)
            limits[kind] = asked if to_number(asked) > to_number(default) else default
        if kind not in requests:
            default = PROFILES[DEFAULT]["requests"][kind]
            requests[kind] = limits[kind] if to_number(limits[kind]) < to_number(default) else default
    return {"requests": requests, "limits": limits}
