"""Which tickers the job asks for: a CSV file of the user's, or the list that comes with Windrow.

The embedded list, `constituents.csv`, is the S&P 500 as the data package `datasets/s-and-p-500-companies`
(https://github.com/datasets/s-and-p-500-companies) has it, which follows Wikipedia's list: 503 shares of 500 companies,
of August 2026 (the last addition is of 2026-08-05). The package is in the public domain (ODC PDDL 1.0).

That package has named its columns `Symbol,Name,Sector`, then `Symbol,Company,…`, now `Symbol,Security,…`: a file under
any of these names is read, whatever other columns it has and in whatever order.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from io import StringIO
from pathlib import Path

from windrow.errors import SettingError

TICKER_COLUMN = "Symbol"
COMPANY_COLUMNS = ("Security", "Company", "Name")

Row = dict[str, str | None]


def site_symbol(ticker: str) -> str:
    """How the site writes a ticker: `BRK.B` is its `BRK-B`."""
    return ticker.replace(".", "-")


def embedded_tickers() -> list[Row]:
    """The list that comes with Windrow: `{"ticker", "company"}` for each of its 503 rows."""
    text = files("windrow.demo.finviz").joinpath("constituents.csv").read_text(encoding="utf-8")
    return parse_tickers(text, "the embedded list")


def read_tickers(path: Path) -> list[Row]:
    """The list of a CSV file (UTF-8, a BOM is fine): `{"ticker", "company"}` for each row, company None where empty.

    Raises SettingError, with file and row, for a file that cannot be read, a missing column, an empty ticker, two
    tickers that the site writes alike, and a list without rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingError(f"--set tickers={path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"--set tickers={path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    return parse_tickers(text, str(path))


def parse_tickers(text: str, origin: str) -> list[Row]:
    """As `read_tickers`, from the text of a CSV file that messages call `origin`."""
    table = csv.reader(StringIO(text, newline=""))
    try:
        header = [name.strip() for name in next(table, [])]
        ticker = _place(header, (TICKER_COLUMN,), origin)
        company = _place(header, COMPANY_COLUMNS, origin)
        rows = list(_rows(table, ticker, company, origin))
    except csv.Error as error:
        raise SettingError(f"{origin}, line {table.line_num}: is no CSV: {error}") from error
    if not rows:
        raise SettingError(f"{origin}: holds no tickers below its header")
    return rows


def _place(header: Sequence[str], names: Sequence[str], origin: str) -> int:
    """Where the first of `names` that the header has stands; the case of letters does not matter."""
    folded = [name.casefold() for name in header]
    for name in names:
        if name.casefold() in folded:
            return folded.index(name.casefold())
    there = ", ".join(header) or "none"
    raise SettingError(f"{origin}: no column {' or '.join(names)}; its columns are {there}")


def _rows(table: Iterable[Sequence[str]], ticker: int, company: int, origin: str) -> Iterator[Row]:
    seen: dict[str, tuple[int, str]] = {}
    for number, cells in enumerate(table, 1):
        if not any(cell.strip() for cell in cells):
            continue
        name = _cell(cells, ticker)
        if not name:
            raise SettingError(f"{origin}, row {number}: has no ticker")
        before, other = seen.setdefault(site_symbol(name).upper(), (number, name))
        if before != number:
            raise SettingError(
                f"{origin}, row {number}: {name!r} is the ticker {other!r} of row {before} again; leave one of them out"
            )
        yield {"ticker": name, "company": _cell(cells, company) or None}


def _cell(cells: Sequence[str], place: int) -> str:
    return cells[place].strip() if place < len(cells) else ""
