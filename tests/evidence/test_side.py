"""Tests of ``auditor.evidence.side``."""

from __future__ import annotations

import dataclasses

import numpy as np
from tunes import tune

from auditor.embedding.spectrogram import waveform_spectrum
from auditor.evidence.side import Side, _apart, compare_sides
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.records import Evidence, MatchedRange

STRONG = MatchedRange(0.0, 60.0, 0.0, 30.0, 1.0, 0.6, None, 0.0)
WEAK = MatchedRange(0.0, 60.0, 0.0, 60.0, 1.0, 0.2, None, 0.0)


class FixedExaminer:
    """Knows what the d-vectors of two tracks share without any."""

    def __init__(self, *ranges: MatchedRange) -> None:
        self.found = Evidence(0.6, ranges, 1.0, 1.0, 1.0, 0.1)

    def evidence(self, a, b) -> Evidence:
        return self.found


def side(name: str, frames: np.ndarray | None, *, sha256: str = "") -> Side:
    return Side(name, sha256 or name, 60.0, windows=lambda: None, frames=lambda: frames)


def test_without_a_spectrum_ranges_stand_by_their_d_vectors():
    spectrum = waveform_spectrum(tune(1, duration_s=60.0))
    for a, b in ((None, spectrum), (spectrum, None), (None, None)):
        examiner = FixedExaminer(WEAK, STRONG)
        found = compare_sides(examiner, side("a", a), side("b", b))
        assert found.ranges == (dataclasses.replace(STRONG, match_score=0.6),)
        assert (found.share_a, found.share_b) == (1.0, 0.5)


def test_files_of_the_same_bytes_are_not_compared():
    a, b = (side(name, None, sha256="one") for name in "ab")
    found = compare_sides(FixedExaminer(), a, b)
    assert found.score == 1.0
    assert (found.ranges[0].a_end_s, found.ranges[0].match_score) == (60.0, 1.0)


def test_the_range_that_most_is_a_copy_speaks_for_a_pair_and_each_must_be_judged(monkeypatch):
    ranges = [dataclasses.replace(STRONG, a_start_s=float(k), match_score=0.9) for k in range(3)]
    weak = dataclasses.replace(WEAK, match_score=0.1)
    odds = {0.0: 5.0, 1.0: 3.5, 2.0: 9.0}
    monkeypatch.setattr(
        "auditor.evidence.side.played_apart", lambda found, a, b: odds[found.a_start_s]
    )
    spectrum = TrackSpectrum(waveform_spectrum(tune(1, duration_s=10.0)), 10.0)
    assert _apart([*ranges, weak], spectrum, spectrum) == 3.5
    assert _apart([weak], spectrum, spectrum) is None
    odds[1.0] = None
    assert _apart(ranges, spectrum, spectrum) is None
