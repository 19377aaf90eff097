"""Building images on a Docker engine: where packages come from, with what it is built, and why it failed."""

from __future__ import annotations

import ast
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import SetupError
from .package_sources import Unreadable, default_index, uv_settings
from .shell import user_environment

# The first API of an engine that has BuildKit.
BUILDKIT_API = (1, 39)
# Where Docker's command line looks for plugins, after the user's own.
PLUGINS = tuple(
    f"{root}/docker/cli-plugins" for root in ("/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec")
)

NO_DISK = re.compile(r"no space left on device", re.IGNORECASE)
NO_BASE = re.compile(
    r"> \[internal\] load metadata for|pull access denied|manifest unknown|failed to resolve source metadata"
    r"|error getting credentials|Get \"https://[^\"]*/v2/",
    re.IGNORECASE,
)
# How BuildKit names the step that failed, and the engine's own builder each step.
STEP = re.compile(r"(?: > (?=\[)|Step (?=\d+/\d+ : ))(.*?):?")


class ImageError(SetupError):
    """An image can't be built from what is there."""


# ---- Where packages come from


def package_index(given: str) -> dict[str, str]:
    """Return the build's arguments that name the package index; a directory of this machine is none for a build."""
    try:
        environ = user_environment()
        index = given or default_index(environ)
        told = {**uv_settings(environ), **environ}
    except (Unreadable, ValueError) as error:
        raise ImageError(str(error), "Correct it, or name another one in PIP_CONFIG_FILE.") from error
    refuse_password(index)
    extra = [one.rpartition("=")[2] if "=" in one.split(":")[0] else one for one in told.get("UV_INDEX", "").split()]
    extra += told.get("UV_EXTRA_INDEX_URL", "").split()
    reached = [one for one in extra if is_on_network(one)]
    for one in reached:
        refuse_password(one)
    arguments = {"PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index} if is_on_network(index) else {}
    if reached:
        several = " ".join(reached)
        arguments |= {"PIP_EXTRA_INDEX_URL": several, "UV_INDEX": several}
        arguments["UV_INDEX_STRATEGY"] = told.get("UV_INDEX_STRATEGY", "unsafe-best-match")
    if arguments and told.get("UV_INSECURE_HOST"):
        arguments |= {"PIP_TRUSTED_HOST": told["UV_INSECURE_HOST"], "UV_INSECURE_HOST": told["UV_INSECURE_HOST"]}
    return arguments


def is_on_network(index: str) -> bool:
    """Return whether a build can reach an index: a directory of this machine is none for it."""
    return urlsplit(index).scheme in ("http", "https")


def refuse_password(index: str) -> None:
    """Refuse an index that a build would keep a password of.

    Args:
        index: Its address.

    Raises:
        ImageError: There is a user or a password in it.
    """
    address = urlsplit(index)
    if address.password or address.username:
        raise ImageError(
            f"The package index at {address.hostname} has a user or a password in its address, which a build would keep"
            " in its cache.",
            "Name one without in UV_DEFAULT_INDEX; for a project's image also by -e project_image_index=URL.",
        )


# ---- The builder


def has_buildkit(api: str) -> bool:
    """Whether the engine has BuildKit, and Docker's command line the plugin that speaks to it."""
    own = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    has_plugin = any(os.access(f"{one}/docker-buildx", os.X_OK) for one in (f"{own}/cli-plugins", *PLUGINS))
    return has_plugin and bool(shutil.which("docker")) and tuple(map(int, api.split("."))) >= BUILDKIT_API


# ---- A build that failed


def output_of(failure: dict[str, Any]) -> list[str]:
    """Return what a builder printed; community.docker.docker_image has it as a list in its message."""
    _, separator, logs = str(failure.get("msg", "")).partition(", logs: ")
    try:
        lines = (
            ast.literal_eval(logs) if separator else str(failure.get("stderr") or failure.get("msg", "")).splitlines()
        )
    except (SyntaxError, ValueError):
        lines = [logs]
    # What a program printed in colours is read without them.
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for text in lines for line in str(text).splitlines()]


def last_step(output: list[str]) -> list[str]:
    """Return the output from the step on that failed; all of it where no step had begun."""
    begun = [number for number, line in enumerate(output) if STEP.fullmatch(line)]
    return output[begun[-1] :] if begun else output


def explain(failure: dict[str, Any], output: list[str], image: str, base: str) -> ImageError:
    """Return what went wrong, as people need to read it."""
    said = str(failure.get("msg", "")).partition(", logs: ")[0]
    text = "\n".join([*output, said])
    if NO_DISK.search(text):
        return ImageError(
            f"{image} couldn't be built: the disk is full where the Docker engine keeps its images.",
            "See `docker system df`; `docker builder prune` removes what only makes builds faster.",
        )
    if NO_BASE.search(text):
        return ImageError(
            f"{image} couldn't be built: its base image {base} is not here and can't be pulled.",
            f"Try `docker pull {base}`; or name another one: -e base_image=IMAGE.",
        )
    step = STEP.fullmatch(output[0]) if output else None
    return ImageError(
        f"{image} couldn't be built: " + (f"step {step[1]} of the Dockerfile failed." if step else said),
        "Correct what the end of its output complains of, and run this again. An image built before is still there.",
    )


def explain_pull(failure: dict[str, Any], image: str) -> ImageError:
    """Why an image that isn't built here could not be had."""
    return ImageError(
        f"The image {image} is not here and can't be pulled: {failure.get('msg', '')}",
        f"Try `docker pull {image}`; a mirror's or another is named by -e postgres_image=IMAGE or -e s3_image=IMAGE.",
    )
