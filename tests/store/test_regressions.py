"""What once went wrong, and must not again: each job here is one line on purpose."""

# ruff: noqa: E501

from __future__ import annotations

import sqlite3
import subprocess
import sys
import typing
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from tests.support.bench import Bench, held
from windrow.app import Outcome, RunOptions, retry, run
from windrow.errors import JobError, SettingError, StoreError, UsageError
from windrow.job import load_job
from windrow.partitions import prefixes, rows
from windrow.records import InvalidRecord, raw_text, record_type
from windrow.store.database import open_for_writing
from windrow.store.messages import Commit, Failure

PLAIN = record_type(None, "id")
HEAD = "from windrow import *\njob = Job('things', key='id', partitions=values(['a', 'b']), limits=Limits(attempts=1, partition=3.0{more}))\n@job.scrape\n"


def go(
    tmp_path: Path, scrape: str, engine: str = "processes", more: str = "", **options: Any
) -> tuple[Any, dict[str, Any], list[Any]]:
    place = tmp_path / "job.py"
    place.write_text(HEAD.replace("{more}", more) + scrape)
    store = str(tmp_path / "things.db")
    result = run(
        RunOptions(
            job=str(place), store=store, engine=engine, **{"workers": 1 if engine != "sequential" else None, **options}
        )
    )
    with closing(sqlite3.connect(store)) as c:
        reasons = {k: (s, r) for k, s, r in c.execute("select key, state, reason from windrow_partitions")}
        return (
            result,
            reasons,
            c.execute("select error from windrow_invalid").fetchall() + c.execute("select id from things").fetchall(),
        )


def test_a_text_of_a_subclass_is_a_text(tmp_path: Path) -> None:
    result, reasons, _ = go(
        tmp_path, "async def s(x, p):\n    class Text(str): pass\n    yield {'id': Text(p.key), 'x': Text('hi')}\n"
    )
    assert result.outcome is Outcome.COMPLETE, reasons


@pytest.mark.parametrize(
    "scrape",
    [
        "async def s(x, p):\n    yield {'id': p.key, chr(0xd800): 1}\n",
        "async def s(x, p):\n    raise ValueError(chr(0xd800))\n    yield\n",
        "async def s(x, p):\n    p.split([Partition('z' + p.key, {'x': object()})])\n    yield {'id': p.key}\n",
    ],
    ids=["name", "reason", "split"],
)
def test_what_cannot_cross_the_pipe_kills_no_worker(scrape: str, tmp_path: Path) -> None:
    _, reasons, _ = go(tmp_path, scrape)
    assert not any("killed its worker" in (reason or "") for _, reason in reasons.values()), reasons


def test_stop_iteration_of_a_plain_function_is_a_reason(tmp_path: Path) -> None:
    _, reasons, _ = go(tmp_path, "def s(x, p):\n    return [next(iter([]))]\n", "sequential")
    assert "StopIteration" in reasons["a"][1], reasons


def test_a_report_that_is_no_whole_number_fails_its_partition(tmp_path: Path) -> None:
    _, reasons, _ = go(tmp_path, "async def s(x, p):\n    p.reports(2.5)\n    yield {'id': p.key}\n")
    assert reasons["a"][0] == "failed"


def test_a_record_nested_too_deeply_is_invalid(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidRecord):
        PLAIN.row({"id": "1", "x": deep})
    assert raw_text({"id": "1", "x": deep})


def test_a_column_that_began_with_true_takes_a_text(bench: Bench) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    bench.say(Commit(held(lease), rows=[("1", {"id": "1", "x": True})]))
    answer = bench.say(Commit(held(lease), rows=[("2", {"id": "2", "x": "n/a"})]))
    assert not isinstance(answer, Failure), answer


def test_the_text_of_a_record_is_no_sign_of_a_full_disk(bench: Bench) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    bench.say(Commit(held(lease), rows=[("0", {"id": "0", **{f"c{n}": n for n in range(999)}})]))
    answer = bench.say(Commit(held(lease), rows=[("1", {"id": "1", "disk size": 1})]))
    assert isinstance(answer, Failure)
    assert not answer.fatal, answer


def test_an_exception_in_a_library_says_the_jobs_own_line(tmp_path: Path) -> None:
    _, reasons, _ = go(tmp_path, "async def s(x, p):\n    import json\n    json.loads('x')\n    yield\n", "sequential")
    assert "(job.py, line 6)" in reasons["a"][1], reasons


@pytest.mark.parametrize("engine", ["sequential", "threads"])
def test_a_stuck_thread_does_not_keep_the_command_alive(engine: str, tmp_path: Path) -> None:
    place = tmp_path / "job.py"
    place.write_text(
        HEAD.replace("{more}", "").replace("partition=3.0", "partition=0.3")
        + "def s(x, p):\n    import threading\n    threading.Event().wait()\n"
    )
    command = [
        sys.executable,
        "-m",
        "windrow",
        "run",
        str(place),
        "--store",
        str(tmp_path / "t.db"),
        "--engine",
        engine,
        "--quiet",
    ]
    assert subprocess.run(command, timeout=15, check=False).returncode == 3


def test_a_neighbour_is_not_blamed_with_few_deaths(tmp_path: Path) -> None:
    scrape = "import os, signal, asyncio\nasync def s(x, p):\n    if p.key == 'a':\n        os.kill(os.getpid(), 11)\n    await asyncio.sleep(0.05)\n    yield {'id': p.key}\n".replace(
        "import os, signal, asyncio\n", ""
    )
    scrape = scrape.replace("    if", "    import os, asyncio\n    if")
    _, reasons, _ = go(tmp_path, scrape, more=", deaths=2", sessions=2)
    assert reasons["b"][0] == "done", reasons


# B
def test_own_columns_are_reserved_in_any_case() -> None:
    with pytest.raises(InvalidRecord):
        PLAIN.row({"id": "1", "_RUN": 5})


@dataclass
class Thing:
    id: str
    weight: float


def test_an_instance_of_a_dataclass_is_checked() -> None:
    with pytest.raises(InvalidRecord, match="weight"):
        record_type(Thing, "id").row(Thing("a", "heavy"))  # type: ignore[arg-type]


def test_what_a_model_cannot_write_is_an_invalid_record() -> None:
    class Loose(BaseModel):
        id: str
        x: Any = None

    with pytest.raises(InvalidRecord):
        record_type(Loose, "id").row({"id": "a", "x": object()})


def test_extra_fields_of_a_model_are_checked_like_columns() -> None:
    class Open(BaseModel, extra="allow"):
        id: str
        name: str

    for extra in ({"_run": 5}, {"NAME": "y"}, {"": 1}):
        with pytest.raises(InvalidRecord):
            record_type(Open, "id").row({"id": "a", "name": "x", **extra})


def test_typing_typed_dict_says_what_to_use() -> None:
    class Old(typing.TypedDict):
        id: str

    if sys.version_info < (3, 12):
        with pytest.raises(JobError, match=r"typing_extensions\.TypedDict"):
            record_type(Old, "id")


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "stored"), [(Decimal("1.50"), "1.50"), (Colour.RED, "red"), (UUID(int=5), str(UUID(int=5)))]
)
def test_a_value_that_is_one_text_is_stored_without_quotes(value: object, stored: str) -> None:
    assert PLAIN.row({"id": "1", "x": value})["x"] == stored


@pytest.mark.parametrize("key", [5, None])
def test_a_key_of_no_name(key: Any) -> None:
    with pytest.raises(JobError):
        record_type(None, key)


# C
@pytest.mark.parametrize("key", ["a--", "a- b", "a''"])
def test_doubled_separators_are_not_found(key: str) -> None:
    assert prefixes("ab -'").find(key) is None


def test_the_byte_is_the_files(tmp_path: Path) -> None:
    place = tmp_path / "a.csv"
    place.write_bytes(b"id\n" + b"a" * 20_000 + b"\xff\n")
    with pytest.raises(SettingError, match="byte 20003"):
        list(rows(place, key="id").plan())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'id\n"' + "a" * 200_000 + '"\n'),
        ("a.jsonl", '{"id": ' + "1" * 5000 + "}"),
        ("a.jsonl", "[" * 100_000),
        ("a.jsonl", '{"id": "\\ud800"}'),
    ],
    ids=["cell", "number", "deep", "surrogate"],
)
def test_an_odd_file_is_wrong_usage(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError):
        list(rows(tmp_path / name, key="id").plan())


# D
def refused(tmp_path: Path, source: str) -> str:
    (tmp_path / "job.py").write_text(source)
    with pytest.raises(JobError) as error:
        load_job(str(tmp_path / "job.py"))
    return str(error.value)


@pytest.mark.parametrize(
    "source",
    [
        "\nfrom windrow import *\nPace(-1)\n",
        "\nimport json\njson.loads('x')\n",
        "\nfrom windrow import *\nprefixes('')\n",
    ],
    ids=["setting", "library", "job error"],
)
def test_the_line_is_the_jobs(source: str, tmp_path: Path) -> None:
    assert f"{tmp_path / 'job.py'}, line 3" in refused(tmp_path, source)


def test_null_bytes_name_the_file(tmp_path: Path) -> None:
    assert str(tmp_path / "job.py") in refused(tmp_path, "x = '\0'\n")


def test_a_run_at_the_end_of_a_module_ends_the_loading_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_of_a_job.py").write_text(
        HEAD.replace("{more}", "")
        + "async def s(x, p):\n    yield {'id': p.key}\nimport windrow\nwindrow.run(job, engine='sequential')\n"
    )
    monkeypatch.chdir(tmp_path)
    load_job("module_of_a_job")
    assert not (tmp_path / "things.db").exists(), "loading ran it"


# E
LOOK = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 FROM windrow_meta'); c.close()"


def test_a_refused_second_writer_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_for_writing(str(path)) as database, database.connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM windrow_meta")
        connection.rollback()
        with pytest.raises(StoreError), open_for_writing(str(path)):
            pass
        subprocess.run([sys.executable, "-c", LOOK, str(path)], check=True)
        assert path.with_name("things.db-wal").exists(), "the log was deleted under the writer"


def test_a_store_by_another_name_is_the_same_store(tmp_path: Path) -> None:
    path, alias = tmp_path / "things.db", tmp_path / "alias.db"
    with open_for_writing(str(path)):
        alias.symlink_to(path)
        with pytest.raises(StoreError, match="is writing to this store"), open_for_writing(str(alias)):
            pass


def test_a_retry_knows_what_its_run_found_though_another_job_ran_since(tmp_path: Path) -> None:
    source = """
from windrow import *
job = Job("NAME", key="id", partitions=values(["a"]), limits=Limits(attempts=1), parameters={"good": False})
@job.scrape
async def scrape(session, partition):
    if partition.key == "a":
        partition.reports(2)
        partition.split(["x", "y"])
    elif partition.key == "y" and not session.parameters["good"]:
        raise ValueError("not yet")
    else:
        yield {"id": partition.key}
"""
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(source.replace("NAME", name))
    store = str(tmp_path / "both.db")
    good = {"good": "true"}
    assert (
        run(RunOptions(job=str(tmp_path / "first.py"), store=store, engine="sequential")).outcome is Outcome.INCOMPLETE
    )
    run(RunOptions(job=str(tmp_path / "second.py"), store=store, engine="sequential", parameters=good))
    result = retry(RunOptions(job=str(tmp_path / "first.py"), store=store, engine="sequential", parameters=good), ())
    assert result.outcome is Outcome.COMPLETE, result


def test_a_worker_that_has_ended_well_is_not_taken_for_dead(tmp_path: Path) -> None:
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        go(
            folder,
            "async def s(x, p):\n    yield {'id': p.key}\n",
            workers=2,
            sessions=2,
        )
        with closing(sqlite3.connect(folder / "things.db")) as c:
            assert c.execute("select count(*) from windrow_workers").fetchone()[0] == 2, "one was replaced"
