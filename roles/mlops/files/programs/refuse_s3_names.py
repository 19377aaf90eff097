r"""Passes requests on to S3, but for keys that it would store as others: `refuse_s3_names.py PORT STORE_PORT`.

SeaweedFS keeps objects as files, so it takes `a//b`, `a\b`, `/a` and `a/../b` for other names, in silence, and has no
setting for that. Requests and answers stay as they are, so that their signatures hold. Runs in the
environment `base`, for h11.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import signal
import sys
from urllib.parse import unquote
from xml.sax.saxutils import escape

import h11

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 256 * 1024
DRAIN_SECONDS = 10
# S3 allows 8 KB of headers; a signed address may be as long again.
HEAD_BYTES = 64 * 1024
READS = {b"GET", b"HEAD"}


def find_problem(target: bytes) -> str:
    """Return what of a request's key SeaweedFS would change; nothing where the key stays as it is, or there is none.

    Args:
        target: The request's path and query, as they were sent.
    """
    _, _, key = target.partition(b"?")[0].decode("ascii", "replace").removeprefix("/").partition("/")
    key = unquote(key)
    if key.startswith("/"):
        return "a leading '/'"
    if "\\" in key:
        return "a '\\'"
    if "//" in key:
        return "'//'"
    parts = key.split("/")
    return next((f"the part '{part}'" for part in (".", "..") if part in parts), "")


def answer_to(request: h11.Request, problem: str) -> tuple[h11.Response, bytes]:
    """Return what is answered to a key that can't be stored: no such object is there, and none can be made."""
    if request.method == b"DELETE":
        return response(204, [("Connection", "close")]), b""
    status, code = (404, "NoSuchKey") if request.method in READS else (400, "InvalidArgument")
    message = f"This S3 server can't store a key with {problem}; it would become another one. Choose a key without."
    resource = escape(request.target.partition(b"?")[0].decode("ascii", "replace"))
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message><Resource>{resource}</Resource></Error>"
    ).encode()
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), ("Connection", "close")]
    return response(status, headers), b"" if request.method == b"HEAD" else body


def response(status: int, headers: list[tuple[str, str]]) -> h11.Response:
    """Return an answer's head; botocore doesn't understand one without the status in words."""
    return h11.Response(status_code=status, headers=headers, reason=http.HTTPStatus(status).phrase)


class Peer:
    """One side of a connection that is passed on.

    Args:
        role: What we are on this side.
        reader: What comes from there.
        writer: What goes there.
    """

    def __init__(self, role: type, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.protocol = h11.Connection(role, max_incomplete_event_size=HEAD_BYTES)
        self.reader, self.writer = reader, writer

    async def receive(self) -> h11.Event:
        """Return the next part of a request or an answer."""
        while True:
            event = self.protocol.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                raise ConnectionError("another request came before this one's answer had ended")
            self.protocol.receive_data(await self.reader.read(CHUNK_BYTES))

    async def send(self, event: h11.Event) -> None:
        """Write a part of a request or an answer, at the pace at which it is taken."""
        if data := self.protocol.send(event):
            self.writer.write(data)
            await self.writer.drain()


async def pass_on(source: Peer, target: Peer) -> None:
    """Pass on what follows, up to the end of the request or the answer."""
    while True:
        event = await source.receive()
        if isinstance(event, h11.ConnectionClosed):
            raise ConnectionError("it ended too early")
        await target.send(event)
        if isinstance(event, h11.EndOfMessage):
            return


async def ask_store(client: Peer, request: h11.Request, port: int) -> bool:
    """Pass a request on, and its answer back; tell whether the client may ask again on this connection."""
    store = Peer(h11.CLIENT, *await asyncio.open_connection(LOOPBACK, port, limit=CHUNK_BYTES))
    try:
        await store.send(request)
        # Both at once: the store may want to be asked for the body, or refuse it before it has all come.
        asking = asyncio.create_task(pass_on(client, store))
        try:
            await pass_on(store, client)
        finally:
            complete = asking.done() and not asking.cancelled() and asking.exception() is None
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, h11.ProtocolError):
                await asking
    finally:
        store.writer.close()
    if not complete or client.protocol.our_state is not h11.DONE or client.protocol.their_state is not h11.DONE:
        return False
    client.protocol.start_next_cycle()
    return True


async def drain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take what the client still sends: a connection that is closed before takes the answer with it."""
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while await reader.read(CHUNK_BYTES):
                pass


async def serve(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a client's requests until it leaves."""
    client = Peer(h11.SERVER, reader, writer)
    try:
        while isinstance(request := await client.receive(), h11.Request):
            if problem := find_problem(request.target):
                head, body = answer_to(request, problem)
                await client.send(head)
                if body:
                    await client.send(h11.Data(data=body))
                await client.send(h11.EndOfMessage())
                await drain(reader, writer)
                break
            if not await ask_store(client, request, port):
                break
    except (OSError, h11.ProtocolError) as error:
        print(f"A request was not passed on: {error}", flush=True)
    finally:
        writer.close()


async def main(port: int, store_port: int) -> None:
    """Pass requests on until a signal ends this."""
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    await asyncio.start_server(lambda *streams: serve(store_port, *streams), LOOPBACK, port, limit=CHUNK_BYTES)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
