"""`windrow.map`, `windrow.submit` and `windrow.Workers`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Self, TypedDict, TypeVar, Unpack, overload

from windrow.clock import Clock, SystemClock
from windrow.errors import SettingError
from windrow.mapping import functions
from windrow.mapping.course import Course, Settings
from windrow.mapping.durable import Key, map_name, remembering
from windrow.mapping.execution import Recipe
from windrow.mapping.orders import CallOrder, MapOrder, Patience, PortableRecipe
from windrow.mapping.outcomes import (
    CannotTravel,
    ItemFailed,
    NotStorable,
    RemoteError,
    Result,
    TimedOut,
    WorkerDied,
    WorkersUnusable,
)
from windrow.mapping.progress import progress
from windrow.mapping.stretches import BATCH_SECONDS, BatchSize, Stretch
from windrow.mapping.supervisor import Closed, Kind, Supervisor

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "CannotTravel",
    "Closed",
    "ItemFailed",
    "NotStorable",
    "Outcomes",
    "RemoteError",
    "Result",
    "TimedOut",
    "WorkerDied",
    "Workers",
    "WorkersUnusable",
    "map",
    "submit",
]

Item = TypeVar("Item")
Value = TypeVar("Value")
Output = TypeVar("Output", covariant=True)
Arguments = ParamSpec("Arguments")

DEFAULT_WORKERS = 4


class MapOptions(TypedDict, total=False):
    """The options of `windrow.map` and `Workers.map`, which say what they mean."""

    ordered: bool
    star: bool
    chunk: int | Literal["auto"]
    assign: Literal["dynamic", "static"]
    timeout: float | None
    retries: int
    backoff: float
    progress: bool
    ahead: int | None
    store: str | os.PathLike[str] | None
    key: Key
    name: str | None


class Outcomes(Generic[Output], Iterator[Output]):
    """What a map call gives: an iterator. Work begins when the first value is asked for.

    Whoever stops early may `close` it, or use it as a context manager; letting go of it does the same: items that are
    being run are ended, and no others begun.
    """

    def __init__(self, outputs: Iterator[Output]) -> None:
        self._outputs = outputs
        self._begun = False

    def __iter__(self) -> Iterator[Output]:
        self._begun = True
        return self._outputs

    def __next__(self) -> Output:
        self._begun = True
        return next(self._outputs)

    def close(self) -> None:
        """Run nothing more; safe to call twice."""
        self._begun = True
        close: Callable[[], None] | None = getattr(self._outputs, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._begun:
            warnings.warn(
                "the results of a windrow.map call were never taken, so nothing was run; iterate over them, or write "
                "list(windrow.map(…))",
                RuntimeWarning,
                stacklevel=2,
            )


class Workers:
    """Worker processes (or threads) for several map calls and single calls; started when there is work for them.

    As a context manager it waits at the end for the calls that were submitted; when an exception leaves the context,
    everything is ended at once. A worker that dies is replaced.
    """

    def __init__(self, count: int = DEFAULT_WORKERS, *, kind: Kind = "processes", clock: Clock | None = None) -> None:
        self._supervisor: Supervisor | None = None
        self._closed = False
        functions.check_not_loading()
        _check_crew(count, kind)
        self._count = count
        self._kind: Kind = kind
        self._clock = clock or SystemClock()

    @overload
    def map(
        self,
        function: Callable[..., Value],
        items: Iterable[Item],
        *,
        errors: Literal["raise"] = ...,
        **options: Unpack[MapOptions],
    ) -> Outcomes[Value]: ...

    @overload
    def map(
        self,
        function: Callable[..., Value],
        items: Iterable[Item],
        *,
        errors: Literal["return"],
        **options: Unpack[MapOptions],
    ) -> Outcomes[Result[Item, Value]]: ...

    def map(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *,
        errors: Literal["raise", "return"] = "raise",
        **options: Unpack[MapOptions],
    ) -> Outcomes[Any]:
        """`windrow.map` with these workers; the options are the same, without `workers` and `kind`."""
        settings, recipe = self._prepare(function, errors, options)
        return Outcomes(self._outputs(recipe, items, settings, alone=False))

    def submit(
        self, function: Callable[Arguments, Value], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Value]:
        """One call in a worker, begun as soon as one is free. A `concurrent.futures.Future`.

        Its exception is what the function raised, with the worker's traceback as cause; WorkerDied where the process
        ended. A call that has not begun can be cancelled.
        """
        functions.check_not_loading()
        self._check(function)
        supervisor = self._start()
        recipe = Recipe(_call)
        portable = PortableRecipe(recipe, functions.dumps(recipe), functions.files_of(function))
        order = CallOrder(supervisor.number(), portable)
        supervisor.add(order, [Stretch(range(1), [(function, args, kwargs)])])
        return order.future

    def close(self) -> None:
        """End everything at once; safe to call twice. Calls that were not finished fail with `Closed`."""
        self._closed = True
        if self._supervisor is not None:
            self._supervisor.end(when_idle=False)

    def finish(self) -> None:
        """Wait for the calls that were submitted, then close. What interrupts the waiting ends everything at once."""
        self._closed = True
        if self._supervisor is not None:
            try:
                self._supervisor.end(when_idle=True)
            except BaseException:
                self._supervisor.end(when_idle=False)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.close()

    def __del__(self) -> None:
        if self._supervisor is not None and not self._closed:
            self._supervisor.end_soon(when_idle=True)

    def _start(self, *, daemon: bool = True, forked: int = 0, recipe: Recipe | None = None) -> Supervisor:
        """The running supervisor. `forked`: so many workers may be forked, if they are only for this `recipe`."""
        if self._closed:
            raise Closed("these workers are closed; make new ones with windrow.Workers()")
        if self._supervisor is None:
            supervisor = Supervisor(self._count, self._kind, self._clock, daemon=daemon)
            try:
                if forked and recipe is not None and self._kind == "processes":
                    supervisor.fork(forked, recipe)
                supervisor.start()
            except BaseException:
                supervisor.abandon()
                raise
            self._supervisor = supervisor
        return self._supervisor

    def _check(self, function: Callable[..., Any]) -> None:
        functions.check_callable(function)
        if self._kind == "processes":
            functions.check_importable(function)

    def _prepare(
        self, function: Callable[..., Any], errors: Literal["raise", "return"], options: MapOptions
    ) -> tuple[Settings, Recipe]:
        """Everything that can be wrong with a call is said when it is made, and not when its first value is taken."""
        functions.check_not_loading()
        self._check(function)
        settings = Settings(errors=errors, **options)
        recipe = Recipe(
            function,
            star=settings.star,
            as_json=settings.store is not None,
            timed=errors == "return",
            seconds=BATCH_SECONDS if settings.chunk == "auto" else None,
        )
        return settings, recipe

    def _portable(self, recipe: Recipe) -> PortableRecipe:
        if self._kind == "threads":
            return PortableRecipe(recipe, b"", {})
        return PortableRecipe(recipe, functions.dumps(recipe), functions.files_of(recipe.function))

    def _outputs(self, recipe: Recipe, items: Iterable[Any], settings: Settings, *, alone: bool) -> Iterator[Any]:
        """`alone`: these workers are only for this call."""
        name = settings.name or map_name(recipe.function)
        total = len(items) if isinstance(items, Sized) else None
        with ExitStack() as stack:
            memory = None
            if settings.store is not None:
                memory = stack.enter_context(remembering(os.fspath(settings.store), name, settings.key, self._clock))
            if alone:
                stack.push(self)  # after the order is dropped, and before the store is closed
            most = self._count if total is None else min(self._count, total)
            supervisor = self._start(forked=most, recipe=recipe) if alone else self._start()
            order = MapOrder(
                supervisor.number(),
                self._portable(recipe),
                Patience(settings.timeout, settings.retries, settings.backoff),
                BatchSize(None if settings.chunk == "auto" else settings.chunk),
                None if memory is None else memory.keep,
            )
            stack.callback(supervisor.drop, order)
            shown = stack.enter_context(progress(settings.progress, name, total, self._clock))
            yield from Course(supervisor, order, items, settings, self._clock, shown, memory).outputs()


@overload
def map(
    function: Callable[..., Value],
    items: Iterable[Item],
    *,
    workers: int = ...,
    kind: Kind = ...,
    errors: Literal["raise"] = ...,
    **options: Unpack[MapOptions],
) -> Outcomes[Value]: ...


@overload
def map(
    function: Callable[..., Value],
    items: Iterable[Item],
    *,
    workers: int = ...,
    kind: Kind = ...,
    errors: Literal["return"],
    **options: Unpack[MapOptions],
) -> Outcomes[Result[Item, Value]]: ...


def map(
    function: Callable[..., Any],
    items: Iterable[Any],
    *,
    workers: int = DEFAULT_WORKERS,
    kind: Kind = "processes",
    errors: Literal["raise", "return"] = "raise",
    **options: Unpack[MapOptions],
) -> Outcomes[Any]:
    """Run `function(item)` for each item in worker processes; an iterator of what it returns, in the items' order.

    - `workers`, `kind`: how many, `"processes"` or `"threads"`.
    - `errors`: `"raise"` raises ItemFailed at the first failed item; `"return"` gives a `Result` for each item instead
      of plain values.
    - `ordered`: False gives values as they come.
    - `star`: items are tuples of arguments.
    - `timeout`: seconds one item may take; its process is killed and replaced. A thread cannot be killed: it is left
      alone with its item, and another takes its place.
    - `retries`, `backoff`: how often a failed item is tried again, and the first pause's length in seconds, which
      doubles and of which a random share is taken.
    - `progress`: shows a bar on a terminal, a line every few seconds elsewhere, on standard error.
    - `chunk`: items sent to a worker at once; `"auto"` sends what takes about 50 ms.
    - `assign`: `"static"` reads all items at once and gives each worker a list of its own.
    - `ahead`: how many items may be read beyond what was handed over; None for 1,000, more where items are quick.
    - `store`, `key`, `name`: an SQLite file in which results are kept as JSON; run again, only what is missing is run.
      `key` is a function of an item, or a field of it, that tells items apart (their text, if None); `name` tells maps
      in one store apart (the function's name, if None). Values are what JSON gives back.

    Work begins when the first value is asked for and ends when the iterator is closed or let go of. Raises UsageError
    for a function that workers cannot run or an option that cannot be.
    """
    crew = Workers(workers, kind=kind)
    settings, recipe = crew._prepare(function, errors, options)
    return Outcomes(crew._outputs(recipe, items, settings, alone=True))


def submit(function: Callable[Arguments, Value], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Future[Value]:
    """One call in a worker process of its own, begun at once: what `Process(target=function).start()` is used for.

    See `Workers.submit` for the future. The program does not end before the call does, unless Ctrl-C ended it.
    """
    crew = Workers(1)
    supervisor = crew._start(daemon=False)
    try:
        return crew.submit(function, *args, **kwargs)
    finally:
        supervisor.end_soon(when_idle=True)


def _call(call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]) -> Any:
    function, args, kwargs = call
    return function(*args, **kwargs)


def _check_crew(count: int, kind: str) -> None:
    if not isinstance(count, int) or count < 1:
        raise SettingError(f"windrow: workers must be at least 1, not {count!r}")
    if kind not in ("processes", "threads"):
        raise SettingError(f'windrow: kind must be "processes" or "threads", not {kind!r}')
