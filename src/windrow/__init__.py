"""Windrow: partitioned, parallel web scraping.

Write one function that scrapes one partition of the work with one session of its own; Windrow runs it over all
partitions in parallel, politely, and every record lands exactly once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windrow.app import run_job as run
    from windrow.errors import Blocked, FetchFailed, Gone, PageError, Refused, UsageError, WindrowError
    from windrow.events import Verdict
    from windrow.export import read
    from windrow.identity import Identity, identities
    from windrow.job import Job, Limits, Pace
    from windrow.mapping.api import ItemFailed, Outcomes, Result, Workers, submit
    from windrow.mapping.api import map as map
    from windrow.partitions import Partition, prefixes, rows, values
    from windrow.session import BlockingSession, Element, Form, Page, Session
    from windrow.worker import BlockingPartition, LeasedPartition

# Without `map`: a star import must not take the built-in one away.
__all__ = [
    "Blocked",
    "BlockingPartition",
    "BlockingSession",
    "Element",
    "FetchFailed",
    "Form",
    "Gone",
    "Identity",
    "ItemFailed",
    "Job",
    "LeasedPartition",
    "Limits",
    "Outcomes",
    "Pace",
    "Page",
    "PageError",
    "Partition",
    "Refused",
    "Result",
    "Session",
    "UsageError",
    "Verdict",
    "WindrowError",
    "Workers",
    "identities",
    "prefixes",
    "read",
    "rows",
    "run",
    "submit",
    "values",
]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first used: `windrow --version` does without an HTTP library, and a worker
    process without a database library."""
    if name == "__version__":
        from importlib.metadata import version

        return version("windrow")
    home = _home(name)
    if home is not None:
        value = getattr(importlib.import_module(f"windrow.{home}"), "run_job" if name == "run" else name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'windrow' has no attribute {name!r}")


def _home(name: str) -> str | None:
    """The module that a public name comes from; None for what is no public name."""
    homes = {
        "errors": {"Blocked", "FetchFailed", "Gone", "PageError", "Refused", "UsageError", "WindrowError"},
        "app": {"run"},
        "events": {"Verdict"},
        "export": {"read"},
        "identity": {"Identity", "identities"},
        "job": {"Job", "Limits", "Pace"},
        "mapping.api": {"ItemFailed", "Outcomes", "Result", "Workers", "map", "submit"},
        "partitions": {"Partition", "prefixes", "rows", "values"},
        "session": {"BlockingSession", "Element", "Form", "Page", "Session"},
        "worker": {"BlockingPartition", "LeasedPartition"},
    }
    return next((home for home, names in homes.items() if name in names), None)
