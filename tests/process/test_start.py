"""What a process of Windrow loads, and how it keeps memory: told by processes of their own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS_PER_PAGE = 20


def said(source: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", source], check=True, capture_output=True, text=True, timeout=60, env=environment
    )
    return done.stdout.strip()


def test_a_supervisor_loads_no_http_library_and_a_worker_no_database_library() -> None:
    tell = "import sys; print([name for name in ('aiohttp', 'sqlalchemy') if name in sys.modules])"
    assert said(f"import windrow.app; from windrow import Job, Page, Session; {tell}") == "['sqlalchemy']"
    assert said(f"import windrow.engines.process_worker, windrow.fetch.http; {tell}") == "['aiohttp']"


PARSING = """
import resource
from selectolax.lexbor import LexborHTMLParser
from windrow.engines.memory import keep_memory_of_pages
keep_memory_of_pages()
page = b"<p class='a'>text <b>more</b></p>" * 20_000
for _ in range(5):
    LexborHTMLParser(page)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    LexborHTMLParser(page)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_the_memory_of_a_page_is_used_again_for_the_next() -> None:
    assert int(said(PARSING)) < FAULTS_PER_PAGE


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_an_allocator_that_the_user_has_tuned_is_left_alone() -> None:
    assert int(said(PARSING, MALLOC_TRIM_THRESHOLD_="131072")) > FAULTS_PER_PAGE
