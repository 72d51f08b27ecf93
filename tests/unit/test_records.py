"""Records: from what a scrape function yields to a row that the store can hold."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, NotRequired, Optional, Union

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, computed_field, field_validator
from pydantic.dataclasses import dataclass as checked_dataclass
from typing_extensions import TypedDict

from windrow.errors import JobError
from windrow.identity import Identity, cleaner
from windrow.records import (
    LARGEST_INTEGER,
    MOST_COLUMNS,
    OWN_COLUMNS,
    InvalidRecord,
    Kind,
    RecordType,
    kind_of,
    raw_text,
    record_type,
)

PLAIN = record_type(None, "id")


class Address(BaseModel):
    street: str
    city: str | None = None


class Person(BaseModel):
    id: str
    name: str
    age: int | None = None
    address: Address | None = None


@checked_dataclass
class Checked:
    id: str
    weight: float


@dataclass
class Thing:
    id: str
    weight: float
    tags: list[str] = field(default_factory=list)


class Quote(TypedDict):
    id: str
    price: float
    note: NotRequired[str]


def invalid(kind: RecordType, record: object) -> str:
    """Why `record` is none."""
    with pytest.raises(InvalidRecord) as error:
        kind.row(record)
    return str(error.value)


def refused(declared: Any, key: Any = "id") -> str:
    """Why `declared` is no record type."""
    with pytest.raises(JobError) as error:
        record_type(declared, key)
    return str(error.value)


# --- the forms of a record -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        Person(id="1", name="Ada", age=36, address=Address(street="Main St", city="Tours")),
        {"id": "1", "name": "Ada", "age": "36", "address": {"street": "Main St", "city": "Tours"}},
        {"id": "1", "name": "Ada", "age": 36.0, "address": Address(street="Main St", city="Tours"), "more": 1},
    ],
    ids=["instance", "dict of texts", "dict of values"],
)
def test_a_model_becomes_a_flat_row(record: object) -> None:
    row = record_type(Person, "id").row(record)
    assert list(row) == ["id", "name", "age", "address"]
    assert {**row, "address": None} == {"id": "1", "name": "Ada", "age": 36, "address": None}
    assert json.loads(str(row["address"])) == {"street": "Main St", "city": "Tours"}


def test_what_a_model_leaves_out_has_its_default() -> None:
    assert record_type(Person, "id").row({"id": "1", "name": "Ada"}) == {
        "id": "1",
        "name": "Ada",
        "age": None,
        "address": None,
    }


def test_a_models_validators_aliases_and_computed_fields_work() -> None:
    class Priced(BaseModel):
        id: str
        price: float = Field(alias="Price (EUR)")

        @field_validator("id")
        @classmethod
        def upper(cls, text: str) -> str:
            if " " in text:
                raise ValueError("an id holds no space")
            return text.upper()

        @computed_field
        def cents(self) -> int:
            return round(self.price * 100)

    kind = record_type(Priced, "id")
    assert kind.columns == {"id": Kind.TEXT, "price": Kind.REAL, "cents": Kind.INTEGER}
    assert kind.row({"id": "a", "Price (EUR)": "1.5"}) == {"id": "A", "price": 1.5, "cents": 150}
    assert "an id holds no space" in invalid(kind, {"id": "a b", "Price (EUR)": 1})


def test_a_dataclass_becomes_a_row() -> None:
    kind = record_type(Thing, "id")
    assert kind.columns == {"id": Kind.TEXT, "weight": Kind.REAL, "tags": Kind.JSON}
    for record in (Thing("a", 1.5, ["x"]), {"id": "a", "weight": "1.5", "tags": ["x"]}):
        assert kind.row(record) == {"id": "a", "weight": 1.5, "tags": '["x"]'}
    assert record_type(Checked, "id").row(Checked(id="a", weight=2.0)) == {"id": "a", "weight": 2.0}


def test_a_typed_dict_becomes_a_row() -> None:
    kind = record_type(Quote, "id")
    assert kind.columns == {"id": Kind.TEXT, "price": Kind.REAL, "note": Kind.TEXT}
    assert kind.row({"id": "a", "price": "1.5", "note": "x"}) == {"id": "a", "price": 1.5, "note": "x"}
    assert kind.row({"id": "a", "price": 1}) == {"id": "a", "price": 1.0}, "what is not required may be left out"


def test_a_plain_dict_is_a_row_as_it_stands() -> None:
    record = {"id": "1", "n": 5, "x": 1.5, "yes": True, "none": None, "EPS next Y %": "3"}
    assert PLAIN.row(record) == record
    assert PLAIN.columns == {}


def test_a_mapping_of_another_kind_will_do() -> None:
    class Cells(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:
            return {"id": "1", "n": 2}[name]

        def __iter__(self) -> Any:
            return iter(("id", "n"))

        def __len__(self) -> int:
            return 2

    assert PLAIN.row(Cells()) == {"id": "1", "n": 2}


def test_a_row_is_a_copy() -> None:
    record = {"id": "1"}
    PLAIN.row(record)["more"] = 1
    assert record == {"id": "1"}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (["é", True], '["é",true]'),
        ((1, 2), "[1,2]"),
        ({}, "{}"),
        (date(2024, 2, 29), "2024-02-29"),
        (datetime(2024, 2, 29, 12, 30, tzinfo=UTC), "2024-02-29T12:30:00+00:00"),
        (datetime(2024, 2, 29, 12, 30, tzinfo=timezone(timedelta(hours=2))), "2024-02-29T12:30:00+02:00"),
        (time(12, 30), "12:30:00"),
        ([date(2024, 2, 29)], '["2024-02-29"]'),
    ],
)
def test_what_is_no_text_or_number_is_written_as_text(value: object, stored: str) -> None:
    assert PLAIN.row({"id": "1", "x": value})["x"] == stored


def test_models_write_dates_and_the_like_as_text() -> None:
    class Event(BaseModel):
        id: int
        day: date
        at: datetime
        hour: time

    kind = record_type(Event, "id")
    row = kind.row({"id": "7", "day": "2024-02-29", "at": "2024-02-29T12:30:00Z", "hour": "12:30"})
    assert row == {"id": 7, "day": "2024-02-29", "at": "2024-02-29T12:30:00Z", "hour": "12:30:00"}


# --- kinds ---------------------------------------------------------------------------------------------------------


class Colour(StrEnum):
    RED = "red"


class Size(Enum):
    LARGE = (5, 7)


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (str, Kind.TEXT),
        (int, Kind.INTEGER),
        (float, Kind.REAL),
        (bool, Kind.BOOLEAN),
        (date, Kind.TEXT),
        (datetime, Kind.TEXT),
        (time, Kind.TEXT),
        (Colour, Kind.TEXT),
        (Optional[int], Kind.INTEGER),  # noqa: UP045
        (int | None, Kind.INTEGER),
        (None | bool, Kind.BOOLEAN),
        (Union[str, date, None], Kind.TEXT),  # noqa: UP007
        (str | int, Kind.JSON),
        (Annotated[int, Field(gt=0)], Kind.INTEGER),
        (Annotated[float | None, Field(gt=0)], Kind.REAL),
        (Annotated[str, Field(min_length=1)] | None, Kind.TEXT),
        (list[str], Kind.JSON),
        (dict[str, int] | None, Kind.JSON),
        (tuple[int, int], Kind.JSON),
        (Size, Kind.JSON),
        (Address, Kind.JSON),
        (Address | None, Kind.JSON),
        (list[Address], Kind.JSON),
        (Any, Kind.JSON),
        (bytes, Kind.JSON),
    ],
    ids=str,
)
def test_the_kind_of_a_column_is_what_its_values_are(hint: Any, kind: Kind) -> None:
    model = type("Model", (BaseModel,), {"__annotations__": {"id": str, "x": hint}})
    assert record_type(model, "id").columns == {"id": Kind.TEXT, "x": kind}


def test_literals_enums_and_decimals_are_stored_as_they_are_written() -> None:
    class Wide(BaseModel):
        id: str
        colour: Colour
        side: Literal["left", "right"] | None = None
        size: Size | None = None

    row = record_type(Wide, "id").row({"id": "1", "colour": "red", "side": "left", "size": (5, 7)})
    assert row == {"id": "1", "colour": "red", "side": "left", "size": "[5,7]"}
    assert record_type(Wide, "id").row({"id": "1", "colour": Colour.RED})["colour"] == "red"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, Kind.BOOLEAN), (0, Kind.INTEGER), (1, Kind.INTEGER), (0.0, Kind.REAL), ("1", Kind.TEXT), (None, Kind.TEXT)],
)
def test_the_kind_of_a_value_of_a_plain_dict(value: Any, kind: Kind) -> None:
    assert kind_of(value) is kind


# --- types that cannot be ------------------------------------------------------------------------------------------


class Fieldless(BaseModel):
    pass


class Empty:
    pass


@pytest.mark.parametrize("declared", [int, str, dict, Empty])
def test_a_type_without_fields_is_none(declared: Any) -> None:
    assert "no fields" in refused(declared) or "no type with fields" in refused(declared)


def test_what_is_no_type_at_all_is_none() -> None:
    assert "is no type with fields" in refused({"id": str})


def test_an_annotation_that_means_nothing_is_an_error_of_the_job() -> None:
    broken = type("Broken", (), {"__annotations__": {"id": "NoSuchType"}})
    assert "NoSuchType" in refused(broken)


def test_a_key_must_be_a_column() -> None:
    assert refused(Person, "siret") == (
        "the key 'siret' is no column of Person; its columns are id, name, age, address"
    )
    assert "the key 'id' is no column of Fieldless" in refused(Fieldless)
    assert "the key 'siret' is no column of Thing" in refused(Thing, ("id", "siret"))


@pytest.mark.parametrize("name", OWN_COLUMNS)
def test_windrows_own_columns_are_reserved(name: str) -> None:
    declared = type("Reserved", (), {"__annotations__": {"id": str, name: str}})
    assert refused(dataclass(declared)) == f"Reserved: the column name {name!r} is reserved for Windrow's own"
    assert invalid(PLAIN, {"id": "1", name: "x"}) == f"the column name {name!r} is reserved for Windrow's own"


def test_names_that_differ_only_in_case_are_one_column_to_sql() -> None:
    declared = type("Doubled", (BaseModel,), {"__annotations__": {"id": str, "Name": str, "name": str}})
    assert refused(declared) == "Doubled: the columns 'Name' and 'name' differ only in case"
    assert invalid(PLAIN, {"id": "1", "PRÉNOM": 1, "prénom": 2}) == (
        "the columns 'PRÉNOM' and 'prénom' differ only in case"
    )


@pytest.mark.parametrize("name", ["", "  ", "\n", "a\0b", 5, None, ("a", "b")], ids=repr)
def test_what_cannot_name_a_column(name: Any) -> None:
    assert invalid(PLAIN, {"id": "1", name: "x"}) == f"{name!r} cannot name a column"


def test_a_record_has_at_most_a_thousand_columns() -> None:
    most = {"id": "1", **{f"c{number}": number for number in range(MOST_COLUMNS - 1)}}
    assert len(PLAIN.row(most)) == MOST_COLUMNS
    message = invalid(PLAIN, {**most, "one more": 1})
    assert message == f"{MOST_COLUMNS + 1} columns are more than the {MOST_COLUMNS} a record may have"


# --- invalid records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [None, 5, "text", ["id"], Person(id="1", name="Ada")], ids=repr)
def test_only_a_dict_is_a_plain_record(record: object) -> None:
    assert invalid(PLAIN, record) == f"a dict is needed, not {type(record).__name__} (the job has record=None)"


@pytest.mark.parametrize(
    ("record", "parts"),
    [
        ({"id": "1"}, ["name: Field required"]),
        ({"id": "1", "name": 5}, ["name: Input should be a valid string (got 5)"]),
        (
            {"id": None, "name": "x", "age": "old"},
            ["id: Input should be a valid string (got null)", "; age: Input should be a valid integer", '(got "old")'],
        ),
        ({"id": "1", "name": "x", "address": {"city": 1}}, ["address.street: Field required", "address.city: "]),
        ("text", ["record: Input should be a valid dictionary or instance of Person", '(got "text")']),
        (None, ["record: ", "(got null)"]),
    ],
    ids=["missing", "wrong", "two faults", "nested", "text", "nothing"],
)
def test_an_invalid_record_says_where_and_why(record: object, parts: Sequence[str]) -> None:
    message = invalid(record_type(Person, "id"), record)
    for part in parts:
        assert part in message


def test_a_message_shows_the_beginning_of_a_long_value() -> None:
    message = invalid(record_type(Person, "id"), {"id": "1", "name": ["x" * 100_000]})
    assert len(message) < 400


def test_a_typed_dict_and_a_dataclass_are_checked_likewise() -> None:
    assert "price: Input should be a valid number" in invalid(record_type(Quote, "id"), {"id": "1", "price": "much"})
    assert "weight: Field required" in invalid(record_type(Thing, "id"), {"id": "1"})
    assert "record: " in invalid(record_type(Quote, "id"), ["id"])


@pytest.mark.parametrize("key", ["", None])
def test_an_empty_key_makes_a_record_invalid(key: object) -> None:
    assert invalid(PLAIN, {"id": key, "n": 1}) == "the key column 'id' is empty"
    assert invalid(PLAIN, {"n": 1}) == "the key column 'id' is empty"


@pytest.mark.parametrize("key", [0, 0.0, False, " ", "0"], ids=repr)
def test_nothing_else_is_an_empty_key(key: object) -> None:
    assert PLAIN.row({"id": key}) == {"id": key}


@pytest.mark.parametrize("number", [LARGEST_INTEGER, -LARGEST_INTEGER, 0])
def test_integers_of_64_bits_fit(number: int) -> None:
    assert PLAIN.row({"id": "1", "n": number})["n"] == number


@pytest.mark.parametrize("number", [LARGEST_INTEGER + 1, -LARGEST_INTEGER - 2, 2**64, 10**30])
def test_larger_integers_do_not(number: int) -> None:
    message = f"n: {number} does not fit a 64-bit integer; make it a text"
    assert invalid(PLAIN, {"id": "1", "n": number}) == message
    counted = type("Counted", (BaseModel,), {"__annotations__": {"id": str, "n": int}})
    assert invalid(record_type(counted, "id"), {"id": "1", "n": number}) == message


@pytest.mark.parametrize("text", ["\ud800", "caf\udce9", "a" * 50 + "\udfff"], ids=ascii)
def test_half_a_character_makes_a_record_invalid(text: str) -> None:
    place = next(number for number, c in enumerate(text) if "\ud800" <= c <= "\udfff")
    message = invalid(PLAIN, {"id": "1", "x": text})
    assert message == f"x: holds half a character (a lone surrogate) at {place}"
    assert invalid(PLAIN, {"id": text}).startswith("id: holds half a character")
    assert invalid(PLAIN, {"id": "1", "x": {"deep": [text]}}).startswith("x: cannot be stored: ")
    assert invalid(record_type(Person, "id"), {"id": "1", "name": text}).startswith("name: ")


@pytest.mark.parametrize(
    "value", [object(), {("a", "b"): 1}, [lambda: None], 1j], ids=lambda value: type(value).__name__
)
def test_what_cannot_be_written_makes_a_record_invalid(value: object) -> None:
    assert invalid(PLAIN, {"id": "1", "x": value}).startswith("x: cannot be stored: ")


def test_a_value_that_holds_itself_makes_a_record_invalid() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert invalid(PLAIN, {"id": "1", "x": endless}).startswith("x: cannot be stored: ")


# --- keys ----------------------------------------------------------------------------------------------------------


def test_a_key_of_one_column_is_its_text() -> None:
    assert PLAIN.key == ("id",)
    assert PLAIN.key_of({"id": "a b", "n": 1}) == "a b"
    assert PLAIN.key_of({"id": 5}) == "5"


def test_a_key_of_several_columns_tells_their_borders() -> None:
    kind = record_type(None, ("city", "street"))
    assert kind.key == ("city", "street")
    keys = [kind.key_of({"city": city, "street": street}) for city, street in (("a", "bc"), ("ab", "c"), ("bc", "a"))]
    assert len(set(keys)) == 3


def test_no_column_of_a_key_may_be_empty() -> None:
    kind = record_type(None, ("city", "street"))
    assert kind.row({"city": "a", "street": 0}) == {"city": "a", "street": 0}
    assert invalid(kind, {"city": "a"}) == "the key column 'street' is empty"
    assert invalid(kind, {"city": "", "street": "b"}) == "the key column 'city' is empty"


# --- how an invalid record is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"id": 1, "x": [None, "é"]}, '{"id":1,"x":[null,"é"]}'),
        ("text", '"text"'),
        (None, "null"),
        ({"id": date(2024, 2, 29)}, '{"id":"2024-02-29"}'),
        ({"id": Thing("a", 1.0)}, '{"id":{"id":"a","weight":1.0,"tags":[]}}'),
        ({"id": 10**30}, '{"id":1000000000000000000000000000000}'),
        ({"id": "\ud800"}, "{'id': '\\ud800'}"),
    ],
    ids=ascii,
)
def test_an_invalid_record_is_kept_as_json_where_that_works(record: object, text: str) -> None:
    assert raw_text(record) == text


def test_an_object_in_an_invalid_record_is_kept_as_its_text() -> None:
    class Odd:
        def __str__(self) -> str:
            return "an odd one"

    assert raw_text({"id": Odd()}) == '{"id":"an odd one"}'


def test_a_record_that_holds_itself_is_kept_as_python_writes_it() -> None:
    endless: dict[str, Any] = {"id": "1"}
    endless["self"] = endless
    assert raw_text(endless) == "{'id': '1', 'self': {...}}"


def test_an_invalid_record_is_kept_up_to_a_length() -> None:
    assert len(raw_text("x" * 50_000)) == 20_000
    assert raw_text("x" * 50_000, 10) == '"xxxxxxxxx'


def test_what_is_cut_is_clean_before() -> None:
    class Counted(BaseModel):
        id: int

    clean = cleaner(Identity("anna", state={"password": "correct-horse-battery"}))
    said = {"id": "y" * 190 + "correct-horse-battery"}
    with pytest.raises(InvalidRecord) as caught:
        record_type(Counted, "id").row(said, clean)
    assert "correct" not in str(caught.value)
    assert "correct" not in raw_text(said, 210, clean)


# --- properties ----------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))


@settings(max_examples=60)
@given(st.dictionaries(TEXTS, JSON, max_size=8), SCALARS)
def test_any_json_dict_gives_a_row_that_sqlite_gives_back(record: dict[str, Any], key: Any) -> None:
    record = {**record, "id": key}
    assume(key not in (None, ""))
    assume(all(name.strip() and "\0" not in name and name not in OWN_COLUMNS for name in record))
    assume(len({name.casefold() for name in record}) == len(record))
    row = PLAIN.row(record)
    assert row.keys() == record.keys()
    marks = ", ".join("?" * len(row))
    with closing(sqlite3.connect(":memory:")) as connection:
        stored = dict(zip(row, connection.execute(f"SELECT {marks}", list(row.values())).fetchone(), strict=True))
    for name, value in record.items():
        if isinstance(value, list | dict):
            assert json.loads(stored[name]) == value
        else:
            assert stored[name] == value


@given(JSON)
def test_any_json_at_all_is_a_row_or_invalid_and_can_be_kept(record: Any) -> None:
    with contextlib.suppress(InvalidRecord):
        assert PLAIN.row(record)["id"] not in (None, "")
    assert raw_text(record)


@given(JSON)
def test_a_model_never_raises_anything_but_invalid(record: Any) -> None:
    with contextlib.suppress(InvalidRecord):
        assert list(record_type(Person, "id").row(record)) == ["id", "name", "age", "address"]
