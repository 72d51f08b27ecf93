"""Watching a run: the thread beside `windrow run`, and the loop of `windrow monitor`.

Both only read the store. Reading costs the machine what the run could use, so the pause after each look grows with what
the look took: never more than a tenth of one core goes into looking.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from windrow.clock import Clock, SystemClock
from windrow.errors import StoreError
from windrow.monitor.report import LONG_HOLD, MOST_PROBLEMS, Commands, report
from windrow.monitor.snapshot import Rates, RunState, Snapshot, rates, remember, snapshot
from windrow.monitor.terminal import Picture, monitor_view, progress_line, progress_view
from windrow.monitor.wording import printable
from windrow.records import Row
from windrow.store.reader import Reader, open_reader

LOOK_SECONDS = 0.5
LINE_SECONDS = 5.0
PAUSE_PER_COST = 10.0
CLOSE_SECONDS = 10.0
"""How long the end of a run waits for a look that is under way."""
FIXED_LINES = 14
"""Lines of the monitor that are no rows of its five tables."""


class LiveProgress:
    """Shows how the run in `store` goes while the context is open; with `quiet` it does nothing.

    On a terminal a live view, else a line every few seconds and one at the end. It never disturbs the run: what goes
    wrong here is said once, when the context closes.
    """

    def __init__(
        self,
        store: str,
        console: Console,
        quiet: bool = False,
        *,
        clock: Clock | None = None,
        line_seconds: float = LINE_SECONDS,
    ) -> None:
        self._store = store
        self._console = console
        self._quiet = quiet
        self._clock = clock or SystemClock()
        self._line_seconds = line_seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="windrow-progress", daemon=True)
        self._problem: str | None = None

    def __enter__(self) -> Self:
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._quiet or self._closing.is_set():
            return
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)
        if self._problem is not None:
            with contextlib.suppress(OSError):
                self._console.print(f"the progress could not be shown: {self._problem}", markup=False, highlight=False)

    def _watch(self) -> None:
        try:
            with open_reader(self._store) as reader:
                if self._console.is_terminal:
                    self._show_view(reader)
                else:
                    self._print_lines(reader)
        except Exception as error:  # whatever it is, it must not reach the run
            self._problem = printable(f"{type(error).__name__}: {error}")

    def _show_view(self, reader: Reader) -> None:
        with Live(console=self._console, auto_refresh=False, transient=True) as live:

            def show(latest: Snapshot, speed: Rates) -> None:
                live.update(progress_view(latest, speed), refresh=True)

            self._look(reader, LOOK_SECONDS, show)

    def _print_lines(self, reader: Reader) -> None:
        def show(latest: Snapshot, speed: Rates) -> None:
            self._console.print(progress_line(latest, speed), markup=False, highlight=False, soft_wrap=True)

        self._look(reader, self._line_seconds, show)

    def _look(self, reader: Reader, pause: float, show: Callable[[Snapshot, Rates], None]) -> None:
        history: tuple[Snapshot, ...] = ()
        last = False
        while True:
            begun = self._clock.monotonic()
            latest = take_snapshot(reader, self._clock)
            if latest is not None:
                history = remember(history, latest)
                show(latest, rates(history))
            if last:
                return
            last = self._closing.wait(_pause(pause, self._clock.monotonic() - begun))


def take_snapshot(reader: Reader, clock: Clock, run: int | None = None) -> Snapshot | None:
    """That run (None: the one active last) as it stands now; None where the store has no run."""
    overview = reader.overview(run)
    return None if overview is None else snapshot(overview, clock.now())


def describe(reader: Reader, commands: Commands, clock: Clock, run: int | None = None) -> list[str]:
    """The report of that run (None: the one active last). Raises StoreError where the store has no run."""
    latest = _existing(take_snapshot(reader, clock, run))
    return report(
        latest,
        reader.problems(latest.run, MOST_PROBLEMS),
        commands,
        reader.holds(latest.at + LONG_HOLD),
        reader.resting(latest.run, latest.at),
    )


def watch_store(store: str, console: Console, clock: Clock | None = None) -> None:
    """Show the run in `store` until it ends; once, where it has ended already or the console is no terminal.

    Raises StoreError where the store has no run.
    """
    clock = clock or SystemClock()
    with open_reader(store) as reader:
        latest = _existing(take_snapshot(reader, clock))
        if console.is_terminal and latest.state is RunState.RUNNING:
            _follow(reader, console, clock)
        console.print(monitor_view(_take_picture(reader, clock, (), _rows(console.height))))


def _follow(reader: Reader, console: Console, clock: Clock) -> None:
    never = threading.Event()
    history: tuple[Snapshot, ...] = ()
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            begun = clock.monotonic()
            picture = _take_picture(reader, clock, history, _rows(console.height))
            history = remember(history, picture.snapshot)
            live.update(monitor_view(picture), refresh=True)
            if picture.snapshot.state is not RunState.RUNNING:
                return
            never.wait(_pause(LOOK_SECONDS, clock.monotonic() - begun))


def _take_picture(reader: Reader, clock: Clock, history: tuple[Snapshot, ...], rows: int) -> Picture:
    latest = _existing(take_snapshot(reader, clock))
    return Picture(
        snapshot=latest,
        rates=rates(remember(history, latest)),
        workers=reader.workers(latest.run, rows),
        in_progress=reader.in_progress(latest.run, rows),
        problems=reader.problems(latest.run, rows),
        invalid=reader.invalid_records(latest.run, rows),
        newest=_newest(reader, rows),
    )


def _newest(reader: Reader, rows: int) -> list[Row]:
    try:
        return reader.newest_records(reader.record_columns(), rows)
    except StoreError:
        return []  # the run has saved nothing so far, so there is no table yet


def _existing(latest: Snapshot | None) -> Snapshot:
    if latest is None:
        raise StoreError("there is no run in this store yet; `windrow run JOB` begins one")
    return latest


def _rows(height: int) -> int:
    """How many rows each of the monitor's five tables may have on a screen of `height` lines."""
    return max(3, (height - FIXED_LINES) // 5)


def _pause(usual: float, cost: float) -> float:
    return max(usual, PAUSE_PER_COST * cost)
