"""The ledger: records land once, shortfalls are named, splits are balanced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.bench import Bench, held
from windrow.job import Limits
from windrow.partitions import Partition
from windrow.store.messages import Child, Claim, Commit, Committed, Counts, Failure, Keys, Unseen, Wait


def test_a_record_lands_once_and_is_updated(bench: Bench) -> None:
    run = bench.begin(["a", "b"])
    first, second = bench.claim(), bench.claim()
    assert bench.save(first, "1", "2").new == 2
    bench.wait(5)
    assert bench.save(second, "2", "3").new == 1
    records = bench.records()
    assert [record["id"] for record in records] == ["1", "2", "3"]
    assert [record["_partition"] for record in records] == ["a", "b", "b"]
    assert {record["_run"] for record in records} == {run}
    assert records[1]["_last_seen"] - records[1]["_first_seen"] == 5
    assert bench.run_row().records == 3


def test_the_same_key_twice_in_one_batch_is_one_record(bench: Bench) -> None:
    bench.begin(["a"])
    answer = bench.say(
        Commit(held(bench.claim()), rows=[("1", {"id": "1", "n": "old"}), ("1", {"id": "1", "n": "new"})])
    )
    assert isinstance(answer, Committed)
    assert answer.new == 1
    assert [record["n"] for record in bench.records()] == ["new"]


def test_unseen_leaves_out_what_is_saved_and_what_another_has_in_hand(bench: Bench) -> None:
    bench.begin(["a", "b"])
    first, second = bench.claim(), bench.claim()
    assert bench.unseen(first, "1", "2", "2") == ["1", "2"]
    assert bench.unseen(second, "2", "3") == ["3"]
    bench.save(first, "1")
    assert bench.unseen(first, "1", "2") == ["2"]
    assert bench.state("b").found == 2


def test_a_claim_ends_with_its_lease(bench: Bench) -> None:
    bench.begin(["a", "b"])
    first, second = bench.claim(), bench.claim()
    bench.unseen(first, "1", "2")
    bench.save(first, "1")
    bench.fail(first)
    assert bench.unseen(second, "1", "2") == ["2"]


def test_saved_in_another_run_is_unseen(bench: Bench) -> None:
    bench.begin(["a"])
    bench.save(bench.claim(), "1", last=True)
    bench.finish()
    bench.begin(["a"])
    assert bench.unseen(bench.claim(), "1") == ["1"]


def test_what_a_dead_worker_had_claimed_is_found_by_its_heir(bench: Bench) -> None:
    bench.begin(["a"])
    lease = bench.claim("w1")
    bench.unseen(lease, "1", "2", "3")
    bench.save(lease, "1")
    assert bench.keeper is not None
    bench.keeper.bury("w1", "signal 9", blameless=False)
    assert bench.unseen(bench.claim("w2"), "1", "2", "3") == ["2", "3"]


def test_less_than_reported_is_tried_again_and_then_incomplete(bench: Bench) -> None:
    bench.begin(["a"])
    assert bench.save(bench.claim(), "1", "2", last=True, reported=3).state == "pending"
    assert bench.save(bench.claim(), last=True, reported=3).state == "pending"
    bench.wait(1000)
    answer = bench.save(bench.claim(), last=True, reported=3)
    assert answer.state == "incomplete"
    bench.finish()
    assert bench.state("a").reason == "the site reports 3, 2 were found"
    assert (bench.state("a").missing, bench.run_row().missing) == (1, 1)


def test_a_later_attempt_completes_it(bench: Bench) -> None:
    bench.begin(["a"])
    bench.save(bench.claim(), "1", "2", last=True, reported=3)
    assert bench.save(bench.claim(), "3", last=True, reported=3).state == "done"
    bench.finish()
    assert bench.run_row().missing == 0


def test_capped_without_children_is_incomplete_at_once(bench: Bench) -> None:
    bench.begin(["a"])
    assert bench.save(bench.claim(), "1", last=True, reported=5, capped=True).state == "incomplete"
    bench.finish()
    assert bench.run_row().missing == 4


def test_a_split_parent_is_complete_by_the_distinct_keys_below_it(bench: Bench) -> None:
    bench.begin(["a"])
    assert bench.split(bench.claim(), "aa", "ab", reported=4).state == "split"
    bench.save(bench.claim(), "1", "2", last=True)
    lease = bench.claim()
    assert lease.key == "ab"
    bench.save(lease, "2", "3", "4", last=True)
    bench.finish()
    assert (bench.state("a").state, bench.state("a").missing) == ("split", 0)


def test_a_split_parent_that_falls_short_says_so(bench: Bench) -> None:
    bench.begin(["a"])
    bench.split(bench.claim(), "aa", "ab", reported=4)
    bench.save(bench.claim(), "1", "2", last=True)
    bench.save(bench.claim(), "2", last=True)
    bench.nothing_to_claim()
    again = bench.claim()
    assert (again.key, again.reopened) == ("a", True)
    bench.save(again, last=True, reported=4, children=[])
    bench.finish()
    row = bench.state("a")
    assert (row.state, row.missing) == ("incomplete", 2)
    assert row.reason == "the site reports 4, 2 were found below it"
    assert bench.run_row().missing == 2


def test_a_capped_leaf_is_absolved_when_all_is_found_below_its_parent(bench: Bench) -> None:
    bench.begin(["a"])
    bench.split(bench.claim(), "aa", "ab", reported=3)
    bench.save(bench.claim(), "1", last=True, reported=2, capped=True)
    bench.save(bench.claim(), "2", "3", last=True, reported=2)
    bench.finish()
    assert bench.state("aa").state == "done"
    assert bench.run_row().missing == 0


def test_a_capped_leaf_is_complete_when_enough_records_of_the_run_match_it(bench: Bench) -> None:
    def matches(record: Mapping[str, Any], partition: Partition) -> bool:
        return partition.key in str(record["id"])

    bench.begin(["x", "y", "e"], matchers=[matches])
    bench.save(bench.claim(), "x1", last=True, reported=3, capped=True)
    bench.save(bench.claim(), "yx2", "yx3", last=True)
    bench.save(bench.claim(), "e1", last=True, reported=1)
    bench.finish()
    assert bench.state("x").state == "done"
    assert bench.run_row().missing == 0


def test_a_matcher_that_raises_ends_the_run_with_its_error(bench: Bench) -> None:
    def matches(record: Mapping[str, Any], partition: Partition) -> bool:
        raise KeyError("nom")

    bench.begin(["x", "e"], matchers=[matches])
    bench.save(bench.claim(), "x1", last=True, reported=3, capped=True)
    bench.save(bench.claim(), "e1", last=True, reported=1)
    answer = bench.say(Claim("w1", True))
    assert isinstance(answer, Failure)
    assert answer.fatal
    assert "matches() raised KeyError" in answer.message


def test_a_childs_shortfall_is_part_of_its_parents(bench: Bench) -> None:
    bench.begin(["a"])
    bench.split(bench.claim(), "aa", reported=5)
    bench.save(bench.claim(), "1", last=True, reported=4, capped=True)
    bench.nothing_to_claim()
    bench.save(bench.claim(), last=True, reported=5, children=[])
    bench.finish()
    assert (bench.state("a").missing, bench.state("aa").missing, bench.run_row().missing) == (4, 3, 4)


def test_a_short_parent_that_looks_again_itself_can_be_complete(bench: Bench) -> None:
    bench.begin(["a"])
    bench.split(bench.claim(), "aa", reported=2)
    bench.save(bench.claim(), "1", last=True)
    bench.nothing_to_claim()
    again = bench.claim()
    assert bench.unseen(again, "1", "2") == ["2"]
    bench.save(again, "2", last=True, reported=2, children=[])
    bench.finish()
    assert (bench.state("a").state, bench.run_row().missing) == ("split", 0)


def test_what_was_found_for_others_to_save_is_checked_in_the_end(bench: Bench) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    assert bench.say(Unseen(held(lease), ["1", "2"], claim=False)) == Keys(["1", "2"])
    bench.split(lease, "aa")
    child = bench.claim()
    assert bench.unseen(child, "1") == ["1"]
    bench.save(child, "1", last=True)
    bench.nothing_to_claim()
    again = bench.claim()
    assert (again.key, again.reopened) == ("a", True)
    bench.save(again, *bench.unseen(again, "1", "2"), last=True)
    bench.finish()
    assert len(bench.records()) == 2
    assert bench.run_row().missing == 0


def test_lazy_children_run_last_and_one_rank_after_the_other(bench: Bench) -> None:
    bench.begin(["a", "b"])
    children = [Child("a1", {}, 2), Child("a2", {}, 1), Child("a3", {}, 1)]
    bench.save(bench.claim(), last=True, reported=9, children=children)
    other = bench.claim()
    assert other.key == "b"
    assert isinstance(bench.nothing_to_claim(), Wait), "lazy ones wait for what is under way"
    bench.save(other, last=True)
    first, second = bench.claim(), bench.claim()
    assert [first.key, second.key] == ["a2", "a3"]
    bench.save(first, last=True)
    bench.save(second, last=True)
    assert bench.claim().key == "a1"


def test_lazy_children_are_spared_when_all_that_the_parent_reports_is_known(bench: Bench) -> None:
    def begins(record: Mapping[str, Any], partition: Partition) -> bool:
        return str(record["id"]).startswith(partition.key)

    bench.begin(["a", "b", "c"], matchers=[begins])
    bench.save(bench.claim(), "a1", last=True, reported=3, children=[Child("ax", {}, 1), Child("ay", {}, 2)])
    bench.save(bench.claim(), "a2", "a3", last=True)
    bench.save(bench.claim(), "c1", last=True, reported=1)
    bench.finish()
    assert {bench.state(key).state for key in ("ax", "ay")} == {"done"}
    assert bench.state("ax").attempt == 0
    assert (bench.state("a").state, bench.run_row().missing) == ("split", 0)


def test_a_guess_without_any_evidence_counts_nothing(bench: Bench) -> None:
    def anything(record: Mapping[str, Any], partition: Partition) -> bool:
        return True

    bench.begin(["a", "b"], matchers=[anything])
    bench.save(bench.claim(), "a1", last=True, reported=2, children=[Child("ax", {}, 1)])
    bench.save(bench.claim(), "b1", "b2", last=True)
    assert bench.claim().key == "ax"


def test_a_parent_whose_child_another_one_planted_is_balanced_too(bench: Bench) -> None:
    bench.begin(["a", "b"])
    bench.split(bench.claim(), "x", reported=1)
    bench.split(bench.claim(), "x", reported=9)
    bench.save(bench.claim(), "1", last=True)
    bench.finish()
    assert (bench.state("b").state, bench.run_row().missing) == ("incomplete", 9)


def test_one_invalid_record_on_two_lists_hides_no_missing_one(bench: Bench) -> None:
    bench.begin(["a"])
    bench.split(bench.claim(), "aa", "ab", reported=3)
    first, second = bench.claim(), bench.claim()
    bench.unseen(first, "x", "y")
    bench.save(first, "y", last=True, invalid=[("x", "bad")])
    bench.unseen(second, "x")
    bench.save(second, last=True, invalid=[("x", "bad")])
    bench.nothing_to_claim()
    bench.save(bench.claim(), last=True, reported=3, children=[])
    bench.finish()
    assert bench.run_row().missing == 1


def test_a_guess_that_a_complete_list_refutes_counts_no_more(bench: Bench) -> None:
    def anything(record: Mapping[str, Any], partition: Partition) -> bool:
        return True

    bench.begin(["a", "b"], matchers=[anything])
    bench.save(bench.claim(), "a1", last=True, reported=3, children=[Child("ax", {}, 1)])
    bench.save(bench.claim(), "b1", "b2", last=True, reported=2)
    assert bench.claim().key == "ax"


def test_what_no_guess_can_tell_leaves_a_partition_incomplete(bench: Bench) -> None:
    def nothing(record: Mapping[str, Any], partition: Partition) -> bool:
        return False

    bench.begin(["a"], matchers=[nothing])
    bench.save(bench.claim(), "a1", last=True, reported=2, capped=True)
    bench.finish()
    assert bench.state("a").state == "incomplete"


def test_capped_and_silent_about_the_whole_is_incomplete(bench: Bench) -> None:
    bench.begin(["a"])
    assert bench.save(bench.claim(), "1", last=True, capped=True).state == "incomplete"


def test_keys_left_to_another_that_failed_are_taken_up(bench: Bench) -> None:
    bench.begin(["a", "b"], limits=Limits(attempts=1))
    first, second = bench.claim(), bench.claim()
    bench.unseen(first, "1")
    assert bench.unseen(second, "1", "2") == ["2"]
    assert bench.save(second, "2", last=True, reported=2).state == "done"
    assert bench.fail(first) == "failed"
    bench.nothing_to_claim()
    again = bench.claim()
    assert again.key == "b"
    assert bench.unseen(again, "1", "2") == ["1"]
    bench.save(again, "1", last=True, reported=2)
    bench.finish()
    assert (bench.state("a").state, bench.state("b").state) == ("failed", "done")


def test_what_a_failed_partition_is_known_to_have_is_missing(bench: Bench) -> None:
    bench.begin(["a"], limits=Limits(attempts=1))
    lease = bench.claim()
    bench.unseen(lease, "1", "2", "3")
    bench.say(Commit(held(lease), rows=[("1", {"id": "1"})], reported=5))
    bench.fail(lease)
    while (row := bench.state("a")).state == "pending":
        bench.wait(1000)
        bench.fail(bench.claim())
    bench.finish()
    assert (row.state, bench.run_row().missing) == ("failed", 4)


def test_invalid_records_are_kept_counted_and_not_missing(bench: Bench) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    bench.unseen(lease, "1", "2")
    answer = bench.save(lease, "1", last=True, reported=2, invalid=[('{"id":"2"}', "name: missing")])
    assert answer.state == "done"
    bench.finish()
    assert (bench.run_row().invalid, bench.run_row().missing) == (1, 0)


def test_an_invalid_record_that_was_never_sighted_is_not_missing_either(bench: Bench) -> None:
    bench.begin(["a"])
    answer = bench.save(bench.claim(), "1", last=True, reported=2, invalid=[("?", "no key")])
    assert answer.state == "done"


def test_a_new_attempt_judges_its_invalid_records_anew(bench: Bench) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    bench.save(lease, "1", invalid=[("x", "bad")])
    bench.fail(lease)
    bench.save(bench.claim(), last=True, invalid=[("x", "bad")])
    assert bench.state("a").invalid == bench.run_row().invalid == 1


def test_too_many_invalid_records_fail_a_partition_where_the_job_says_so(bench: Bench) -> None:
    bench.begin(["a"], limits=Limits(invalid=1))
    lease = bench.claim()
    assert bench.save(lease, invalid=[("x", "bad")]).state == "leased"
    told = bench.save(lease, invalid=[("y", "bad")])
    # The worker ends it, once it has closed its session.
    assert (told.state, told.reason) == ("leased", "2 invalid records, the job allows 1")
    assert bench.save(lease, last=True).state == "failed"


def test_one_bad_command_does_not_take_its_group_along(bench: Bench) -> None:
    bench.begin(["a", "b"])
    first, second = bench.claim(), bench.claim()
    assert bench.keeper is not None
    good = Commit(held(first), rows=[("1", {"id": "1"})], counts=Counts(requests=3))
    bad = Commit(held(second), rows=[("2", {"id": "2", "n": 2**70})], counts=Counts(requests=5))
    answers = bench.keeper.answer([good, bad, good])
    assert [type(answer) for answer in answers] == [Committed, Failure, Committed]
    assert [record["id"] for record in bench.records()] == ["1"]
    assert bench.run_row().requests == 6
    assert bench.state("b").found == 0


def test_columns_of_plain_dicts_grow_and_a_rolled_back_one_can_come_again(bench: Bench) -> None:
    bench.begin(["a", "b"])
    first, second = bench.claim(), bench.claim()
    assert bench.keeper is not None
    grows = Commit(held(first), rows=[("1", {"id": "1", "52W High %": "-30.86%", "P/E: x": 1.5})])
    bad = Commit(held(second), rows=[("2", {"id": "2", "n": 2**70})])
    assert isinstance(bench.keeper.answer([grows, bad])[0], Committed)
    bench.save(second, "3")
    rows = {record["id"]: record for record in bench.records()}
    assert rows["1"]["52W High %"] == "-30.86%"
    assert rows["1"]["P/E: x"] == 1.5
    assert rows["3"]["52W High %"] is None
    bench.say(Commit(held(second), rows=[("1", {"id": "1", "p/e: X": 2.5})]))
    assert bench.records()[0]["P/E: x"] == 2.5
