"""Partitions, and where they come from.

A partition source plans the partitions of a run and says how one of them splits. It is pure: it touches neither the
store nor the network, and is asked again in every process, so it must answer the same each time.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from windrow.errors import JobError, SettingError

_SEPARATORS = " -'"
LONGEST_KEY = 500


@dataclass(frozen=True, slots=True)
class Partition:
    """A unit of work and of isolation. `params` maps names to JSON values: what the scrape function needs to know."""

    key: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.key or len(self.key) > LONGEST_KEY:
            raise JobError(f"a partition's key must have 1 to {LONGEST_KEY} characters, this one has {len(self.key)}")
        if not _is_encodable(self.key):
            raise JobError(f"the partition's key {self.key!r} holds half a character (a lone surrogate)")


def _is_encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


@runtime_checkable
class PartitionSource(Protocol):
    """What a job's `partitions` must offer."""

    def plan(self) -> Iterator[Partition]:
        """The partitions a run starts with, each key once."""

    def find(self, key: str) -> Partition | None:
        """The partition of that key, also one that only a split would create; None where there can be none."""

    def children(self, partition: Partition) -> list[Partition]:
        """What `partition` splits into; empty where it cannot be split further."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Search prefixes that grow by one character at each split. See `prefixes`."""

    alphabet: str
    first: str
    longest: int

    def plan(self) -> Iterator[Partition]:
        return (Partition(letter) for letter in self.first)

    def find(self, key: str) -> Partition | None:
        known = key[:1] in self.first and len(key) <= self.longest and all(c in self.alphabet for c in key[1:])
        doubled = any(a in _SEPARATORS and b in _SEPARATORS for a, b in pairwise(key))
        return Partition(key) if key and known and not doubled else None

    def children(self, partition: Partition) -> list[Partition]:
        prefix = partition.key
        if len(prefix) >= self.longest:
            return []
        return [Partition(prefix + c) for c in self.alphabet if not (c in _SEPARATORS and prefix[-1] in _SEPARATORS)]


def prefixes(alphabet: str, *, first: str | None = None, longest: int = 20) -> Prefixes:
    """Search prefixes: one partition for each character of `first` (default: `alphabet`, without space, - and ').

    Where the scrape function calls `split()`, the prefix hands over to itself followed by each character of
    `alphabet`, up to `longest` characters. Two separators (space, hyphen, apostrophe) never follow each other.
    """
    initial = "".join(c for c in alphabet if c not in _SEPARATORS) if first is None else first
    for name, characters in (("alphabet", alphabet), ("first", initial)):
        if not characters:
            raise JobError(f"prefixes(): {name} is empty")
        if len(set(characters)) != len(characters):
            doubled = sorted({c for c in characters if characters.count(c) > 1})
            raise JobError(f"prefixes(): {name} holds {', '.join(map(repr, doubled))} more than once")
    if longest < 1:
        raise JobError(f"prefixes(): longest must be at least 1, not {longest}")
    return Prefixes(alphabet, initial, longest)


@dataclass(frozen=True, slots=True)
class Listed:
    """Partitions from a list that is read when a run is planned. See `values` and `rows`."""

    read: Callable[[], Iterable[Partition]]
    origin: str

    def plan(self) -> Iterator[Partition]:
        places: dict[str, int] = {}
        for place, partition in enumerate(self.read(), 1):
            if partition.key in places:
                raise SettingError(
                    f"{self.origin}: the key {partition.key!r} stands at place {places[partition.key]} and again at "
                    f"place {place}; each partition needs a key of its own"
                )
            places[partition.key] = place
            yield partition

    def find(self, key: str) -> Partition | None:
        return next((partition for partition in self.plan() if partition.key == key), None)

    def children(self, partition: Partition) -> list[Partition]:
        return []


def values(items: Iterable[object]) -> Listed:
    """One partition for each value; its text is the key and `partition.value` the value as given (JSON values)."""
    kept = list(items)
    return Listed(lambda: (Partition(str(item), {"value": item}) for item in kept), "values()")


def rows(table: str | Path | Iterable[Mapping[str, Any]] | Any, *, key: str) -> Listed:
    """One partition for each row; column `key` names it and the row's cells are its parameters (`partition["city"]`).

    `table` is the path of a .csv or .jsonl file (relative to the folder the command runs in; UTF-8, a BOM is fine),
    an iterable of mappings, or anything with `to_dict("records")` (pandas) or `to_dicts()` (polars).
    Raises SettingError, with the place in the file, for a missing file or column, an empty or a repeated key.
    """
    if isinstance(table, str | Path):
        path = Path(table)
        return Listed(lambda: _partitions(_read_file(path), key, str(path)), str(path))
    found = _as_mappings(table)
    return Listed(lambda: _partitions(found, key, "rows()"), "rows()")


def _as_mappings(table: Any) -> Sequence[Mapping[str, Any]]:
    if hasattr(table, "to_dicts"):
        return list(table.to_dicts())
    if hasattr(table, "to_dict"):
        return list(table.to_dict("records"))
    return list(table)


def _partitions(table: Iterable[Mapping[str, Any]], key: str, origin: str) -> Iterator[Partition]:
    for place, row in enumerate(table, 1):
        if key not in row:
            raise SettingError(f"{origin}: no column {key!r} at row {place}; there are {', '.join(map(str, row))}")
        name = str(row[key] if row[key] is not None else "").strip()
        if not name:
            raise SettingError(f"{origin}: row {place} has an empty {key!r}; every partition needs a key")
        yield Partition(name, {str(column): value for column, value in row.items() if column is not None})


def _read_file(path: Path) -> Iterator[dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix not in {".csv", ".jsonl"}:
        raise SettingError(f"{path}: rows() reads .csv and .jsonl files; pass anything else as a list of mappings")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file) if suffix == ".csv" else _json_lines(path, file)
    except OSError as error:
        raise SettingError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{path}: is not UTF-8 (byte {_first_wrong_byte(path)}); save it as UTF-8") from error
    except csv.Error as error:
        raise SettingError(f"{path}: is no CSV that can be read: {error}") from error


def _first_wrong_byte(path: Path) -> int:
    """The error that reading raises counts from the beginning of some block of the file."""
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _json_lines(path: Path, file: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise SettingError(f"{path}, line {number}: is not JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            raise SettingError(f"{path}, line {number}: cannot be read: {error}") from error
        if not isinstance(row, dict):
            raise SettingError(f"{path}, line {number}: a JSON object is needed, not {type(row).__name__}")
        yield row
