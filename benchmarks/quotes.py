"""The comparison this project comes from: quotes by a plain script, by a pool of processes, and by Windrow.

    python -m benchmarks.quotes [--tickers 150] [--latency 0.1]

The site is the replica of the quote site. The script that Windrow was written to replace took about 2.9 s a page, one
after the other; here the site waits `latency` seconds, 1/29 of that, so that minutes become seconds, and neither side
keeps to a rate (the replica has none, and Windrow's is switched off). Every row is compared with what the site holds,
field by field. Prints a table and writes it to `results/quotes.md`, in about a minute.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measuring import RESULTS, RunFailed, environment, machine_facts, markdown_table, measured
from windrow.demo.finviz.site import QuoteSite, QuoteSiteOptions
from windrow.demo.finviz.tickers import embedded_tickers, site_symbol

LAYOUT = 2025
"""The pages before 2026: without a redirect, so that a page is one request, as it was."""
THEN_SECONDS = 2.9
"""What a page took where this comparison comes from."""

Texts = Mapping[str, str | None]
Quotes = Mapping[str, Texts]


@dataclass(frozen=True)
class Job:
    """What all contenders are given."""

    python: Path
    address: str
    symbols: Sequence[str]
    folder: Path


@dataclass(frozen=True)
class Contender:
    """`command` runs it, with a file of its own; `read` takes from that file what it found, by symbol."""

    name: str
    needs: str
    command: Callable[[Job, Path], Sequence[str]]
    read: Callable[[Path], Quotes]


def script(processes: int) -> Callable[[Job, Path], Sequence[str]]:
    """`requests` and BeautifulSoup in so many processes."""

    def command(job: Job, target: Path) -> Sequence[str]:
        symbols = job.folder / "symbols.json"
        symbols.write_text(json.dumps(job.symbols))
        program = "benchmarks.contenders.quote_scripts"
        return (str(job.python), "-m", program, job.address, str(symbols), str(target), str(processes))

    return command


def windrow(workers: int, sessions: int) -> Callable[[Job, Path], Sequence[str]]:
    """The built-in job, without a rate and a delay."""

    def command(job: Job, target: Path) -> Sequence[str]:
        return (
            *(str(job.python), "-m", "windrow", "run", "finviz", "--store", str(target), "--quiet"),
            *("--workers", str(workers), "--sessions", str(sessions), "--rate", "0", "--delay", "0"),
            *("--set", f"base_url={job.address}", "--limit", str(len(job.symbols))),
        )

    return command


def read_json(target: Path) -> Quotes:
    """What the scripts wrote."""
    found: dict[str, Texts] = json.loads(target.read_text())
    return found


def read_store(target: Path) -> Quotes:
    """The table of the built-in job."""
    with closing(sqlite3.connect(target)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT * FROM quotes")]
    return {site_symbol(row["ticker"]): row for row in rows}


CONTENDERS = (
    Contender("requests + BeautifulSoup, one process", "requests", script(1), read_json),
    Contender("requests + BeautifulSoup, multiprocessing.Pool(4)", "requests", script(4), read_json),
    Contender("Windrow, 4 workers, 4 sessions", "windrow", windrow(4, 4), read_store),
    Contender("Windrow, 2 workers, 16 sessions", "windrow", windrow(2, 16), read_store),
)


@dataclass(frozen=True)
class Line:
    """One contender's figures. `complete`: share of the tickers whose every field is right."""

    wall: float
    cpu: float
    complete: float


def measure(contender: Contender, job: Job, truth: Quotes) -> Line:
    """Run it and compare what it found with the truth. Raises RunFailed."""
    with tempfile.TemporaryDirectory(dir=job.folder) as folder:
        target = Path(folder) / "found"
        spent = measured(contender.command(job, target))
        found = contender.read(target)
    right = sum(_is_right(found.get(symbol, {}), truth[symbol]) for symbol in job.symbols)
    return Line(spent.wall, spent.cpu, right / len(job.symbols))


def _is_right(found: Texts, true: Texts) -> bool:
    # Ticker and company come from the list and not from the page.
    return all(label in found and found[label] == text for label, text in true.items() if label not in _LISTED)


_LISTED = frozenset({"ticker", "company"})


def table(lines: Mapping[str, Line | str], pages: int) -> str:
    """All contenders; instead of figures, why one did not run."""
    first = next((line for line in lines.values() if isinstance(line, Line)), None)
    rows = []
    for name, line in lines.items():
        if isinstance(line, str) or first is None:
            rows.append([name, f"did not run: {line}", *["–"] * 4])
            continue
        pace, speed_up = f"{pages / line.wall:.1f}", f"{first.wall / line.wall:.1f} ×"
        rows.append(
            [name, f"{line.wall:.1f}", pace, speed_up, f"{1_000 * line.cpu / pages:.0f}", f"{line.complete:.1%}"]
        )
    return markdown_table(("", "wall s", "pages/s", "speed-up", "CPU ms per page", "complete rows"), rows)


def report(options: argparse.Namespace, lines: Mapping[str, Line | str], facts: Sequence[str]) -> str:
    """The whole Markdown text."""
    scale = THEN_SECONDS / options.latency if options.latency else 0.0
    scaled = f"1/{scale:.0f} of the {THEN_SECONDS} s that a page took then" if scale else "none at all"
    return "\n".join(
        (
            "# Quotes: a script, a pool, Windrow",
            "",
            f"{options.tickers} tickers, one page of about {QuoteSiteOptions().page_size // 1_000} kB each (gzip), "
            f"from the replica in a process of its own on the same machine; latency {options.latency:g} s a page, "
            f"{scaled}; no rate on either side. One run each, start-up included. Written by "
            f"`python -m benchmarks.quotes` on {datetime.now(UTC):%Y-%m-%d}.",
            "",
            table(lines, options.tickers),
            "",
            "*Complete rows*: share of the tickers of which every fundamental is there and is what the site holds. "
            "The scripts keep what they found in memory and write it at their end; Windrow's rows are durable one by "
            "one. With the latency of then, waiting would outweigh CPU and start-up by far, and the speed-up would "
            "come closer to the number of sessions.",
            "",
            *(f"- {fact}" for fact in facts),
            "",
        )
    )


def main() -> None:
    """Run all contenders, print and write the table."""
    options = _parser().parse_args()
    made = environment("requests")
    versions = made.versions("requests", "beautifulsoup4", "windrow", "aiohttp", "selectolax")
    facts = [
        *machine_facts(Path(tempfile.gettempdir())),
        ", ".join(f"{each} {what}" for each, what in versions.items()),
    ]
    site_options = QuoteSiteOptions(layout=LAYOUT, tickers=options.tickers, rate=0, latency=options.latency)
    lines: dict[str, Line | str] = {}
    with QuoteSite(site_options) as site, tempfile.TemporaryDirectory(prefix="windrow-quotes-") as folder:
        truth = _by_symbol(site.truth()["quotes"])
        symbols = [site_symbol(row["ticker"] or "") for row in embedded_tickers()[: options.tickers]]
        job = Job(made.python, site.url, symbols, Path(folder))
        for contender in CONTENDERS:
            print(contender.name, file=sys.stderr)
            lines[contender.name] = made.missing.get(contender.needs) or _attempted(contender, job, truth)
    text = report(options, lines, facts)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "quotes.md").write_text(text, encoding="utf-8")
    print(text)


def _attempted(contender: Contender, job: Job, truth: Quotes) -> Line | str:
    try:
        return measure(contender, job, truth)
    except RunFailed as error:
        print(error, file=sys.stderr)
        return str(error).splitlines()[-1]


def _by_symbol(quotes: Mapping[str, Any]) -> Quotes:
    return {site_symbol(ticker): row for ticker, row in quotes.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("quotes", description="Quotes by a plain script, by a pool, and by Windrow.")
    parser.add_argument("--tickers", type=int, default=150, help="how many, up to 503 (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds a page takes (default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
