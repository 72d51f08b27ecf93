"""`windrow demo annuaire`: a whole run against the replica of the directory, measured and proven.

The replica is a process of its own on a free port. What the demo claims it counts: the store is compared with what the
site holds, field by field, and the site's own statistics say how it was asked.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from windrow.app import Outcome, RunOptions, RunResult, run
from windrow.demo.annuaire.site import SiteOptions, SiteProcess
from windrow.demo.proof import TABLE, Proof, prove
from windrow.errors import UsageError, WindrowError
from windrow.monitor.live import LiveProgress
from windrow.monitor.wording import number, plural
from windrow.store.reader import open_reader

NAME = "annuaire"
SITE = SiteOptions(people=1_000, latency=0.02)
WORKERS = 4
SESSIONS = 16
SAMPLE = ("u", "w", "x", "y")
"""Searches that one session goes through for comparison: about fifty people of SITE, none of them a capped search."""

PROVEN, NOT_PROVEN, INTERRUPTED = 0, 1, 130


class Interrupted(Exception):
    """Ctrl-C came while a run was under way."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What one run of the job came to."""

    result: RunResult
    people: int
    pages: int

    @property
    def people_per_second(self) -> float:
        return self.people / self.result.seconds

    @property
    def pages_per_second(self) -> float:
        return self.pages / self.result.seconds

    @property
    def pages_per_person(self) -> float:
        return self.pages / max(1, self.people)

    def __str__(self) -> str:
        return (
            f"{plural(self.people, 'person', 'people')} and {plural(self.pages, 'page')} in "
            f"{self.result.seconds:.1f} s: {self.people_per_second:.1f} people/s"
        )


def demo(name: str = NAME, *, site: SiteOptions = SITE, sample: tuple[str, ...] = SAMPLE) -> int:
    """Run the demo and say what came of it. 0: all of it is proven, 1: not, 130: interrupted by Ctrl-C.

    Raises UsageError for a name there is no demo of.
    """
    if name != NAME:
        raise UsageError(f"there is no demo {name!r}; there is {NAME}")
    console = Console(highlight=False)
    store = Path(tempfile.mkdtemp(prefix="windrow-demo-")) / f"{TABLE}.db"
    try:
        with SiteProcess(site) as replica:
            return _Demo(console, replica, str(store)).show(site, sample)
    except (Interrupted, KeyboardInterrupt):
        console.print(Text(_interrupted(store)), soft_wrap=True)
        return INTERRUPTED
    except (WindrowError, OSError, RuntimeError) as error:
        console.print(Text(f"the demo could not be carried out: {error}"), soft_wrap=True)
        return NOT_PROVEN


def _interrupted(store: Path) -> str:
    if store.exists():
        return f"interrupted; what was saved until then is in {store}"
    store.parent.rmdir()
    return "interrupted; nothing was kept"


class _Demo:
    def __init__(self, console: Console, replica: SiteProcess, store: str) -> None:
        self._console = console
        self._replica = replica
        self._store = store

    def show(self, site: SiteOptions, sample: tuple[str, ...]) -> int:
        self._introduce(site)
        one = self._one_session(sample)
        many = self._many_sessions()
        proof = self._prove()
        self._print_speed(one, many)
        self._print_next()
        return self._conclude(many.result, proof)

    def _introduce(self, site: SiteOptions) -> None:
        self._say(
            f"A directory of {plural(site.people, 'person', 'people')}, all of them invented, on a replica of its site "
            f"at {self._replica.url}."
        )
        self._say(
            "There is no list of everybody: a search shows 100 people at most, each person takes five clicks in one "
            f"session, and every answer takes {site.latency * 1000:.0f} ms or more."
        )

    def _one_session(self, sample: tuple[str, ...]) -> Measure:
        self._head(f"1. One session, for comparison: only what the searches {_listed(sample)} find")
        with tempfile.TemporaryDirectory(prefix="windrow-demo-sample-") as folder:
            measure = self._measure(str(Path(folder) / "sample.db"), engine="sequential", only=sample)
        self._say(str(measure))
        return measure

    def _many_sessions(self) -> Measure:
        self._head(f"2. {SESSIONS} sessions in {WORKERS} worker processes: everybody")
        self._say(f"into {self._store}")
        self._replica.reset()
        measure = self._measure(self._store, engine="processes", sessions=SESSIONS, workers=WORKERS)
        self._say(str(measure))
        return measure

    def _measure(self, store: str, **options: Any) -> Measure:
        """Run the job, as fast as the replica answers. Raises Interrupted where Ctrl-C ended it."""
        settings = RunOptions(
            job=NAME, store=store, delay=0.0, rate=0.0, parameters={"base_url": self._replica.url}, **options
        )
        result = run(settings, watch=lambda place: LiveProgress(place, Console(stderr=True)))
        if result.outcome is Outcome.INTERRUPTED:
            raise Interrupted
        with open_reader(store) as reader:
            row = reader.run(result.run)
        return Measure(result, row.records if row else 0, row.requests if row else 0)

    def _prove(self) -> Proof:
        self._head("3. Compared with what the site holds, and with what it was asked")
        proof = prove(self._replica.truth(), self._replica.stats(), self._store)
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(justify="right")
        for what, how_many, is_good in _lines(proof):
            table.add_row(Text(f"  {what}"), Text(how_many, style="green" if is_good else "bold red"))
        self._console.print(table)
        for line in proof.differences:
            self._console.print(Text(f"  differs: {line}", style="red"), soft_wrap=True)
        return proof

    def _print_speed(self, one: Measure, many: Measure) -> None:
        self._head("How much faster")
        table = Table.grid(padding=(0, 2))
        table.add_column()
        for _ in range(3):
            table.add_column(justify="right")
        table.add_row("", "one session", f"{SESSIONS} sessions", "")
        people = one.people_per_second, many.people_per_second
        pages = one.pages_per_second, many.pages_per_second
        for what, (slow, fast) in (("people per second", people), ("pages per second", pages)):
            table.add_row(f"  {what}", f"{slow:.1f}", f"{fast:.1f}", f"{fast / slow:.1f} ×" if slow else "–")
        self._console.print(table)
        self._say(
            f"The sample is an easy one: {one.pages_per_person:.1f} pages a person, against "
            f"{many.pages_per_person:.1f} for everybody, whose searches are longer."
        )

    def _print_next(self) -> None:
        self._head("Look into it")
        store, windrow = shlex.quote(self._store), _own_name()
        self._say(f"{windrow} status {store}")
        self._say(f"{windrow} export {store} -o {TABLE}.csv")
        self._say(f"""sqlite3 {store} "select rpps, name, profession, phone from {TABLE} limit 10" """.rstrip())

    def _conclude(self, result: RunResult, proof: Proof) -> int:
        self._console.print()
        if proof.holds and result.outcome is Outcome.COMPLETE:
            self._console.print(Text("Proven: everybody, every field, once.", style="bold green"))
            return PROVEN
        why = result.message or f"the run is {result.outcome}"
        what = "the store differs from the site" if not proof.is_exact else "sessions were disturbed"
        self._console.print(Text(f"NOT proven: {what if not proof.holds else why}.", style="bold red"))
        return NOT_PROVEN

    def _head(self, text: str) -> None:
        self._console.print()
        self._console.print(Text(text, style="bold"), soft_wrap=True)

    def _say(self, text: str) -> None:
        self._console.print(Text(f"  {text}"), soft_wrap=True)


def _lines(proof: Proof) -> Iterator[tuple[str, str, bool]]:
    """What was counted, as (what, how many, whether that is as it should be)."""
    yield "people", f"{number(proof.found)} of {number(proof.expected)}", not proof.missing
    yield "people the site does not hold", number(proof.extra), not proof.extra
    yield "people stored twice", number(proof.duplicates), not proof.duplicates
    yield (
        "tabs that are the same",
        f"{number(proof.tabs - proof.wrong_tabs)} of {number(proof.tabs)}",
        (not proof.wrong_tabs),
    )
    yield (
        "fields that are the same",
        f"{number(proof.fields - proof.wrong_fields)} of {number(proof.fields)}",
        (not proof.wrong_fields),
    )
    yield "tabs fetched more than once", number(proof.fetched_again), not proof.fetched_again
    yield "requests while the same session had another in flight", number(proof.overlapping), not proof.overlapping
    yield "requests with a wrong token", number(proof.wrong_tokens), not proof.wrong_tokens
    yield "pages without the person that was chosen", number(proof.no_selection), not proof.no_selection


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def _own_name() -> str:
    """How the user called us, so that what is printed can be typed again."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m windrow"
    return "windrow" if called.name != "windrow" or called.parent == Path() else shlex.quote(str(called))
