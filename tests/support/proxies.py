"""Small real proxies: HTTP (absolute form and CONNECT) and SOCKS5, each with or without a login."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from urllib.parse import urlsplit

from tests.support.serving import Served


class _Proxy(Served):
    """`passed` are the targets (host:port) it made connections to, `refused` counts those it did not serve.

    With `login` (user, password) it serves nobody else.
    """

    def __init__(self, login: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.login = login
        self.passed: list[str] = []
        self.refused = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def with_login(self, scheme: str = "http", user: str | None = None, password: str | None = None) -> str:
        """The URL to use it by."""
        if self.login is None and user is None:
            return f"{scheme}://127.0.0.1:{self.port}"
        known = self.login or ("", "")
        return f"{scheme}://{user or known[0]}:{password or known[1]}@127.0.0.1:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve_one(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            await closed(writer)
            self._tasks.discard(task)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class HttpProxy(_Proxy):
    """`status`: what it answers to every request instead of serving it."""

    def __init__(
        self, login: tuple[str, str] | None = None, *, status: int | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(login, tls)
        self.status = status
        self.heads: list[bytes] = []

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            method, target, _ = head.decode("latin-1").split(" ", 2)
            status = self.status or (None if self._admits(head) else 407)
            if status is not None:
                self.refused += 1
                writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
                return
            if method == "CONNECT":
                await self._tunnel(target, reader, writer)
                return
            await self._forward(target, head, reader, writer)

    def _admits(self, head: bytes) -> bool:
        if self.login is None:
            return True
        pair = b64encode(":".join(self.login).encode())
        return b"proxy-authorization: basic " + pair.lower() in head.lower()

    async def _tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = target.rsplit(":", 1)
        try:
            there = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        self.passed.append(target)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await joined((reader, writer), there)

    async def _forward(
        self, target: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One request in absolute form; one connection to the site for each."""
        parts = urlsplit(target)
        lines = head.decode("latin-1").split("\r\n")
        kept = [line for line in lines[1:-2] if not line.lower().startswith(("proxy-", "connection:"))]
        path = target.split(parts.netloc, 1)[1] or "/"
        there, to = await asyncio.open_connection(parts.hostname, parts.port or 80)
        self.passed.append(parts.netloc)
        size = next((int(line.split(":")[1]) for line in kept if line.lower().startswith("content-length:")), 0)
        try:
            body = await reader.readexactly(size)
            request = [f"{lines[0].split(' ')[0]} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
            to.write("\r\n".join(request).encode("latin-1") + body)
            answer = await there.read()
        finally:
            await closed(to)
        writer.write(answer)
        await writer.drain()
        raise ConnectionResetError  # the answer said `Connection: close`


class SocksProxy(_Proxy):
    """RFC 1928, 1929. `reply`: what it says to every CONNECT instead of making one. `names`: hosts as it was told."""

    def __init__(self, login: tuple[str, str] | None = None, *, reply: int = 0) -> None:
        super().__init__(login)
        self.reply = reply
        self.names: list[str] = []

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        offered = await reader.readexactly(count)
        method = 0 if self.login is None else 2
        if method not in offered:
            self.refused += 1
            writer.write(b"\x05\xff")
            await writer.drain()
            return
        writer.write(bytes([5, method]))
        if self.login is not None and not await self._logged_in(reader, writer):
            return
        _, _, _, kind = await reader.readexactly(4)
        host = await self._address(reader, kind)
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        self.names.append(host)
        if self.reply:
            self.refused += 1
            writer.write(bytes([5, self.reply, 0, 1, 0, 0, 0, 0, 0, 0]))
            await writer.drain()
            return
        there = await asyncio.open_connection(host, port)
        self.passed.append(f"{host}:{port}")
        writer.write(bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        await joined((reader, writer), there)

    async def _logged_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        _, size = await reader.readexactly(2)
        user = await reader.readexactly(size)
        (size,) = await reader.readexactly(1)
        password = await reader.readexactly(size)
        good = (user.decode(), password.decode()) == self.login
        self.refused += not good
        writer.write(bytes([1, 0 if good else 1]))
        await writer.drain()
        return good

    async def _address(self, reader: asyncio.StreamReader, kind: int) -> str:
        if kind == 1:
            return ".".join(map(str, await reader.readexactly(4)))
        (size,) = await reader.readexactly(1)
        return (await reader.readexactly(size)).decode()


Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def joined(here: Pair, there: Pair) -> None:
    """What one side sends the other gets, until both are done."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            await closed(writer)

    await asyncio.gather(copy(here[0], there[1]), copy(there[0], here[1]))


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close it, and be there until it is: a loop that ends before leaves its transport behind."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@contextmanager
def nothing_listens() -> Iterator[int]:
    """A port of loopback that nothing listens on, and nobody else gets meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])
