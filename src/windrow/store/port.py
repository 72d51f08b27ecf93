"""The store as a worker sees it: one typed method for each command, over whatever carries commands to the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from windrow.errors import LeaseLost, StoreUnavailable, WindrowError
from windrow.politeness.adaptive import Observation
from windrow.store.messages import (
    Answer,
    AskHost,
    Claim,
    Command,
    Commit,
    Committed,
    Counts,
    Done,
    Ended,
    Failure,
    Finished,
    Held,
    Hello,
    Hold,
    HostNotes,
    KeepRobots,
    Keys,
    Lapsed,
    Lease,
    Lost,
    Observe,
    Release,
    Renew,
    Reserve,
    Slots,
    Take,
    Unseen,
    Wait,
)

Send = Callable[[Command], Awaitable[Answer]]
Expected = TypeVar("Expected")


class CommandFailed(WindrowError):
    """The store could not carry out one command; others go on."""


class StorePort:
    """Commands as methods. Raises LeaseLost, CommandFailed, or StoreUnavailable when the store is gone."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def hello(self, worker: str, pid: int, sessions: int) -> None:
        await self._ask(Hello(worker, pid, sessions), Done)

    async def claim(self, worker: str, *, idle: bool) -> Lease | Wait | Finished:
        answer = await self._send(Claim(worker, idle))
        if isinstance(answer, Lease | Wait | Finished):
            return answer
        raise _unexpected(answer)

    async def unseen(self, lease: Held, keys: Sequence[str], *, claim: bool = True) -> list[str]:
        return (await self._ask(Unseen(lease, list(keys), claim), Keys)).keys

    async def commit(self, commit: Commit) -> Committed:
        return await self._ask(commit, Committed)

    async def release(self, release: Release) -> str:
        return (await self._ask(release, Ended)).state

    async def renew(self, worker: str, leases: Sequence[Held], counts: Sequence[Counts], *, sessions: int) -> list[int]:
        return (await self._ask(Renew(worker, list(leases), list(counts), sessions), Lapsed)).partitions

    async def reserve(self, host: str, slots: int, interval: float) -> list[float]:
        return (await self._ask(Reserve(host, slots, interval), Slots)).delays

    async def take(self, host: str, worker: str, slots: int, interval: float, seen: Observation) -> Slots:
        return await self._ask(Take(host, worker, slots, interval, seen), Slots)

    async def observe(self, host: str, seen: Observation) -> None:
        await self._ask(Observe(host, seen), Done)

    async def hold(self, host: str, seconds: float, seen: Observation | None = None) -> None:
        await self._ask(Hold(host, seconds, seen), Done)

    async def notes(self, host: str) -> HostNotes:
        return await self._ask(AskHost(host), HostNotes)

    async def keep_robots(self, host: str, status: int, text: str) -> None:
        await self._ask(KeepRobots(host, status, text), Done)

    async def _ask(self, command: Command, expected: type[Expected]) -> Expected:
        answer = await self._send(command)
        if isinstance(answer, expected):
            return answer
        raise _unexpected(answer)


def _unexpected(answer: Answer) -> Exception:
    if isinstance(answer, Lost):
        return LeaseLost("the partition's lease is no longer this worker's")
    if isinstance(answer, Failure):
        return StoreUnavailable(answer.message) if answer.fatal else CommandFailed(answer.message)
    return CommandFailed(f"the store answered {type(answer).__name__}, which does not fit the command")
