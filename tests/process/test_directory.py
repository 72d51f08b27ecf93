"""Whole runs: the main job against the replica of its site, and small jobs against small servers.

Everything is real: the site is a process, so are the workers, and what a run stored is compared with what the site
holds (`windrow.demo.proof`).
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from windrow.app import Outcome, RunOptions, RunResult, retry, run
from windrow.demo.annuaire.people import generate
from windrow.demo.annuaire.search import Directory
from windrow.demo.annuaire.site import SiteOptions, SiteProcess
from windrow.demo.proof import Proof, prove

DEADLINE = 60.0
INTERRUPT = 1 << (signal.SIGINT - 1)
"""SIGINT in the signal masks of /proc."""


# --- the directory -------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "professionals.db")


def scrape_directory(site: SiteProcess, store: str, **options: Any) -> RunResult:
    """The built-in job, as fast as the site answers."""
    settings: dict[str, Any] = {"sessions": 8, "workers": 2, **options}
    parameters = {"base_url": site.url}
    return run(RunOptions(job="annuaire", store=store, delay=0.0, rate=0.0, parameters=parameters, **settings))


def proof_of(site: SiteProcess, store: str) -> Proof:
    return prove(site.truth(), site.stats(), store)


def assert_complete(result: RunResult) -> None:
    assert (result.outcome, result.message) == (Outcome.COMPLETE, None)


def assert_undisturbed(site: SiteProcess) -> None:
    """One request at a time in each session, none with a foreign token, and nearly nothing asked for twice."""
    statistics = site.stats()
    assert statistics["max_in_flight_per_session"] == 1
    assert statistics["wrong_tokens"] == 0
    assert statistics["details_mean"] <= 1.02


def rows(store: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return connection.execute(statement, values).fetchall()


@pytest.mark.parametrize(
    ("engine", "staff"),
    [
        ("processes", {"workers": 2, "sessions": 8}),
        ("threads", {"workers": 2, "sessions": 8}),
        ("sequential", {"workers": None, "sessions": None}),
    ],
)
def test_every_engine_brings_everybody_with_every_field(engine: str, staff: dict[str, Any], store: str) -> None:
    with SiteProcess(SiteOptions(people=150)) as site:
        assert_complete(scrape_directory(site, store, engine=engine, **staff))
        proof = proof_of(site, store)
        assert proof.holds, proof
        assert (proof.found, proof.tabs, proof.fetched_again) == (150, 600, 0)
        assert_undisturbed(site)


@pytest.mark.parametrize(
    "variant",
    [
        {"token_failure": 403},
        {"links": "canonical"},
        {"links": "relative"},
        {"cap_text": "visible"},
        {"order": "shuffled"},
        {"matching": "field"},
        {"matching": "substring"},
        {"count_shows": "capped"},
        {"robots": None},
    ],
    ids=lambda variant: ",".join(f"{name}={value}" for name, value in variant.items()),
)
def test_every_variant_of_the_site_is_brought_exactly(variant: dict[str, Any], store: str) -> None:
    with SiteProcess(SiteOptions(people=200, **variant)) as site:
        result = scrape_directory(site, store)
        proof = proof_of(site, store)
        assert proof.holds, proof
        assert_complete(result)
        assert_undisturbed(site)


def test_the_command_line_brings_everybody(store: str) -> None:
    with SiteProcess(SiteOptions(people=150)) as site:
        ended = finished(directory_command(site, store))
        assert ended.returncode == 0, ended.stderr
        assert "complete" in ended.stdout
        assert proof_of(site, store).holds
        assert_undisturbed(site)
    status = json.loads(windrow("status", store, "--json").stdout)
    assert (status["state"], status["records"], status["missing"]) == ("finished", 150, 0)


def test_faults_and_forgotten_sessions_leave_nothing_out(store: str) -> None:
    with SiteProcess(SiteOptions(people=150, faults=0.08, session_requests=120)) as site:
        assert_complete(scrape_directory(site, store, sessions=16))
        proof, statistics = proof_of(site, store), site.stats()
    assert proof.is_exact, proof.differences
    assert proof.overlapping == 0
    assert min(statistics["faults"].values()) > 0, "every kind of fault was met"
    ((retries,),) = rows(store, "SELECT retries FROM windrow_runs")
    assert retries > 0


def test_a_second_run_updates_everybody_and_doubles_nobody(store: str) -> None:
    with SiteProcess(SiteOptions(people=150)) as site:
        first = scrape_directory(site, store)
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute("UPDATE professionals SET phone = 'of last year', personne = '{}'")
        second = scrape_directory(site, store)
        assert (first.outcome, second.outcome) == (Outcome.COMPLETE, Outcome.COMPLETE)
        assert second.run != first.run
        proof = proof_of(site, store)
    assert proof.holds, proof
    assert proof.found == 150
    seen = "SELECT count(*), min(_last_seen - _first_seen) > 0, min(_run), max(_run) FROM professionals"
    assert rows(store, seen) == [(150, 1, second.run, second.run)]


@pytest.mark.parametrize(
    ("options", "searched"),
    [
        ({"only": ("w", "x", "y")}, ("w", "x", "y")),
        ({"only": ("in/2", "ze")}, ("ze",)),
        ({"limit": 2}, ("a", "b")),
    ],
    ids=["only", "only pages", "limit"],
)
def test_a_part_of_the_searches_brings_just_their_people(
    options: dict[str, Any], searched: Sequence[str], store: str
) -> None:
    people = 160
    directory = Directory(generate(people, 1))
    expected = {person.rpps for text in searched for person in directory.find(text)}
    if "in/2" in options.get("only", ()):
        expected |= {person.rpps for person in directory.find("in")[10:20]}
    with SiteProcess(SiteOptions(people=people)) as site:
        assert_complete(scrape_directory(site, store, **options))
    assert expected
    assert {rpps for (rpps,) in rows(store, "SELECT rpps FROM professionals")} == expected


# --- stopping ------------------------------------------------------------------------------------------------------


def test_ctrl_c_gives_everything_back_and_the_same_command_goes_on(store: str) -> None:
    with SiteProcess(SiteOptions(people=150, latency=0.01)) as site:
        command = directory_command(site, store)
        with started(command) as process:
            wait_until(lambda: saved(store) >= 20, "some records are saved")
            interrupt(process)
            assert process.wait(DEADLINE) == 130
        between = saved(store)
        assert 20 <= between < 150
        assert rows(store, "SELECT count(*) FROM windrow_partitions WHERE state = 'leased'") == [(0,)]
        assert json.loads(windrow("status", store, "--json").stdout)["state"] == "interrupted"
        assert finished(command).returncode == 0
        proof = proof_of(site, store)
        assert proof.holds, proof
        assert proof.fetched_again == 0, "whoever was in the making was finished first"
        assert_undisturbed(site)
    assert rows(store, "SELECT count(*) FROM windrow_runs") == [(1,)]


def test_ctrl_c_twice_stops_at_once(store: str) -> None:
    with SiteProcess(SiteOptions(people=150, latency=3.0)) as site:
        with started(directory_command(site, store)) as process:
            wait_until(lambda: site.stats()["requests"] > 8, "searches are under way")
            interrupt(process)
            wait_until(lambda: not is_interrupt_pending(process.pid), "the first Ctrl-C was taken")
            begun = time.monotonic()
            interrupt(process)
            assert process.wait(DEADLINE) == 130
            assert time.monotonic() - begun < 2.5, "it did not wait for an answer of the site"
        assert not processes_of(process.pid)
    assert rows(store, "SELECT state FROM windrow_runs") == [("running",)]


def test_ctrl_c_while_the_workers_begin_is_no_error(store: str) -> None:
    with SiteProcess(SiteOptions(people=10)) as site:
        command = directory_command(site, store)
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        with process, killed_at_the_end(process):
            wait_until(lambda: is_any_worker_importing(process.pid), "a worker imports what it needs")
            interrupt(process)
            _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert "Traceback" not in errors


# --- jobs of one's own ---------------------------------------------------------------------------------------------

TROUBLE = """
from pathlib import Path
from windrow import Job, Limits, values

job = Job("things", key="id", partitions=values(["a", "b", "c"]), limits=Limits(attempts=1),
          parameters={"trouble": "", "log": ""})

@job.scrape
async def scrape(session, partition):
    with open(session.parameters["log"], "a") as log:
        log.write(partition.key)
    yield {"id": partition.key + "1"}
    if partition.key == "b" and Path(session.parameters["trouble"]).exists():
        raise ValueError("this one is broken")
    yield {"id": partition.key + "2"}
"""

CHOOSY = """
from pydantic import BaseModel
from windrow import Job, values

class Thing(BaseModel):
    id: str
    weight: float

job = Job("things", record=Thing, key="id", partitions=values(["a", "b"]))

@job.scrape
async def scrape(session, partition):
    yield {"id": partition.key + "1", "weight": 1.5}
    yield {"id": partition.key + "2", "weight": "heavy"}
    yield {"id": partition.key + "3", "weight": "2.5"}
"""

PLAIN = """
from windrow import Job, Pace, prefixes

job = Job("hits", key="rpps", base_url="http://127.0.0.1:9", partitions=prefixes("uwxy"), pace=Pace(0.0), sessions=4)

@job.scrape
def scrape(session, prefix):
    home = session.get("/web/site-pro", expect="form[name=fmRecherche]")
    results = session.submit(home.form("fmRecherche"), texttofind=prefix.key)
    prefix.reports(int(results.text("span.nombre")))
    found = []
    while True:
        found += results.css("div.contenant_resultat")
        following = results.first("a[title='Suivant']")
        if following is None:
            break
        results = session.get(following.url())
    for card in prefix.unseen(found, key=rpps):
        yield {"rpps": rpps(card), "name": card.text("div.nom_prenom a")}

def rpps(card):
    return card.one("a[href*=DetailsPPAction]").url().split("idRpps=")[1][:11]
"""

ASKING = """
import os
from windrow import Job, Limits, Pace, values

job = Job("answers", key="id", base_url="http://127.0.0.1:9", partitions=values(range(8)), sessions=8, workers=2,
          pace=Pace(0.0), robots=False, limits=Limits(wait=20.0), parameters={"each": 10})

@job.scrape
async def scrape(session, partition):
    for number in range(session.parameters["each"]):
        await session.get(f"/{partition.key}/{number}")
        yield {"id": f"{partition.key}-{number}", "pid": os.getpid()}
"""


def job_file(folder: Path, source: str) -> str:
    path = folder / "job.py"
    path.write_text(source, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("engine", ["processes", "threads", "sequential"])
def test_a_partition_that_raises_leaves_the_others_alone_and_can_be_retried(engine: str, tmp_path: Path) -> None:
    trouble, log, store = tmp_path / "trouble", tmp_path / "log", str(tmp_path / "things.db")
    trouble.touch()
    parameters = {"trouble": str(trouble), "log": str(log)}
    options = RunOptions(job=job_file(tmp_path, TROUBLE), store=store, engine=engine, parameters=parameters)
    assert run(options).outcome is Outcome.INCOMPLETE
    assert rows(store, "SELECT key, state FROM windrow_partitions ORDER BY key") == [
        ("a", "done"),
        ("b", "failed"),
        ("c", "done"),
    ]
    ((reason,),) = rows(store, "SELECT reason FROM windrow_partitions WHERE key = 'b'")
    line = TROUBLE[: TROUBLE.index("raise")].count("\n") + 1
    assert reason == f"ValueError: this one is broken (job.py, line {line})"
    assert things(store) == ["a1", "a2", "b1", "c1", "c2"]
    trouble.unlink()
    assert retry(options, ()).outcome is Outcome.COMPLETE
    assert things(store) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    # The first attempt at b saved something new, so it did not count and b had another one; the third was the retry.
    assert sorted(log.read_text()) == ["a", "b", "b", "b", "c"], "only the failed one ran again"
    assert retry(options, ()).message == "no partition failed or is incomplete"


def test_the_command_line_names_the_partition_that_failed(tmp_path: Path) -> None:
    (tmp_path / "trouble").touch()
    settings = ["--set", f"trouble={tmp_path / 'trouble'}", "--set", f"log={tmp_path / 'log'}"]
    place = str(tmp_path / "things.db")
    ended = windrow("run", job_file(tmp_path, TROUBLE), "--store", place, *settings)
    assert ended.returncode == 3
    assert "failed 'b'" in ended.stdout
    assert "this one is broken" in ended.stdout
    (tmp_path / "trouble").unlink()
    assert windrow("retry", str(tmp_path / "job.py"), "--store", place, *settings).returncode == 0


def test_invalid_records_are_kept_apart_and_the_others_saved(tmp_path: Path) -> None:
    store = str(tmp_path / "things.db")
    result = run(RunOptions(job=job_file(tmp_path, CHOOSY), store=store, workers=1))
    assert_complete(result)
    assert things(store) == ["a1", "a3", "b1", "b3"]
    kept = rows(store, "SELECT raw, error FROM windrow_invalid ORDER BY raw")
    assert [json.loads(raw)["id"] for raw, _ in kept] == ["a2", "b2"]
    assert all("weight" in error for _, error in kept)
    assert rows(store, "SELECT invalid FROM windrow_runs") == [(2,)]


@pytest.mark.parametrize("engine", ["processes", "threads"])
def test_a_plain_function_gets_a_blocking_session(engine: str, tmp_path: Path) -> None:
    store = str(tmp_path / "hits.db")
    people = 150
    directory = Directory(generate(people, 1))
    with SiteProcess(SiteOptions(people=people)) as site:
        options = RunOptions(
            job=job_file(tmp_path, PLAIN), store=store, engine=engine, parameters={"base_url": site.url}
        )
        assert_complete(run(options))
        assert site.stats()["max_in_flight_per_session"] == 1
    expected = {person.rpps for text in "uwxy" for person in directory.find(text)}
    assert {rpps for (rpps,) in rows(store, "SELECT rpps FROM hits")} == expected


# --- politeness over several workers -------------------------------------------------------------------------------


def test_the_rate_is_held_by_all_workers_together(tmp_path: Path) -> None:
    rate, requests = 25, 80
    with logging_site() as site:
        assert_complete(ask(site, tmp_path, rate=rate))
    assert len(site.times) == requests
    in_any_second = [sum(start <= each < start + 1.0 for each in site.times) for start in site.times]
    # A request that was held up on its way can arrive within the second of those behind it: two are forgiven.
    assert max(in_any_second) <= rate + 2
    assert site.times[-1] - site.times[0] >= (requests - 1) / rate - 0.2
    assert workers_that_took_part(tmp_path) == 2


def test_a_retry_after_is_kept_by_all_workers(tmp_path: Path) -> None:
    wait = 2.0
    with logging_site(throttle_at=30, retry_after=2) as site:
        assert_complete(ask(site, tmp_path, rate=0))
    assert site.throttled_at is not None
    # What was on its way when the answer came is nobody's fault: 0.15 s for the news to go round.
    too_soon = [at - site.throttled_at for at in site.times if 0.15 < at - site.throttled_at < wait]
    assert too_soon == []
    assert len(site.times) == 81, "the request that was turned away was sent once more"
    assert workers_that_took_part(tmp_path) == 2


@dataclass
class Logbook:
    """A server that writes down when it was asked."""

    url: str
    throttle_at: int | None
    retry_after: int
    times: list[float] = field(default_factory=list)
    throttled_at: float | None = None

    def note(self) -> bool:
        """Whether this request is to be turned away."""
        self.times.append(time.monotonic())
        if len(self.times) != self.throttle_at:
            return False
        self.throttled_at = self.times[-1]
        return True


@contextmanager
def logging_site(throttle_at: int | None = None, retry_after: int = 0) -> Iterator[Logbook]:
    book = Logbook("", throttle_at, retry_after)
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with one_at_a_time:
                turned_away = book.note()
            self.send_response(429 if turned_away else 200)
            if turned_away:
                self.send_header("Retry-After", str(book.retry_after))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    book.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield book
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(site: Logbook, folder: Path, **options: Any) -> RunResult:
    """Eight partitions of ten requests each, in two workers."""
    store = str(folder / "answers.db")
    parameters = {"base_url": site.url}
    return run(RunOptions(job=job_file(folder, ASKING), store=store, parameters=parameters, **options))


def workers_that_took_part(folder: Path) -> int:
    return int(rows(str(folder / "answers.db"), "SELECT count(DISTINCT pid) FROM answers")[0][0])


# --- processes -----------------------------------------------------------------------------------------------------


def things(store: str) -> list[str]:
    return [key for (key,) in rows(store, "SELECT id FROM things ORDER BY id")]


def saved(store: str) -> int:
    """How many people are saved by now; 0 while there is no store yet."""
    try:
        return int(rows(store, "SELECT count(*) FROM professionals")[0][0])
    except sqlite3.OperationalError:
        return 0


def windrow(*arguments: str) -> subprocess.CompletedProcess[str]:
    return finished([sys.executable, "-m", "windrow", *arguments])


def finished(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEADLINE)


def directory_command(site: SiteProcess, store: str, *, sessions: int = 8, workers: int = 2) -> list[str]:
    options = f"--set base_url={site.url} --sessions {sessions} --workers {workers} --delay 0 --rate 0 --quiet".split()
    return [sys.executable, "-m", "windrow", "run", "annuaire", *options, "--store", store]


@contextmanager
def started(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A command in a session and process group of its own; nothing of it is left behind."""
    output = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=output, stderr=output, text=True, start_new_session=True)
    with killed_at_the_end(process):
        yield process


@contextmanager
def killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        kill_all(process.pid)
        process.wait()


def kill_all(session: int) -> None:
    """SIGKILL to every process of a session."""
    for pid in processes_of(session):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C: a terminal sends it to all processes of the group."""
    os.killpg(process.pid, signal.SIGINT)


def wait_until(condition: Callable[[], bool], what: str, within: float = DEADLINE) -> None:
    """Look again and again, for so many seconds at most."""
    give_up = time.monotonic() + within
    while not condition():
        assert time.monotonic() < give_up, f"it never came to be: {what}"
        time.sleep(0.02)


def is_any_worker_importing(supervisor: int) -> bool:
    """Whether a worker has begun to import, and neither ignores Ctrl-C by now nor has it blocked."""
    for pid in processes_of(supervisor):
        with suppress(OSError):
            mapped = Path(f"/proc/{pid}/maps").read_text()
            if pid != supervisor and "_socket" in mapped and not is_deaf_to_interrupts(pid):
                return True
    return False


def is_deaf_to_interrupts(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(status.partition(name)[2].split()[0], 16) & INTERRUPT for name in ("SigBlk:", "SigIgn:"))


def is_interrupt_pending(pid: int) -> bool:
    """Whether a SIGINT waits to be delivered: a second one would be lost in it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("ShdPnd:")[2].split()[0], 16) & INTERRUPT)


def processes_of(session: int) -> list[int]:
    """The processes of a session (that of a command begun by `started` has its process id) that are still there."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text() if entry.name.isdecimal() else ""
        except OSError:
            continue
        state, _, _, its_session = stat.rpartition(")")[2].split()[:4] or ("", "", "", "0")
        if int(its_session) == session and state != "Z":
            found.append(int(entry.name))
    return found
