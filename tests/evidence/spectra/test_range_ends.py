"""Where a range begins and ends by the spectra: cut back, made longer, and never by silence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d
from tunes import tune

from auditor.audio import SAMPLE_RATE_HZ
from auditor.augment.waveform import plant
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.evidence.spectra.range_ends import _best_agreement, trim_range
from auditor.records import MatchedRange


def cut(waveform: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    return waveform[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)]


def trimmed(a: np.ndarray, b: np.ndarray, start_s: float, end_s: float, r: float = 0.9):
    found = MatchedRange(start_s, end_s, start_s, end_s, 1.0, 0.5, 0.0, 0.0, r)
    return trim_range(found, waveform_spectrum(a), waveform_spectrum(b))


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """20 s, from 20 s on, of one piece in another one."""
    original = tune(1, duration_s=60.0)
    host = plant(cut(original, 20.0, 40.0), tune(2, duration_s=60.0), position_s=20.0)
    return host, original


@pytest.mark.parametrize(("start_s", "end_s"), [(12.0, 46.0), (23.0, 37.0), (23.0, 46.0)])
def test_a_range_becomes_the_stretch_in_which_the_spectra_agree(pair, start_s, end_s):
    found = trimmed(*pair, start_s, end_s)
    assert (found.a_start_s, found.a_end_s) == pytest.approx((20.0, 40.0), abs=0.8)
    assert (found.b_start_s, found.b_end_s) == pytest.approx((20.0, 40.0), abs=0.8)


def test_what_does_not_agree_beyond_doubt_is_not_made_longer(pair):
    found = trimmed(*pair, 23.0, 37.0, r=0.4)
    assert (found.a_start_s, found.a_end_s) == pytest.approx((23.0, 37.0), abs=0.2)


def test_a_range_does_not_leave_its_tracks(pair):
    original = pair[1]
    found = trimmed(original, original, 2.0, 57.0)
    assert 0.0 <= found.a_start_s < 0.5
    assert 59.0 < found.b_end_s <= 60.0


def test_a_range_does_not_grow_into_silence_of_both_tracks():
    rng = np.random.default_rng(0)
    quiet = rng.normal(0.0, 1e-5, (2, 30 * SAMPLE_RATE_HZ)).astype(np.float32)
    for track in quiet:
        track[10 * SAMPLE_RATE_HZ : 20 * SAMPLE_RATE_HZ] += tune(1, duration_s=10.0)
    found = trimmed(quiet[0], quiet[1], 10.0, 20.0)
    assert (found.a_start_s, found.a_end_s) == pytest.approx((10.0, 20.0), abs=1.0)


@pytest.mark.parametrize("n", [17, 40, 200])
def test_frames_agree_at_the_best_lag_around_each(n):
    rng = np.random.default_rng(n)
    one = rng.normal(0.0, 5.0, (n, 30))
    other = np.roll(one, 3, axis=0) + rng.normal(0.0, 4.0, one.shape)
    other[: n // 2] = one[: n // 2]

    def mean(values, seconds):
        return uniform_filter1d(values, round(seconds / 0.096), mode="nearest")

    powers = [mean((frames**2).sum(axis=1), 1.5) for frames in (one, other)]
    best, expected = np.full(n, -np.inf), np.zeros(n)
    for lag in range(-8, 9):
        product = (one * np.roll(other, lag, axis=0)).sum(axis=1)
        better = mean(product, 6.0) > best
        best[better] = mean(product, 6.0)[better]
        expected[better] = mean(product, 1.5)[better]
    expected /= np.sqrt(powers[0] * powers[1])
    assert _best_agreement(one, other, 8) == pytest.approx(expected, abs=1e-9)
