"""Frames and windows: the same however they arrive, at whatever level."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.audio import SAMPLE_RATE_HZ
from auditor.embedding.config import ExtractorConfig, FeatureConfig
from auditor.embedding.frames import (
    FLOOR_DB,
    LogBands,
    WindowCutter,
    log_filter_bank,
    mel_filter_bank,
    normalise_windows,
    stream_frames,
    window_levels,
)
from auditor.embedding.pooling import audible_windows

MEL = FeatureConfig(layout="mel", n_bands=40, f_min_hz=0.0)
LOG = FeatureConfig()
NOISE = np.random.default_rng(0).normal(0.0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)
LOG_BANDS, MEL_BANDS = LogBands(LOG), LogBands(MEL)


def sine(hz: float, *, duration_s: float = 0.5, level: float = 1.0) -> np.ndarray:
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (level * np.sin(2.0 * np.pi * hz * time_s)).astype(np.float32)


def random_windows(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def windows_every(frames: np.ndarray, size: int, hop: int) -> np.ndarray:
    return np.stack([frames[s : s + size] for s in range(0, len(frames) - size + 1, hop)])


# Frames


@pytest.mark.parametrize("bands", [LOG_BANDS, MEL_BANDS], ids=["log", "mel"])
def test_frames_are_a_power_spectrogram_through_a_bank(bands):
    n, window = 1 + (len(NOISE) - 512) // 160, scipy.signal.get_window("hann", 400)
    power = np.empty((n, 257))
    for i in range(n):
        frame = NOISE[160 * i :][:512].astype(np.float64)
        power[i] = np.abs(np.fft.rfft(frame * np.pad(window, 56))) ** 2
    bank = (mel_filter_bank if bands is MEL_BANDS else log_filter_bank)(bands.config)
    expected = 10.0 * np.log10(power @ bank / (window.sum() / 2.0) ** 2)
    np.testing.assert_allclose(bands(NOISE), expected, atol=1e-3)


def test_mel_triangles_are_equally_wide_on_the_mel_scale():
    bank = mel_filter_bank(MEL)
    assert bank.shape == (257, 40)
    assert bank.min() == 0.0 and bank.max() <= 1.0
    # 40 triangles of equal width up to 8 kHz, 2840 mel: 69.3 mel from one peak to the next
    for k in (20, 30, 39):
        peak_hz = np.arange(257) @ bank[:, k] / bank[:, k].sum() * 31.25
        assert 2595.0 * np.log10(1.0 + peak_hz / 700.0) == pytest.approx(69.27 * (k + 1), rel=0.01)


@pytest.mark.parametrize("hz", [500.0, 1000.0, 2000.0, 4000.0])  # centres of bins of the FFT
def test_0_db_is_what_a_full_scale_sine_leaves_in_its_bin(hz):
    power = np.abs(np.fft.rfft(sine(hz)[:400] * scipy.signal.get_window("hann", 400), 512)) ** 2
    share = log_filter_bank(LOG)[round(hz / 31.25)].max()
    (level,) = LOG_BANDS(sine(hz)[:512]).max(axis=1)
    assert level >= 10.0 * np.log10(share) - 0.1
    assert power.max() == pytest.approx((400 / 4) ** 2, rel=0.01)


@pytest.mark.parametrize("hz", [130.0, 440.0, 1000.0, 3000.0])
def test_a_full_scale_sine_is_a_little_below_0_db_in_its_log_band(hz):
    frames = LOG_BANDS(sine(hz))
    band = int(frames.mean(axis=0).argmax())
    assert abs(band - 12.0 * np.log2(hz / LOG.f_min_hz)) <= 1.0
    # A band is a mean over its bins, so the wide ones dilute a sine the most.
    assert -8.0 < float(frames[:, band].mean()) < 0.1


@pytest.mark.parametrize("hz", [250.0, 440.0, 1000.0, 3000.0])
def test_log_bands_are_means_and_mel_bands_are_sums(hz):
    log, mel = (float(bands(sine(hz)).mean(axis=0).max()) for bands in (LOG_BANDS, MEL_BANDS))
    assert log < 0.0
    assert log < mel < 4.0
    assert float(MEL_BANDS(sine(250.0)).mean(axis=0).max()) > 1.0


def test_white_noise_is_flat_in_log_bands_and_rises_in_mel_bands():
    log, mel = (
        10.0 * np.log10((10.0 ** (bands(NOISE) / 10.0)).mean(axis=0))
        for bands in (LOG_BANDS, MEL_BANDS)
    )
    assert float(log.max() - log.min()) < 4.0
    assert float(mel[-5:].mean() - mel[:5].mean()) > 6.0


def test_the_log_bank_is_constant_per_octave():
    bank = log_filter_bank(LOG)
    assert bank.shape == (257, 72)
    assert (bank >= 0.0).all()
    assert bank.sum(axis=0) == pytest.approx(1.0, abs=1e-5)
    centres_hz = np.arange(257) * SAMPLE_RATE_HZ / 512 @ bank
    wide = centres_hz > 600.0
    steps = np.diff(np.log2(centres_hz[wide]))
    assert steps == pytest.approx(1 / 12, abs=0.01)


@pytest.mark.parametrize("n_semitones", [-2, -1, 1, 2])
def test_a_pitch_shift_moves_the_log_bands(n_semitones):
    def spectrum(ratio: float) -> np.ndarray:
        waveform = sum(sine(220.0 * k * ratio, level=0.3 / k) for k in range(1, 9))
        frames = np.maximum(LOG_BANDS(waveform), -60.0).mean(axis=0)
        return frames - frames.mean()

    plain, shifted = spectrum(1.0), spectrum(2.0 ** (n_semitones / 12.0))
    match = {lag: float(plain[8:-8] @ np.roll(shifted, -lag)[8:-8]) for lag in range(-5, 6)}
    assert max(match, key=match.get) == n_semitones


@pytest.mark.parametrize("bands", [LOG_BANDS, MEL_BANDS], ids=["log", "mel"])
def test_silence_is_the_floor(bands):
    frames = bands(np.zeros(1000, np.float32))
    assert frames.shape == (1 + (1000 - 512) // 160, bands.config.n_bands)
    assert (frames == FLOOR_DB).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(NOISE)), st.lists(st.integers(0, len(NOISE)), max_size=12))
def test_streamed_frames_are_those_of_the_whole(n_samples, cuts):
    blocks = np.split(NOISE[:n_samples], sorted(min(c, n_samples) for c in cuts))
    streamed = list(stream_frames(blocks, LOG_BANDS))
    assert all(len(frames) for frames in streamed)
    if n_samples < LOG.n_fft:
        assert streamed == []
        return
    np.testing.assert_array_equal(np.concatenate(streamed), LOG_BANDS(NOISE[:n_samples]))


# Windows


def windows_of(n_frames: int, cuts: list[int], config: ExtractorConfig, *, batch: int) -> list:
    """Feed frames whose one band holds their number; return the batches of windows."""
    frames = np.arange(n_frames, dtype=np.float32)[:, None]
    edges = [0, *sorted(min(c, n_frames) for c in cuts), n_frames]
    cutter = WindowCutter(config, batch=batch)
    batches = []
    for first, last in pairwise(edges):
        batches += cutter.feed(frames[first:last])
    return batches + list(cutter.finish())


def starts_of(n_frames: int, config: ExtractorConfig) -> list[int]:
    """Say plainly where the windows of a track of at least one window begin."""
    size, hop = config.window_frames, config.hop_frames
    starts = list(range(0, n_frames - size + 1, hop))
    return starts if starts[-1] + size == n_frames else [*starts, n_frames - size]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 300),
    st.lists(st.integers(0, 300), max_size=10),
    st.integers(16, 64),
    st.integers(1, 64),
    st.integers(1, 5),
)
def test_windows_are_those_of_the_whole(n_frames, cuts, size, hop, batch):
    config = ExtractorConfig(window_frames=size, hop_frames=min(hop, size))
    batches = windows_of(n_frames, cuts, config, batch=batch)
    assert all(len(b) == batch for b in batches[:-1])
    numbers = np.concatenate(batches)[:, :, 0].tolist() if batches else []
    missing = size - n_frames
    if missing <= 0:
        expected = [list(range(s, s + size)) for s in starts_of(n_frames, config)]
    elif missing <= min(25, n_frames):
        mirrored = list(range(n_frames))[-missing:][::-1]
        expected = [list(range(n_frames)) + mirrored]
    else:
        expected = []
    assert numbers == expected


@pytest.mark.parametrize(("n_frames", "n_windows"), [(134, 0), (135, 1), (160, 1), (161, 2)])
def test_a_track_may_fall_a_quarter_second_short(n_frames, n_windows):
    batches = windows_of(n_frames, [], ExtractorConfig(), batch=8)
    assert sum(map(len, batches)) == n_windows


def test_what_is_held_does_not_grow():
    cutter = WindowCutter(ExtractorConfig(), batch=4)
    for _ in range(50):
        list(cutter.feed(np.zeros((100, 1), np.float32)))
        assert cutter._n_held <= 3 * 80 + 160 + 80 + 100


def test_a_quieter_copy_has_the_same_windows(make_tune):
    waveform = make_tune(3, duration_s=4.0)
    frames = LOG_BANDS(waveform)
    quiet = LOG_BANDS(waveform * np.float32(10.0 ** (-12.0 / 20.0)))
    loud, soft = (windows_every(frames, 160, 80) for frames in (frames, quiet))
    assert window_levels(loud) - window_levels(soft) == pytest.approx(12.0, abs=0.01)
    np.testing.assert_allclose(normalise_windows(loud), normalise_windows(soft), atol=0.01)


@given(st.floats(-60.0, 20.0))
def test_normalised_windows_know_no_gain(gain_db):
    windows = 20.0 * random_windows(2, 16, 8, seed=1) - 40.0
    plain, louder = normalise_windows(windows), normalise_windows(windows + np.float32(gain_db))
    np.testing.assert_allclose(plain, louder, atol=1e-3)


def test_normalised_windows_have_zero_mean_and_unit_deviation():
    windows = 30.0 * random_windows(5, 160, 72, seed=2)
    x = normalise_windows(windows)
    np.testing.assert_allclose(x.mean(axis=(1, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(x.std(axis=(1, 2)), 1.0, atol=1e-4)


def test_what_lies_60_db_down_is_cut_off():
    windows = np.array([[[0.0, -60.0], [-30.0, -110.0]]], np.float32)
    x = normalise_windows(windows)
    assert x[0, 0, 1] == x[0, 1, 1]
    assert x[0, 0, 1] < x[0, 1, 0]


@pytest.mark.parametrize("level", [FLOOR_DB, 0.0])
def test_a_constant_window_becomes_zeros(level):
    assert (normalise_windows(np.full((2, 160, 72), level, np.float32)) == 0.0).all()


def test_a_nearly_constant_window_is_not_blown_up():
    windows = 0.01 * random_windows(1, 160, 72, seed=3)
    assert np.abs(normalise_windows(windows)).max() < 0.1


@pytest.mark.parametrize(
    ("levels", "audible"),
    [
        ([], []),
        ([-20.0, -69.0, -71.0], [True, True, False]),
        ([-81.0, -120.0], [False, False]),
        ([-79.0, -81.0], [True, False]),
    ],
)
def test_audible_windows(levels, audible):
    assert audible_windows(np.asarray(levels)).tolist() == audible
