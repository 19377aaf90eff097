"""A registry with a login, as a process of this machine, behind a gate that can break connections off."""

from __future__ import annotations

import ipaddress
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml
from stack import wait_until

CHUNK = 1 << 16
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFESTS = f"{INDEX}, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def bcrypt(password: str) -> str:
    """Return a password as htpasswd files have it; Python's own crypt is gone in 3.13, Perl's is part of Debian."""
    salt = secrets.token_hex(11)
    program = f"chomp(my $password = <STDIN>); print crypt($password, q($2y$05${salt}))"
    done = subprocess.run(["perl", "-e", program], input=password, capture_output=True, text=True, check=True)
    return done.stdout


@dataclass
class Gate:
    """A port that hands connections on, until it is told to break them off.

    Attributes:
        target: The port behind it.
        bytes_left: How many bytes a client may still send; None for any number.
        address: Where it listens.
        port: The port; 0 takes a free one.
    """

    target: int
    bytes_left: int | None = None
    address: str = "127.0.0.1"
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[Gate]:
        """Listen."""
        with socket.create_server((self.address, self.port), backlog=64) as listener:
            self.port = listener.getsockname()[1]
            thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                # Closing alone does not wake who waits in accept.
                listener.shutdown(socket.SHUT_RDWR)
        thread.join()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with server:
                back = threading.Thread(target=self._copy, args=(server, client, False), daemon=True)
                back.start()
                self._copy(client, server, True)
                back.join()

    def _copy(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while content := source.recv(CHUNK):
                if counted and self.bytes_left is not None:
                    self.bytes_left -= len(content)
                    if self.bytes_left < 0:
                        break
                target.sendall(content)
        except OSError:
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


@contextmanager
def reached_from(network: str, *ports: int) -> Iterator[str]:
    """Let containers reach ports of this machine's loopback; yield the address by which they do.

    Args:
        network: Their network's name.
        ports: The ports, which are the same there.
    """
    inspect = ["docker", "network", "inspect", network, "--format", "{{(index .IPAM.Config 0).Subnet}}"]
    subnet = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip()
    # The first address is the gateway's; an engine that made `bridge` itself doesn't tell it before its next start.
    gateway = str(ipaddress.ip_network(subnet)[1])
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(Gate(port, address=gateway, port=port).running())
        yield gateway


def remove_images(*beginnings: str) -> None:
    """Remove images from this machine's engine by what their names begin with, those without a tag, too.

    Args:
        beginnings: The names' beginnings.
    """
    listing = ["docker", "image", "ls", "--no-trunc", "--format", "{{.Repository}} {{.ID}}"]
    listed = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines()
    if mine := {line.split()[1] for line in listed if line.startswith(beginnings)}:
        subprocess.run(["docker", "image", "rm", "--force", *mine], check=True, capture_output=True)


@dataclass
class ImageRegistry:
    """A registry.

    Attributes:
        program: The registry's program.
        directory: For its data and settings.
        logins: Passwords by user; without any, everybody may read and write.
        gate: What stands in front of it.
    """

    program: Path
    directory: Path
    logins: Mapping[str, str] = field(repr=False)
    gate: Gate = field(default_factory=lambda: Gate(free_port()))

    @property
    def host(self) -> str:
        """Its host and port, as images' names have them."""
        return f"127.0.0.1:{self.gate.port}"

    @property
    def data(self) -> Path:
        """Where its data is."""
        return self.directory / "data"

    def ask(self, path: str, **headers: str) -> requests.Response:
        """Ask it, as the first of its users."""
        return requests.get(
            f"http://{self.host}/v2/{path}", auth=next(iter(self.logins.items()), None), headers=headers, timeout=30
        )

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository; none where there is no such repository."""
        return sorted(self.ask(f"{repository}/tags/list").json().get("tags") or [])

    def digest(self, repository: str, reference: str) -> str:
        """Return the digest that a tag leads to."""
        answer = self.ask(f"{repository}/manifests/{reference}", Accept=MANIFESTS)
        assert answer.ok, answer.text
        return answer.headers["Docker-Content-Digest"]

    def content(self, repository: str, path: str) -> Any:
        """Return a manifest or a blob that is JSON; a builder may have made an index of it.

        Args:
            repository: The repository.
            path: `manifests/REFERENCE` or `blobs/DIGEST`.
        """
        answer = self.ask(f"{repository}/{path}", Accept=MANIFESTS)
        assert answer.ok, answer.text
        return answer.json()

    def blobs(self) -> list[Path]:
        """Return the files of all blobs that it holds."""
        return sorted(self.data.rglob("blobs/**/data"))

    def empty(self) -> None:
        """Forget all images."""
        shutil.rmtree(self.data / "docker", ignore_errors=True)

    @contextmanager
    def running(self) -> Iterator[ImageRegistry]:
        """Serve on a free port of loopback."""
        self.directory.mkdir(exist_ok=True)
        users = self.directory / "htpasswd"
        users.write_text("".join(f"{user}:{bcrypt(password)}\n" for user, password in self.logins.items()))
        settings: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.data)}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{self.gate.target}"},
            **({"auth": {"htpasswd": {"realm": "registry", "path": str(users)}}} if self.logins else {}),
        }
        file = self.directory / "registry.yml"
        file.write_text(yaml.safe_dump(settings))
        with (self.directory / "log").open("wb") as log:
            process = subprocess.Popen([self.program, "serve", file], stdout=log, stderr=log)
        try:
            with self.gate.running():
                wait_until(lambda: self._answers(), 30, "the registry answers")
                yield self
        finally:
            process.terminate()
            process.wait(timeout=30)

    def _answers(self) -> bool:
        try:
            return self.ask("").ok
        except requests.ConnectionError:
            return False
