"""Ask a site for a file, by the same code as Ansible's get_url: with its proxies, certificates and passwords."""

from __future__ import annotations

from typing import Any

from .errors import SetupError

# Answers that speak of a proxy or a server in trouble, and not of the file that was asked for.
TROUBLED = (407, 429)
UNTRUSTED = "A company's proxy that looks into TLS needs its certificate among the host's."


class RefusedError(SetupError):
    """The file can't be had as it was asked for, whatever the network does."""


class UnreachableError(SetupError):
    """The site doesn't answer: something for later."""


def opened(url: str, timeout: int) -> Any:
    """Return the site's answer, to be read and closed.

    Args:
        url: The address.
        timeout: Seconds that the site may be silent for.

    Raises:
        RefusedError: It has no such file, or can't be trusted.
        UnreachableError: It doesn't answer.
    """
    # Only where somebody asks: to load them takes a module longer than all that it does on a converged host.
    import http.client
    import ssl
    import urllib.error

    from ansible.module_utils.urls import open_url

    try:
        return open_url(url, timeout=timeout)
    except urllib.error.HTTPError as error:
        kind = UnreachableError if error.code >= 500 or error.code in TROUBLED else RefusedError
        raise kind(f"{url} answers {error.code} ({error.reason})") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise RefusedError(f"{url} is no address ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise RefusedError(
                f"The certificate of {url} is not trusted ({reason.verify_message})", UNTRUSTED
            ) from error
        kind = RefusedError if url.startswith("file:") else UnreachableError
        raise kind(f"{url} can't be had ({reason or type(error).__name__})") from error


def ask(url: str, timeout: int) -> dict[str, str]:
    """Return whether a site has a file; nothing is downloaded.

    Args:
        url: The address.
        timeout: Seconds that the site may be silent for.

    Returns:
        `state` (`ok`, `unreachable` or `refused`), `reason`, and a `hint` where there is one.
    """
    state, reason, hint = "ok", "", ""
    try:
        opened(url, timeout).close()
    except (RefusedError, UnreachableError) as error:
        state = "refused" if isinstance(error, RefusedError) else "unreachable"
        reason, hint = str(error), error.hint
    return {"state": state, "reason": reason, "hint": hint}
