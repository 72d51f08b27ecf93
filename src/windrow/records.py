"""Record types: from what a scrape function yields to the columns of a row.

A record is anything pydantic can validate (a model, a dataclass, a TypedDict), or a plain dict. `RecordType.row` turns
one into a flat mapping of column to a value the store can hold: text, integer, real, boolean, None; whatever is nested
becomes JSON text and dates become ISO 8601 text.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from windrow.errors import JobError, WindrowError

Value = str | int | float | bool | None
Row = dict[str, Value]

OWN_COLUMNS = ("_partition", "_run", "_first_seen", "_last_seen")
LARGEST_INTEGER = 2**63 - 1
MOST_COLUMNS = 1_000
KEY_SEPARATOR = "\x1f"


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    BOOLEAN = "boolean"
    JSON = "json"


class InvalidRecord(WindrowError):
    """A record that does not fit its type; the text says where and why."""


@dataclass(frozen=True, slots=True)
class RecordType:
    """How records of one job are checked and laid out.

    `columns` maps column to kind in order of declaration; it is empty for plain dicts, whose columns come as they come.
    """

    key: tuple[str, ...]
    columns: Mapping[str, Kind]
    adapter: TypeAdapter[Any] | None

    def row(self, record: object, clean: Callable[[str], str] = str) -> Row:
        """Validate `record` and flatten it. Raises InvalidRecord with the reason, in which `clean` made each value."""
        row = {
            # What nearly every value is needs no look at what else it might be.
            str.__str__(name): value if type(value) is str and value.isascii() else _storable(name, value)
            for name, value in self._fields(record, clean).items()
        }
        for name in self.key:
            if row.get(name) in (None, ""):
                raise InvalidRecord(f"the key column {name!r} is empty")
        return row

    def key_of(self, row: Mapping[str, Any]) -> str:
        """The text that identifies a row within its job."""
        if len(self.key) == 1:
            return str(row[self.key[0]])
        return KEY_SEPARATOR.join(str(row[name]) for name in self.key)

    def _fields(self, record: object, clean: Callable[[str], str]) -> Mapping[str, Any]:
        if self.adapter is None:
            if not isinstance(record, Mapping):
                raise InvalidRecord(f"a dict is needed, not {type(record).__name__} (the job has record=None)")
            _check_names(record)
            return record
        if dataclasses.is_dataclass(record) and not hasattr(record, "__pydantic_fields__"):
            # pydantic takes an instance of a plain dataclass as it is, unchecked.
            record = {each.name: getattr(record, each.name) for each in dataclasses.fields(record)}
        try:
            value = self.adapter.validate_python(record)
            dumped = self.adapter.dump_python(value, mode="json")
        except ValidationError as error:
            raise InvalidRecord("; ".join(_explain(error, clean))) from error
        except (PydanticSerializationError, RecursionError) as error:
            raise InvalidRecord(f"cannot be stored: {error}") from error
        fields: Mapping[str, Any] = dumped
        if not fields.keys() <= self.columns.keys():
            _check_names(fields)
        return fields


def record_type(declared: type | None, key: str | tuple[str, ...]) -> RecordType:
    """The RecordType of a declared type (None for plain dicts) and its key column or columns.

    Raises JobError for a type without fields, a key that is no column, or a column name that is reserved.
    """
    names = (key,) if isinstance(key, str) else tuple(key) if isinstance(key, tuple | list) else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise JobError(f"key must name a column, or be a tuple of column names, not {key!r}")
    if declared is None:
        return RecordType(names, {}, None)
    columns = {name: _kind(hint) for name, hint in _hints(declared).items()}
    for name in names:
        if name not in columns:
            raise JobError(
                f"the key {name!r} is no column of {declared.__name__}; its columns are {', '.join(columns)}"
            )
    try:
        _check_names(columns)
    except InvalidRecord as error:
        raise JobError(f"{declared.__name__}: {error}") from error
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(declared)
    except PydanticUserError as error:
        raise JobError(f"{declared.__name__}: pydantic cannot check it: {error.message}") from error
    return RecordType(names, columns, adapter)


def kind_of(value: Value) -> Kind:
    """The kind of column a value of a plain dict asks for."""
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, int):
        return Kind.INTEGER
    return Kind.REAL if isinstance(value, float) else Kind.TEXT


def raw_text(record: object, longest: int = 20_000, clean: Callable[[str], str] = str) -> str:
    """`record` as JSON where that works, else as Python writes it: how an invalid record is kept.

    `clean` is given the whole text: of what was cut nobody could tell that it was a secret.
    """
    try:
        text = msgspec.json.encode(record, enc_hook=str).decode()
    except (TypeError, ValueError, RecursionError):
        try:
            text = repr(record)
        except RecursionError:
            text = f"<{type(record).__name__}, nested too deeply to be shown>"
    return clean(text)[:longest]


def _hints(declared: type) -> dict[str, Any]:
    if isinstance(declared, type) and issubclass(declared, BaseModel):
        computed = {name: field.return_type for name, field in declared.model_computed_fields.items()}
        return {name: field.annotation for name, field in declared.model_fields.items()} | computed
    try:
        hints = get_type_hints(declared)
    except (TypeError, NameError) as error:
        raise JobError(f"record={declared!r} is no type with fields: {error}") from error
    if not hints:
        raise JobError(f"record={declared!r} has no fields; give a pydantic model, a dataclass or a TypedDict")
    return hints


def _kind(hint: Any) -> Kind:
    alternatives = [h for h in _alternatives(hint) if h is not type(None)]
    if len(alternatives) != 1:
        return Kind.TEXT if all(_kind(h) is Kind.TEXT for h in alternatives) else Kind.JSON
    plain = alternatives[0]
    if hasattr(plain, "__metadata__"):
        return _kind(plain.__origin__)
    if get_origin(plain) is not None or not isinstance(plain, type):
        return Kind.JSON
    for kind, bases in _KINDS:
        if issubclass(plain, bases):
            return kind
    return Kind.JSON


_KINDS: tuple[tuple[Kind, tuple[type, ...]], ...] = (
    (Kind.BOOLEAN, (bool,)),
    (Kind.INTEGER, (int,)),
    (Kind.REAL, (float,)),
    (Kind.TEXT, (str, datetime, date, time)),
)


def _alternatives(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        for inner in get_args(hint):
            yield from _alternatives(inner)
    else:
        yield hint


def _storable(name: str, value: Any) -> Value:
    if isinstance(value, str):
        # Parsers return texts of classes of their own, which cannot cross a pipe.
        return str.__str__(value) if value.isascii() else _encodable(name, str.__str__(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int):
        number = int.__int__(value)
        if abs(number) > LARGEST_INTEGER:
            raise InvalidRecord(f"{name}: {number} does not fit a 64-bit integer; make it a text")
        return number
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    try:
        text = msgspec.json.encode(value, enc_hook=_plain).decode()
        # What JSON writes as one text (a Decimal, an Enum, a UUID) is stored as that text.
        return str(msgspec.json.decode(text)) if text.startswith('"') else text
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRecord(f"{name}: cannot be stored: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"a {type(value).__name__} is no JSON")


def _encodable(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRecord(f"{name}: holds half a character (a lone surrogate) at {error.start}") from error
    return value


def _check_names(names: Mapping[Any, Any]) -> None:
    if len(names) > MOST_COLUMNS:
        raise InvalidRecord(f"{len(names)} columns are more than the {MOST_COLUMNS} a record may have")
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise InvalidRecord(f"{name!r} cannot name a column")
        _encodable(repr(name), name)
        if name.casefold() in OWN_COLUMNS:
            raise InvalidRecord(f"the column name {name!r} is reserved for Windrow's own")
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise InvalidRecord(f"the columns {other!r} and {name!r} differ only in case")


def _explain(error: ValidationError, clean: Callable[[str], str]) -> Iterator[str]:
    for detail in error.errors(include_url=False, include_context=False):
        place = ".".join(map(str, detail["loc"])) or "record"
        yield f"{place}: {detail['msg']} (got {raw_text(detail.get('input'), 200, clean)})"
