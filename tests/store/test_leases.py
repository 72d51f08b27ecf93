"""Leases: one worker at a time, fences, retries, deaths. Each transition of a partition has a test."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from tests.support.bench import Bench, held, is_lost
from windrow.job import Limits
from windrow.records import Row
from windrow.store.context import LEASE_SECONDS
from windrow.store.messages import (
    Child,
    Claim,
    Commit,
    Committed,
    Counts,
    Failure,
    Finished,
    Hello,
    Lapsed,
    Release,
    Renew,
    Unseen,
    Wait,
)
from windrow.store.tables import workers


def test_each_partition_goes_to_one_worker(bench: Bench) -> None:
    bench.begin(["a", "b"])
    assert {bench.claim("w1").key, bench.claim("w2").key} == {"a", "b"}
    assert isinstance(bench.nothing_to_claim("w3"), Wait)


def test_pending_to_leased_to_done(bench: Bench) -> None:
    bench.begin(["a"])
    assert bench.state("a").state == "pending"
    lease = bench.claim()
    assert bench.state("a").state == "leased"
    assert bench.save(lease, "1", last=True).state == "done"
    assert bench.state("a").state == "done"
    assert isinstance(bench.nothing_to_claim(), Finished)


def test_a_fence_grows_at_each_claim_and_the_old_one_writes_nothing(bench: Bench) -> None:
    bench.begin(["a"])
    zombie = bench.claim("w1")
    bench.wait(LEASE_SECONDS + 1)
    heir = bench.claim("w2")
    assert heir.fence == zombie.fence + 1
    for command in (
        Commit(held(zombie), rows=[("1", {"id": "1"})]),
        Commit(held(zombie), rows=[("1", {"id": "1"})], last=True),
        Unseen(held(zombie), ["2"]),
        Release(held(zombie), "failed", "late"),
    ):
        assert is_lost(bench.say(command))
    assert bench.records() == []
    assert bench.state("a").found == 0
    assert bench.state("a").worker == "w2"


def test_a_finished_partition_takes_no_more_records(bench: Bench) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    bench.save(lease, "1", last=True)
    assert is_lost(bench.say(Commit(held(lease), rows=[("2", {"id": "2"})])))
    assert [record["id"] for record in bench.records()] == ["1"]


def test_commits_and_signs_of_life_renew_a_lease(bench: Bench) -> None:
    bench.begin(["a"])
    lease = bench.claim("w1")
    for _ in range(3):
        bench.wait(LEASE_SECONDS * 0.9)
        bench.save(lease, "1")
        bench.wait(LEASE_SECONDS * 0.9)
        assert bench.say(Renew("w1", [held(lease)], [Counts()])) == Lapsed([])
        bench.save(lease, "1")
    assert isinstance(bench.nothing_to_claim("w2"), Wait)


def test_an_expired_lease_is_found_by_another_workers_sign_of_life(bench: Bench) -> None:
    bench.begin(["a"])
    bench.claim("w1")
    bench.wait(LEASE_SECONDS + 1)
    bench.say(Renew("w2", [], []))
    row = bench.state("a")
    assert (row.state, row.deaths, row.worker) == ("pending", 1, None)


def test_a_failed_attempt_comes_back_later_and_fails_for_good_after_the_limit(bench: Bench) -> None:
    bench.begin(["a"], limits=Limits(attempts=3))
    delays = []
    for attempt in (1, 2):
        lease = bench.claim()
        assert lease.attempt == attempt
        assert bench.fail(lease) == "pending"
        delays.append(bench.state("a").not_before - bench.clock.now())
        assert isinstance(bench.nothing_to_claim(), Wait)
        bench.wait(delays[-1])
    assert 0 < delays[0] < delays[1]
    assert bench.fail(bench.claim()) == "failed"
    assert bench.state("a").reason == "because"
    assert isinstance(bench.nothing_to_claim(), Finished)


def test_an_attempt_that_saved_something_new_does_not_count(bench: Bench) -> None:
    bench.begin(["a"], limits=Limits(attempts=2))
    for number in range(10):
        lease = bench.claim()
        bench.save(lease, str(number))
        assert bench.fail(lease) == "pending"
    lease = bench.claim()
    bench.save(lease, "9")  # not new
    assert bench.fail(lease) == "pending"
    bench.wait(1000)
    assert bench.fail(bench.claim()) == "failed"


def test_a_parked_partition_comes_back_in_its_time_at_no_cost(bench: Bench) -> None:
    bench.begin(["a"], limits=Limits(attempts=1))
    assert bench.fail(bench.claim(), "parked", 120.0) == "pending"
    assert bench.state("a").failures == 0
    bench.wait(119)
    assert isinstance(bench.nothing_to_claim(), Wait)
    bench.wait(1)
    assert bench.claim().key == "a"


def test_parking_has_an_end_and_a_new_record_begins_it_anew(bench: Bench) -> None:
    bench.begin(["a"], limits=Limits(parked=300.0))
    for _ in range(2):
        bench.fail(bench.claim(), "parked", 100.0)
        bench.wait(100)
    lease = bench.claim()
    bench.save(lease, "1")
    for _ in range(3):
        assert bench.fail(lease, "parked", 100.0) == "pending"
        bench.wait(100)
        lease = bench.claim()
    assert bench.fail(lease, "parked", 100.0) == "failed"
    assert "Limits.parked" in str(bench.state("a").reason)


def test_a_stopped_partition_is_there_at_once(bench: Bench) -> None:
    bench.begin(["a"], limits=Limits(attempts=1))
    assert bench.fail(bench.claim(), "stopped") == "pending"
    assert bench.claim().attempt == 2


def test_a_refused_partition_is_not_tried_again(bench: Bench) -> None:
    bench.begin(["a"])
    assert bench.fail(bench.claim(), "refused") == "failed"
    assert isinstance(bench.nothing_to_claim(), Finished)


def test_a_new_record_ends_the_time_that_a_partition_was_parked(bench: Bench) -> None:
    bench.begin(["a"], limits=Limits(parked=300.0))
    bench.fail(bench.claim(), "parked", 60.0)
    bench.wait(61.0)
    lease = bench.claim()
    bench.save(lease, "1")
    bench.fail(lease)
    bench.wait(400.0)
    assert bench.fail(bench.claim(), "parked", 60.0) == "pending"


def test_a_partition_that_kills_its_workers_runs_alone_and_then_fails(bench: Bench) -> None:
    bench.begin(["poison", "other"])
    assert bench.keeper is not None
    for _ in range(2):
        lease = bench.claim("w1")
        assert lease.key == "poison"
        assert not lease.alone
        bench.keeper.bury("w1", "signal 11", blameless=False)
    other = bench.claim("w2", idle=False)
    assert other.key == "other"
    assert isinstance(bench.nothing_to_claim("w2", idle=False), Wait)
    lease = bench.claim("w3", idle=True)
    assert (lease.key, lease.alone) == ("poison", True)
    bench.keeper.bury("w3", "signal 11", blameless=False)
    row = bench.state("poison")
    assert row.state == "failed"
    assert row.reason == "it killed its worker 3 times: signal 11"
    bench.save(other, "1", last=True)
    assert isinstance(bench.nothing_to_claim(), Finished)


@pytest.mark.parametrize("blameless", [True, False])
def test_only_deaths_without_progress_in_between_are_blamed(bench: Bench, blameless: bool) -> None:
    bench.begin(["a"])
    assert bench.keeper is not None
    for number in range(8):
        lease = bench.claim("w")
        if not blameless:
            bench.save(lease, str(number))
        bench.keeper.bury("w", "signal 9", blameless=blameless)
        assert bench.state("a").state == "pending"
        assert bench.state("a").deaths == 0


def test_a_new_supervisor_takes_back_every_lease(bench: Bench) -> None:
    bench.begin(["a", "b"])
    zombie = bench.claim("w1")
    bench.claim("w1")
    bench.begin(["a", "b"])
    assert bench.state("a").state == bench.state("b").state == "pending"
    assert is_lost(bench.say(Commit(held(zombie), rows=[("1", {"id": "1"})])))


def test_the_largest_of_the_last_run_goes_first(bench: Bench) -> None:
    bench.begin(["a", "b", "c"])
    for key, size in (("a", 1), ("b", 3), ("c", 2)):
        lease = bench.claim()
        assert lease.key == key
        bench.save(lease, *(f"{key}{n}" for n in range(size)), last=True)
    bench.finish()
    bench.begin(["a", "b", "c"])
    assert [bench.claim(f"w{n}").key for n in range(3)] == ["b", "c", "a"]


def test_a_sign_of_life_says_how_many_sessions_a_worker_keeps(bench: Bench) -> None:
    bench.begin(["a"])
    bench.say(Hello("w1", 1, 4))
    bench.say(Renew("w1", [], [], 7))
    bench.say(Renew("w1", [], []))
    with bench.database.connect() as connection:
        assert connection.execute(select(workers.c.sessions)).scalars().all() == [7]


def test_a_supervisor_that_slept_takes_nobodys_lease(bench: Bench) -> None:
    bench.begin(["a"])
    lease = bench.claim("w1")
    bench.clock.forward(10 * LEASE_SECONDS)
    assert isinstance(bench.say(Claim("w2", idle=True)), Wait)
    assert bench.save(lease, "1").state == "leased"
    bench.wait(LEASE_SECONDS + 1)
    assert bench.claim("w2").fence == lease.fence + 1


def test_nor_does_it_where_the_first_command_after_that_is_refused(bench: Bench) -> None:
    bench.begin(["a", "b"])
    one, other = bench.claim(), bench.claim("w2")
    bench.clock.forward(300.0)
    assert bench.keeper is not None
    refused = Commit(held(one), rows=[("k", {"id": "k", "a\0b": 1})])
    failure, *_ = bench.keeper.answer([refused, Renew("w3", [], [])])
    assert isinstance(failure, Failure)
    assert bench.say(Renew("w2", [held(other)], [Counts()])) == Lapsed([])


# --- the last commit claims the next -------------------------------------------------------------------------------


def test_the_last_commit_gives_its_worker_the_next_partition(bench: Bench) -> None:
    bench.begin(["a", "b"])
    first = bench.claim("w1")
    ended = bench.save(first, "1", last=True, claiming=True)
    assert (ended.new, ended.state) == (1, "done")
    assert ended.following is not None
    assert (ended.following.key, ended.following.fence, ended.following.attempt) == ("b", 1, 1)
    assert (bench.state("b").state, bench.state("b").worker) == ("leased", "w1")
    assert bench.save(ended.following, "2", last=True, claiming=True).following is None, "nothing is left"
    bench.finish()


def test_only_a_last_commit_that_asks_for_it_claims(bench: Bench) -> None:
    bench.begin(["a", "b"])
    first = bench.claim()
    assert bench.save(first, "1", claiming=True).following is None
    assert bench.save(first, "2", last=True).following is None
    assert bench.state("b").state == "pending"


def test_a_last_commit_that_is_lost_or_comes_twice_claims_nothing(bench: Bench) -> None:
    bench.begin(["a", "b", "c"])
    first = bench.claim("w1")
    last = Commit(held(first), rows=[("1", {"id": "1"})], last=True, claiming=True)
    answer = bench.say(last)
    assert isinstance(answer, Committed)
    assert answer.following is not None
    assert is_lost(bench.say(last)), "its answer was lost, and it is sent again"
    assert bench.state("c").state == "pending"
    assert bench.keeper is not None
    bench.keeper.bury("w1", "signal 9", blameless=False)
    assert bench.claim("w2").key == "b", "a worker that died before it heard of it has lost nothing"


def test_a_last_commit_that_is_refused_claims_nothing(bench: Bench) -> None:
    bench.begin(["a", "b"])
    first = bench.claim()
    rows: list[tuple[str, Row]] = [("1", {"id": "1", "n": 2**70})]
    assert isinstance(bench.say(Commit(held(first), rows=rows, last=True, claiming=True)), Failure)
    assert (bench.state("a").state, bench.state("b").state) == ("leased", "pending")


@pytest.mark.parametrize(
    ("ends", "goes_on"),
    [
        ({"reported": 5}, "a"),  # it has found something new: its next attempt is ready at once
        ({"reported": 5, "capped": True}, "b"),
        ({"children": []}, "b"),
    ],
)
def test_however_a_partition_ends_its_worker_goes_on(bench: Bench, ends: dict[str, Any], goes_on: str) -> None:
    bench.begin(["a", "b"])
    following = bench.save(bench.claim(), "1", last=True, claiming=True, **ends).following
    assert following is not None
    assert following.key == goes_on


def test_what_has_to_wait_or_to_be_alone_is_not_given_with_a_commit(bench: Bench) -> None:
    bench.begin(["a", "parked", "suspect", "split"])
    leases = {lease.key: lease for lease in (bench.claim(key) for key in ("w1", "w2", "w3", "w4"))}
    bench.fail(leases["parked"], "parked", 60.0)
    assert bench.keeper is not None
    for worker in ("w3", "w5"):
        bench.keeper.bury(worker, "signal 9", blameless=False)
        if worker == "w3":
            assert bench.claim("w5", idle=False).key == "suspect"
    bench.save(leases["split"], last=True, children=[Child("lazy", {}, 1)])
    assert bench.save(leases["a"], "1", last=True, claiming=True).following is None
    alone = bench.claim("w1", idle=True)
    assert (alone.key, alone.alone) == ("suspect", True)
