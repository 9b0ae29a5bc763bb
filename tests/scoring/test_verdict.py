"""Every rule of the verdicts, and the match score before them."""

from __future__ import annotations

import dataclasses

import pytest

from auditor.evidence.match_score import CHANCE, GAIN, match_score, range_score
from auditor.evidence.spectra.performance import MAX_DOUBTFUL
from auditor.records import Evidence, MatchedRange, Verdict
from auditor.scoring.verdict import RULES, decide_verdict, is_altered, may_be_played_apart


def matched(**how) -> MatchedRange:
    fields = {
        **{"a_start_s": 0.0, "a_end_s": 60.0, "b_start_s": 0.0, "b_end_s": 60.0, "tempo": 1.0},
        **{"score": 0.6, "pitch_semitones": 0.0, "repetition": 0.1, "correlation": 0.9},
    }
    return MatchedRange(**{**fields, **how})


def evidence(*ranges, score=0.6, share_a=1.0, share_b=1.0, background=0.2) -> Evidence:
    return Evidence(score, ranges, share_a, share_b, 1.0, background)


def verdict(found, **how) -> str:
    return decide_verdict(found, **{"score": match_score(found), "threshold": 0.4, **how})


WHOLE = evidence(matched())
NOTHING = evidence(score=0.1, share_a=0.0, share_b=0.0)


@pytest.mark.parametrize(
    ("found", "how", "expected"),
    [
        (WHOLE, {"identical_file": True}, "identical file"),
        (NOTHING, {"identical_file": True}, "identical file"),
        (WHOLE, {}, "same recording"),
        (evidence(matched(tempo=1.02)), {}, "altered recording"),
        (evidence(matched(pitch_semitones=-2.0)), {}, "altered recording"),
        (evidence(matched(pitch_semitones=None)), {}, "same recording"),
        (evidence(matched(), share_a=1.0, share_b=0.1), {}, "same recording"),  # a is cut out of b
        (evidence(matched(), share_a=0.3, share_b=0.79), {}, "shared excerpt"),
        (evidence(matched(tempo=1.1), share_a=0.3, share_b=0.3), {}, "shared excerpt"),
        (WHOLE, {"threshold": 0.99}, "clear"),
        (NOTHING, {"similarity": 0.96, "similar_from": 0.95}, "sounds alike"),
        (NOTHING, {"similarity": 0.94, "similar_from": 0.95}, "clear"),
        (NOTHING, {}, "clear"),
        # A chord that two tracks hold: most moments of the range are heard again and again.
        (evidence(matched(repetition=0.7, correlation=0.3), background=0.8), {}, "sounds alike"),
        (evidence(matched(repetition=0.7, correlation=0.9), background=0.8), {}, "same recording"),
        (evidence(matched(repetition=0.7, correlation=0.3), background=0.5), {}, "same recording"),
        (evidence(matched(repetition=0.2, correlation=0.3), background=0.8), {}, "same recording"),
        # A metronome: the spectra of any two agree.
        (evidence(matched(repetition=0.95, correlation=1.0), background=0.9), {}, "sounds alike"),
        (evidence(matched(repetition=0.95, correlation=1.0), background=0.8), {}, "same recording"),
        (evidence(matched(repetition=0.85, correlation=1.0), background=0.9), {}, "same recording"),
        # Two melodies of one synthesiser: the spectra agree nowhere.
        (evidence(matched(correlation=0.0), background=0.6), {}, "sounds alike"),
        (evidence(matched(correlation=0.0), background=0.4), {}, "same recording"),
        (evidence(matched(correlation=0.14), background=0.6), {}, "same recording"),
        (evidence(matched(correlation=None), background=0.6), {}, "same recording"),
        # Enough to count, but no range to show for it.
        (evidence(score=0.5, share_a=0.0, share_b=0.0), {}, "sounds alike"),
    ],
)
def test_the_first_rule_that_holds_speaks(found, how, expected):
    assert verdict(found, **how) == expected
    assert expected in list(Verdict)


def test_what_only_sounds_alike_is_not_flagged():
    assert [verdict.value for verdict in Verdict if not verdict.flagged] == [
        "sounds alike",
        "clear",
    ]


@pytest.mark.parametrize(("sign"), [-1.0, 1.0])
def test_alterations_begin_at_the_rules_numbers(sign):
    assert not is_altered(matched(tempo=1.0 + 0.9 * sign * RULES.tempo))
    assert is_altered(matched(tempo=1.0 + 1.1 * sign * RULES.tempo))
    assert not is_altered(matched(pitch_semitones=0.9 * sign * RULES.semitones))
    assert is_altered(matched(pitch_semitones=1.1 * sign * RULES.semitones))


def test_spectra_that_agree_raise_the_score_and_others_leave_it():
    assert range_score(matched(score=0.2, correlation=None)) == 0.2
    assert range_score(matched(score=0.2, correlation=CHANCE)) == 0.2
    assert range_score(matched(score=0.2, correlation=-0.5)) == 0.2
    agreed = range_score(matched(score=0.2, correlation=CHANCE + 0.4))
    assert agreed == pytest.approx(0.2 + 0.4 * GAIN)
    assert range_score(matched(score=0.99, correlation=1.0)) == 1.0


def test_the_best_range_speaks_for_a_pair():
    weak, strong = matched(score=0.3, correlation=0.1), matched(score=0.2, correlation=0.9)
    both = evidence(weak, strong, score=0.3)
    assert match_score(both) == range_score(strong) > 0.3
    assert match_score(evidence(score=-1.0)) == -1.0


def test_two_performances_are_no_recording_where_that_is_sure():
    for odds, said, judged in (
        (None, False, "same recording"),
        (RULES.may_be_played_apart - 0.1, False, "same recording"),
        (RULES.may_be_played_apart, True, "same recording"),
        (MAX_DOUBTFUL, True, "same recording"),
        (RULES.played_apart - 0.1, True, "same recording"),
        (RULES.played_apart, True, "sounds alike"),
    ):
        found = dataclasses.replace(WHOLE, played_apart=odds)
        assert verdict(found) == judged
        assert may_be_played_apart(found) is said
    assert not may_be_played_apart(None)
