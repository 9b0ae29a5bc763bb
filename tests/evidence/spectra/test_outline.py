"""Mean spectra: a piece that was moved in pitch is told, and other pieces are not."""

from __future__ import annotations

import numpy as np
import pytest
from tunes import tune

from auditor.audio import SAMPLE_RATE_HZ
from auditor.augment.waveform import change_speed
from auditor.embedding.config import SPECTRUM
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.evidence.spectra.pitch_tempo import common_bands
from auditor.evidence.spectra.range_search import (
    MAX_SEMITONES,
    SURELY_ALIKE,
    _moved_correlations,
    mean_spectrum_shift,
)


def outline(waveform: np.ndarray) -> np.ndarray:
    return TrackSpectrum(waveform_spectrum(waveform), len(waveform) / SAMPLE_RATE_HZ).mean_spectrum


@pytest.mark.parametrize("ratio", [0.68, 0.75, 0.9, 1.06, 1.25, 1.48])
def test_another_speed_is_told_to_a_fraction_of_a_semitone(ratio):
    original = tune(1, duration_s=40.0)
    moved = mean_spectrum_shift(outline(change_speed(original, ratio)), outline(original))
    assert moved == pytest.approx(12.0 * np.log2(ratio), abs=0.25)


def test_how_much_they_must_be_alike_may_be_chosen():
    one = outline(tune(1, duration_s=40.0))
    noise = np.random.default_rng(0).normal(0.0, 0.9 * one.std(), len(one))
    moved = np.roll(one, 8) + noise  # correlates by about 0.75
    assert mean_spectrum_shift(moved, one) == pytest.approx(4.0, abs=0.25)
    assert mean_spectrum_shift(moved, one, alike=SURELY_ALIKE) is None


def test_exchanging_both_exchanges_the_sign():
    one, other = (outline(w) for w in (tune(1), change_speed(tune(1), 1.2)))
    assert mean_spectrum_shift(one, other) == pytest.approx(-mean_spectrum_shift(other, one))


def test_what_is_most_alike_as_it_is_was_not_moved():
    original = outline(tune(1, duration_s=40.0))
    assert mean_spectrum_shift(original, original) is None


def test_other_outlines_and_silence_tell_nothing():
    one, other = np.random.default_rng(0).normal(size=(2, SPECTRUM.n_bands))
    assert mean_spectrum_shift(one, other) is None
    assert mean_spectrum_shift(one, np.zeros(SPECTRUM.n_bands)) is None
    assert mean_spectrum_shift(np.roll(one, round(2 * MAX_SEMITONES) + 5), one) is None
    empty = TrackSpectrum(np.zeros((0, SPECTRUM.n_bands), np.uint8), 0.0)
    assert len(empty.mean_spectrum) == len(one)


@pytest.mark.parametrize("seed", range(20))
def test_all_shifts_at_once_correlate_as_each_of_them(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.normal(rng.normal(0.0, 9.0, (2, 1)), 3.0, (2, SPECTRUM.n_bands))
    one, other = one.astype(np.float32), other.astype(np.float32)
    expected = []
    for shift in range(-14, 15):
        of_one, of_other = common_bands(shift, len(one))
        expected.append(np.corrcoef(one[of_one], other[of_other])[0, 1])
    assert _moved_correlations(one, other, 14) == pytest.approx(expected, abs=1e-6)
    flat = np.full_like(one, 3.0)
    assert np.abs(_moved_correlations(flat, other, 14)).max() < 1e-3
