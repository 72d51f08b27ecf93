"""Where partitions come from: prefixes that grow, values, and rows of tables."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.errors import JobError, SettingError, WindrowError
from windrow.partitions import LONGEST_KEY, Listed, Partition, PartitionSource, Prefixes, prefixes, rows, values


def keys(source: PartitionSource) -> list[str]:
    return [partition.key for partition in source.plan()]


def children(source: PartitionSource, key: str) -> list[str]:
    return [partition.key for partition in source.children(Partition(key))]


def refused(work: Callable[[], object], kind: type[WindrowError] = SettingError) -> str:
    """What is said of something that cannot be."""
    with pytest.raises(kind) as error:
        work()
    assert error.type is kind
    return str(error.value)


# --- partitions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a", " ", "x" * LONGEST_KEY])
def test_a_key_has_some_characters(key: str) -> None:
    assert Partition(key).key == key


@pytest.mark.parametrize("key", ["", "x" * (LONGEST_KEY + 1)])
def test_a_key_has_neither_none_nor_too_many(key: str) -> None:
    message = refused(lambda: Partition(key), JobError)
    assert message == f"a partition's key must have 1 to 500 characters, this one has {len(key)}"


# --- prefixes ------------------------------------------------------------------------------------------------------


def test_prefixes_begin_with_the_alphabet_but_for_separators() -> None:
    assert keys(prefixes("ab c-d'")) == ["a", "b", "c", "d"]


def test_prefixes_begin_with_first_where_it_is_given() -> None:
    source = prefixes("abc '", first="cb'")
    assert keys(source) == ["c", "b", "'"]
    assert children(source, "c") == ["ca", "cb", "cc", "c ", "c'"], "children come of the alphabet"


def test_first_need_not_be_of_the_alphabet() -> None:
    source = prefixes("ab", first="é")
    assert keys(source) == ["é"]
    assert children(source, "é") == ["éa", "éb"]
    found = [source.find(key) for key in ("é", "éa", "éé")]
    assert found == [Partition("é"), Partition("éa"), None]


def test_a_prefix_does_not_grow_beyond_the_longest() -> None:
    source = prefixes("ab", longest=2)
    assert children(source, "a") == ["aa", "ab"]
    assert children(source, "ab") == []
    assert children(prefixes("ab", longest=1), "a") == []


@pytest.mark.parametrize("separator", " -'")
def test_two_separators_never_follow_each_other(separator: str) -> None:
    source = prefixes("a -'")
    assert children(source, "a") == ["aa", "a ", "a-", "a'"]
    assert children(source, f"a{separator}") == [f"a{separator}a"]
    assert children(source, f"a{separator}a") == [f"a{separator}a{following}" for following in "a -'"]


@pytest.mark.parametrize(
    ("alphabet", "options", "message"),
    [
        ("", {}, "prefixes(): alphabet is empty"),
        (" -'", {}, "prefixes(): first is empty"),
        ("ab", {"first": ""}, "prefixes(): first is empty"),
        ("abab", {}, "prefixes(): alphabet holds 'a', 'b' more than once"),
        ("a  b", {"first": "a"}, "prefixes(): alphabet holds ' ' more than once"),
        ("ab", {"first": "bb"}, "prefixes(): first holds 'b' more than once"),
        ("ab", {"longest": 0}, "prefixes(): longest must be at least 1, not 0"),
        ("ab", {"longest": -1}, "prefixes(): longest must be at least 1, not -1"),
    ],
)
def test_prefixes_that_cannot_be(alphabet: str, options: dict[str, Any], message: str) -> None:
    assert refused(lambda: prefixes(alphabet, **options), JobError) == message


@pytest.mark.parametrize("key", ["a", "b", "ab", "a b", "aba"])
def test_a_prefix_is_found_also_where_only_a_split_makes_it(key: str) -> None:
    assert prefixes("ab ", longest=3).find(key) == Partition(key)


@pytest.mark.parametrize("key", ["", "c", " ", "ac", "A", "abab", "ca"])
def test_what_is_no_prefix_is_not_found(key: str) -> None:
    assert prefixes("ab ", longest=3).find(key) is None


ALPHABETS = st.text(string.ascii_lowercase + " -'é0", min_size=1, max_size=8).map(
    lambda text: "".join(dict.fromkeys(text))
)


@st.composite
def grown(draw: st.DrawFn) -> tuple[Prefixes, Partition]:
    """Prefixes, and one partition that some splits lead to."""
    first = draw(ALPHABETS)
    source = prefixes(draw(ALPHABETS), first=first, longest=draw(st.integers(1, 5)))
    partition = draw(st.sampled_from(list(source.plan())))
    for _ in range(draw(st.integers(0, 5))):
        following = source.children(partition)
        if not following:
            break
        partition = draw(st.sampled_from(following))
    return source, partition


@given(grown())
def test_children_are_distinct_longer_and_within_the_longest(drawn: tuple[Prefixes, Partition]) -> None:
    source, partition = drawn
    found = [child.key for child in source.children(partition)]
    assert len(set(found)) == len(found)
    for key in found:
        assert key.startswith(partition.key)
        assert len(key) == len(partition.key) + 1 <= source.longest
        assert not (key[-1] in " -'" and key[-2] in " -'")
    if len(partition.key) < source.longest and partition.key[-1] not in " -'":
        assert len(found) == len(source.alphabet), "no character is left out"


@given(grown())
def test_whatever_splits_lead_to_is_found(drawn: tuple[Prefixes, Partition]) -> None:
    source, partition = drawn
    assert source.find(partition.key) == partition
    assert all(source.find(child.key) == child for child in source.children(partition))


@given(grown())
def test_a_source_answers_the_same_each_time(drawn: tuple[Prefixes, Partition]) -> None:
    source, partition = drawn
    assert list(source.plan()) == list(source.plan())
    assert source.children(partition) == source.children(partition)


# --- values --------------------------------------------------------------------------------------------------------


def test_values_are_keys_and_stay_what_they_are() -> None:
    found = list(values(["a", 5, 2.5, True]).plan())
    assert [(each.key, each.params["value"]) for each in found] == [("a", "a"), ("5", 5), ("2.5", 2.5), ("True", True)]


def test_values_can_be_planned_again() -> None:
    source = values(number for number in range(3))
    assert keys(source) == keys(source) == ["0", "1", "2"]


def test_values_are_taken_as_they_were() -> None:
    given_list = ["a"]
    source = values(given_list)
    given_list.append("b")
    assert keys(source) == ["a"]


def test_a_value_is_found_by_its_text_and_never_splits() -> None:
    source = values(["a", 5])
    assert source.find("5") == Partition("5", {"value": 5})
    assert source.find("b") is None
    assert children(source, "a") == []


def test_values_with_the_same_text_are_told_with_both_places() -> None:
    message = refused(lambda: keys(values(["a", "b", 1, "c", "1"])))
    assert message == (
        "values(): the key '1' stands at place 3 and again at place 5; each partition needs a key of its own"
    )


def test_an_empty_value_cannot_be_a_key() -> None:
    assert "1 to 500 characters" in refused(lambda: keys(values(["a", ""])), JobError)


# --- rows of files -------------------------------------------------------------------------------------------------


def csv_file(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "cities.csv"
    path.write_bytes(text.encode(encoding))
    return path


def jsonl_file(folder: Path, *lines: object) -> Path:
    path = folder / "cities.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_bytes("\n".join(texts).encode())
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_rows_of_a_csv_file(encoding: str, line_end: str, tmp_path: Path) -> None:
    lines = ["city,département,note", 'Orléans,45,"of ""Jeanne"", they say"', "", "Tours, 37 ,"]
    path = csv_file(tmp_path, line_end.join(lines) + line_end, encoding)
    found = list(rows(path, key="city").plan())
    assert found == [
        Partition("Orléans", {"city": "Orléans", "département": "45", "note": 'of "Jeanne", they say'}),
        Partition("Tours", {"city": "Tours", "département": " 37 ", "note": ""}),
    ]


def test_a_cell_may_hold_several_lines(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'city,note\nTours,"one\r\ntwo"\nBlois,x\n')
    found = list(rows(path, key="city").plan())
    assert [partition.params["note"] for partition in found] == ["one\r\ntwo", "x"]


def test_a_path_may_be_a_text_and_its_suffix_in_capitals(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "city\nTours\n").rename(tmp_path / "CITIES.CSV")
    assert keys(rows(str(path), key="city")) == ["Tours"]


def test_a_relative_path_is_of_the_folder_the_command_runs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = rows("cities.csv", key="city")
    csv_file(tmp_path, "city\nTours\n")
    monkeypatch.chdir(tmp_path)
    assert keys(source) == ["Tours"]


def test_a_file_is_read_when_a_run_is_planned(tmp_path: Path) -> None:
    source = rows(tmp_path / "cities.csv", key="city")
    csv_file(tmp_path, "city\nTours\n")
    assert keys(source) == ["Tours"]
    csv_file(tmp_path, "city\nTours\nBlois\n")
    assert keys(source) == ["Tours", "Blois"]


def test_cells_too_few_are_null_and_cells_too_many_are_left_out(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "city,code,note\nTours\nBlois,41,x,y,z\n")
    found = [dict(partition.params) for partition in rows(path, key="city").plan()]
    assert found == [
        {"city": "Tours", "code": None, "note": None},
        {"city": "Blois", "code": "41", "note": "x"},
    ]


def test_rows_of_a_json_lines_file_keep_their_types(tmp_path: Path) -> None:
    path = jsonl_file(tmp_path, {"code": 37, "city": "Tours", "parts": ["a", 1]}, "", "   ", {"code": 41, "x": None})
    assert list(rows(path, key="code").plan()) == [
        Partition("37", {"code": 37, "city": "Tours", "parts": ["a", 1]}),
        Partition("41", {"code": 41, "x": None}),
    ]


def test_a_json_lines_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "cities.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"city": "Tours"}\n')
    assert keys(rows(path, key="city")) == ["Tours"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{city: 1}", "is not JSON: Expecting property name enclosed in double quotes"),
        ('{"city": "Blois"', "is not JSON: Expecting ',' delimiter"),
        ("city", "is not JSON: Expecting value"),
        ("[1, 2]", "a JSON object is needed, not list"),
        ('"Blois"', "a JSON object is needed, not str"),
        ("null", "a JSON object is needed, not NoneType"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(line: str, reason: str, tmp_path: Path) -> None:
    path = jsonl_file(tmp_path, {"city": "Tours"}, "", line)
    assert refused(lambda: keys(rows(path, key="city"))) == f"{path}, line 3: {reason}"


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.csv"
    assert refused(lambda: keys(rows(path, key="city"))) == f"{path}: cannot be read: No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "cities.csv"
    path.mkdir()
    assert refused(lambda: keys(rows(path, key="city"))) == f"{path}: cannot be read: Is a directory"


@pytest.mark.parametrize("name", ["cities.xlsx", "cities", "cities.json"])
def test_another_kind_of_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("city\nTours\n")
    message = refused(lambda: keys(rows(path, key="city")))
    assert message == f"{path}: rows() reads .csv and .jsonl files; pass anything else as a list of mappings"


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "city\nOrléans\n", "latin-1")
    assert refused(lambda: keys(rows(path, key="city"))) == f"{path}: is not UTF-8 (byte 8); save it as UTF-8"


def test_a_missing_column_is_told_those_there_are(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "ville;code\nTours;37\n")
    assert refused(lambda: keys(rows(path, key="city"))) == f"{path}: no column 'city' at row 1; there are ville;code"
    path = jsonl_file(tmp_path, {"city": "Tours"}, {"ville": "Blois", "code": 41})
    assert refused(lambda: keys(rows(path, key="city"))) == f"{path}: no column 'city' at row 2; there are ville, code"


@pytest.mark.parametrize("empty", ["", "  ", "\t"])
def test_an_empty_key_is_told_with_its_row(empty: str, tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"city,code\nTours,37\n{empty},41\n")
    message = refused(lambda: keys(rows(path, key="city")))
    assert message == f"{path}: row 2 has an empty 'city'; every partition needs a key"


def test_a_null_key_is_empty(tmp_path: Path) -> None:
    path = jsonl_file(tmp_path, {"city": None})
    assert "row 1 has an empty 'city'" in refused(lambda: keys(rows(path, key="city")))


def test_a_repeated_key_is_told_with_both_places(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "city\nTours\nBlois\n Tours \n")
    message = refused(lambda: keys(rows(path, key="city")))
    assert message == (
        f"{path}: the key 'Tours' stands at place 1 and again at place 3; each partition needs a key of its own"
    )


def test_spaces_around_a_key_are_no_part_of_it_but_of_its_cell(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "city\n  Tours \n")
    assert list(rows(path, key="city").plan()) == [Partition("Tours", {"city": "  Tours "})]


def test_a_file_without_rows_plans_nothing(tmp_path: Path) -> None:
    for text in ("", "city\n", "\n\n"):
        assert keys(rows(csv_file(tmp_path, text), key="city")) == []


def test_a_row_is_found_by_its_key(tmp_path: Path) -> None:
    source = rows(csv_file(tmp_path, "city,code\nTours,37\nBlois,41\n"), key="city")
    assert source.find("Blois") == Partition("Blois", {"city": "Blois", "code": "41"})
    assert source.find("Chinon") is None
    assert children(source, "Blois") == []


# --- rows of tables in memory --------------------------------------------------------------------------------------

CITIES: Sequence[Mapping[str, Any]] = [{"city": "Tours", "code": 37}, {"city": "Blois", "code": 41}]


class PandasLike:
    def to_dict(self, orient: str) -> list[Mapping[str, Any]]:
        assert orient == "records"
        return list(CITIES)


class PolarsLike:
    def to_dicts(self) -> Iterator[Mapping[str, Any]]:
        yield from CITIES

    def to_dict(self) -> dict[str, list[Any]]:
        return {"city": ["Tours", "Blois"], "code": [37, 41]}


@pytest.mark.parametrize(
    "table",
    [list(CITIES), iter(CITIES), (each for each in CITIES), PandasLike(), PolarsLike()],
    ids=["list", "iterator", "generator", "to_dict", "to_dicts"],
)
def test_rows_of_a_table_in_memory(table: Any) -> None:
    source = rows(table, key="city")
    for _ in range(2):
        assert list(source.plan()) == [Partition("Tours", CITIES[0]), Partition("Blois", CITIES[1])]


def test_column_names_become_texts() -> None:
    assert list(rows([{"city": "Tours", 2020: 1}], key="city").plan()) == [
        Partition("Tours", {"city": "Tours", "2020": 1})
    ]


def test_tables_in_memory_are_checked_likewise() -> None:
    assert refused(lambda: keys(rows([{"ville": "Tours"}], key="city"))) == (
        "rows(): no column 'city' at row 1; there are ville"
    )
    assert "rows(): row 2 has an empty 'city'" in refused(lambda: keys(rows([*CITIES[:1], {"city": None}], key="city")))
    assert "place 1 and again at place 3" in refused(lambda: keys(rows([*CITIES, CITIES[0]], key="city")))


def test_zero_is_a_key() -> None:
    assert keys(rows([{"id": 0}], key="id")) == ["0"]


# --- properties ----------------------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1, max_size=20)))
def test_a_list_is_planned_once_each_or_refused(items: list[str]) -> None:
    source = values(items)
    if len(set(items)) == len(items):
        assert keys(source) == items
        assert [source.find(item) for item in items] == list(source.plan())
    else:
        assert "each partition needs a key of its own" in refused(lambda: keys(source))


def test_what_stands_before_a_repeated_key_is_planned_lazily() -> None:
    """A plan of a million rows is not gathered before its first batch is written."""
    endless = Listed(lambda: (Partition(str(number)) for number in iter(int, 1)), "mine")
    plan = endless.plan()
    assert next(plan).key == "0"
    with pytest.raises(SettingError, match="mine: the key '0' stands at place 1 and again at place 2"):
        next(plan)
