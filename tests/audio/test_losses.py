"""What encoders take away is seen: the band they cut, the holes they leave."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from auditor.audio.decode import decode
from auditor.audio.encode import encode
from auditor.audio.losses import measure_losses

RATE_HZ = 44_100


@functools.cache
def bright(seed: int) -> np.ndarray:
    """Return six seconds of notes with overtones and of noise bursts, up to 20 kHz."""
    rng = np.random.default_rng(seed)
    n = 6 * RATE_HZ
    waveform = rng.normal(0.0, 3e-4, n)
    for start in range(0, n, RATE_HZ // 4):
        time_s = np.arange(min(RATE_HZ // 2, n - start)) / RATE_HZ
        hz = 110.0 * 2.0 ** (rng.integers(0, 36) / 12.0)
        for k in range(1, min(40, int(20_000 / hz))):
            note = np.sin(2.0 * np.pi * k * hz * time_s + rng.uniform(0.0, 6.0))
            waveform[start : start + len(time_s)] += note * np.exp(-time_s * (3 + 0.3 * k)) / k
        noise = rng.normal(0.0, 0.25, len(time_s)) * np.exp(-time_s * rng.uniform(8.0, 40.0))
        waveform[start : start + len(time_s)] += noise
    return (0.5 * waveform / np.abs(waveform).max()).astype(np.float32)


def through(waveform: np.ndarray, codec: str, bit_rate: int | None = None) -> np.ndarray:
    data = encode(waveform, codec=codec, sample_rate_hz=RATE_HZ, bit_rate=bit_rate)
    return decode(data, sample_rate_hz=RATE_HZ)


def low_passed(waveform: np.ndarray, cut_hz: float) -> np.ndarray:
    spectrum = np.fft.rfft(waveform)
    spectrum[np.fft.rfftfreq(len(waveform), 1.0 / RATE_HZ) > cut_hz] = 0.0
    return np.fft.irfft(spectrum, len(waveform)).astype(np.float32)


@pytest.mark.parametrize("cut_hz", [8_000.0, 11_000.0, 16_000.0, 19_000.0])
def test_a_cut_band_is_measured_whatever_holds_it(cut_hz):
    found = measure_losses(through(low_passed(bright(1), cut_hz), "flac"), RATE_HZ)
    assert found.band_hz == pytest.approx(cut_hz, abs=300.0)


def test_what_no_encoder_cut_reaches_half_the_sampling_rate():
    assert measure_losses(through(bright(1), "wav"), RATE_HZ).band_hz == RATE_HZ / 2
    falling = np.cumsum(np.random.default_rng(0).normal(0.0, 1.0, 4 * RATE_HZ)).astype(np.float32)
    falling -= falling.mean()
    assert measure_losses(falling / np.abs(falling).max(), RATE_HZ).band_hz == RATE_HZ / 2


@pytest.mark.parametrize("seed", [1, 2])
def test_a_transcode_at_a_high_rate_keeps_the_holes_of_the_low_one(seed):
    low = through(bright(seed), "mp3", 96_000)
    fresh = measure_losses(through(bright(seed), "mp3", 256_000), RATE_HZ)
    for worn in (through(low, "mp3", 320_000), through(low, "flac"), low):
        found = measure_losses(worn, RATE_HZ)
        holes = found.hole_share >= 1.25 * fresh.hole_share + 0.002
        assert holes or found.band_hz < fresh.band_hz - 800.0, (found, fresh)


def test_silence_and_short_passages_tell_nothing():
    assert measure_losses(np.zeros(5 * RATE_HZ, np.float32), RATE_HZ) is None
    assert measure_losses(bright(1)[:4000], RATE_HZ) is None
