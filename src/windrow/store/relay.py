"""The store across a pipe: frames of MessagePack over a socket pair.

A frame is four bytes of length (big-endian) and a pair: a number that the answer repeats, and a command or an answer.
Number 0 is for what the supervisor says unasked. A pipe that closes means that the other side is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from windrow.errors import StoreUnavailable
from windrow.store.messages import Answer, Command

Incoming = TypeVar("Incoming")

LENGTH_BYTES = 4
LARGEST_FRAME = 1 << 30


class Boot(msgspec.Struct, frozen=True, tag=True):
    """The first thing a worker process is told: which job, with what settings, and who it is."""

    reference: str
    parameters: dict[str, str]
    settings: dict[str, Any]
    worker: str
    slots: int


class StopWork(msgspec.Struct, frozen=True, tag=True):
    """Finish the records in the making, then end."""


class HostHeld(msgspec.Struct, frozen=True, tag=True):
    """Another worker learnt that nobody may send to `host` for `seconds`."""

    host: str
    seconds: float


Order = Boot | StopWork | HostHeld


class Channel(Generic[Incoming]):
    """One end of the pipe: numbered values out, values of one kind in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incoming: Any) -> None:
        self._reader = reader
        self._writer = writer
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[tuple[int, Incoming]] = msgspec.msgpack.Decoder(incoming)

    def put(self, number: int, value: Command | Answer | Order) -> None:
        """Send; nothing happens when the other side is gone."""
        frame = self._encoder.encode((number, value))
        if not self._writer.is_closing():
            self._writer.write(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)

    async def drain(self) -> None:
        """Wait until the other side takes what was sent. Raises ConnectionError when it is gone."""
        await self._writer.drain()

    async def take(self) -> tuple[int, Incoming] | None:
        """The next value; None when the other side is gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
            if length > LARGEST_FRAME:
                return None
            return self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def close(self) -> None:
        """Safe to call twice."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


async def supervisor_end(end: socket.socket) -> Channel[Command]:
    """Commands in; answers and orders out."""
    reader, writer = await asyncio.open_connection(sock=end)
    return Channel(reader, writer, tuple[int, Command])


async def worker_end(end: socket.socket) -> Channel[Answer | Order]:
    """Answers and orders in; commands out."""
    reader, writer = await asyncio.open_connection(sock=end)
    return Channel(reader, writer, tuple[int, Answer | Order])


class RelayClient:
    """The worker's side: `send` is what a StorePort needs; orders go to `on_order`."""

    def __init__(self, channel: Channel[Answer | Order], on_order: Callable[[Order], None]) -> None:
        self._channel = channel
        self._on_order = on_order
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._gone = False

    async def send(self, command: Command) -> Answer:
        """The store's answer. Raises StoreUnavailable when the supervisor is gone."""
        if self._gone:
            raise StoreUnavailable("the supervisor is gone")
        number = next(self._numbers)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._channel.put(number, command)
        try:
            await self._channel.drain()
            return await future
        except ConnectionError as error:
            raise StoreUnavailable("the supervisor is gone") from error
        finally:
            self._waiting.pop(number, None)

    async def listen(self) -> None:
        """Take answers and orders until the supervisor is gone."""
        while (taken := await self._channel.take()) is not None:
            number, value = taken
            if isinstance(value, Order):
                self._on_order(value)
            elif (future := self._waiting.get(number)) is not None and not future.done():
                future.set_result(value)
        self._gone = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(StoreUnavailable("the supervisor is gone"))
