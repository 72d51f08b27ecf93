"""How far a map is: a bar on a terminal, a line every few seconds elsewhere. Both on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from windrow.clock import Clock

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 5.0


class Progress(Protocol):
    """Shows while the context is open. `wants_ticks`: it wants to be told when nothing has happened for a second."""

    wants_ticks: bool

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, done: int, failed: int) -> None:
        """So many more items have come to an end; `failed` of them failed."""


class NoProgress:
    """Shows nothing."""

    wants_ticks = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def add(self, done: int, failed: int) -> None:
        return


class LineProgress:
    """A line every LINE_SECONDS, and one at the end."""

    wants_ticks = True

    def __init__(self, label: str, total: int | None, console: Console, clock: Clock) -> None:
        self._label = label
        self._total = total
        self._console = console
        self._clock = clock
        self._done = self._failed = 0
        self._begun = self._said = 0.0

    def __enter__(self) -> Self:
        self._begun = self._said = self._clock.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._say()

    def add(self, done: int, failed: int) -> None:
        self._done += done
        self._failed += failed
        if self._clock.monotonic() - self._said >= LINE_SECONDS:
            self._say()

    def _say(self) -> None:
        now = self._clock.monotonic()
        self._said = now
        share = f"{self._done:,}" if self._total is None else f"{self._done:,} of {self._total:,}"
        rate = self._done / max(now - self._begun, 1e-3)
        failed = f", {self._failed:,} failed" if self._failed else ""
        line = f"{self._label}: {share} items{failed}, {now - self._begun:.0f} s, {rate:,.1f}/s"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class BarProgress:
    """A bar that moves."""

    wants_ticks = False

    def __init__(self, label: str, total: int | None, console: Console) -> None:
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("[red]{task.fields[failed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Bar(*columns, console=console)
        self._task = self._bar.add_task(escape(label), total=total, failed="")
        self._failed = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def add(self, done: int, failed: int) -> None:
        self._failed += failed
        self._bar.update(self._task, advance=done, failed=f"{self._failed:,} failed" if self._failed else "")


def progress(wanted: bool, label: str, total: int | None, clock: Clock) -> Progress:
    """The progress that suits standard error; one that shows nothing where it is not wanted."""
    if not wanted:
        return NoProgress()
    from rich.console import Console

    console = Console(stderr=True)
    return BarProgress(label, total, console) if console.is_terminal else LineProgress(label, total, console, clock)
