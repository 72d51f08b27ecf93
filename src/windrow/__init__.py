"""Windrow: partitioned, parallel web scraping.

Write one function that scrapes one partition of the work with one session of its own; Windrow runs it over all
partitions in parallel, politely, and every record lands exactly once.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from windrow.errors import Blocked, FetchFailed, Gone, PageError, Refused, UsageError, WindrowError
from windrow.job import Job, Limits, Pace
from windrow.partitions import Partition, prefixes, rows, values
from windrow.session import BlockingSession, Element, Form, Page, Session
from windrow.worker import BlockingPartition, LeasedPartition

if TYPE_CHECKING:
    from windrow.app import run_job as run

__version__ = version("windrow")

__all__ = [
    "Blocked",
    "BlockingPartition",
    "BlockingSession",
    "Element",
    "FetchFailed",
    "Form",
    "Gone",
    "Job",
    "LeasedPartition",
    "Limits",
    "Pace",
    "Page",
    "PageError",
    "Partition",
    "Refused",
    "Session",
    "UsageError",
    "WindrowError",
    "prefixes",
    "rows",
    "run",
    "values",
]


def __getattr__(name: str) -> Any:
    """`windrow.run` loads the database library, which a worker process and a job file do without."""
    if name == "run":
        from windrow.app import run_job

        return run_job
    raise AttributeError(f"module 'windrow' has no attribute {name!r}")
