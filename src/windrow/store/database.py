"""Opening a store: what its address means, whether the database is ours, and how it is set up.

An SQLite store has one writing process at a time (an advisory lock on `NAME-lock` beside the file); readers open the
file read-only. Nothing is written to a database before it is known to be empty or of this schema version.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from windrow.errors import StoreError
from windrow.store.tables import SCHEMA_VERSION, meta, metadata

Database = Engine
"""An open store, for those who must not know what it is made of."""

_SQLITE_HEADER = b"SQLite format 3\0"


def store_url(store: str) -> URL:
    """The database a STORE means: a URL, or the path of an SQLite file. Raises StoreError for one we do not speak."""
    if "://" not in store:
        return URL.create("sqlite", database=store)
    try:
        url = make_url(store)
        backend = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError) as error:
        raise StoreError(f"{store!r} is no store: give a file or a URL such as sqlite:///records.db") from error
    if backend != "sqlite":
        raise StoreError(
            f"{url.render_as_string()}: stores of the kind {backend!r} are not supported; use sqlite:///FILE"
        )
    if not url.database or url.database == ":memory:":
        raise StoreError(f"{store!r}: a store must be a file, so that a run can go on after a crash")
    return url


def store_path(url: URL) -> Path:
    """The file of an SQLite store."""
    return Path(url.database or "")


@contextmanager
def open_for_writing(store: str) -> Iterator[Engine]:
    """The store, created if it is not there, locked against other writing processes until the end of the context.

    Raises StoreError: the folder is missing or read-only, the file is no database, somebody else's or of a newer
    version, or another process is writing it.
    """
    url = store_url(store)
    path = store_path(url)
    _check_writable(path)
    with _only_writer(path):
        # Not before the lock is ours: closing the file would drop the locks of a writer in this very process.
        _check_header(path)
        if path.exists() and path.stat().st_size:
            # Looked at read-only first: the writer's settings alone (WAL) would change a file that is not ours.
            with _reading(path) as engine, engine.connect() as connection:
                _check_ours(connection, path)
        engine = create_engine(
            url, poolclass=NullPool, connect_args={"isolation_level": None, "check_same_thread": False}
        )
        event.listen(engine, "connect", _set_up_writer)
        event.listen(engine, "begin", _begin_immediately)
        try:
            with _explained(path), engine.connect() as connection:
                _prepare(connection, path)
            yield engine
        finally:
            engine.dispose()


@contextmanager
def open_for_reading(store: str) -> Iterator[Engine]:
    """The store, read-only: nothing is created and nothing written. Raises StoreError if it is missing or not ours."""
    path = store_path(store_url(store))
    if not path.exists():
        raise StoreError(f"{path}: no such store; `windrow run JOB --store {path}` makes one")
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; a store is a file in it")
    # The file itself must not be opened here: closing it would drop the locks that SQLite holds in this very process.
    with _reading(path) as engine:
        with engine.connect() as connection:
            if not _check_ours(connection, path):
                raise StoreError(f"{path}: is empty; `windrow run JOB --store {path}` fills it")
        yield engine


@contextmanager
def _reading(path: Path) -> Iterator[Engine]:
    engine = create_engine("sqlite://", creator=lambda: _connect_read_only(path), poolclass=NullPool)
    try:
        with _explained(path):
            yield engine
    finally:
        engine.dispose()


@contextmanager
def transaction(database: Database) -> Iterator[Connection]:
    """One transaction on a connection of its own, committed at the end."""
    with database.connect() as connection, connection.begin():
        yield connection


def _check_writable(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise StoreError(f"{path}: the folder {folder} does not exist; make it first, or give --store another place")
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; give a file in it, such as {path / 'records.db'}")
    for place in (path if path.exists() else folder, folder):
        if not os.access(place, os.W_OK):
            raise StoreError(f"{path}: {place} is read-only; give --store a place that can be written")


def _check_header(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(_SQLITE_HEADER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    if start and start != _SQLITE_HEADER:
        raise StoreError(f"{path}: is not an SQLite database; nothing was written to it")


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    place = path.resolve()
    lock = place.with_name(place.name + "-lock")
    try:
        file = lock.open("a+")
    except OSError as error:
        raise StoreError(
            f"{lock}: cannot be opened: {error.strerror}; --store needs a place that can be written"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StoreError(
                f"{path}: process {holder} is writing to this store; wait for its end, stop it, or give --store "
                "another file (an SQLite store has one writing process at a time)"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _set_up_writer(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=OFF",
        "busy_timeout=10000",
        "cache_size=-65536",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediately(connection: Connection) -> None:
    # The driver's own BEGIN (deferred, and not before DDL) is switched off above: the write lock is taken at once.
    # By the driver itself: through SQLAlchemy this one statement takes as long as all that a small commit consists of.
    try:
        connection.connection.cursor().execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        raise DBAPIError.instance("BEGIN IMMEDIATE", (), error, sqlite3.Error, dialect=connection.dialect) from error


def _connect_read_only(path: Path) -> sqlite3.Connection:
    quoted = path.resolve().as_uri()
    # A database in WAL mode needs a writable folder for its index, unless nobody can be writing it.
    mode = "mode=ro" if os.access(path.parent, os.W_OK) else "mode=ro&immutable=1"
    return sqlite3.connect(f"{quoted}?{mode}", uri=True, check_same_thread=False, timeout=10)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise StoreError(f"{path}: cannot be opened: {error.orig}") from error
    except DatabaseError as error:
        raise StoreError(
            f"{path}: is damaged or no SQLite database ({error.orig}); nothing was written to it"
        ) from error


def _prepare(connection: Connection, path: Path) -> None:
    with connection.begin():
        if _check_ours(connection, path):
            return
        metadata.create_all(connection)
        connection.execute(insert(meta).values(name="schema_version", value=str(SCHEMA_VERSION)))


def _check_ours(connection: Connection, path: Path) -> bool:
    """Whether the tables are there. Raises StoreError for a database of somebody else or of another version."""
    names = inspect(connection).get_table_names()
    if not names:
        return False
    if meta.name not in names:
        raise StoreError(
            f"{path}: is a database of another program (it holds {', '.join(sorted(names)[:3])}); nothing was written "
            "to it; give --store another file"
        )
    version = connection.execute(select(meta.c.value).where(meta.c.name == "schema_version")).scalar_one_or_none()
    if version != str(SCHEMA_VERSION):
        raise StoreError(
            f"{path}: was written by a version of Windrow with schema {version}, this one reads schema "
            f"{SCHEMA_VERSION}; use that version, or give --store another file"
        )
    return True
