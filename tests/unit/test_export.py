"""Exports: what stands in the file, and that a target is always whole."""

from __future__ import annotations

import csv
import importlib.util
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stores import NOW, FilledStore, filled_store
from windrow.clock import iso
from windrow.errors import StoreError, UsageError
from windrow.export import export, is_formula, read
from windrow.records import RecordType, record_type


@dataclass
class Person:
    id: str
    name: str | None
    age: int | None
    score: float | None
    member: bool | None
    facts: dict[str, Any] | None


PERSON = record_type(Person, "id")
PLAIN = record_type(None, "id")
OWN = {"_partition": "a", "_run": 1, "_first_seen": iso(NOW), "_last_seen": iso(NOW)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FilledStore]:
    with filled_store(tmp_path / "people.db") as filled:
        yield filled


def fill(store: FilledStore, *rows: dict[str, Any], record: RecordType = PERSON) -> None:
    store.run(record=record)
    store.records(record, list(rows))


def person(key: str, **fields: Any) -> dict[str, Any]:
    return {**dict.fromkeys(PERSON.columns), "id": key, **fields}


def exported(store: FilledStore, name: str, **options: Any) -> Path:
    target = store.path.parent / name
    export(str(store.path), target, **options)
    return target


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def json_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- CSV ------------------------------------------------------------------------------------------------------------


def test_csv_has_a_header_the_fields_and_windrows_own_columns_at_the_end(store: FilledStore) -> None:
    fill(
        store,
        person("1", name="Zoé", age=7, score=0.5, member=True, facts='{"a":[1]}'),
        person("2", member=False),
    )
    text = exported(store, "people.csv").read_text(encoding="utf-8")
    seen = iso(NOW)
    assert text == (
        "id,name,age,score,member,facts,_partition,_run,_first_seen,_last_seen\n"
        f'1,Zoé,7,0.5,true,"{{""a"":[1]}}",a,1,{seen},{seen}\n'
        f"2,,,,false,,a,1,{seen},{seen}\n"
    )


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb", "a\rb", 'say "hi"', "a,b", " padded ", "\u2028", "日本", "'"])
def test_any_text_comes_back_from_csv(store: FilledStore, value: str) -> None:
    fill(store, person("1", name=value), person("2", name="next"))
    assert [row["name"] for row in csv_rows(exported(store, "people.csv"))] == [value, "next"]


@pytest.mark.parametrize(
    "text",
    [
        "-30.86%",
        "+5",
        "-",
        "-0.5",
        "-1,234.56",
        "+1e-9",
        "-1.2B",
        "-5.23% 17.91%",
        "- -",
        "+33 1 23 45 67 89",
        "a=b",
        "",
    ],
)
def test_numbers_are_no_formulas(text: str) -> None:
    assert not is_formula(text)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "=",
        "@SUM(A1)",
        "+A1",
        "-A1",
        "-2+3+cmd|' /C calc'!A0",
        "+1-1",
        "\t=1",
        "\r=1",
        '=HYPERLINK("http://x")',
        "--1",
        "- -A1",
        "-1\n=2",
    ],
)
def test_what_a_spreadsheet_would_run_is_a_formula(text: str) -> None:
    assert is_formula(text)


@given(st.text())
def test_only_text_that_begins_like_a_formula_can_be_one(text: str) -> None:
    assert not is_formula(text) or text[0] in "=+-@\t\r"


def test_formulas_get_an_apostrophe_in_csv_unless_raw(store: FilledStore) -> None:
    fill(store, {"id": "1", "name": "=1+1", "change": "-30.86%", "n": -5, "@x": "y"}, record=PLAIN)
    (row,) = csv_rows(exported(store, "safe.csv"))
    assert (row["name"], row["change"], row["n"], row["'@x"]) == ("'=1+1", "-30.86%", "-5", "y")
    (row,) = csv_rows(exported(store, "raw.csv", raw=True))
    assert (row["name"], row["@x"]) == ("=1+1", "y")


# --- JSON lines -----------------------------------------------------------------------------------------------------


def test_json_lines_hold_values_of_their_kinds(store: FilledStore) -> None:
    facts = {"Situation": [{"Ville": "Orléans"}], "n": 1}
    fill(
        store,
        person("1", name="=1+1", age=7, score=0.5, member=True, facts=json.dumps(facts)),
        person("2", name="two\nlines", member=False),
    )
    assert json_rows(exported(store, "people.jsonl")) == [
        {"id": "1", "name": "=1+1", "age": 7, "score": 0.5, "member": True, "facts": facts, **OWN},
        {"id": "2", "name": "two\nlines", "age": None, "score": None, "member": False, "facts": None, **OWN},
    ]


def test_only_declared_json_is_decoded(store: FilledStore) -> None:
    fill(store, {"id": "1", "facts": "[1]"}, record=PLAIN)
    assert json_rows(exported(store, "people.jsonl")) == [{"id": "1", "facts": "[1]", **OWN}]


def test_what_json_cannot_hold_still_makes_valid_lines(store: FilledStore) -> None:
    fill(store, person("1", score=float("inf"), facts="{broken"), person("2", name="\u2028\x00"))
    rows = json_rows_strict(exported(store, "people.jsonl"))
    assert (rows[0]["score"], rows[0]["facts"], rows[1]["name"]) == (None, "{broken", "\u2028\x00")


def json_rows_strict(path: Path) -> list[dict[str, Any]]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    lines = path.read_bytes().split(b"\n")
    return [json.loads(line, parse_constant=refuse) for line in lines if line]


# --- Parquet --------------------------------------------------------------------------------------------------------

HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None


@pytest.mark.skipif(HAS_PYARROW, reason="pyarrow is installed")
def test_parquet_without_pyarrow_says_what_to_install(store: FilledStore) -> None:
    fill(store, person("1"))
    with pytest.raises(UsageError, match=r"pip install windrow\[parquet\]"):
        exported(store, "people.parquet")
    assert not (store.path.parent / "people.parquet").exists()


@pytest.mark.skipif(not HAS_PYARROW, reason="pyarrow is not installed")
def test_parquet_holds_values_of_their_kinds(store: FilledStore) -> None:
    from pyarrow import parquet

    fill(store, person("1", name="Zoé", age=7, score=0.5, member=True, facts='{"a":1}'), person("2"))
    rows = parquet.read_table(exported(store, "people.parquet")).to_pylist()
    assert rows == [
        {"id": "1", "name": "Zoé", "age": 7, "score": 0.5, "member": True, "facts": '{"a":1}', **OWN},
        {**person("2"), **OWN},
    ]


@pytest.mark.skipif(not HAS_PYARROW, reason="pyarrow is not installed")
def test_parquet_of_mixed_values_says_which_column_and_leaves_no_file(store: FilledStore) -> None:
    fill(store, {"id": "1", "n": 1}, {"id": "2", "n": "many"}, record=PLAIN)
    with pytest.raises(UsageError, match=r"'n'.*\.jsonl"):
        exported(store, "people.parquet")
    assert leftovers(store.path.parent) == []


# --- the target -----------------------------------------------------------------------------------------------------


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("people.db"))


def test_the_number_of_records_is_returned_and_no_temporary_file_stays(store: FilledStore) -> None:
    fill(store, person("1"), person("2"))
    assert export(str(store.path), store.path.parent / "people.csv") == 2
    assert leftovers(store.path.parent) == ["people.csv"]


def test_no_records_make_a_file_with_a_header_alone(store: FilledStore) -> None:
    fill(store)
    assert exported(store, "people.csv").read_text().startswith("id,name,")
    assert exported(store, "people.jsonl").read_text() == ""


def test_an_export_that_fails_leaves_the_former_file_as_it_was(store: FilledStore) -> None:
    fill(store, person("1"))
    broken = sqlite3.connect(store.path)
    broken.execute("UPDATE people SET name = CAST(x'ff' AS TEXT)")
    broken.commit()
    broken.close()
    target = store.path.parent / "people.csv"
    target.write_text("former")
    with pytest.raises(StoreError, match="UTF-8"):
        export(str(store.path), target)
    assert target.read_text() == "former"
    assert leftovers(store.path.parent) == ["people.csv"]


def test_a_symbolic_link_stays_one(store: FilledStore) -> None:
    fill(store, person("1"))
    folder = store.path.parent
    (folder / "real.csv").write_text("former")
    (folder / "link.csv").symlink_to(folder / "real.csv")
    exported(store, "link.csv")
    assert (folder / "link.csv").is_symlink()
    assert (folder / "real.csv").read_text().startswith("id,")


@pytest.mark.parametrize("name", ["people.xlsx", "people", "people.csv.gz", "csv"])
def test_an_unknown_suffix_is_an_error_that_lists_the_known(store: FilledStore, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.csv, \.jsonl, \.parquet"):
        exported(store, name)


def test_capital_suffixes_are_known(store: FilledStore) -> None:
    fill(store, person("1"))
    assert csv_rows(exported(store, "PEOPLE.CSV"))[0]["id"] == "1"


def test_a_target_that_cannot_be_written_is_an_error(store: FilledStore, tmp_path: Path) -> None:
    fill(store, person("1"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        exported(store, "folder.csv")
    with pytest.raises(UsageError, match="does not exist"):
        exported(store, "nowhere/people.csv")
    with pytest.raises(UsageError, match="cannot be written"):
        exported(store, "x" * 250 + ".csv")


def test_another_table_can_be_named(store: FilledStore) -> None:
    fill(store, person("1"))
    store.run("places", alive_until=NOW + 99.0)
    store.records(PLAIN, [{"id": "paris"}], table="places")
    assert json_rows(exported(store, "latest.jsonl"))[0]["id"] == "paris"
    assert json_rows(exported(store, "people.jsonl", table="people"))[0]["id"] == "1"
    with pytest.raises(StoreError, match="there are people, places"):
        exported(store, "other.csv", table="other")


def test_a_store_without_runs_or_records_is_an_error(store: FilledStore) -> None:
    with pytest.raises(StoreError, match="no run in this store"):
        exported(store, "people.csv")
    store.run()
    with pytest.raises(StoreError, match="saved nothing so far"):
        exported(store, "people.csv")


# --- data frames ---------------------------------------------------------------------------------------------------


def test_records_come_as_a_data_frame(store: FilledStore) -> None:
    pandas = pytest.importorskip("pandas")
    fill(store, person("1", name="Ann", age=30, facts='{"a": [1]}'), person("2"))
    frame = read(str(store.path))
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == [*PERSON.columns, "_partition", "_run", "_first_seen", "_last_seen"]
    assert frame.set_index("id").loc["1", "name"] == "Ann"
    assert frame["facts"][0] == {"a": [1]}


def test_an_unknown_library_is_named_with_the_known_ones(store: FilledStore) -> None:
    with pytest.raises(UsageError, match="there are 'pandas' and 'polars'"):
        read(str(store.path), library="numpy")
