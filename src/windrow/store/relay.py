"""The store across a pipe: frames of MessagePack over a socket pair.

A frame is four bytes of length (big-endian) and a pair: a number that the answer repeats, and a command or an answer.
Number 0 is for what the supervisor says unasked. A pipe that closes means that the other side is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import msgspec

from windrow.errors import StoreUnavailable
from windrow.store.messages import Answer, Command, Failure

Incoming = TypeVar("Incoming")

LENGTH_BYTES = 4
LARGEST_FRAME = 1 << 30
MOST_WAITING = 1_024
"""Frames that may wait to be taken before no more are read."""


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


class _Frames(asyncio.Protocol):
    """Cuts what arrives into frames, in order; they stay to be taken when the other side is gone."""

    def __init__(self) -> None:
        self.is_gone = False
        self._waiting: deque[bytes] = deque()
        self._arrived = bytearray()
        self._reader: asyncio.Future[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._transport: asyncio.Transport | None = None
        self._is_paused = False

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        arrived = self._arrived
        arrived += data
        start = 0
        while len(arrived) - start >= LENGTH_BYTES:
            body = start + LENGTH_BYTES
            length = int.from_bytes(arrived[start:body], "big")
            if length > LARGEST_FRAME:
                self._give_up()
                return
            if len(arrived) - body < length:
                break
            start = body + length
            self._waiting.append(bytes(arrived[body:start]))
        if start:
            del arrived[:start]
            self._wake()
        if len(self._waiting) > MOST_WAITING and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_gone = True
        self._may_write.set()
        self._wake()

    # --- called by the channel

    async def take(self) -> bytes | None:
        """The next frame; None when the other side is gone."""
        while not self._waiting:
            if self.is_gone:
                return None
            if self._is_paused and self._transport is not None:
                self._is_paused = False
                self._transport.resume_reading()
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._waiting.popleft()

    async def drain(self) -> None:
        """Wait until more may be written; ConnectionError when the other side is gone."""
        await self._may_write.wait()
        if self.is_gone:
            raise ConnectionResetError("the other side is gone")

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _give_up(self) -> None:
        """What comes is no frame of ours."""
        self.is_gone = True
        if self._transport is not None:
            self._transport.abort()


class Channel(Generic[Incoming]):
    """One end of the pipe: numbered values out, values of one kind in. One task at a time may `take`."""

    def __init__(self, transport: asyncio.Transport, frames: _Frames, incoming: Any) -> None:
        self._transport = transport
        self._frames = frames
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[tuple[int, Incoming]] = msgspec.msgpack.Decoder(incoming)

    def put(self, number: int, value: Command | Answer | Order) -> None:
        """Send; nothing happens when the other side is gone."""
        frame = self._encoder.encode((number, value))
        if not self._transport.is_closing():
            self._transport.write(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)

    def abort(self) -> None:
        """Nobody is at the other end any more, though something may still hold it open."""
        self._transport.abort()

    async def drain(self) -> None:
        """Wait until the other side takes what was sent. Raises ConnectionError when it is gone."""
        await self._frames.drain()

    async def take(self) -> tuple[int, Incoming] | None:
        """The next value; None when the other side is gone."""
        frame = await self._frames.take()
        return None if frame is None else self._decoder.decode(frame)

    async def close(self) -> None:
        """What was put is still sent. Safe to call twice."""
        self._transport.close()
        while not self._frames.is_gone:
            await self._frames.take()


async def supervisor_end(end: socket.socket) -> Channel[Command]:
    """Commands in; answers and orders out."""
    return Channel(*await _connected(end), tuple[int, Command])


async def worker_end(end: socket.socket) -> Channel[Answer | Order]:
    """Answers and orders in; commands out."""
    return Channel(*await _connected(end), tuple[int, Answer | Order])


async def _connected(end: socket.socket) -> tuple[asyncio.Transport, _Frames]:
    return await asyncio.get_running_loop().create_connection(_Frames, sock=end)


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
        try:
            self._channel.put(number, command)
            await self._channel.drain()
            return await future
        except ConnectionError as error:
            raise StoreUnavailable("the supervisor is gone") from error
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            # What the scrape function brought (half a character, an object of its own) cannot cross the pipe.
            return Failure(f"{type(error).__name__}: {error}")
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
