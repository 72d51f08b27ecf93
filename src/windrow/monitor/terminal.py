"""How a run looks in a terminal: rich renderables, and plain lines where there is no terminal. Values in, pictures out.

All text that comes from a site, a job or a user goes through `printable` into `Text`, never into markup.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from windrow.monitor.snapshot import Rates, RunState, Snapshot
from windrow.monitor.wording import duration, number, per_second, printable
from windrow.records import Row
from windrow.store.reader import InvalidRow, PartitionRow, WorkerRow

LONGEST_KEY = 30
LONGEST_CELL = 30
MOST_RECORD_COLUMNS = 5
NARROWEST = 5
"""What a column keeps of its width where a table does not fit."""
SILENT_SECONDS = 30.0
"""A worker that was not heard of for longer is shown as silent."""

_STATE_STYLES = MappingProxyType({RunState.RUNNING: "cyan", RunState.FINISHED: "green", RunState.INTERRUPTED: "yellow"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that the monitor shows of one moment: each list is already cut to what is to be shown."""

    snapshot: Snapshot
    rates: Rates
    workers: Sequence[WorkerRow] = ()
    in_progress: Sequence[PartitionRow] = ()
    problems: Sequence[PartitionRow] = ()
    invalid: Sequence[InvalidRow] = ()
    newest: Sequence[Row] = ()


def progress_line(snapshot: Snapshot, rates: Rates) -> str:
    """The progress of a run as one line without colours."""
    counts = snapshot.partitions
    parts = [
        f"{printable(snapshot.job)} run {snapshot.run}: {_share(snapshot)} partitions",
        f"{number(snapshot.records)} records ({per_second(rates.records)})",
        f"{number(snapshot.requests)} pages ({per_second(rates.pages)})",
        f"ETA {duration(rates.remaining)}",
        *(f"{name} {number(count)}" for name, count in _troubles(snapshot)),
    ]
    if counts.incomplete:
        parts.append(f"incomplete {number(counts.incomplete)}")
    return ", ".join(parts)


def progress_view(snapshot: Snapshot, rates: Rates) -> RenderableType:
    """The progress of a run: a bar of the partitions that have come to an end, and what is counted."""
    return Group(_headline(snapshot), _bar(snapshot, rates), _counted(snapshot, rates))


def monitor_view(picture: Picture) -> RenderableType:
    """The progress, then workers, partitions in progress, newest records and problems; empty parts are left out."""
    now = picture.snapshot.at
    parts: list[RenderableType] = [
        progress_view(picture.snapshot, picture.rates),
        _books(picture.snapshot),
    ]
    if picture.workers:
        parts += ["", _workers_table(picture.workers, now)]
    if picture.in_progress:
        parts += ["", _progress_table(picture.in_progress, now)]
    if picture.newest:
        parts += ["", _records_table(picture.newest)]
    if picture.problems:
        parts += ["", _problems_table(picture.problems)]
    if picture.invalid:
        parts += ["", _invalid_table(picture.invalid)]
    return Group(*parts)


def _headline(snapshot: Snapshot) -> Text:
    style = _STATE_STYLES[snapshot.state]
    return Text.assemble(
        (printable(snapshot.job), "bold"),
        f" · run {snapshot.run} · ",
        (snapshot.state.value, style),
        f" · {duration(snapshot.elapsed)}",
    )


def _bar(snapshot: Snapshot, rates: Rates) -> RenderableType:
    counts = snapshot.partitions
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    row.add_column(no_wrap=True)
    eta = f"ETA {duration(rates.remaining)}" if snapshot.state is RunState.RUNNING else ""
    row.add_row(ProgressBar(total=max(1, counts.total), completed=counts.ended), f"{_share(snapshot)} partitions", eta)
    return row


def _counted(snapshot: Snapshot, rates: Rates) -> Text:
    running = snapshot.state is RunState.RUNNING
    text = Text()
    for name, count, rate in (
        ("records", snapshot.records, rates.records),
        ("pages", snapshot.requests, rates.pages),
    ):
        text.append(f"{name} ").append(number(count), "bold").append(f" {per_second(rate)}" if running else "")
        text.append(" · ")
    counts = [*_troubles(snapshot), ("incomplete", snapshot.partitions.incomplete)]
    for position, (name, count) in enumerate(counts):
        text.append(" · " if position else "").append(f"{name} ").append(number(count), _trouble_style(name, count))
    return text


def _books(snapshot: Snapshot) -> Text:
    reported = "–" if snapshot.reported is None else number(snapshot.reported)
    return Text.assemble(
        f"reported {reported} · missing ",
        (number(snapshot.missing), "red" if snapshot.missing else ""),
        " · invalid ",
        (number(snapshot.invalid), "yellow" if snapshot.invalid else ""),
        f" · pending {number(snapshot.partitions.pending)} · split {number(snapshot.partitions.split)}",
    )


def _troubles(snapshot: Snapshot) -> list[tuple[str, int]]:
    return [
        ("retries", snapshot.retries),
        ("throttled", snapshot.throttled),
        ("blocked", snapshot.blocked),
        ("failed", snapshot.partitions.failed),
    ]


def _trouble_style(name: str, count: int) -> str:
    if not count:
        return "dim"
    return "red" if name in {"failed", "incomplete", "blocked"} else "yellow"


def _share(snapshot: Snapshot) -> str:
    counts = snapshot.partitions
    percent = f" ({100 * counts.ended // counts.total} %)" if counts.total else ""
    return f"{number(counts.ended)}/{number(counts.total)}{percent}"


def _workers_table(workers: Iterable[WorkerRow], now: float) -> Table:
    table = _table(
        "workers",
        ["worker", "pid", "in hand", "records", "requests", "state"],
        numbers={"pid", "in hand", "records", "requests"},
    )
    for worker in workers:
        table.add_row(
            Text(printable(worker.name, LONGEST_KEY)),
            str(worker.pid),
            f"{worker.holding}/{worker.sessions}",
            number(worker.records),
            number(worker.requests),
            _worker_state(worker, now),
        )
    return table


def _worker_state(worker: WorkerRow, now: float) -> str:
    if worker.ended is not None:
        return "ended"
    silent = now - worker.seen
    return f"silent for {duration(silent)}" if silent > SILENT_SECONDS else "at work"


def _progress_table(partitions: Iterable[PartitionRow], now: float) -> Table:
    table = _table(
        "in progress",
        ["partition", "worker", "attempt", "reported", "found", "saved", "requests", "for"],
        numbers={"attempt", "reported", "found", "saved", "requests", "for"},
    )
    for row in partitions:
        table.add_row(
            Text(printable(row.key, LONGEST_KEY)),
            Text(printable(row.worker or "", LONGEST_KEY)),
            number(row.attempt),
            "–" if row.reported is None else number(row.reported),
            number(row.found),
            number(row.saved),
            number(row.requests),
            duration(None if row.started is None else now - row.started),
        )
    return table


def _records_table(records: Sequence[Row]) -> Table:
    fields = [name for name in records[0] if not name.startswith("_")][:MOST_RECORD_COLUMNS]
    table = _table("newest records", [printable(name, LONGEST_CELL) for name in ["_partition", *fields]])
    for record in records:
        cells = [record.get("_partition"), *(record.get(name) for name in fields)]
        table.add_row(*(Text("–" if cell is None else printable(cell, LONGEST_CELL)) for cell in cells))
    return table


def _problems_table(partitions: Iterable[PartitionRow]) -> Table:
    table = _table(
        "problems",
        ["partition", "state", "missing", "attempts", "reason"],
        numbers={"missing", "attempts"},
        wrapped="reason",
    )
    for row in partitions:
        table.add_row(
            Text(printable(row.key, LONGEST_KEY)),
            Text(row.state, "red"),
            number(row.missing),
            number(row.attempt),
            Text(printable(row.reason or "no reason was given")),
        )
    return table


def _invalid_table(records: Iterable[InvalidRow]) -> Table:
    table = _table("invalid records", ["partition", "error", "record"], wrapped="error")
    for row in records:
        table.add_row(
            Text(printable(row.partition, LONGEST_KEY)),
            Text(printable(row.error)),
            Text(printable(row.raw, LONGEST_CELL)),
        )
    return table


def _table(title: str, columns: Iterable[str], *, numbers: Collection[str] = (), wrapped: str | None = None) -> Table:
    """A table without lines. Columns that hold `numbers` stand to the right; only `wrapped` may take several lines."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(
            Text(name),
            justify="right" if name in numbers else "left",
            no_wrap=name != wrapped,
            min_width=min(len(name), NARROWEST),
            overflow="fold" if name == wrapped else "ellipsis",
            header_style="dim",
        )
    return table
