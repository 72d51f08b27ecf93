"""A quote page, read: from its label/value cells to texts, and from texts to numbers. Pure.

The fundamentals are pairs of cells, a label and its value, in the rows of every `table.snapshot-table2`:

- until 2023: one table of 72 pairs, the label's tooltip in `title`;
- until 2026: one table of 78, the tooltip in `data-boxover`;
- since: six tables of 14, the tooltip in `data-boxover-html`.

So a page tells by its tooltips which layout it is and how many pairs it must have: a page that was cut, or whose
further tables were not sent, is known for what it is.

**Texts** stand as the site writes them, white space folded. Where only markup separates two values
(`332.46<span>-30.86%</span>`) there is one space between them. `-` and an empty cell are missing: None.

**Parsed columns** (`parsed`) stand beside the texts, named after their label:

- `P/E #`: a number. `1.23B` is 1230000000.0 (K, M, B, T), `-30.86%` is -0.3086, `76,239,268` is 76239268.0.
- `52W High #1` and `52W High #2`: the two values of a cell that has two in any year. Where such a cell is a price and
  its percentage, a percentage that stands alone (`52W High` until 2026) is the second, so that a column means the same
  in every layout.
- `IPO #`: a date as ISO text (`1980-12-12`); None where the site does not write the year (`Nov 05 AMC`).
- What holds words (`Index`, `Option/Short`) has none, and neither has a label that no layout here knows.

What cannot be read as its kind is None; its text stands beside it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum, auto
from types import MappingProxyType

from windrow import Element, Page
from windrow.demo.finviz.layouts import EPS_DOLLARS, EPS_PERCENT, LAYOUTS

SNAPSHOT = "table.snapshot-table2"
"""What every quote page holds, in all layouts."""

_NEWEST_FIRST = tuple(LAYOUTS[year] for year in sorted(LAYOUTS, reverse=True))
_TOOLTIPS = tuple(layout.tooltip_attribute for layout in _NEWEST_FIRST)

# Cells arrive serialised by the parser, so attributes always stand in double quotes that none of them contains.
_UNSEEN = re.compile(r"<!--.*?-->|<(script|style|svg|template)\b.*?</\1>", re.DOTALL)
_TAG = re.compile(r'<[^>"]*(?:"[^"]*"[^>"]*)*>')


# --- texts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A page's fundamentals: label → text, None where missing.

    `pairs`: how many label/value pairs the page holds. `expected`: how many a whole page of its layout has at least.
    """

    texts: dict[str, str | None]
    pairs: int
    expected: int


def read_snapshot(page: Page) -> Snapshot:
    """The fundamentals of a quote page. One without the snapshot table has no pairs, and every layout has some."""
    texts: dict[str, str | None] = {}
    attributes: set[str] = set()
    pairs = 0
    for label_cell, value_cell in _pairs(page):
        label = label_cell.text()
        if not label:
            continue
        attribute, tooltip = _tooltip(label_cell)
        attributes.add(attribute)
        text = cell_text(value_cell.html)
        texts[_column(label, tooltip, text, texts)] = None if text in ("", "-") else text
        pairs += 1
    return Snapshot(texts, pairs, _expected(attributes))


def cell_text(markup: str) -> str:
    """The text of a cell given as serialised HTML: white space folded, a space where tags separate two pieces.

    A bracket or a percent sign in markup of its own stays where it belongs: `(<span>6.48%</span>)`.
    """
    pieces = [piece for piece in _TAG.split(_UNSEEN.sub("", markup)) if piece and not piece.isspace()]
    if not pieces:
        return ""
    joined = pieces[0]
    for piece in pieces[1:]:
        is_tight = joined.endswith("(") or piece.startswith((")", "%", ","))
        joined += piece if is_tight else f" {piece}"
    return " ".join((html.unescape(joined) if "&" in joined else joined).split())


def _pairs(page: Page) -> Iterator[tuple[Element, Element]]:
    for row in page.css(f"{SNAPSHOT} tr"):
        # A comment between two cells must not shift the pairs.
        cells = [cell for cell in row.children if cell.tag in ("td", "th")]
        yield from zip(cells[::2], cells[1::2], strict=False)


def _tooltip(cell: Element) -> tuple[str, str]:
    """The attribute that holds a label's tooltip, and the tooltip; two empty texts where it has none."""
    attributes = cell.attributes
    return next(((name, attributes[name]) for name in _TOOLTIPS if name in attributes), ("", ""))


def _expected(attributes: set[str]) -> int:
    found = (layout.pairs for layout in _NEWEST_FIRST if layout.tooltip_attribute in attributes)
    return next(found, min(layout.pairs for layout in _NEWEST_FIRST))


def _column(label: str, tooltip: str, text: str, taken: dict[str, str | None]) -> str:
    """The column of a label: itself; of a label that comes again, with its number, so that no value is lost."""
    if label == EPS_DOLLARS and _is_growth(tooltip, text, taken):
        label = EPS_PERCENT
    column, number = label, 1
    while column in taken:
        number += 1
        column = f"{label} ({number})"
    return column


def _is_growth(tooltip: str, text: str, taken: dict[str, str | None]) -> bool:
    """Whether an `EPS next Y` is the percentage: by its tooltip; without one by its text, at last by its place."""
    if "growth" in tooltip.lower():
        return True
    if "estimate" in tooltip.lower():
        return False
    return text.endswith("%") or EPS_DOLLARS in taken


# --- numbers -------------------------------------------------------------------------------------------------------

Parsed = float | str | None

_NUMBER = re.compile(r"([+-]?\d[\d,]*(?:\.\d+)?|[+-]?\.\d+)([KMBT%]?)")
_EXPONENTS = MappingProxyType({"": 0, "%": -2, "K": 3, "M": 6, "B": 9, "T": 12})
_DATE = re.compile(r"([A-Z][a-z]{2}) (\d{1,2}),? (\d{4})\b")


class Kind(Enum):
    """What a label's cells hold."""

    NUMBER = auto()
    TWO_NUMBERS = auto()
    AMOUNT_AND_PERCENT = auto()
    DATE = auto()
    WORDS = auto()


_SPECIAL = MappingProxyType(
    {
        **dict.fromkeys(("Index", "Option/Short", "Optionable", "Shortable"), Kind.WORDS),
        **dict.fromkeys(("Earnings", "Dividend Ex-Date", "IPO"), Kind.DATE),
        **dict.fromkeys(("52W High", "52W Low", "Dividend Est.", "Dividend TTM"), Kind.AMOUNT_AND_PERCENT),
        **dict.fromkeys(
            ("52W Range", "Volatility", "Dividend Gr. 3/5Y", "EPS past 3/5Y", "Sales past 3/5Y", "EPS/Sales Surpr."),
            Kind.TWO_NUMBERS,
        ),
    }
)
_KINDS = MappingProxyType(
    {label: _SPECIAL.get(label, Kind.NUMBER) for layout in _NEWEST_FIRST for label in layout.labels}
)


def kind_of(label: str) -> Kind:
    """What the cells of a label hold; words, for a label that no layout knows."""
    return _KINDS.get(label, Kind.WORDS)


def parsed_columns(label: str) -> tuple[str, ...]:
    """The names of the columns that `parsed` gives for a label."""
    kind = kind_of(label)
    if kind is Kind.WORDS:
        return ()
    return (f"{label} #",) if kind in (Kind.NUMBER, Kind.DATE) else (f"{label} #1", f"{label} #2")


def parsed(label: str, text: str | None) -> dict[str, Parsed]:
    """The parsed columns of one cell, always all of its label's; see the head of this file."""
    kind = kind_of(label)
    values: tuple[Parsed, ...]
    if kind is Kind.NUMBER:
        values = (number(text),)
    elif kind is Kind.DATE:
        values = (iso_date(text),)
    else:
        values = two_numbers(text, lone_percent_is_second=kind is Kind.AMOUNT_AND_PERCENT)
    return dict(zip(parsed_columns(label), values, strict=False))


def number(text: str | None) -> float | None:
    """`1.23B` → 1230000000.0, `-30.86%` → -0.3086, `76,239,268` → 76239268.0; None for what is no number."""
    found = _NUMBER.fullmatch(text) if text else None
    if found is None:
        return None
    digits, unit = found.groups()
    # The exponent goes through the text: -30.86 / 100 and 1.23 * 1e9 would each be rounded once more.
    return float(f"{digits.replace(',', '')}e{_EXPONENTS[unit]}")


def two_numbers(text: str | None, *, lone_percent_is_second: bool = False) -> tuple[float | None, float | None]:
    """`332.46 -30.86%` → (332.46, -0.3086), `53.15 - 137.98`, `0.56 (6.48%)`, `- 10.43%` → (None, 0.1043)."""
    tokens = [token.strip("()") for token in (text or "").split()]
    if len(tokens) == 3 and tokens[1] == "-":
        del tokens[1]
    if len(tokens) == 2:
        return number(tokens[0]), number(tokens[1])
    if len(tokens) != 1:
        return None, None
    alone = number(tokens[0])
    return (None, alone) if lone_percent_is_second and tokens[0].endswith("%") else (alone, None)


def iso_date(text: str | None) -> str | None:
    """`Dec 12, 1980` → `1980-12-12`; None without a year (`Nov 05 AMC`) and for what is no date."""
    found = _DATE.match(text) if text else None
    if found is None:
        return None
    try:
        # Dates are written in English, whatever the locale: %b would follow it, a table does not.
        month = _MONTHS.index(found.group(1)) + 1
        return date(int(found.group(3)), month, int(found.group(2))).isoformat()
    except ValueError:
        return None


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
