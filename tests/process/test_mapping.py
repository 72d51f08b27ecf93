"""`windrow.map` and `windrow.submit` with real worker processes, some of which are killed."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import pytest

from tests.support import mapped, mapped_badly
from tests.support.clock import ManualClock
from tests.support.mapped import Page
from tests.support.scripts import WAIT_SECONDS, Way, is_alive, lines, run_script, start_script, until
from windrow.errors import SettingError, StoreError, UsageError
from windrow.mapping import execution
from windrow.mapping.api import Workers, submit
from windrow.mapping.api import map as windrow_map
from windrow.mapping.backlog import Backlog
from windrow.mapping.course import Turn
from windrow.mapping.execution import Part, Recipe, Report
from windrow.mapping.orders import MapOrder, Patience, PortableRecipe
from windrow.mapping.outcomes import (
    CannotTravel,
    ItemFailed,
    NotStorable,
    RemoteError,
    Result,
    TimedOut,
    WorkerDied,
    WorkersUnusable,
)
from windrow.mapping.stretches import BATCH_SECONDS, BatchSize, Stretch
from windrow.mapping.supervisor import Closed

WAYS = pytest.mark.parametrize("way", ["forked", "interpreters"])


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Two processes for all tests that need no fresh ones."""
    with Workers(2) as crew:
        yield crew


def failures(results: list[Result[Any, Any]]) -> list[Result[Any, Any]]:
    return [result for result in results if not result.ok]


# Values


def test_values_come_in_the_order_of_the_items(workers: Workers) -> None:
    assert list(workers.map(mapped.nap, [0.2, 0.0, 0.05, 0.01], chunk=1)) == [0.2, 0.0, 0.05, 0.01]


def test_unordered_values_come_as_they_are_ready(workers: Workers) -> None:
    list(workers.map(mapped.nap, [0.05, 0.05], chunk=1))  # both workers are up
    values = list(workers.map(mapped.nap, [0.5, 0.0, 0.05, 0.01], chunk=1, ordered=False))
    assert sorted(values) == [0.0, 0.01, 0.05, 0.5]
    assert values[-1] == 0.5


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunk", [1, 7, "auto"])
def test_every_item_gives_its_value(workers: Workers, ordered: bool, chunk: Any) -> None:
    values = list(workers.map(mapped.double, range(3_000), ordered=ordered, chunk=chunk))
    assert (values if ordered else sorted(values)) == list(range(0, 6_000, 2))


def test_no_items_give_no_values(workers: Workers) -> None:
    assert list(workers.map(mapped.double, [])) == []
    assert list(workers.map(mapped.double, iter(()), assign="static")) == []


def test_functions_of_many_kinds(workers: Workers) -> None:
    assert list(workers.map(functools.partial(mapped.add, 10), [1, 2])) == [11, 12]
    assert list(workers.map(mapped.add, [(1, 2), (3, 4)], star=True)) == [3, 7]
    assert list(workers.map(mapped.Halver(2).divide, [4])) == [2.0]
    assert list(workers.map(mapped.Halver(4), [4])) == [1.0]
    assert list(workers.map(mapped.measured, [Page("/a"), Page("/bc")])) == [Page("/a", 2), Page("/bc", 3)]
    assert list(workers.map(len, ["abc"])) == [3]


def test_large_items_and_values_go_through(workers: Workers) -> None:
    blobs = [bytes([number]) * 3_000_000 for number in range(6)]
    assert list(workers.map(bytes.swapcase, blobs)) == [blob.swapcase() for blob in blobs]


def test_a_map_may_be_called_in_a_worker(workers: Workers) -> None:
    assert list(workers.map(mapped.mapped_again, [[1, 2], [3]])) == [[2, 4], [6]]


def test_a_value_does_not_wait_for_a_long_item_of_its_batch(workers: Workers) -> None:
    with workers.map(mapped.nap, [0.0, mapped.LONG], chunk=2) as values:
        assert next(values) == 0.0


def test_long_items_among_quick_ones_are_spread_evenly(workers: Workers) -> None:
    list(workers.map(mapped.nap, [0.05, 0.05], chunk=1))  # both workers are up
    owners = list(workers.map(mapped.nap_and_tell, [*[0.0] * 3_000, *[0.06] * 20, *[0.0] * 500]))
    assert min(Counter(owners[3_000:3_020]).values()) >= 5
    assert len(set(owners[3_000:3_020])) == 2


def test_static_assignment_gives_each_worker_one_list() -> None:
    owners = list(windrow_map(mapped.whoever, range(101), workers=3, assign="static"))
    runs = [owners[0]] + [new for old, new in itertools.pairwise(owners) if new != old]
    assert len(runs) == len(set(runs)) == 3
    assert sorted(Counter(owners).values()) == [33, 34, 34]


def test_items_are_read_a_bounded_number_ahead(workers: Workers) -> None:
    read = [0]
    values = workers.map(mapped.double, mapped.counted(read), ahead=50)
    assert [next(values) for _ in range(200)] == list(range(0, 400, 2))
    assert 200 <= read[0] <= 300
    values.close()


def test_an_item_is_run_before_the_next_of_a_slow_source_is_there(workers: Workers, tmp_path: Path) -> None:
    runs = tmp_path / "runs"

    def items() -> Iterator[tuple[str, int]]:
        for number in range(3):
            yield str(runs), number
            until(lambda: str(number) in lines(runs))  # noqa: B023 (called at once)

    assert list(workers.map(mapped.noted, items())) == [0, 10, 20]


# Errors


def test_the_first_failed_item_is_raised_with_its_traceback(workers: Workers) -> None:
    values = workers.map(mapped.inverse, [1, 2, 0, 4])
    assert [next(values), next(values)] == [1.0, 0.5]
    with pytest.raises(ItemFailed, match=r"item 0 failed: ZeroDivisionError") as caught:
        next(values)
    assert caught.value.item == 0
    assert isinstance(caught.value.error, ZeroDivisionError)
    assert "return 1 / number" in (caught.value.traceback or "")
    assert caught.value.__cause__ is caught.value.error
    assert "return 1 / number" in str(caught.value.error.__cause__)


def test_errors_can_be_returned(workers: Workers) -> None:
    results = list(workers.map(mapped.inverse, [1, 0, 4], errors="return"))
    assert [result.ok for result in results] == [True, False, True]
    assert [result.item for result in results] == [1, 0, 4]
    assert results[2].get() == 0.25
    assert results[0].attempts == 1
    with pytest.raises(ZeroDivisionError):
        results[1].get()


def test_seconds_are_those_of_the_item(workers: Workers) -> None:
    quick, slow = workers.map(mapped.nap, [0.0, 0.2], errors="return", chunk=2)
    assert quick.seconds < 0.1 < slow.seconds < 1.0


def test_an_exception_that_does_not_unpickle_still_arrives(workers: Workers) -> None:
    (result,) = workers.map(mapped.picky, [1], errors="return")
    assert isinstance(result.error, RemoteError)
    assert "Picky: this and that" in str(result.error)
    assert "in picky" in (result.traceback or "")


@pytest.mark.parametrize("function", [mapped.unpicklable, mapped.poisonous])
def test_a_value_that_cannot_travel_fails_only_its_item(workers: Workers, function: Callable[[int], Any]) -> None:
    results = list(workers.map(function, range(20), errors="return", chunk=20))
    (failed,) = failures(results)
    assert failed.item == 3
    assert isinstance(failed.error, CannotTravel)
    assert [result.value for result in results if result.ok] == [n for n in range(20) if n != 3]


@pytest.mark.parametrize("item", [lambda: None, mapped.Poisonous()], ids=["pickle", "unpickle"])
def test_an_item_that_cannot_travel_fails_alone(workers: Workers, item: Any) -> None:
    results = list(workers.map(str, [1, item, 3], errors="return", chunk=3))
    assert [result.ok for result in results] == [True, False, True]
    assert isinstance(results[1].error, CannotTravel)


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda item: item, "lambda"),
        (mapped.later, "async"),
        (threading.Lock().acquire, "cannot be sent"),
        (functools.partial(mapped.whoever, threading.Lock()), "cannot be sent"),
        ("double", "function is needed"),
    ],
    ids=["lambda", "async", "lock", "partial", "text"],
)
def test_a_function_that_workers_cannot_have_is_refused_at_once(function: Any, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        windrow_map(function, [1])


def test_a_closure_is_refused_with_what_to_do() -> None:
    def inner(item: int) -> int:
        return item

    with pytest.raises(UsageError, match=r"functools\.partial"):
        windrow_map(inner, [1])


@pytest.mark.parametrize(
    "options",
    [{"chunk": 0}, {"timeout": 0}, {"retries": -1}, {"errors": "ignore"}, {"workers": 0}, {"kind": "x"}, {"key": str}],
    ids=str,
)
def test_an_unusable_option_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        windrow_map(mapped.double, [1], **options)


def test_a_map_that_nobody_iterates_warns() -> None:
    with pytest.warns(RuntimeWarning, match="never taken"):
        windrow_map(mapped.double, [1])


def test_an_error_of_the_source_is_the_callers(workers: Workers) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError):
        list(workers.map(mapped.double, items()))
    assert list(workers.map(mapped.double, [4])) == [8]


# Deaths


@pytest.mark.chaos
@pytest.mark.parametrize(("how", "chunk"), [("kill", 30), ("kill", 1), ("segfault", 30), ("exit", 30), ("close", 30)])
def test_a_function_that_ends_its_process_fails_its_item_alone(workers: Workers, how: str, chunk: int) -> None:
    items = [str(number) for number in range(20)] + [how] + [str(number) for number in range(20, 40)]
    results = list(workers.map(mapped.end, items, errors="return", chunk=chunk))
    (failed,) = failures(results)
    assert failed.item == how
    assert isinstance(failed.error, WorkerDied)
    assert [result.value for result in results if result.ok] == [item for item in items if item != how]


@pytest.mark.chaos
def test_several_killers_among_many_items(workers: Workers) -> None:
    results = list(workers.map(mapped.leave_at_seven, [*range(2_000), 7, *range(8, 500)], errors="return"))
    assert [(r.item, type(r.error)) for r in failures(results)] == [(7, WorkerDied)] * 2
    assert "exit code 3" in str(failures(results)[0].error)
    assert len(results) == 2_493


def test_sys_exit_ends_the_item_and_not_the_worker(workers: Workers) -> None:
    results = list(workers.map(mapped.end, ["a", "sys.exit", "b"], errors="return", chunk=3))
    assert [result.ok for result in results] == [True, False, True]
    assert "SystemExit: 5" in str(results[1].error)


@pytest.mark.chaos
def test_a_worker_killed_from_outside_is_replaced_and_its_item_tried_again(tmp_path: Path) -> None:
    with Workers(1) as crew:
        path = tmp_path / "pids"
        call = crew.submit(mapped.stuck, str(path))
        (pid,) = until(lambda: lines(path))
        os.kill(int(pid), signal.SIGKILL)
        with pytest.raises(WorkerDied, match="SIGKILL"):
            call.result(WAIT_SECONDS)
        assert list(crew.map(mapped.double, [21])) == [42]


def test_workers_that_do_not_begin_to_work_end_the_map() -> None:
    with pytest.raises(WorkersUnusable, match="exit code 9"):
        list(windrow_map(mapped_badly.harmless, range(10), workers=2))


# Time and retries


def test_an_item_that_takes_too_long_is_killed_and_the_others_are_not(workers: Workers) -> None:
    items = [0.0, 0.01, mapped.LONG, 0.02, 0.0]
    results = list(workers.map(mapped.nap, items, errors="return", timeout=0.3, chunk=5))
    (failed,) = failures(results)
    assert failed.item == mapped.LONG
    assert isinstance(failed.error, TimedOut)
    assert isinstance(failed.error, TimeoutError)
    assert [result.value for result in results if result.ok] == [0.0, 0.01, 0.02, 0.0]


def test_what_the_function_started_is_killed_with_its_worker(workers: Workers, tmp_path: Path) -> None:
    path = tmp_path / "child"
    (result,) = workers.map(mapped.stuck_with_child, [str(path)], errors="return", timeout=1.0)
    assert isinstance(result.error, TimedOut)
    (pid,) = lines(path)
    until(lambda: not is_alive(int(pid)))


def test_a_failed_item_is_tried_again(workers: Workers, tmp_path: Path) -> None:
    path = str(tmp_path / "runs")
    (result,) = workers.map(mapped.third_time_lucky, [path], errors="return", retries=2, backoff=0.01)
    assert (result.value, result.attempts) == (3, 3)


def test_retries_come_to_an_end(workers: Workers) -> None:
    results = list(workers.map(mapped.inverse, [1, 0, 2], errors="return", retries=2, backoff=0.01))
    assert [(result.ok, result.attempts) for result in results] == [(True, 1), (False, 3), (True, 1)]


@pytest.mark.chaos
def test_a_killer_is_tried_again_too(workers: Workers) -> None:
    (result,) = workers.map(mapped.end, ["kill"], errors="return", retries=1, backoff=0.01)
    assert (type(result.error), result.attempts) == (WorkerDied, 2)


# Threads


def test_threads_run_any_function() -> None:
    offset = 3
    values = windrow_map(lambda number: number + offset, range(2_000), kind="threads")
    assert list(values) == list(range(3, 2_003))


def test_a_thread_that_takes_too_long_is_left_alone() -> None:
    gate = threading.Event()
    results = windrow_map(
        lambda number: gate.wait(WAIT_SECONDS) if number == 1 else number,
        range(4),
        kind="threads",
        workers=1,
        errors="return",
        timeout=0.2,
        chunk=4,
    )
    outcome = [(result.value, type(result.error)) for result in results]
    gate.set()
    assert outcome == [(0, type(None)), (None, TimedOut), (2, type(None)), (3, type(None))]


# One call


def test_submit_gives_a_future() -> None:
    call = submit(mapped.add, 1, right=2)
    assert call.result(WAIT_SECONDS) == 3


def test_submitted_calls_of_a_crew(workers: Workers) -> None:
    calls = {workers.submit(mapped.double, number): number for number in range(50)}
    assert all(call.result() == 2 * calls[call] for call in as_completed(calls, timeout=WAIT_SECONDS))
    failing = workers.submit(mapped.inverse, 0)
    error = failing.exception(WAIT_SECONDS)
    assert isinstance(error, ZeroDivisionError)
    assert "in inverse" in str(error.__cause__)


def test_leaving_the_context_waits_for_calls_and_an_exception_does_not(tmp_path: Path) -> None:
    with Workers(1) as crew:
        calls = [crew.submit(mapped.nap, 0.01) for _ in range(3)]
    assert [call.result(0) for call in calls] == [0.01] * 3
    with contextlib.suppress(LookupError), Workers(1) as crew:
        call = crew.submit(mapped.stuck, str(tmp_path / "pid"))
        raise LookupError
    with pytest.raises(Closed):
        call.result(WAIT_SECONDS)
    with pytest.raises(Closed):
        crew.submit(mapped.double, 1)


# With a store


def test_what_has_a_result_is_not_run_again(tmp_path: Path) -> None:
    store, runs = tmp_path / "results.db", tmp_path / "runs"
    items = [(str(runs), number) for number in range(50)]
    options: dict[str, Any] = {"workers": 2, "store": store, "key": lambda item: item[1]}
    assert list(windrow_map(mapped.noted, items[:20], **options)) == list(range(0, 200, 10))
    assert list(windrow_map(mapped.noted, items, **options)) == list(range(0, 500, 10))
    assert Counter(lines(runs)) == Counter(str(number) for number in range(50))
    results = list(windrow_map(mapped.noted, items[:2], errors="return", **options))
    assert [(result.value, result.attempts) for result in results] == [(0, 0), (10, 0)]


@pytest.mark.chaos
def test_a_killed_map_goes_on(tmp_path: Path) -> None:
    store, runs = tmp_path / "results.db", tmp_path / "runs"
    script = f"""
        from tests.support import mapped
        from windrow.mapping.api import map
        items = [({str(runs)!r}, number) for number in range(60)]
        for value in map(mapped.noted_and_stuck, items, workers=2, chunk=1, store={str(store)!r}):
            pass
    """
    process = start_script(tmp_path, script)
    until(lambda: len(lines(runs)) == 60)
    until(lambda: stored(store) == 59)
    process.kill()
    process.communicate()
    items = [(str(runs), number) for number in range(60)]
    name = "tests.support.mapped.noted_and_stuck"
    assert list(windrow_map(mapped.noted, items, store=store, name=name)) == list(range(0, 600, 10))
    assert Counter(lines(runs)) == Counter([*map(str, range(60)), "30"])
    assert stored(store) == 60


def stored(store: Path) -> int:
    connection = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM windrow_results").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def test_values_from_a_store_are_what_json_gives_back(workers: Workers, tmp_path: Path) -> None:
    store = tmp_path / "results.db"
    results = list(workers.map(mapped.unstorable, range(5), store=store, errors="return", chunk=5, retries=3))
    (failed,) = failures(results)
    assert (failed.item, type(failed.error), failed.attempts) == (3, NotStorable, 1)
    assert results[0].value == [0, "as a tuple"]
    values: list[Any] = list(workers.map(mapped.page_from_store, [1], store=store))
    assert values == [{"url": "/1", "size": 1}]
    assert stored(store) == 5


def test_items_of_one_key_are_run_once(workers: Workers, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    items = [(str(runs), number % 3) for number in range(30)]
    values = list(workers.map(mapped.noted, items, store=tmp_path / "results.db"))
    assert values == [number % 3 * 10 for number in range(30)]
    assert sorted(lines(runs)) == ["0", "1", "2"]


def test_a_field_may_be_the_key(workers: Workers, tmp_path: Path) -> None:
    store = tmp_path / "results.db"
    list(workers.map(mapped.measured, [Page("/a", 1), Page("/a", 2)], store=store, key="url"))
    assert stored(store) == 1
    with pytest.raises(UsageError, match="no field 'name'"):
        list(workers.map(mapped.measured, [Page("/a")], store=store, key="name"))
    with pytest.raises(UsageError, match="no text that is the same"):
        list(workers.map(mapped.whoever, [object()], store=store))


def test_static_lists_and_a_store(workers: Workers, tmp_path: Path) -> None:
    store = tmp_path / "results.db"
    list(workers.map(mapped.double, range(5, 15), store=store))
    assert list(workers.map(mapped.double, range(20), store=store, assign="static")) == list(range(0, 40, 2))
    assert stored(store) == 20


def test_a_store_has_one_writer_and_must_be_ours(workers: Workers, tmp_path: Path) -> None:
    store = tmp_path / "results.db"
    with workers.map(mapped.double, range(10), store=store) as first:
        next(first)
        with pytest.raises(StoreError, match="is writing"):
            list(workers.map(mapped.double, range(10), store=store))
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        list(workers.map(mapped.double, range(10), store=other))


# Scripts


@WAYS
def test_a_script_needs_no_guard(tmp_path: Path, way: Way) -> None:
    script = """
        from __future__ import annotations
        import enum, sys
        from windrow.mapping import api as windrow

        class Kind(enum.Enum):
            GOOD = "good"

        def twice(number):
            return Kind.GOOD, 2 * number

        print(list(windrow.map(twice, [1, 2], workers=2)) == [(Kind.GOOD, 2), (Kind.GOOD, 4)], flush=True)

        from dataclasses import dataclass
        FACTOR = 3

        @dataclass
        class Box:
            number: int

        def thrice(box: Box) -> Box:
            print("hello from", box.number)
            return Box(FACTOR * box.number)

        print(list(windrow.map(thrice, [Box(5)], workers=1)))
        with windrow.Workers(1) as workers:
            print(workers.submit(thrice, Box(7)).result())
        print(windrow.submit(thrice, Box(1)).result())
    """
    out, err, code = run_script(tmp_path, script, way)
    assert (err, code) == ("", 0)
    assert out.splitlines()[0] == "True"
    assert {"Box(number=15)", "Box(number=21)", "Box(number=3)"} <= {line.strip("[]") for line in out.splitlines()}
    assert out.count("hello from") == 3


@WAYS
def test_what_a_function_printed_is_not_lost_when_its_worker_is_killed(tmp_path: Path, way: Way) -> None:
    script = """
        from tests.support import mapped
        from windrow.mapping.api import map
        with map(mapped.first_or_stuck, ["first", "pids"], workers=1, chunk=1) as values:
            next(values)
    """
    out, err, code = run_script(tmp_path, script, way)
    assert (out, err, code) == ("this is first\n", "", 0)


def test_what_fails_while_a_worker_loads_the_script_is_said(tmp_path: Path) -> None:
    script = """
        import sys
        from windrow.mapping import api as windrow

        if __name__ != "__main__":
            raise OSError("the disk is on fire")

        def twice(number):
            return 2 * number

        list(windrow.map(twice, [1, 2], workers=1))
    """
    _, err, code = run_script(tmp_path, script, "interpreters")
    assert code == 1
    assert "could not load the function" in err
    assert "the disk is on fire" in err


def test_a_function_that_only_the_caller_has_is_named(tmp_path: Path) -> None:
    script = """
        from windrow.mapping import api as windrow

        if __name__ == "__main__":
            def twice(number):
                return 2 * number
            list(windrow.map(twice, [1, 2], workers=1))
    """
    _, err, _ = run_script(tmp_path, script)
    assert "script.py has no twice once a worker has loaded it" in err


def test_a_function_typed_at_a_prompt_is_refused() -> None:
    text = "from windrow.mapping.api import map\ndef f(x): return x\nmap(f, [1])"
    process = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert "typed at a prompt" in process.stderr


def test_progress_is_told_in_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    script = """
        from tests.support import mapped
        from windrow.mapping.api import map
        list(map(mapped.inverse, range(30), workers=1, errors="return", progress=True))
    """
    _, err, code = run_script(tmp_path, script)
    assert code == 0
    assert "tests.support.mapped.inverse: 30 of 30 items, 1 failed" in err


@pytest.mark.chaos
@WAYS
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, way: Way) -> None:
    pids = tmp_path / "pids"
    script = f"""
        from tests.support import mapped
        from windrow.mapping.api import map
        list(map(mapped.stuck, [{str(pids)!r}] * 2, workers=2))
    """
    process = start_script(tmp_path, script, way)
    until(lambda: len(lines(pids)) == 2)
    process.kill()
    killed = time.monotonic()
    until(lambda: not any(is_alive(int(pid)) for pid in lines(pids)))
    assert time.monotonic() - killed < 1.0
    process.communicate()


@pytest.mark.chaos
@WAYS
@pytest.mark.parametrize(
    "call", ["list(map(mapped.stuck, [PATH] * 2, workers=2))", "submit(mapped.stuck, PATH).result()"]
)
def test_ctrl_c_ends_everything_with_one_traceback(tmp_path: Path, call: str, way: Way) -> None:
    pids = tmp_path / "pids"
    script = f"""
        from tests.support import mapped
        from windrow.mapping.api import map, submit
        PATH = {str(pids)!r}
        {call}
    """
    process = start_script(tmp_path, script, way, start_new_session=True)
    until(lambda: len(lines(pids)) == (2 if "map(" in call else 1))
    os.killpg(process.pid, signal.SIGINT)
    interrupted = time.monotonic()
    _, err = process.communicate(timeout=WAIT_SECONDS)
    assert time.monotonic() - interrupted < 2.5
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert not any(is_alive(int(pid)) for pid in lines(pids))


@pytest.mark.chaos
def test_letting_go_of_the_iterator_ends_what_is_run(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    values = windrow_map(mapped.first_or_stuck, ["first", str(pids), str(pids)], workers=2, chunk=1)
    assert next(values) == "first"
    until(lambda: lines(pids))
    del values
    until(lambda: not any(is_alive(int(pid)) for pid in lines(pids)))


# Pure parts


def test_a_batch_grows_while_items_are_quick_and_shrinks_when_they_are_not() -> None:
    size = BatchSize()
    sizes = []
    for _ in range(6):
        size.learn(size.now, size.now * 0.0001, 10)
        sizes.append(size.now)
    assert sizes == [8, 64, 500, 500, 500, 500]
    size.learn(500, 500 * 0.01, 10)
    assert size.now < BATCH_SECONDS / 0.004
    size.learn(1, 10.0, 10)
    assert size.now == 1


def test_a_batch_that_takes_long_is_broken_off() -> None:
    clock = ManualClock()
    parts: list[Part] = []
    report = Report(1, parts.append, clock)
    execution.run(Recipe(clock.forward, seconds=1.0), [0.1, 0.2, 5.0, 0.1], report, [0.0, 0.0, 0.0], 1, clock)
    report.flush(last=True)
    assert [(len(part.values), part.last, round(part.elapsed, 3)) for part in parts] == [(3, True, 5.3)]


def test_items_that_come_few_at_a_time_make_larger_batches() -> None:
    order = MapOrder(1, PortableRecipe(Recipe(len), b"", {}), Patience(), BatchSize(10))
    backlog = Backlog(2)
    for number in range(12):
        backlog.add(order, Stretch(range(number, number + 1), [str(number)]))
    batches = [backlog.take(0), backlog.take(1)]
    assert [list(batch[1].indices) for batch in batches if batch] == [list(range(10)), [10, 11]]
    assert backlog.take(0) is None
    assert not backlog


def test_a_batch_of_heavy_items_stays_small() -> None:
    size = BatchSize()
    for _ in range(6):
        size.learn(1, 1e-6, 500_000)
    assert size.now == 2


def test_outputs_are_put_in_order() -> None:
    turn = Turn()
    assert list(turn.take(range(2, 4), "cd")) == []
    assert list(turn.take([5], "f")) == []
    assert list(turn.take(range(0, 2), "ab")) == ["a", "b", "c", "d"]
    assert list(turn.take([4], "e")) == ["e", "f"]


# The user page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "map.md"
EXAMPLES = [part.partition("```")[0] for part in PAGE.read_text().split("```python\n")[1:]]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_user_page_run(tmp_path: Path, example: str) -> None:
    _, err, code = run_script(
        tmp_path, example.replace("import windrow\n", "from windrow.mapping import api as windrow\n")
    )
    assert (code, "Traceback" in err) == (0, False), err
