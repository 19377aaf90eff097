"""Where Python packages come from: the settings that a machine has for pip, as uv takes them.

uv reads its own settings and none of pip's: a machine that is set up for a company's index would ask the wrong one.
Run as a program, it prints what to set as lines for a shell: `eval "$(python package_sources.py)"`.
The standard library alone: the launcher needs it before any package is there.
Sources: https://pip.pypa.io/en/stable/topics/configuration/, https://docs.astral.sh/uv/reference/environment/
"""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SYSTEM_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
PIP_OF_SYSTEM = Path("/etc/pip.conf")
UV_OF_SYSTEM = Path("/etc/uv/uv.toml")
SECTIONS = ("global", "install")
"""The sections of pip's configuration that concern an installation; the later one counts."""

LISTS = {"extra-index-url": " ", "find-links": ",", "trusted-host": " "}
"""Settings with several values, and what separates them for uv."""

HANDED_OVER = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
}
"""What uv calls pip's settings."""

OWN_VARIABLES = {
    "UV_DEFAULT_INDEX": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "UV_INDEX": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
}
"""The variables by which a user tells uv the same; otherwise it is the variable of that name."""

OWN_KEYS = {
    "UV_DEFAULT_INDEX": ("index-url",),
    "UV_INDEX": ("extra-index-url",),
    "UV_FIND_LINKS": ("find-links",),
    "UV_INSECURE_HOST": ("allow-insecure-host",),
}
"""The keys by which uv's configuration tells the same."""


class Unreadable(Exception):
    """A configuration can't be read; the message names it and says why."""


def pip_configurations(environ: Mapping[str, str]) -> list[Path]:
    """Return the places of pip's configuration, the one that counts most last.

    Args:
        environ: The user's environment.
    """
    own = environ.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    shared = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    places = [*(Path(one) / "pip/pip.conf" for one in shared if one), PIP_OF_SYSTEM]
    if not (own and Path(own).exists()):
        places += [home / ".pip/pip.conf", Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"]
    if environ.get("VIRTUAL_ENV"):
        places.append(Path(environ["VIRTUAL_ENV"]) / "pip.conf")
    return [*places, *([Path(own)] if own else [])]


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings by name, as an installation by pip would have them.

    Args:
        environ: The user's environment.

    Raises:
        Unreadable: A configuration is broken.
    """
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for path in pip_configurations(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise Unreadable(f"pip's configuration {path} can't be read: {error}") from error
        except OSError:
            continue
        for section in (one for one in SECTIONS if parser.has_section(one)):
            found[section] |= {name.lower().replace("_", "-"): value for name, value in parser.items(section)}
    variables = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value
    }
    settings = {**found["global"], **found["install"], **variables}
    if "default-timeout" in settings:
        settings.setdefault("timeout", settings["default-timeout"])
    return {name: " ".join(value.split()) if name in LISTS else value.strip() for name, value in settings.items()}


def uv_configurations(environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield what uv's own configurations hold, the user's and the system's.

    Args:
        environ: The user's environment.
    """
    if environ.get("UV_NO_CONFIG", "").lower() in ("1", "true", "yes", "on"):
        return
    home = Path(environ.get("HOME") or Path.home())
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv/uv.toml"
    shared = [Path(one) / "uv/uv.toml" for one in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if one]
    places = [Path(environ["UV_CONFIG_FILE"])] if environ.get("UV_CONFIG_FILE") else [user, *shared, UV_OF_SYSTEM]
    for path in places:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # uv itself complains of a broken one
        yield content
        yield content.get("pip", {})


def default_index(environ: Mapping[str, str]) -> str:
    """Return the package index that uv asks, or nothing for its own default.

    Args:
        environ: The user's environment.

    Raises:
        Unreadable: A configuration is broken.
    """
    for name in OWN_VARIABLES["UV_DEFAULT_INDEX"]:
        if environ.get(name):
            return environ[name]
    for content in uv_configurations(environ):
        defaults = [str(one.get("url", "")) for one in indexes_in(content) if one.get("default")]
        if defaults or "index-url" in content:
            return defaults[0] if defaults else str(content["index-url"])
    return pip_settings(environ).get("index-url", "")


def indexes_in(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the indexes that a configuration of uv's lists.

    Args:
        content: The configuration, or the table `tool.uv` of a project.
    """
    listed = content.get("index")
    return [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []


def is_told(name: str, environ: Mapping[str, str], configurations: list[dict[str, Any]]) -> bool:
    """Return whether the user has told uv the same already: then that counts.

    Args:
        name: The variable of uv's.
        environ: The user's environment.
        configurations: What uv's configurations hold.
    """
    if any(environ.get(one) for one in OWN_VARIABLES.get(name, (name,))):
        return True
    if any(key in content for content in configurations for key in OWN_KEYS.get(name, ())):
        return True
    kinds = {"UV_DEFAULT_INDEX": True, "UV_INDEX": False}
    indexes = [one for content in configurations for one in indexes_in(content)]
    return name in kinds and any(bool(one.get("default")) is kinds[name] for one in indexes)


def uv_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that tell uv what the machine's pip is told, less what uv is told already.

    Args:
        environ: The user's environment.

    Raises:
        Unreadable: A configuration is broken.
    """
    pip, configurations = pip_settings(environ), list(uv_configurations(environ))
    settings = {
        name: LISTS[setting].join(pip[setting].split()) if setting in LISTS else pip[setting]
        for setting, name in HANDED_OVER.items()
        if pip.get(setting) and not is_told(name, environ, configurations)
    }
    if "UV_INDEX" in settings and not environ.get("UV_INDEX_STRATEGY"):
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip, which takes the best of all indexes
    settings |= certificates(environ, settings)
    proxy = pip.get("proxy", "")
    if proxy and not any(environ.get(one) for one in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        settings |= {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy}
    keyring = pip.get("keyring-provider", "")
    wanted = keyring in ("import", "subprocess") or (keyring == "auto" and shutil.which("keyring"))
    if wanted and not environ.get("UV_KEYRING_PROVIDER"):
        settings["UV_KEYRING_PROVIDER"] = "subprocess"
    return settings


def certificates(environ: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return what makes uv trust whom pip and the system trust.

    Args:
        environ: The user's environment.
        settings: What was handed over already.
    """
    if environ.get("SSL_CERT_FILE") or "SSL_CERT_FILE" in settings:
        return {}
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if environ.get(name) and Path(environ[name]).is_file():
            return {"SSL_CERT_FILE": environ[name]}
    told = environ.get("UV_SYSTEM_CERTS") or environ.get("UV_NATIVE_TLS")
    # A company's own authority is among the system's.
    return {"UV_SYSTEM_CERTS": "true"} if not told and any(map(os.path.exists, SYSTEM_CERTIFICATES)) else {}


def uv_arguments(environ: Mapping[str, str]) -> list[str]:
    """Return the options that tell uv what no variable does.

    Args:
        environ: The user's environment.

    Raises:
        Unreadable: A configuration is broken.
    """
    no_index = pip_settings(environ).get("no-index", "").lower() in ("1", "true", "yes", "on", "y", "t")
    return ["--no-index"] if no_index else []


def main() -> None:
    """Print the settings for a shell; a broken configuration is an error."""
    try:
        for name, value in uv_settings(os.environ).items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"uv_arguments={shlex.quote(' '.join(uv_arguments(os.environ)))}")
    except Unreadable as error:
        sys.exit(f"gaiaflow-setup: {error}")


if __name__ == "__main__":
    main()
