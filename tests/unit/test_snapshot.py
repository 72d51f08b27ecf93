"""Snapshots, rates and the words of the report: values in, values out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.monitor.report import MOST_PROBLEMS, Commands, report
from windrow.monitor.snapshot import (
    HISTORY_SECONDS,
    Rates,
    RunState,
    Snapshot,
    as_json,
    rates,
    remember,
    snapshot,
)
from windrow.monitor.wording import duration, number, per_second, plural, printable, size
from windrow.store.reader import LedgerSums, Overview, PartitionCounts, PartitionRow, RunRow

NOW = 1_000_000.0


def a_run(**changes: Any) -> RunRow:
    run = RunRow(
        id=3,
        job="people",
        record_table="people",
        state="running",
        settings={},
        started=NOW - 100.0,
        finished=None,
        alive_until=NOW + 5.0,
        active_seconds=90.0,
        records=40,
        invalid=1,
        requests=200,
        retries=2,
        throttled=3,
        blocked=4,
        missing=0,
    )
    return replace(run, **changes)


def seen(run: RunRow | None = None, ledger: LedgerSums | None = None, now: float = NOW, **counts: int) -> Snapshot:
    overview = Overview(run or a_run(), PartitionCounts(**counts), ledger or LedgerSums(None, 0))
    return snapshot(overview, now)


def a_partition(key: str, state: str = "failed", **changes: Any) -> PartitionRow:
    row = PartitionRow(
        id=1,
        key=key,
        parent=None,
        state=state,
        worker=None,
        attempt=5,
        not_before=0.0,
        reported=None,
        found=0,
        saved=0,
        invalid=0,
        missing=0,
        requests=1,
        reason="the site did not answer",
        started=NOW - 9.0,
        finished=NOW,
    )
    return replace(row, **changes)


# --- state ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "alive_until", "expected"),
    [
        ("running", NOW + 1.0, "running"),
        ("running", NOW, "running"),
        ("running", NOW - 0.1, "interrupted"),
        ("abandoned", NOW + 1.0, "interrupted"),
        ("finished", NOW - 999.0, "finished"),
    ],
)
def test_a_running_run_that_gives_no_sign_of_life_is_interrupted(state: str, alive_until: float, expected: str) -> None:
    assert seen(a_run(state=state, alive_until=alive_until)).state == expected


def test_json_has_the_shape_of_the_contract() -> None:
    taken = seen(
        ledger=LedgerSums(reported=57, missing=8), pending=1, leased=2, done=3, split=4, incomplete=5, failed=6
    )
    assert json.loads(json.dumps(as_json(taken))) == {
        "job": "people",
        "run": 3,
        "state": "running",
        "partitions": {
            "total": 21,
            "pending": 1,
            "leased": 2,
            "done": 3,
            "split": 4,
            "incomplete": 5,
            "failed": 6,
        },
        "records": 40,
        "reported": 57,
        "missing": 8,
        "invalid": 1,
        "requests": 200,
        "retries": 2,
        "throttled": 3,
        "blocked": 4,
        "started": "1970-01-12T13:45:00.000Z",
        "finished": None,
    }


def test_a_finished_run_says_when_and_what_is_missing_by_its_balanced_books() -> None:
    taken = seen(
        a_run(state="finished", finished=NOW - 1.0, missing=2), ledger=LedgerSums(reported=None, missing=99), done=1
    )
    assert (taken.missing, as_json(taken)["finished"], as_json(taken)["reported"]) == (
        2,
        "1970-01-12T13:46:39.000Z",
        None,
    )


def test_an_abandoned_run_has_not_finished() -> None:
    assert as_json(seen(a_run(state="abandoned", finished=NOW)))["finished"] is None


@pytest.mark.parametrize(
    ("changes", "counts", "expected"),
    [
        ({"state": "finished"}, {"done": 3, "split": 1}, True),
        ({"state": "finished"}, {"done": 3, "failed": 1}, False),
        ({"state": "finished"}, {"done": 3, "incomplete": 1}, False),
        ({"state": "finished", "missing": 1}, {"done": 3}, False),
        ({"state": "running"}, {"done": 3}, False),
    ],
)
def test_complete_is_finished_with_nothing_failed_or_missing(
    changes: dict[str, Any], counts: dict[str, int], expected: bool
) -> None:
    assert seen(a_run(**changes), None, NOW, **counts).complete is expected


# --- rates ----------------------------------------------------------------------------------------------------------


def at(
    seconds: float, *, records: int = 0, requests: int = 0, done: int = 0, pending: int = 0, run: int = 3
) -> Snapshot:
    now = NOW + seconds
    row = a_run(id=run, records=records, requests=requests, alive_until=now + 5.0)
    return seen(row, now=now, done=done, pending=pending)


def test_rates_are_the_differences_of_the_last_seconds() -> None:
    history = [
        at(0, records=0, requests=0, done=0, pending=100),
        at(90, records=1_000, requests=2_000, done=40, pending=60),
        at(100, records=1_050, requests=2_200, done=50, pending=50),
    ]
    assert rates(history) == Rates(records=5.0, pages=20.0, remaining=100.0)


def test_rates_are_unknown_from_one_snapshot_and_of_a_run_that_does_not_run() -> None:
    assert rates([]) == Rates()
    assert rates([at(0)]) == Rates()
    assert rates([at(0), replace(at(1), state=RunState.FINISHED)]) == Rates()


def test_what_remains_is_unknown_before_a_partition_has_ended() -> None:
    assert rates([at(0, pending=5), at(10, records=9, pending=5)]) == Rates(records=0.9, pages=0.0, remaining=None)


def test_a_pause_longer_than_the_window_still_gives_a_rate() -> None:
    assert rates([at(0), at(60, records=60)]).records == 1.0


def test_history_forgets_other_runs_old_snapshots_and_a_clock_set_back() -> None:
    old, recent, other = at(-HISTORY_SECONDS - 1), at(-1), at(-2, run=2)
    later = at(5)
    latest = at(0)
    assert remember((old, other, recent, later), latest) == (recent, latest)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 10**6), st.integers(0, 100)), max_size=20))
def test_any_history_gives_rates_that_are_not_negative(points: list[tuple[float, int, int]]) -> None:
    history: tuple[Snapshot, ...] = ()
    for seconds, count, done in points:
        history = remember(history, at(seconds, records=count, requests=count, done=done, pending=100 - done))
        found = rates(history)
        assert all(value is None or value >= 0 for value in (found.records, found.pages, found.remaining))


# --- report ---------------------------------------------------------------------------------------------------------

COMMANDS = Commands("my records.db", "people.py", {"base_url": "http://127.0.0.1:1"})


def told(taken: Snapshot, *problems: PartitionRow) -> str:
    return "\n".join(report(taken, problems, COMMANDS))


def test_a_complete_run_says_so_and_how_to_export_it() -> None:
    text = told(seen(a_run(state="finished", finished=NOW), ledger=LedgerSums(40, 0), done=4))
    assert text.startswith("complete: people, run 3\n")
    assert "40 records (reported 40), 0 missing, 1 invalid" in text
    assert "4 partitions: 4 done" in text
    assert "windrow export 'my records.db' -o people.csv" in text


def test_what_failed_and_what_is_missing_is_named_with_its_reason_and_what_to_do() -> None:
    taken = seen(a_run(state="finished", finished=NOW, missing=2), done=4, failed=1, incomplete=1)
    text = told(taken, a_partition("ma"), a_partition("du", "incomplete", missing=2, reason="found 1 of 3"))
    assert text.startswith("not complete: people, run 3, 1 partition failed and 1 partition incomplete and 2 records")
    assert "failed 'ma': the site did not answer" in text
    assert "incomplete 'du' (2 missing): found 1 of 3" in text
    assert "windrow retry people.py --store 'my records.db' --set base_url=http://127.0.0.1:1" in text
    assert "more" not in text


def test_of_many_problems_the_first_are_named_and_the_others_counted() -> None:
    taken = seen(a_run(state="finished", finished=NOW), failed=1_234)
    text = told(taken, *(a_partition(f"key-{number}") for number in range(MOST_PROBLEMS + 3)))
    assert text.count("failed 'key-") == MOST_PROBLEMS
    assert "and 1,214 more" in text


def test_an_interrupted_run_says_that_the_same_command_goes_on() -> None:
    text = told(seen(a_run(alive_until=NOW - 1.0), pending=2, done=1))
    assert text.startswith("interrupted: people, run 3, 2 partitions to go")
    assert "windrow run people.py --store 'my records.db'" in text


def test_a_running_run_says_how_to_watch_it() -> None:
    text = told(seen(pending=2, leased=1))
    assert text.startswith("running: people, run 3, 3 partitions to go")
    assert "windrow monitor 'my records.db'" in text


def test_a_reason_from_a_site_cannot_steer_the_terminal() -> None:
    taken = seen(a_run(state="finished", finished=NOW), failed=1)
    text = told(taken, a_partition("a\x1b[2Jb", reason="\x1b]0;title\x07 and\nmore \u202e"))
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    assert "\u202e" not in text
    assert "failed 'a\ufffd[2Jb': \ufffd]0;title\ufffd and more \ufffd" in text


# --- wording --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "–"),
        (-3.0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.9, "1 min"),
        (200.0, "3 min 20 s"),
        (7_500.0, "2 h 5 min"),
        (3_600.0, "1 h"),
        (273_600.0, "3 d 4 h"),
    ],
)
def test_durations_read_well(seconds: float | None, expected: str) -> None:
    assert duration(seconds) == expected


def test_numbers_read_well() -> None:
    assert (number(1234567), plural(1, "record"), plural(1_000, "record")) == ("1,234,567", "1 record", "1,000 records")
    assert plural(0, "retry", "retries") == "0 retries"
    assert (per_second(None), per_second(1.26), per_second(1_234.5)) == ("–/s", "1.3/s", "1,234/s")
    assert (size(12), size(12_345), size(4_500_000)) == ("12 B", "12.3 kB", "4.5 MB")


@given(st.text(), st.integers(1, 50))
def test_printable_text_is_one_line_without_controls(text: str, longest: int) -> None:
    shown = printable(text, longest)
    assert len(shown) <= longest
    assert shown.isprintable()
