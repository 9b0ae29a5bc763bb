"""Synthetic speech and crowds, so that talking can be mixed over music without any speech data.

A voice is the classic source-filter model: a glottal pulse train with a wandering pitch, gated in
the rhythm of syllables and sent through three vowel formants, with bursts of noise for consonants.
It is not intelligible and need not be: it covers the music where and when speech would.

References
----------
G. Fant, Acoustic Theory of Speech Production, 1960 (source-filter model).
G. E. Peterson and H. L. Barney, Control methods used in a study of the vowels, J. Acoust. Soc. Am.
24, 1952 (formant frequencies).
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter, sosfilt

from auditor.audio import SAMPLE_RATE_HZ

_FORMANTS_HZ = (
    (730.0, 1090.0, 2440.0),
    (530.0, 1840.0, 2480.0),
    (270.0, 2290.0, 3010.0),
    (570.0, 840.0, 2410.0),
    (300.0, 870.0, 2240.0),
    (500.0, 1500.0, 2500.0),
)
_BANDWIDTHS_HZ = (80.0, 110.0, 160.0)
_LEVEL = 0.1


def speak(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return one person's talk.

    Parameters
    ----------
    n_samples : int
        Length, at 16 kHz.
    rng : numpy.random.Generator
        Draws pitch (85-240 Hz), tract length (+-12 %), syllables (about 4 a second) and pauses.

    Returns
    -------
    numpy.ndarray
        (n_samples,) float32 of RMS 0.1; no samples give no samples.
    """
    if n_samples < 1:
        return np.zeros(0, dtype=np.float32)
    source = _pulses(n_samples, rng)
    tract = rng.uniform(0.88, 1.12)
    gates = np.zeros((len(_FORMANTS_HZ), n_samples), dtype=np.float32)
    bursts = np.zeros(n_samples, dtype=np.float32)
    start = 0
    while start < n_samples:
        length = round(SAMPLE_RATE_HZ * np.clip(rng.lognormal(np.log(0.2), 0.35), 0.08, 0.6))
        stop = min(n_samples, start + length)
        shape = np.sin(np.pi * (np.arange(stop - start) + 0.5) / length) ** 0.7
        gates[rng.integers(len(gates)), start:stop] = rng.uniform(0.5, 1.0) * shape
        if rng.random() < 0.5:
            burst = min(n_samples - start, round(SAMPLE_RATE_HZ * rng.uniform(0.03, 0.1)))
            bursts[start : start + burst] = rng.normal(0.0, 0.05, burst) * np.hanning(burst)
        if rng.random() < 0.12:
            length += round(SAMPLE_RATE_HZ * rng.uniform(0.2, 0.8))
        start += max(length, 1)
    voice = lfilter([1.0, -0.9], [1.0], bursts)
    for gate, formants_hz in zip(gates, _FORMANTS_HZ, strict=True):
        if gate.any():
            voice += sosfilt(_resonators(formants_hz, tract), source * gate)
    rms = np.sqrt(np.mean(voice**2))
    return (voice * (_LEVEL / max(rms, 1e-9))).astype(np.float32)


def crowd(n_samples: int, rng: np.random.Generator, *, n_voices: int = 16) -> np.ndarray:
    """Return many people talking at once.

    Every voice is a loop of 3 to 6 s, of its own length, at its own level and point of start, so
    that the sum does not repeat within minutes and costs little.

    Parameters
    ----------
    n_samples : int
        Length, at 16 kHz.
    rng : numpy.random.Generator
    n_voices : int
        People, at least 1.

    Returns
    -------
    numpy.ndarray
        (n_samples,) float32 of RMS 0.1.

    Raises
    ------
    ValueError
        If there is no voice.
    """
    if n_voices < 1:
        raise ValueError(f"n_voices is {n_voices}; it must be at least 1")
    total = np.zeros(n_samples, dtype=np.float32)
    for _ in range(n_voices):
        loop = speak(round(SAMPLE_RATE_HZ * rng.uniform(3.0, 6.0)), rng)
        positions = (np.arange(n_samples) + rng.integers(len(loop))) % len(loop)
        total += loop[positions] * np.float32(rng.uniform(0.3, 1.0))
    rms = np.sqrt(np.mean(total**2)) if n_samples else 0.0
    return (total * (_LEVEL / max(rms, 1e-9))).astype(np.float32)


def _pulses(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    pitch_hz = np.exp(rng.uniform(np.log(85.0), np.log(240.0)))
    n_points = 2 + 3 * n_samples // SAMPLE_RATE_HZ
    bends = 2.0 ** (rng.normal(0.0, 2.0, n_points).clip(-5.0, 5.0) / 12.0)
    contour = np.interp(np.linspace(0, n_points - 1, n_samples), np.arange(n_points), bends)
    phase = np.cumsum(pitch_hz * contour / SAMPLE_RATE_HZ)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    breath = rng.normal(0.0, 0.01, n_samples)
    return lfilter([1.0, -1.0], [1.0, -1.7, 0.72], pulses + breath)  # about -6 dB per octave


def _resonators(formants_hz: tuple[float, ...], tract: float) -> np.ndarray:
    sections = []
    for formant_hz, bandwidth_hz in zip(formants_hz, _BANDWIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE_HZ)
        angle = 2.0 * np.pi * formant_hz * tract / SAMPLE_RATE_HZ
        poles = [1.0, -2.0 * radius * np.cos(angle), radius**2]
        sections.append([sum(poles), 0.0, 0.0, *poles])
    return np.asarray(sections)
