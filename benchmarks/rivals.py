"""What a page costs: Scrapy, Crawlee, the bare loop of the same parts, and Windrow, on one core each.

    python -m benchmarks.rivals [--pages 2000] [--rounds 3] [--concurrency 16]

All fetch the same pages (64 kB of HTML, gzip) from a very fast server on another core, take the same 15 fields by CSS
selectors and store them in SQLite; every stored field is compared with what the page holds. The contenders take turns,
round by round; each figure is the median of its rounds. Writes `results/rivals.md` and `results/rivals.png`, in about
five minutes.

CPU is what the kernel counted for the program and all its processes, start-up included. A run over 16 pages is
measured as well: what it takes less is what the further pages cost, and that is given per page.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.contenders.pages import PAGE_SIZE, SELECTORS, PageMaker, expected
from benchmarks.measuring import (
    RESULTS,
    Cores,
    Environment,
    RunFailed,
    Spent,
    cores,
    environment,
    machine_facts,
    markdown_table,
    measured,
    serving,
)

FEW_PAGES = 16
STRETCH = 25
"""Pages of a partition, of the variant with long partitions; and rows of a commit, of those that commit in batches."""

PACKAGES = (
    "scrapy",
    "twisted",
    "parsel",
    "lxml",
    "crawlee",
    "impit",
    "aiohttp",
    "uvloop",
    "selectolax",
    "sqlalchemy",
    "pydantic",
    "zlib-ng",
    "windrow",
)


@dataclass(frozen=True)
class Contender:
    """One line of the table. `needs` is the part of the environment without which it cannot run."""

    name: str
    short: str
    program: tuple[str, ...]
    needs: str = "windrow"
    note: str = ""

    def command(self, python: Path, address: str, pages: int, concurrency: int, store: Path) -> list[str]:
        """The program over so many pages of the server at `address`, into the SQLite file `store`."""
        names = {"address": address, "pages": pages, "concurrency": concurrency, "store": store, "stretch": STRETCH}
        return [str(python), "-m", *(word.format_map(names) for word in self.program)]


def _program(module: str, per_commit: str) -> tuple[str, ...]:
    return (f"benchmarks.contenders.{module}", "{address}", "{pages}", "{concurrency}", "{store}", per_commit)


def _windrow(engine: str, stretch: str, *more: str) -> tuple[str, ...]:
    sessions = () if engine == "sequential" else ("--workers", "1", "--sessions", "{concurrency}")
    parameters = ("base_url={address}", "pages={pages}", f"stretch={stretch}")
    return (
        *("windrow", "run", "benchmarks.contenders.windrow_job:job", "--quiet", "--store", "{store}"),
        *("--engine", engine, *sessions, *more),
        *(word for parameter in parameters for word in ("--set", parameter)),
    )


UNBOUND = ("--rate", "0")
"""The rivals ask as fast as they can, too."""

CONTENDERS = (
    Contender("Scrapy", "Scrapy", _program("scrapy_spider", "{stretch}"), "scrapy", f"commit per {STRETCH} pages"),
    Contender(
        "Crawlee, ParselCrawler",
        "Crawlee",
        _program("crawlee_crawler", "{stretch}"),
        "crawlee",
        f"commit per {STRETCH} pages",
    ),
    Contender("bare loop", "bare/1", _program("bare_loop", "1"), note="commit per page"),
    Contender("bare loop", f"bare/{STRETCH}", _program("bare_loop", "{stretch}"), note=f"commit per {STRETCH} pages"),
    Contender("Windrow, threads", "threads/1", _windrow("threads", "1", *UNBOUND), note="1 page = 1 partition"),
    Contender("Windrow, processes", "processes/1", _windrow("processes", "1", *UNBOUND), note="1 page = 1 partition"),
    Contender(
        "Windrow, threads",
        f"threads/{STRETCH}",
        _windrow("threads", "{stretch}", *UNBOUND),
        note=f"{STRETCH} pages a partition",
    ),
    Contender(
        "Windrow, processes",
        f"processes/{STRETCH}",
        _windrow("processes", "{stretch}", *UNBOUND),
        note=f"{STRETCH} pages a partition",
    ),
    Contender(
        "Windrow, sequential",
        f"sequential/{STRETCH}",
        _windrow("sequential", "{stretch}", *UNBOUND),
        note=f"{STRETCH} pages a partition; one request at a time",
    ),
    Contender(
        "Windrow, threads, adaptive budget",
        "budget",
        _windrow("threads", "{stretch}"),
        note=f"{STRETCH} pages a partition; as polite as it is by default",
    ),
)


# --- measuring -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """The medians of a contender's rounds. `per_page`: ms of CPU that one more page costs; `start`: s of CPU before.

    `whole`: ms of CPU per page, start-up included. `complete`: share of the pages whose every field is right.
    """

    wall: float
    whole: float
    per_page: float
    start: float
    memory: int
    complete: float


class Race:
    """All contenders over the same server, round by round."""

    def __init__(self, python: Path, address: str, pages: int, concurrency: int, client: int | None) -> None:
        self._python = python
        self._address = address
        self._pages = pages
        self._concurrency = concurrency
        self._client = client
        self._truth = {number: tuple(expected(number).values()) for number in range(pages)}
        self._many: dict[str, list[Spent]] = {}
        self._few: dict[str, list[Spent]] = {}
        self._complete: dict[str, list[float]] = {}

    def round(self, contender: Contender) -> None:
        """Run a contender over few pages, then over all. Raises RunFailed."""
        few, _ = self._run(contender, FEW_PAGES)
        many, complete = self._run(contender, self._pages)
        self._few.setdefault(contender.short, []).append(few)
        self._many.setdefault(contender.short, []).append(many)
        self._complete.setdefault(contender.short, []).append(complete)

    def figures(self, contender: Contender) -> Figures:
        """What its rounds say."""
        many = self._many[contender.short]
        start = statistics.median(spent.cpu for spent in self._few[contender.short])
        cpu = statistics.median(spent.cpu for spent in many)
        return Figures(
            wall=statistics.median(spent.wall for spent in many),
            whole=1_000 * cpu / self._pages,
            per_page=1_000 * (cpu - start) / (self._pages - FEW_PAGES),
            start=start,
            memory=round(statistics.median(spent.memory for spent in many)),
            complete=min(self._complete[contender.short]),
        )

    def _run(self, contender: Contender, pages: int) -> tuple[Spent, float]:
        with tempfile.TemporaryDirectory(prefix="windrow-rivals-") as folder:
            store = Path(folder) / "products.db"
            command = contender.command(self._python, self._address, pages, self._concurrency, store)
            spent = measured(command, self._client)
            return spent, self._share_complete(store, pages)

    def _share_complete(self, store: Path, pages: int) -> float:
        columns = ", ".join(SELECTORS)
        with closing(sqlite3.connect(store)) as connection:
            rows = connection.execute(f"SELECT number, {columns} FROM products").fetchall()
        right = {number for number, *fields in rows if self._truth.get(number) == tuple(fields)}
        return len(right) / pages


def race(race: Race, rounds: int, contenders: Sequence[Contender]) -> tuple[dict[str, Figures], dict[str, str]]:
    """The figures of those that came through, and why the others did not."""
    failed: dict[str, str] = {}
    for number in range(rounds):
        for contender in contenders:
            if contender.short in failed:
                continue
            print(f"round {number + 1} of {rounds}: {contender.name}, {contender.note}", file=sys.stderr)
            try:
                race.round(contender)
            except RunFailed as error:
                failed[contender.short] = str(error)
    return {each.short: race.figures(each) for each in contenders if each.short not in failed}, failed


# --- telling -------------------------------------------------------------------------------------------------------


HEAD = ("", "CPU ms per page", "with start-up", "start-up, CPU s", "wall s", "peak MB", "complete")


def table(figures: Mapping[str, Figures], missing: Mapping[str, str]) -> str:
    """All contenders in their order; those that did not run with the reason."""
    lines = []
    for contender in CONTENDERS:
        name = f"{contender.name} ({contender.note})"
        found = figures.get(contender.short)
        lines.append([name, *(_cells(found) if found else [f"did not run: {missing[contender.short]}", *["–"] * 5])])
    return markdown_table(HEAD, lines)


def _cells(found: Figures) -> list[str]:
    return [
        f"{found.per_page:.2f}",
        f"{found.whole:.2f}",
        f"{found.start:.2f}",
        f"{found.wall:.1f}",
        f"{found.memory / 2**20:.0f}",
        f"{found.complete:.1%}",
    ]


def ratios(figures: Mapping[str, Figures]) -> str:
    """Windrow's CPU per page as a multiple of the others'."""
    others = [each for each in CONTENDERS if each.short in figures and "Windrow" not in each.name]
    ours = [each for each in CONTENDERS if each.short in figures and "Windrow" in each.name]
    lines = []
    for own in ours:
        cost = figures[own.short].per_page
        lines.append([f"{own.name} ({own.note})", *(f"{cost / figures[each.short].per_page:.2f}" for each in others)])
    return markdown_table(["CPU per page, as a multiple of", *(f"{each.name}, {each.note}" for each in others)], lines)


def report(options: argparse.Namespace, spent: Mapping[str, str], facts: Sequence[str], pinned: Cores) -> str:
    """The whole Markdown text. `spent`: table and ratios; `facts`: of the machine."""
    core = f"core {pinned.client}, the server on core {pinned.server}" if pinned.client is not None else "any core"
    compressed = len(PageMaker().compressed(1))
    return "\n".join(
        (
            "# What a page costs",
            "",
            f"{options.pages:,} pages of {PAGE_SIZE // 1_000} kB HTML ({compressed / 1_000:.0f} kB as gzip), "
            f"{len(SELECTORS)} CSS selectors, rows into SQLite (WAL, synchronous=FULL); {options.concurrency} requests "
            f"at once; each contender on {core}; medians of {options.rounds} rounds. Written by "
            f"`python -m benchmarks.rivals` on {datetime.now(UTC):%Y-%m-%d}.",
            "",
            spent["table"],
            "",
            "*CPU ms per page*: user and system time of the program and all its processes, less that of a run over "
            f"{FEW_PAGES} pages, per further page. *With start-up*: all of it per page. *Peak MB*: summed over the "
            "processes. *Complete*: share of the pages whose 15 fields are stored and right, in the worst round.",
            "",
            spent["ratios"],
            "",
            "What differs: Windrow keeps a session with cookies and connections of its own for each partition, obeys "
            "robots.txt, checks each page for what it must hold, and can be killed at any moment and goes on; the bare "
            "loop shares one client session and would begin anew, as would Scrapy and Crawlee, whose queues are in "
            "memory here. Neither of them reads robots.txt here or logs below warnings.",
            "",
            "![CPU per page](rivals.png)",
            "",
            "## Machine and versions",
            "",
            *(f"- {fact}" for fact in facts),
            "",
        )
    )


def draw(python: Path, figures: Mapping[str, Figures], target: Path) -> None:
    """A plot of CPU per page, by the environment's matplotlib."""
    bars = [
        {"name": f"{each.name}\n{each.note}", "value": figures[each.short].per_page, "ours": "Windrow" in each.name}
        for each in CONTENDERS
        if each.short in figures
    ]
    command = [str(python), "-m", "benchmarks.contenders.bar_chart", str(target), "CPU per page, ms (less is better)"]
    subprocess.run(command, input=json.dumps(bars), text=True, check=True, cwd=RESULTS.parents[1])


def main() -> None:
    """Race, then write table, plot and facts."""
    options = _parser().parse_args()
    made = environment("scrapy", "crawlee", "matplotlib")
    facts = [*machine_facts(Path(tempfile.gettempdir())), _versions(made)]
    missing = {each.short: made.missing[each.needs] for each in CONTENDERS if each.needs in made.missing}
    pinned = cores()
    server = [str(made.python), "-m", "benchmarks.contenders.page_server", str(options.pages)]
    with serving(server, pinned.server) as port:
        runs = Race(made.python, f"http://127.0.0.1:{port}", options.pages, options.concurrency, pinned.client)
        figures, failed = race(runs, options.rounds, [each for each in CONTENDERS if each.short not in missing])
    for short, reason in failed.items():
        print(f"{short} failed:\n{reason}", file=sys.stderr)
    missing |= {short: reason.splitlines()[-1] for short, reason in failed.items()}
    text = report(options, {"table": table(figures, missing), "ratios": ratios(figures)}, facts, pinned)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "rivals.md").write_text(text, encoding="utf-8")
    if "matplotlib" not in made.missing:
        draw(made.python, figures, RESULTS / "rivals.png")
    print(text)


def _versions(made: Environment) -> str:
    return ", ".join(f"{name} {version}" for name, version in made.versions(*PACKAGES).items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("rivals", description="What a page costs: Scrapy, Crawlee, a bare loop, Windrow.")
    parser.add_argument("--pages", type=int, default=2_000, help="pages a contender fetches (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests at once (default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
