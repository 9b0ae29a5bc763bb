"""What was found of a submission that was heard otherwise, told in its own time and pitch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from auditor.embedding.config import Retuning
from auditor.embedding.hearing import Hearing
from auditor.ingest.submissions import Submission
from auditor.records import Evidence, MatchedRange, Track, TrackEmbedding
from auditor.scoring.base import ScoredPair
from auditor.scoring.hearings import as_submitted, best_of_ways, ways_of

NONE = np.zeros(0, np.float32)
TRACK = Track(
    *("new-1", "/in/a.wav", "f" * 64),
    size=1,
    duration_s=30.0,
    declared_s=None,
    truncated=False,
    silent=False,
    codec="pcm",
    container="wav",
    sample_rate_hz=16_000,
    n_channels=1,
    bit_rate=None,
)
FASTER = Retuning(12.0, 2.0)
HEARD = Hearing(FASTER, TrackEmbedding(NONE, NONE, NONE), NONE, 60.0)
SUBMISSION = Submission(b"/in/a.wav", TRACK, NONE, NONE, NONE, NONE, "own", hearings=(HEARD,))


def evidence(score: float, *, correlation: float = 0.8) -> Evidence:
    found = MatchedRange(10.0, 50.0, 5.0, 45.0, 1.0, 0.4, -1.0, 0.0, correlation, score)
    return Evidence(0.4, (found,), 40.0 / 60.0, 0.5, 1.0, 0.1)


def test_each_way_is_a_submission_of_its_own():
    plain, way = ways_of(SUBMISSION)
    assert plain == dataclasses.replace(SUBMISSION, hearings=())
    assert (way.track.id, way.track.sha256, way.track.duration_s) == ("new-1~1", "", 60.0)
    assert way.own_id == "own"


def test_ranges_are_told_in_the_time_and_pitch_of_the_submission():
    told = as_submitted(evidence(0.9), FASTER, 30.0)
    (found,) = told.ranges
    assert (found.a_start_s, found.a_end_s) == (5.0, 25.0)
    assert (found.b_start_s, found.b_end_s) == (5.0, 45.0)
    assert (found.tempo, found.pitch_semitones) == (2.0, 11.0)
    assert told.share_a == pytest.approx(20.0 / 30.0)
    assert (told.share_b, told.tempo) == (0.5, 2.0)
    later = as_submitted(evidence(0.9), Retuning(skip_s=0.4), 60.0)
    assert later.ranges[0].a_start_s == 10.4


def test_the_best_way_counts():
    pairs = [
        ScoredPair("new-1", "x", 0.1, evidence(0.2), 0.2),
        ScoredPair("new-1~1", "x", 0.5, evidence(0.6), 0.6),
        ScoredPair("new-1", "y", 0.1, evidence(0.5), 0.5),
        ScoredPair("new-1~1", "y", 0.1, Evidence(-1.0, (), 0.0, 0.0, 1.0, 0.0), 0.1),
    ]
    first, second = best_of_ways(pairs, [SUBMISSION], {})
    assert (first.a, first.b, first.score, first.similarity) == ("new-1", "x", 0.6, 0.5)
    assert first.evidence.tempo == 2.0
    assert second == pairs[2]


def test_of_two_sure_ways_the_spectra_say_which_is_right_and_no_score_is_lost():
    octave = ScoredPair("new-1", "x", 0.1, evidence(1.0, correlation=0.5), 1.0)
    right = ScoredPair("new-1~1", "x", 0.1, evidence(0.9, correlation=0.9), 0.9)
    (found,) = best_of_ways([octave, right], [SUBMISSION], {})
    assert found.score == 1.0
    assert found.evidence.ranges[0].pitch_semitones == 11.0


def test_scores_that_only_other_ways_reach_count_by_less():
    pairs = [
        ScoredPair("new-1", "x", 0.1, evidence(0.5), 0.5),
        ScoredPair("new-1~1", "x", 0.1, evidence(0.6), 0.6),
        ScoredPair("new-1~1", "y", 0.1, evidence(0.6), 0.6),
    ]
    found = {p.b: p.score for p in best_of_ways(pairs, [SUBMISSION], {"new-1": 0.2})}
    assert found == pytest.approx({"x": 0.5, "y": 0.4})
