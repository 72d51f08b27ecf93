"""How many sessions a worker should have in progress, where nobody said: `--sessions auto`. Pure.

More sessions help as long as sites answer slowly and nothing else is short. So the number grows while every session
has work and is not kept waiting, and it shrinks where more of them would only wait for the host's budget, or where the
processor or the memory is full.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

START = 2
"""Sessions of a worker that knows nothing yet."""
GROWTH = 1.5
IDLE, SHORT = 0.5, 0.2
"""Above the first share of time spent waiting for a turn there are too many sessions, below the second too few."""
SPARE = 1.5
"""How many times as many sessions are kept as the budget needs: some are always between two partitions."""
CPU_FULL, CPU_HIGH = 0.95, 0.8
MEMORY_FULL, MEMORY_HIGH = 0.92, 0.85


class Burden(NamedTuple):
    """`cpu`: seconds that a worker has computed so far. `memory`: the share of the machine's that is used."""

    cpu: float
    memory: float


@dataclass(frozen=True, slots=True)
class Load:
    """What the last seconds were like.

    - `sessions`: how many there may be now. `busy`: how many of them had a partition.
    - `waiting`: the share of the busy ones' time in which they waited for a turn at a host; a Retry-After is no turn.
    - `cpu`: its process's, as a share of one core, because Python computes in one thread at a time. `memory`: the
      machine's, used.
    - `held`: the share in which they waited for the end of a Retry-After: it says nothing about how many are needed.
    """

    sessions: int
    busy: int
    waiting: float
    cpu: float
    memory: float
    held: float = 0.0


def staffed(load: Load, most: int) -> int:
    """How many sessions there should be, from 1 to `most`."""
    now = load.sessions
    if load.memory > MEMORY_FULL:
        return max(1, math.ceil(0.75 * now) - 1)
    if load.cpu > CPU_FULL:
        return max(1, min(now - 1, math.ceil(0.9 * now)))
    if load.waiting > IDLE:
        # At most by half: a moment says little.
        return max(1, now // 2, min(now, math.ceil(SPARE * now * (1 - load.waiting))))
    are_enough = load.busy < now or max(load.waiting, load.held) > SHORT
    are_enough = are_enough or load.cpu > CPU_HIGH or load.memory > MEMORY_HIGH
    return min(most, now if are_enough else math.ceil(GROWTH * now))
