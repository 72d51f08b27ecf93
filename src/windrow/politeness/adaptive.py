"""The adaptive budget of a host: how fast all sessions together may go there, found out from what is seen. Pure.

`observe(state, seen, now)` turns a report of one worker into the host's next state; `take` lets GCRA (`budget.py`)
dispense slots at the rate that state allows. Both are carried out by the store, on the host's row, so that all workers
share what each of them learns, and a restart goes on where the last run was.

How the rate moves:

- Slow start: it doubles in half a second as long as sessions have to wait for slots, never far ahead of what is
  answered.
- A throttling cuts it once in `CUT_SECONDS`. The *ceiling* is not the rate that was allowed then but what the host
  bore: the good answers to requests of the last second before it refused, counted by the moment they were sent and
  over all workers. During a slow start the two differ by a factor of two, and a ceiling that is too high is paid for
  with one refusal after the other. What comes in late (answers under way, other workers' reports) is added.
- A limit over more than a second, or a bucket of saved-up tokens, bears much for a second and little in the long run:
  refusals that come before a probe take the ceiling down to what was borne since the one before, in growing steps.
- From 0.7 of the ceiling it comes back fast to `NEAR`, stays there for a while, then probes gently. A probe that fails
  near the known ceiling doubles the while; a failure below it means that the limit has changed, and begins anew.
- Where the host was much faster within the last minutes, the while stays short: a limit that fell comes back.
- Pages that are not what they should be (walls without a known word) and faults, above a share of `TROUBLE`, and a
  latency far above its own baseline, cut as well, but by less.
- Headers that name an allowance bound it while they hold.
- What is old is trusted less: the rate moves back to the start's, by half of its distance (in factors) in an hour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from windrow.politeness.budget import HostBudget, reserve

START = 8.0
"""Requests per second that a host nobody knows is asked with."""
LEAST, MOST = 0.05, 20_000.0
DOUBLING = 0.5
"""Seconds in which a slow start doubles the rate."""
FLOW_SECONDS = 0.6
"""Time constant of the flow: with it, the flow of a slow start is what the last whole second let through."""
CUT_SECONDS = 2.0
CUT, SOFT_CUT, NEAR = 0.7, 0.85, 0.965
REPORTS_LATE = 0.5
"""Seconds, beside twice the latency, after a cut in which late reports may still raise the ceiling that was found."""
SOON_CUTS = (0.9, 0.7, 0.5)
"""How far the first, the second and any further refusal before a probe may take the ceiling down."""
RECOVERING, PROBING, PASSED = 1.25, 1.04, 1.15
"""Growth per second on the way back and while probing, and the share of the ceiling from which on it is no more."""
WAIT, LONGEST_WAIT, SHORT_WAIT = 60.0, 240.0, 8.0
WAIT_REQUESTS = 300.0
"""A slow host is not probed before so many requests: two refused ones should stay below a hundredth."""
SOONER = 8.0
"""Where the host was much faster lately, so many times sooner at first, and by as much later as probes fail."""
SLOWER, SLOWER_BY = 2.5, 0.1
"""Latency above so many times its baseline, and by so many seconds, is the host's trouble."""
TROUBLE = 0.08
"""Share of the last twenty or so answers that may be walls or faults, beside twice what the site always has."""
USUAL = 0.02
"""Share of walls and faults below which a first one while probing is taken for a sign of the rate."""
COUNTED = 3
"""Fewer good answers in a second are no measure of what is borne in one."""
MOST_USUAL = 0.4
"""Share of walls and faults up to which a site may always have them: to slow down for those would never end."""
SUSTAINED_SECONDS = 20.0
PROBE_CUT = 0.9
AGE_HALF, AGE_FORGET = 3_600.0, 6 * 3_600.0
AHEAD_GROWING, AHEAD_STEADY = 0.25, 1.0
RECENT = 1.5
"""Seconds after which a worker that took no slots has no share any more."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one worker saw of a host since its last report, `seconds` ago.

    `ok`, `throttled`, `trouble` (blocked and transient): answers by their verdict. `latency`: the median of the good
    ones, 0 where there is none. `borne`: of the good ones, those sent in the last second before a refusal that were not
    reported as such yet. `entered`: requests let through, `waited`: those for which no slot was there yet.
    `bound`: requests per second that headers allow for `bound_seconds` from now; no such word where these are 0.
    """

    seconds: float = 0.0
    ok: int = 0
    throttled: int = 0
    trouble: int = 0
    borne: int = 0
    latency: float = 0.0
    entered: int = 0
    waited: int = 0
    bound: float = 0.0
    bound_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Adaptive:
    """What is known of a host's limit. Rates in requests per second, moments in seconds of the store's clock.

    `ceiling` 0: none is known. `failed`: the rate at the last cut, `borne`: what was reported as borne then, `good`:
    the good answers since then, `soon`: how many refusals came before a probe. `flow` and `sustained`: good answers per
    second, of the last second and of the last half minute. `best`: the best flow of the last minutes.
    """

    rate: float = START
    ceiling: float = 0.0
    failed: float = 0.0
    borne: float = 0.0
    good: float = 0.0
    soon: float = 0.0
    flow: float = 0.0
    sustained: float = 0.0
    best: float = 0.0
    updated: float = 0.0
    cut_at: float = 0.0
    probe_at: float = 0.0
    wait: float = WAIT
    latency: float = 0.0
    baseline: float = 0.0
    trouble: float = 0.0
    usual_trouble: float = 0.0
    bound: float = 0.0
    bound_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Grant:
    """Slots for one worker: when each begins, ascending, and the seconds between two of them."""

    times: list[float]
    interval: float


def allowed(state: Adaptive, now: float) -> float:
    """Requests per second that may be sent now."""
    return min(state.rate, state.bound) if now < state.bound_until else state.rate


def take(
    state: Adaptive,
    budget: HostBudget,
    takers: Mapping[str, float],
    worker: str,
    slots: int,
    least_interval: float,
    now: float,
) -> tuple[HostBudget, dict[str, float], Grant]:
    """Up to `slots` slots for `worker`, not closer than `least_interval`; the budget and the takers afterwards.

    `takers`: worker → when it last took slots. With several of them each gets every second (third, …) slot of a longer
    stretch instead of all slots of a short one, so that they send side by side and not by turns.
    """
    interval = max(least_interval, 1.0 / allowed(state, now))
    recent = {name: at for name, at in takers.items() if now - at < max(RECENT, 3 * interval) and at <= now}
    recent[worker] = now
    stride = interval * len(recent)
    ahead = AHEAD_STEADY if now < state.probe_at and state.rate >= NEAR * state.ceiling * 0.999 else AHEAD_GROWING
    wanted = max(1, min(slots, math.ceil(ahead / stride)))
    # One more than a multiple of the takers: then the stretches of several workers fall into each other's gaps.
    wanted -= (wanted - 1) % len(recent)
    after, times = reserve(budget, now, wanted, interval, ahead)
    grant = Grant([times[0] + place * stride for place in range(len(times))], stride)
    return after, recent, grant


def observe(state: Adaptive, seen: Observation, now: float) -> Adaptive:
    """The state after one worker's report at `now`."""
    state = _aged(_of_this_clock(state, now), now)
    passed = min(1.0, now - state.updated)
    state = _measured(state, seen, now)
    if seen.throttled:
        return _cut(state, CUT, seen, now)
    if seen.trouble and _is_in_trouble(state, now):
        return replace(_cut(state, SOFT_CUT, seen, now), trouble=0.0)
    if _is_slow(state) and seen.latency:
        floor = max(LEAST, 0.4 * state.best)
        return _cut(state, SOFT_CUT, seen, now) if state.rate > floor else state
    if _may_come_late(state, now):
        return _corrected(state, seen)
    if seen.entered and seen.waited * (2 if state.ceiling else 8) >= seen.entered and not _is_slow(state, 1.5):
        return _grown(state, passed, now)
    return state


def _of_this_clock(state: Adaptive, now: float) -> Adaptive:
    """With its moments moved along where the clock was set back: else no refusal would count until it has caught up."""
    ahead = state.updated - now
    if ahead <= 0:
        return state
    return replace(
        state,
        updated=now,
        cut_at=state.cut_at - ahead,
        probe_at=state.probe_at - ahead,
        bound_until=state.bound_until - ahead,
    )


def _aged(state: Adaptive, now: float) -> Adaptive:
    if not state.updated:
        return replace(state, updated=now)
    age = now - state.updated
    if age < 60.0:
        return state
    kept = 0.5 ** (age / AGE_HALF)
    state = replace(state, rate=START * (state.rate / START) ** kept, trouble=0.0, flow=0.0)
    return state if age < AGE_FORGET else replace(state, ceiling=0.0, wait=WAIT, baseline=0.0, latency=0.0, best=0.0)


def _measured(state: Adaptive, seen: Observation, now: float) -> Adaptive:
    passed = now - state.updated
    period = max(seen.seconds, 1e-3)
    # The flow is a low-pass filter of good answers; it is linear, so the workers' reports add up in any order.
    flow = _filtered(state.flow, passed, seen.ok, period, FLOW_SECONDS)
    sustained = _filtered(state.sustained, passed, seen.ok, period, SUSTAINED_SECONDS)
    answers = seen.ok + seen.trouble
    share = seen.trouble / answers if answers else 0.0
    latency, baseline = _latencies(state, seen, passed)
    bound, until = state.bound, state.bound_until
    if seen.bound_seconds > 0 and seen.bound > 0:
        bound, until = max(seen.bound, LEAST), now + seen.bound_seconds
    return replace(
        state,
        updated=now,
        good=state.good + seen.ok,
        flow=flow,
        sustained=sustained,
        best=max(state.best * 0.5 ** (passed / 600.0), _lowest(flow)),
        trouble=share + 0.95**answers * (state.trouble - share),
        usual_trouble=share + 0.998**answers * (state.usual_trouble - share),
        latency=latency,
        baseline=baseline,
        bound=bound,
        bound_until=until,
    )


def _lowest(flow: float) -> float:
    """A flow without the jump that the last answer gave it: of a few requests per second that is a third."""
    return max(0.0, flow - 1.0 / FLOW_SECONDS)


def _filtered(value: float, passed: float, count: int, period: float, constant: float) -> float:
    """A low-pass filter's value after `count` events in the last `period` seconds."""
    return value * math.exp(-passed / constant) + count / period * -math.expm1(-period / constant)


def _latencies(state: Adaptive, seen: Observation, passed: float) -> tuple[float, float]:
    """Smoothed latency and its baseline, which falls at once and rises by a hundredth in a second."""
    if not seen.latency:
        return state.latency, state.baseline
    if not state.baseline:
        return seen.latency, seen.latency
    weight = 1.0 - 0.9 ** max(1, min(seen.ok, 20))
    latency = state.latency + weight * (seen.latency - state.latency)
    if latency < state.baseline:
        return latency, state.baseline + 0.3 * (latency - state.baseline)
    return latency, min(latency, state.baseline * 1.01 ** min(passed, 10.0))


def _is_slow(state: Adaptive, factor: float = SLOWER) -> bool:
    return bool(state.baseline) and state.latency > max(factor * state.baseline, state.baseline + SLOWER_BY)


def _is_in_trouble(state: Adaptive, now: float) -> bool:
    """Whether walls and faults are more than the site always has; while probing, the first one is a word."""
    if state.trouble > TROUBLE + min(MOST_USUAL, 2 * state.usual_trouble):
        return True
    return _is_near(state, 1.01) and now > state.probe_at and state.usual_trouble < USUAL


def _is_near(state: Adaptive, factor: float = 0.999) -> bool:
    """Whether the rate is where it is for as long as nothing is known to be wrong, or above that."""
    return 0 < factor * NEAR * state.ceiling <= state.rate


def _may_come_late(state: Adaptive, now: float) -> bool:
    return state.ceiling > 0 and now - state.cut_at < REPORTS_LATE + 2 * state.latency


def _cut(state: Adaptive, factor: float, seen: Observation, now: float) -> Adaptive:
    since = now - state.cut_at
    if since < max(CUT_SECONDS, 1.5 * state.latency):
        return _corrected(state, seen) if _may_come_late(state, now) else state
    # A failure near the known ceiling: the rate grew slowly, so it is itself a good word for what was borne. After more
    # than a second of fast growth it is not: it is ahead of what was borne, as in a slow start.
    gently = state.rate <= RECOVERING * PASSED * state.ceiling
    probed = factor == CUT and _is_near(state) and gently and state.flow > 0.6 * state.rate
    again = factor == CUT and state.ceiling > 0 and now < state.probe_at
    if again and not state.good:
        return replace(
            state, cut_at=now
        )  # nothing was borne in between: the host wants a longer rest, not a lower rate
    if again:
        least = SOON_CUTS[min(int(state.soon), len(SOON_CUTS) - 1)]
        # A little of it will have been the rest that the refusal asked for.
        average = state.good / max(since - 1.5, 0.8 * since)
        ceiling = min(state.ceiling, max(average, least * state.ceiling))
    elif seen.borne >= COUNTED and not probed:
        ceiling = min(state.rate, float(seen.borne))
    else:
        ceiling = _failing(state, 0.95 if probed else 0.7 if state.ceiling else 0.35)
    return _waiting(
        replace(
            state,
            rate=max(LEAST, (max(factor, PROBE_CUT) if probed and not state.soon else factor) * ceiling),
            ceiling=ceiling,
            failed=state.rate,
            borne=seen.borne,
            good=0.0,
            soon=state.soon + 1 if again else 0.0,
            cut_at=now,
            wait=state.wait * 2 if probed and not again else WAIT,
        )
    )


def _waiting(state: Adaptive) -> Adaptive:
    """With the time until the next probe as it fits the ceiling."""
    patience = min(2 * LONGEST_WAIT, WAIT_REQUESTS / state.ceiling)
    wait = min(max(LONGEST_WAIT, patience), max(state.wait, patience / 4))
    sooner = max(SHORT_WAIT, patience / SOONER * wait / WAIT)
    until = min(wait, sooner) if state.ceiling < 0.7 * state.best else wait
    return replace(state, wait=wait, probe_at=state.cut_at + until)


def _failing(state: Adaptive, least: float) -> float:
    """The flow just before the host refused, at least that share of what was allowed."""
    return max(LEAST, min(state.rate, max(state.flow, 0.8 * state.sustained, least * state.rate)))


def _corrected(state: Adaptive, seen: Observation) -> Adaptive:
    """Answers to requests of the time before the cut come in late: they show that the host bore more."""
    if state.soon:
        return state
    borne = state.borne + seen.borne
    ceiling = max(state.ceiling, min(state.failed, borne if borne >= COUNTED else _lowest(state.flow)))
    factor = min(1.0, state.rate / state.ceiling)
    return _waiting(replace(state, borne=borne, ceiling=ceiling, rate=max(state.rate, factor * ceiling)))


def _grown(state: Adaptive, passed: float, now: float) -> Adaptive:
    rate, ceiling = state.rate, state.ceiling
    if not ceiling:
        grown = rate * 2.0 ** (passed / DOUBLING)
    elif rate < NEAR * ceiling:
        grown = min(NEAR * ceiling, rate * RECOVERING**passed)
    elif now < state.probe_at:
        return state
    else:
        grown = rate * (PROBING if rate < PASSED * ceiling else RECOVERING) ** passed
    if rate < NEAR * ceiling:
        return replace(state, rate=min(grown, MOST))
    # Never far ahead of what is answered: what is not answered yet says nothing.
    most = max(rate, 1.6 * state.flow + 1.0 if ceiling else 2.5 * state.flow + START)
    return replace(state, rate=min(grown, most, MOST))
