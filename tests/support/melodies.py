"""Tunes for tests: rows of pitches as the network would write them, and sound."""

from __future__ import annotations

import numpy as np

from auditor.evidence.composition.pitches import STEP_S

SCALE = (0, 2, 4, 5, 7, 9, 11)


def random_tune(seed: int, n_notes: int = 120) -> list[tuple[float, float, int]]:
    """Return notes of a melody of steps and leaps in C major: start and length in s, MIDI pitch."""
    rng = np.random.default_rng(seed)
    degree, now, notes = int(rng.integers(0, 8)), 0.0, []
    for _ in range(n_notes):
        length = float(rng.choice((0.4, 0.4, 0.8, 1.2)))
        notes.append((now, length, 60 + 12 * (degree // 7) + SCALE[degree % 7]))
        now += length
        degree = int(np.clip(degree + rng.choice((-3, -2, -1, -1, 1, 1, 2, 4)), 0, 13))
    return notes


def chords_under(notes: list[tuple[float, float, int]], seed: int) -> list[tuple[float, tuple]]:
    """Return a triad for every 1.6 s: its start, and its pitch classes."""
    rng = np.random.default_rng(seed)
    end = notes[-1][0] + notes[-1][1]
    roots = rng.integers(0, 6, int(end / 1.6) + 1)
    return [(1.6 * k, tuple(SCALE[(r + d) % 7] for d in (0, 2, 4))) for k, r in enumerate(roots)]


def rows_of(
    notes: list[tuple[float, float, int]],
    *,
    transposition: int = 0,
    tempo: float = 1.0,
    chords: list[tuple[float, tuple]] = (),
    noise: float = 0.05,
    seed: int = 0,
) -> np.ndarray:
    """Return rows of pitches, (n, 37) uint8, of a tune that is played so many times as fast."""
    rng = np.random.default_rng(seed)
    end = (notes[-1][0] + notes[-1][1]) / tempo
    n = int(end / STEP_S)
    rows = rng.uniform(0, noise, (n, 37)) * 255
    times = (np.arange(n) + 0.5) * STEP_S * tempo
    for start, length, pitch in notes:
        here = (times >= start) & (times < start + length)
        rows[here, (pitch + transposition) % 12] = 220
        rows[here, 24 + (pitch + transposition) % 12] = 220
        rows[here, 36] = pitch + transposition
    for start, classes in chords:
        here = (times >= start) & (times < start + 1.6)
        for pc in classes:
            rows[here, 24 + (pc + transposition) % 12] = 200
        rows[here, 12 + (classes[0] + transposition) % 12] = 200
    rows[:, 36] = np.where(rows[:, :12].max(1) > 100, rows[:, 36], 0)
    return rows.round().astype(np.uint8)


def sound_of(
    notes: list[tuple[float, float, int]],
    *,
    transposition: int = 0,
    tempo: float = 1.0,
    overtones: tuple[float, ...] = (1.0, 0.5, 0.3, 0.2),
    decay_s: float = 1.0,
    sample_rate_hz: int = 16_000,
) -> np.ndarray:
    """Return a tune as an organ or a plucked string plays it, (n,) float32."""
    end = (notes[-1][0] + notes[-1][1]) / tempo + 0.5
    sound = np.zeros(int(end * sample_rate_hz), np.float64)
    for start, length, pitch in notes:
        n = int(length / tempo * sample_rate_hz)
        t = np.arange(n) / sample_rate_hz
        frequency = 440.0 * 2 ** ((pitch + transposition - 69) / 12)
        tone = sum(a * np.sin(2 * np.pi * frequency * (k + 1) * t) for k, a in enumerate(overtones))
        fade = np.minimum(1.0, np.minimum(t, t[::-1]) / 0.01) * np.exp(-t / decay_s)
        first = int(start / tempo * sample_rate_hz)
        sound[first : first + n] += (tone * fade)[: len(sound) - first]
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)
