"""A real store with one run in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.bench import Bench
from tests.support.clock import ManualClock
from windrow.store.database import open_for_writing


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def open_bench(tmp_path: Path, clock: ManualClock) -> Iterator[Callable[..., Bench]]:
    """Opens the same store again at each call."""
    with ExitStack() as stack:

        def make() -> Bench:
            bench = Bench(stack.enter_context(open_for_writing(str(tmp_path / "things.db"))), clock)
            stack.callback(bench.close)
            return bench

        yield make


@pytest.fixture
def bench(open_bench: Callable[..., Bench]) -> Bench:
    return open_bench()
