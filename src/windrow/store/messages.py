"""What a worker asks of the store, and what it is answered.

Each command is one value that can cross a pipe (MessagePack). The store carries out a command entirely or not at all;
a command that names a lease is refused with `Lost` when the lease's fence is no longer the partition's.
Times in commands and answers are seconds from now, never stamps: the store's clock is the only one that counts.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from windrow.politeness.adaptive import Observation
from windrow.records import Row


class Lease(Struct, frozen=True, tag=True):
    """A worker's right to one partition until it expires. `fence` grows at each claim of the partition."""

    partition: int
    fence: int
    key: str
    params: dict[str, Any]
    attempt: int
    """1 for the first attempt of the run."""
    reopened: bool = False
    """The partition came to an end before, and something that it found was saved by nobody."""
    alone: bool = False
    """The partition is suspected of killing its workers: nothing else may run beside it."""
    identity: str | None = None
    """The name of the identity that is leased with the partition; None for a job that declares none."""


class Held(Struct, frozen=True):
    """The lease a command speaks for."""

    partition: int
    fence: int


class Counts(Struct):
    """What happened since the last report, to be added up."""

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    blocked: int = 0
    invalid: int = 0


# --- commands ---------------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag=True):
    """A worker begins. → Done"""

    worker: str
    pid: int
    sessions: int


class Claim(Struct, frozen=True, tag=True):
    """Give `worker` a partition. → Lease, Wait or Finished. `idle`: it has no other partition in hand."""

    worker: str
    idle: bool


class Unseen(Struct, frozen=True, tag=True):
    """These keys were found by the partition; which has nobody in this run saved or in hand? → Keys

    With `claim`, the keys answered are the partition's own from now on, until it saves them or its lease ends.
    """

    lease: Held
    keys: list[str]
    claim: bool = True


class Child(Struct, frozen=True):
    """A partition that a split creates."""

    key: str
    params: dict[str, Any]
    lazy: int = 0
    """Above 0, the child runs after everything that is less lazy, and only if something is missing by then."""


class Commit(Struct, frozen=True, tag=True):
    """Save records and counts and renew the lease, in one transaction. → Committed or Lost.

    `rows` are (key, row) pairs. With `last` the attempt is over: the partition becomes done or, when the ledger says
    that something is missing, is tried again or left incomplete; with `children` (not None) it is split. With
    `claiming` besides, the worker is given its next partition in the same transaction, if one is ready.
    """

    lease: Held
    rows: list[tuple[str, Row]] = field(default_factory=list)
    invalid: list[tuple[str, str]] = field(default_factory=list)
    """(raw record, error) pairs."""
    counts: Counts = field(default_factory=Counts)
    reported: int | None = None
    last: bool = False
    claiming: bool = False
    capped: bool = False
    """The site shows only a part and the partition cannot split further: another attempt would find no more."""
    children: list[Child] | None = None
    rests: str | None = None
    """As in `Release`: an attempt may end well although the site refused its session at last."""


class Release(Struct, frozen=True, tag=True):
    """Give a partition back unfinished. → Ended or Lost.

    `why` is `failed` (counts as an attempt unless it saved something new), `parked` (comes back in `seconds`, at no
    cost), `stopped` (at once, at no cost) or `refused` (no further attempt).
    """

    lease: Held
    why: str
    reason: str
    seconds: float = 0.0
    counts: Counts = field(default_factory=Counts)
    rests: str | None = None
    """Why the identity of the lease has to rest; None where it need not."""


class Renew(Struct, frozen=True, tag=True):
    """A worker's sign of life: renew its leases. → Lapsed, the partitions that are no longer its own.

    `counts`: one for each lease. `sessions`: how many it keeps now; 0 for as many as before.
    """

    worker: str
    leases: list[Held]
    counts: list[Counts]
    sessions: int = 0


class Reserve(Struct, frozen=True, tag=True):
    """Take up to `slots` request slots of a host, `interval` seconds apart over all workers. → Slots"""

    host: str
    slots: int
    interval: float


class Hold(Struct, frozen=True, tag=True):
    """Nobody may send to `host` for `seconds`. → Done. `seen`: what the worker saw until then, for the budget."""

    host: str
    seconds: float
    seen: Observation | None = None


class Take(Struct, frozen=True, tag=True):
    """Report what was seen of a host and take up to `slots` slots at the rate that its budget allows. → Slots

    Over all workers there are no more than one for each `interval`, whatever the budget says; where several share a
    stretch, two of different workers may come at one moment.
    """

    host: str
    worker: str
    slots: int
    interval: float
    seen: Observation


class Observe(Struct, frozen=True, tag=True):
    """Report what was seen of a host. → Done"""

    host: str
    seen: Observation


class AskHost(Struct, frozen=True, tag=True):
    """What is known of a host. → HostNotes"""

    host: str


class KeepRobots(Struct, frozen=True, tag=True):
    """Remember a host's robots.txt for all workers. → Done. `status` is the HTTP status, 0 for unreachable."""

    host: str
    status: int
    text: str


Command = Hello | Claim | Unseen | Commit | Release | Renew | Reserve | Take | Observe | Hold | AskHost | KeepRobots

# --- answers ----------------------------------------------------------------------------------------------------


class Wait(Struct, frozen=True, tag=True):
    """Nothing to claim now; ask again in `seconds`."""

    seconds: float


class Finished(Struct, frozen=True, tag=True):
    """The run has no partition left."""


class Keys(Struct, frozen=True, tag=True):
    keys: list[str]


class Committed(Struct, frozen=True, tag=True):
    """`new` records were not yet saved in this run. `state` is the partition's, leased while it goes on. A `reason`
    with that says that it must not go on: the worker closes its session and releases the partition as refused.

    `following`: the next partition, where the commit asked for one. None says nothing but "ask": only `Claim` waits
    for what is not ready yet, and finds out that the run is finished.
    """

    new: int
    state: str
    reason: str | None = None
    following: Lease | None = None


class Ended(Struct, frozen=True, tag=True):
    """The state the partition was left in."""

    state: str


class Lost(Struct, frozen=True, tag=True):
    """The lease is somebody else's by now; nothing was written."""


class Lapsed(Struct, frozen=True, tag=True):
    partitions: list[int]


class Slots(Struct, frozen=True, tag=True):
    """When each reserved slot comes: seconds from now, ascending, not before the host's hold is over.

    `interval`: seconds between two slots of this worker, where an adaptive budget says so.
    """

    delays: list[float]
    interval: float = 0.0


class HostNotes(Struct, frozen=True, tag=True):
    """`robots_status` is None where nobody fetched robots.txt within the last day; `hold` is seconds from now.

    `robots_age` is how many seconds ago robots.txt was fetched.
    """

    robots_status: int | None
    robots_text: str
    hold: float
    robots_age: float = 0.0


class Done(Struct, frozen=True, tag=True):
    pass


class Failure(Struct, frozen=True, tag=True):
    """The store could not carry out the command: `message` says why. `fatal`: it can carry out none any more."""

    message: str
    fatal: bool = False


Answer = Lease | Wait | Finished | Keys | Committed | Ended | Lost | Lapsed | Slots | HostNotes | Done | Failure
