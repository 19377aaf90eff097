"""Forwards connections that can't reach loopback: `forward_to_services.py CLUSTER HEALTH_PORT PORT...`.

CLUSTER is the file that role cluster writes. Pods are led to services: the file names the address to listen on, with
the same ports as on loopback, and the network whose connections are taken. With `--api-port`, containers are led to the
API server, too: the file names the host name to listen on, and where the server is as this machine sees it.

The file is looked at again and again, as a cluster may be started, made anew elsewhere or deleted at any time. What is
passed on stays as it is, so that signatures over the name of the host, and TLS, hold.
Standard library alone, as all of the services' own programs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import signal
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
LOOK_SECONDS = 1.0
CHUNK_BYTES = 256 * 1024
ROUTES = Path("/proc/net/route")
BRIDGES = ("docker", "br-", "podman")


@dataclass(frozen=True)
class Lead:
    """Whose connections are taken where, and where they are led.

    Attributes:
        address: The address to listen on.
        port: The port there.
        networks: Those that may connect; none means those of this machine's containers.
        host: Where a connection is led.
        onward: The port there.
    """

    address: str
    port: int
    networks: tuple[str, ...]
    host: str
    onward: int

    def takes(self, peer: str) -> bool:
        """Return whether an address may connect."""
        networks = self.networks or bridged_networks()
        return any(ipaddress.ip_address(peer) in ipaddress.ip_network(network) for network in networks)


def read_leads(file: Path, ports: Sequence[int], api_port: int) -> list[Lead]:
    """Return what is to be forwarded; nothing where there is no cluster.

    Args:
        file: What role cluster has written.
        ports: The services' ports.
        api_port: The port of the API server for containers; 0 for none.
    """
    try:
        said = json.loads(file.read_text())
    except (OSError, ValueError):
        return []
    if not isinstance(said, dict):
        return []
    return [*leads_to_services(said, ports), *(leads_to_api(said, api_port) if api_port else ())]


def leads_to_services(said: dict[str, Any], ports: Iterable[int]) -> list[Lead]:
    """Return how pods are led to the services on loopback."""
    try:
        address, network = said["forward"]["address"], said["forward"]["network"]
        ipaddress.ip_address(address)
        ipaddress.ip_network(network)
    except (ValueError, KeyError, TypeError):
        return []
    return [Lead(address, port, (network,), LOOPBACK, port) for port in ports]


def leads_to_api(said: dict[str, Any], port: int) -> list[Lead]:
    """Return how containers are led to the API server."""
    try:
        name, host, onward = said["api"]["name"], said["api"]["host"], int(said["api"]["port"])
        address = socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [Lead(str(address), port, (), host, onward)]


def bridged_networks() -> list[str]:
    """Return the networks that containers of this machine are in, from the kernel's table of routes."""
    found = []
    with contextlib.suppress(OSError):
        for line in ROUTES.read_text().splitlines()[1:]:
            interface, destination, _gateway, _flags, _count, _use, _metric, mask = line.split()[:8]
            if interface.startswith(BRIDGES):
                found.append(str(ipaddress.ip_network(f"{in_order(destination)}/{in_order(mask)}")))
    return found


def in_order(number: str) -> str:
    """Return an address that the kernel writes as a number, its last byte first."""
    return socket.inet_ntoa(bytes.fromhex(number)[::-1])


class Forwarder:
    """Listens on what is to be forwarded."""

    def __init__(self) -> None:
        self.servers: dict[Lead, asyncio.Server] = {}
        self.why_not = ""

    async def follow(self, leads: Sequence[Lead]) -> None:
        """Listen as it is wanted now; what can't be listened on yet is tried again with the next call."""
        for lead in [lead for lead in self.servers if lead not in leads]:
            self.servers.pop(lead).close()
        for lead in leads:
            if lead not in self.servers:
                await self._listen(lead)

    async def _listen(self, lead: Lead) -> None:
        try:
            self.servers[lead] = await asyncio.start_server(
                lambda reader, writer: self._accept(lead, reader, writer), lead.address, lead.port, limit=CHUNK_BYTES
            )
            whom = ", ".join(lead.networks) or "containers"
            print(f"Listening on {lead.address}:{lead.port} for {whom}.", flush=True)
        except OSError as error:  # the address comes with the cluster's network
            if str(error) != self.why_not:
                print(f"Can't listen on {lead.address}:{lead.port} yet: {error}", flush=True)
            self.why_not = str(error)

    async def _accept(self, lead: Lead, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        if not lead.takes(peer):
            print(f"Refused a connection of {peer} to port {lead.port}.", flush=True)
            writer.close()
            return
        try:
            onward_reader, onward_writer = await asyncio.open_connection(lead.host, lead.onward, limit=CHUNK_BYTES)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, onward_writer), copy(onward_reader, writer))
        writer.close()
        onward_writer.close()

    def state(self) -> dict[str, Any]:
        """Return what is listened on."""
        return {"listening": sorted(f"{lead.address}:{lead.port}" for lead in self.servers)}


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, at the pace at which it is taken, until one side ends."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def tell(forwarder: Forwarder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a health check with what is listened on."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(forwarder.state()).encode()
        head = ("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close")
        writer.write("".join(f"{line}\r\n" for line in head).encode() + b"\r\n" + body)
        await writer.drain()
    writer.close()


async def main(options: argparse.Namespace) -> None:
    """Forward until a signal ends this."""
    forwarder = Forwarder()
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    await asyncio.start_server(lambda *streams: tell(forwarder, *streams), LOOPBACK, options.health_port)
    while not ended.is_set():
        await forwarder.follow(read_leads(options.cluster, options.ports, options.api_port))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), LOOK_SECONDS)


def read_options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cluster", type=Path)
    parser.add_argument("health_port", type=int)
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--api-port", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main(read_options()))
