"""What a run looks like on a terminal and without one, and the thread that shows it."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from tests.support.clock import ManualClock
from tests.support.stores import NOW, filled_store
from windrow.errors import StoreError
from windrow.monitor.live import LiveProgress, describe, watch_store
from windrow.monitor.report import Commands
from windrow.monitor.snapshot import Rates, RunState, Snapshot
from windrow.monitor.terminal import Picture, monitor_view, progress_line, progress_view
from windrow.records import record_type
from windrow.store.reader import InvalidRow, PartitionCounts, PartitionRow, WorkerRow, open_reader

TAKEN = Snapshot(
    at=NOW,
    job="people",
    run=3,
    state=RunState.RUNNING,
    partitions=PartitionCounts(pending=2, leased=1, done=5, split=1, failed=1),
    records=12_345,
    reported=13_000,
    missing=2,
    invalid=1,
    requests=20_000,
    retries=7,
    throttled=8,
    blocked=9,
    started=NOW - 200.0,
    finished=None,
    active=200.0,
)
SPEED = Rates(records=45.23, pages=88.0, remaining=200.0)


def drawn(view: RenderableType, width: int = 120, *, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    console.print(view)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def a_worker(**changes: Any) -> WorkerRow:
    row = WorkerRow(
        name="w1",
        pid=42,
        sessions=4,
        started=NOW - 50.0,
        seen=NOW - 1.0,
        ended=None,
        records=7,
        requests=70,
        holding=3,
    )
    return replace(row, **changes)


def a_partition(key: str, state: str, **changes: Any) -> PartitionRow:
    row = PartitionRow(
        id=1,
        key=key,
        parent=None,
        state=state,
        worker=None,
        attempt=2,
        not_before=0.0,
        reported=30,
        found=20,
        saved=10,
        invalid=0,
        missing=0,
        requests=11,
        reason=None,
        started=NOW - 65.0,
        finished=None,
    )
    return replace(row, **changes)


# --- pictures -------------------------------------------------------------------------------------------------------


def test_the_plain_line_holds_every_number() -> None:
    assert progress_line(TAKEN, SPEED) == (
        "people run 3: 7/10 (70 %) partitions, 12,345 records (45.2/s), 20,000 pages (88.0/s), ETA 3 min 20 s, "
        "retries 7, throttled 8, blocked 9, failed 1"
    )


def test_the_plain_line_of_a_run_without_partitions_or_rates() -> None:
    line = progress_line(replace(TAKEN, partitions=PartitionCounts(incomplete=0)), Rates())
    assert line.startswith("people run 3: 0/0 partitions, 12,345 records (–/s)")
    assert "ETA –" in line
    assert "incomplete 4" in progress_line(replace(TAKEN, partitions=PartitionCounts(incomplete=4)), Rates())


def test_the_live_view_holds_every_number() -> None:
    text = drawn(progress_view(TAKEN, SPEED))
    for expected in (
        "people · run 3 · running · 3 min 20 s",
        "7/10 (70 %) partitions",
        "ETA 3 min 20 s",
        "records 12,345 45.2/s",
        "pages 20,000 88.0/s",
        "retries 7",
        "throttled 8",
        "blocked 9",
        "failed 1",
        "incomplete 0",
        "━",
    ):
        assert expected in text


def test_a_finished_run_shows_no_speed() -> None:
    text = drawn(progress_view(replace(TAKEN, state=RunState.FINISHED, finished=NOW), Rates()))
    assert "finished" in text
    assert "/s" not in text
    assert "ETA" not in text


def test_the_monitor_shows_workers_partitions_records_and_problems() -> None:
    picture = Picture(
        snapshot=TAKEN,
        rates=SPEED,
        workers=[a_worker(), a_worker(name="w2", seen=NOW - 99.0), a_worker(name="w3", ended=NOW)],
        in_progress=[a_partition("ma", "leased", worker="w1")],
        problems=[a_partition("du", "failed", reason="the site did not answer", missing=5)],
        invalid=[InvalidRow("ma", '{"id": 1}', "name: Field required", NOW)],
        newest=[{"id": "k1", "name": None, "_partition": "ma", "_run": 3}],
    )
    text = drawn(monitor_view(picture))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "reported 13,000 · missing 2 · invalid 1 · pending 2 · split 1" in lines
    assert "w1 42 3/4 7 70 at work" in lines
    assert "w2 42 3/4 7 70 silent for 1 min 39 s" in lines
    assert "w3 42 3/4 7 70 ended" in lines
    assert "ma w1 2 30 20 10 11 1 min 5 s" in lines
    assert "du failed 5 2 the site did not answer" in lines
    assert 'ma name: Field required {"id": 1}' in lines
    assert "_partition id name" in lines
    assert "ma k1 –" in lines


def test_the_monitor_leaves_out_what_is_empty() -> None:
    text = drawn(monitor_view(Picture(snapshot=replace(TAKEN, reported=None), rates=Rates())))
    assert "reported –" in text
    for title in ("workers", "in progress", "newest", "problems", "invalid records"):
        assert title not in text


def test_what_a_site_sent_is_neither_markup_nor_an_escape_sequence() -> None:
    foreign = "[red]x[/red]\x1b[2J\x07[/nope]"
    picture = Picture(
        snapshot=replace(TAKEN, job="people"),
        rates=Rates(),
        in_progress=[a_partition(foreign, "leased", worker=foreign)],
        problems=[a_partition(foreign, "failed", reason=foreign)],
        invalid=[InvalidRow(foreign, foreign, foreign, NOW)],
        newest=[{foreign: foreign, "_partition": foreign}],
    )
    text = drawn(monitor_view(picture), width=250)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.count("[red]x[/red]\ufffd[2J") >= 8


@pytest.mark.parametrize("width", [20, 40, 80, 300])
def test_views_fit_any_width(width: int) -> None:
    picture = Picture(snapshot=TAKEN, rates=SPEED, workers=[a_worker()], problems=[a_partition("k" * 400, "failed")])
    assert all(len(line) <= width for line in drawn(monitor_view(picture), width).splitlines())


# --- watching a store -----------------------------------------------------------------------------------------------


class Screen(io.StringIO):
    """What was printed; `wait` returns once `count` lines (or pieces, on a terminal) have come."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def write(self, text: str) -> int:
        with self._changed:
            written = super().write(text)
            self._changed.notify_all()
            return written

    def wait(self, text: str, count: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.getvalue().count(text) >= count, timeout=10), self.getvalue()


def plain(screen: Screen) -> Console:
    return Console(file=screen, force_terminal=False, width=80)


def test_progress_without_a_terminal_prints_whole_lines_while_the_run_goes(tmp_path: Path) -> None:
    screen, clock = Screen(), ManualClock(NOW)
    with filled_store(tmp_path / "people.db") as store:
        run = store.run(records=1)
        store.partitions(run, {"pending": 2, "done": 1})
        with LiveProgress(str(store.path), plain(screen), clock=clock, line_seconds=0.01):
            screen.wait("1 records")
            store.change_run(run, records=5)
            screen.wait("5 records", count=2)
            store.change_run(run, records=9)
    lines = screen.getvalue().splitlines()
    assert all(line.startswith("people run 1: 1/3 (33 %) partitions") for line in lines)
    assert all(line.endswith("failed 0") for line in lines)


def test_the_last_line_is_of_the_end_of_the_run(tmp_path: Path) -> None:
    screen = Screen()
    with filled_store(tmp_path / "people.db") as store:
        run = store.run(records=1)
        store.partitions(run, {"done": 1})
        with LiveProgress(str(store.path), plain(screen), clock=ManualClock(NOW), line_seconds=60):
            screen.wait("1 records")
            store.change_run(run, records=7, state="finished", finished=NOW)
    assert screen.getvalue().splitlines()[-1].startswith("people run 1: 1/1 (100 %) partitions, 7 records")


def test_progress_on_a_terminal_is_drawn_and_wiped_away(tmp_path: Path) -> None:
    screen = Screen()
    console = Console(file=screen, force_terminal=True, width=100, height=20)
    with filled_store(tmp_path / "people.db") as store:
        store.partitions(store.run(records=1_234), {"done": 1, "pending": 1})
        with LiveProgress(str(store.path), console, clock=ManualClock(NOW)):
            screen.wait("1,234")
    assert "\x1b[2K" in screen.getvalue()


def test_quiet_progress_shows_nothing(tmp_path: Path) -> None:
    screen = Screen()
    with filled_store(tmp_path / "people.db") as store:
        store.run()
        with LiveProgress(str(store.path), plain(screen), quiet=True):
            pass
    assert screen.getvalue() == ""


def test_trouble_with_the_progress_is_said_once_at_the_end_and_the_run_goes_on(tmp_path: Path) -> None:
    screen = Screen()
    with LiveProgress(str(tmp_path / "nowhere.db"), plain(screen)):
        pass
    assert screen.getvalue().count("the progress could not be shown: StoreError") == 1


def test_a_console_that_cannot_be_written_does_not_disturb_the_run(tmp_path: Path) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("nobody reads")

    with filled_store(tmp_path / "people.db") as store:
        store.run()
        with LiveProgress(str(store.path), Console(file=Closed(), force_terminal=False), clock=ManualClock(NOW)):
            pass


def test_what_a_run_raises_passes_through(tmp_path: Path) -> None:
    with filled_store(tmp_path / "people.db") as store:
        store.run()
        with (
            pytest.raises(ZeroDivisionError),
            LiveProgress(str(store.path), plain(Screen()), clock=ManualClock(NOW)),
        ):
            raise ZeroDivisionError


def test_the_monitor_shows_a_finished_run_once(tmp_path: Path) -> None:
    screen = Screen()
    with filled_store(tmp_path / "people.db") as store:
        run = store.run(state="finished", finished=NOW, records=3)
        store.partition(run, "ma", "failed", reason="the site did not answer")
        store.records(record_type(None, "id"), [{"id": "k1"}])
        watch_store(str(store.path), Console(file=screen, force_terminal=True, width=100, height=40), ManualClock(NOW))
    text = screen.getvalue()
    assert text.count("finished") == 1
    assert "the site did not answer" in text
    assert "k1" in text


def test_the_monitor_follows_a_run_on_a_terminal_until_it_ends(tmp_path: Path) -> None:
    screen = Screen()
    console = Console(file=screen, force_terminal=True, width=100, height=40)
    with filled_store(tmp_path / "people.db") as store:
        run = store.run()
        watching = threading.Thread(target=watch_store, args=(str(store.path), console, ManualClock(NOW)))
        watching.start()
        screen.wait("running")
        store.change_run(run, state="finished", finished=NOW)
        watching.join(10)
        assert not watching.is_alive()
    assert "finished" in screen.getvalue()


def test_the_monitor_shows_a_running_run_once_where_there_is_no_terminal(tmp_path: Path) -> None:
    screen = Screen()
    with filled_store(tmp_path / "people.db") as store:
        store.run()
        watch_store(str(store.path), plain(screen), ManualClock(NOW))
    assert screen.getvalue().count("running") == 1


def test_a_store_without_a_run_is_an_error(tmp_path: Path) -> None:
    with filled_store(tmp_path / "people.db") as store:
        with pytest.raises(StoreError, match="no run in this store yet"):
            watch_store(str(store.path), plain(Screen()))
        with open_reader(str(store.path)) as reader, pytest.raises(StoreError, match="no run in this store yet"):
            describe(reader, Commands("people.db"), ManualClock(NOW))


def test_the_report_is_of_the_run_that_is_asked_for(tmp_path: Path) -> None:
    with filled_store(tmp_path / "people.db") as store:
        first = store.run(state="finished", finished=NOW - 5.0, alive_until=NOW - 5.0)
        store.partition(first, "ma", "failed", reason="it died")
        store.run("places")
        with open_reader(str(store.path)) as reader:
            lines = describe(reader, Commands("people.db"), ManualClock(NOW), first)
    assert lines[0] == "not complete: people, run 1, 1 partition failed"
    assert "  failed 'ma': it died" in lines
