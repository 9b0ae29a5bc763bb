"""Verdicts, ranges and scores in words: what a person decides from."""

from __future__ import annotations

import dataclasses
import re

import pytest

from auditor.evidence_words import (
    FACTS,
    VERDICT_MEANINGS,
    alteration,
    best_range,
    evidence_facts,
    offset,
    verdict_name,
    verdict_sentence,
    what_differs,
)
from auditor.records import VERDICTS, Evidence, MatchedRange, Pair

RANGE = MatchedRange(72.0, 81.0, 103.0, 112.0, 1.0, 0.8, 0.0, 0.1)


def heard(**changes: float | None) -> MatchedRange:
    return dataclasses.replace(RANGE, **changes)


def pair(verdict: str, *ranges: MatchedRange, **changes: object) -> Pair:
    evidence = Evidence(0.8, ranges, 0.43, 0.07, 1.0, -0.05)
    values = {"verdict": verdict, "evidence": evidence} | changes
    return Pair("a", "b", 0.9, **values)  # type: ignore[arg-type]


def test_every_verdict_has_a_meaning_of_one_sentence_and_none_says_infringes():
    assert tuple(VERDICT_MEANINGS) == VERDICTS
    for said in VERDICT_MEANINGS.values():
        assert said.endswith(".")
        assert not re.search("infring|guilty|stole|illegal", said)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (pair("identical file"), "Both files hold the same bytes."),
        (
            pair("same recording", heard(a_start_s=0.0, b_start_s=0.3)),
            "0:00–1:21 of A is heard at 0:00–1:52 of B, at the same speed and pitch.",
        ),
        (
            pair("same recording", heard(pitch_semitones=None)),
            "1:12–1:21 of A is heard at 1:43–1:52 of B, at the same speed.",
        ),
        (
            pair("altered recording", heard(tempo=0.95, a_start_s=40.0, b_start_s=0.0)),
            "0:40–1:21 of A is heard at 0:00–1:52 of B; there A is 5.0 % slower than B.",
        ),
        (
            pair("altered recording", heard(pitch_semitones=-1.0)),
            "1:12–1:21 of A is heard at 1:43–1:52 of B; there A is 1.0 semitone lower than B.",
        ),
        (
            pair("shared excerpt", RANGE),
            "1:12–1:21 of A is heard at 1:43–1:52 of B, at the same speed and pitch.",
        ),
        (
            pair("shared excerpt", heard(tempo=1.06), RANGE, RANGE),
            "1:12–1:21 of A is heard at 1:43–1:52 of B; there A is 6.0 % faster than B; "
            "2 more such ranges.",
        ),
        (
            pair("sounds alike"),
            "The two sound alike as a whole; nothing in one was found to line up with the other.",
        ),
        (pair("sounds alike", RANGE), "What matches is a loop or a drone, which proves nothing."),
        (pair("clear"), "Nothing that was compared points to shared material."),
        (
            pair("", evidence=None),
            "The score reaches the threshold; where the two are alike is not known.",
        ),
        (pair("", evidence=None, flagged=False), "The score does not reach the threshold."),
        (pair("", evidence=None, identical_file=True), "Both files hold the same bytes."),
    ],
)
def test_sentence_of_a_verdict(made, said):
    assert verdict_sentence(made) == said


def test_a_pair_set_aside_was_a_high_score():
    made = pair("", evidence=None, flagged=False, decision="licensed")
    assert verdict_name(made) == "high score"


def test_what_is_no_alteration_is_not_spoken_of():
    assert alteration(heard(tempo=1.009, pitch_semitones=0.4)) == ""
    assert what_differs(heard(tempo=1.009, pitch_semitones=0.4)) == "neither tempo nor pitch"
    assert alteration(heard(tempo=1.011)) == "A is 1.1 % faster than B"
    said = what_differs(heard(tempo=1.2, pitch_semitones=None))
    assert said == "A is 20.0 % faster than B; the pitch was not measured"


def test_offset_follows_the_tempo():
    assert offset(heard(tempo=2.0, a_start_s=10.0, b_start_s=50.0)) == "A begins at 0:30 of B"
    assert offset(heard(tempo=2.0, a_start_s=60.0, b_start_s=20.0)) == "B begins at 0:50 of A"


def test_facts_have_a_value_each():
    assert evidence_facts(pair("", evidence=None)) == ("–",) * len(FACTS)
    bare = dict(zip(FACTS, evidence_facts(pair("sounds alike")), strict=True))
    assert bare["Likeness of the embeddings"] == "–"
    assert bare["Ranges"] == "none"
    best = heard(tempo=1.04, pitch_semitones=0.7, repetition=0.7, correlation=0.83)
    made = dataclasses.replace(pair("altered recording", best, RANGE), similarity=0.91)
    facts = dict(zip(FACTS, evidence_facts(made), strict=True))
    assert facts == {
        "Tempo": "A is 4.0 % faster",
        "Pitch": "A is 0.7 semitones higher",
        "Offset": "–",
        "Matched share of A": "43 %",
        "Matched share of B": "7 %",
        "Loops in the range": "mostly loops or a drone",
        "Likeness of the embeddings": "0.91",
        "Likeness of the spectra": "0.83",
        "Ranges": "2",
    }
    whole = dataclasses.replace(made, evidence=dataclasses.replace(made.evidence, share_a=0.9))
    assert dict(zip(FACTS, evidence_facts(whole), strict=True))["Offset"] == "A begins at 0:28 of B"
    unmeasured = evidence_facts(pair("same recording", heard(pitch_semitones=None)))
    assert unmeasured[:2] == ("the same", "not measured")


def test_best_range_is_plain_ascii_for_a_terminal():
    said = best_range(pair("altered recording", heard(tempo=0.96, pitch_semitones=0.7), RANGE))
    assert said == "a 1:12-1:21 = b 1:43-1:52, pitch +0.7, tempo -4.0 %, 1 more"
    assert best_range(pair("clear")) == best_range(pair("", evidence=None)) == ""
