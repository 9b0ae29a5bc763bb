"""Ranges looked at again in the spectra: times, tempo, and what is left out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import tune

from auditor.augment.waveform import change_speed, plant
from auditor.config import SAMPLE_RATE_HZ
from auditor.confirm import confirm
from auditor.records import Evidence, MatchedRange
from auditor.spectrum import waveform_spectrum

WEAK = MatchedRange(0.0, 60.0, 0.0, 60.0, 1.0, 0.25, None, 0.0)


def of(*ranges, score=0.25) -> Evidence:
    return Evidence(score, ranges, 1.0, 1.0, 1.0, 0.1)


def confirmed(evidence, a, b, **how) -> Evidence:
    spectra = [None if w is None else waveform_spectrum(w) for w in (a, b)]
    return confirm(
        evidence,
        lambda: spectra[0],
        lambda: spectra[1],
        a_duration_s=60.0,
        b_duration_s=60.0,
        **how,
    )


def test_a_range_is_cut_back_to_where_the_spectra_agree():
    original = tune(1, duration_s=60.0)
    host = plant(original[20 * 16_000 : 40 * 16_000], tune(2, duration_s=60.0), position_s=20.0)
    (found,) = confirmed(of(WEAK), host, original).ranges
    assert (found.a_start_s, found.a_end_s) == pytest.approx((20.0, 40.0), abs=0.8)
    assert (found.b_start_s, found.b_end_s) == pytest.approx((20.0, 40.0), abs=0.8)
    evidence = confirmed(of(WEAK), host, original)
    assert evidence.share_a == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize(("ratio", "guess"), [(1.0, 1.03), (1.05, 1.0), (0.94, 0.97)])
def test_a_tempo_that_was_a_little_off_moves_the_ends_not_the_middle(ratio, guess):
    original = tune(1, duration_s=60.0)
    copy = change_speed(original, ratio)
    length_s = min(len(copy) / SAMPLE_RATE_HZ, 60.0 / guess, 50.0)
    first_s = 0.5 * (len(copy) / SAMPLE_RATE_HZ - length_s)
    middle_s = ratio * (first_s + 0.5 * length_s)
    roughly = MatchedRange(
        first_s,
        first_s + length_s,
        middle_s - 0.5 * guess * length_s,
        middle_s + 0.5 * guess * length_s,
        guess,
        0.25,
        None,
        0.0,
    )
    (found,) = confirmed(of(roughly), copy, original).ranges
    assert found.tempo == pytest.approx(ratio, rel=0.004)
    assert found.b_start_s == pytest.approx(ratio * found.a_start_s, abs=0.5)
    assert found.b_end_s == pytest.approx(ratio * found.a_end_s, abs=0.5)
    length = found.a_end_s - found.a_start_s
    assert (found.b_end_s - found.b_start_s) / length == pytest.approx(found.tempo, rel=0.01)
    assert length > 0.85 * length_s


def test_strangers_keep_their_score_and_nothing_is_shown_of_them():
    evidence = confirmed(of(WEAK), tune(1, duration_s=60.0), tune(2, duration_s=60.0))
    assert evidence.ranges == ()
    assert (evidence.share_a, evidence.score) == (0.0, 0.25)
    shown = confirmed(of(WEAK), tune(1, duration_s=60.0), tune(2, duration_s=60.0), shown_from=0.2)
    assert len(shown.ranges) == 1


def test_without_spectra_a_range_stands_by_its_d_vectors():
    strong = dataclasses.replace(WEAK, score=0.6)
    (found,) = confirmed(of(strong, score=0.6), None, tune(1, duration_s=60.0)).ranges
    assert found == strong


def test_where_one_range_agrees_those_that_do_not_are_left_out():
    music = tune(1, duration_s=60.0)
    right = dataclasses.replace(WEAK, a_end_s=30.0, b_end_s=30.0, score=0.6)
    wrong = dataclasses.replace(right, b_start_s=25.0, b_end_s=55.0, score=0.5)
    kept = confirmed(of(right, wrong, score=0.6), music, music)
    assert [r.b_start_s < 5.0 for r in kept.ranges] == [True]


def test_evidence_that_is_too_weak_is_not_looked_at():
    def never() -> np.ndarray:
        raise AssertionError("looked at")

    weak = of(dataclasses.replace(WEAK, score=0.12), score=0.12)
    found = confirm(weak, never, never, a_duration_s=60.0, b_duration_s=60.0)
    assert found.ranges == ()
