"""The built-in job `finviz`, run as a command line runs it, against the replica of its site."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from windrow.app import Outcome, RunOptions, RunResult, check, run
from windrow.demo.finviz.layouts import LAYOUTS
from windrow.demo.finviz.quotes import parsed
from windrow.demo.finviz.site import QuoteSite, QuoteSiteOptions
from windrow.errors import SettingError
from windrow.events import nobody

JOB = "windrow.demo.finviz.job:job"
OWN = {"_partition", "_run", "_first_seen", "_last_seen"}
SMALL = QuoteSiteOptions(tickers=12, rate=0, page_size=20_000)


class Quotes:
    """One store, and short words for runs into it and for what they leave there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def options(self, site: QuoteSite, *, parameters: dict[str, str] | None = None, **options: Any) -> RunOptions:
        """Without any pace of our own, on 16 sessions, unless told otherwise."""
        usual = {"engine": "threads", "sessions": 16, "rate": 0.0, "delay": 0.0}
        known = {"base_url": site.url, **(parameters or {})}
        return RunOptions(job=JOB, store=str(self.path), parameters=known, **{**usual, **options})

    def run(self, site: QuoteSite, **options: Any) -> RunResult:
        return run(self.options(site, **options))

    def ask(self, statement: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement)]

    def full_rows(self) -> dict[str, dict[str, Any]]:
        return {row["ticker"]: row for row in self.ask("SELECT * FROM quotes")}

    def rows(self) -> dict[str, dict[str, Any]]:
        """The table without Windrow's own columns, as the site's truth has it."""
        return {
            ticker: {column: value for column, value in row.items() if column not in OWN}
            for ticker, row in self.full_rows().items()
        }

    def last_run(self) -> dict[str, Any]:
        return self.ask("SELECT * FROM windrow_runs ORDER BY id DESC LIMIT 1")[0]

    def partitions(self) -> dict[str, dict[str, Any]]:
        return {row["key"]: row for row in self.ask("SELECT * FROM windrow_partitions ORDER BY run")}


@pytest.fixture
def quotes(tmp_path: Path) -> Quotes:
    return Quotes(tmp_path / "quotes.db")


@pytest.fixture(scope="module")
def small() -> Iterator[QuoteSite]:
    """Twelve companies, no wall."""
    with QuoteSite(SMALL) as site:
        yield site


def listed(tmp_path: Path, *tickers: str) -> dict[str, str]:
    """`--set tickers=FILE` for a list of these."""
    path = tmp_path / "mine.csv"
    path.write_text("Symbol,Name\n" + "".join(f"{ticker},{ticker} Inc.\n" for ticker in tickers))
    return {"tickers": str(path)}


# --- exact, whole, once --------------------------------------------------------------------------------------------


def test_all_503_quotes_of_84_fields_are_exact_and_a_second_run_updates_them(quotes: Quotes) -> None:
    whole = QuoteSiteOptions(rate=0, page_size=40_000)
    with QuoteSite(whole) as site:
        result = quotes.run(site)
        truth = site.truth()["quotes"]
        stats = site.stats()
    assert result.outcome is Outcome.COMPLETE
    rows = quotes.rows()
    assert len(rows) == 503
    assert {len(row) for row in rows.values()} == {2 + 84}
    assert rows == truth
    assert set(stats["quotes"].values()) == {1}
    assert len(stats["quotes"]) == 503

    first = quotes.full_rows()
    with QuoteSite(replace(whole, seed=2)) as changed:
        again = quotes.run(changed, limit=40)
        new_truth = changed.truth()["quotes"]
    assert again.outcome is Outcome.COMPLETE
    assert again.run != result.run
    updated = list(truth)[:40]
    assert quotes.rows() == {**truth, **{ticker: new_truth[ticker] for ticker in updated}}
    for ticker, row in quotes.full_rows().items():
        assert row["_first_seen"] == first[ticker]["_first_seen"]
        assert (row["_run"] == again.run) == (ticker in updated)


@pytest.mark.parametrize("year", LAYOUTS)
def test_every_layout_is_exact_with_its_own_columns(year: int, quotes: Quotes) -> None:
    with QuoteSite(replace(SMALL, layout=year)) as site:
        assert quotes.run(site, engine="sequential", sessions=None, limit=12).outcome is Outcome.COMPLETE
        truth = site.truth()["quotes"]
    rows = quotes.rows()
    assert rows == truth
    assert list(next(iter(rows.values()))) == ["ticker", "company", *LAYOUTS[year].labels]


def test_columns_grow_with_the_layout(quotes: Quotes) -> None:
    for year in (2025, 2026):
        with QuoteSite(replace(SMALL, layout=year)) as site:
            quotes.run(site, limit=3)
            truth = site.truth()["quotes"]
    row = quotes.rows()["MMM"]
    assert {column: row[column] for column in truth["MMM"]} == truth["MMM"]
    assert set(row) == {"ticker", "company", *LAYOUTS[2025].labels, *LAYOUTS[2026].labels}


# --- the wall ------------------------------------------------------------------------------------------------------


def test_the_default_politeness_never_meets_the_wall(quotes: Quotes) -> None:
    with QuoteSite(QuoteSiteOptions(tickers=12)) as site:
        result = quotes.run(site, sessions=None, rate=None, delay=None, limit=12)
        truth, stats = site.truth()["quotes"], site.stats()
    assert result.outcome is Outcome.COMPLETE
    assert quotes.rows() == truth
    assert (stats["walls"], stats["too_many"]) == (0, 0)
    assert stats["most_in_a_second"] <= 5
    assert stats["quotes"] == dict.fromkeys(truth, 1)
    assert (quotes.last_run()["throttled"], quotes.last_run()["retries"]) == (0, 0)


@pytest.mark.parametrize("walls", [0, 1])
def test_the_wall_costs_time_and_no_row(walls: int, quotes: Quotes) -> None:
    with QuoteSite(replace(SMALL, layout=2025, rate=3, walls=walls)) as site:
        result = quotes.run(site, limit=5)
        truth, stats = site.truth()["quotes"], site.stats()
    assert result.outcome is Outcome.COMPLETE
    assert quotes.rows() == {ticker: truth[ticker] for ticker in list(truth)[:5]}
    assert stats["walls"] >= 1
    assert stats["pages"] == 5
    assert quotes.last_run()["throttled"] == stats["walls"] + stats["too_many"]


# --- pages that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 403])
def test_half_a_page_and_a_challenge_are_asked_for_again(status: Any, quotes: Quotes) -> None:
    with QuoteSite(replace(SMALL, layout=2025, halved=1, challenges=1, challenge_status=status)) as site:
        result = quotes.run(site, limit=3)
        truth, stats = site.truth()["quotes"], site.stats()
    assert result.outcome is Outcome.COMPLETE
    assert quotes.rows() == {ticker: truth[ticker] for ticker in list(truth)[:3]}
    assert (stats["halved"], stats["challenges"], stats["pages"]) == (1, 1, 3)
    assert sum(row["attempt"] for row in quotes.partitions().values()) == 5
    assert quotes.last_run()["blocked"] >= 1


def test_a_page_that_stays_halved_is_never_a_row(quotes: Quotes) -> None:
    with QuoteSite(replace(SMALL, halved=99)) as site:
        checked = check(quotes.options(site), "MMM", nobody)
        fewer = check(quotes.options(site, parameters={"pairs": "42"}), "MMM", nobody)
    assert (checked.state, checked.records) == ("failed", 0)
    assert "holds 42 of the 84 fundamentals" in (checked.reason or "")
    assert (fewer.state, fewer.records) == ("done", 1)


def test_an_unknown_ticker_fails_at_once_and_the_others_go_on(small: QuoteSite, quotes: Quotes, tmp_path: Path) -> None:
    small.reset()
    result = quotes.run(small, parameters=listed(tmp_path, "MMM", "NOPE", "AOS"))
    assert result.outcome is Outcome.INCOMPLETE
    assert set(quotes.rows()) == {"MMM", "AOS"}
    partitions = quotes.partitions()
    assert {key: row["state"] for key, row in partitions.items()} == {"MMM": "done", "NOPE": "failed", "AOS": "done"}
    assert "the site knows no ticker 'NOPE'" in partitions["NOPE"]["reason"]
    assert "status 404" in partitions["NOPE"]["reason"]
    assert partitions["NOPE"]["attempt"] == 1
    assert small.stats()["unknown"] == 1


# --- parameters ----------------------------------------------------------------------------------------------------


def test_a_dotted_ticker_is_asked_with_a_dash_and_kept_with_its_dot(quotes: Quotes, tmp_path: Path) -> None:
    with QuoteSite(replace(SMALL, tickers=0, page_size=0)) as site:
        assert quotes.run(site, parameters=listed(tmp_path, "BRK.B", "BF.B")).outcome is Outcome.COMPLETE
        truth, stats = site.truth()["quotes"], site.stats()
    assert set(stats["quotes"]) == {"BRK-B", "BF-B"}
    assert quotes.rows()["BRK.B"] == {**truth["BRK.B"], "company": "BRK.B Inc."}


def test_numbers_stand_beside_the_texts_and_follow_them(quotes: Quotes) -> None:
    for seed in (1, 2):
        with QuoteSite(replace(SMALL, seed=seed)) as site:
            assert quotes.run(site, parameters={"numbers": "true"}, limit=12).outcome is Outcome.COMPLETE
            truth = site.truth()["quotes"]
        rows = quotes.rows()
        for ticker, row in truth.items():
            expected = dict(row)
            for label in LAYOUTS[2026].labels:
                expected.update(parsed(label, row[label]))
            assert {column: rows[ticker][column] for column in expected} == expected
    kinds = quotes.ask('SELECT DISTINCT typeof("P/E #") AS kind FROM quotes')
    assert {row["kind"] for row in kinds} <= {"real", "null"}
    columns = list(rows["MMM"])
    assert columns[columns.index("52W High") :][:3] == ["52W High", "52W High #1", "52W High #2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ticker,Name\nA,B\n", "no column Symbol; its columns are Ticker, Name"),
        ("Symbol,Name\nA,B\nA,C\n", "'A' is the ticker 'A' of row 1 again"),
    ],
)
def test_a_list_that_cannot_be_used_begins_no_run(
    text: str, message: str, small: QuoteSite, quotes: Quotes, tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(SettingError, match=message):
        quotes.run(small, parameters={"tickers": str(path)})
