"""The tables of a store. Every time is in seconds since the epoch, of the store's clock.

Only columns here; what may change when stands with the statements in `runs`, `leases`, `ledger` and `hosts`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION = 2

STATES = ("pending", "leased", "done", "split", "incomplete", "failed")
"""What a partition can be. See docs/architecture.md for the transitions."""

metadata = MetaData()
_ID = BigInteger().with_variant(Integer, "sqlite")


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


meta = Table(
    "windrow_meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

runs = Table(
    "windrow_runs",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("job", Text, nullable=False),
    Column("record_table", Text, nullable=False),
    Column("state", Text, nullable=False),  # running, finished, abandoned
    Column("settings", Text, nullable=False),
    Column("started", Float, nullable=False),
    Column("finished", Float),
    Column("alive_until", Float, nullable=False),  # of its supervisors; later than this it counts as interrupted
    Column("active_seconds", Float, nullable=False, server_default=text("0")),
    _count("records"),
    _count("invalid"),
    _count("requests"),
    _count("retries"),
    _count("throttled"),
    _count("blocked"),
    _count("missing"),
    Index("windrow_runs_by_job", "job", "id"),
)

partitions = Table(
    "windrow_partitions",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("run", _ID, ForeignKey("windrow_runs.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("params", Text, nullable=False),  # JSON
    Column("parent", _ID, ForeignKey("windrow_partitions.id")),
    Column("state", Text, nullable=False),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("worker", Text),
    Column("lease_until", Float),
    Column("not_before", Float, nullable=False, server_default=text("0")),
    Column("size", Integer, nullable=False, server_default=text("0")),  # records in the last run: the largest go first
    Column("attempt", Integer, nullable=False, server_default=text("0")),  # attempts begun in this run
    Column("failures", Integer, nullable=False, server_default=text("0")),  # attempts in a row without a new record
    Column("deaths", Integer, nullable=False, server_default=text("0")),  # workers in a row that died holding it
    Column("parked_since", Float),  # since when hosts' holds have kept it from any new record
    Column("reopened", Integer, nullable=False, server_default=text("0")),  # times it ran again to settle the books
    Column("lazy", Integer, nullable=False, server_default=text("0")),  # above 0: runs last, in this order, if needed
    Column("progress", Integer, nullable=False, server_default=text("0")),  # new records since it was last claimed
    Column("claiming", Boolean, nullable=False, server_default=text("false")),  # whether it has claims on keys
    Column("capped", Boolean, nullable=False, server_default=text("false")),
    Column("reported", Integer),
    _count("found"),
    _count("saved"),
    _count("invalid"),
    _count("missing"),
    _count("requests"),
    Column("reason", Text),
    Column("started", Float),
    Column("finished", Float),
    UniqueConstraint("run", "key"),
    CheckConstraint(f"state IN {STATES}", name="windrow_partition_state"),
    CheckConstraint("(state = 'leased') = (worker IS NOT NULL)", name="windrow_leased_has_worker"),
    Index("windrow_partitions_next", "run", "state", "lazy", text("size DESC"), "id"),
    Index("windrow_partitions_parent", "parent"),
)

# Which partition found which record key. A record can be found by several; the ledger counts distinct keys.
sightings = Table(
    "windrow_sightings",
    metadata,
    Column("partition", _ID, ForeignKey("windrow_partitions.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("run", _ID, nullable=False),
    Column("saved", Boolean, nullable=False),  # somebody in this run saved the key
    Index("windrow_sightings_by_key", "run", "key"),
    sqlite_with_rowid=False,
)

# Which live partition has promised to save a key: two partitions that list the same person fetch it once.
claims = Table(
    "windrow_claims",
    metadata,
    Column("run", _ID, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("partition", _ID, nullable=False),
    Index("windrow_claims_by_partition", "partition"),
    sqlite_with_rowid=False,
)

invalid = Table(
    "windrow_invalid",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("run", _ID, nullable=False),
    Column("partition", _ID, nullable=False),
    Column("raw", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("at", Float, nullable=False),
    Index("windrow_invalid_by_partition", "run", "partition"),
)

hosts = Table(
    "windrow_hosts",
    metadata,
    Column("host", Text, primary_key=True),
    Column("next_slot", Float, nullable=False, server_default=text("0")),
    Column("hold_until", Float, nullable=False, server_default=text("0")),
    Column("budget", Text),  # JSON: politeness.adaptive.Adaptive
    Column("takers", Text),  # JSON: worker → when it last took slots
    Column("robots_status", Integer),
    Column("robots_text", Text),
    Column("robots_at", Float),
)

# Who the sessions of a run are, by name. One is held as long as its partition is leased with its fence.
identities = Table(
    "windrow_identities",
    metadata,
    Column("run", _ID, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("partition", _ID),  # of the lease that had it last
    Column("fence", Integer),
    Column("used", Float, nullable=False, server_default=text("0")),  # when it was leased last
    Column("rest_until", Float, nullable=False, server_default=text("0")),
    Column("rests", Integer, nullable=False, server_default=text("0")),  # in a row, without a good end in between
    Column("is_out", Boolean, nullable=False, server_default=text("false")),  # it rested too often in this run
    Column("reason", Text),  # of the last rest
    _count("uses"),
    Index("windrow_identities_next", "run", "used", "name"),
    Index("windrow_identities_holder", "partition", "fence"),
    sqlite_with_rowid=False,
)

workers = Table(
    "windrow_workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("run", _ID, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("sessions", Integer, nullable=False),
    Column("started", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("ended", Float),
    _count("records"),
    _count("requests"),
    Index("windrow_workers_by_run", "run"),
)
