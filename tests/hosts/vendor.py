"""A double of Docker's download site: a signed repository whose packages bring the distribution's engine."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

# What Docker's packages are called; the first one holds the distribution's engine.
PACKAGES = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin")
PLUGIN = "usr/libexec/docker/cli-plugins/{}"
BRIDGE = "172.17.0.1"


def build_site(root: Path, suite: str) -> str:
    """Make the site's files for a suite of Debian and return its key's fingerprint."""
    pool, dists = root / "debian/pool", root / "debian/dists" / suite
    binary = dists / "stable/binary-amd64"
    for directory in (pool, binary):
        directory.mkdir(parents=True)
    for name in PACKAGES:
        build_package(root.parent / "build" / name, pool, name)
    index = run(["apt-ftparchive", "packages", "pool"], root / "debian")
    (binary / "Packages").write_text(index)
    fields = [f"APT::FTPArchive::Release::{key}={value}" for key, value in {"Suite": suite, "Codename": suite}.items()]
    options = [word for field in fields for word in ("-o", field)]
    (dists / "Release").write_text(run(["apt-ftparchive", *options, "release", "."], dists))
    return sign(root, dists)


def build_package(directory: Path, pool: Path, name: str) -> None:
    """A package with the distribution's engine, a plugin's place, or nothing in it."""
    directory.mkdir(parents=True)
    if name == "docker-ce":
        unpack_engine(directory)
    else:
        (directory / "DEBIAN").mkdir()
        fields = ["Version: 1", "Architecture: all", "Maintainer: tests", f"Description: stands for {name}"]
        (directory / "DEBIAN/control").write_text("\n".join([f"Package: {name}", *fields, ""]))
    if name.endswith("-plugin"):
        plugin = directory / PLUGIN.format(name.removesuffix("-plugin"))
        plugin.parent.mkdir(parents=True)
        plugin.write_text("#!/bin/sh\n")
        plugin.chmod(0o755)
    run(["dpkg-deb", "-Znone", "--build", "--root-owner-group", str(directory), str(pool)], directory)


def unpack_engine(directory: Path) -> None:
    """The distribution's engine under another name, without the conflict between the two."""
    run(["apt-get", "download", "docker.io"], directory.parent)
    (archive,) = directory.parent.glob("docker.io_*.deb")
    run(["dpkg-deb", "--raw-extract", str(archive), str(directory)], directory)
    control = directory / "DEBIAN/control"
    text = re.sub(r"^(Conflicts|Breaks|Replaces|Provides):.*\n( .*\n)*", "", control.read_text(), flags=re.MULTILINE)
    control.write_text(text.replace("Package: docker.io", "Package: docker-ce"))


def sign(root: Path, dists: Path) -> str:
    """Sign the repository with a new key and return the key's fingerprint."""
    home = root.parent / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--passphrase", ""]
    run([*gpg, "--quick-generate-key", "vendor@example.com", "rsa2048"], root)
    (root / "debian/gpg").write_text(run([*gpg, "--armor", "--export"], root))
    run([*gpg, "--clearsign", "--output", str(dists / "InRelease"), str(dists / "Release")], root)
    listing = run([*gpg, "--with-colons", "--list-keys"], root)
    return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))


def run(command: list[str], directory: Path) -> str:
    """A command's output."""
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True, env=os.environ).stdout


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address of a web server for the hosts, while the block runs."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer((BRIDGE, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{BRIDGE}:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """The address of a site that takes connections and never answers, while the block runs."""
    with socket.create_server((BRIDGE, 0)) as server:
        yield f"http://{BRIDGE}:{server.getsockname()[1]}"
