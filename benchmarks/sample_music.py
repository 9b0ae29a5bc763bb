"""Pieces for the sample report: invented, seeded, and unlike each other.

Nobody's recording may stand in the repository, so the sample is made of music that this module
writes and plays: sections of a harmony of their own, a melody that wanders and does not come
back, a bass, a drum kit, and instruments made of sine waves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auditor.audio import SAMPLE_RATE_HZ

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "pentatonic": (0, 2, 4, 7, 9),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "whole tone": (0, 2, 4, 6, 8, 10),
}
"""Semitones above the root."""


NOISE = 5e-4
"""Of a studio at rest, full scale at 1."""

LATE_S = 0.015
"""How far a player is off the beat, as a standard deviation."""


@dataclass(frozen=True)
class Instrument:
    """Sine waves at multiples of the pitch, a rise and a fall."""

    ratios: tuple[float, ...]
    levels: tuple[float, ...]
    attack_s: float
    decay_s: float


_HARMONICS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
INSTRUMENTS = {
    "pluck": Instrument(_HARMONICS, (1, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1), 0.004, 0.25),
    "piano": Instrument(_HARMONICS, (1, 0.5, 0.25, 0.2, 0.08, 0.05, 0.02), 0.006, 0.7),
    "organ": Instrument((0.5, 1, 2, 3, 4, 8), (0.6, 1, 0.8, 0.4, 0.5, 0.25), 0.03, 6.0),
    "reed": Instrument((1, 3, 5, 7, 9), (1, 0.6, 0.45, 0.3, 0.15), 0.05, 2.5),
    "strings": Instrument(_HARMONICS, (1, 0.6, 0.5, 0.3, 0.3, 0.2, 0.15), 0.25, 4.0),
    "bell": Instrument((1, 2.76, 5.4, 8.93), (1, 0.6, 0.35, 0.2), 0.003, 1.1),
    "flute": Instrument((1, 2, 3), (1, 0.18, 0.05), 0.07, 3.0),
    "brass": Instrument(_HARMONICS, (0.7, 0.9, 1, 0.8, 0.6, 0.4, 0.3), 0.06, 1.8),
    "mallet": Instrument((1, 4.0, 9.9), (1, 0.3, 0.08), 0.003, 0.22),
}

DRUMS = {
    "none": (0.0, 0.0, 0.0),
    "brushes": (0.15, 0.1, 0.8),
    "rock": (0.9, 0.9, 0.6),
    "sparse": (0.5, 0.2, 0.15),
    "busy": (0.7, 0.5, 1.0),
}
"""Chances of a kick, a snare and a hat where the metre suggests one."""


@dataclass(frozen=True)
class Score:
    """What distinguishes one piece from another."""

    seed: int
    duration_s: float
    beats_per_minute: float
    beats_per_bar: int
    root: int
    scale: str
    lead: str
    chords: str
    drums: str
    notes_per_beat: float


def perform(score: Score) -> np.ndarray:
    """Return a piece.

    Parameters
    ----------
    score : Score
        The same score gives the same piece.

    Returns
    -------
    numpy.ndarray
        (duration_s * 16000,) float32, peak 0.8, faded at both ends.
    """
    rng = np.random.default_rng(score.seed)
    n_samples = round(score.duration_s * SAMPLE_RATE_HZ)
    mix = np.zeros(n_samples + 8 * SAMPLE_RATE_HZ, dtype=np.float32)
    scale = SCALES[score.scale]
    beat_s = 60.0 / score.beats_per_minute
    bar_s = score.beats_per_bar * beat_s
    degree = 7
    for bar in range(int(score.duration_s / bar_s) + 1):
        if bar % 4 == 0:
            progression = rng.permutation(len(scale))[:4]
            kit = rng.uniform(0.3, 1.0, 3) * DRUMS[score.drums]
            lead_level = rng.choice([0.0, 0.7, 1.0], p=[0.1, 0.3, 0.6])
            bass_beats = rng.random(score.beats_per_bar) < 0.5
        chord, start_s = int(progression[bar % 4]), bar * bar_s
        for third in (0, 2, 4):
            pitch = score.root + 24 + _pitch(scale, chord + third)
            _play(mix, start_s, bar_s, pitch, INSTRUMENTS[score.chords], 0.16)
        for beat in range(score.beats_per_bar):
            if beat == 0 or bass_beats[beat]:
                pitch = score.root + _pitch(scale, chord + (0 if beat == 0 else 4))
                _play(mix, start_s + beat * beat_s, beat_s, pitch, INSTRUMENTS["pluck"], 0.5)
            _hit(mix, start_s + beat * beat_s, beat_s, beat, kit, rng)
        beats, late_s = 0.0, rng.normal(0.0, LATE_S)
        while beats < score.beats_per_bar:
            length = float(rng.choice([0.5, 1.0, 1.0, 1.5])) / score.notes_per_beat
            degree = int(np.clip(degree + rng.integers(-3, 4), 0, 2 * len(scale)))
            if rng.random() > 0.12 and lead_level > 0.0:
                pitch = score.root + 36 + _pitch(scale, degree)
                at_s = max(0.0, start_s + beats * beat_s + late_s + rng.normal(0.0, LATE_S))
                level = 0.38 * lead_level * rng.uniform(0.5, 1.3)
                _play(mix, at_s, length * beat_s, pitch, INSTRUMENTS[score.lead], level)
            beats += length
    mix = mix[:n_samples]
    edge = round(1.5 * SAMPLE_RATE_HZ)
    mix[:edge] *= np.linspace(0.2, 1.0, edge, dtype=np.float32)
    mix[-edge:] *= np.linspace(1.0, 0.0, edge, dtype=np.float32)
    mix *= np.float32(0.8 / np.abs(mix).max())
    # FFmpeg's Vorbis encoder aborts on some frames without any noise.
    return mix + rng.normal(0.0, NOISE, n_samples).astype(np.float32)


def _pitch(scale: tuple[int, ...], degree: int) -> int:
    octave, step = divmod(degree, len(scale))
    return 12 * octave + scale[step]


def _play(
    mix: np.ndarray,
    start_s: float,
    length_s: float,
    pitch: float,
    instrument: Instrument,
    level: float,
) -> None:
    """Add one note, released over a tenth of a second."""
    release_s = 0.1
    n = round((length_s + release_s) * SAMPLE_RATE_HZ)
    time_s = np.arange(n) / SAMPLE_RATE_HZ
    hz = 440.0 * 2.0 ** ((pitch - 69) / 12) * np.array(instrument.ratios)
    heard = hz < 0.47 * SAMPLE_RATE_HZ
    levels = np.array(instrument.levels)
    tone = levels[heard] @ np.sin(2 * np.pi * np.outer(hz[heard], time_s))
    tone *= np.minimum(time_s / instrument.attack_s, 1.0) * np.exp(-time_s / instrument.decay_s)
    tone *= np.clip((length_s + release_s - time_s) / release_s, 0.0, 1.0)
    start = round(start_s * SAMPLE_RATE_HZ)
    stop = min(start + n, len(mix))
    mix[start:stop] += (level / levels.sum() * tone[: stop - start]).astype(np.float32)


def _hit(
    mix: np.ndarray,
    start_s: float,
    beat_s: float,
    beat: int,
    kit: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Add the drums of one beat: kick or snare on it, hats on it and half-way."""
    chances = rng.random(4)
    n = round(0.2 * SAMPLE_RATE_HZ)
    time_s = np.arange(n) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(n)
    kick = 0.8 * np.sin(2 * np.pi * 55.0 * time_s) * np.exp(-time_s / 0.06)
    snare = 0.3 * noise * np.exp(-time_s / 0.05)
    hat = 0.15 * np.diff(noise, prepend=0.0) * np.exp(-time_s / 0.02)
    hits = (
        (kick, 0.0, chances[0] < kit[0] and beat % 2 == 0),
        (snare, 0.0, chances[1] < kit[1] and beat % 2 == 1),
        (hat, 0.0, chances[2] < kit[2]),
        (hat, 0.5, chances[3] < kit[2]),
    )
    for sound, place, sounds in hits:
        start = round((start_s + place * beat_s) * SAMPLE_RATE_HZ)
        stop = min(start + n, len(mix))
        if sounds and start < stop:
            mix[start:stop] += sound[: stop - start].astype(np.float32)
