"""Opening a store: what is refused and stays untouched, who may write, and how readers keep out of the way."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from windrow.errors import StoreError
from windrow.store.database import open_for_reading, open_for_writing, store_path, store_url, transaction
from windrow.store.tables import SCHEMA_VERSION, meta, metadata

DEADLINE = 30.0
Opening = Callable[[str], Any]
OPENINGS = pytest.mark.parametrize("opening", [open_for_writing, open_for_reading], ids=["writing", "reading"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "things.db"


def refused(opening: Opening, store: object) -> str:
    """Why a store is not opened."""
    with pytest.raises(StoreError) as error, opening(str(store)):
        pass
    return str(error.value)


def files(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for the lock."""
    return {each.name: each.read_bytes() for each in folder.iterdir() if not each.name.endswith("-lock")}


def make(path: Path) -> None:
    """A store with nothing in it."""
    with open_for_writing(str(path)):
        pass


def note(database: Any, name: str) -> None:
    with transaction(database) as connection:
        connection.execute(insert(meta).values(name=name, value="1"))


def notes(path: Path) -> set[str]:
    with open_for_reading(str(path)) as database, transaction(database) as connection:
        return set(connection.execute(select(meta.c.name)).scalars()) - {"schema_version"}


# --- what an address means -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "place"),
    [
        ("things.db", "things.db"),
        ("/tmp/things.db", "/tmp/things.db"),
        ("a folder/what? 100%#1.db", "a folder/what? 100%#1.db"),
        ("sqlite:///things.db", "things.db"),
        ("sqlite:////tmp/things.db", "/tmp/things.db"),
    ],
)
def test_a_store_is_a_path_or_a_url(store: str, place: str) -> None:
    assert store_path(store_url(store)) == Path(place)


@pytest.mark.parametrize("store", ["sqlite://", "sqlite:///:memory:"])
def test_a_store_in_memory_could_not_be_resumed(store: str) -> None:
    with pytest.raises(StoreError, match="must be a file"):
        store_url(store)


@pytest.mark.parametrize("store", ["://", "://things.db"])
def test_what_is_no_address_at_all(store: str) -> None:
    with pytest.raises(StoreError, match="is no store: give a file or a URL"):
        store_url(store)


@pytest.mark.parametrize("store", ["nosuch://host/things", "http://", "mysql://host/things"])
def test_an_address_of_something_else(store: str) -> None:
    with pytest.raises(StoreError, match=r"stores of the kind '[a-z]+' are not supported; use sqlite:///FILE"):
        store_url(store)


def test_a_database_we_do_not_speak_is_named_without_its_password() -> None:
    with pytest.raises(StoreError, match="'mysql' are not supported") as error:
        store_url("mysql://ada:secret@host/things")
    assert "secret" not in str(error.value)


def test_a_file_with_an_odd_name_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "what? 100%#1 é'\".db"
    with open_for_writing(str(path)) as database:
        note(database, "here")
    assert path.exists()
    assert notes(path) == {"here"}


# --- what is refused, and stays as it was --------------------------------------------------------------------------


def test_a_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "things.db"
    message = refused(open_for_writing, path)
    assert message.startswith(f"{path}: the folder {path.parent} does not exist")
    assert not path.parent.exists()


@OPENINGS
def test_a_file_in_place_of_a_folder(opening: Opening, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    refused(opening, tmp_path / "file" / "things.db")
    assert files(tmp_path) == {"file": b"text"}


@OPENINGS
def test_a_folder_is_no_store(opening: Opening, tmp_path: Path) -> None:
    assert f"{tmp_path}: is a folder" in refused(opening, tmp_path)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def nobody_special() -> Iterator[None]:
    """Without root's rights, whom no permission holds up."""
    if os.geteuid() != 0:
        yield
        return
    if not hasattr(os, "setresuid"):
        pytest.skip("run by root, and there is no way to be somebody else for a while")
    try:
        os.setresuid(65534, 65534, 0)
    except OSError as error:
        pytest.skip(f"run by root, and there is nobody else to be: {error}")
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def opened_by_nobody_special(opening: Opening, path: Path) -> str:
    """What opening says to a user who is not root."""
    with nobody_special():
        try:
            with opening(str(path)):
                return "opened"
        except StoreError as error:
            return str(error)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that other users reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="windrow-test-") as place:
        folder = Path(place)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


def test_a_read_only_folder_is_not_written_and_can_be_read(open_to_all: Path) -> None:
    path = open_to_all / "things.db"
    message = f"{path}: {open_to_all} is read-only; give --store a place that can be written"
    open_to_all.chmod(0o555)
    assert opened_by_nobody_special(open_for_writing, path) == message
    open_to_all.chmod(0o777)
    make(path)
    path.with_name("things.db-lock").unlink()
    path.chmod(0o666)
    open_to_all.chmod(0o555)
    before = files(open_to_all)
    assert opened_by_nobody_special(open_for_writing, path) == message
    assert opened_by_nobody_special(open_for_reading, path) == "opened"
    assert files(open_to_all) == before


def test_a_read_only_file_is_not_written_and_can_be_read(open_to_all: Path) -> None:
    path = open_to_all / "things.db"
    make(path)
    path.chmod(0o444)
    before = path.read_bytes()
    assert opened_by_nobody_special(open_for_writing, path).startswith(f"{path}: {path} is read-only")
    assert opened_by_nobody_special(open_for_reading, path) == "opened"
    assert path.read_bytes() == before


def test_a_file_that_may_not_be_read(open_to_all: Path) -> None:
    path = open_to_all / "things.db"
    make(path)
    path.chmod(0o222)
    path.with_name("things.db-lock").chmod(0o666)
    assert opened_by_nobody_special(open_for_writing, path) == f"{path}: cannot be read: Permission denied"
    assert opened_by_nobody_special(open_for_reading, path).startswith(f"{path}: cannot be opened")


@OPENINGS
@pytest.mark.parametrize("content", [b"id,name\n1,Ada\n", b"xy", b"SQLite format 3", b"\0" * 5000], ids=len)
def test_a_file_that_is_no_database(opening: Opening, content: bytes, path: Path) -> None:
    path.write_bytes(content)
    message = refused(opening, path)
    assert message.startswith(f"{path}: is ")
    assert "no SQLite database" in message or "not an SQLite database" in message
    assert files(path.parent) == {"things.db": content}


@OPENINGS
def test_a_damaged_database(opening: Opening, path: Path) -> None:
    make(path)
    content = path.read_bytes()[:100] + b"\xff" * 5000
    path.write_bytes(content)
    assert "is damaged or no SQLite database" in refused(opening, path)
    assert path.read_bytes() == content


@OPENINGS
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_foreign_database_stays_as_it_is(opening: Opening, journal: str, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={journal}")
        connection.execute("CREATE TABLE customers (id)")
        connection.execute("CREATE TABLE bills (id)")
    before = path.read_bytes()
    assert "a database of another program (it holds bills, customers)" in refused(opening, path)
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (journal,)


@OPENINGS
@pytest.mark.parametrize("version", [str(SCHEMA_VERSION + 1), "0", "new"])
def test_a_store_of_another_version_stays_as_it_is(opening: Opening, version: str, path: Path) -> None:
    make(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE windrow_meta SET value = ? WHERE name = 'schema_version'", [version])
    before = path.read_bytes()
    message = refused(opening, path)
    assert f"with schema {version}, this one reads schema {SCHEMA_VERSION}" in message
    assert path.read_bytes() == before


def test_a_missing_store_is_not_made_by_reading(path: Path) -> None:
    assert refused(open_for_reading, path).startswith(f"{path}: no such store")
    assert list(path.parent.iterdir()) == []


def test_an_empty_file_is_not_filled_by_reading(path: Path) -> None:
    path.touch()
    assert refused(open_for_reading, path).startswith(f"{path}: is empty")
    assert files(path.parent) == {"things.db": b""}


# --- what is set up ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_file_is_set_up(exists: bool, path: Path) -> None:
    if exists:
        path.touch()
    make(path)
    with open_for_reading(str(path)) as database, transaction(database) as connection:
        tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
        assert tables == set(metadata.tables)
        assert connection.execute(select(meta.c.value)).scalars().all() == [str(SCHEMA_VERSION)]


def test_an_empty_database_is_set_up(path: Path) -> None:
    """A database file that another tool has made and left without tables."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    assert path.stat().st_size > 0
    make(path)
    assert notes(path) == set()


def test_opening_again_changes_nothing_that_is_there(path: Path) -> None:
    with open_for_writing(str(path)) as database:
        note(database, "first")
    with open_for_writing(str(path)) as database:
        note(database, "second")
    assert notes(path) == {"first", "second"}


def test_the_writer_is_durable_and_takes_its_lock_at_once(path: Path) -> None:
    with open_for_writing(str(path)) as database, database.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
        connection.rollback()
        assert pragmas == {"journal_mode": "wal", "synchronous": 2}
        with closing(sqlite3.connect(path, timeout=0)) as other:
            with connection.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            other.execute("BEGIN IMMEDIATE")


def make_and_fail(database: Any) -> None:
    with transaction(database) as connection:
        connection.exec_driver_sql("CREATE TABLE things (id)")
        connection.execute(insert(meta).values(name="gone", value="1"))
        connection.execute(insert(meta).values(name="gone", value="2"))


def test_a_transaction_that_raises_leaves_nothing(path: Path) -> None:
    with open_for_writing(str(path)) as database:
        with pytest.raises(IntegrityError):
            make_and_fail(database)
        note(database, "kept")
    assert notes(path) == {"kept"}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM sqlite_master WHERE name = 'things'").fetchall() == []


# --- one writer ----------------------------------------------------------------------------------------------------

HOLD_STORE = """
import sys
from sqlalchemy import insert
from windrow.store.database import open_for_writing, transaction
from windrow.store.tables import meta
with open_for_writing(sys.argv[1]) as database:
    with transaction(database) as connection:
        connection.execute(insert(meta).values(name="committed", value="1"))
    with database.connect() as connection, connection.begin():
        connection.execute(insert(meta).values(name="under way", value="1"))
        print("held", flush=True)
        sys.stdin.readline()
"""


@contextmanager
def another_process_holding(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the store open for writing until it reads a line, in the middle of a transaction."""
    command = [sys.executable, "-c", HOLD_STORE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_writer_of_the_same_process_is_refused_until_the_first_ends(path: Path) -> None:
    with ExitStack() as first:
        database = first.enter_context(open_for_writing(str(path)))
        message = refused(open_for_writing, path)
        assert f"{path}: process {os.getpid()} is writing to this store" in message
        note(database, "still writing")
    with open_for_writing(str(path)) as database:
        note(database, "admitted")
    assert notes(path) == {"still writing", "admitted"}


def test_a_store_by_its_url_is_the_same_store(path: Path) -> None:
    with open_for_writing(str(path)):
        assert "is writing to this store" in refused(open_for_writing, f"sqlite:///{path}")


def test_a_writer_in_another_process_is_refused_until_the_first_ends(path: Path) -> None:
    with another_process_holding(path) as other:
        assert f"process {other.pid} is writing to this store" in refused(open_for_writing, path)
        assert notes(path) == {"committed"}, "readers are admitted, and see what is committed"
        other.communicate("\n", timeout=DEADLINE)
        assert other.returncode == 0
    with open_for_writing(str(path)) as database:
        note(database, "admitted")
    assert notes(path) == {"committed", "under way", "admitted"}


def test_a_killed_writer_leaves_the_store_free_and_what_was_committed(path: Path) -> None:
    with another_process_holding(path) as other:
        other.send_signal(signal.SIGKILL)
        assert other.wait(DEADLINE) == -signal.SIGKILL
    assert notes(path) == {"committed"}
    with open_for_writing(str(path)) as database:
        note(database, "admitted")
    assert notes(path) == {"committed", "admitted"}


def test_a_writer_that_raises_leaves_the_store_free(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_for_writing(str(path)):
        raise ZeroDivisionError
    make(path)


def test_two_stores_are_written_at_the_same_time(tmp_path: Path) -> None:
    with open_for_writing(str(tmp_path / "a.db")) as first, open_for_writing(str(tmp_path / "b.db")) as second:
        note(first, "a")
        note(second, "b")
    assert [notes(tmp_path / name) for name in ("a.db", "b.db")] == [{"a"}, {"b"}]


def test_a_lock_that_cannot_be_made_is_an_error(path: Path) -> None:
    lock = path.with_name("things.db-lock")
    lock.mkdir()
    assert refused(open_for_writing, path).startswith(f"{lock}: cannot be opened: Is a directory")


# --- reading -------------------------------------------------------------------------------------------------------


def test_a_reader_cannot_write(path: Path) -> None:
    make(path)
    with open_for_reading(str(path)) as database, pytest.raises(OperationalError, match="readonly"):
        note(database, "sneaked in")


def test_reading_changes_no_byte(path: Path) -> None:
    with open_for_writing(str(path)) as database:
        note(database, "here")
    before = path.read_bytes()
    assert notes(path) == {"here"}
    assert path.read_bytes() == before


def test_a_reader_sees_what_is_committed_while_it_reads(path: Path) -> None:
    with open_for_writing(str(path)) as writer, open_for_reading(str(path)) as reader:
        with transaction(reader) as connection:
            note(writer, "first")
            count = select(meta.c.name).where(meta.c.name != "schema_version")
            assert connection.execute(count).scalars().all() == ["first"]
            note(writer, "second")
            connection.rollback()
        with transaction(reader) as connection:
            assert set(connection.execute(count).scalars()) == {"first", "second"}


LOOK = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 FROM windrow_meta'); c.close()"


def test_reading_never_disturbs_the_writers_locks(path: Path) -> None:
    """Any descriptor of the file that this process closes drops its locks on it, SQLite's among them.

    Another program that merely looks would then take itself for the last one, and delete the log under the writer.
    """
    with open_for_writing(str(path)) as database, database.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        connection.rollback()
        note(database, "before")
        for _ in range(2):
            assert notes(path) == {"before"}
        subprocess.run([sys.executable, "-c", LOOK, str(path)], check=True, timeout=DEADLINE)
        assert path.with_name("things.db-wal").exists(), "the log was deleted under the writer"
        note(database, "after")
    assert notes(path) == {"before", "after"}
