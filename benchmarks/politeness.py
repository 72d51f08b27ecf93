"""What limits are worth to those who meet them: Windrow, Scrapy with AutoThrottle and Crawlee at sites that limit.

    python -m benchmarks.politeness [--only sliding-second --only steps] [--seconds 30] [--repeats 1]

Each site is a server in a process of its own, on loopback, with a limit that it does not tell. Each contender is given
more pages than it can fetch and is killed (SIGKILL, with all its processes) so many seconds after its first request.
How it behaved is reckoned from the site's log alone (`site_log`); what it has of the pages, from its files. One
runs at a time. Writes `results/politeness.md` and `results/politeness.png`, in about 28 minutes; with `--only`
or `--who` nothing is written but where `--results` says.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from benchmarks import site_log
from benchmarks.contenders.limited_sites import LATENCY, SITES, Site, title
from benchmarks.contenders.polite_windrow import STRETCH
from benchmarks.measuring import (
    RESULTS,
    ROOT,
    Environment,
    RunFailed,
    environment,
    machine_facts,
    markdown_table,
    serving,
)

PAGES_PER_SECOND = 600
"""How long the list is; nobody gets to its end but who gives most of it up."""
START_SECONDS = 60.0
"""Longest wait for a contender's first request."""
FOUR = 4
PACKAGES = ("windrow", "aiohttp", "scrapy", "twisted", "crawlee", "impit", "psutil")


# --- contenders ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What a contender has of the pages. `given_up`: it would not have asked for them again."""

    right: int
    wrong: int
    given_up: int


@dataclass(frozen=True)
class Task:
    """What a contender is given."""

    python: Path
    address: str
    pages: int
    folder: Path


@dataclass(frozen=True)
class Contender:
    """One line of the tables. `commands`: its processes, side by side; `read` takes from its folder what it found."""

    name: str
    short: str
    needs: str
    settings: str
    commands: Callable[[Task], list[list[str]]]
    read: Callable[[Path], Found]


def windrow(task: Task) -> list[list[str]]:
    """A run with 16 sessions over 2 workers."""
    command = ("-m", "windrow", "run", "benchmarks.contenders.polite_windrow:job", "--quiet")
    numbers = ("--sessions", "16", "--workers", "2", "--set", f"pages={task.pages}")
    where = ("--store", str(task.folder / "pages.db"), "--set", f"base_url={task.address}")
    return [[str(task.python), *command, *numbers, *where]]


def scrapy(processes: int) -> Callable[[Task], list[list[str]]]:
    """So many processes, each with every so-manieth page."""

    def commands(task: Task) -> list[list[str]]:
        program = (str(task.python), "-m", "benchmarks.contenders.polite_scrapy", task.address)
        return [
            [*program, str(first), str(processes), str(task.pages), str(task.folder / f"{first}.jsonl")]
            for first in range(processes)
        ]

    return commands


def crawlee(manager: str) -> Callable[[Task], list[list[str]]]:
    """One crawler, `plain` or `throttling`."""

    def commands(task: Task) -> list[list[str]]:
        program = (str(task.python), "-m", "benchmarks.contenders.polite_crawlee", task.address)
        return [[*program, str(task.pages), str(task.folder / "0.jsonl"), manager]]

    return commands


def read_store(folder: Path) -> Found:
    """What Windrow's store holds, as the kill left it."""
    with closing(sqlite3.connect(folder / "pages.db")) as connection:
        rows = dict(connection.execute("SELECT number, title FROM pages").fetchall())
        lost = connection.execute("SELECT key FROM windrow_partitions WHERE state IN ('failed', 'incomplete')")
        given_up = {page for (first,) in lost for page in range(int(first), int(first) + STRETCH)} - rows.keys()
    right = sum(text == title(int(number)) for number, text in rows.items())
    return Found(right, len(rows) - right, len(given_up))


def read_lines(folder: Path) -> Found:
    """What the others wrote; a line that the kill cut off is left out."""
    titles: dict[int, str | None] = {}
    given_up: set[int] = set()
    for path in folder.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entry: dict[str, Any] = json.loads(line)
                if "given_up" in entry:
                    given_up.add(entry["page"])
                else:
                    titles[entry["page"]] = entry["title"]
    right = sum(text == title(page) for page, text in titles.items())
    return Found(right, len(titles) - right, len(given_up))


_AUTOTHROTTLE = (
    "AUTOTHROTTLE_ENABLED, the rest of AutoThrottle and of RetryMiddleware as it comes (start delay 5 s, target "
    "concurrency 1.0, 2 retries of 429 and 5xx); 16 concurrent requests to the host, no DOWNLOAD_DELAY, no robots.txt"
)
_CRAWLEE = (
    "ParselCrawler, concurrency by its own autoscaling (1 to 100, 10 at first), 3 retries and 10 session rotations; "
    "queue in memory, no robots.txt"
)

CONTENDERS = (
    Contender(
        "Windrow",
        "Windrow",
        "windrow",
        "16 sessions over 2 worker processes, no rate, `Pace(delay=0)`, everything else as it comes; robots.txt is "
        f"asked for once and not counted; {STRETCH} pages a partition",
        windrow,
        read_store,
    ),
    Contender("Scrapy, AutoThrottle", "Scrapy", "scrapy", _AUTOTHROTTLE, scrapy(1), read_lines),
    Contender(
        f"Scrapy, AutoThrottle, {FOUR} processes",
        f"Scrapy × {FOUR}",
        "scrapy",
        f"the same {FOUR} times side by side, each with a share of the list",
        scrapy(FOUR),
        read_lines,
    ),
    Contender("Crawlee", "Crawlee", "crawlee", _CRAWLEE, crawlee("plain"), read_lines),
    Contender(
        "Crawlee, ThrottlingRequestManager",
        "Crawlee + TRM",
        "crawlee",
        "the same with the ThrottlingRequestManager that its log recommends after a 429, with its defaults",
        crawlee("throttling"),
        read_lines,
    ),
)


# --- measuring -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """How one run went. Seconds are inf where it never happened, and nan where there is nothing to measure.

    `use`: good answers as a share of the limit, after the first quarter. `added`: mean latency beyond the site's own.
    `converged`: from when on most of the limit is used; `back`: the same after a limit that fell has come back.
    `took`: until the last answer, where a list was brought to its end. `load`: of the machine after the run.
    """

    use: float
    refused: float
    added: float
    converged: float
    back: float
    took: float
    during_waits: float
    right: float
    wrong: float
    given_up: float
    load: float


@dataclass(frozen=True)
class Course:
    """Answers in each second of a run."""

    good: list[int]
    refused: list[int]


def figures(site: Site, entries: Sequence[site_log.Entry], seconds: float, found: Found, ended: bool) -> Figures:
    """What log and files say about one run. `ended`: the contender came to its own end."""
    model = site.make(seconds)
    answered = site_log.until(entries, seconds)
    endless = site.pages is None
    returns = math.nan if site.returns_at is None else site.returns_at * seconds
    took = max((entry.answered for entry in answered), default=math.inf) if ended else math.inf
    return Figures(
        use=site_log.use(answered, model.limit, seconds / 4, seconds) if endless else math.nan,
        refused=site_log.refused_share(answered),
        added=site_log.added_latency(answered, model.latency) if site.queues else math.nan,
        converged=site_log.converged(answered, model.limit, 0.0, seconds) if endless else math.nan,
        back=math.nan if math.isnan(returns) else site_log.converged(answered, model.limit, returns, seconds),
        took=math.nan if endless else took,
        during_waits=site_log.during_waits(answered) if site.names_wait else math.nan,
        right=found.right,
        wrong=found.wrong,
        given_up=found.given_up,
        load=os.getloadavg()[0],
    )


def medians(runs: Sequence[Figures]) -> Figures:
    """Each figure's own median."""
    return Figures(*(statistics.median(column) for column in zip(*map(astuple, runs), strict=True)))


def asked(contender: Contender, site: Site, python: Path, seconds: float) -> tuple[Figures, Course]:
    """One run of a contender against a site of its own. Raises RunFailed."""
    with tempfile.TemporaryDirectory(prefix="windrow-politeness-") as name:
        folder = Path(name)
        log = folder / "site.log"
        server = [str(python), "-m", "benchmarks.contenders.limited_server", site.name, str(seconds), str(log)]
        with serving(server) as port:
            pages = site.pages or round(PAGES_PER_SECOND * seconds)
            task = Task(python, f"http://127.0.0.1:{port}", pages, folder)
            with _running(contender.commands(task)) as processes:
                ended = _wait(processes, log, seconds)
        entries = site_log.read(log.read_text())
        course = Course(
            site_log.by_second(entries, seconds, refused=False), site_log.by_second(entries, seconds, refused=True)
        )
        return figures(site, entries, seconds, contender.read(folder), ended), course


@dataclass(frozen=True)
class _Process:
    process: subprocess.Popen[bytes]
    said: IO[bytes]

    def check(self) -> bool:
        """Whether it has come to its end. Raises RunFailed where that was a bad one."""
        status = self.process.poll()
        if status:
            self.said.seek(0)
            text = self.said.read().decode("utf-8", "replace")[-2_000:].strip()
            raise RunFailed(text or f"exit status {status}")
        return status is not None


@contextlib.contextmanager
def _running(commands: Sequence[Sequence[str]]) -> Iterator[list[_Process]]:
    """The processes, each with a group of its own, which is killed in the end."""
    with contextlib.ExitStack() as stack:
        processes = []
        for command in commands:
            said = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
            stack.callback(_kill, process)
            processes.append(_Process(process, said))
        yield processes


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(processes: Sequence[_Process], log: Path, seconds: float) -> bool:
    """Until so many seconds after the first answer, or until all have come to their end: then it is true."""
    deadline = time.monotonic() + START_SECONDS
    while not log.stat().st_size:
        if _have_ended(processes) or time.monotonic() > deadline:
            raise RunFailed("it asked for no page")
        time.sleep(0.02)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _have_ended(processes):
            return True
        time.sleep(0.05)
    return False


def _have_ended(processes: Sequence[_Process]) -> bool:
    """Whether all have; each is looked at, so that none fails unnoticed."""
    return sum(process.check() for process in processes) == len(processes)


class Trial:
    """All runs of all contenders at all sites, by names."""

    def __init__(self, python: Path, seconds: float) -> None:
        self.failed: dict[tuple[str, str], str] = {}
        self.courses: dict[tuple[str, str], Course] = {}
        self._python = python
        self._seconds = seconds
        self._runs: dict[tuple[str, str], list[Figures]] = {}

    def run(self, site: Site, contender: Contender) -> None:
        """One run, unless this contender failed here before."""
        pair = site.name, contender.short
        if pair in self.failed:
            return
        print(f"{site.name}: {contender.name}", file=sys.stderr)
        try:
            found, course = asked(contender, site, self._python, site.lasts * self._seconds)
        except RunFailed as error:
            print(f"failed: {error}", file=sys.stderr)
            self.failed[pair] = str(error).splitlines()[-1]
            return
        self._runs.setdefault(pair, []).append(found)
        self.courses.setdefault(pair, course)

    def figures(self, site: Site, contender: Contender) -> Figures | None:
        """The medians; None where it did not run."""
        runs = self._runs.get((site.name, contender.short))
        return medians(runs) if runs else None


# --- telling -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of the tables. It is left out where a site gives nothing to measure."""

    head: str
    cell: Callable[[Figures], float]
    form: Callable[[float], str]


def _seconds(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f} s"


COLUMNS = (
    Column("good / limit", lambda found: found.use, lambda value: f"{value:.2f}"),
    Column("refused", lambda found: found.refused, lambda value: f"{value:.1%}"),
    Column("added latency", lambda found: found.added, lambda value: f"{1_000 * value:.0f} ms"),
    Column("80 % after", lambda found: found.converged, _seconds),
    Column("back after", lambda found: found.back, _seconds),
    Column("done after", lambda found: found.took, _seconds),
    Column("sent while told to wait", lambda found: found.during_waits, lambda value: f"{value:,.0f}"),
    Column("pages right", lambda found: found.right, lambda value: f"{value:,.0f}"),
    Column("wrong", lambda found: found.wrong, lambda value: f"{value:,.0f}"),
    Column("given up", lambda found: found.given_up, lambda value: f"{value:,.0f}"),
    Column("load", lambda found: found.load, lambda value: f"{value:.1f}"),
)


def table(site: Site, trial: Trial, missing: Mapping[str, str]) -> str:
    """One site's table; those that did not run with the reason."""
    lines = [(contender, trial.figures(site, contender)) for contender in CONTENDERS]
    measured = [found for _, found in lines if found is not None]
    columns = [each for each in COLUMNS if not all(math.isnan(each.cell(found)) for found in measured)]
    rows = []
    for contender, found in lines:
        if found is None:
            reason = missing.get(contender.needs) or trial.failed.get((site.name, contender.short), "not asked to")
            rows.append([contender.name, f"did not run: {reason}", *["–"] * (len(columns) - 1)])
        else:
            rows.append([contender.name, *(each.form(each.cell(found)) for each in columns)])
    return markdown_table(["", *(each.head for each in columns)], rows)


_EXPLAINED = """\
Everything before *pages right* is reckoned from the site's log. *Good / limit*: good answers per second as a share of
the limit, after the first quarter of the run. *Refused*: 429, 503 and walls, as a share of all requests. *Added
latency*: what a good answer took beyond the site's own latency, in the mean. *80 % after*: the first second from which
on good answers over five seconds are at least 80 % of the limit. *Back after*: the same, from when the limit is back.
*Sent while told to wait*: requests that arrived while a Retry-After ran, later than 100 ms after its first word.
*Right* and *wrong*: pages that the contender has, compared with what the site holds. *Given up*: pages that it would
not have asked for again; Scrapy and Crawlee put a refused page off behind those they did not ask for yet, so that they
give up none before they near the end of their list: see the last site. *Load*: the machine's load average after the
run, whoever caused it; Crawlee's autoscaling asks for less on a busy machine, whatever the site says."""


def report(
    options: argparse.Namespace, sites: Sequence[Site], trial: Trial, missing: Mapping[str, str], facts: Sequence[str]
) -> str:
    """The whole Markdown text."""
    runs = "one run" if options.repeats == 1 else f"medians of {options.repeats} runs"
    lines = [
        "# What limits are worth to those who meet them",
        "",
        f"Sites on loopback that limit and do not say how; a good answer takes {1_000 * LATENCY:.0f} ms where nothing "
        f"else is said. Each contender was stopped {options.seconds:g} s after its first request (where a heading "
        f"names another time, then), {runs} of each, one at a time, on any core. Written by "
        f"`python -m benchmarks.politeness` on {datetime.now(UTC):%Y-%m-%d}.",
        "",
        _EXPLAINED,
        "",
    ]
    for site in sites:
        longer = f" ({site.lasts * options.seconds:g} s)" if site.lasts != 1 else ""
        lines += [f"## {site.heading}{longer}", "", f"{site.words}.", "", table(site, trial, missing), ""]
    lines += ["![Answers in each second, and what was refused](politeness.png)", "", "## Who was asked to do what", ""]
    lines += [f"- **{contender.name}**: {contender.settings}." for contender in CONTENDERS]
    lines += [
        "",
        "Scrapy and Crawlee take what a page says, as their documentation has it; Windrow's job names what a page ",
    ]
    lines[-1] += "must hold (`expect`), which is how it tells a wall from a page that is merely empty."
    lines += ["", "## Machine and versions", "", *(f"- {fact}" for fact in facts), ""]
    return "\n".join(lines)


DRAWN_SITES = ("sliding-second", "steps", "strict")
DRAWN_CONTENDERS = ("Windrow", "Scrapy", f"Scrapy × {FOUR}")


def drawing(sites: Sequence[Site], trial: Trial, seconds: float) -> dict[str, Any]:
    """What the plot shows, for `politeness_plot`."""
    sites = [site for site in sites if site.pages is None]
    return {
        "courses": [_course(site, short, trial, seconds) for site in sites for short in _drawn(site, trial)],
        "sites": [site.heading for site in sites],
        "contenders": [_shares(contender, sites, trial) for contender in CONTENDERS],
    }


def _drawn(site: Site, trial: Trial) -> list[str]:
    if site.name not in DRAWN_SITES:
        return []
    return [short for short in DRAWN_CONTENDERS if (site.name, short) in trial.courses]


def _course(site: Site, short: str, trial: Trial, seconds: float) -> dict[str, Any]:
    course = trial.courses[site.name, short]
    model = site.make(site.lasts * seconds)
    limit = [model.limit(second + 0.5) for second in range(len(course.good))]
    name = next(each.name for each in CONTENDERS if each.short == short)
    return {"site": site.heading, "name": name, "limit": limit, "good": course.good, "refused": course.refused}


def _shares(contender: Contender, sites: Sequence[Site], trial: Trial) -> dict[str, Any]:
    found = [trial.figures(site, contender) for site in sites]
    return {
        "name": contender.name,
        "refused": [each.refused if each else None for each in found],
        "use": [each.use if each else None for each in found],
    }


def draw(python: Path, shown: Mapping[str, Any], target: Path) -> None:
    """A plot, by the environment's matplotlib."""
    command = [str(python), "-m", "benchmarks.contenders.politeness_plot", str(target)]
    subprocess.run(command, input=json.dumps(shown), text=True, check=True, cwd=ROOT)


def main() -> None:
    """Try all, then write tables, plot and facts."""
    options = _parser().parse_args()
    sites = [site for site in SITES if not options.only or site.name in options.only]
    made = environment("scrapy", "crawlee", "matplotlib")
    facts = [*machine_facts(Path(tempfile.gettempdir())), _versions(made)]
    trial = Trial(made.python, options.seconds)
    for _ in range(options.repeats):
        for site in sites:
            for contender in CONTENDERS:
                if contender.needs not in made.missing and (not options.who or contender.short in options.who):
                    trial.run(site, contender)
    text = report(options, sites, trial, made.missing, facts)
    folder = options.results or (None if options.only or options.who else RESULTS)
    if folder is not None:
        folder.mkdir(exist_ok=True)
        (folder / "politeness.md").write_text(text, encoding="utf-8")
        if "matplotlib" not in made.missing:
            draw(made.python, drawing(sites, trial, options.seconds), folder.resolve() / "politeness.png")
    print(text)


def _versions(made: Environment) -> str:
    return ", ".join(f"{name} {version}" for name, version in made.versions(*PACKAGES).items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("politeness", description="Windrow, Scrapy and Crawlee at sites that limit.")
    names = [site.name for site in SITES]
    parser.add_argument("--only", action="append", choices=names, default=[], help="this site; may be repeated")
    shorts = [contender.short for contender in CONTENDERS]
    parser.add_argument("--who", action="append", choices=shorts, default=[], help="this one; may be repeated")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each asks (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each; medians are shown (default: %(default)s)")
    parser.add_argument("--results", type=Path, help="folder to write to (default: benchmarks/results, if all run)")
    return parser


if __name__ == "__main__":
    main()
