"""What the services see of the user's environment, by the rules of roles/mlops/vars/main/environment.yml."""

from __future__ import annotations

import fnmatch
import functools
import json
import locale
import os
import re
import sys
import sysconfig
import urllib.parse
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Where the wrapper keeps the user's environment, of which Ansible itself sees little.
HANDED_OVER = "GAIAFLOW_USER_ENVIRONMENT"
OF_ANSIBLE = ("ANSIBLE_*", "AWX_*", "RUNNER_OMIT_EVENTS", "RUNNER_ONLY_FAILED_EVENTS")
OF_LOGIN = ("HOME", "USER", "LOGNAME")
# Those that httpx accepts, by which Airflow's tasks report their state: it refuses to work with another one in sight.
PROXY_SCHEMES = {"http", "https", "socks5", "socks5h"}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
CERTIFICATES = {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"}
LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")
NOT_REACHED = "in a container this address is the container itself; name one at which it sees this machine"
POSIX_ZONE = re.compile(r"([A-Za-z]{3,}|<[A-Za-z0-9+-]+>)([+-]?\d{1,3}(:\d\d){0,2}.*)?")
OTHER_PYTHONS = ("libpython3*.so*", "libssl.so*", "libcrypto.so*", "libstdc++.so*", "libsqlite3.so*")
STACKS_OWN = "the stack sets it itself, for its own services"
SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")


@dataclass
class Seen:
    """What a service sees of the user's environment, and what is told of the rest.

    Attributes:
        variables: What it sees.
        told: Names of variables that it sees otherwise, by the reason.
    """

    variables: dict[str, str] = field(default_factory=dict)
    told: dict[str, list[str]] = field(default_factory=dict)


def user_environment() -> dict[str, str]:
    """Return the user's shell's environment: as the wrapper hands it over, else this process's without Ansible's own.

    Raises:
        ValueError: What was handed over can't be read.
    """
    own = {name: value for name, value in os.environ.items() if not matches(name, OF_ANSIBLE)}
    if not (file := os.environ.get(HANDED_OVER)):
        return own
    try:
        given: dict[str, str] = json.loads(Path(file).read_text())
        complete = {name: own[name] for name in OF_LOGIN if name in own} | given
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{HANDED_OVER} names {file}, which can't be read ({error}).") from error
    if not Path(complete.get("HOME", "")).is_absolute():
        complete["HOME"] = own["HOME"]
    return complete


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a variable's name is among the names and patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def seen(given: Mapping[str, str], rules: list[dict[str, Any]], only: list[str] | None = None) -> Seen:
    """Return what a service sees of an environment.

    Args:
        given: The user's environment.
        rules: The rules, of which the first that names a variable counts.
        only: Names and patterns of all that it may see; None for everything.

    Raises:
        ValueError: A rule asks for a check that there is none of.
    """
    result = Seen()
    for name, value in sorted(given.items()):
        if only is not None and not matches(name, only):
            continue
        rule = next((one for one in rules if matches(name, one["variables"])), None)
        kept = value if rule is None else fitting(value, rule.get("fits", ""))
        if rule is not None and kept != value and not rule.get("quiet"):
            result.told.setdefault(rule["why"], []).append(name)
        if rule is not None and kept is None and rule.get("anyway"):
            kept = value
        if kept is not None:
            result.variables[name] = kept
    return result


def seen_in_container(
    given: Mapping[str, str], rules: list[dict[str, Any]], only: list[str], private: str
) -> tuple[Seen, dict[str, Path]]:
    """Return what a service in a container sees of an environment, and the files that have to be there for it.

    Args:
        given: The user's environment.
        rules: The rules.
        only: Names and patterns of all that it may see.
        private: The container's directory for files of its own.

    Returns:
        What it sees, and by names in that directory the host's files that belong there.
    """
    result, files = seen(given, rules, only), {}
    for name, value in [*result.variables.items()]:
        if name.upper() in PROXIES and is_on_loopback(value):
            del result.variables[name]
            result.told.setdefault(NOT_REACHED, []).append(name)
        elif name in CERTIFICATES and value:
            files[f"{name}.pem"] = Path(value)
            result.variables[name] = f"{private}/{name}.pem"
    return result, files


def is_on_loopback(proxy: str) -> bool:
    """Whether a proxy's address is one that each container takes for itself."""
    host = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}").hostname or ""
    return bool(LOOPBACK.fullmatch(host))


def lines(told: Mapping[str, list[str]]) -> list[str]:
    """Return what is told, a line for each reason; values are secrets' places, so none is shown.

    Args:
        told: Names of variables by the reason.
    """
    return [
        f"{', '.join(names)} of your shell {'is' if len(names) == 1 else 'are'} not passed on to the services as"
        f" {'it is' if len(names) == 1 else 'they are'}: {why}."
        for why, names in told.items()
    ]


class Shell:
    """The environment of the user's shell, and what of it the programs of this host see.

    Args:
        rules: What becomes of its variables.
        basics: Names and patterns of those that every program sees.
    """

    def __init__(self, rules: list[dict[str, Any]], basics: list[str]) -> None:
        self.rules = rules
        self.basics = basics
        self.told: dict[str, list[str]] = {}

    @functools.cached_property
    def given(self) -> dict[str, str]:
        """The user's environment."""
        return user_environment()

    @property
    def notes(self) -> list[str]:
        """What is told of variables that programs see otherwise."""
        return lines(self.told)

    def for_every_program(self) -> dict[str, str]:
        """Return what supervisord sees, and programs that run no code of the user's."""
        return self._told(seen(self.given, self.rules, self.basics))

    def for_program(self, entry: Mapping[str, Any]) -> dict[str, str]:
        """Return what a program sees.

        Args:
            entry: The catalogue's description of it.
        """
        if not entry.get("sees_project"):
            return self.for_every_program()
        found = seen(self.given, self.rules)
        named = {name for names in found.told.values() for name in names}
        if own := sorted(set(entry.get("env", {})) & set(found.variables) - named):
            found.told[STACKS_OWN] = own
        return self._told(found)

    def _told(self, found: Seen) -> dict[str, str]:
        for why, names in found.told.items():
            self.told[why] = sorted({*self.told.get(why, []), *names})
        return found.variables


# ---- What fits


def fitting(value: str, fits: str) -> str | None:
    """Return what may be passed on of a value; None for nothing."""
    if not fits:
        return None
    if fits.startswith("/") and fits.endswith("/"):
        return value if re.fullmatch(fits[1:-1], value) else None
    if fits not in CHECKS:
        raise ValueError(f"There is no check {fits!r} for variables; there are {', '.join(CHECKS)}.")
    return CHECKS[fits](value)


def if_proxy(value: str) -> str | None:
    """Return the value if it is empty, which means none, or a proxy."""
    return value if not value or is_proxy(value) else None


def is_proxy(value: str) -> bool:
    """Whether the clients that the services use accept it as a proxy's address."""
    if not value.isprintable() or re.search(r"\s", value):
        return False
    try:
        address = urllib.parse.urlsplit(value if "//" in value else f"//{value}", scheme="http")
        port, host = address.port, address.hostname or ""
    except ValueError:
        return False
    return address.scheme in PROXY_SCHEMES and bool(host) and port != 0 and not set(host) & set("<>\"'\\^`{|}%")


def if_readable(value: str) -> str | None:
    """Return the value if it is empty, which means none, or an absolute or relative path of what can be read."""
    return value if not value or os.access(value, os.R_OK) else None


def if_writable(value: str) -> str | None:
    """Return the value if it is a directory in which files can be made."""
    return value if Path(value).is_absolute() and Path(value).is_dir() and os.access(value, os.W_OK | os.X_OK) else None


def if_locale(value: str) -> str | None:
    """Return the value if this system has the locales; a list of languages, as LANGUAGE has it, is never wrong."""
    if ":" in value or not value:
        return value
    before = locale.setlocale(locale.LC_MESSAGES)
    try:
        locale.setlocale(locale.LC_MESSAGES, value)
    except (locale.Error, UnicodeError):
        # LANGUAGE may name a language without its locale.
        return value if re.fullmatch(r"[a-z]{2,3}", value) else None
    finally:
        locale.setlocale(locale.LC_MESSAGES, before)
    return value


def if_time_zone(value: str) -> str | None:
    """Return the value if this system knows the time zone, or can't tell."""
    name = value.removeprefix(":")
    if name.startswith("/"):
        return value if Path(name).is_file() else None
    if not name or not any(Path(directory).is_dir() for directory in zoneinfo.TZPATH):
        return value
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        rule = POSIX_ZONE.fullmatch(name)
        return value if rule and (rule[2] or name == "UTC") else None
    return value


def own_libraries(value: str) -> str | None:
    """Return what of a list of directories or files leads to no other Python environment's libraries."""
    entries = [entry for entry in re.split(r"[: ]", value) if entry]
    kept = [entry for entry in entries if not is_other_pythons(Path(entry))]
    return value if kept == entries else ":".join(kept) or None


def is_other_pythons(path: Path) -> bool:
    """Whether a directory or file holds libraries of another Python environment, or isn't there to be loaded."""
    if path.is_dir():
        return not is_own(path) and (
            (path.parent / "conda-meta").is_dir() or any(next(path.glob(one), None) for one in OTHER_PYTHONS)
        )
    if path.suffix and ".so" in path.name:
        there = path.exists() if "/" in str(path) else True
        return not there or (path.parent.parent / "conda-meta").is_dir()
    return False


def is_own(path: Path) -> bool:
    """Whether the directory is the system's, or holds the library of the Python that runs the services."""
    resolved = path.resolve()
    if any(resolved == Path(one).resolve() or Path(one).resolve() in resolved.parents for one in SYSTEM_LIBRARIES):
        return True
    library = sysconfig.get_config_var("INSTSONAME")
    shared = bool(sysconfig.get_config_var("Py_ENABLE_SHARED"))
    return shared and (path / str(library)).exists() and str(resolved).startswith(str(Path(sys.base_prefix).resolve()))


CHECKS: dict[str, Callable[[str], str | None]] = {
    "proxy": if_proxy,
    "file": if_readable,
    "directory": if_writable,
    "locale": if_locale,
    "time zone": if_time_zone,
    "libraries": own_libraries,
}
