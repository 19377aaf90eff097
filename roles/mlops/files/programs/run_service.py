"""Becomes one service of the stack: `run_service.py SERVICES_JSON NAME`, as supervisord calls it.

In a container, where SERVICES_JSON holds one service, it is called without the name.

Waits for what the service needs, does its one-time preparation, and then replaces itself with the service's command.
Secrets are filled in here and nowhere earlier: SERVICES_JSON holds placeholders such as `@{minio.secret_key}`, and
their values go from the credentials file into the environment, or into a file only the owner reads, never into argv.
Standard library alone, since it runs before and beside every environment of the stack.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PLACEHOLDER = re.compile(r"@\{([\w.]+)\}")
CAPABILITY_BITS = {"dac_read_search": 2, "dac_override": 1}
POLL_SECONDS = 0.05
OWN_HOSTS = ("127.0.0.1", "localhost", "::1")
NO_PROXY_ITEM = re.compile(r"\*|(\w+://)?[\w.*-]+(:\d+)?|\d+(\.\d+){3}/\d+")


def fill_in(text: str, credentials: dict[str, Any]) -> str:
    """Replace each `@{path.to.value}` by that value of the credentials."""

    def value_of(match: re.Match[str]) -> str:
        value: Any = credentials
        for key in match[1].split("."):
            value = value[key]
        return str(value)

    return PLACEHOLDER.sub(value_of, text)


def wait_for(host: str, port: int) -> None:
    """Blocks until something accepts connections there; who started us bounds the wait by stopping us."""
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(POLL_SECONDS)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def unprivileged_user() -> int:
    """Return the user id for what refuses to run as root; 'nobody' is the one that every distribution has."""
    import pwd

    return pwd.getpwnam("nobody").pw_uid


def give(directory: Path, user_id: int) -> None:
    """Make the user the owner of a directory and all in it; itself comes last, as it tells that this was done."""
    if directory.stat().st_uid == user_id:
        return
    for parent, directories, files in os.walk(directory, topdown=False):
        for name in (*directories, *files):
            os.chown(Path(parent) / name, user_id, user_id, follow_symlinks=False)
    os.chown(directory, user_id, user_id)


def drop_root(user_id: int) -> list[str]:
    """Return the command prefix that gives up root but still reaches files in root's home.

    PostgreSQL checks its own path with access(2), which ignores capabilities after a change of user unless
    the no_setuid_fixup bit is set; hence setpriv's securebits.
    """
    status = Path("/proc/self/status").read_text()
    bounding_set = int(re.search(r"^CapBnd:\s*(\w+)", status, re.MULTILINE)[1], 16)  # type: ignore[index]
    capability = next((name for name, bit in CAPABILITY_BITS.items() if bounding_set >> bit & 1), None)
    identity = [f"--reuid={user_id}", f"--regid={user_id}", "--clear-groups"]
    if capability is None:
        return ["setpriv", *identity]
    kept = f"-all,+{capability}"
    return [
        "setpriv",
        "--securebits=+no_setuid_fixup",
        *identity,
        f"--inh-caps={kept}",
        f"--ambient-caps=+{capability}",
        f"--bounding-set={kept}",
    ]


def users_environment(services_file: Path, name: str) -> dict[str, str]:
    """Return what the service sees of the environment of the shell that started it: kept beside the services file."""
    in_container = services_file.with_name("environment.json")
    if in_container.exists():
        return {**os.environ, **json.loads(in_container.read_text())}
    file = services_file.parent / "environment" / f"{name}.json"
    if not file.exists():
        return dict(os.environ)
    # The mark by which a process of the instance is known, and what tells one definition from another.
    own = {key: value for key, value in os.environ.items() if key.startswith("GAIAFLOW_")}
    return {**json.loads(file.read_text()), **own}


def service_environment(
    service: dict[str, Any], directory: str, credentials: dict[str, Any], users: dict[str, str]
) -> dict[str, str]:
    """Return the service's whole environment: the user's, then what the stack needs, then what the catalogue says."""
    environment = {**service.get("unless_set", {}), **users}
    environment["PATH"] = f"{directory}/bin:{environment.get('PATH', os.defpath)}"
    set_proxies(environment, service.get("peers", []))
    # Otherwise setproctitle overwrites the mark by which a process of the instance is known.
    environment["SPT_NOENV"] = "1"
    environment.update({key: fill_in(str(value), credentials) for key, value in service["env"].items()})
    return environment


def set_proxies(environment: dict[str, str], peers: list[str]) -> None:
    """Give both spellings of each variable about proxies the same value, in a form that every client accepts.

    The lower-case one says what counts, as it does for curl and Python, where both are there. No proxy stands between
    the services themselves.
    """
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        value = environment.get(name, environment.get(name.upper()))
        if value is not None:
            environment[name] = environment[name.upper()] = with_scheme(value.strip())
    lists = [environment.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    items = [*re.split(r"[,\s]+", ",".join(lists)), *OWN_HOSTS, *peers]
    kept = [item for one in items if (item := without_brackets(one))]
    left_out = [item for item in kept if not (NO_PROXY_ITEM.fullmatch(item) or is_ipv6(item))]
    if left_out:
        print(f"Not passed on in NO_PROXY, as httpx ends with an error on it: {', '.join(left_out)}", flush=True)
    union = [item for item in dict.fromkeys(kept) if item not in left_out]
    # Some take it for all hosts only where it stands alone.
    environment["NO_PROXY"] = environment["no_proxy"] = "*" if "*" in union else ",".join(union)


def is_ipv6(item: str) -> bool:
    """Whether an entry is an IPv6 address, and no network of them, of which httpx makes an error."""
    try:
        socket.inet_pton(socket.AF_INET6, item)
    except OSError:
        return False
    return True


def with_scheme(proxy: str) -> str:
    """Return a proxy's address in the form that requests needs, too."""
    if not proxy or "://" in proxy:
        return proxy
    return f"http://{proxy.removeprefix('//')}"


def without_brackets(item: str) -> str:
    """Return an entry of NO_PROXY with an IPv6 address as httpx needs it, without brackets and port."""
    address = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](:\d+)?", item)
    return address[1] if address else item


def preloading(service: dict[str, Any], directory: str, environment: dict[str, str]) -> list[str]:
    """Return what stands before the command of a Python program that starts faster in preloaded.py."""
    if "preload" not in service:
        return []
    modules = [*service["preload"], *service.get("preload_for", {}).get(environment.get("GAIAFLOW_ENV"), [])]
    return [f"{directory}/bin/python", str(Path(__file__).with_name("preloaded.py")), ",".join(modules)]


def remove_stale_lock(path: Path) -> None:
    """Remove what a server that was killed has left, so that a process that has its number now isn't taken for it."""
    try:
        number = path.read_text().split()[0]
        runs = os.fsencode(path.parent) in Path("/proc", number, "cmdline").read_bytes().split(b"\0")
    except (OSError, IndexError, ValueError):
        runs = False
    if not runs:
        path.unlink(missing_ok=True)


def prepare(service: dict[str, Any], prefix: list[str], environment: dict[str, str]) -> None:
    """Run the preparation once per version; services that share a stamp wait for the first of them to finish."""
    preparation = service.get("prepare")
    if not preparation:
        return
    stamp = Path(preparation["stamp"])
    stamp.parent.mkdir(parents=True, exist_ok=True)
    with stamp.with_name(stamp.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = Path(preparation.get("makes", stamp))
        if stamp.exists() and stamp.read_text() == preparation["version"] and made.exists():
            return
        done = subprocess.run([*prefix, *preparation["command"]], env=environment)
        if done.returncode:
            sys.exit(f"What must run before this service ended with code {done.returncode}.")
        write_private(stamp, preparation["version"])


def main(services_file: str, name: str = "") -> None:
    """Run the named service of the services file, or the only one."""
    description = json.loads(Path(services_file).read_text())
    name = name or next(iter(description["services"]))
    service = description["services"][name]
    credentials = json.loads(Path(description["credentials"]).read_text())
    os.umask(0o077)

    environment_directory = description["environments"][service["environment"]]
    users = users_environment(Path(services_file), name)
    environment = service_environment(service, environment_directory, credentials, users)
    environment["GAIAFLOW_SERVICE"] = name
    for file in service.get("files", []):
        write_private(Path(file["path"]), fill_in(file["text"], credentials))
    prefix: list[str] = []
    for directory in service.get("directories", []):
        Path(directory).mkdir(parents=True, exist_ok=True)
    if service.get("refuses_root") and os.geteuid() == 0:
        user_id = unprivileged_user()
        prefix = drop_root(user_id)
        for directory in service.get("directories", []):
            give(Path(directory), user_id)
    if "lock_file" in service:
        remove_stale_lock(Path(service["lock_file"]))
    for host, port in service["waits_for"]:
        wait_for(host, port)
    prepare(service, prefix, environment)

    command = [*prefix, *preloading(service, environment_directory, environment), *map(str, service["command"])]
    os.chdir(description["working_directory"])
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    main(*sys.argv[1:])
