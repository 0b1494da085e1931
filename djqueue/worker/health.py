"""Health: a few pages over HTTP that tell a supervisor whether this process lives, and whether it is ready.

An orchestrator asks every few seconds, so a page reads memory and no database. Who answers at all has an event loop
that turns; that is what ``/live`` says. ``/ready`` says whether work gets done here now: with 503 and a reason if not.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import NamedTuple

LONGEST_REQUEST = 8192
PATIENCE = 5.0
"""Seconds that somebody has to send a request, or to read the answer."""


class HealthFailed(Exception):
    """The port cannot be listened on."""


class Address(NamedTuple):
    """Where to listen; the empty host is every address of this machine, and port 0, which is false, is nowhere."""

    host: str
    port: int

    def __bool__(self) -> bool:
        return self.port > 0

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Page(NamedTuple):
    """What is answered; ``body`` is text of the media type ``kind``."""

    status: HTTPStatus
    body: str
    kind: str = "application/json"


Pages = Mapping[str, Callable[[], Page]]


def readiness(reasons: Mapping[str, str]) -> Page:
    """Return 200, or 503 with what stands in the way, by its name."""
    if reasons:
        return Page(HTTPStatus.SERVICE_UNAVAILABLE, json.dumps({"status": "not ready", **reasons}))
    return Page(HTTPStatus.OK, json.dumps({"status": "ready"}))


def live() -> Page:
    """Return 200: whoever answers lives."""
    return Page(HTTPStatus.OK, json.dumps({"status": "live"}))


@asynccontextmanager
async def serving(address: Address | None, pages: Pages) -> AsyncIterator[None]:
    """Answer for these pages for a block of code, if there is an address. Raises ``HealthFailed``."""
    if not address:
        yield
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(reader, writer, pages)

    try:
        server = await asyncio.start_server(answer, address.host or None, address.port, limit=LONGEST_REQUEST)
    except OSError as error:
        raise HealthFailed(f"expected the health port to be free, got: {address} ({error})") from error
    try:
        yield
    finally:
        # Not waited for: who does not read an answer must not hold up the end.
        server.close()


@contextmanager
def serving_beside(address: Address | None, pages: Pages) -> Iterator[None]:
    """The same in a thread, for a process that has no event loop."""
    if not address:
        yield
        return
    loop = asyncio.new_event_loop()
    context = serving(address, pages)
    try:
        loop.run_until_complete(context.__aenter__())
    except HealthFailed:
        loop.close()
        raise
    thread = threading.Thread(target=loop.run_forever, name="djqueue-health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        if not thread.is_alive():
            loop.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pages: Pages) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(_response(head, pages))
            await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # somebody looks whether the port is open, or asks for nothing we have
    finally:
        writer.close()


def _response(head: bytes, pages: Pages) -> bytes:
    method, _, rest = head.decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if method not in ("GET", "HEAD"):
        page = Page(HTTPStatus.METHOD_NOT_ALLOWED, json.dumps({"error": f"expected GET, got: {method[:20]}"}))
    elif path not in pages:
        error = f"expected one of {', '.join(pages)}, got: {path[:200]}"
        page = Page(HTTPStatus.NOT_FOUND, json.dumps({"error": error}))
    else:
        try:
            page = pages[path]()
        except Exception as error:
            page = Page(HTTPStatus.INTERNAL_SERVER_ERROR, json.dumps({"error": type(error).__name__}))
    body = page.body.encode()
    lines = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}", f"Content-Type: {page.kind}",
        f"Content-Length: {len(body)}", "Cache-Control: no-store", "Connection: close", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode() + (b"" if method == "HEAD" else body)
