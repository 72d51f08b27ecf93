"""The store across a pipe: a real socket pair, and a real store behind it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest

from tests.support.bench import Bench, held
from windrow.errors import StoreUnavailable
from windrow.records import Row
from windrow.store.messages import Answer, AskHost, Claim, Command, Commit, Committed, Done, Failure, Hello, Lease
from windrow.store.relay import (
    LARGEST_FRAME,
    LENGTH_BYTES,
    MOST_WAITING,
    Channel,
    HostHeld,
    Order,
    RelayClient,
    StopWork,
    supervisor_end,
    worker_end,
)

DEADLINE = 30.0


@dataclass
class Pipe:
    """Both ends in one loop: the worker's client, and the channel of the supervisor."""

    client: RelayClient
    supervisor: Channel[Command]
    orders: list[Order]

    async def taken(self) -> tuple[int, Command]:
        found = await self.supervisor.take()
        assert found is not None
        return found


@asynccontextmanager
async def pipe() -> AsyncIterator[Pipe]:
    ours, theirs = socket.socketpair()
    orders: list[Order] = []
    supervisor, worker = await supervisor_end(ours), await worker_end(theirs)
    client = RelayClient(worker, orders.append)
    listening = asyncio.create_task(client.listen())
    try:
        yield Pipe(client, supervisor, orders)
    finally:
        await supervisor.close()
        await listening
        await worker.close()


def run(scene: Callable[[Pipe], Awaitable[None]]) -> None:
    async def play() -> None:
        async with asyncio.timeout(DEADLINE), pipe() as both:
            await scene(both)

    asyncio.run(play())


def framed(number: int, value: object) -> bytes:
    body = msgspec.msgpack.encode((number, value))
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def test_a_workers_commands_reach_the_store_and_their_answers_the_worker(bench: Bench) -> None:
    bench.begin(["a", "b"])

    async def scene(both: Pipe) -> None:
        async def serve() -> None:
            while (taken := await both.supervisor.take()) is not None:
                both.supervisor.put(taken[0], bench.say(taken[1]))

        serving = asyncio.create_task(serve())
        lease = await both.client.send(Claim("w1", True))
        assert isinstance(lease, Lease)
        rows: list[tuple[str, Row]] = [(key, {"id": key, "text": "é" * 100_000}) for key in "12"]
        answer = await both.client.send(Commit(held(lease), rows=rows, last=True, claiming=True))
        assert isinstance(answer, Committed)
        assert (answer.new, answer.state) == (2, "done")
        assert answer.following is not None
        assert answer.following.key == "b"
        serving.cancel()

    run(scene)
    assert [record["text"] for record in bench.records()] == ["é" * 100_000] * 2


def test_answers_come_in_any_order_and_several_at_once() -> None:
    async def scene(both: Pipe) -> None:
        asked = [asyncio.create_task(both.client.send(Hello(f"w{number}", number, 1))) for number in range(50)]
        taken = [await both.taken() for _ in asked]
        for number, command in reversed(taken):
            assert isinstance(command, Hello)
            both.supervisor.put(number, Failure(command.worker))
        assert await asyncio.gather(*asked) == [Failure(f"w{number}") for number in range(50)]

    run(scene)


def test_frames_may_arrive_in_any_pieces() -> None:
    values: list[Answer | Order] = [Done(), HostHeld("example.org", 1.5), StopWork(), Failure("x" * 1_000)]
    sent = b"".join(framed(number, value) for number, value in enumerate(values))

    async def scene() -> None:
        for size in (1, 2, 3, 5, 7, 64, len(sent) - 1, len(sent)):
            ours, theirs = socket.socketpair()
            channel = await worker_end(theirs)
            with ours:
                ours.setblocking(False)
                for start in range(0, len(sent), size):
                    await asyncio.get_running_loop().sock_sendall(ours, sent[start : start + size])
                    await asyncio.sleep(0)
            found = [await channel.take() for _ in values]
            assert found == list(enumerate(values))
            assert await channel.take() is None, "and then the other side is gone"
            await channel.close()

    asyncio.run(asyncio.wait_for(scene(), DEADLINE))


def test_more_frames_than_may_wait_all_arrive_in_order() -> None:
    async def scene(both: Pipe) -> None:
        asked = [
            asyncio.create_task(both.client.send(AskHost(f"{number} {'x' * 1_000}")))
            for number in range(3 * MOST_WAITING)
        ]
        for place in range(len(asked)):
            number, command = await both.taken()
            assert isinstance(command, AskHost)
            assert command.host.startswith(f"{place} ")
            both.supervisor.put(number, Done())
        assert await asyncio.gather(*asked) == [Done()] * len(asked)

    run(scene)


def test_an_order_is_no_answer() -> None:
    async def scene(both: Pipe) -> None:
        asked = asyncio.create_task(both.client.send(Hello("w", 1, 1)))
        number, _ = await both.taken()
        both.supervisor.put(0, HostHeld("example.org", 2.0))
        both.supervisor.put(0, StopWork())
        both.supervisor.put(number, Done())
        assert await asked == Done()
        assert both.orders == [HostHeld("example.org", 2.0), StopWork()]

    run(scene)


def test_an_answer_that_nobody_waits_for_any_more_is_dropped() -> None:
    async def scene(both: Pipe) -> None:
        given_up = asyncio.create_task(both.client.send(Hello("w1", 1, 1)))
        number, _ = await both.taken()
        given_up.cancel()
        await asyncio.wait([given_up])
        both.supervisor.put(number, Failure("for nobody"))
        asked = asyncio.create_task(both.client.send(Hello("w2", 1, 1)))
        number, _ = await both.taken()
        both.supervisor.put(number, Done())
        assert await asked == Done()

    run(scene)


def test_what_cannot_cross_the_pipe_is_refused_and_the_next_command_goes_through() -> None:
    async def scene(both: Pipe) -> None:
        refused = await both.client.send(Hello("half a character: \ud800", 1, 1))
        assert isinstance(refused, Failure)
        assert not refused.fatal
        asked = asyncio.create_task(both.client.send(Hello("w", 1, 1)))
        number, _ = await both.taken()
        both.supervisor.put(number, Done())
        assert await asked == Done()

    run(scene)


def test_a_supervisor_that_is_gone_leaves_nobody_waiting() -> None:
    async def scene(both: Pipe) -> None:
        asked = [asyncio.create_task(both.client.send(Hello(f"w{number}", 1, 1))) for number in range(3)]
        await both.taken()
        both.supervisor.abort()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in found] == [StoreUnavailable] * 3
        with pytest.raises(StoreUnavailable):
            await both.client.send(Hello("w", 1, 1))

    run(scene)


def test_a_frame_beyond_all_bounds_ends_the_pipe() -> None:
    async def scene() -> None:
        ours, theirs = socket.socketpair()
        channel = await worker_end(theirs)
        with ours:
            ours.sendall((LARGEST_FRAME + 1).to_bytes(LENGTH_BYTES, "big") + b"x")
            assert await channel.take() is None
        await channel.close()

    asyncio.run(asyncio.wait_for(scene(), DEADLINE))
