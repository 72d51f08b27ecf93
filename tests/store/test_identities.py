"""Identities: leased with a partition, freed with it, resting, out, and given another chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tests.support.bench import Bench, held, is_lost
from windrow.job import Limits
from windrow.politeness.retry import rest
from windrow.store import identities, runs
from windrow.store.context import LEASE_SECONDS
from windrow.store.database import transaction
from windrow.store.leases import IDLE_WAIT
from windrow.store.messages import Child, Claim, Commit, Counts, Finished, Lapsed, Lease, Release, Renew, Wait

LIMITS = Limits(rest=60.0, longest_rest=200.0, rests=5)


def test_a_partition_is_leased_with_an_identity_and_no_identity_twice(bench: Bench) -> None:
    bench.begin(["a", "b", "c"], names=["anna", "ben"])
    found = [bench.claim("w1"), bench.claim("w2")]
    assert [lease.identity for lease in found] == ["anna", "ben"]
    # One is pending, and nobody is there to scrape it.
    assert bench.nothing_to_claim("w3") == Wait(IDLE_WAIT)
    assert bench.state("c").state == "pending"
    assert bench.state("c").attempt == 0


def test_a_last_commit_that_claims_takes_an_identity_with_the_next_partition(bench: Bench) -> None:
    bench.begin(["a", "b", "c"], names=["anna", "ben"])
    first, second = bench.claim("w1"), bench.claim("w2")
    following = bench.save(first, "1", last=True, claiming=True).following
    assert following is not None
    assert (following.key, following.identity) == ("c", "anna")
    assert bench.save(second, "2", last=True, claiming=True, rests="blocked").following is None
    bench.save(following, "3", last=True)
    bench.finish()


def test_a_last_commit_claims_nothing_where_no_identity_is_free(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna"])
    assert bench.save(bench.claim("w1"), "1", last=True, claiming=True, rests="blocked").following is None
    assert bench.state("b").state == "pending"


def test_a_job_without_identities_leases_none_and_asks_for_none(bench: Bench) -> None:
    bench.begin(["a"])
    asked: list[str] = []
    assert bench.keeper is not None
    driver: Any = bench.keeper._connection.connection
    driver.set_trace_callback(asked.append)
    lease = bench.claim()
    bench.save(lease, "1", last=True)
    driver.set_trace_callback(None)
    assert lease.identity is None
    assert asked
    assert not [statement for statement in asked if "identities" in statement]


def end_with_the_last_commit(bench: Bench, lease: Lease) -> None:
    assert bench.save(lease, "1", last=True).state == "done"


def end_in_a_split(bench: Bench, lease: Lease) -> None:
    assert bench.split(lease, "a1").state == "split"


def end_short_of_what_is_reported(bench: Bench, lease: Lease) -> None:
    assert bench.save(lease, "1", last=True, reported=2).state == "pending"


def give_back(bench: Bench, lease: Lease) -> None:
    assert bench.fail(lease, "stopped") == "pending"


def fail_for_good(bench: Bench, lease: Lease) -> None:
    assert bench.fail(lease, "refused") == "failed"


def be_silent(bench: Bench, lease: Lease) -> None:
    bench.wait(LEASE_SECONDS + 1)


def be_silent_until_another_says_so(bench: Bench, lease: Lease) -> None:
    bench.wait(LEASE_SECONDS + 1)
    bench.say(Renew("w2", [], []))


def die(bench: Bench, lease: Lease) -> None:
    assert bench.keeper is not None
    bench.keeper.bury("w1", "signal 9", blameless=False)


def die_with_the_supervisor(bench: Bench, lease: Lease) -> None:
    bench.begin(["a", "b"], names=["anna"])


@pytest.mark.parametrize(
    "end",
    [
        end_with_the_last_commit,
        end_in_a_split,
        end_short_of_what_is_reported,
        give_back,
        fail_for_good,
        be_silent,
        be_silent_until_another_says_so,
        die,
        die_with_the_supervisor,
    ],
)
def test_whatever_ends_a_lease_frees_its_identity(bench: Bench, end: Callable[[Bench, Lease], None]) -> None:
    bench.begin(["a", "b"], names=["anna"])
    lease = bench.claim("w1")
    assert isinstance(bench.nothing_to_claim("w2"), Wait)
    end(bench, lease)
    heir = bench.claim("w2")
    assert heir.identity == "anna"
    assert isinstance(bench.nothing_to_claim("w3"), Wait)


def test_the_one_used_longest_ago_is_next(bench: Bench) -> None:
    bench.begin(list("abcdef"), names=["anna", "ben", "cleo"])
    order = []
    for _ in range(6):
        lease = bench.claim()
        order.append(lease.identity)
        bench.save(lease, last=True)
        bench.wait(1)
    assert order == ["anna", "ben", "cleo"] * 2
    assert bench.identity("anna").uses == 2


def test_a_zombie_neither_rests_nor_frees_the_identity_of_its_heir(bench: Bench) -> None:
    bench.begin(["a"], names=["anna"])
    zombie = bench.claim("w1")
    bench.wait(LEASE_SECONDS + 1)
    heir = bench.claim("w2")
    assert heir.identity == "anna"
    assert is_lost(bench.say(Release(held(zombie), "failed", "late", rests="blocked")))
    assert is_lost(bench.say(Commit(held(zombie), last=True, rests="blocked")))
    assert bench.identity("anna").rests == 0
    assert isinstance(bench.nothing_to_claim("w3"), Wait)


def test_a_rest_doubles_up_to_its_limit_and_others_go_on(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna"], limits=LIMITS)
    lengths = []
    for _ in range(4):
        lease = bench.claim()
        bench.fail(lease, "stopped", rests="blocked: a wall")
        lengths.append(bench.identity("anna").rest_until - bench.clock.now())
        # As long as everybody rests, waiting is bounded, and it is no polling in a circle.
        assert bench.nothing_to_claim() == Wait(1.0)
        bench.wait(lengths[-1] - 0.5)
        assert bench.nothing_to_claim() == Wait(0.5)
        bench.wait(0.5)
    assert lengths == [60, 120, 200, 200]
    assert bench.identity("anna").reason == "blocked: a wall"


def test_while_one_rests_another_goes_on(bench: Bench) -> None:
    bench.begin(["a", "b", "c"], names=["anna", "ben"], limits=LIMITS)
    bench.fail(bench.claim(), "stopped", rests="blocked")
    for _ in range(3):
        bench.wait(1)
        lease = bench.claim()
        assert lease.identity == "ben"
        bench.save(lease, last=True)


def test_one_is_free_when_its_partition_is_in_the_hands_of_another(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna", "ben"], limits=LIMITS)
    first = bench.claim()
    bench.fail(first, "stopped", rests="blocked")
    second = bench.claim()
    assert (second.key, second.identity) == (first.key, "ben")
    bench.wait(59)
    bench.say(Renew("w1", [held(second)], [Counts()]))
    bench.wait(1)
    assert bench.claim().identity == "anna"


@pytest.mark.parametrize("how", ["done", "split"])
def test_a_good_end_is_a_new_beginning(bench: Bench, how: str) -> None:
    bench.begin(["a"], names=["anna"], limits=LIMITS)
    for _ in range(2):
        bench.fail(bench.claim(), "stopped", rests="blocked")
        bench.wait(200)
    assert bench.identity("anna").rests == 2
    lease = bench.claim()
    children = [Child("a1", {})] if how == "split" else None
    assert bench.save(lease, last=True, children=children).state == how
    assert (bench.identity("anna").rests, bench.identity("anna").reason) == (0, None)


def test_an_end_that_is_not_good_forgets_nothing(bench: Bench) -> None:
    bench.begin(["a"], names=["anna"], limits=LIMITS)
    bench.fail(bench.claim(), "stopped", rests="blocked")
    bench.wait(60)
    bench.save(bench.claim(), "1", last=True, reported=2)
    assert bench.identity("anna").rests == 1


def test_an_attempt_that_ends_well_though_its_session_was_refused_rests_its_identity(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna"], limits=LIMITS)
    assert bench.save(bench.claim(), "1", last=True, rests="blocked").state == "done"
    assert bench.identity("anna").rests == 1
    assert isinstance(bench.nothing_to_claim(), Wait)


def test_an_attempt_with_too_many_invalid_records_rests_its_identity_too(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna"], limits=replace(LIMITS, invalid=0))
    ended = bench.save(bench.claim(), last=True, invalid=[("{}", "no id")], rests="blocked")
    assert (ended.state, bench.identity("anna").rests) == ("failed", 1)
    assert isinstance(bench.nothing_to_claim(), Wait)


def test_an_attempt_that_must_not_go_on_keeps_its_identity_until_its_session_is_closed(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna"], limits=replace(LIMITS, invalid=0))
    lease = bench.claim()
    assert bench.save(lease, invalid=[("{}", "no id")]).reason == "1 invalid records, the job allows 0"
    assert isinstance(bench.nothing_to_claim("w2"), Wait)
    assert bench.fail(lease, "refused") == "failed"
    assert bench.claim("w2").identity == "anna"


def rest_until_out(bench: Bench, times: int = LIMITS.rests) -> None:
    for _ in range(times):
        bench.fail(bench.claim(), "stopped", rests="the proxy http://127.0.0.1:9 cannot be used")
        bench.wait(200)


def test_when_all_are_out_what_is_pending_fails_and_says_why(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna", "ben"], limits=LIMITS)
    rest_until_out(bench, 9)
    assert [bench.identity(name).is_out for name in ("anna", "ben")] == [True, False]
    rest_until_out(bench, 1)
    bench.finish()
    for key in ("a", "b"):
        assert bench.state(key).state == "failed"
        assert bench.state(key).reason.startswith("no identity is left: each one rested 5 times in a row")
        assert "the proxy http://127.0.0.1:9 cannot be used" in bench.state(key).reason
    assert isinstance(bench.nothing_to_claim(), Finished)


def test_lazy_partitions_do_not_wait_for_identities_that_are_out(bench: Bench) -> None:
    bench.begin(["a"], names=["anna"], limits=LIMITS)
    children = [Child("a1", {}, lazy=1), Child("a2", {}, lazy=2), Child("a3", {})]
    bench.save(bench.claim(), last=True, children=children, reported=5)
    rest_until_out(bench)
    bench.finish()
    assert {bench.state(key).state for key in ("a1", "a2", "a3")} == {"failed"}


def test_one_that_is_held_is_waited_for_though_all_others_are_out(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna", "ben"], limits=Limits(rests=1))
    kept = bench.claim("w1")
    bench.fail(bench.claim("w2"), "stopped", rests="blocked")
    assert bench.nothing_to_claim("w2") == Wait(IDLE_WAIT)
    bench.save(kept, last=True)
    assert bench.claim("w2").identity == "anna"


def test_going_on_keeps_rests_and_gives_those_that_are_out_another_chance(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna", "ben"], limits=Limits(rest=100.0, rests=2))
    bench.fail(bench.claim(), "stopped", rests="blocked")
    bench.begin(["a", "b"], names=["anna", "ben"], limits=Limits(rest=100.0, rests=2))
    assert bench.identity("anna").rests == 1
    assert bench.claim().identity == "ben"
    assert isinstance(bench.nothing_to_claim(), Wait)
    bench.wait(LEASE_SECONDS * 2)
    bench.fail(bench.claim(), "stopped", rests="blocked")
    assert bench.identity("anna").is_out
    bench.begin(["a", "b"], names=["anna", "ben"], limits=Limits(rest=100.0, rests=2))
    assert not bench.identity("anna").is_out


def test_retry_wakes_everybody(bench: Bench) -> None:
    run = bench.begin(["a"], names=["anna"], limits=Limits(rests=1))
    bench.fail(bench.claim(), "stopped", rests="blocked")
    bench.finish()
    with transaction(bench.database) as connection:
        identities.pardon(connection, run, wake=True)
        assert runs.reopen(connection, run, [], bench.clock.now()) == ["a"]
    assert bench.claim().identity == "anna"


def test_one_that_the_job_no_longer_names_is_leased_no_more(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna", "ben"])
    bench.begin(["a", "b"], names=["ben"])
    assert bench.claim().identity == "ben"
    assert isinstance(bench.nothing_to_claim(), Wait)


def test_nothing_is_leased_where_there_is_no_partition(bench: Bench) -> None:
    bench.begin(["a", "b"], names=["anna", "ben"])
    bench.save(bench.claim(), last=True)
    lease = bench.claim()
    bench.fail(lease, "parked", 100.0)
    assert isinstance(bench.nothing_to_claim(), Wait)
    assert [bench.identity(name).uses for name in ("anna", "ben")] == [1, 1]


def test_two_workers_that_ask_at_random_never_have_one_identity_at_once(bench: Bench) -> None:
    """A long random course of claims, ends of all kinds, deaths and silence."""
    random, names = Random(5), ["anna", "ben", "cleo"]
    bench.begin([f"{n:02}" for n in range(60)], names=names, limits=Limits(rest=3.0, attempts=99, deaths=99, rests=99))
    in_hand: dict[str, Lease] = {}
    for step in range(1_500):
        bench.wait(random.choice([0.01, 0.1, 1.0]))
        if in_hand and random.random() < 0.5:
            worker = random.choice(list(in_hand))
            end_somehow(bench, random, worker, in_hand.pop(worker))
        else:
            answer = bench.say(Claim(f"w{step}", random.random() < 0.5))
            if isinstance(answer, Finished):
                break
            if isinstance(answer, Lease):
                in_hand[f"w{step}"] = answer
        held_names = [lease.identity for lease in in_hand.values()]
        assert len(held_names) == len(set(held_names)), (step, held_names)
        for worker, lease in in_hand.items():
            assert bench.say(Renew(worker, [held(lease)], [Counts()])) == Lapsed([])
    assert all(bench.identity(name).uses > 10 for name in names)


def end_somehow(bench: Bench, random: Random, worker: str, lease: Lease) -> None:
    assert bench.keeper is not None
    how = random.randrange(4)
    if how == 0:
        bench.save(lease, lease.key, last=True)
    elif how == 1:
        bench.fail(lease, "stopped", rests=random.choice([None, "blocked"]))
    elif how == 2:
        bench.fail(lease, "parked", 0.5)
    else:
        bench.keeper.bury(worker, "signal 9", blameless=True)


def test_the_length_of_a_rest() -> None:
    assert [rest(times, first=60, most=3600) for times in (1, 2, 3, 7, 5_000)] == [60, 120, 240, 3600, 3600]
