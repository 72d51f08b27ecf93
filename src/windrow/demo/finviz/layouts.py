"""The labels of the quote page, as its layouts of three years have them.

Read off pages of November 2020, May 2025 and the summer of 2026. A label stands here as a reader sees it; only the
second `EPS next Y` of each layout is told apart, as the job's table does, by `EPS next Y %`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

EPS_DOLLARS = "EPS next Y"
EPS_PERCENT = "EPS next Y %"


@dataclass(frozen=True, slots=True)
class Layout:
    """One layout: its year, the attribute of a label's cell that holds the tooltip, and its tables of labels.

    `columns`: how many label/value pairs stand side by side in a row of a table.
    """

    year: int
    tooltip_attribute: str
    columns: int
    tables: tuple[tuple[str, ...], ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels in the order of the page."""
        return tuple(label for table in self.tables for label in table)

    @property
    def pairs(self) -> int:
        return sum(map(len, self.tables))


def _labels(text: str) -> tuple[str, ...]:
    return tuple(label.strip() for label in text.replace("\n", "|").split("|") if label.strip())


_LABELS_2021 = _labels("""
    Index | P/E | EPS (ttm) | Insider Own | Shs Outstand | Perf Week
    Market Cap | Forward P/E | EPS next Y | Insider Trans | Shs Float | Perf Month
    Income | PEG | EPS next Q | Inst Own | Short Float | Perf Quarter
    Sales | P/S | EPS this Y | Inst Trans | Short Ratio | Perf Half Y
    Book/sh | P/B | EPS next Y % | ROA | Target Price | Perf Year
    Cash/sh | P/C | EPS next 5Y | ROE | 52W Range | Perf YTD
    Dividend | P/FCF | EPS past 5Y | ROI | 52W High | Beta
    Dividend % | Quick Ratio | Sales past 5Y | Gross Margin | 52W Low | ATR
    Employees | Current Ratio | Sales Q/Q | Oper. Margin | RSI (14) | Volatility
    Optionable | Debt/Eq | EPS Q/Q | Profit Margin | Rel Volume | Prev Close
    Shortable | LT Debt/Eq | Earnings | Payout | Avg Volume | Price
    Recom | SMA20 | SMA50 | SMA200 | Volume | Change
""")

_LABELS_2025 = _labels("""
    Index | P/E | EPS (ttm) | Insider Own | Shs Outstand | Perf Week
    Market Cap | Forward P/E | EPS next Y | Insider Trans | Shs Float | Perf Month
    Income | PEG | EPS next Q | Inst Own | Short Float | Perf Quarter
    Sales | P/S | EPS this Y | Inst Trans | Short Ratio | Perf Half Y
    Book/sh | P/B | EPS next Y % | ROA | Short Interest | Perf Year
    Cash/sh | P/C | EPS next 5Y | ROE | 52W Range | Perf YTD
    Dividend Est. | P/FCF | EPS past 5Y | ROI | 52W High | Beta
    Dividend TTM | Quick Ratio | Sales past 5Y | Gross Margin | 52W Low | ATR (14)
    Dividend Ex-Date | Current Ratio | EPS Y/Y TTM | Oper. Margin | RSI (14) | Volatility
    Employees | Debt/Eq | Sales Y/Y TTM | Profit Margin | Recom | Target Price
    Option/Short | LT Debt/Eq | EPS Q/Q | Payout | Rel Volume | Prev Close
    Sales Surprise | EPS Surprise | Sales Q/Q | Earnings | Avg Volume | Price
    SMA20 | SMA50 | SMA200 | Trades | Volume | Change
""")

_TABLES_2026 = (
    _labels("""
        Index | Market Cap | Enterprise Value | Income | Sales | Book/sh | Cash/sh | Dividend Est. | Dividend TTM
        Dividend Ex-Date | Dividend Gr. 3/5Y | Payout | Employees | IPO
    """),
    _labels("""
        P/E | Forward P/E | PEG | P/S | P/B | P/C | P/FCF | EV/EBITDA | EV/Sales
        Quick Ratio | Current Ratio | Debt/Eq | LT Debt/Eq | Option/Short
    """),
    _labels("""
        EPS (ttm) | EPS next Y | EPS next Q | EPS this Y | EPS next Y % | EPS next 5Y | EPS past 3/5Y | Sales past 3/5Y
        EPS Y/Y TTM | Sales Y/Y TTM | EPS Q/Q | Sales Q/Q | Earnings | EPS/Sales Surpr.
    """),
    _labels("""
        Insider Own | Insider Trans | Inst Own | Inst Trans | ROA | ROE | ROIC | Gross Margin | Oper. Margin
        Profit Margin | SMA20 | SMA50 | SMA200 | Trades
    """),
    _labels("""
        Shs Outstand | Shs Float | Short Float | Short Ratio | Short Interest | 52W High | 52W Low | Volatility
        ATR (14) | RSI (14) | Beta | Rel Volume | Avg Volume | Volume
    """),
    _labels("""
        Perf Week | Perf Month | Perf Quarter | Perf Half Y | Perf YTD | Perf Year | Perf 3Y | Perf 5Y | Perf 10Y
        Recom | Target Price | Prev Close | Price | Change
    """),
)

LAYOUTS: Mapping[int, Layout] = MappingProxyType(
    {
        2021: Layout(2021, "title", 6, (_LABELS_2021,)),
        2025: Layout(2025, "data-boxover", 6, (_LABELS_2025,)),
        2026: Layout(2026, "data-boxover-html", 1, _TABLES_2026),
    }
)
