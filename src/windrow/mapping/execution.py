"""A batch of items, run one after the other: the same in a worker process and in a worker thread.

What is done is told in parts: at the batch's end, and every `FLUSH_SECONDS` while it lasts, so that values do not wait
for a long item behind them, and a worker that dies takes few of them along. Where a worker stands is in three numbers
(`Standing`) that the supervisor can read at any time, also after the worker's death.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from windrow.clock import Clock
from windrow.mapping.outcomes import NotStorable, RemoteError
from windrow.mapping.stretches import Caught

BATCH, POSITION, STARTED = 0, 1, 2
STANDING_BYTES = 24
NOWHERE = -1.0
NOTHING_YET = -1
FLUSH_SECONDS = 0.1


class Standing(Protocol):
    """Three numbers: the batch, the position in it (NOWHERE between items), and when that item began (monotonic)."""

    def __getitem__(self, place: int, /) -> float: ...

    def __setitem__(self, place: int, number: float, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a worker runs an item.

    - `star`: the item is a tuple of arguments.
    - `as_json`: the value is wanted as JSON text.
    - `timed`: seconds per item are wanted.
    - `seconds`: a batch that took longer gives the rest of its items back; None for never.
    """

    function: Callable[..., Any]
    star: bool = False
    as_json: bool = False
    timed: bool = False
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker says of a batch: the items from position `begin` on, as many as there are values.

    `last`: the batch is over, and what comes after this part has not been run. `elapsed`: seconds since its begin.
    """

    batch: int
    begin: int
    values: Sequence[Any]
    seconds: Sequence[float]
    failures: dict[int, Caught]
    last: bool
    elapsed: float


class Report:
    """Gathers what becomes of the items of one batch; `flush` may be called by another thread meanwhile."""

    def __init__(self, batch: int, send: Callable[[Part], None], clock: Clock) -> None:
        self.values: list[Any] = []
        self.seconds: list[float] = []
        self._failures: dict[int, Caught] = {}
        self._batch = batch
        self._send = send
        self._clock = clock
        self._begun = clock.monotonic()
        self._sent = NOTHING_YET
        self._sending = threading.Lock()
        self._closed = False

    def fail(self, position: int, error: BaseException) -> None:
        """The item at `position` raised; to be called before its place among the values is filled."""
        text = traceback_text(error)
        # SystemExit and its kin would end the caller's program where they are raised again.
        known = error if isinstance(error, Exception) else RemoteError(f"{type(error).__name__}: {error}")
        self._failures[position] = Caught(known, text, isinstance(error, NotStorable))

    def flush(self, *, last: bool = False) -> None:
        """Send what has not been sent yet. A value's place counts once it is filled: it is filled last.

        The first part is sent even where it is empty: it says that the worker has begun.
        """
        with self._sending:
            begin, end = max(self._sent, 0), len(self.values)
            if self._closed or (self._sent == end and not last):
                return
            self._closed = last
            self._sent = end
            failures = {at - begin: self._failures.pop(at) for at in list(self._failures) if at < end}
            elapsed = self._clock.monotonic() - self._begun
            part = Part(self._batch, begin, self.values[begin:end], self.seconds[begin:end], failures, last, elapsed)
            self._send(part)


class Flusher:
    """A thread that flushes the report of the batch in progress every FLUSH_SECONDS."""

    def __init__(self) -> None:
        self._report: Report | None = None
        self._working = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._flush, name="windrow-flusher", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def watch(self, report: Report | None) -> None:
        """The report to flush from now on; None between batches."""
        self._report = report
        if report is None:
            self._working.clear()
        else:
            self._working.set()

    def stop(self) -> None:
        """End; safe to call twice."""
        self._stopped.set()
        self._working.set()

    def _flush(self) -> None:
        while self._working.wait() and not self._stopped.wait(FLUSH_SECONDS):
            report = self._report
            if report is not None:
                report.flush()


def run(recipe: Recipe, items: Sequence[Any], report: Report, standing: Standing, batch: int, clock: Clock) -> None:
    """Run the items of a batch, until it is done or has taken `recipe.seconds`. An item's exception is its result."""
    call, monotonic = _call(recipe), clock.monotonic
    values, seconds = report.values, report.seconds if recipe.timed else None
    begun = started = monotonic()
    until = float("inf") if recipe.seconds is None else begun + recipe.seconds
    standing[POSITION] = NOWHERE
    standing[BATCH] = batch
    for position, item in enumerate(items):
        standing[STARTED] = started
        standing[POSITION] = position
        try:
            value = call(item)
        except BaseException as error:  # SystemExit too: it must end the item, not the worker
            value = None
            report.fail(position, error)
        ended = monotonic()
        if seconds is not None:
            seconds.append(ended - started)
        values.append(value)
        if ended > until:
            break
        started = ended
    standing[POSITION] = NOWHERE


def _call(recipe: Recipe) -> Callable[[Any], Any]:
    function = recipe.function
    if recipe.as_json and recipe.star:
        return lambda item: as_json(function(*item))
    if recipe.as_json:
        return lambda item: as_json(function(item))
    if recipe.star:
        return lambda item: function(*item)
    return function


def as_json(value: Any) -> bytes:
    """`value` as JSON. Raises NotStorable with the reason."""
    import msgspec

    try:
        return msgspec.json.encode(value, enc_hook=_model)
    except Exception as error:
        raise NotStorable(
            f"the result cannot be kept as JSON ({type(error).__name__}: {error}); return texts, numbers, lists, "
            "dicts, dataclasses or pydantic models"
        ) from error


def _model(value: Any) -> Any:
    if hasattr(value, "model_dump"):  # a pydantic model
        return value.model_dump(mode="json")
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


def traceback_text(error: BaseException) -> str:
    """The traceback as Python prints it, without the frames of this package above the function's own."""
    import traceback

    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    return "".join(traceback.format_exception(type(error), error, own)).rstrip()
