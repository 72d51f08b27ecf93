"""What a supervisor and a worker process say to each other, as bytes.

Values and exceptions are pickles inside of the message's own pickle, so that one that cannot be loaded spoils neither
the message nor the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from windrow.mapping.execution import Part
from windrow.mapping.functions import dumps, loads_here
from windrow.mapping.outcomes import CannotTravel, RemoteError, WorkerTraceback
from windrow.mapping.stretches import Caught

_Portable = tuple[bytes | None, str, str | None, bool]


@dataclass(frozen=True, slots=True)
class Batch:
    """The supervisor's only kind of message after the first, which is the Origin.

    `recipe` is the pickle of a Recipe; None for that of the batch before. `items` is the pickle of a list. `files`:
    see `Loader.know`.
    """

    number: int
    recipe: bytes | None
    files: dict[str, str]
    items: bytes


@dataclass(frozen=True, slots=True)
class Unusable:
    """The worker could not load the batch's recipe (`recipe`), or its items."""

    batch: int
    caught: Caught
    recipe: bool


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Results came that cannot be loaded here: of `count` items from position `begin` on."""

    batch: int
    begin: int
    count: int
    caught: Caught
    last: bool


@dataclass(frozen=True, slots=True)
class Arrived:
    """A part that came from a worker process, and what its values weighed, in bytes."""

    part: Part
    weight: int


def pack_part(part: Part) -> bytes:
    """A part as bytes. A value that cannot be pickled becomes a failure of its item."""
    failures = dict(part.failures)
    try:
        values = dumps(part.values)
    except Exception:
        values = dumps(_those_that_travel(part.values, failures))
    portable = {position: _portable(caught) for position, caught in failures.items()}
    count = len(part.values)
    return dumps(("part", part.batch, part.begin, count, values, part.seconds, portable, part.last, part.elapsed))


def pack_unusable(batch: int, caught: Caught, *, recipe: bool) -> bytes:
    """An Unusable as bytes."""
    return dumps(("unusable", batch, _portable(caught), recipe))


def unpack(data: bytes) -> Arrived | Unusable | Unreadable:
    """What a worker process said."""
    kind, *fields = loads_here(data)
    if kind == "unusable":
        batch, portable, recipe = fields
        return Unusable(batch, _revived(portable), recipe)
    batch, begin, count, pickled, seconds, portables, last, elapsed = fields
    try:
        values = loads_here(pickled)
    except Exception as error:
        reason = CannotTravel(f"the result cannot be unpickled ({type(error).__name__}: {error})")
        return Unreadable(batch, begin, count, Caught(reason, final=True), last)
    failures = {position: _revived(portable) for position, portable in portables.items()}
    return Arrived(Part(batch, begin, values, seconds, failures, last, elapsed), len(pickled))


def _those_that_travel(values: Sequence[Any], failures: dict[int, Caught]) -> list[Any]:
    kept: list[Any] = []
    for position, value in enumerate(values):
        try:
            dumps(value)
        except Exception as error:
            reason = CannotTravel(
                f"the result, a {type(value).__name__}, cannot be pickled ({type(error).__name__}: {error})"
            )
            failures[position] = Caught(reason, final=True)
            value = None
        kept.append(value)
    return kept


def _portable(caught: Caught) -> _Portable:
    error = caught.error
    try:
        pickled = dumps(error)
    except Exception:
        pickled = None
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = f"{type(error).__name__}, whose message cannot be read"
    return pickled, text, caught.traceback, caught.final


def _revived(portable: _Portable) -> Caught:
    """The exception as it was raised, if it can be had here: some pickle well and do not unpickle."""
    pickled, text, traceback, final = portable
    error: BaseException | None = None
    if pickled is not None:
        try:
            error = cast(BaseException, loads_here(pickled))
        except Exception:
            error = None
    if not isinstance(error, Exception):
        error = RemoteError(text)
    if traceback is not None:
        error.__cause__ = WorkerTraceback(traceback)
    return Caught(error, traceback, final)
