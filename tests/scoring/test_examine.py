"""Candidate pairs, examined one by one: what is counted, what is kept."""

from __future__ import annotations

import numpy as np
from tunes import tune

from auditor.embedding.spectrogram import waveform_spectrum
from auditor.evidence.side import Side
from auditor.records import Evidence, MatchedRange
from auditor.scoring.examine import Limits, examine_pairs

HEARD = Evidence(
    0.3, (MatchedRange(0.0, 20.0, 0.0, 20.0, 1.0, 0.3, None, 0.0),), 1.0, 1.0, 1.0, 0.1
)
NOTHING = Evidence(-1.0, (), 0.0, 0.0, 1.0, 0.0)


class Listener:
    """Says what the d-vectors of two sides share, in place of an examiner."""

    def __init__(self, compare):
        self.evidence = compare


def examine(compare, *, similar_from=2.0):
    spectra = {str(n): waveform_spectrum(tune(n % 5, duration_s=20.0)) for n in range(8)}
    sides = {
        name: Side(
            name,
            "same bytes" if name in "17" else name,
            20.0,
            windows=lambda name=name: name,
            frames=lambda name=name: spectra[name],
        )
        for name in spectra
    }
    return examine_pairs(
        [(str(a), str(b), 0.1 * b) for a in range(2) for b in range(2, 8)],
        sides.__getitem__,
        Listener(compare),
        limits=Limits(similar_from=similar_from),
    )


def test_pairs_are_kept_by_falling_score_and_all_are_counted():
    found = examine(lambda a, b: HEARD)
    assert found.n_compared == 12 == np.sum(found.histogram["counts"])
    scores = [pair.score for pair in found.pairs]
    assert scores == sorted(scores, reverse=True)
    agreed = [(pair.a, pair.b) for pair in found.pairs if pair.score > 0.7]
    assert agreed == [("1", "7"), ("0", "5"), ("1", "6")], "7 has the bytes of 1, 5 and 6 the tune"


def test_files_of_the_same_bytes_are_not_compared():
    def compare(a, b):
        assert (a, b) != ("1", "7")
        return NOTHING

    (whole,) = (pair for pair in examine(compare).pairs if pair.b == "7" and pair.a == "1")
    assert (whole.score, whole.evidence.share_a) == (1.0, 1.0)


def test_a_pair_of_which_nothing_matches_is_kept_if_it_sounds_alike():
    kept = {(pair.a, pair.b) for pair in examine(lambda a, b: NOTHING, similar_from=0.55).pairs}
    assert {("0", "6"), ("0", "7")} <= kept
    assert not {("0", "2"), ("0", "3"), ("0", "4")} & kept
