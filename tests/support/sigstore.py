"""Keyless signatures for real: an issuer of a platform's tokens, Sigstore's own Fulcio, and what it has certified."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from loopback import JsonHandler, serving
from registries import ImageRegistry, free_port
from stack import wait_until
from token_endpoint import encode, make_token

AUDIENCE = "sigstore"
LIFETIME_S = 3600
SIGNATURE, CERTIFICATE = "dev.cosignproject.cosign/signature", "dev.sigstore.cosign/certificate"


@dataclass
class Issuer:
    """Who vouches for a platform's jobs, as GitLab does: OpenID's discovery, its key, and tokens.

    Attributes:
        key: What signs the tokens.
        port: Where it is asked.
    """

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048), repr=False)
    port: int = 0

    @property
    def url(self) -> str:
        """The issuer's name, and its address."""
        return f"http://127.0.0.1:{self.port}"

    def token(self, claims: Mapping[str, Any]) -> str:
        """Return a token for Sigstore.

        Args:
            claims: What is said of the job.
        """
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "iat": now, "exp": now + LIFETIME_S, **claims}
        header = {"alg": "RS256", "kid": "1"}
        return make_token(header, said, lambda signed: self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))

    def document(self, path: str) -> dict[str, Any]:
        """Return what it answers."""
        if path == "/keys":
            numbers = self.key.public_key().public_numbers()
            return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "e": "AQAB",
                              "n": encode(numbers.n.to_bytes(256, "big"))}]}  # fmt: skip
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", "id_token_signing_alg_values_supported": ["RS256"]}

    @contextmanager
    def running(self) -> Iterator[Issuer]:
        """Serve on a free port of loopback."""
        with serving(_Handler, self) as self.port:
            yield self


class _Handler(JsonHandler):
    owner: Issuer

    def do_GET(self) -> None:
        self.answer(self.owner.document(self.path))


def job_of_gitlab(project: str, tag: str) -> dict[str, Any]:
    """Return the claims of a GitLab job that a tag began.

    Args:
        project: The project's path.
        tag: The tag.
    """
    return {
        "sub": f"project_path:{project}:ref_type:tag:ref:{tag}",
        "project_path": project, "project_id": "1", "namespace_path": project.split("/")[0], "namespace_id": "1",
        "pipeline_source": "push", "pipeline_id": "1", "job_id": "1", "ref": tag, "ref_type": "tag", "sha": "0" * 40,
        "ci_config_ref_uri": f"gitlab.example/{project}//.gitlab-ci.yml@refs/tags/{tag}", "ci_config_sha": "0" * 40,
        "runner_environment": "gitlab-hosted", "runner_id": 1, "project_visibility": "public",
    }  # fmt: skip


@dataclass(frozen=True)
class Fulcio:
    """Sigstore's certificate authority, with a key that is made when it starts, and no log of certificates.

    Attributes:
        port: Where it is asked.
        issuer: Whose tokens it trusts.
    """

    port: int
    issuer: Issuer

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> list[str]:
        """What `cosign sign` is told of it: there is no log of certificates or signatures here."""
        return [f"--fulcio-url={self.url}", "--tlog-upload=false", "--insecure-skip-verify=true"]

    def root(self) -> x509.Certificate:
        """Return its own certificate."""
        (chain,) = requests.get(f"{self.url}/api/v2/trustBundle", timeout=30).json()["chains"]
        return x509.load_pem_x509_certificate(chain["certificates"][-1].encode())


@contextmanager
def running(program: Path, directory: Path) -> Iterator[Fulcio]:
    """Have Fulcio run, and an issuer that it trusts.

    Args:
        program: Fulcio.
        directory: For its settings and log.
    """
    directory.mkdir()
    with Issuer().running() as issuer, (directory / "log").open("wb") as log:
        trusted = {"IssuerURL": issuer.url, "ClientID": AUDIENCE, "Type": "gitlab-pipeline"}
        # YAML reads JSON.
        (directory / "config.yaml").write_text(json.dumps({"OIDCIssuers": {issuer.url: trusted}}))
        authority = Fulcio(free_port(), issuer)
        command: list[str | Path] = [
            program, "serve", "--ca=ephemeralca", "--ct-log-url=", f"--config-path={directory / 'config.yaml'}",
            "--host=127.0.0.1", "--grpc-host=127.0.0.1", f"--port={authority.port}", f"--grpc-port={free_port()}",
            f"--metrics-port={free_port()}",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(lambda: _answers(authority), 60, "Fulcio answers")
            yield authority
        finally:
            process.terminate()
            process.wait(30)


def _answers(authority: Fulcio) -> bool:
    try:
        return requests.get(f"{authority.url}/healthz", timeout=5).ok
    except requests.ConnectionError:
        return False


def signer(registry: ImageRegistry, repository: str, digest: str, root: x509.Certificate) -> str:
    """Return by whom an image is signed; an exception where the signature or its certificate isn't valid.

    Args:
        registry: The registry.
        repository: The image's repository.
        digest: The image's digest.
        root: Whose certificates count.
    """
    (layer,) = registry.content(repository, f"manifests/{digest.replace(':', '-')}.sig")["layers"]
    payload = registry.ask(f"{repository}/blobs/{layer['digest']}").content
    certificate = x509.load_pem_x509_certificate(layer["annotations"][CERTIFICATE].encode())
    certificate.verify_directly_issued_by(root)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(base64.b64decode(layer["annotations"][SIGNATURE]), payload, ec.ECDSA(hashes.SHA256()))
    assert json.loads(payload)["critical"]["image"]["docker-manifest-digest"] == digest
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (name,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return name
