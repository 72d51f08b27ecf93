"""Jobs: what a declaration may hold, how a job is found by its name or file, and what is said when it is not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import windrow
from windrow.errors import JobError, SettingError, UsageError
from windrow.job import BUILT_IN, Job, Limits, LoadedFarEnough, Pace, load_job
from windrow.partitions import Listed, Partition, PartitionSource, prefixes, values


class Shop(BaseModel):
    id: str
    name: str


def shops(**settings: Any) -> Job:
    """A job that can be, but for `settings`."""
    return Job(**{"name": "shops", "key": "id", "partitions": values(["a"]), **settings})


# --- declarations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "Shops", "shops_2", "a" * 63])
def test_a_name_that_can_name_a_table(name: str) -> None:
    assert shops(name=name).name == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " shops", "2shops", "_shops", "my-shops", "my shops", "shops;", "shöps", "shops\n", "a" * 64),
        *("windrow_runs", "Windrow", "sqlite_master", "SQLITE_x"),
    ],
)
def test_a_name_that_cannot_name_a_table(name: str) -> None:
    with pytest.raises(JobError, match="cannot name a table"):
        shops(name=name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sessions": 0}, 'shops: sessions must be at least 1, or "auto", not 0'),
        ({"sessions": "all"}, "shops: sessions must be at least 1, or \"auto\", not 'all'"),
        ({"sessions": 10**20}, "shops: there may be 100,000 sessions at most"),
        ({"most_sessions": 0}, "shops: most_sessions must be at least 1, not 0"),
        ({"workers": 0}, "shops: workers must be at least 1, not 0"),
        ({"rate": -1.5}, "shops: rate must be 0 (no budget) or more requests per second, or None, not -1.5"),
    ],
)
def test_numbers_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as error:
        shops(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize("address", ["", "shops.example", "/path", "ftp://shops.example", "http://", "https:///path"])
def test_a_base_url_that_is_no_web_address(address: str) -> None:
    with pytest.raises(SettingError, match="shops: base_url must begin with http:// or https://"):
        shops(base_url=address)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8900", "https://shops.example/fr/"])
def test_a_base_url_that_is_one(address: str) -> None:
    assert shops(base_url=address).base_url == address


@pytest.mark.parametrize("partitions", [None, "abc", ["a", "b"], 5])
def test_partitions_must_come_from_a_source(partitions: Any) -> None:
    with pytest.raises(JobError, match=r"shops: partitions must come from prefixes\(\), rows\(\) or values\(\)"):
        shops(partitions=partitions)


def test_partitions_may_depend_on_the_parameters() -> None:
    def source(parameters: Mapping[str, Any]) -> PartitionSource:
        return values(parameters["letters"])

    job = shops(partitions=source, parameters={"letters": "ab"})
    assert [partition.key for partition in job.source().plan()] == ["a", "b"]
    changed = job.with_parameters({"letters": "xyz"})
    assert [partition.key for partition in changed.source().plan()] == ["x", "y", "z"]


def test_partitions_that_turn_out_to_be_no_source() -> None:
    job = shops(partitions=lambda parameters: ["a"])
    with pytest.raises(JobError, match=r"shops: partitions\(parameters\) must return"):
        job.source()


def test_a_source_of_ones_own_will_do() -> None:
    class Mine:
        def plan(self) -> Iterator[Partition]:
            yield Partition("a")

        def find(self, key: str) -> Partition | None:
            return None

        def children(self, partition: Partition) -> list[Partition]:
            return []

    mine = Mine()
    assert shops(partitions=mine).source() is mine


def test_the_key_must_be_a_column() -> None:
    with pytest.raises(JobError, match="the key 'siret' is no column of Shop; its columns are id, name"):
        shops(record=Shop, key="siret")
    with pytest.raises(JobError, match="the key 'siret' is no column of Shop"):
        shops(record=Shop, key=("id", "siret"))


@pytest.mark.parametrize("key", ["", (), ("id", ""), ("id", 5)])
def test_the_key_must_name_columns(key: Any) -> None:
    with pytest.raises(JobError, match="key must name a column, or be a tuple of column names"):
        shops(key=key)


def test_windrows_own_columns_are_reserved() -> None:
    @dataclass
    class Reserved:
        id: str
        _run: int

    with pytest.raises(JobError, match="Reserved: the column name '_run' is reserved"):
        shops(record=Reserved)


def test_base_url_is_no_parameter() -> None:
    with pytest.raises(JobError, match="base_url is no parameter"):
        shops(parameters={"base_url": "http://shops.example"})


def test_a_job_has_one_scrape_function() -> None:
    job = shops()

    @job.scrape
    async def first(session: Any, partition: Any) -> None: ...

    assert job.function is first, "the decorator leaves the function as it is"
    with pytest.raises(JobError, match=r"shops: scrape\(\) decorates two functions"):
        job.scrape(first)


def test_a_scrape_function_takes_a_session_and_a_partition() -> None:
    def alone(session: Any) -> None: ...

    with pytest.raises(JobError, match="two arguments, a session and a partition"):
        shops().scrape(alone)


@pytest.mark.parametrize(
    "numbers", [{"delay": -1.0}, {"least": -1.0}, {"least": 5.0, "most": 4.0}, {"most": -1.0}], ids=str
)
def test_a_pace_that_cannot_be(numbers: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="Pace"):
        Pace(**numbers)


@pytest.mark.parametrize("name", ["body", "connect", "partition", "attempts", "deaths"])
def test_a_limit_must_be_above_nothing(name: str) -> None:
    with pytest.raises(SettingError, match=f"Limits: {name} must be above 0, not 0"):
        Limits(**{name: 0})


@pytest.mark.parametrize("name", ["redirects", "retries", "invalid"])
def test_some_limits_may_be_nothing(name: str) -> None:
    assert getattr(Limits(**{name: 0}), name) == 0
    with pytest.raises(SettingError, match=f"Limits: {name} must be 0 or more, not -1"):
        Limits(**{name: -1})


# --- settings of a run ---------------------------------------------------------------------------------------------

PARAMETERS = {"region": "north", "pages": 5, "share": 0.5, "deep": False, "file": None}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("region", "south", "south"),
        ("region", "", ""),
        ("region", "12", "12"),
        ("pages", "12", 12),
        ("pages", "-1", -1),
        ("share", "2", 2.0),
        ("share", "1e-3", 0.001),
        ("deep", "true", True),
        ("deep", "Yes", True),
        ("deep", "1", True),
        ("deep", "OFF", False),
        ("deep", "0", False),
        ("file", "a.csv", "a.csv"),
    ],
)
def test_a_parameter_is_set_in_the_type_of_its_default(name: str, text: str, value: object) -> None:
    job = shops(parameters=PARAMETERS)
    changed = job.with_parameters({name: text}).parameters
    assert changed == {**PARAMETERS, name: value}
    assert type(changed[name]) is type(value)
    assert job.parameters == PARAMETERS, "the declaration stays as it is"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pages", "many", "--set pages: needs a whole number, not 'many'"),
        ("pages", "1.5", "--set pages: needs a whole number, not '1.5'"),
        ("share", "half", "--set share: needs a number, not 'half'"),
        ("deep", "maybe", "--set deep: needs true or false, not 'maybe'"),
    ],
)
def test_a_text_that_does_not_fit_its_parameter(name: str, text: str, message: str) -> None:
    with pytest.raises(SettingError) as error:
        shops(parameters=PARAMETERS).with_parameters({name: text})
    assert str(error.value) == message


def test_an_unknown_parameter_is_told_the_known_ones() -> None:
    with pytest.raises(SettingError) as error:
        shops(parameters={"region": "north", "pages": 5}).with_parameters({"regoin": "south"})
    assert str(error.value) == "shops: no parameter 'regoin' to set; known are base_url, pages, region"


def test_the_base_url_is_set_like_a_parameter_and_checked() -> None:
    job = shops(base_url="https://shops.example")
    assert job.with_parameters({"base_url": "http://127.0.0.1:1"}).base_url == "http://127.0.0.1:1"
    assert job.base_url == "https://shops.example"
    with pytest.raises(SettingError, match="base_url must begin with"):
        job.with_parameters({"base_url": "nowhere"})


def test_copies_keep_the_function_and_the_guesses() -> None:
    job = shops(record=Shop, parameters={"region": "north"})

    @job.scrape
    async def scrape(session: Any, partition: Any) -> None: ...

    @job.matches
    def matches(row: Mapping[str, Any], partition: Partition) -> bool:
        return True

    copies = [job.with_parameters({"region": "x"}), job.with_run_settings({"delay": 2}), job.with_settings({})]
    for copy in copies:
        assert copy is not job
        assert (copy.function, copy.matchers) == (scrape, (matches,))
        assert copy.record_type.columns.keys() == {"id", "name"}


def test_with_settings_checks_as_the_constructor_does() -> None:
    assert shops().with_settings({"sessions": 9}).sessions == 9
    with pytest.raises(SettingError, match="sessions must be at least 1"):
        shops().with_settings({"sessions": 0})
    with pytest.raises(TypeError, match="colour"):
        shops().with_settings({"colour": "red"})


def test_run_settings_that_say_nothing_change_nothing() -> None:
    job = shops(pace=Pace(2.0, 1.0, 3.0), rate=5.0)
    for settings in ({}, {"delay": None, "rate": None, "robots": None}):
        copy = job.with_run_settings(settings)
        assert (copy.pace, copy.rate, copy.robots) == (job.pace, 5.0, True)


@pytest.mark.parametrize(
    ("delay", "pace"),
    [(0, Pace(0.0, 0.0, 3.0)), (0.5, Pace(0.5, 0.5, 3.0)), (2, Pace(2.0, 1.0, 3.0)), (90, Pace(90.0, 1.0, 90.0))],
)
def test_a_delay_moves_the_bounds_of_the_pace_where_it_must(delay: float, pace: Pace) -> None:
    assert shops(pace=Pace(2.0, 1.0, 3.0)).with_run_settings({"delay": delay}).pace == pace


def test_a_rate_of_zero_means_no_budget() -> None:
    job = shops(rate=5.0)
    assert job.with_run_settings({"rate": 0}).rate == 0
    assert job.with_run_settings({"rate": 2.5}).rate == 2.5
    with pytest.raises(SettingError, match="rate must be 0"):
        job.with_run_settings({"rate": -1})


def test_robots_can_be_ignored_for_a_run() -> None:
    assert shops().with_run_settings({"robots": False}).robots is False
    assert shops(robots=False).with_run_settings({"robots": None}).robots is False


# --- loading -------------------------------------------------------------------------------------------------------

JOB = """
from windrow import Job, values

job = Job("things", key="id", partitions=values(["a", "b"]))

@job.scrape
async def scrape(session, partition):
    yield {"id": partition.key}
"""

TWO_JOBS = """
from windrow import Job, values

first = Job("first", key="id", partitions=values(["a"]))
second = Job("second", key="id", partitions=values(["a"]))

@first.scrape
@second.scrape
async def scrape(session, partition):
    yield {"id": partition.key}
"""


@pytest.fixture(autouse=True)
def imports_are_undone() -> Iterator[None]:
    """What a test imports is not there for the next one."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if not name.startswith("windrow."):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, source: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return str(path)


def refused(reference: str) -> str:
    """What is said of a job that does not load."""
    with pytest.raises(JobError) as error:
        load_job(reference)
    return str(error.value)


def test_a_file_by_its_path(folder: Path) -> None:
    write(folder / "jobs" / "things.py", JOB)
    for reference in ("jobs/things.py", str(folder / "jobs" / "things.py"), "./jobs/things.py"):
        job = load_job(reference)
        assert (job.name, [each.key for each in job.source().plan()]) == ("things", ["a", "b"])
        assert job.function is not None


def test_a_file_is_read_anew_each_time(folder: Path) -> None:
    write(folder / "things.py", JOB)
    first = load_job("things.py")
    write(folder / "things.py", JOB.replace("things", "other_things"))
    assert [first.name, load_job("things.py").name] == ["things", "other_things"]


def test_a_file_whose_name_is_no_identifier(folder: Path) -> None:
    write(folder / "my things-2.py", JOB)
    assert load_job("my things-2.py").name == "things"


def test_a_job_of_a_file_by_its_name(folder: Path) -> None:
    write(folder / "two.py", TWO_JOBS)
    assert [load_job(f"two.py:{name}").name for name in ("first", "second")] == ["first", "second"]


def test_a_job_of_a_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "collecting" / "__init__.py", "")
    write(folder / "collecting" / "shops.py", TWO_JOBS)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])  # as `windrow` starts, unlike `python -m`
    assert load_job("collecting.shops:second").name == "second"
    assert "there are several jobs in it (first, second)" in refused("collecting.shops")


@pytest.mark.parametrize(("name", "table"), [("annuaire", "professionals"), ("finviz", "quotes")])
def test_the_built_in_jobs(name: str, table: str) -> None:
    assert name in BUILT_IN
    assert load_job(name).name == table


def test_one_job_under_two_names_is_one_job(folder: Path) -> None:
    write(folder / "things.py", JOB + "\nalias = job\n")
    assert load_job("things.py").name == load_job("things.py:alias").name == "things"


def test_a_job_file_may_import_what_stands_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "jobs" / "sibling_of_the_job.py", "LETTERS = ['x', 'y']\n")
    source = "from sibling_of_the_job import LETTERS\n" + JOB.replace('["a", "b"]', "LETTERS")
    write(folder / "jobs" / "things.py", source)
    job = load_job("jobs/things.py")
    assert [partition.key for partition in job.source().plan()] == ["x", "y"]


def test_a_run_at_the_end_of_a_job_file_ends_the_loading(folder: Path) -> None:
    write(folder / "things.py", JOB + "\nimport windrow\nwindrow.run(job)\nraise SystemExit('it went on')\n")
    assert load_job("things.py").name == "things"
    assert not list(folder.glob("*.db")), "nothing was run"


def test_an_early_return_of_the_loader_is_no_ordinary_exception(folder: Path) -> None:
    """A job file that guards its run with `except Exception` must not go on after it."""
    assert not issubclass(LoadedFarEnough, Exception)
    guarded = "\nimport windrow\ntry:\n    windrow.run(job)\nexcept Exception:\n    pass\njob = None\n"
    write(folder / "things.py", JOB + guarded)
    assert load_job("things.py").name == "things"


def test_run_wants_a_scrape_function_and_a_name() -> None:
    with pytest.raises(SettingError, match="shops: has no scrape function"):
        windrow.run(shops())
    job = shops()

    @job.scrape
    async def scrape(session: Any, partition: Any) -> None: ...

    with pytest.raises(SettingError, match="must be a variable of the module"):
        windrow.run(job)


# --- jobs that do not load -----------------------------------------------------------------------------------------


def test_a_missing_file(folder: Path) -> None:
    assert refused("nowhere.py") == "nowhere.py: no such file"
    assert refused("nowhere/job.py:first") == "nowhere/job.py:first: no such file"


def test_a_folder(folder: Path) -> None:
    (folder / "jobs.py").mkdir()
    assert refused("jobs.py") == "jobs.py: is no file"
    assert refused("./jobs.py") == "./jobs.py: is no file"


def test_a_file_that_is_no_python(folder: Path) -> None:
    write(folder / "things.txt", JOB)
    assert refused("./things.txt") == "./things.txt: is no Python file"


def test_a_module_that_is_not_there(folder: Path) -> None:
    message = refused("nowhere.jobs")
    assert "no module 'nowhere.jobs' is to be found" in message
    assert "built-in: annuaire, finviz" in message
    assert "give its name with .py" in message


@pytest.mark.parametrize("reference", ["", ":", ".jobs", ":job"])
def test_a_reference_that_means_nothing(reference: str, folder: Path) -> None:
    assert refused(reference).startswith(reference)


def test_a_module_that_is_not_there_for_a_module_that_is(folder: Path) -> None:
    """The name in the message is the one that is missing, not the job's."""
    write(folder / "things_module.py", "\nimport no_such_library\n")
    place = folder / "things_module.py"
    for reference in ("things_module", "things_module.py"):
        message = refused(reference)
        assert message == f"{place}, line 2: ModuleNotFoundError: No module named 'no_such_library'"


def test_a_syntax_error_says_file_and_line(folder: Path) -> None:
    place = write(folder / "broken.py", "x = 1\ny = (\n")
    assert refused("broken.py") == f"{place}, line 2: syntax error: '(' was never closed"


def test_a_syntax_error_beside_the_job_says_whose(folder: Path) -> None:
    write(folder / "things.py", "import broken_beside\n" + JOB)
    place = write(folder / "broken_beside.py", "\n\nif:\n")
    assert refused("things.py") == f"{place}, line 3: syntax error: invalid syntax"


def test_a_file_that_is_not_utf8_says_so(folder: Path) -> None:
    (folder / "latin.py").write_bytes(b'name = "caf\xe9"\n')
    message = refused("latin.py")
    assert str(folder / "latin.py") in message
    assert "utf-8" in message


def test_an_exception_says_file_and_line(folder: Path) -> None:
    place = write(folder / "raising.py", "\n\nvalue = 1\nvalue / 0\n")
    assert refused("raising.py") == f"{place}, line 4: ZeroDivisionError: division by zero"


def test_an_exception_in_a_function_says_the_line_in_it(folder: Path) -> None:
    place = write(folder / "raising.py", "def prepare():\n    raise LookupError('no table')\n\nprepare()\n")
    assert refused("raising.py") == f"{place}, line 2: LookupError: no table"


@pytest.mark.parametrize(
    ("leave", "code"), [("sys.exit(3)", "3"), ("sys.exit('no key')", "no key"), ("exit()", "None")]
)
def test_leaving_while_it_is_loaded_is_an_error(leave: str, code: str, folder: Path) -> None:
    write(folder / "leaving.py", f"import sys\n{leave}\n" + JOB)
    assert refused("leaving.py") == f"leaving.py: it left with exit code {code} while it was loaded"


def test_a_declaration_that_cannot_be_names_the_job(folder: Path) -> None:
    write(folder / "things.py", JOB.replace("values(", "list("))
    message = refused("things.py")
    assert "things.py" in message
    assert message.endswith(": things: partitions must come from prefixes(), rows() or values()")


def test_a_setting_that_cannot_be_is_named(folder: Path) -> None:
    write(folder / "things.py", JOB.replace("key=", "sessions=0, key="))
    assert 'SettingError: things: sessions must be at least 1, or "auto", not 0' in refused("things.py")


def test_a_file_without_a_job(folder: Path) -> None:
    write(folder / "empty.py", "from windrow import Job\n")
    assert refused("empty.py") == "empty.py: there is no job in it; make one with `job = Job(…)`"
    assert refused("empty.py:job") == "empty.py:job: no job named 'job'; there is none in it"


def test_several_jobs_must_be_told_apart(folder: Path) -> None:
    write(folder / "two.py", TWO_JOBS)
    assert refused("two.py") == "two.py: there are several jobs in it (first, second); name one: two.py:NAME"
    assert refused("two.py:third") == "two.py:third: no job named 'third'; there are first, second"
    assert "no job named 'scrape'" in refused("two.py:scrape"), "a name that is something else is no job"


def test_a_job_without_a_scrape_function(folder: Path) -> None:
    write(folder / "things.py", JOB.replace("@job.scrape", ""))
    assert refused("things.py") == ("things.py: the job 'things' has no scrape function; decorate one with @job.scrape")


def test_what_does_not_load_is_wrong_usage(folder: Path) -> None:
    for source in ("1 / 0", "(", "import sys; sys.exit()", ""):
        write(folder / "things.py", source)
        with pytest.raises(UsageError):
            load_job("things.py")


def test_a_job_can_be_loaded_after_it_was_mended(folder: Path) -> None:
    write(folder / "things.py", JOB + "\n1 / 0\n")
    refused("things.py")
    write(folder / "things.py", JOB)
    assert load_job("things.py").name == "things"


def test_sources_of_the_library_are_sources() -> None:
    assert isinstance(prefixes("ab"), PartitionSource)
    assert isinstance(Listed(lambda: [], "mine"), PartitionSource)
    assert not isinstance([], PartitionSource)
