"""A small client of image registries (OCI distribution): what a registry has, and whether it takes a push."""

from __future__ import annotations

import base64
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urljoin

from .errors import SetupError

ANSWER_S = 30.0
DIGEST = "docker-content-digest"
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
LOOPBACK = re.compile(r"(localhost|127(\.\d+){3})(:\d+)?")
# How an index marks what is no image: SBOM and provenance.
ATTESTED = "vnd.docker.reference.type"
LOG_IN = (
    "Log in with `docker login`, or set GAIAFLOW_REGISTRY_USER and GAIAFLOW_REGISTRY_PASSWORD; the account must be "
    "allowed to push there."
)


class RegistryError(SetupError):
    """A registry refuses, can't be reached, or answers what nobody understands."""


class Answer:
    """An answer of a registry's.

    Args:
        status: The HTTP status.
        headers: Its headers.
        body: Its body.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.body = status, body
        self.headers = {name.lower(): value for name, value in headers.items()}


class Registry:
    """A registry, as far as one repository in it is concerned.

    Args:
        host: Its host, with a port if need be.
        repository: The repository's name in it.
        login: User and password, if there are any.
    """

    def __init__(self, host: str, repository: str, login: tuple[str, str] | None = None) -> None:
        self.host, self.repository, self.login = host, repository, login
        is_near = LOOPBACK.fullmatch(host)
        self.address = f"{'http' if is_near else 'https'}://{host}"
        self._opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if is_near else []))
        self._authorization = ""

    def find(self, reference: str) -> str:
        """Return the digest that a tag or digest leads to, or nothing where there is no such image.

        Args:
            reference: The tag or digest.

        Raises:
            RegistryError: The registry can't tell.
        """
        answer = self._ask("HEAD", f"manifests/{reference}", accept=(*INDEXES, *MANIFESTS))
        if answer.status == http.client.NOT_FOUND:
            return ""
        self._expect(answer, http.client.OK)
        return answer.headers.get(DIGEST, "")

    def labels(self, reference: str) -> dict[str, str]:
        """Return an image's labels; of several platforms' images, the first one's.

        Args:
            reference: Its tag or digest.

        Raises:
            RegistryError: The registry can't tell.
        """
        manifest = self._read(f"manifests/{reference}", (*INDEXES, *MANIFESTS))
        for one in manifest.get("manifests") or ():
            if ATTESTED not in (one.get("annotations") or {}):
                manifest = self._read(f"manifests/{one['digest']}", MANIFESTS)
                break
        config = self._read(f"blobs/{manifest['config']['digest']}", ())
        return (config.get("config") or {}).get("Labels") or {}

    def refuse_push(self) -> None:
        """Refuse a login that may not push: an upload is begun, and given up before anything is sent.

        Raises:
            RegistryError: The registry takes no push.
        """
        answer = self._ask("POST", "blobs/uploads/")
        self._expect(answer, http.client.ACCEPTED)
        place = urljoin(f"{self.address}/", answer.headers.get("location", ""))
        if place.startswith(self.address):
            # A registry that doesn't know how to give one up lets it time out.
            self._send("DELETE", place, ())

    def _read(self, path: str, accept: tuple[str, ...]) -> dict[str, Any]:
        answer = self._ask("GET", path, accept)
        self._expect(answer, http.client.OK)
        try:
            return dict(json.loads(answer.body))
        except ValueError as error:
            raise RegistryError(f"The registry {self.host} answers what isn't JSON: {error}.") from error

    def _ask(self, method: str, path: str, accept: tuple[str, ...] = ()) -> Answer:
        address = f"{self.address}/v2/{self.repository}/{path}"
        answer = self._send(method, address, accept)
        if answer.status == http.client.UNAUTHORIZED:
            self._authorization = self._log_in(answer.headers.get("www-authenticate", ""))
            answer = self._send(method, address, accept)
        return answer

    def _log_in(self, challenge: str) -> str:
        """Return what the registry's challenge asks for."""
        scheme, _, rest = challenge.partition(" ")
        basic = "Basic " + base64.b64encode(":".join(self.login).encode()).decode() if self.login else ""
        if scheme.lower() == "basic":
            return basic
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in asked:
            return ""
        query = {"scope": f"repository:{self.repository}:pull,push"}
        query |= {"service": asked["service"]} if "service" in asked else {}
        answer = self._send("GET", f"{asked['realm']}?{urlencode(query)}", (), basic)
        if answer.status != http.client.OK:
            return ""
        try:
            told = json.loads(answer.body)
        except ValueError:
            return ""
        token = told.get("token") or told.get("access_token")
        return f"Bearer {token}" if token else ""

    def _send(self, method: str, address: str, accept: tuple[str, ...], authorization: str | None = None) -> Answer:
        request = urllib.request.Request(address, method=method, data=b"" if method == "POST" else None)
        if accept:
            request.add_header("Accept", ", ".join(accept))
        if given := self._authorization if authorization is None else authorization:
            # Not to where a registry redirects: its storage is somebody else's.
            request.add_unredirected_header("Authorization", given)
        try:
            with self._opener.open(request, timeout=ANSWER_S) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise RegistryError(
                f"The registry {self.host} can't be reached: {reason}.", "Run this again when it answers."
            ) from error

    def _expect(self, answer: Answer, status: int) -> None:
        if answer.status == status:
            return
        if answer.status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            raise RegistryError(f"The registry {self.host} refuses the login ({answer.status}).", LOG_IN)
        said = _said(answer.body)
        raise RegistryError(
            f"The registry {self.host} answers {answer.status}{f': {said}' if said else ''}.",
            "Check `registry` in prod.yaml, and that the repository may be made there.",
        )


def _said(body: bytes) -> str:
    """Return what a registry says of an error, if it says it as the specification has it."""
    try:
        return ", ".join(str(one.get("message") or one.get("code")) for one in json.loads(body)["errors"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
