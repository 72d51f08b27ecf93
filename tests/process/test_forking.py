"""Workers that are forked, beside those that are interpreters: one must not be told from the other.

Each test runs a script, since what runs tests has threads and open files, so that nothing is forked there.
"""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from tests.support.scripts import Way, run_script

WAYS = pytest.mark.parametrize("way", ["forked", "interpreters"])


def said(folder: Path, text: str, way: Way = "forked") -> list[str]:
    """The lines that a script prints; it must say nothing on standard error."""
    out, err, code = run_script(folder, text, way)
    assert (err, code) == ("", 0)
    return out.splitlines()


# Which way is taken

WHICH_WAY = """
    import ctypes, os, sys, threading
    from tests.support import mapped
    from windrow.mapping import api as windrow

    def ways():
        return set(windrow.map(mapped.way, range(4), workers=2))
"""

REASONS = {
    "nothing": "print(ways())",
    "after other maps": "print(set().union(*[ways() for _ in range(20)]))",
    "a thread": """
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    print(ways())
    gate.set()
    """,
    "a thread of a C library": """
    library = ctypes.CDLL(None)
    library.pthread_create(ctypes.byref(ctypes.c_ulong()), None, library.pause, None)
    print(ways())
    """,
    "another thread calls": """
    thread = threading.Thread(target=lambda: print(ways()))
    thread.start()
    thread.join()
    """,
    "workers that are up": """
    with windrow.Workers(1) as crew:
        crew.submit(len, "abc").result()
        print(ways())
    """,
    "workers that were closed": """
    with windrow.Workers(1) as crew:
        list(crew.map(len, ["abc"]))
    print(ways())
    """,
    "an open file": """
    with open(sys.argv[0]):
        print(ways())
    """,
    "a connection": """
    import socket
    ends = socket.socketpair()
    print(ways())
    """,
    "a pool that has ended": """
    import multiprocessing
    with multiprocessing.Pool(2) as pool:
        pool.map(abs, range(4))
    pool.join()
    print(ways())
    """,
    "a device": """
    with open(os.devnull):
        print(ways())
    """,
    "an exception being handled": """
    try:
        raise LookupError
    except LookupError:
        print(ways())
    """,
    "a debugger": """
    sys.settrace(lambda *_: None)
    print(ways())
    """,
    "a profiler": """
    sys.setprofile(lambda *_: None)
    print(ways())
    """,
    "its own standard output": """
    with open(1, "w", closefd=False) as sys.stdout:
        print(ways())
    """,
    "no standard input": """
    os.close(0)
    print(ways())
    """,
    "more workers than begin at once": "print(set(windrow.map(mapped.way, [1], workers=33)))",
    "too many workers": "print(set(windrow.map(mapped.way, [1] * 33, workers=33, chunk=33)))",
    "a function that an interpreter could not find in the script": """
    if sys.argv:
        def own(item):
            return mapped.way(item)
    print(set(windrow.map(own, range(4), workers=2)))
    """,
    "a function of the script": """
    def own(item):
        return mapped.way(item)
    print(set(windrow.map(own, range(4), workers=2)))
    """,
    "a callable of the script": """
    class Own:
        def __call__(self, item):
            return mapped.way(item)
    print(set(windrow.map(Own(), range(4), workers=2)))
    """,
}
FORKED = {
    "a pool that has ended",
    "a device",
    "workers that were closed",
    "nothing",
    "after other maps",
    "a function of the script",
    "a callable of the script",
    "more workers than begin at once",
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_worker_is_forked_only_where_nothing_speaks_against_it(tmp_path: Path, reason: str) -> None:
    script = textwrap.dedent(WHICH_WAY) + textwrap.dedent(REASONS[reason])
    assert said(tmp_path, script) == [str({"forked"} if reason in FORKED else {"interpreter"})]


def test_what_was_handed_down_to_the_program_is_no_reason(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        out, err, code = run_script(tmp_path, textwrap.dedent(WHICH_WAY) + "print(ways())", pass_fds=(reading, writing))
    finally:
        os.close(reading)
        os.close(writing)
    assert (out, err, code) == ("{'forked'}\n", "", 0)


# What must be the same


@pytest.mark.chaos
@WAYS
def test_one_killer_among_a_hundred_thousand_items(tmp_path: Path, way: Way) -> None:
    script = """
        import os
        from tests.support import mapped
        from windrow.mapping.api import map

        def work(number):
            if number == 50_000:
                os._exit(1)
            return number + 1

        results = list(map(work, range(100_000), workers=4, errors="return"))
        failed = [result for result in results if not result.ok]
        print([result.value for result in results if result.ok] == [n + 1 for n in range(100_000) if n != 50_000])
        print([(result.item, str(result.error)) for result in failed])
        print(set(map(mapped.way, range(4), workers=2)))
    """
    assert said(tmp_path, script, way) == [
        "True",
        "[(50000, 'its worker process ended with exit code 1 while it ran')]",
        str({"forked" if way == "forked" else "interpreter"}),
    ]


@pytest.mark.chaos
def test_who_takes_the_place_of_a_forked_worker_finds_the_function(tmp_path: Path) -> None:
    script = """
        from tests.support import mapped
        from windrow.mapping.api import map

        def work(number):
            return mapped.leave_at_seven(number) and mapped.way()

        print([result.value for result in map(work, [1, 7, 2], workers=1, chunk=1, errors="return")])
    """
    assert said(tmp_path, script) == ["['forked', None, 'interpreter']"]


@pytest.mark.chaos
@WAYS
def test_an_item_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path, way: Way) -> None:
    child = tmp_path / "child"
    script = f"""
        from tests.support import mapped
        from tests.support.scripts import is_alive, until
        from windrow.mapping.api import map
        (result,) = map(mapped.stuck_with_child, [{str(child)!r}], errors="return", timeout=1.0)
        print(type(result.error).__name__)
        pid = int(open({str(child)!r}).read())
        until(lambda: not is_alive(pid))
    """
    assert said(tmp_path, script, way) == ["TimedOut"]


@WAYS
def test_a_worker_holds_only_what_is_its_own(tmp_path: Path, way: Way) -> None:
    """Its pipe and its lifeline; an interpreter maps its standing from a descriptor."""
    script = """
        from tests.support import mapped
        from windrow.mapping.api import map
        for held in map(mapped.descriptors, [1] * 4, workers=4, assign="static"):
            print(*sorted(set(held)))
    """
    reading, writing = os.pipe()
    try:
        out, err, _ = run_script(tmp_path, script, way, pass_fds=(reading, writing))
    finally:
        os.close(reading)
        os.close(writing)
    own = "/dev/null pipe socket" if way == "forked" else "/dev/null /memfd pipe socket"
    assert (out.splitlines(), err) == ([own] * 4, "")


def test_what_the_caller_has_left_open_cannot_be_taken_for_something_else(tmp_path: Path) -> None:
    """`multiprocessing` keeps a pipe to a process of its own, and writes to it whenever memory is shared."""
    script = """
        from tests.support import mapped
        from windrow.mapping.api import map
        mapped.shared(0)
        print(list(map(mapped.shared, [1, 2], workers=2)))
    """
    assert said(tmp_path, script) == ["[('forked', 1), ('forked', 2)]"]


@WAYS
def test_nothing_is_printed_twice(tmp_path: Path, way: Way) -> None:
    script = """
        import sys
        from tests.support import mapped
        from windrow.mapping.api import map
        if __name__ == "__main__":
            print("before", end=" ")
            sys.stderr.write("complaint ")
            for _ in map(mapped.end, ["kill", *"abcd"], workers=3, chunk=1, errors="return"):
                print("value", end=" ")
            print("after")
    """
    out, err, _ = run_script(tmp_path, script, way)
    assert (out, err) == ("before " + "value " * 5 + "after\n", "complaint ")


@WAYS
def test_what_ends_the_caller_is_not_done_by_a_worker(tmp_path: Path, way: Way) -> None:
    script = """
        import atexit, contextlib, weakref
        from tests.support import mapped
        from windrow.mapping.api import map

        class Thing:
            def __del__(self):
                print("a thing is gone")

        @contextlib.contextmanager
        def shown():
            try:
                yield
            finally:
                print("left")

        if __name__ == "__main__":
            atexit.register(print, "the end")
            thing = Thing()
            cycle = Thing()
            cycle.itself = cycle
            del cycle
            with shown():
                results = list(map(mapped.end, ["a", "sys.exit", "b"], workers=2, errors="return"))
                results += list(map(mapped.collected, [1, 2], workers=2, errors="return"))
            print([result.ok for result in results])
    """
    out = said(tmp_path, script, way)
    assert sorted(out) == sorted(
        ["left", "[True, False, True, True, True]", "the end", "a thing is gone", "a thing is gone"]
    )


@WAYS
def test_random_numbers_differ_between_workers(tmp_path: Path, way: Way) -> None:
    script = """
        import random
        from tests.support import mapped
        from windrow.mapping.api import map
        random.seed(1)
        drawn = list(map(mapped.drawn, [0.2] * 3, workers=3, assign="static"))
        print(len({pid for pid, _ in drawn}), len({number for _, number in drawn} | {random.random()}))
    """
    assert said(tmp_path, script, way) == ["3 4"]


@WAYS
def test_signals_input_and_group_are_the_workers_own(tmp_path: Path, way: Way) -> None:
    script = """
        import signal, sys
        from tests.support import mapped
        from windrow.mapping.api import map
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            (result,) = map(mapped.hit_by, [number], workers=1, errors="return")
            print(result.value, result.error)
        print(sys.stdin.readline(), list(map(mapped.all_of_stdin, [1], workers=1)), sys.stdin.readline())
        print(list(map(mapped.leads_its_group, [1], workers=1)))
    """
    (tmp_path / "input").write_text("first\nsecond\n" + 20_000 * "more than the caller has read ahead\n")
    with open(tmp_path / "input") as lines:
        out, err, _ = run_script(tmp_path, script, way, stdin=lines)
    assert err == ""
    assert out.splitlines() == [
        "None its worker process was ended by signal 15 (SIGTERM) while it ran",
        "True None",
        "None KeyboardInterrupt: ",
        "first",
        " [''] second",
        "",
        "[True]",
    ]


@WAYS
def test_the_traceback_is_that_of_the_function(tmp_path: Path, way: Way) -> None:
    script = """
        from tests.support import mapped
        from windrow.mapping.api import map
        (result,) = map(mapped.inverse, [0], workers=1, errors="return")
        print(*[line.strip() for line in result.traceback.splitlines() if "File" not in line], sep="; ")
    """
    (line,) = said(tmp_path, script, way)
    assert line.startswith("Traceback (most recent call last):; return 1 / number; ")
    assert line.endswith("ZeroDivisionError: division by zero")


def test_a_map_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    script = """
        import os
        from tests.support import mapped
        from windrow.mapping.api import map
        for _ in range(3):
            with map(mapped.double, range(10_000), workers=4) as values:
                print(next(values))
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            print("no child is left")
        print(len(os.listdir("/proc/self/fd")))
    """
    assert said(tmp_path, script) == ["0", "0", "0", "no child is left", "4"]


def test_idle_workers_do_not_keep_others_from_starting(tmp_path: Path) -> None:
    """On one core: two are forked for two items, which static lists give to the second and the fourth worker."""
    script = """
        import os
        from tests.support import mapped
        from windrow.mapping.api import map
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(list(map(mapped.way, [1, 2], workers=4, assign="static")))
    """
    assert said(tmp_path, script) == ["['forked', 'interpreter']"]


def test_workers_of_a_map_that_does_not_get_to_begin_are_ended(tmp_path: Path) -> None:
    script = """
        import os
        from windrow.clock import SystemClock
        from windrow.mapping.execution import Recipe
        from windrow.mapping.supervisor import Supervisor
        supervisor = Supervisor(2, "processes", SystemClock(), daemon=True)
        supervisor.fork(2, Recipe(len))
        print(os.waitpid(-1, os.WNOHANG))
        supervisor.abandon()
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            print("no child is left")
        print(len(os.listdir("/proc/self/fd")))
    """
    assert said(tmp_path, script) == ["(0, 0)", "no child is left", "4"]


@WAYS
def test_the_garbage_collector_is_as_it_was(tmp_path: Path, way: Way) -> None:
    script = """
        import gc
        from windrow.mapping.api import map
        from tests.support import mapped
        print(gc.isenabled(), list(map(mapped.collects, [1], workers=1)), gc.isenabled())
    """
    assert said(tmp_path, script, way) == ["True [True] True"]
