"""Verdicts, ranges and scores in words: what a person decides from."""

from __future__ import annotations

import dataclasses
import re

import pytest
from small_catalogue import make_track

from auditor.records import Evidence, MatchedRange, Pair, Verdict
from auditor.report.text.evidence import (
    FACTS,
    NOT_MEASURED,
    alteration,
    best_range,
    coding_words,
    evidence_facts,
    offset,
    verdict_name,
    verdict_sentence,
    what_differs,
)
from auditor.scoring.verdict import RULES

SHARES = " That is 43 % of A and 7 % of B."
SAME_BYTES = "The two files are identical, byte for byte."
RANGE = MatchedRange(72.0, 81.0, 103.0, 112.0, 1.0, 0.8, 0.0, 0.1)
LOOP = dataclasses.replace(RANGE, repetition=0.42)


def heard(**changes: float | None) -> MatchedRange:
    return dataclasses.replace(RANGE, **changes)


def pair(verdict: str, *ranges: MatchedRange, **changes: object) -> Pair:
    evidence = Evidence(0.8, ranges, 0.43, 0.07, 1.0, -0.05)
    values = {"verdict": verdict, "evidence": evidence} | changes
    return Pair("a", "b", 0.9, **values)  # type: ignore[arg-type]


def test_every_verdict_has_a_meaning_of_one_sentence_and_none_says_infringes():
    for said in (verdict.meaning for verdict in Verdict):
        assert said.endswith(".")
        assert not re.search("infring|guilty|stole|illegal", said)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (pair("identical file"), SAME_BYTES),
        (
            pair("same recording", heard(a_start_s=0.0, b_start_s=0.3)),
            "0:00–1:21 of A matches 0:00–1:52 of B, at the same speed and pitch." + SHARES,
        ),
        (
            pair("same recording", heard(pitch_semitones=None)),
            "1:12–1:21 of A matches 1:43–1:52 of B, at the same speed." + SHARES,
        ),
        (
            pair("altered recording", heard(tempo=0.95, a_start_s=40.0, b_start_s=0.0)),
            "0:40–1:21 of A matches 0:00–1:52 of B; there A is 5.0 % slower than B." + SHARES,
        ),
        (
            pair("altered recording", heard(pitch_semitones=-1.0)),
            "1:12–1:21 of A matches 1:43–1:52 of B; there A is 1.0 semitone lower than B." + SHARES,
        ),
        (
            pair("shared excerpt", RANGE),
            "1:12–1:21 of A matches 1:43–1:52 of B, at the same speed and pitch." + SHARES,
        ),
        (
            pair("shared excerpt", heard(tempo=1.06), RANGE, RANGE),
            "1:12–1:21 of A matches 1:43–1:52 of B; there A is 6.0 % faster than B; "
            "2 more such ranges. Together that is 43 % of A and 7 % of B.",
        ),
        (
            pair("sounds alike"),
            "Alike in overall sound only: there are no aligned passages.",
        ),
        (
            pair("sounds alike", RANGE),
            "Alike in overall sound; the aligned passages score below the threshold.",
        ),
        (
            pair("sounds alike", evidence=Evidence(0.8, (LOOP,), 0.43, 0.07, 1.0, 0.75)),
            "Only a loop or a drone matches, which proves nothing.",
        ),
        (
            pair(
                "sounds alike",
                evidence=Evidence(0.8, (heard(correlation=0.0),), 0.43, 0.07, 1.0, 0.6),
            ),
            "The aligned passages sound similar, but their spectra do not match.",
        ),
        (
            pair(
                "sounds alike",
                evidence=Evidence(0.8, (RANGE,), 0.43, 0.07, 1.0, 0.2, RULES.played_apart),
            ),
            "The aligned passages play the same notes, but the sound beyond the notes differs: "
            "two performances, which belong to the compositions.",
        ),
        (
            pair(
                "shared excerpt",
                evidence=Evidence(0.8, (RANGE,), 0.43, 0.07, 1.0, 0.2, RULES.may_be_played_apart),
            ),
            "1:12–1:21 of A matches 1:43–1:52 of B, at the same speed and pitch."
            + SHARES
            + " The sound agrees less than the notes: these may be two performances.",
        ),
        (pair("clear"), "No sign of shared material was found."),
        (
            pair("", evidence=None),
            "The score reaches the threshold; no aligned passage is known.",
        ),
        (pair("", evidence=None, flagged=False), "The score does not reach the threshold."),
        (pair("", evidence=None, identical_file=True), SAME_BYTES),
    ],
)
def test_sentence_of_a_verdict(made, said):
    assert verdict_sentence(made) == said


@pytest.mark.parametrize(
    ("share_a", "share_b", "said"),
    [
        (0.39, 0.99, "That is the whole of B and 39 % of A."),
        (0.98, 1.0, "That covers all of both tracks."),
        (0.151, 0.152, "That is 15 % of A and 15 % of B."),
    ],
)
def test_a_sentence_says_whole_or_part(share_a, share_b, said):
    made = pair("same recording", RANGE)
    evidence = dataclasses.replace(made.evidence, share_a=share_a, share_b=share_b)
    assert verdict_sentence(dataclasses.replace(made, evidence=evidence)).endswith(f". {said}")


def test_coding_is_said_of_a_match_in_two_files():
    flac = make_track("a", codec="flac", bit_rate=700_000)
    mp3 = make_track("b", codec="mp3", bit_rate=64_000)
    made = pair("same recording", RANGE)
    again = dataclasses.replace(flac, bit_rate=500_000)
    for a, b, said in (
        (flac, mp3, "Re-encoded: A is lossless (flac), B is mp3 at 64 kbit/s."),
        (mp3, mp3, "Both files are mp3 at 64 kbit/s."),
        (flac, again, "Both files are lossless (flac)."),
    ):
        assert coding_words(made, a, b) == f"{said} {NOT_MEASURED}"
    assert coding_words(pair("sounds alike", RANGE), flac, mp3) == ""
    same = dataclasses.replace(made, identical_file=True)
    assert coding_words(same, mp3, mp3) == f"SHA-256 of both: {mp3.sha256}."


def test_a_pair_set_aside_was_a_high_score():
    made = pair("", evidence=None, flagged=False, decision="licensed")
    assert verdict_name(made) == "high score"


def test_what_is_no_alteration_is_not_spoken_of():
    assert alteration(heard(tempo=1.009, pitch_semitones=0.4)) == ""
    assert what_differs(heard(tempo=1.009, pitch_semitones=0.4)) == "same tempo and pitch"
    assert alteration(heard(tempo=1.011)) == "A is 1.1 % faster than B"
    said = what_differs(heard(tempo=1.2, pitch_semitones=None))
    assert said == "A is 20.0 % faster than B; the pitch was not measured"


def test_offset_follows_the_tempo():
    assert offset(heard(tempo=2.0, a_start_s=10.0, b_start_s=50.0)) == "A begins at 0:30 of B"
    assert offset(heard(tempo=2.0, a_start_s=60.0, b_start_s=20.0)) == "B begins at 0:50 of A"


def test_facts_have_a_value_each():
    assert evidence_facts(pair("", evidence=None)) == ("–",) * len(FACTS)
    bare = dict(zip(FACTS, evidence_facts(pair("sounds alike")), strict=True))
    assert bare["Embedding similarity"] == "–"
    assert bare["Ranges"] == "none"
    best = heard(tempo=1.04, pitch_semitones=0.7, repetition=0.7, correlation=0.83)
    made = dataclasses.replace(pair("altered recording", best, RANGE), similarity=0.91)
    facts = dict(zip(FACTS, evidence_facts(made), strict=True))
    assert facts == {
        "Tempo": "A is 4.0 % faster (± 1.1 %)",
        "Pitch": "A is 0.7 semitones higher",
        "Offset": "–",
        "Matched share of A": "43 %",
        "Matched share of B": "7 %",
        "Loops in the range": "mostly loops or a drone",
        "Embedding similarity": "0.91",
        "Spectral correlation": "0.83",
        "Ranges": "2",
    }
    whole = dataclasses.replace(made, evidence=dataclasses.replace(made.evidence, share_a=0.9))
    assert dict(zip(FACTS, evidence_facts(whole), strict=True))["Offset"] == "A begins at 0:28 of B"
    unmeasured = evidence_facts(pair("same recording", heard(pitch_semitones=None)))
    assert unmeasured[:2] == ("the same", "not measured")


def test_the_fact_about_loops_agrees_with_a_verdict_by_a_loop():
    loops = FACTS.index("Loops in the range")
    for background, said in ((0.75, "mostly loops or a drone"), (0.1, "some")):
        evidence = Evidence(0.8, (LOOP,), 0.43, 0.07, 1.0, background)
        made = pair("sounds alike", evidence=evidence)
        assert evidence_facts(made)[loops] == said
        assert verdict_sentence(made).startswith("Only a loop") == (background > 0.7)


def test_best_range_is_plain_ascii_for_a_terminal():
    said = best_range(pair("altered recording", heard(tempo=0.96, pitch_semitones=0.7), RANGE))
    assert said == "a 1:12-1:21 = b 1:43-1:52, pitch +0.7, tempo -4.0 %, 1 more"
    assert best_range(pair("clear")) == best_range(pair("", evidence=None)) == ""
