"""The replica's pages: label/value cells in the markup of their year, amid what else such a page holds.

A page is four pieces: its own opening, the navigation that all pages share, its own snapshot, and the news and scripts
below, which all pages share too. The shared pieces are compressed once, so that a site of 500 pages of 150 kB is ready
in a second and holds the snapshots only.
"""

from __future__ import annotations

import html
import random
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from windrow.demo.finviz.figures import Cell
from windrow.demo.finviz.layouts import EPS_PERCENT, LAYOUTS, Layout

WALL = b"Too many requests."
"""All that the site sends, with status 200, to who asks too fast."""

UNKNOWN_TICKER = (
    b'<!DOCTYPE html><html><head><title>INVALID Stock Quote</title><meta charset="UTF-8"></head>'
    b"<body><table><tr><td>Ticker not found.</td></tr></table></body></html>"
)

CHALLENGE = (
    b'<!DOCTYPE html><html lang="en-US"><head><title>Just a moment...</title></head><body><noscript>'
    b'<span id="challenge-error-text">Enable JavaScript and cookies to continue</span></noscript></body></html>'
)

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

_TOOLTIPS: Mapping[str, str] = MappingProxyType(
    {
        "Index": "Major index membership",
        "P/E": "Price-to-Earnings (ttm)",
        "EPS (ttm)": "Diluted EPS (ttm)",
        "EPS next Y": "EPS estimate for next year",
        "EPS next Y %": "EPS growth next year",
        "EPS next Q": "EPS estimate for next quarter",
        "EPS this Y": "EPS growth this year",
        "EPS next 5Y": "Long term annual growth estimate (5 years)",
        "Recom": "Analysts' mean recommendation (1=Buy 5=Sell)",
        "Volatility": "Volatility (Week, Month)",
        "Earnings": "Earnings date<br><br>BMO = Before Market Open<br>AMC = After Market Close",
        "52W High": "Distance from 52-Week High",
        "52W Low": "Distance from 52-Week Low",
    }
)


@dataclass(frozen=True, slots=True)
class Body:
    """A page's bytes, plain and as gzip."""

    pieces: tuple[bytes, ...]
    compressed: bytes

    @property
    def plain(self) -> bytes:
        return b"".join(self.pieces)


class PageMaker:
    """Makes the pages of one layout, each of about `size` bytes; no page gets smaller than what it has to hold."""

    def __init__(self, layout: Layout, size: int) -> None:
        self._layout = layout
        self._navigation = _Piece(_navigation(layout).encode())
        typical = len(_snapshot(layout, {label: Cell("<b>12.34</b>", "12.34") for label in layout.labels}))
        self._below = _Piece(_below(max(0, size - typical - len(self._navigation.plain))).encode())

    def quote(self, symbol: str, company: str, cells: Mapping[str, Cell], *, halved: bool = False) -> Body:
        """The page of one company; `halved` leaves the second half of its rows or tables out."""
        opening = _Piece(_opening(symbol, company).encode())
        snapshot = _Piece(_snapshot(self._layout, cells, halved=halved).encode())
        return _body((opening, self._navigation, snapshot, self._below))


# --- compression ---------------------------------------------------------------------------------------------------


class _Piece:
    """Part of a page, and its share of a deflate stream: a full flush ends it, so that another piece can follow."""

    def __init__(self, plain: bytes) -> None:
        compressor = zlib.compressobj(level=6, wbits=-15)
        self.plain = plain
        self.deflated = compressor.compress(plain) + compressor.flush(zlib.Z_FULL_FLUSH)


def _body(pieces: Sequence[_Piece]) -> Body:
    checksum = length = 0
    for piece in pieces:
        checksum = zlib.crc32(piece.plain, checksum)
        length += len(piece.plain)
    last_block = zlib.compressobj(wbits=-15).flush()
    deflated = b"".join(piece.deflated for piece in pieces)
    trailer = struct.pack("<II", checksum, length & 0xFFFFFFFF)
    return Body(tuple(piece.plain for piece in pieces), _GZIP_HEADER + deflated + last_block + trailer)


# --- the snapshot --------------------------------------------------------------------------------------------------


def _snapshot(layout: Layout, cells: Mapping[str, Cell], *, halved: bool = False) -> str:
    tables = layout.tables
    if halved:
        tables = tables[: len(tables) // 2] if len(tables) > 1 else (tables[0][: len(tables[0]) // 2],)
    return "".join(_table(layout, labels, cells) for labels in tables)


def _table(layout: Layout, labels: Sequence[str], cells: Mapping[str, Cell]) -> str:
    pair = _PAIRS[layout.year]
    pairs = [pair(_shown(label), _tooltip(label), cells[label].markup) for label in labels]
    rows = ("".join(pairs[start : start + layout.columns]) for start in range(0, len(pairs), layout.columns))
    body = "\n".join(f'<tr class="table-dark-row">{row}</tr>' for row in rows)
    # The old pages write no <tbody>; the parser adds one to these tables all the same.
    return (
        '<table width="100%" cellpadding="3" cellspacing="0" border="0" class="js-snapshot-table snapshot-table2">\n'
        f"{body}\n</table>\n"
    )


def _shown(label: str) -> str:
    return "EPS next Y" if label == EPS_PERCENT else label


def _tooltip(label: str) -> str:
    return html.escape(_TOOLTIPS.get(label, f"{label}, as last reported"))


def _boxover(tooltip: str, delay: int) -> str:
    return f"cssbody=[tooltip_short_bdy] cssheader=[tooltip_short_hdr] body=[{tooltip}] offsetx=[10] delay=[{delay}]"


def _pair_2021(label: str, tooltip: str, value: str) -> str:
    return (
        f'<td width="7%" class="snapshot-td2-cp" align="left" title="{_boxover(tooltip, 300)}">{label}</td>'
        f'<td width="8%" class="snapshot-td2" align="left">{value}</td>\n'
    )


def _pair_2025(label: str, tooltip: str, value: str) -> str:
    return (
        '<td class="snapshot-td2 cursor-pointer w-[7%]" align="left"\n'
        f'    data-boxover="{_boxover(tooltip, 500)}">\n        {label}</td>\n'
        f'<td class="snapshot-td2 w-[8%] " align="left" style="">{value}</td>\n'
    )


def _pair_2026(label: str, tooltip: str, value: str) -> str:
    return (
        '<td align="left" class="snapshot-td2 cursor-pointer max-xl:w-[4%] xl:w-px" '
        f'data-boxover-html="{tooltip}"><div class="snapshot-td-label">{label}</div></td>'
        '<td align="left" class="snapshot-td2 max-xl:w-[8%] xl:w-full xl:max-w-0" style="">'
        f'<div class="snapshot-td-content">{value}</div></td>'
    )


_PAIRS: Mapping[int, Callable[[str, str, str], str]] = MappingProxyType(
    dict(zip(sorted(LAYOUTS), (_pair_2021, _pair_2025, _pair_2026), strict=True))
)


# --- what else stands on the page ----------------------------------------------------------------------------------


def _opening(symbol: str, company: str) -> str:
    name = html.escape(company)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<title>{symbol} - {name} Stock Price and Quote</title>\n'
        f'<meta charset="UTF-8">\n<meta name="description" content="{name}: fundamentals, news and charts">\n'
    )


def _navigation(layout: Layout) -> str:
    links = "".join(f'<a class="nav-link" href="/{name}.ashx">{name.title()}</a>' for name in _SECTIONS)
    return (
        '<link rel="stylesheet" href="/assets/main.css" type="text/css">\n'
        f"<script>var settings = {{layout: {layout.year}, hasUserPremium: false}};</script>\n</head>\n<body>\n"
        f'<div class="navbar">{links}</div>\n<div id="chart0" class="chart"></div>\n'
    )


_SECTIONS = ("home", "news", "screener", "map", "groups", "portfolio", "insider", "futures", "forex", "crypto", "help")
_WORDS = tuple(
    word
    for line in (
        "shares quarter revenue analyst outlook growth market rises falls after report beats estimates guidance board",
        "dividend raises cuts target upgrade downgrade supply demand chief executive plans merger deal regulator court",
    )
    for word in line.split()
)


def _below(size: int) -> str:
    """News, insider deals and scripts, about `size` bytes of them."""
    source = random.Random("below the snapshot")
    parts = ['<table class="fullview-news-outer" id="news-table">\n']
    length = 0
    while length < size:
        parts.append(_news_row(source))
        length += len(parts[-1])
    return "".join([*parts, "</table>\n<script>window.page = {ready: true};</script>\n</body>\n</html>\n"])


def _news_row(source: random.Random) -> str:
    headline = " ".join(source.choices(_WORDS, k=9)).capitalize()
    address = f"https://news.example/{source.getrandbits(64):016x}"
    return (
        f'<tr class="cursor-pointer has-label"><td width="130" align="right">{source.randint(1, 12):02d}:'
        f'{source.randint(0, 59):02d}PM</td><td align="left"><div class="news-link-container">'
        f'<div class="news-link-left"><a class="tab-link-news" href="{address}" rel="nofollow">{headline}</a>'
        f'</div><div class="news-link-right"><span>(Wire {source.randint(1, 99)})</span></div></div></td></tr>\n'
    )
