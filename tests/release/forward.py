"""Make ports of the engine's host ports of this container, then run a command: FORWARDED=ADDRESS:PORT,PORT.

A job of GitLab's has a network of its own, and the tests' registry and git server listen on their machine's loopback.
"""

from __future__ import annotations

import asyncio
import os
import sys

address, _, ports = os.environ["FORWARDED"].partition(":")


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Hand on what comes, until there is no more."""
    try:
        while content := await source.read(1 << 16):
            target.write(content)
            await target.drain()
    finally:
        target.close()


async def forward(port: str) -> None:
    """Listen on this container's loopback for good."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(address, int(port))
        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", int(port))
    await server.serve_forever()


async def forward_all() -> None:
    """Forward every port."""
    await asyncio.gather(*map(forward, ports.split(",")))


if os.fork():
    os.execvp(sys.argv[1], sys.argv[1:])
asyncio.run(forward_all())
