"""Reading a quote page: the real pages of three years, the markup's traps, numbers, and lists of tickers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import SHARED
from windrow import Blocked, Page
from windrow.demo.finviz.job import whole_quote
from windrow.demo.finviz.layouts import LAYOUTS
from windrow.demo.finviz.quotes import (
    SNAPSHOT,
    Kind,
    cell_text,
    iso_date,
    kind_of,
    number,
    parsed,
    parsed_columns,
    read_snapshot,
    two_numbers,
)
from windrow.demo.finviz.tickers import embedded_tickers, parse_tickers, read_tickers, site_symbol
from windrow.errors import SettingError
from windrow.events import Verdict
from windrow.fetch.transport import Answer
from windrow.politeness.verdict import BodyFacts, classify

ALL_LABELS = sorted({label for layout in LAYOUTS.values() for label in layout.labels})
QUOTES = SHARED / "fixtures" / "finviz"
CONSTITUENTS = SHARED / "fixtures" / "sp500"


def page(markup: str | bytes) -> Page:
    body = markup.encode() if isinstance(markup, str) else markup
    url = "https://quotes.example/quote?t=X"
    return Page(Answer(200, url, {"Content-Type": "text/html; charset=utf-8"}, body, 0.1, len(body)))


def stored(folder: Path, name: str) -> Path:
    """A stored page or list; the test is skipped where it is absent."""
    path = folder / name
    if not path.is_file():
        pytest.skip(f"no stored file at {path}")
    return path


def table(*cells: str) -> Page:
    """A page with one row of cells as they are."""
    return page(f'<table class="snapshot-table2"><tr>{"".join(cells)}</tr></table>')


def pair(label: str, value: str, tooltip: str = "", attribute: str = "data-boxover-html") -> str:
    return f'<td {attribute}="{tooltip}"><div>{label}</div></td><td><div>{value}</div></td>'


# --- the real pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("year", "name", "labels"),
    [
        (2021, "quote_2021_aapl.html", "labels_72_AAPL_2020-11-24.json"),
        (2025, "quote_2025_aact.html", "labels_78_AACT_2025-05.json"),
    ],
)
def test_a_real_page_is_read_whole(year: int, name: str, labels: str) -> None:
    listed: list[dict[str, Any]] = json.loads(stored(QUOTES, labels).read_text())
    snapshot = read_snapshot(page(stored(QUOTES, name).read_bytes()))
    assert snapshot.pairs == snapshot.expected == len(listed) == LAYOUTS[year].pairs
    assert list(snapshot.texts) == list(LAYOUTS[year].labels)
    for (column, text), entry in zip(snapshot.texts.items(), listed, strict=True):
        is_percentage = entry["tooltip"] == "EPS growth next year"
        assert column == ("EPS next Y %" if is_percentage else entry["label"])
        assert text == (None if entry["value"] in ("-", "") else entry["value"])


def test_a_real_page_has_both_estimates_of_next_year() -> None:
    texts = whole_quote(page(stored(QUOTES, "quote_2021_aapl.html").read_bytes()))
    assert (texts["EPS next Y"], texts["EPS next Y %"]) == ("4.33", "9.27%")
    assert (texts["Volatility"], texts["52W Range"]) == ("1.91% 2.73%", "53.15 - 137.98")
    assert texts["Inst Trans"] is None


def test_a_real_page_with_missing_values_is_whole() -> None:
    texts = whole_quote(page(stored(QUOTES, "quote_2021_aezs_missing_values.html").read_bytes()))
    assert len(texts) == 72
    missing = [label for label, text in texts.items() if text is None]
    assert "P/E" in missing
    assert "Recom" in missing
    assert texts["SMA20"] == "19.03%"


def test_the_real_cells_of_2026() -> None:
    row, _, linked = stored(QUOTES, "quote_2026_cells.html").read_text().partition("<!--")
    snapshot = read_snapshot(page(f'<table class="snapshot-table2">{row}</table>'))
    assert (snapshot.texts, snapshot.pairs, snapshot.expected) == ({"EPS next Y": "-0.98"}, 1, 84)
    label = '<td data-boxover-html="Surprise"><div class="snapshot-td-label">EPS/Sales Surpr.</div></td>'
    assert read_snapshot(table(label, f"<!--{linked}")).texts == {"EPS/Sales Surpr.": "- 10.43%"}


def test_the_labels_of_2026_are_the_listed_ones() -> None:
    listed = json.loads(stored(QUOTES, "labels_84_2026_six_tables.json").read_text())["tables"]
    ours = [[label.removesuffix(" %") for label in labels] for labels in LAYOUTS[2026].tables]
    assert ours == listed


def test_the_real_refusals_are_none_of_our_pages() -> None:
    unknown = stored(QUOTES, "quote_2021_unknown_ticker_404.html").read_bytes()
    assert not page(unknown).has(SNAPSHOT)
    wall = stored(QUOTES, "too_many_requests_200.html").read_text()
    assert classify(200, {}, False, BodyFacts(len(wall), wall)).verdict is Verdict.THROTTLED
    challenge = stored(QUOTES, "blocked_challenge_403.html").read_text()
    assert classify(403, {}, False, BodyFacts(len(challenge), challenge)).verdict is Verdict.BLOCKED
    assert classify(404, {}, False, BodyFacts(len(unknown))).verdict is Verdict.GONE


# --- texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<td><b>34.85</b></td>", "34.85"),
        ("<td>\n  <b> DJIA\n S&amp;P&nbsp;500 </b></td>", "DJIA S&P 500"),
        ("<td><b>332.46<small><span>-30.86%</span></small></b></td>", "332.46 -30.86%"),
        ("<td><small><span>3.25%</span><span>2.68%</span></small></td>", "3.25% 2.68%"),
        ("<td>0.56 (<span>6.48%</span>)</td>", "0.56 (6.48%)"),
        ("<td>0.56<span> (6.48%)</span></td>", "0.56 (6.48%)"),
        ("<td>30.86<small>%</small></td>", "30.86%"),
        ("<td>30.<!-- -->86<!-- -->%</td>", "30.86%"),
        ("<td><b>-</b><span>-</span></td>", "- -"),
        ('<td title="a > b"><b data-boxover="1 > 0">7</b></td>', "7"),
        ("<td><a><svg><title>locked</title></svg></a><script>1 < 2</script></td>", ""),
        ("<td></td>", ""),
    ],
)
def test_the_text_of_a_cell(markup: str, text: str) -> None:
    cell = page(f"<table><tr>{markup}</tr></table>").one("td")
    assert cell_text(cell.html) == text


@pytest.mark.parametrize("attribute", ["title", "data-boxover", "data-boxover-html"])
def test_next_year_is_told_apart_by_its_tooltip(attribute: str) -> None:
    dollars = pair("EPS next Y", "4.33", "body=[EPS estimate for next year]", attribute)
    percent = pair("EPS next Y", "-", "body=[EPS growth next year]", attribute)
    whatever_the_order = {"EPS next Y": "4.33", "EPS next Y %": None}
    assert read_snapshot(table(dollars, percent)).texts == whatever_the_order
    assert read_snapshot(table(percent, dollars)).texts == whatever_the_order


def test_next_year_without_a_tooltip_is_told_apart_by_its_text_or_place() -> None:
    cells = ("<td>EPS next Y</td><td>9.27%</td>", "<td>EPS next Y</td><td>4.33</td>")
    assert read_snapshot(table(*cells)).texts == {"EPS next Y %": "9.27%", "EPS next Y": "4.33"}
    missing = "<td>EPS next Y</td><td>-</td>"
    assert read_snapshot(table(missing, missing)).texts == {"EPS next Y": None, "EPS next Y %": None}


def test_a_label_that_comes_again_loses_no_value() -> None:
    snapshot = read_snapshot(table(pair("Beta", "1"), pair("Beta", "2"), pair("Beta", "3")))
    assert snapshot.texts == {"Beta": "1", "Beta (2)": "2", "Beta (3)": "3"}


def test_all_tables_are_read() -> None:
    tables = "".join(
        f'<table class="js snapshot-table2"><tbody><tr>{pair(f"Label {n}", str(n))}</tr></tbody></table>'
        for n in range(6)
    )
    assert read_snapshot(page(tables)).texts == {f"Label {n}": str(n) for n in range(6)}


# --- whole or not --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", LAYOUTS)
def test_one_pair_less_than_the_layout_has_is_no_whole_page(year: int) -> None:
    layout = LAYOUTS[year]
    cells = [pair(f"Label {n}", str(n), "What it is", layout.tooltip_attribute) for n in range(layout.pairs)]
    assert len(whole_quote(table(*cells))) == layout.pairs
    assert len(whole_quote(table(*cells, pair("New", "1", "", layout.tooltip_attribute)))) == layout.pairs + 1
    with pytest.raises(Blocked, match=f"holds {layout.pairs - 1} of the {layout.pairs} fundamentals"):
        whole_quote(table(*cells[1:]))
    assert len(whole_quote(table(*cells[1:]), least=layout.pairs - 1)) == layout.pairs - 1


def test_a_page_whose_first_table_alone_was_sent_is_no_whole_page() -> None:
    cells = [pair(f"Label {n}", str(n)) for n in range(14)]
    with pytest.raises(Blocked, match="holds 14 of the 84"):
        whole_quote(table(*cells))


def test_a_label_whose_value_was_cut_off_is_no_pair() -> None:
    assert read_snapshot(table(pair("Beta", "1"), "<td>Price</td>")).pairs == 1


def test_a_comment_between_cells_shifts_no_value() -> None:
    cells = pair("Beta", "1.5").replace("</td><td>", "</td><!-- - --><td>")
    assert read_snapshot(table("<!-- first -->", cells, pair("Price", "7"))).texts == {"Beta": "1.5", "Price": "7"}


def test_an_empty_table_is_no_whole_page() -> None:
    with pytest.raises(Blocked, match="holds 0 of the 72"):
        whole_quote(page('<table class="snapshot-table2"></table>'))


# --- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.23B", 1230000000.0),
        ("1957.10B", 1957100000000.0),
        ("2.07K", 2070.0),
        ("0.48M", 480000.0),
        ("3T", 3e12),
        ("-30.86%", -0.3086),
        ("0.07%", 0.0007),
        ("76,239,268", 76239268.0),
        ("-0.01", -0.01),
        ("+5", 5.0),
        (".5", 0.5),
        ("-", None),
        ("", None),
        (None, None),
        ("Yes", None),
        ("1.2.3", None),
        ("12 13", None),
        ("nan", None),
        ("1e5", None),
    ],
)
def test_a_number(text: str | None, value: float | None) -> None:
    assert number(text) == value


@given(st.integers(-(10**9), 10**9), st.sampled_from("KMBT%"))
def test_a_number_is_the_nearest_there_is(hundredths: int, unit: str) -> None:
    text = f"{hundredths / 100:.2f}{unit}"
    exact = hundredths * {"K": 10, "M": 10**4, "B": 10**7, "T": 10**10}.get(unit, 0)
    assert number(text) == (hundredths / 10_000 if unit == "%" else float(exact))


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("332.46 -30.86%", 332.46, -0.3086),
        ("53.15 - 137.98", 53.15, 137.98),
        ("0.56 (6.48%)", 0.56, 0.0648),
        ("3.25% 2.68%", 0.0325, 0.0268),
        ("- 10.43%", None, 0.1043),
        ("10.43% -", 0.1043, None),
        ("- -", None, None),
        ("5.00%", 0.05, None),
        ("1 2 3 4", None, None),
        (None, None, None),
    ],
)
def test_two_numbers(text: str | None, first: float | None, second: float | None) -> None:
    assert two_numbers(text) == (first, second)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Dec 12, 1980", "1980-12-12"),
        ("Nov 5, 2025", "2025-11-05"),
        ("Nov 05, 2025 AMC", "2025-11-05"),
        ("Nov 05 AMC", None),
        ("Feb 30, 2025", None),
        ("Foo 01, 2025", None),
        (None, None),
    ],
)
def test_a_date(text: str | None, date: str | None) -> None:
    assert iso_date(text) == date


def test_parsed_columns_are_named_after_their_label() -> None:
    assert parsed("Market Cap", "1.23B") == {"Market Cap #": 1230000000.0}
    assert parsed("EPS next Y %", "9.27%") == {"EPS next Y % #": 0.0927}
    assert parsed("52W High", "332.46 -30.86%") == {"52W High #1": 332.46, "52W High #2": -0.3086}
    assert parsed("52W High", "-16.30%") == {"52W High #1": None, "52W High #2": -0.163}
    assert parsed("EPS past 3/5Y", "-5.00%") == {"EPS past 3/5Y #1": -0.05, "EPS past 3/5Y #2": None}
    assert parsed("IPO", "Dec 12, 1980") == {"IPO #": "1980-12-12"}
    assert parsed("Option/Short", "Yes / Yes") == {}
    assert parsed("Of another year", "1.00") == {}


@pytest.mark.parametrize("label", ALL_LABELS)
def test_a_missing_value_has_the_same_columns(label: str) -> None:
    assert parsed(label, None) == dict.fromkeys(parsed_columns(label))


def test_what_holds_words_has_no_number() -> None:
    words = {label for label in ALL_LABELS if kind_of(label) is Kind.WORDS}
    assert words == {"Index", "Option/Short", "Optionable", "Shortable"}


# --- lists of tickers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("constituents.csv", 503),
        ("constituents_2024-12-08_Company-column.csv", 503),
        ("constituents_before-2023-04_1271ae0.csv", 502),
        ("constituents_2012_Symbol-Name-Sector.csv", 500),
    ],
)
def test_the_lists_of_all_years_are_read(name: str, count: int) -> None:
    listed = read_tickers(stored(CONSTITUENTS, name))
    assert len(listed) == count
    assert all(row["ticker"] and row["company"] for row in listed)
    assert listed[0]["ticker"] == "MMM"
    assert (listed[0]["company"] or "").startswith("3M")


def test_the_embedded_list_is_the_stored_one() -> None:
    assert embedded_tickers() == read_tickers(stored(CONSTITUENTS, "constituents.csv"))


def test_the_embedded_list_has_the_dotted_tickers() -> None:
    listed = {row["ticker"]: row["company"] for row in embedded_tickers()}
    assert (len(listed), listed["BRK.B"]) == (503, "Berkshire Hathaway")
    assert site_symbol("BRK.B") == "BRK-B"


def test_columns_are_found_by_name_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('\ufeffSector,name, SYMBOL \r\nIT,"Apple, Inc.", AAPL \r\n\r\n,,MSFT\r\n', encoding="utf-8")
    apple = {"ticker": "AAPL", "company": "Apple, Inc."}
    assert read_tickers(path) == [apple, {"ticker": "MSFT", "company": None}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ticker,Name\nA,B\n", "no column Symbol; its columns are Ticker, Name"),
        ("Symbol,Firm\nA,B\n", "no column Security or Company or Name; its columns are Symbol, Firm"),
        ("", "no column Symbol; its columns are none"),
        ("Symbol,Name\n", "holds no tickers"),
        ("Symbol,Name\nA,x\n,y\n", "row 2: has no ticker"),
        ("Symbol,Name\nA,x\nB,y\nA,z\n", "row 3: 'A' is the ticker 'A' of row 1 again"),
        ("Symbol,Name\nBRK.B,x\nBRK-B,y\n", "row 2: 'BRK-B' is the ticker 'BRK.B' of row 1 again"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=r"mine\.csv.*" + message):
        parse_tickers(text, "mine.csv")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"none\.csv: cannot be read: No such file"):
        read_tickers(tmp_path / "none.csv")
    path = tmp_path / "latin.csv"
    path.write_bytes("Symbol,Name\nA,Nestlé\n".encode("latin-1"))
    with pytest.raises(SettingError, match=r"latin\.csv: is not UTF-8 \(byte 19\)"):
        read_tickers(path)
