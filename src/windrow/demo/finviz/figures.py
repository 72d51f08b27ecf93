"""Made-up figures of a replica's companies: for each cell its markup, and the text that a perfect scrape holds.

What the description warns of is all here: missing values, two values that only markup separates, a missing first slot
(`- 10.43%`), a percentage in brackets, links and colours around values.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType

from windrow.demo.finviz.layouts import Layout

MISSING_SHARE = 0.08
_FIRST_DAY = date(1957, 3, 4)
_LAST_DAY = date(2026, 7, 31)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Cell:
    """A value: `markup` within its cell, and `text`, which is None where the value is missing."""

    markup: str
    text: str | None


Maker = Callable[[random.Random], Cell]


def quote_cells(layout: Layout, ticker: str, seed: int) -> dict[str, Cell]:
    """Label → cell of one company, in the order of the page. The same arguments give the same figures."""
    source = random.Random(f"{seed} {ticker}")
    return {label: _cell(label, layout.year, source) for label in layout.labels}


def _cell(label: str, year: int, source: random.Random) -> Cell:
    if label == "Trades":
        return _LOCKED
    if label not in _NEVER_MISSING and source.random() < MISSING_SHARE:
        return Cell("<b>-</b>", None)
    if year == 2026 and label in ("52W High", "52W Low"):
        return _price_and_distance(source)
    return _MAKERS.get(label, _ratio)(source)


def _plain(text: str) -> Cell:
    return Cell(f"<b>{text}</b>", text)


def _small(text: str) -> Cell:
    return Cell(f"<b><small>{text}</small></b>", text)


def _linked(text: str) -> Cell:
    return Cell(f'<a href="/quote?ta=1&p=d&ty=si" class="hover:underline"><b>{text}</b></a>', text)


def _coloured(text: str) -> str:
    tone = "negative" if text.startswith("-") else "positive"
    return f'<span class="color-text is-{tone}">{text}</span>'


def _percentage(source: random.Random, most: float = 90.0) -> str:
    return f"{source.uniform(-most / 2, most):.2f}%"


def _index(source: random.Random) -> Cell:
    return _small(source.choice(("S&P 500", "DJIA, S&P 500", "NDX, S&P 500", "DJIA, NDX, S&P 500")))


def _ratio(source: random.Random) -> Cell:
    text = f"{source.uniform(-2, 60):.2f}"
    return Cell(f"<b>{_coloured(text)}</b>", text) if source.random() < 0.3 else _plain(text)


def _price(source: random.Random) -> Cell:
    return _plain(f"{source.uniform(5, 900):.2f}")


def _large(source: random.Random) -> Cell:
    return _plain(f"{source.uniform(0.1, 999):.2f}{source.choice('KMBBT')}")


def _large_and_linked(source: random.Random) -> Cell:
    return _linked(f"{source.uniform(0.1, 99):.2f}M")


def _percent(source: random.Random) -> Cell:
    text = _percentage(source)
    return Cell(f"<b>{_coloured(text)}</b>", text)


def _count(source: random.Random) -> Cell:
    return _plain(str(source.randint(40, 2_100_000)))


def _volume(source: random.Random) -> Cell:
    return _plain(f"{source.randint(20_000, 99_000_000):,}")


def _words(*choices: str) -> Maker:
    return lambda source: _plain(source.choice(choices))


def _range(source: random.Random) -> Cell:
    low = source.uniform(5, 300)
    return _small(f"{low:.2f} - {low * source.uniform(1.1, 3):.2f}")


def _price_and_distance(source: random.Random) -> Cell:
    """Glued: nothing but markup stands between the two."""
    price, distance = f"{source.uniform(5, 900):.2f}", _percentage(source)
    return Cell(f"<b>{price}<small>{_coloured(distance)}</small></b>", f"{price} {distance}")


def _two_glued(source: random.Random) -> Cell:
    """Two percentages in one cell, either of which may be missing alone."""
    slots = [_percentage(source, 30) if source.random() < 0.8 else "-" for _ in range(2)]
    if slots == ["-", "-"]:
        slots[1] = "0.00%"
    return Cell(f"<b><small>{''.join(map(_coloured, slots))}</small></b>", " ".join(slots))


def _volatility(source: random.Random) -> Cell:
    week, month = f"{source.uniform(0, 9):.2f}%", f"{source.uniform(0, 9):.2f}%"
    return Cell(f"<b><small>{week}<span>{month}</span></small></b>", f"{week} {month}")


def _dividend(source: random.Random) -> Cell:
    """The percentage in brackets; half of them in markup of its own, which stands between bracket and figure."""
    amount, share = f"{source.uniform(0, 9):.2f}", f"{source.uniform(0, 9):.2f}%"
    shown = f"{amount} (<span>{share}</span>)" if source.random() < 0.5 else f"{amount} ({share})"
    return Cell(f'<a href="/quote?ty=dv" class="hover:underline"><b>{shown}</b></a>', f"{amount} ({share})")


def _surprise(source: random.Random) -> Cell:
    """Linked, with two slots; the first is often `-` (the pages show `- 10.43%`)."""
    first = _percentage(source, 20) if source.random() < 0.5 else "-"
    second = _percentage(source, 20)
    inner = f'<small class="xl:text-2xs">{first if first == "-" else _coloured(first)} {_coloured(second)}</small>'
    return Cell(f'<a href="/quote?ty=ea"><b>{inner}</b></a>', f"{first} {second}")


def _day(source: random.Random) -> date:
    return _FIRST_DAY + timedelta(days=source.randrange((_LAST_DAY - _FIRST_DAY).days))


def _date(source: random.Random) -> Cell:
    day = _day(source)
    return _plain(f"{_MONTHS[day.month - 1]} {day.day:02d}, {day.year}")


def _earnings(source: random.Random) -> Cell:
    """Without a year, as the site writes it."""
    day = _day(source)
    return _plain(f"{_MONTHS[day.month - 1]} {day.day:02d} {source.choice(('AMC', 'BMO'))}")


_NEVER_MISSING = frozenset({"Price", "Prev Close", "Change", "Volume"})

# Values behind a subscription: an icon and no text, which is missing as `-` is.
_LOCKED = Cell(
    '<a href="/elite?utm_source=x"><svg width="16" height="16"><use href="/icons.svg#lockOutline" /></svg></a>', None
)


def _for(maker: Maker, *labels: str) -> Mapping[str, Maker]:
    return dict.fromkeys(labels, maker)


# fmt: off
_MAKERS: Mapping[str, Maker] = MappingProxyType({
    **_for(_index, "Index"),
    **_for(_large, "Market Cap", "Enterprise Value", "Income", "Sales", "Shs Outstand", "Shs Float", "Avg Volume"),
    **_for(_large_and_linked, "Short Interest"),
    **_for(
        _percent, "EPS next Y %", "EPS this Y", "EPS next 5Y", "EPS past 5Y", "Sales past 5Y", "EPS Y/Y TTM",
        "Sales Y/Y TTM", "EPS Q/Q", "Sales Q/Q", "Insider Own", "Insider Trans", "Inst Own", "Inst Trans", "ROA",
        "ROE", "ROI", "ROIC", "Gross Margin", "Oper. Margin", "Profit Margin", "Payout", "SMA20", "SMA50", "SMA200",
        "Short Float", "Dividend %", "Perf Week", "Perf Month", "Perf Quarter", "Perf Half Y", "Perf YTD", "Perf Year",
        "Perf 3Y", "Perf 5Y", "Perf 10Y", "Change", "52W High", "52W Low", "Sales Surprise", "EPS Surprise",
    ),
    **_for(_price, "Target Price", "Prev Close", "Price"),
    **_for(_count, "Employees"),
    **_for(_volume, "Volume"),
    **_for(_words("Yes", "No"), "Optionable", "Shortable"),
    **_for(_words("Yes / Yes", "No / Yes"), "Option/Short"),
    **_for(_range, "52W Range"),
    **_for(_volatility, "Volatility"),
    **_for(_dividend, "Dividend Est.", "Dividend TTM"),
    **_for(_two_glued, "Dividend Gr. 3/5Y", "EPS past 3/5Y", "Sales past 3/5Y"),
    **_for(_surprise, "EPS/Sales Surpr."),
    **_for(_date, "Dividend Ex-Date", "IPO"),
    **_for(_earnings, "Earnings"),
})
# fmt: on
