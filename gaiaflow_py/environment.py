"""What the wrapped Ansible sees of the user's environment: a short list of variables, and nothing else.

What Ansible does is the product's to decide. A variable that isn't listed here, a configuration or plugins in the home
or working directory, a virtual environment or conda may be there for good reasons, all of them others.
"""

from __future__ import annotations

import fnmatch
import os
import pwd
import site
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from gaiaflow_py.errors import InputError
from gaiaflow_py.paths import home_directory

PASSED_ON: Mapping[str, str] = {
    "PATH": "where programs such as docker are found",
    "HOME": "where pip's, uv's, SSH's and Docker's settings are",
    "TMPDIR": "where temporary files go",
    "TZ": "the time zone",
    "LANG, LC_*": "the locale, where it is one of UTF-8",
    "HTTP_PROXY, HTTPS_PROXY, FTP_PROXY, ALL_PROXY, NO_PROXY": "how the network is reached; in lower case, too",
    "SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE": "whose certificates are trusted",
    "NETRC": "where passwords for package indexes are",
    "PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, PIP_NO_INDEX, PIP_CONFIG_FILE": "where pip looks for packages",
    "PIP_TRUSTED_HOST, PIP_CERT, PIP_CLIENT_CERT, PIP_PROXY, PIP_KEYRING_PROVIDER": "how pip reaches that",
    "PIP_RETRIES, PIP_TIMEOUT, PIP_DEFAULT_TIMEOUT": "how long pip waits",
    "UV_INDEX, UV_INDEX_*, UV_DEFAULT_INDEX, UV_EXTRA_INDEX_URL, UV_FIND_LINKS, UV_NO_INDEX, UV_CONFIG_FILE": (
        "where uv looks for packages"
    ),
    "UV_INSECURE_HOST, UV_SYSTEM_CERTS, UV_NATIVE_TLS, UV_KEYRING_PROVIDER": "how uv reaches that",
    "UV_HTTP_TIMEOUT, UV_HTTP_RETRIES, UV_CONCURRENT_*, UV_CACHE_DIR, UV_OFFLINE": "how uv downloads",
    "GIT_SSH, GIT_SSH_COMMAND, GIT_SSL_*, GIT_ASKPASS": "how dependencies from Git repositories are reached",
    "XDG_CONFIG_HOME, XDG_CONFIG_DIRS, XDG_CACHE_HOME, XDG_DATA_HOME": "where settings and caches are",
    "XDG_RUNTIME_DIR, DBUS_SESSION_BUS_ADDRESS": "the user's own services: rootless Docker, the keyring",
    "DOCKER_HOST, DOCKER_CONFIG, DOCKER_CONTEXT, DOCKER_CERT_PATH, DOCKER_TLS_VERIFY, DOCKER_API_VERSION": (
        "which Docker engine is used, and with whose passwords"
    ),
    "AWS_*, GOOGLE_APPLICATION_CREDENTIALS": "what the credential helpers of image registries and keyrings ask for",
    "SIGSTORE_*, COSIGN_*, TUF_ROOT": "as whom images are signed, and by whose Sigstore",
    "ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN": "by which AWS trusts a job of GitHub Actions",
    "SSH_AUTH_SOCK, SSH_AGENT_PID, KRB5CCNAME, KRB5_CONFIG": "what logs in on other hosts",
    "SUDO_USER": "who is to run containers, when gaiaflow-setup itself runs by sudo",
    "WSL_DISTRO_NAME, WSL_INTEROP": "how WSL is asked",
    "ANSIBLE_VAULT_PASSWORD_FILE, ANSIBLE_VAULT_IDENTITY, ANSIBLE_VAULT_IDENTITY_LIST": (
        "what opens the variables that a vault holds"
    ),
    "GAIAFLOW_*": "this product's own",
    "MINIKUBE_*": "Minikube's own",
}
"""Names and patterns of the variables that are passed on, and what for; docs/environment.md says the same."""

BOTH_CASES = "_PROXY"

MARK = "GAIAFLOW_INSTANCE_DIRECTORY"
"""By this an instance's processes are known. A terminal in JupyterLab is one; what is started there mustn't be."""

PLUGIN_PATHS = (
    "ACTION", "BECOME", "CACHE", "CALLBACK", "CLICONF", "CONNECTION", "DOC_FRAGMENT", "FILTER", "HTTPAPI", "INVENTORY",
    "LOOKUP", "NETCONF", "STRATEGY", "TERMINAL", "TEST", "VARS",
)  # fmt: skip
"""The kinds of plugins that Ansible looks for outside the product, unless it is told another place."""

OF_RUNNER = (
    "ANSIBLE_CACHE_PLUGIN", "ANSIBLE_CACHE_PLUGIN_CONNECTION", "ANSIBLE_CALLBACK_PLUGINS",
    "ANSIBLE_RETRY_FILES_ENABLED", "ANSIBLE_STDOUT_CALLBACK", "AWX_ISOLATED_DATA_DIR",
    "RUNNER_OMIT_EVENTS", "RUNNER_ONLY_FAILED_EVENTS",
)  # fmt: skip
"""What ansible-runner sets for its own callback."""


def patterns() -> Iterator[str]:
    """Yield the names and patterns one by one."""
    for listed in PASSED_ON:
        for pattern in listed.split(", "):
            yield pattern
            if pattern.endswith(BOTH_CASES):
                yield pattern.lower()


def passed_on(given: Mapping[str, str]) -> dict[str, str]:
    """Return what Ansible sees of an environment.

    Args:
        given: The user's environment.

    Raises:
        InputError: A value isn't UTF-8.
    """
    names = {name for pattern in patterns() for name in fnmatch.filter(given, pattern)} - {MARK}
    for name in names:
        _refuse_other_encodings(name, given[name])
    return {name: given[name] for name in names} | _own_values(given)


def _refuse_other_encodings(name: str, value: str) -> None:
    try:
        f"{name}{value}".encode()
    except UnicodeEncodeError:
        raise InputError(
            f"The environment variable {name} isn't UTF-8: {os.fsencode(value)!r}.", f"Set it anew, or `unset {name}`."
        ) from None


def _own_values(given: Mapping[str, str]) -> dict[str, str]:
    """Return what Ansible must be told truly, whatever the environment says."""
    values = {"HOME": str(home_directory(given))}
    if given.get("TMPDIR"):
        values["TMPDIR"] = tempfile.gettempdir()  # an absolute one, that is there
    if file := given.get("ANSIBLE_VAULT_PASSWORD_FILE"):
        values["ANSIBLE_VAULT_PASSWORD_FILE"] = str(Path(file).expanduser().absolute())  # Ansible runs elsewhere
    if (user := _login_name()) is not None:
        values |= {"USER": user, "LOGNAME": user}
    if not _is_in_user_site():
        values["PYTHONNOUSERSITE"] = "1"
    if directory := _directory_of_libpython(given):
        values["LD_LIBRARY_PATH"] = directory
    return values


def _login_name() -> str | None:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def _is_in_user_site() -> bool:
    """Whether this package was installed by `pip install --user`: then Ansible and its modules' packages were, too."""
    return Path(__file__).is_relative_to(site.getusersitepackages())


def _directory_of_libpython(given: Mapping[str, str]) -> str | None:
    """Where this Python's shared library is, if it is found by LD_LIBRARY_PATH alone, as on clusters with modules."""
    directories = given.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    if directories == [""]:
        return None
    import sysconfig

    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return None
    library = sysconfig.get_config_var("INSTSONAME")
    return next((one for one in directories if Path(one).is_absolute() and Path(one, library).exists()), None)


def for_ansible(given: Mapping[str, str], private: Path) -> dict[str, str]:
    """Return the environment of ansible-playbook, but for what a run adds.

    Args:
        given: The user's environment.
        private: A directory of the run's own, for what would be in the home directory otherwise.

    Raises:
        InputError: A value can't be passed on.
    """
    nowhere = str(private / "none")
    return {
        **passed_on(given),
        **{f"ANSIBLE_{kind}_PLUGINS": nowhere for kind in PLUGIN_PATHS},
        "ANSIBLE_COLLECTIONS_PATH": str(Path(__file__).resolve().parents[1]),  # and those beside Ansible itself
        "ANSIBLE_HOME": str(private),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_STDOUT_CALLBACK": "",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "AWX_LIB_DIRECTORY": "",
    }
