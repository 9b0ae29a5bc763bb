"""Pitch shifts of synthetic frames and of real notes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.audio import SAMPLE_RATE_HZ
from auditor.augment.waveform import change_speed
from auditor.embedding.config import SPECTRUM, FeatureConfig
from auditor.embedding.spectrogram import cut_spectrum, waveform_spectrum
from auditor.evidence.spectra.pitch_tempo import (
    _correlations,
    _quantile,
    level_frames,
    match_frames,
    match_range,
    pitch_shift,
)
from auditor.records import MatchedRange

BANDS = FeatureConfig(n_bands=72, frame_hop_s=0.010)


def frames(n: int, seed: int, *, n_bands: int = 120) -> np.ndarray:
    """Return (n, n_bands) dB in which single bands sound for a while."""
    rng = np.random.default_rng(seed)
    out = np.full((n, n_bands), -60.0)
    for _ in range(n // 2):
        start, band = rng.integers(n), rng.integers(n_bands)
        out[start : start + rng.integers(10, 60), band] += rng.uniform(20.0, 50.0)
    return out.astype(np.float32)


def notes(seed: int, *, duration_s: float = 8.0) -> np.ndarray:
    """Return a melody with overtones."""
    rng = np.random.default_rng(seed)
    out = np.zeros(round(duration_s * SAMPLE_RATE_HZ), dtype=np.float32)
    for start in range(0, len(out) - 8000, 4000):
        time_s = np.arange(8000) / SAMPLE_RATE_HZ
        pitch_hz = 220.0 * 2.0 ** (rng.integers(0, 24) / 12)
        tone = sum(np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in range(1, 6))
        out[start : start + 8000] += (0.1 * tone * np.exp(-time_s / 0.15)).astype(np.float32)
    return out


def waveform_frames(waveform: np.ndarray) -> np.ndarray:
    """Return (n_frames, n_bands) dB, as they are stored of a track."""
    return cut_spectrum(waveform_spectrum(waveform), 0.0, 3600.0)


@settings(max_examples=15, deadline=None)
@given(bands=st.integers(-8, 8), seed=st.integers(0, 50))
def test_a_translation_of_the_bands_is_the_shift(bands, seed):
    music = frames(600, seed)
    a, b = music[:, 24 - bands : 96 - bands], music[:, 24:96]
    found = pitch_shift(a, b, tempo=1.0, features=BANDS)
    assert found == pytest.approx(bands, abs=0.3)
    assert pitch_shift(b, a, tempo=1.0, features=BANDS) == pytest.approx(-found, abs=0.1)


@pytest.mark.parametrize("tempo", [0.8, 1.1, 1.25])
def test_a_known_tempo_is_undone(tempo):
    music = frames(900, 3)
    at = (np.arange(int(900 / tempo)) * tempo).astype(int)
    a, b = music[at][:, 22:94], music[:, 24:96]
    assert pitch_shift(a, b, tempo=tempo, features=BANDS) == pytest.approx(2.0, abs=0.3)
    assert pitch_shift(b, a, tempo=1 / tempo, features=BANDS) == pytest.approx(-2.0, abs=0.3)


def test_a_late_start_of_half_a_second_does_no_harm():
    music = frames(900, 4)
    found = pitch_shift(music[50:800, 21:93], music[:750, 24:96], tempo=1.0, features=BANDS)
    assert found == pytest.approx(3.0, abs=0.3)


def test_an_equaliser_is_no_pitch_shift():
    music = frames(900, 5)
    slope = np.linspace(-20.0, 20.0, 72, dtype=np.float32)
    found = pitch_shift(music[:, 23:95] + slope, music[:, 24:96], tempo=1.0, features=BANDS)
    assert found == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("ratio", [0.8, 0.97, 1.0, 1.06, 1.25])
def test_speed_changes_pitch_and_tempo_together(ratio):
    music = notes(1)
    a, b = waveform_frames(change_speed(music, ratio)), waveform_frames(music)
    assert pitch_shift(a, b, tempo=ratio) == pytest.approx(12 * np.log2(ratio), abs=0.15)


@pytest.mark.parametrize(("ratio", "guess"), [(1.06, 1.02), (0.9, 0.94), (1.0, 1.3)])
def test_a_tempo_that_is_roughly_right_becomes_exact(ratio, guess):
    music = notes(4, duration_s=14.0)
    a, b = waveform_frames(change_speed(music, ratio)), waveform_frames(music)
    found = match_frames(a, b, tempo=guess)
    assert found.tempo == pytest.approx(ratio, rel=0.004)
    assert found.semitones == pytest.approx(12 * np.log2(ratio), abs=0.15)
    assert found.correlation > 0.5


def test_what_does_not_correlate_has_no_shift():
    a, b = waveform_frames(notes(2)), frames(120, 6, n_bands=SPECTRUM.n_bands)
    assert pitch_shift(a, b, tempo=1.0) is None
    silence = np.full((200, SPECTRUM.n_bands), -120.0, dtype=np.float32)
    assert pitch_shift(silence, silence, tempo=1.0) is None


def test_less_than_a_second_has_no_shift():
    a = waveform_frames(notes(2)[:12_000])
    assert pitch_shift(a, a, tempo=1.0) is None
    none = waveform_frames(np.zeros(100, dtype=np.float32))
    assert none.shape == (0, SPECTRUM.n_bands)
    assert pitch_shift(none, none, tempo=1.0) is None


def test_a_range_is_measured_where_it_lies():
    excerpt, other = notes(3), notes(5)
    a = waveform_spectrum(np.concatenate([other, excerpt]))
    b = waveform_spectrum(np.concatenate([excerpt, other]))
    found = match_range(MatchedRange(8.0, 16.0, 0.0, 8.0, 1.0, 0.5, None, 0.0), a, b)
    assert found.semitones == pytest.approx(0.0, abs=0.1)
    assert found.correlation > 0.8
    elsewhere = match_range(MatchedRange(0.0, 8.0, 0.0, 8.0, 1.0, 0.5, None, 0.0), a, b)
    assert elsewhere is None or elsewhere.correlation < 0.4


@pytest.mark.parametrize(
    ("shape", "how", "message"),
    [
        ((50, 72), {"features": FeatureConfig(layout="mel", f_min_hz=0.0)}, "layout 'mel'"),
        ((50, 40), {"features": BANDS}, r"a_frames has shape \(50, 40\)"),
        ((50, 72), {"features": BANDS, "tempo": 9.0}, "tempo is 9.0"),
    ],
)
def test_frames_that_do_not_fit_are_refused(shape, how, message):
    given_frames = np.zeros(shape, dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        pitch_shift(given_frames, given_frames, **{"tempo": 1.0, **how})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_quantile_is_that_of_numpy(dtype):
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 20, 21, 83, 312):
        values = rng.normal(size=n).astype(dtype)
        assert _quantile(values, 0.95) == np.quantile(values, 0.95)


def test_correlations_are_those_of_every_lag_and_translation_by_hand():
    rng = np.random.default_rng(3)
    frames = np.cumsum(rng.normal(size=(60, SPECTRUM.n_bands)), axis=0).round().astype(np.float32)
    a, b = frames[:50], np.roll(frames, 3, axis=1)[4:54]
    shifts = np.arange(-4, 5)
    (found,) = _correlations(a, b, np.ones(1), shifts, SPECTRUM, 8.0)
    of_a, of_b = level_frames(a, SPECTRUM), level_frames(b, SPECTRUM)
    n_bands, max_lag = SPECTRUM.n_bands, round(0.8 / SPECTRUM.frame_hop_s)
    for shift, correlation in zip(shifts.tolist(), found.tolist(), strict=True):
        upper = of_a[:, max(shift, 0) : n_bands + min(shift, 0)]
        lower = of_b[:, max(-shift, 0) : n_bands + min(-shift, 0)]
        products = [
            (upper[max(lag, 0) :][: 50 - abs(lag)] * lower[max(-lag, 0) :][: 50 - abs(lag)]).sum()
            for lag in range(-max_lag, max_lag + 1)
        ]
        power = np.sqrt((upper**2).sum() * (lower**2).sum())
        assert correlation == pytest.approx(max(products) / power, abs=1e-5)
