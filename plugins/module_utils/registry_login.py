"""With whose name and password a registry is used: Docker's own, the environment's, or AWS's."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What docker_login itself reads Docker's settings, and asks its credential helpers, with.
from ansible_collections.community.docker.plugins.module_utils._api import auth  # type: ignore[import-untyped]
from ansible_collections.community.docker.plugins.module_utils._api.credentials.errors import (  # type: ignore[import-untyped]
    StoreError,
)
from ansible_collections.community.docker.plugins.module_utils._api.errors import (  # type: ignore[import-untyped]
    DockerException,
)

from .common import write_private
from .image import DIGEST
from .registry import Registry, RegistryError
from .web_identity import identify

USER, PASSWORD = "GAIAFLOW_REGISTRY_USER", "GAIAFLOW_REGISTRY_PASSWORD"
# Of the user's settings: logins for images that are built upon, and what builds are given.
KEPT_SETTINGS = ("auths", "credHelpers", "credsStore", "cliPluginsExtraDirs", "HttpHeaders", "proxies")
ECR = re.compile(r"\d{12}\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")


def region_of(host: str, given: str = "") -> str:
    """Return the AWS region of a registry that is ECR, or nothing.

    Args:
        host: The registry's host.
        given: The region, for a registry whose host doesn't tell.
    """
    found = ECR.fullmatch(host)
    return given or (found["region"] if found else "")


def login_of(host: str, directory: str) -> tuple[str, str] | None:
    """Return user and password for a registry, as Docker's settings have them.

    Args:
        host: The registry's host.
        directory: Where `keep` has written a login; empty takes the user's settings.

    Raises:
        RegistryError: The settings can't be read, or a credential helper fails.
    """
    try:
        # A helper of the user's may know this host, too; what was written for this run counts more.
        kept = json.loads((Path(directory) / "config.json").read_text())["auths"] if directory else {}
        found = auth.resolve_authconfig(auth.load_config(config_dict={"auths": kept} if kept else None), host)
    except (DockerException, StoreError, OSError, ValueError) as error:
        raise RegistryError(
            f"Docker's settings give no login for {host}: {error}.", "Find out more: gaiaflow-setup doctor."
        ) from error
    if not found:
        return None
    if found.get("IdentityToken"):
        raise RegistryError(
            f"Docker's login for {host} is an identity token, which can't be used here.",
            f"Set {USER} and {PASSWORD}, to an account or token that the registry takes as a password.",
        )
    user, password = found.get("username") or found.get("Username"), found.get("password") or found.get("Password")
    return (user, password) if user and password else None


def login_of_environment(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return user and password as the environment has them.

    Args:
        environment: The environment.

    Raises:
        RegistryError: Only one of them is there.
    """
    user, password = environment.get(USER, ""), environment.get(PASSWORD, "")
    if bool(user) != bool(password):
        raise RegistryError(
            f"{USER if user else PASSWORD} is set without the other one.", f"Set {USER} and {PASSWORD}."
        )
    return (user, password) if user else None


def user_directory() -> Path:
    """Return where Docker's settings of this user are."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def user_settings() -> dict[str, Any]:
    """Return what of the user's settings a build or a push needs, in a directory of its own, too.

    Raises:
        RegistryError: The settings can't be read.
    """
    file = user_directory() / "config.json"
    try:
        told = json.loads(file.read_text())
        kept = {name: told[name] for name in KEPT_SETTINGS if told.get(name)}
    except FileNotFoundError:
        kept = {}
    except (OSError, ValueError, AttributeError) as error:
        raise RegistryError(f"Docker's settings {file} can't be read: {error}.", "Correct them.") from error
    # Docker's command line looks for plugins beside its settings.
    plugins = [str(user_directory() / "cli-plugins"), *kept.get("cliPluginsExtraDirs", [])]
    return {**kept, "cliPluginsExtraDirs": plugins}


def keep(directory: str, host: str, login: tuple[str, str]) -> None:
    """Write a login as Docker's settings, in a directory that only this run uses; the user's other logins stay valid.

    Args:
        directory: The directory.
        host: The registry's host.
        login: User and password.

    Raises:
        RegistryError: The user's settings can't be read.
    """
    settings = user_settings()
    told = base64.b64encode(":".join(login).encode()).decode()
    auths = {**settings.get("auths", {}), host: {"auth": told}}
    # No helper is asked for this host, not even the one that keeps all logins.
    helpers = {**settings.get("credHelpers", {}), host: ""}
    content = {**settings, "auths": auths, "credHelpers": helpers}
    write_private(Path(directory) / "config.json", json.dumps(content))


class Ecr:
    """Amazon's registry in one region, by AWS's own means of logging in.

    Args:
        region: The region.

    Raises:
        RegistryError: Python has no boto3.
    """

    def __init__(self, region: str) -> None:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise RegistryError(
                "Amazon's registry needs boto3, which this Python doesn't have.",
                "Install it: pip install 'gaiaflow-setup[aws]', or log in to Docker and make the repository by hand.",
            ) from None
        self._errors = (BotoCoreError, ClientError)
        self._client = self._call(boto3.client, "ecr", region_name=region)

    def login(self) -> tuple[str, str]:
        """Return user and password, which hold for some hours.

        Raises:
            RegistryError: AWS refuses.
        """
        (data,) = self._call(self._client.get_authorization_token)["authorizationData"]
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        return user, password

    def has(self, repository: str) -> bool:
        """Return whether a repository is there.

        Args:
            repository: Its name.

        Raises:
            RegistryError: AWS refuses.
        """
        try:
            self._client.describe_repositories(repositoryNames=[repository])
        except self._client.exceptions.RepositoryNotFoundException:
            return False
        except self._errors as error:
            raise self._refusal(error) from error
        return True

    def make(self, repository: str) -> None:
        """Make a repository whose tags never change.

        Args:
            repository: Its name.

        Raises:
            RegistryError: AWS refuses.
        """
        self._call(
            self._client.create_repository,
            repositoryName=repository,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
        )

    def _call(self, function: Any, *values: Any, **named: Any) -> Any:
        try:
            return function(*values, **named)
        except self._errors as error:
            raise self._refusal(error) from error

    @staticmethod
    def _refusal(error: Exception) -> RegistryError:
        return RegistryError(
            f"Amazon's registry refuses: {error}.",
            "Give AWS's own variables (AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, or a profile), to a role that may "
            "use ECR (docs/releases.md).",
        )


def prepare(parameters: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Log in to a registry for one run, and make the repository where that isn't done by a push.

    Args:
        parameters: `registry`, `repository`, `directory` for Docker's settings, `ecr_region`, and `make`: whether a
            repository that is missing is made.
        check: Make none.

    Raises:
        RegistryError: There is no login, or it is refused.
    """
    host, directory = parameters["registry"], parameters["directory"]
    region = region_of(host, parameters["ecr_region"])
    login, made, missing = login_of_environment(os.environ), False, False
    if region and not login and not login_of(host, ""):
        identify(os.environ, Path(directory))
        ecr = Ecr(region)
        login = ecr.login()
        missing = not ecr.has(parameters["repository"])
        if missing and parameters["make"] and not check:
            ecr.make(parameters["repository"])
        made = missing and parameters["make"]
    if login:
        keep(directory, host, login)
    return {"changed": made, "docker_config": directory if login else "", "missing": missing and (check or not made)}


def find_image(parameters: Mapping[str, Any], docker_config: str, *, push: bool = False) -> dict[str, str]:
    """Return an image's digest in a registry, and the digest of what went into it; both are empty where there is none.

    Args:
        parameters: `registry`, `repository` and `reference`.
        docker_config: Where Docker's settings are, with the login; empty takes the user's.
        push: Whether an image that isn't there must be allowed to be pushed.

    Raises:
        RegistryError: The registry can't tell, or takes no push.
    """
    host = parameters["registry"]
    registry = Registry(host, parameters["repository"], login_of(host, docker_config))
    digest = registry.find(parameters["reference"])
    labels = registry.labels(digest) if digest else {}
    if push and not digest:
        registry.refuse_push()
    return {"digest": digest, "content": labels.get(DIGEST, "")}
