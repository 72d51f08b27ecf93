"""How fast the directory is scraped, and why sessions have to be isolated: one table, in about three minutes.

    make bench          or          python -m benchmarks.directory [--people 150] [--large 500] [--latency 0.05]

The site is the replica, a process of its own that waits `latency` seconds before each answer. First the way most
begin: a plain script, eight threads, one session shared by all, with the standard library's HTTP client. Then the same
script with a session for each search; then Windrow's engines. All read pages with the same code. What a row calls
complete was compared with what the site holds, field by field. CPU time is that of the scraper and all its workers,
not of the site.
"""

from __future__ import annotations

import argparse
import http.cookiejar
import os
import platform
import resource
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from windrow import PageError
from windrow.app import Outcome, RunOptions, run
from windrow.demo.annuaire import job as directory
from windrow.demo.annuaire.people import generate
from windrow.demo.annuaire.search import Directory
from windrow.demo.annuaire.site import SiteOptions, SiteProcess
from windrow.demo.proof import prove
from windrow.fetch.transport import Answer
from windrow.session import Page
from windrow.store.reader import open_reader

SESSIONS = 8
AIM = 7.6
SEARCHES = ("b", "f", "g", "h", "j", "k", "n", "q", "r", "t", "v")
"""What the plain scripts search for: none of them is capped in a directory of 150."""
SAMPLE = ("u", "w", "x", "y")
"""What one session does of the large directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `at_work` is the share of the time that sessions had a partition, None where unknown."""

    how: str
    sessions: int
    expected: int
    complete: int
    pages: int
    seconds: float
    cpu: float
    at_work: float | None = None
    start_up: float = 0.0
    note: str = ""

    @property
    def people_per_second(self) -> float:
        return self.complete / self.seconds

    def cells(self) -> list[str]:
        return [
            self.how,
            str(self.sessions),
            f"{self.complete:,} of {self.expected:,} ({self.complete / self.expected:.1%})",
            f"{self.pages:,}",
            f"{self.seconds:.1f}",
            f"{self.people_per_second:.2f}",
            f"{self.pages / self.seconds:.1f}",
            f"{1000 * self.cpu / max(1, self.pages):.1f}",
            "–" if self.at_work is None else f"{self.at_work:.0%}",
        ]


HEAD = ("how", "sessions", "people complete", "pages", "s", "people/s", "pages/s", "CPU ms/page", "sessions at work")


# --- the plain script ----------------------------------------------------------------------------------------------


class PlainSession:
    """Cookies and a few headers, and requests that block: what a script of thirty lines uses."""

    def __init__(self, site: str) -> None:
        self._site = site
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def ask(self, path: str, fields: Mapping[str, Any] | None = None, *, post: bool = False) -> Page:
        data = urlencode(fields).encode() if fields is not None else b"" if post else None
        with self._opener.open(urljoin(self._site, path), data=data, timeout=30) as answer:
            body = answer.read()
            return Page(Answer(answer.status, answer.url, answer.headers, body, 0.0, len(body)))


@dataclass(frozen=True)
class PlainScript:
    """What a script does for one search: the hits, then each person nobody has yet."""

    people: dict[str, dict[str, Any]]
    seen: set[str]
    lock: threading.Lock

    def scrape(self, session: PlainSession, text: str) -> None:
        home = session.ask("/web/site-pro")
        form = home.form("fmRecherche").filled(texttofind=text)
        token = parse_qs(urlsplit(form.action).query)["p_auth"][0]
        results = session.ask(form.action, form.fields)
        cards = directory.read_cards(results)
        for number in range(2, -(-directory.reported(results) // directory.PAGE_SIZE) + 1):
            cards += directory.read_cards(session.ask(_page_address(number)))
        for card in cards:
            if self._is_new(card.rpps):
                self.people[card.rpps] = self._person(session, token, card)

    def _is_new(self, rpps: str) -> bool:
        with self.lock:
            new = rpps not in self.seen
            self.seen.add(rpps)
            return new

    def _person(self, session: PlainSession, token: str, card: directory.Card) -> dict[str, Any]:
        """What the site answers is what is kept: it answers with status 200 whatever happens."""
        session.ask(card.link, post=True)
        detail = _action("mapportlet", "infoDetailPP", directory.detail_params(card), token)
        tabs = {"situation": _tab(session.ask(f"{directory.RESULTS}?{detail}", post=True))}
        for tab, name in directory.ACTIONS.items():
            query = _action("resultatsportlet", name, directory.tab_params(card), token)
            tabs[tab] = _tab(session.ask(f"{directory.DETAILS}?{query}", post=True))
        record = asdict(card)
        return {name: record[name] for name in record if name not in ("link", "params")} | tabs


def _tab(page: Page) -> directory.Tab:
    try:
        return directory.read_tab(page)
    except PageError:
        return {}


def _page_address(number: int) -> str:
    query = {"p_p_id": "resultatportlet", "p_p_lifecycle": 0, "_resultatportlet_cur": number}
    return f"{directory.RESULTS}?{urlencode(query)}"


def _action(portlet: str, name: str, params: Mapping[str, str], token: str) -> str:
    own = {f"_{portlet}_{key}": value for key, value in params.items()}
    query = {"p_p_id": portlet, "p_p_lifecycle": 1, f"_{portlet}_javax.portlet.action": name, **own, "p_auth": token}
    return urlencode(query)


def plain_script(site: SiteProcess, how: str, *, shared: bool) -> Row:
    """Eight threads over SEARCHES: with one session for all of them, or one for each search."""
    script = PlainScript({}, set(), threading.Lock())
    session = PlainSession(site.url)
    session.ask("/web/site-pro")  # so that the shared session is there before the threads begin

    def search(text: str) -> None:
        try:
            script.scrape(session if shared else PlainSession(site.url), text)
        except (PageError, KeyError, OSError):
            return  # a page that is not the one that was asked for: the search is lost

    site.reset()
    with measured() as spent, ThreadPoolExecutor(SESSIONS) as threads:
        list(threads.map(search, SEARCHES))
    truth = site.truth()["people"]
    hits = Directory(generate(len(truth), SiteOptions().seed))
    expected = {person.rpps for text in SEARCHES for person in hits.find(text)}
    complete = sum(script.people.get(rpps) == {"rpps": rpps, **truth[rpps]} for rpps in expected)
    pages = site.stats()["requests"]
    sessions = 1 if shared else SESSIONS
    note = f"{how}: of the {len(script.people)} records it wrote, {len(script.people) - complete} are wrong or empty."
    return Row(how=how, sessions=sessions, expected=len(expected), complete=complete, pages=pages, note=note, **spent)


# --- Windrow -------------------------------------------------------------------------------------------------------


def windrow(site: SiteProcess, how: str, **options: Any) -> Row:
    """A whole run, or the part of it that `only` names."""
    site.reset()
    with tempfile.TemporaryDirectory(prefix="windrow-bench-") as folder:
        store = str(Path(folder) / "professionals.db")
        parameters = {"base_url": site.url}
        settings = RunOptions(job="annuaire", store=store, delay=0.0, rate=0.0, parameters=parameters, **options)
        with measured() as spent:
            result = run(settings)
        if result.outcome is not Outcome.COMPLETE:
            raise SystemExit(f"{how}: the run is {result.outcome}: {result.message}")
        proof = prove(site.truth(), site.stats(), store)
        sessions = options.get("sessions", 1)
        at_work, start_up = _share_at_work(store, sessions)
    if proof.wrong_fields or not proof.is_isolated:
        raise SystemExit(f"{how}: not what the site holds: {proof}")
    expected = proof.found if "only" in options else proof.expected
    spent["seconds"] = result.seconds
    return Row(
        how=how,
        sessions=sessions,
        expected=expected,
        complete=proof.found,
        pages=site.stats()["requests"],
        at_work=at_work,
        start_up=start_up,
        **spent,
    )


def _share_at_work(store: str, sessions: int) -> tuple[float, float]:
    """The share of the time that sessions had a partition in hand, and the seconds before the first one had."""
    with open_reader(store) as reader:
        row = reader.run()
        assert row is not None
        assert row.finished is not None
        times = [(each.started, each.finished) for each in reader.partitions(row.id) if each.started and each.finished]
    held = sum(finished - started for started, finished in times)
    return held / sessions / (row.finished - row.started), min(started for started, _ in times) - row.started


class measured:  # noqa: N801 (it reads as a word in a `with` statement)
    """Wall time and CPU time of this process and of the processes that it has ended by then."""

    def __enter__(self) -> dict[str, Any]:
        self._spent: dict[str, Any] = {}
        self._begun, self._cpu = time.perf_counter(), _cpu_seconds()
        return self._spent

    def __exit__(self, *_: object) -> None:
        self._spent.update(seconds=time.perf_counter() - self._begun, cpu=_cpu_seconds() - self._cpu)


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


# --- the table -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure, and print Markdown."""
    options = _parser().parse_args()
    small, large = options.people, options.large
    print(f"{_machine()}; replica with {options.latency * 1000:g} ms latency\n")
    print(f"A directory of {small} people; the plain scripts search for {', '.join(SEARCHES)} only.\n")
    with SiteProcess(SiteOptions(people=small, latency=options.latency)) as site:
        rows = _table(
            lambda: plain_script(site, "plain script, 8 threads, one shared session", shared=True),
            lambda: plain_script(site, "plain script, 8 threads, a session for each search", shared=False),
            lambda: windrow(site, "Windrow, sequential", engine="sequential"),
            lambda: windrow(site, "Windrow, threads", engine="threads", sessions=SESSIONS),
            lambda: windrow(site, "Windrow, processes", engine="processes", sessions=SESSIONS),
        )
    _print_ratio(f"{small} people, whole runs", rows[2], rows[4], rows[2].seconds)
    print(f"\nA directory of {large} people; one session does only the searches {', '.join(SAMPLE)}.\n")
    with SiteProcess(SiteOptions(people=large, latency=options.latency)) as site:
        rows = _table(
            lambda: windrow(site, "Windrow, sequential, sample", engine="sequential", only=SAMPLE),
            lambda: windrow(site, "Windrow, processes", engine="processes", sessions=SESSIONS),
        )
    whole = rows[0].seconds / rows[0].pages * rows[1].pages
    _print_ratio(f"{large} people, one session reckoned from the sample's time per page", rows[0], rows[1], whole)


def _table(*measures: Callable[[], Row]) -> list[Row]:
    """Print each line as soon as it is measured."""
    _print_cells(HEAD)
    _print_cells(["---"] * len(HEAD))
    rows = []
    for measure in measures:
        rows.append(measure())
        _print_cells(rows[-1].cells())
    for row in rows:
        if row.note:
            print(f"\n{row.note}")
    return rows


def _print_cells(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _print_ratio(what: str, one: Row, many: Row, one_seconds: float) -> None:
    """How many times faster, with the start-up of the workers and without."""
    ratio = one_seconds / many.seconds
    begun = one_seconds / (many.seconds - many.start_up)
    verdict = "reached" if ratio >= AIM else "not reached"
    print(
        f"\n{many.sessions} sessions against {one.sessions} ({what}): **{ratio:.2f} ×**; aim {AIM} ×: {verdict}. "
        f"From the first partition on, without the {many.start_up:.1f} s in which workers start: {begun:.2f} ×."
    )


def _machine() -> str:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, load before: {load}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="How fast the directory is scraped; prints Markdown.")
    parser.add_argument("--people", type=int, default=150, help="in the small directory (default: %(default)s)")
    parser.add_argument("--large", type=int, default=500, help="in the large directory (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer (default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
