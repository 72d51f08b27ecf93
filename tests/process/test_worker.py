"""What a worker makes of a scrape function: whole runs of small job files, told by what is in the store afterwards."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from windrow.app import Outcome, RunOptions, RunResult, run

DEADLINE = 60.0
HERE = "sequential"
"""The engine whose worker is this very process: what is not about processes is tested in it."""


class Folder:
    """A folder with a job file and a store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = str(path / "things.db")

    def job(self, scrape: str, partitions: str = 'values(["a", "b"])', **settings: str) -> str:
        """The job `things` with the key `id`, tried once; `scrape` is the source of its function, called `scrape`."""
        chosen = {"limits": "Limits(attempts=1)", "sessions": "2", "pace": "Pace(0.0)", "robots": "False", **settings}
        source = "from windrow import Job, Limits, Pace, Partition, Refused, prefixes, rows, values\n"
        source += f"job = Job('things', key='id', partitions={partitions}, "
        source += ", ".join(f"{name}={value}" for name, value in chosen.items()) + ")\n"
        place = self.path / "job.py"
        place.write_text(f"{source}{scrape}\njob.scrape(scrape)\n", encoding="utf-8")
        return str(place)

    def run(
        self, scrape: str, partitions: str = 'values(["a", "b"])', *, engine: str = HERE, **settings: str
    ) -> RunResult:
        return run(RunOptions(job=self.job(scrape, partitions, **settings), store=self.store, engine=engine))

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as connection:
            return connection.execute(statement).fetchall()

    @property
    def ids(self) -> list[str]:
        return [key for (key,) in self.rows("SELECT id FROM things ORDER BY id")]

    @property
    def states(self) -> dict[str, str]:
        return dict(self.rows("SELECT key, state FROM windrow_partitions"))

    @property
    def reasons(self) -> dict[str, str]:
        return dict(self.rows("SELECT key, reason FROM windrow_partitions WHERE reason IS NOT NULL"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def assert_complete(result: RunResult) -> None:
    assert (result.outcome, result.message) == (Outcome.COMPLETE, None)


# --- the forms of a scrape function --------------------------------------------------------------------------------

FORMS = {
    "async generator": """
async def scrape(session, partition):
    for number in range(3):
        yield {"id": f"{partition.key}{number}"}
""",
    "async function": """
async def scrape(session, partition):
    return [{"id": f"{partition.key}{number}"} for number in range(3)]
""",
    "generator": """
def scrape(session, partition):
    for number in range(3):
        yield {"id": f"{partition.key}{number}"}
""",
    "function": """
def scrape(session, partition):
    return [{"id": f"{partition.key}{number}"} for number in range(3)]
""",
    "function that returns a generator": """
def scrape(session, partition):
    return ({"id": f"{partition.key}{number}"} for number in range(3))
""",
    "partial function": """
import functools
async def named(prefix, session, partition):
    for number in range(3):
        yield {"id": f"{prefix}{partition.key}{number}"}
scrape = functools.partial(named, "")
""",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_scrape_function(form: str, folder: Folder) -> None:
    assert_complete(folder.run(FORMS[form]))
    assert folder.ids == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert folder.states == {"a": "done", "b": "done"}


def test_a_blocking_function_runs_beside_others(folder: Folder) -> None:
    """A blocking function holds up neither its worker's loop nor the partition beside it."""
    scrape = """
import threading
both = threading.Barrier(2)
def scrape(session, partition):
    both.wait(20)
    yield {"id": partition.key}
    both.wait(20)
    yield {"id": partition.key * 2}
"""
    assert_complete(folder.run(scrape, engine="threads", workers="1"))
    assert folder.ids == ["a", "aa", "b", "bb"]


@pytest.mark.parametrize("asynchronous", ["async ", ""], ids=["async", "plain"])
@pytest.mark.parametrize(
    ("made", "ids"),
    [
        ("None", []),
        ("[]", []),
        ("{'id': partition.key}", ["a"]),
        ("[{'id': '1'}, {'id': '2'}]", ["1", "2"]),
        ("({'id': '1'}, {'id': '2'})", ["1", "2"]),
        ("({'id': each} for each in '12')", ["1", "2"]),
        ("map(lambda each: {'id': each}, '12')", ["1", "2"]),
    ],
    ids=["None", "empty list", "record", "list", "tuple", "generator", "map"],
)
def test_what_a_function_may_return(asynchronous: str, made: str, ids: list[str], folder: Folder) -> None:
    assert_complete(folder.run(f"{asynchronous}def scrape(session, partition):\n    return {made}", 'values("a")'))
    assert folder.ids == ids


@pytest.mark.parametrize("asynchronous", ["async ", ""], ids=["async", "plain"])
@pytest.mark.parametrize("kind", ["BaseModel", "dataclass"])
def test_one_typed_record_is_not_taken_apart(asynchronous: str, kind: str, folder: Folder) -> None:
    """A pydantic model can be iterated over, and is one record all the same."""
    heads = {
        "BaseModel": "from pydantic import BaseModel\nclass Thing(BaseModel):\n    id: str",
        "dataclass": "from dataclasses import dataclass\n@dataclass\nclass Thing:\n    id: str",
    }
    scrape = f"""
{heads[kind]}
{asynchronous}def scrape(session, partition):
    return Thing(id=partition.key)
"""
    assert_complete(folder.run(scrape))
    kept = [error for _, error in folder.rows("SELECT raw, error FROM windrow_invalid")]
    assert kept == ["a dict is needed, not Thing (the job has record=None)"] * 2, "one record for each partition"


def test_what_is_no_record_is_kept_as_invalid(folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    yield "a text"
    yield None
    yield {"id": "good"}
    yield {"n": 1}
"""
    assert_complete(folder.run(scrape, 'values("a")'))
    assert folder.ids == ["good"]
    assert folder.rows("SELECT raw, error FROM windrow_invalid ORDER BY id") == [
        ('"a text"', "a dict is needed, not str (the job has record=None)"),
        ("null", "a dict is needed, not NoneType (the job has record=None)"),
        ('{"n":1}', "the key column 'id' is empty"),
    ]


def test_a_text_that_is_returned_is_one_record_and_no_list_of_letters(folder: Folder) -> None:
    assert_complete(folder.run("def scrape(session, partition):\n    return 'text'", 'values("a")'))
    assert folder.rows("SELECT raw FROM windrow_invalid") == [('"text"',)]


def test_many_records_arrive_in_one_run(folder: Folder) -> None:
    """More than may wait unsaved: the function is made to wait for the store."""
    scrape = """
async def scrape(session, partition):
    for number in range(2000):
        yield {"id": f"{partition.key}{number}", "n": number}
"""
    assert_complete(folder.run(scrape))
    assert folder.rows("SELECT count(*), count(DISTINCT id), sum(n) FROM things") == [(4000, 4000, 2 * 1999000)]


def test_a_large_record_crosses_the_pipe(folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    yield {"id": partition.key, "text": "é" * 5_000_000, "list": list(range(100_000))}
"""
    assert_complete(folder.run(scrape, engine="processes", workers="1"))
    assert folder.rows("SELECT id, length(text), json_array_length(list) FROM things ORDER BY id") == [
        ("a", 5_000_000, 100_000),
        ("b", 5_000_000, 100_000),
    ]


# --- what goes wrong -----------------------------------------------------------------------------------------------

RAISING = {
    "async generator": """
async def scrape(session, partition):
    yield {"id": partition.key}
    if partition.key == "a":
        raise ValueError("no such shop")
""",
    "async function": """
async def scrape(session, partition):

    if partition.key == "a":
        raise ValueError("no such shop")
    return {"id": partition.key}
""",
    "generator": """
def scrape(session, partition):
    yield {"id": partition.key}
    if partition.key == "a":
        raise ValueError("no such shop")
""",
    "function": """
def scrape(session, partition):

    if partition.key == "a":
        raise ValueError("no such shop")
    return {"id": partition.key}
""",
}


@pytest.mark.parametrize("form", RAISING)
def test_an_exception_says_file_and_line_and_leaves_the_others_alone(form: str, folder: Folder) -> None:
    assert folder.run(RAISING[form]).outcome is Outcome.INCOMPLETE
    assert folder.states == {"a": "failed", "b": "done"}
    assert folder.reasons == {"a": "ValueError: no such shop (job.py, line 7)"}
    assert folder.ids == (["a", "b"] if "generator" in form else ["b"]), "what came before it is saved"


def test_an_exception_in_a_helper_says_the_line_in_it(folder: Folder) -> None:
    (folder.path / "helper_of_the_job.py").write_text("\n\ndef price(text):\n    return float(text)\n")
    scrape = """
from helper_of_the_job import price
async def scrape(session, partition):
    yield {"id": partition.key, "price": price("n/a")}
"""
    folder.run(scrape)
    reason = "ValueError: could not convert string to float: 'n/a' (helper_of_the_job.py, line 4)"
    assert folder.reasons == {"a": reason, "b": reason}


def test_an_exception_group_is_a_reason_like_any_other(folder: Folder) -> None:
    scrape = """
import asyncio
async def fail():
    raise ValueError("inner")
async def scrape(session, partition):
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
    yield
"""
    folder.run(scrape)
    assert set(folder.states.values()) == {"failed"}
    assert "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)" in folder.reasons["a"]


def test_a_very_long_reason_is_cut(folder: Folder) -> None:
    folder.run("async def scrape(session, partition):\n    raise ValueError('x' * 100_000)")
    assert folder.rows("SELECT max(length(reason)) FROM windrow_partitions") == [(2000,)]


@pytest.mark.parametrize(
    "scrape",
    [
        "import asyncio\nasync def scrape(session, partition):\n    yield {'id': '1'}\n    await asyncio.sleep(60)",
        "import asyncio\nasync def scrape(session, partition):\n    await asyncio.sleep(60)",
        "import threading\ndef scrape(session, partition):\n    yield {'id': '1'}\n    threading.Event().wait(3)",
    ],
    ids=["async generator", "async function", "generator"],
)
def test_a_partition_has_its_time(scrape: str, folder: Folder) -> None:
    begun = time.monotonic()
    result = folder.run(scrape, 'values("a")', limits="Limits(attempts=1, partition=0.2)")
    assert time.monotonic() - begun < 2.5
    assert result.outcome is Outcome.INCOMPLETE
    assert folder.reasons == {"a": "took longer than 0.2 s (Limits.partition)"}
    assert folder.ids == (["1"] if "yield" in scrape else [])


def test_a_timeout_of_the_function_itself_is_told_apart(folder: Folder) -> None:
    folder.run("async def scrape(session, partition):\n    raise TimeoutError('the export is not ready')")
    assert folder.reasons["a"] == "TimeoutError: the export is not ready (job.py, line 4)"


def test_a_failed_attempt_is_made_again(folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    if partition.attempt == 1:
        raise ValueError("not yet")
    yield {"id": partition.key, "attempt": partition.attempt}
"""
    assert_complete(folder.run(scrape, 'values("a")', limits="Limits(attempts=2)"))
    assert folder.rows("SELECT id, attempt FROM things") == [("a", 2)]


def test_too_many_invalid_records_fail_their_partition(folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    for number in range(3):
        yield {"id": "" if partition.key == "a" else str(number)}
"""
    assert folder.run(scrape, limits="Limits(attempts=1, invalid=2)").outcome is Outcome.INCOMPLETE
    assert folder.states == {"a": "failed", "b": "done"}
    assert folder.reasons == {"a": "3 invalid records, the job allows 2"}


def test_a_partition_with_too_many_invalid_records_is_stopped_while_it_goes_on(folder: Folder) -> None:
    scrape = """
import asyncio
async def scrape(session, partition):
    yield {"id": ""}
    await asyncio.sleep(60)
"""
    begun = time.monotonic()
    folder.run(scrape, limits="Limits(attempts=1, invalid=0, partition=15.0)")
    assert time.monotonic() - begun < 10
    assert folder.reasons == dict.fromkeys("ab", "1 invalid records, the job allows 0")


def test_a_partition_that_refuses_to_be_scraped_is_not_tried_again(folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    raise Refused("not for us")
"""
    folder.run(scrape, limits="Limits(attempts=5)")
    assert folder.rows("SELECT key, state, attempt, reason FROM windrow_partitions") == [
        ("a", "failed", 1, "not for us"),
        ("b", "failed", 1, "not for us"),
    ]


def test_a_session_is_asked_of_a_server_and_its_faults_are_the_partitions(folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    page = await session.get(f"/{partition.key}", expect="h1")
    yield {"id": partition.key, "title": page.text("h1")}
"""
    with site({"/a": (200, "<h1>Title of a</h1>"), "/b": (404, "gone")}) as url:
        assert folder.run(scrape, base_url=repr(url)).outcome is Outcome.INCOMPLETE
    assert folder.rows("SELECT id, title FROM things") == [("a", "Title of a")]
    assert folder.states == {"a": "done", "b": "failed"}
    assert "404" in folder.reasons["b"]
    assert folder.rows("SELECT requests FROM windrow_runs") == [(2,)]


def test_a_plain_function_asks_a_server_from_its_thread(folder: Folder) -> None:
    scrape = """
def scrape(session, partition):
    page = session.get(f"/{partition.key}")
    yield {"id": partition.key, "title": page.text("h1")}
"""
    with site({"/a": (200, "<h1>A</h1>"), "/b": (200, "<h1>B</h1>")}) as url:
        assert_complete(folder.run(scrape, base_url=repr(url)))
    assert folder.rows("SELECT id, title FROM things ORDER BY id") == [("a", "A"), ("b", "B")]


@contextmanager
def site(pages: dict[str, tuple[int, str]]) -> Iterator[str]:
    """A server of some pages; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = pages[self.path]
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- what a function asks of its partition -------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize(
    ("items", "key", "name"),
    [
        ("['1', '2', '3']", "None", "item"),
        ("[1, 2, 3]", "None", "str(item)"),
        ("{'1': 'x', '2': 'y', '3': 'z'}", "None", "item"),
        ("[{'n': '1'}, {'n': '2'}, {'n': '3'}]", "'n'", "item['n']"),
        ("[Card(1), Card(2), Card(3)]", "'n'", "str(item.n)"),
        ("[Card(1), Card(2), Card(3)]", "lambda card: card.n", "str(item.n)"),
        ("(c for c in '123')", "None", "item"),
    ],
    ids=["keys", "numbers", "dict", "mappings", "objects", "function", "generator"],
)
def test_only_what_nobody_has_saved_is_unseen(items: str, key: str, name: str, plain: bool, folder: Folder) -> None:
    """The first partition saves `2`; the second one is told that the others are left."""
    scrape = f"""
class Card:
    def __init__(self, n):
        self.n = n

async def scrape(session, partition):
    if partition.key == "a":
        yield {{"id": "2", "by": "a"}}
    else:
        for item in await partition.unseen({items}, key={key}):
            yield {{"id": {name}, "by": "b"}}
"""
    if plain:
        scrape = scrape.replace("async def", "def").replace("await ", "")
    assert_complete(folder.run(scrape))
    assert folder.rows("SELECT id, by FROM things ORDER BY id") == [("1", "b"), ("2", "a"), ("3", "b")]
    assert folder.rows("SELECT found FROM windrow_partitions WHERE key = 'b'") == [(3,)]


def test_unseen_without_a_list_is_nothing(folder: Folder) -> None:
    assert_complete(folder.run("async def scrape(s, p):\n    assert await p.unseen([]) == []"))


@pytest.mark.parametrize(
    ("items", "shown"), [("[{'m': 1}]", """{"m":1}"""), ("['text']", '"text"')], ids=["mapping", "object"]
)
def test_unseen_names_the_item_that_has_no_key(items: str, shown: str, folder: Folder) -> None:
    folder.run(f"async def scrape(s, p):\n    await p.unseen({items}, key='n')")
    assert folder.reasons["a"] == f"unseen(): an item has no 'n': {shown}"


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
def test_what_was_found_for_others_and_saved_by_nobody_runs_again(plain: bool, folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    if partition.reopened:
        yield {"id": "left"}
    else:
        await partition.found(["left"])
"""
    if plain:
        scrape = scrape.replace("async def", "def").replace("await ", "")
    assert_complete(folder.run(scrape, 'values("a")'))
    assert folder.ids == ["left"]


def test_a_partition_gives_its_cells(folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    yield {"id": partition.key, "city": partition["city"], "code": partition["code"], "value": partition.value}
"""
    table = "rows([{'n': 'x', 'city': 'Orléans', 'code': 45}], key='n')"
    assert_complete(folder.run(scrape, table))
    assert folder.rows("SELECT id, city, code, value FROM things") == [("x", "Orléans", 45, "x")]


def test_a_partition_gives_its_value(folder: Folder) -> None:
    scrape = """
def scrape(session, partition):
    yield {"id": partition.key, "value": partition.value, "repr": repr(partition)}
"""
    assert_complete(folder.run(scrape, "values([['a', {'b': None}], 5])"))
    found = folder.rows("SELECT id, value FROM things ORDER BY id")
    assert [(key, str(value)) for key, value in found] == [("5", "5"), ("['a', {'b': None}]", '["a",{"b":null}]')]


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize(
    ("partitions", "there"),
    [("rows([{'city': 'Tours', 'code': 37}], key='city')", "city, code"), ("prefixes('T')", "no parameters")],
)
def test_a_cell_that_is_not_there_is_told_those_that_are(
    partitions: str, there: str, plain: bool, folder: Folder
) -> None:
    scrape = """
async def scrape(session, partition):
    try:
        partition["ville"]
    except KeyError as error:
        yield {"id": partition.key, "text": error.args[0]}
"""
    assert_complete(folder.run(scrape.replace("async ", "") if plain else scrape, partitions))
    ((key, text),) = folder.rows("SELECT id, text FROM things")
    assert text == f"'ville'; the partition {key!r} has {there}"


def test_a_partition_splits_as_its_source_says(folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    yield {"id": partition.key, "split": partition.split()}
"""
    assert folder.run(scrape, 'prefixes("ab", first="a", longest=2)').outcome is Outcome.INCOMPLETE
    assert folder.rows("SELECT id, split FROM things ORDER BY id") == [("a", 1), ("aa", 0), ("ab", 0)]
    assert folder.states == {"a": "split", "aa": "incomplete", "ab": "incomplete"}
    assert "cannot be split further" in folder.reasons["aa"]


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
def test_a_partition_splits_into_children_of_its_own(plain: bool, folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    if partition.key == "a":
        partition.split(["a/1", "a/2"])
        partition.split([Partition("a/3", {"page": 3})])
    yield {"id": partition.key, "page": partition.params.get("page")}
"""
    assert_complete(folder.run(scrape.replace("async ", "") if plain else scrape))
    assert folder.rows("SELECT id, page FROM things ORDER BY id") == [
        ("a", None),
        ("a/1", None),
        ("a/2", None),
        ("a/3", 3),
        ("b", None),
    ]
    assert folder.states == {"a": "split", "a/1": "done", "a/2": "done", "a/3": "done", "b": "done"}
    parents = "SELECT c.key, p.key FROM windrow_partitions c JOIN windrow_partitions p ON p.id = c.parent ORDER BY 1"
    assert folder.rows(parents) == [("a/1", "a"), ("a/2", "a"), ("a/3", "a")]


def test_a_split_that_fails_in_the_end_plants_nothing(folder: Folder) -> None:
    scrape = """
async def scrape(session, partition):
    partition.split(["x"])
    raise ValueError("after all")
"""
    folder.run(scrape, 'values("a")')
    assert folder.states == {"a": "failed"}


def test_a_site_cannot_report_less_than_nothing(folder: Folder) -> None:
    folder.run("async def scrape(session, partition):\n    partition.reports(-1)")
    assert folder.reasons["a"] == "partition 'a': a site cannot report -1 records"


def test_less_than_the_site_reports_is_missing(folder: Folder) -> None:
    scrape = """
def scrape(session, partition):
    partition.reports(3 if partition.key == "a" else 1)
    yield {"id": partition.key}
"""
    assert folder.run(scrape).outcome is Outcome.INCOMPLETE
    assert folder.states == {"a": "incomplete", "b": "done"}
    assert folder.rows("SELECT missing FROM windrow_runs") == [(2,)]


LOSING = """
import sqlite3
async def scrape(session, partition):
    yield {"id": "saved before"}
    await partition.unseen(["saved before"])
    if partition.attempt == 1:
        # As if this worker had been silent for too long: its lease has run out and is somebody else's by now.
        with sqlite3.connect(STORE, timeout=20) as store:
            store.execute("UPDATE windrow_partitions SET fence = fence + 1, lease_until = 0")
        store.close()
        ASK
        yield {"id": "of a zombie"}
    else:
        yield {"id": "of its heir"}
"""


@pytest.mark.parametrize("ask", ["pass", "await partition.unseen(['x'])"], ids=["committing", "asking"])
def test_a_worker_drops_a_partition_whose_lease_it_has_lost(ask: str, folder: Folder) -> None:
    scrape = LOSING.replace("STORE", repr(folder.store)).replace("ASK", ask)
    assert_complete(folder.run(scrape, 'values("a")', limits="Limits(attempts=1)"))
    assert folder.ids == ["of its heir", "saved before"]
    assert folder.rows("SELECT state, attempt, failures FROM windrow_partitions") == [("done", 2, 0)]


# --- processes -----------------------------------------------------------------------------------------------------

IN_A_WORKER = """
import sys
in_a_worker = getattr(sys.modules["__main__"].__spec__, "name", "") == "windrow.engines.process_worker"
"""


@pytest.mark.parametrize(
    ("fault", "cause", "said"),
    [
        ("raise LookupError('no table')", "exit code", "LookupError: no table"),
        ("import os; os._exit(7)", "exit code 7)", ""),
    ],
    ids=["raises", "exits"],
)
def test_a_job_that_does_not_load_in_its_workers_fails_the_run(
    fault: str, cause: str, said: str, folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    place = Path(folder.job("async def scrape(session, partition):\n    yield {'id': partition.key}"))
    place.write_text(place.read_text() + f"{IN_A_WORKER}\nif in_a_worker:\n    {fault}\n")
    result = run(RunOptions(job=str(place), store=folder.store, workers=1))
    assert result.outcome is Outcome.FAILED
    assert result.message is not None
    assert result.message.startswith(f"3 workers in a row ended before they began to work ({cause}")
    assert said in capfd.readouterr().err
    assert folder.states == {"a": "pending", "b": "pending"}
    assert folder.rows("SELECT state FROM windrow_runs") == [("running",)], "once it is mended the run goes on"


def test_a_function_that_prints_disturbs_nothing(folder: Folder, capfd: pytest.CaptureFixture[str]) -> None:
    scrape = """
import os, sys
async def scrape(session, partition):
    print("out of", partition.key, "x" * 200_000, flush=True)
    print("err of", partition.key, file=sys.stderr)
    os.write(1, b"raw of " + partition.key.encode())
    yield {"id": partition.key}
"""
    assert_complete(folder.run(scrape, engine="processes", workers="1"))
    assert folder.ids == ["a", "b"]
    said = capfd.readouterr()
    for key in ("a", "b"):
        assert f"out of {key}" in said.out
        assert f"raw of {key}" in said.out
        assert f"err of {key}" in said.err


def test_threads_that_a_function_leaves_behind_keep_no_process_alive(folder: Folder) -> None:
    scrape = """
import threading
def scrape(session, partition):
    for daemon in (False, True):
        threading.Thread(target=threading.Event().wait, daemon=daemon).start()
    yield {"id": partition.key}
    if partition.key == "b":
        threading.Event().wait()
"""
    place = folder.job(scrape, limits="Limits(attempts=1, partition=0.5)")
    command = [sys.executable, "-m", "windrow", "run", place, "--store", folder.store, "--workers", "1", "--quiet"]
    nothing = subprocess.DEVNULL
    ended = subprocess.run(command, check=False, stdin=nothing, capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == 3, ended.stderr
    assert folder.ids == ["a", "b"]
    assert folder.states == {"a": "done", "b": "failed"}


def test_a_worker_that_dies_is_replaced_and_its_partition_goes_on(folder: Folder) -> None:
    scrape = """
import os
async def scrape(session, partition):
    if partition.attempt == 1 and partition.key == "a":
        os._exit(9)
    yield {"id": partition.key, "attempt": partition.attempt}
"""
    assert_complete(folder.run(scrape, engine="processes", workers="1", sessions="1"))
    assert folder.rows("SELECT id, attempt FROM things ORDER BY id") == [("a", 2), ("b", 1)]


def test_a_partition_that_kills_its_workers_fails_and_the_others_are_done(folder: Folder) -> None:
    scrape = """
import os, signal
async def scrape(session, partition):
    if partition.key == "a":
        os.kill(os.getpid(), signal.SIGSEGV)
    yield {"id": partition.key}
"""
    result = folder.run(scrape, engine="processes", sessions="1", limits="Limits(deaths=2)")
    assert result.outcome is Outcome.INCOMPLETE
    assert folder.ids == ["b"]
    assert folder.states == {"a": "failed", "b": "done"}
    assert folder.reasons == {"a": "it killed its worker 2 times: signal 11"}
