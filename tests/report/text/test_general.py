"""What is said of a pair's state, and of numbers; the rest is seen in the tables and the report."""

from __future__ import annotations

import pytest
from small_catalogue import make_track

from auditor.records import Pair
from auditor.report.text.general import (
    count_set_aside,
    pair_badges,
    pair_state,
    show_decider,
    show_number,
    show_score,
)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, ""),
        ({"flagged": False}, "below the threshold"),
        ({"flagged": False, "verdict": "clear"}, "below the threshold"),
        ({"flagged": False, "verdict": "sounds alike"}, "not flagged"),
        ({"flagged": True, "verdict": "shared excerpt"}, ""),
        ({"flagged": False, "decision": "cover", "verdict": "same recording"}, "decided: cover"),
        ({"decision": "confirmed"}, "decided: confirmed"),
    ],
)
def test_state_of_a_pair(fields, said):
    assert pair_state(Pair("a", "b", 0.9, **fields)) == said


def test_counts_go_by_the_order_of_the_decisions():
    pairs = [
        Pair("a", "b", 0.9, flagged=False, decision=kind)
        for kind in ("cover", "false-alarm", "cover")
    ]
    said = "3 pairs set aside: 1 false alarm, 2 cover"
    assert count_set_aside([*pairs, Pair("a", "c", 0.9, decision="confirmed")]) == said


def test_numbers_have_true_signs_and_two_digits():
    assert show_score(-0.00004) == "−0.0000"
    assert [show_number(n) for n in (9.94, 9.96, 0.00051)] == ["9.9", "10", "<0.001"]


def test_a_match_with_a_track_that_carries_no_licence_says_so():
    free, bare = make_track("a", licence="CC0 1.0"), make_track("b", licence="")
    pair = Pair("a", "b", 0.9)
    assert pair_badges(pair, free, bare, sides=("A", "B")) == ("B carries no licence",)
    assert pair_badges(pair, bare, free, sides=("A", "B")) == ("A carries no licence",)
    assert pair_badges(pair, bare, bare, sides=("A", "B")) == ()
    alike = Pair("a", "b", 0.9, flagged=False, verdict="sounds alike")
    assert pair_badges(alike, free, bare, sides=("A", "B")) == ("not flagged",)


def test_who_decided_and_when_as_far_as_known():
    made = Pair("a", "b", 0.9, decision="cover", decision_by="A\u202ena")
    assert show_decider(made) == "by A\\u202ena"
    rule = Pair("a", "b", 0.9, decision="same-owner", decision_note="same artist: Bo")
    assert show_decider(rule) == ""
