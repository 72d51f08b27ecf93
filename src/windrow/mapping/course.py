"""One map call, in its caller's thread: items are read a little ahead, results are put in order and handed over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice, pairwise
from queue import Empty
from typing import Any, Literal, Protocol

from windrow.clock import Clock
from windrow.errors import SettingError
from windrow.mapping.durable import Key, Memory
from windrow.mapping.orders import MapOrder
from windrow.mapping.outcomes import ItemFailed, Result
from windrow.mapping.progress import Progress
from windrow.mapping.stretches import Block, Caught, Stretch

LEAST_AHEAD = 1_000
BATCHES_AHEAD = 4
READ_AT_ONCE = 4_096
FEW_AT_ONCE = 64
QUICK_READS = 32
QUICK_SECONDS = 0.001
TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of a map call, see `windrow.map`. Raises SettingError for an unusable value."""

    ordered: bool = True
    errors: Literal["raise", "return"] = "raise"
    star: bool = False
    chunk: int | Literal["auto"] = "auto"
    assign: Literal["dynamic", "static"] = "dynamic"
    timeout: float | None = None
    retries: int = 0
    backoff: float = 0.5
    progress: bool = False
    ahead: int | None = None
    store: str | os.PathLike[str] | None = None
    key: Key = None
    name: str | None = None

    def __post_init__(self) -> None:
        _one_of("errors", self.errors, ("raise", "return"))
        _one_of("assign", self.assign, ("dynamic", "static"))
        if self.chunk != "auto" and (not isinstance(self.chunk, int) or self.chunk < 1):
            raise SettingError(f'windrow.map: chunk must be "auto" or at least 1, not {self.chunk!r}')
        if self.timeout is not None and not self.timeout > 0:
            raise SettingError(f"windrow.map: timeout must be above 0 seconds, or None, not {self.timeout}")
        if self.retries < 0 or self.backoff < 0:
            raise SettingError("windrow.map: retries and backoff must not be negative")
        if self.ahead is not None and self.ahead < 1:
            raise SettingError(f"windrow.map: ahead must be at least 1, not {self.ahead}")
        if self.store is None and (self.key is not None or self.name is not None):
            raise SettingError("windrow.map: key and name belong to store=…; give the path of an SQLite file")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        choice = " or ".join(f'"{each}"' for each in known)
        raise SettingError(f"windrow.map: {name} must be {choice}, not {value!r}")


class Crew(Protocol):
    """What a course asks of a supervisor."""

    count: int

    def add(self, order: MapOrder, stretches: Iterable[Stretch], /) -> None:
        """Have these items run."""


@dataclass(slots=True)
class _Failed:
    """Stands among plain values for one that failed."""

    error: ItemFailed


@dataclass(slots=True)
class Tally:
    """How many items were read, handed to the supervisor and not come back, and handed over."""

    read: int = 0
    pending: int = 0
    passed: int = 0


class Course:
    """Feeds `items` to the crew's workers under `order`, and iterates over what comes back."""

    def __init__(
        self,
        crew: Crew,
        order: MapOrder,
        items: Iterable[Any],
        settings: Settings,
        clock: Clock,
        progress: Progress,
        memory: Memory | None = None,
    ) -> None:
        self._crew = crew
        self._order = order
        self._settings = settings
        self._progress = progress
        self._memory = memory
        self._source = Source(items, clock)
        self._tally = Tally()
        self._turn = Turn() if settings.ordered else None
        self._twins = Twins()
        self._known: list[Block] = []
        self._some_failed = False

    def outputs(self) -> Iterator[Any]:
        """Values, or Results where errors are to be returned. Raises ItemFailed otherwise, at the first failed item."""
        more = True
        while more or self._tally.pending:
            if more and self._room() > 0:
                more = self._feed()
            # While there is room for more items, results are taken as they are there, and not waited for.
            wait = bool(self._tally.pending) and not self._known and not (more and self._room() > 0)
            for block in self._arrived(wait=wait):
                yield from self._pass_on(block)

    # Feeding

    def _room(self) -> int:
        ahead = self._settings.ahead
        if ahead is None:
            ahead = max(LEAST_AHEAD, BATCHES_AHEAD * self._crew.count * self._order.size.now)
        return ahead - (self._tally.read - self._tally.passed)

    def _feed(self) -> bool:
        """Read some items and hand them on. False when there are no more."""
        static = self._settings.assign == "static"
        items = self._source.rest() if static else self._source.read(self._room())
        if not items:
            return False
        first = self._tally.read
        self._tally.read += len(items)
        stretch = Stretch(range(first, first + len(items)), items)
        if self._memory is not None:
            stretch = self._unknown(stretch, self._memory)
        self._tally.pending += len(stretch)
        self._crew.add(self._order, _lists(stretch, self._crew.count) if static else [stretch])
        return not static

    def _unknown(self, stretch: Stretch, memory: Memory) -> Stretch:
        """What has no value in the store and is not on its way; the rest is set aside."""
        keys = memory.keys(stretch.items)
        recalled = memory.recall([key for key in keys if not self._twins.is_on_its_way(key)])
        kept: list[int] = []
        for position, key in enumerate(keys):
            if key in recalled:
                known = Stretch(stretch.indices[position : position + 1], [stretch.items[position]], attempt=0)
                self._known.append(Block(known, [recalled[key]], [0.0]))
            elif self._twins.is_on_its_way(key):
                self._twins.add(key, stretch.indices[position], stretch.items[position])
                self._tally.pending += 1
            else:
                self._twins.send(key)
                kept.append(position)
        return Stretch(
            [stretch.indices[position] for position in kept],
            [stretch.items[position] for position in kept],
            [keys[position] for position in kept],
        )

    # Taking

    def _arrived(self, *, wait: bool) -> Iterator[Block]:
        known, self._known = self._known, []
        yield from known
        if wait:
            yield from self._received(self._next())
        while True:
            try:
                outcome = self._order.outcomes.get_nowait()
            except Empty:
                return
            yield from self._received(outcome)

    def _next(self) -> list[Block] | BaseException:
        while True:
            try:
                return self._order.outcomes.get(timeout=TICK_SECONDS if self._progress.wants_ticks else None)
            except Empty:
                self._progress.add(0, 0)

    def _received(self, outcome: list[Block] | BaseException) -> Iterator[Block]:
        if isinstance(outcome, BaseException):
            raise outcome
        for block in outcome:
            self._tally.pending -= len(block.stretch)
            yield block
            for twin in self._twins.of(block):
                self._tally.pending -= 1
                yield twin

    # Handing over

    def _pass_on(self, block: Block) -> Iterator[Any]:
        count = len(block.stretch)
        self._progress.add(count, len(block.failures))
        outputs = self._outputs_of(block)
        if self._turn is not None:
            outputs = self._turn.take(block.stretch.indices, outputs)
        self._tally.passed += len(outputs)
        if not self._some_failed:
            yield from outputs
            return
        for output in outputs:
            if isinstance(output, _Failed):
                raise output.error from output.error.error
            yield output

    def _outputs_of(self, block: Block) -> Sequence[Any]:
        if self._settings.errors == "return":
            return _results(block)
        if not block.failures:
            return block.values
        self._some_failed = True
        outputs = list(block.values)
        for position, caught in block.failures.items():
            item, attempt = block.stretch.items[position], block.stretch.attempt
            outputs[position] = _Failed(ItemFailed(item, caught.error, attempt, caught.traceback))
        return outputs


def _lists(stretch: Stretch, workers: int) -> list[Stretch]:
    """A list for each worker, of lengths that differ by one at most."""
    bounds = [len(stretch) * number // workers for number in range(workers + 1)]
    return [
        Stretch(
            stretch.indices[begin:end], stretch.items[begin:end], stretch.keys and stretch.keys[begin:end], lane=lane
        )
        for lane, (begin, end) in enumerate(pairwise(bounds))
    ]


def _results(block: Block) -> list[Result[Any, Any]]:
    seconds: Iterable[float] = block.seconds or [0.0] * len(block.stretch)
    results: list[Result[Any, Any]] = []
    for position, (item, value, took) in enumerate(zip(block.stretch.items, block.values, seconds, strict=True)):
        caught = block.failures.get(position)
        error, traceback = (None, None) if caught is None else (caught.error, caught.traceback)
        results.append(Result(item, value, error, block.stretch.attempt, took, traceback))
    return results


class Source:
    """Reads items: of a collection many at once; of what may be slow one at a time, until a number came quickly.

    What was read is handed on before more is read: items must not wait for one that is long in coming.
    """

    def __init__(self, items: Iterable[Any], clock: Clock) -> None:
        self._is_collection = isinstance(items, Sequence | Set | Mapping)
        self._quick_reads = 0
        self._items = iter(items)
        self._clock = clock

    def read(self, most: int) -> list[Any]:
        """The next items; none when there are no more."""
        if self._is_collection:
            return list(islice(self._items, min(most, READ_AT_ONCE)))
        begun = self._clock.monotonic()
        count = FEW_AT_ONCE if self._quick_reads >= QUICK_READS else 1
        taken = list(islice(self._items, min(most, count)))
        came_quickly = self._clock.monotonic() - begun < QUICK_SECONDS
        self._quick_reads = self._quick_reads + 1 if came_quickly else 0
        return taken

    def rest(self) -> list[Any]:
        """All that are left."""
        return list(self._items)


class Turn:
    """Puts outputs in the order of their items. Pure."""

    def __init__(self) -> None:
        self._next = 0
        self._held: dict[int, Any] = {}

    def take(self, indices: Sequence[int], outputs: Sequence[Any]) -> Sequence[Any]:
        """What can be handed over now that these have come."""
        ready: list[Any] = []
        if isinstance(indices, range) and indices.step == 1 and indices.start == self._next:
            ready += outputs
            self._next = indices.stop
        else:
            self._held.update(zip(indices, outputs, strict=True))
        while self._held and self._next in self._held:
            ready.append(self._held.pop(self._next))
            self._next += 1
        return ready


class Twins:
    """Items whose key is on its way already: they are not run, and get what their twin gets. Pure."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[int, Any]]] = {}

    def is_on_its_way(self, key: str) -> bool:
        """Whether an item of this key was sent and has not come back."""
        return key in self._waiting

    def send(self, key: str) -> None:
        """An item of this key is on its way from now on."""
        self._waiting[key] = []

    def add(self, key: str, index: int, item: Any) -> None:
        """Another item of a key that is on its way."""
        self._waiting[key].append((index, item))

    def of(self, block: Block) -> Iterator[Block]:
        """The block's items have come back: each twin as a block of its own."""
        for position, key in enumerate(block.stretch.keys or ()):
            for index, item in self._waiting.pop(key, ()):
                caught = block.failures.get(position)
                failures: dict[int, Caught] = {} if caught is None else {0: caught}
                yield Block(
                    Stretch(range(index, index + 1), [item], attempt=block.stretch.attempt),
                    [block.values[position]],
                    [0.0],
                    failures,
                )
