"""A bundle: one tar file with all that an installation downloads, for a machine without a network.

Its first member, the manifest, has the SHA-256 of every other one; the manifest's own digest names the bundle.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import IO, Any, NamedTuple

from .errors import SetupError

MANIFEST = "manifest.json"
FORMAT = 1
MEMBER = re.compile(r"launcher\.txt|(wheels|programs|cluster)/[^/]+")
CHUNK = 1 << 20


class BundleError(SetupError):
    """The file is no bundle, or not one that can be used."""


class Bundle(NamedTuple):
    """A bundle, as far as its manifest tells."""

    path: Path
    manifest: dict[str, Any]
    digest: str


def read(path: Path) -> Bundle:
    """Read a bundle's manifest, and nothing else: that is quick, however big the bundle is.

    Args:
        path: The bundle.

    Raises:
        BundleError: It can't be read, or isn't a bundle.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
            content = tar.extractfile(first) if first and first.name == MANIFEST else None
            text = content.read() if content else b""
        manifest = json.loads(text)
        version, files = manifest["format"], manifest["files"]
    except OSError as error:
        raise BundleError(f"The bundle {path} can't be read: {error.strerror or error}.") from error
    except (tarfile.TarError, ValueError, LookupError, TypeError) as error:
        raise BundleError(f"{path} is not a bundle of gaiaflow-setup, or was damaged on its way here.") from error
    if version != FORMAT or not all(MEMBER.fullmatch(name) for name in files):
        raise BundleError(
            f"The bundle {path} was made by another version of gaiaflow-setup (its format is {version!r})."
        )
    return Bundle(path, manifest, digest_of(text))


def digest_of(manifest: bytes) -> str:
    """Return the digest that names a bundle.

    Args:
        manifest: Its manifest.
    """
    return hashlib.sha256(manifest).hexdigest()[:16]


def unpack(bundle: Bundle, destination: Path | None) -> None:
    """Verify every member of a bundle, and write it.

    Args:
        bundle: The bundle.
        destination: An absent directory; it is there afterwards only if all is right. None to verify alone.

    Raises:
        BundleError: A member is damaged, missing, or not in the manifest.
    """
    partial = destination and destination.with_name(f".{destination.name}.partial")
    if partial:
        shutil.rmtree(partial, ignore_errors=True)  # a killed run's
        partial.mkdir(parents=True, mode=0o700)
    try:
        _unpack_members(bundle, partial)
        if partial and destination:
            partial.replace(destination)
    except (tarfile.TarError, EOFError) as error:
        raise BundleError(f"The bundle {bundle.path} is cut short or damaged: {error}.") from error
    finally:
        if partial:
            shutil.rmtree(partial, ignore_errors=True)


def _unpack_members(bundle: Bundle, directory: Path | None) -> None:
    missing = dict(bundle.manifest["files"])
    with tarfile.open(bundle.path, "r:") as tar:
        tar.next()  # the manifest
        while member := tar.next():
            wanted = missing.pop(member.name, None)
            content = tar.extractfile(member) if wanted and member.isfile() else None
            if wanted is None or content is None:
                raise BundleError(f"The bundle {bundle.path} holds {member.name!r}, which its manifest doesn't name.")
            found = _copy(content, directory / member.name if directory else None, member.mode)
            if found != wanted["sha256"]:
                raise BundleError(
                    f"In the bundle {bundle.path}, {member.name} is damaged: its sha256 is {found}, "
                    f"and {wanted['sha256']} was packed."
                )
    if missing:
        raise BundleError(
            f"The bundle {bundle.path} is cut short: {len(missing)} files are missing, {min(missing)} first."
        )


def _copy(content: IO[bytes], path: Path | None, mode: int) -> str:
    """Write a member and return its sha256; without a path, reads it only."""
    digest = hashlib.sha256()
    if path is None:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
    path.chmod(0o755 if mode & 0o100 else 0o644)
    return digest.hexdigest()
