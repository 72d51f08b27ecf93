"""Stretches of items, what becomes of them, and how many items make a batch. Pure: no clock, no process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

BATCH_SECONDS = 0.05
"""What a batch should take in its worker: long enough to pay its way, short enough that long items spread evenly."""
BATCH_BYTES = 1 << 20
"""What a batch, or its results, may weigh."""
MOST_IN_BATCH = 2_000
GROWTH = 8
"""How much larger than the last one a batch may be, so that one quick item does not stand for all."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Items that wait to be run, with their places among the caller's items.

    - `keys`: what the items are called in the store, where there is one.
    - `attempt`: which attempt at them this is, from 1.
    - `lane`: the number of the only worker that may take them; None for any.
    - `deaths`: how many workers died holding them without a sign which item it was.
    """

    indices: Sequence[int]
    items: Sequence[Any]
    keys: Sequence[str] | None = None
    attempt: int = 1
    lane: int | None = None
    deaths: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def part(self, begin: int, end: int, *, failed: bool = False, deaths: int = 0) -> Stretch:
        """The items from position `begin` up to `end`; `failed`: they are to be tried again."""
        keys = None if self.keys is None else self.keys[begin:end]
        attempt = self.attempt + failed
        return Stretch(self.indices[begin:end], self.items[begin:end], keys, attempt, self.lane, self.deaths + deaths)

    def joined(self, other: Stretch) -> Stretch | None:
        """Both in one; None where they differ, or `other` does not begin where this one ends."""
        if self._kind() != other._kind() or not isinstance(self.indices, range) or not isinstance(other.indices, range):
            return None
        if self.keys is not None or other.keys is not None or self.indices.stop != other.indices.start:
            return None
        return replace(self, indices=range(self.indices.start, other.indices.stop), items=[*self.items, *other.items])

    def _kind(self) -> tuple[int, int | None, int]:
        return self.attempt, self.lane, self.deaths

    def singles(self, *, deaths: int = 0) -> list[Stretch]:
        """Each item as a stretch of its own."""
        return [self.part(position, position + 1, deaths=deaths) for position in range(len(self))]


@dataclass(frozen=True, slots=True)
class Caught:
    """An exception and its traceback as text; `final`: trying again would not help."""

    error: BaseException
    traceback: str | None = None
    final: bool = False


@dataclass(slots=True)
class Block:
    """Items that have come to an end: `values` and `seconds` go with `stretch.items`, `failures` is by position.

    A failed item's value is None. `seconds` is empty where nobody asked for it.
    """

    stretch: Stretch
    values: Sequence[Any]
    seconds: Sequence[float] = ()
    failures: Mapping[int, Caught] = field(default_factory=dict)

    @classmethod
    def failed(cls, stretch: Stretch, caught: Caught) -> Block:
        """Every item of the stretch failed for the same reason."""
        return cls(stretch, [None] * len(stretch), (), dict.fromkeys(range(len(stretch)), caught))

    def without(self, positions: Sequence[int]) -> Block:
        """The block without these positions."""
        gone = set(positions)
        kept = [position for position in range(len(self.stretch)) if position not in gone]
        return Block(
            _chosen(self.stretch, kept),
            [self.values[position] for position in kept],
            [self.seconds[position] for position in kept] if self.seconds else (),
            {place: self.failures[old] for place, old in enumerate(kept) if old in self.failures},
        )


def _chosen(stretch: Stretch, positions: Sequence[int]) -> Stretch:
    return Stretch(
        [stretch.indices[position] for position in positions],
        [stretch.items[position] for position in positions],
        None if stretch.keys is None else [stretch.keys[position] for position in positions],
        stretch.attempt,
        stretch.lane,
        stretch.deaths,
    )


class BatchSize:
    """How many items a batch gets: a fixed number, or what takes about BATCH_SECONDS by what was seen so far."""

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed
        self._size = fixed or 1
        self._seconds: float | None = None
        self._bytes = 0.0

    @property
    def now(self) -> int:
        """Items."""
        return self._size

    @property
    def seconds(self) -> float | None:
        """What an item takes, as far as that is known."""
        return self._seconds

    @property
    def is_fixed(self) -> bool:
        """Whether the caller chose the number."""
        return self._fixed is not None

    def learn(self, items: int, seconds: float, weight: int) -> None:
        """`items` took so many `seconds` in a worker; their pickles weigh `weight` bytes, there or back."""
        if not items:
            return
        each = max(seconds / items, 1e-7)
        self._seconds = each if self._seconds is None else (self._seconds + each) / 2
        if self._fixed is not None:
            return
        self._bytes = max(self._bytes * 0.9, weight / items)
        fits = min(BATCH_SECONDS / self._seconds, BATCH_BYTES / max(self._bytes, 1.0), MOST_IN_BATCH)
        self._size = max(1, min(int(fits), self._size * GROWTH))
