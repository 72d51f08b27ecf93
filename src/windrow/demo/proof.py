"""What a run has stored, compared with what the replica of the site holds: counted field by field.

The replica tells the truth (`/__truth__`) and what it was asked (`/__stats__`); neither is known to the job. The demo
shows this proof, and the tests of whole runs rely on it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from windrow.demo.annuaire.people import TABS
from windrow.records import Row
from windrow.store.reader import open_reader

TABLE = "professionals"
KEY = "rpps"
MOST_DIFFERENCES = 10
LONGEST_TEXT = 120

Differences = Iterator[tuple[str, Any, Any]]


class _Absent:
    """What one side does not have at all, which is not the same as an empty value."""

    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was compared, and what of it differs. Each number was counted; none is taken from the run's own books.

    expected, found: people of the site, and those of them in the store. extra: people the site does not hold.
    duplicates: rows of the store beyond the first for the same person.
    tabs, fields: how many were compared; a field is one text, a cell of a table included. `wrong_…`: that differ.
    overlapping: requests that came while the same session had another one in flight. wrong_tokens: requests with
    another session's token or none. no_selection: detail pages that the site answered with nobody on them.
    tabs_served: tabs that the site served. fetched_again: those of them that it had served before.
    differences: the first of what differs, one line each.
    """

    expected: int
    found: int
    extra: int
    duplicates: int
    tabs: int
    wrong_tabs: int
    fields: int
    wrong_fields: int
    overlapping: int
    wrong_tokens: int
    no_selection: int
    tabs_served: int
    fetched_again: int
    differences: tuple[str, ...] = field(default=())

    @property
    def missing(self) -> int:
        """People of the site that are not in the store."""
        return self.expected - self.found

    @property
    def is_exact(self) -> bool:
        """Whether the store holds what the site holds: everybody, nobody else, nobody twice, each field the same."""
        return not (self.missing or self.extra or self.duplicates or self.wrong_fields or self.wrong_tabs)

    @property
    def is_isolated(self) -> bool:
        """Whether no session was disturbed: one request at a time, with its own token, about the person it chose."""
        return not (self.overlapping or self.wrong_tokens or self.no_selection)

    @property
    def holds(self) -> bool:
        """Whether all of it is proven."""
        return self.is_exact and self.is_isolated


def prove(truth: Mapping[str, Any], statistics: Mapping[str, Any], store: str) -> Proof:
    """Compare the records in `store` with what the site says of itself (`truth()`, `stats()` of a replica).

    Raises StoreError where there is no store, or no records in it.
    """
    people: Mapping[str, Mapping[str, Any]] = truth["people"]
    rows = list(_stored(store))
    return compare(people, rows, statistics)


def compare(people: Mapping[str, Mapping[str, Any]], rows: list[Row], statistics: Mapping[str, Any]) -> Proof:
    """`prove`, for rows that were read already: column → value, tabs as JSON texts."""
    times = Counter(str(row[KEY]) for row in rows)
    stored = {str(row[KEY]): row for row in rows}
    served = [count for tabs in statistics["tabs"].values() for count in tabs.values()]
    books = _Books()
    for rpps, person in people.items():
        if rpps in stored:
            books.person(rpps, person, stored[rpps])
        else:
            books.differences.append(f"{rpps} is missing")
    extra = stored.keys() - people.keys()
    books.differences.extend(f"{rpps} is unknown to the site" for rpps in sorted(extra))
    books.differences.extend(f"{rpps} is stored {count} times" for rpps, count in times.items() if count > 1)
    return Proof(
        expected=len(people),
        found=len(stored.keys() & people.keys()),
        extra=len(extra),
        duplicates=len(rows) - len(stored),
        tabs=books.tabs,
        wrong_tabs=books.wrong_tabs,
        fields=books.fields,
        wrong_fields=books.wrong_fields,
        overlapping=statistics["overlapping"],
        wrong_tokens=statistics["wrong_tokens"],
        no_selection=statistics["no_selection"],
        tabs_served=sum(served),
        fetched_again=sum(served) - len(served),
        differences=tuple(islice(books.differences, MOST_DIFFERENCES)),
    )


class _Books:
    """Counts while it compares."""

    def __init__(self) -> None:
        self.tabs = self.wrong_tabs = self.fields = self.wrong_fields = 0
        self.differences: list[str] = []

    def person(self, rpps: str, expected: Mapping[str, Any], row: Row) -> None:
        for column, value in expected.items():
            if column in TABS:
                self.tabs += 1
                self.wrong_tabs += not self._is_same(f"{rpps}: {column}", value, _from_json(row.get(column)))
            else:
                self._is_same(f"{rpps}: {column}", value, row.get(column))

    def _is_same(self, place: str, expected: Any, stored: Any) -> bool:
        """Compare text by text."""
        self.fields += sum(1 for _ in _texts(expected))
        found = [
            f"{where}: {_short(right)} expected, {_short(wrong)} stored"
            for where, right, wrong in _differing(place, expected, stored)
        ]
        self.wrong_fields += len(found)
        self.differences.extend(found)
        return not found


def _stored(store: str) -> Iterator[Row]:
    with open_reader(store) as reader:
        columns = reader.record_columns(TABLE)
        for row in reader.records(columns):
            yield dict(zip(columns.names, row, strict=True))


def _texts(value: Any) -> Iterator[Any]:
    """The texts a value is made of; an empty section counts as one, for it has to be empty in the store too."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if not inner:
        yield value
    for each in inner:
        yield from _texts(each)


def _differing(place: str, expected: Any, stored: Any) -> Differences:
    """Where two values differ, as deep as both have the same shape."""
    if isinstance(expected, Mapping) and isinstance(stored, Mapping):
        for name in [*expected, *(name for name in stored if name not in expected)]:
            yield from _differing(f"{place} / {name}", expected.get(name, _ABSENT), stored.get(name, _ABSENT))
    elif isinstance(expected, list) and isinstance(stored, list) and len(expected) == len(stored):
        for number, (right, wrong) in enumerate(zip(expected, stored, strict=True), 1):
            yield from _differing(f"{place} / {number}", right, wrong)
    elif expected != stored:
        yield place, expected, stored


def _from_json(stored: object) -> Any:
    """A tab as it is stored; what is no JSON stays as it is and differs."""
    try:
        return json.loads(stored) if isinstance(stored, str) else stored
    except json.JSONDecodeError:
        return stored


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
