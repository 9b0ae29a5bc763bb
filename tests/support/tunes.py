"""Little seeded tunes: every seed another track."""

from __future__ import annotations

import functools

import numpy as np
from synthetic_music import ringing

from auditor.audio import SAMPLE_RATE_HZ

N_SCALE_DEGREES = 14


def tune(seed: int, *, duration_s: float = 12.0, level: float = 0.4) -> np.ndarray:
    """Return (n,) float32 at 16 kHz: seeded notes over a bass, every seed another track."""
    return _tune(seed, duration_s, level).copy()


@functools.lru_cache(maxsize=128)
def _tune(seed: int, duration_s: float, level: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    waveform = np.zeros(n_samples)
    key_hz = 110.0 * 2.0 ** (rng.integers(0, 12) / 12.0)
    scale = np.cumsum(rng.choice([1, 2, 2, 3], size=N_SCALE_DEGREES))
    for lowest, share in ((0, 1.0), (12, 0.7)):  # a bass and a melody, each of its own timbre
        partials = rng.uniform(0.05, 1.0, size=6) / np.arange(1, 7)
        decay_s = rng.uniform(0.15, 0.6)
        step_s = rng.choice([0.2, 0.25, 0.33, 0.4]) * (2.0 if lowest == 0 else 1.0)
        start_s = 0.0
        while start_s < duration_s:
            first = round(start_s * SAMPLE_RATE_HZ)
            hz = key_hz * 2.0 ** ((lowest + rng.choice(scale)) / 12.0)
            rates = (2j * np.pi * np.arange(1, 7) * hz - 1.0 / decay_s) / SAMPLE_RATE_HZ
            note = ringing(share * partials, rates, min(n_samples - first, SAMPLE_RATE_HZ))
            waveform[first : first + len(note)] += note
            start_s += step_s
    waveform += rng.normal(0.0, 1e-3, n_samples)
    return (level * waveform / np.abs(waveform).max()).astype(np.float32)
