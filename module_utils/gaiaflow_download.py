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

CHUNK = 1 << 20
# Answers that speak of a proxy or a server in trouble, and not of the file that was asked for.
TROUBLED = (407, 429)
UNTRUSTED = "A company's proxy that looks into TLS needs its certificate among the host's."


class Refused(Exception):
    """The file can't be had as it was asked for: an error, whatever the network does.

    Attributes:
        hint: What to do next; empty where only the caller knows.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Unreachable(Exception):
    """The site doesn't answer: something for later."""


def opened(url: str, timeout: int) -> Any:
    """The site's answer.

    Args:
        url: The address.
        timeout: Seconds that the site may be silent for.

    Raises:
        Refused: It has no such file, or can't be trusted.
        Unreachable: It doesn't answer.
    """
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "gaiaflow-setup"})
        return urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        kind = Unreachable if error.code >= 500 or error.code in TROUBLED else Refused
        raise kind(f"{url} answers {error.code} ({error.reason})") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise Refused(f"{url} is no address ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise Refused(f"The certificate of {url} is not trusted ({reason.verify_message})", UNTRUSTED) from error
        kind = Refused if urllib.parse.urlsplit(url).scheme == "file" else Unreachable
        raise kind(f"{url} can't be had ({reason or type(error).__name__})") from error


def download(url: str, sha256: str, path: Path, timeout: int) -> None:
    """Downloads a file.

    Args:
        url: The address.
        sha256: The checksum that it must have.
        path: Where to; nothing is there after a failure.
        timeout: Seconds that the site may be silent for.

    Raises:
        Refused: It isn't the file that was asked for.
        Unreachable: The site doesn't answer, or falls silent.
    """
    digest = hashlib.sha256()
    try:
        with opened(url, timeout) as answer, path.open("wb") as file:
            for piece in _pieces(url, answer):
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != sha256.lower():
            raise Refused(f"The SHA-256 of {url} is {digest.hexdigest()}, and not {sha256}")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _pieces(url: str, answer: Any) -> Iterator[bytes]:
    expected, received = answer.headers.get("Content-Length"), 0
    while True:
        try:
            piece = answer.read1(CHUNK)
        except http.client.IncompleteRead as error:
            raise Refused(f"{url} ended too early, after {received} bytes") from error
        except OSError as error:
            raise Unreachable(f"{url} fell silent after {received} bytes ({error})") from error
        if not piece:
            break
        received += len(piece)
        yield piece
    if expected and received < int(expected):
        raise Refused(f"{url} ended too early, after {received} of {expected} bytes")
