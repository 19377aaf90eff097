"""Downloading a pinned file: whole and with the right checksum, or not at all."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.gaiaflow_errors import SetupError

CHUNK = 1 << 20
# Answers that speak of a proxy or a server in trouble, and not of the file that was asked for.
TROUBLED = (407, 429)
UNTRUSTED = "A company's proxy that looks into TLS needs its certificate among the host's."


class DownloadError(SetupError):
    """The file can't be had as it was asked for, whatever the network does."""


class UnreachableError(SetupError):
    """The site doesn't answer: something for later."""


def opened(url: str, timeout: int) -> Any:
    """The site's answer.

    Args:
        url: The address.
        timeout: Seconds that the site may be silent for.

    Raises:
        DownloadError: It has no such file, or can't be trusted.
        UnreachableError: It doesn't answer.
    """
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "gaiaflow-setup"})
        return urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        kind = UnreachableError if error.code >= 500 or error.code in TROUBLED else DownloadError
        raise kind(f"{url} answers {error.code} ({error.reason})") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise DownloadError(f"{url} is no address ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"The certificate of {url} is not trusted ({reason.verify_message})", UNTRUSTED
            ) from error
        kind = DownloadError if urllib.parse.urlsplit(url).scheme == "file" else UnreachableError
        raise kind(f"{url} can't be had ({reason or type(error).__name__})") from error


def download(url: str, sha256: str, path: Path, timeout: int) -> None:
    """Downloads a file.

    Args:
        url: The address.
        sha256: The checksum that it must have.
        path: Where to; nothing is there after a failure.
        timeout: Seconds that the site may be silent for.

    Raises:
        DownloadError: It isn't the file that was asked for.
        UnreachableError: The site doesn't answer, or falls silent.
    """
    digest = hashlib.sha256()
    try:
        with opened(url, timeout) as answer, path.open("wb") as file:
            for piece in _pieces(url, answer):
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != sha256.lower():
            raise DownloadError(f"The SHA-256 of {url} is {digest.hexdigest()}, and not {sha256}")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _pieces(url: str, answer: Any) -> Iterator[bytes]:
    expected, received = answer.headers.get("Content-Length"), 0
    while True:
        try:
            piece = answer.read1(CHUNK)
        except http.client.IncompleteRead as error:
            raise DownloadError(f"{url} ended too early, after {received} bytes") from error
        except OSError as error:
            raise UnreachableError(f"{url} fell silent after {received} bytes ({error})") from error
        if not piece:
            break
        received += len(piece)
        yield piece
    if expected and received < int(expected):
        raise DownloadError(f"{url} ended too early, after {received} of {expected} bytes")
