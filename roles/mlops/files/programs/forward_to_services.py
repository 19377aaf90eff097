"""Forwards a cluster's connections to services on loopback: `forward_to_services.py CLUSTER HEALTH_PORT PORT...`.

CLUSTER is the file that role cluster writes; it names the address to listen on, the same ports there, and the network
whose connections are taken. The file is looked at again and again, as a cluster may be started, made anew elsewhere or
deleted at any time. What is passed on stays as it is, so that signatures over the name of the host hold.
Standard library alone, as all of the services' own programs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
LOOK_SECONDS = 1.0
CHUNK_BYTES = 256 * 1024


def wanted(file: Path) -> tuple[str, str]:
    """Return the address to listen on and the network that may connect; two empty texts where there is no cluster."""
    try:
        said = json.loads(file.read_text())["forward"]
        ipaddress.ip_address(said["address"])
        ipaddress.ip_network(said["network"])
        return str(said["address"]), str(said["network"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""


class Forwarder:
    """Listens on one address and several ports, for one network.

    Args:
        ports: The ports, here and on loopback.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = ports
        self.address, self.network = "", ""
        self.servers: dict[int, asyncio.Server] = {}
        self.why_not = ""

    async def follow(self, address: str, network: str) -> None:
        """Listen as it is wanted now; what can't be listened on yet is tried again with the next call."""
        if (address, network) != (self.address, self.network):
            for server in self.servers.values():
                server.close()
            self.servers, self.address, self.network = {}, address, network
        for port in self.ports:
            if self.address and port not in self.servers:
                await self._listen(port)

    async def _listen(self, port: int) -> None:
        try:
            self.servers[port] = await asyncio.start_server(
                lambda reader, writer: self._accept(port, reader, writer), self.address, port, limit=CHUNK_BYTES
            )
            print(f"Listening on {self.address}:{port} for {self.network}.", flush=True)
        except OSError as error:  # the address comes with the cluster's network
            if str(error) != self.why_not:
                print(f"Can't listen on {self.address}:{port} yet: {error}", flush=True)
            self.why_not = str(error)

    async def _accept(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        if ipaddress.ip_address(peer) not in ipaddress.ip_network(self.network):
            print(f"Refused a connection of {peer} to port {port}.", flush=True)
            writer.close()
            return
        try:
            onward_reader, onward_writer = await asyncio.open_connection(LOOPBACK, port, limit=CHUNK_BYTES)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, onward_writer), copy(onward_reader, writer))
        writer.close()
        onward_writer.close()

    def state(self) -> dict[str, Any]:
        """Return what is listened on."""
        return {"address": self.address, "network": self.network, "ports": sorted(self.servers)}


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


async def main(file: Path, health_port: int, ports: Sequence[int]) -> None:
    """Forward until a signal ends this."""
    forwarder = Forwarder(ports)
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    await asyncio.start_server(lambda *streams: tell(forwarder, *streams), LOOPBACK, health_port)
    while not ended.is_set():
        await forwarder.follow(*wanted(file))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), LOOK_SECONDS)


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
