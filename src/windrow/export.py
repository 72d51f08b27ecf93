"""Records for others: a file (CSV, JSON lines, Parquet) or a data frame.

Records are streamed page by page to a temporary file beside the target, which takes its place at the end: a target is
always whole, and an export that fails leaves the former one as it was.

In a CSV file, text that a spreadsheet would take for a formula (`=cmd|…`, `@SUM(…)`) gets an apostrophe in front: what
a site sent must not run on the reader's machine. Plain numbers (`-30.86%`, `+5`) are left alone.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from windrow.clock import iso
from windrow.errors import UsageError
from windrow.records import Kind, Value
from windrow.store.reader import RecordColumns, open_reader

PARQUET_BATCH = 10_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = r"(?:[+-]?\d[\d.,]*(?:[eE][+-]?\d+)?[kKmMbBtT]?%?|-)"
# One or several numbers (`-1.2% 3.4%`, `+33 1 23 45 67 89`), each perhaps with a magnitude (`-1.2B`), or dashes.
_NUMBERS = re.compile(rf"{_NUMBER}(?: {_NUMBER})*")
_OWN_KINDS = MappingProxyType(
    {
        "_partition": Kind.TEXT,
        "_run": Kind.INTEGER,
        "_first_seen": Kind.TEXT,
        "_last_seen": Kind.TEXT,
    }
)

Cells = tuple[Value, ...]
Write = Callable[[Path, RecordColumns, Iterable[Cells], bool], int]


def export(store: str, target: str | Path, table: str | None = None, *, raw: bool = False) -> int:
    """Write all records of a record table of `store` to `target`; how many there were.

    - `target`: a file whose suffix says how: .csv, .jsonl or .parquet. It is replaced if it is there.
    - `table`: the record table; None for that of the run active last.
    - `raw`: leave text in a CSV file as it is, also where a spreadsheet would run it as a formula.

    Fields come in their order of declaration, then `_partition`, `_run`, `_first_seen`, `_last_seen` (ISO 8601, UTC).
    Raises UsageError: a suffix we do not write, a target that cannot be written, a missing store or table, or no
    pyarrow for Parquet.
    """
    path = Path(target)
    write = _writer(path)
    _check_target(path)
    with open_reader(store) as reader:
        columns = reader.record_columns(table)
        with _replacing(path) as part:
            return write(part, columns, map(_with_times, reader.records(columns)), raw)


def check_target(target: Path) -> None:
    """Raises UsageError for what `export` could not write: said before a long run rather than after it."""
    _writer(target)
    _check_target(target)


def read(store: str, table: str | None = None, *, library: str | None = None) -> Any:
    """The records of a store as a data frame.

    - `table`: the record table; None for that of the run active last.
    - `library`: `pandas` or `polars`; None for whichever is installed, pandas first.

    Columns as in `export`; what is kept as JSON comes as lists and dicts. All records are held in memory at once.
    Raises UsageError: a missing store or table, or neither library.
    """
    frames = _frame_library(library)
    with open_reader(store) as reader:
        columns = reader.record_columns(table)
        shape = _shape(columns, _json_value)
        rows = [
            [convert(cell) for convert, cell in zip(shape, cells, strict=True)]
            for cells in map(_with_times, reader.records(columns))
        ]
    if frames.__name__ == "polars":
        return frames.DataFrame(rows, schema=list(columns.names), orient="row", infer_schema_length=None, strict=False)
    return frames.DataFrame(rows, columns=list(columns.names))


def _frame_library(wanted: str | None) -> Any:
    if wanted not in (None, "pandas", "polars"):
        raise UsageError(f"library={wanted!r}: there are 'pandas' and 'polars'")
    for name in ("pandas", "polars") if wanted is None else (wanted,):
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    raise UsageError(f"no {wanted or 'pandas or polars'} is installed: pip install {wanted or 'pandas'}")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet could take `text` for a formula rather than for text or for a number."""
    return text.startswith(_FORMULA_STARTS) and not _NUMBERS.fullmatch(text)


# --- the target ---------------------------------------------------------------------------------------------------


def _writer(path: Path) -> Write:
    writers: dict[str, Write] = {".csv": _write_csv, ".jsonl": _write_json_lines, ".parquet": _write_parquet}
    write = writers.get(path.suffix.lower())
    if write is None:
        raise UsageError(f"{path}: cannot tell the format from its name; it must end in {', '.join(writers)}")
    if write is _write_parquet:
        _parquet_parts()
    return write


def _check_target(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist; make it first")


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of `path` at the end, and goes away if anything is raised."""
    target = path.resolve()  # a symbolic link stays one
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _text_file(path: Path) -> Iterator[IO[str]]:
    with path.open("x", encoding="utf-8", newline="") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _with_times(cells: Cells) -> Cells:
    """Windrow's own last two columns, `_first_seen` and `_last_seen`, as ISO 8601 text."""
    *others, first, last = cells
    return (*others, iso(_seconds(first)), iso(_seconds(last)))


def _seconds(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) else None


# --- CSV ----------------------------------------------------------------------------------------------------------


class _UnixLines:
    """Takes the rows of a csv.writer and ends them by a line feed alone.

    The writer's own line end has to be CR LF: only then does Python 3.11 quote a cell that holds a lone CR.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row[:-2] + "\n")


def _write_csv(path: Path, columns: RecordColumns, records: Iterable[Cells], raw: bool) -> int:
    count = 0
    with _text_file(path) as file:
        writer = csv.writer(_UnixLines(file), lineterminator="\r\n")
        guard = _as_it_is if raw else _guarded
        shape = _shape(columns, _yes_or_no)
        writer.writerow([guard(name) for name in columns.names])
        for cells in records:
            writer.writerow([guard(convert(cell)) for convert, cell in zip(shape, cells, strict=True)])
            count += 1
    return count


def _guarded(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and is_formula(value) else value


def _yes_or_no(kind: Kind) -> Callable[[Value], Any]:
    return (lambda value: str(bool(value)).lower() if _is_flag(value) else value) if kind is Kind.BOOLEAN else _as_it_is


# --- JSON lines ---------------------------------------------------------------------------------------------------


def _write_json_lines(path: Path, columns: RecordColumns, records: Iterable[Cells], raw: bool) -> int:
    count = 0
    with _text_file(path) as file:
        shape = _shape(columns, _json_value)
        for cells in records:
            values = (convert(cell) for convert, cell in zip(shape, cells, strict=True))
            file.write(json.dumps(dict(zip(columns.names, values, strict=True)), ensure_ascii=False) + "\n")
            count += 1
    return count


def _json_value(kind: Kind) -> Callable[[Value], Any]:
    return {Kind.JSON: _decoded, Kind.BOOLEAN: _flag}.get(kind, _finite)


def _decoded(value: Value) -> Any:
    if not isinstance(value, str):
        return _finite(value)
    try:
        return json.loads(value)
    except ValueError:
        return value


def _flag(value: Value) -> Any:
    return bool(value) if _is_flag(value) else value


def _finite(value: Value) -> Value:
    """JSON has no infinite numbers: null, as JavaScript writes them."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- Parquet ------------------------------------------------------------------------------------------------------


def _write_parquet(path: Path, columns: RecordColumns, records: Iterable[Cells], raw: bool) -> int:
    arrow, parquet = _parquet_parts()
    types = {Kind.INTEGER: arrow.int64(), Kind.REAL: arrow.float64(), Kind.BOOLEAN: arrow.bool_()}
    kinds = {**columns.kinds, **_OWN_KINDS}
    schema = arrow.schema([(name, types.get(kinds[name], arrow.string())) for name in columns.names])
    shape = _shape(columns, _parquet_value)
    rows, count = iter(records), 0
    with parquet.ParquetWriter(str(path), schema) as writer:
        while batch := list(islice(rows, PARQUET_BATCH)):
            arrays = [
                _array(arrow, field, [convert(cell) for cell in cells])
                for field, convert, cells in zip(schema, shape, zip(*batch, strict=True), strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            count += len(batch)
    return count


def _array(arrow: Any, field: Any, values: list[Any]) -> Any:
    try:
        return arrow.array(values, type=field.type)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError, OverflowError) as error:
        raise UsageError(
            f"the column {field.name!r} holds other values than {field.type}, which Parquet cannot mix ({error}); "
            "export to .jsonl instead"
        ) from error


def _parquet_value(kind: Kind) -> Callable[[Value], Any]:
    if kind is Kind.BOOLEAN:
        return _flag
    if kind in {Kind.INTEGER, Kind.REAL}:
        return _as_it_is
    return lambda value: None if value is None else str(value)


def _parquet_parts() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow: pip install windrow[parquet]; .csv and .jsonl need nothing") from error
    return pyarrow, pyarrow.parquet


# --- shared -------------------------------------------------------------------------------------------------------


def _shape(columns: RecordColumns, conversion: Callable[[Kind], Callable[[Value], Any]]) -> list[Callable[..., Any]]:
    """How to convert each cell of a record, in the order of the columns."""
    kinds = {**columns.kinds, **_OWN_KINDS}
    return [conversion(kinds[name]) for name in columns.names]


def _is_flag(value: Value) -> bool:
    """SQLite keeps true and false as 1 and 0."""
    return isinstance(value, bool | int) and value in (0, 1)


def _as_it_is(value: Any) -> Any:
    return value
