"""What an alignment of two tracks says: passages, transposition, tempo, melody and harmony."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auditor.evidence.composition.align import Alignment, lead_in
from auditor.evidence.composition.pitches import STEP_S, PitchTrack, transposed, unit_rows

_MIN_STEPS = 12


@dataclass(frozen=True)
class Agreement:
    """How far two tracks agree along their best path.

    Attributes
    ----------
    a_start_s, a_end_s, b_start_s, b_end_s : float
        The passage in either track, in seconds.
    transposition : int
        Semitones that a lies above b, -5 to 6; octaves do not count.
    tempo : float
        Seconds of b that pass in one second of a.
    melody : float
        Share of the melody that is the same pitch class at the same place, 0 to 1, beyond what
        chance gives.
    harmony : float
        Correlation of all that sounds, 0 to 1.
    """

    a_start_s: float
    a_end_s: float
    b_start_s: float
    b_end_s: float
    transposition: int
    tempo: float
    melody: float
    harmony: float


def agreement(a: PitchTrack, b: PitchTrack, alignment: Alignment) -> Agreement:
    """Return how far two tracks agree along a path."""
    rows_a, rows_b = alignment.path[:, 0], alignment.path[:, 1]
    moved = transposed(b.rows[:, :36], alignment.transposition)
    melody_b = moved[:, :12].astype(np.float32) / 255.0
    all_b = moved[:, 24:36].astype(np.float32) / 255.0
    start_a, start_b = lead_in(alignment.path)
    end_a, end_b = int(rows_a[-1]) + 1, int(rows_b[-1]) + 1
    slope = _slope(rows_a, rows_b)
    return Agreement(
        start_a * STEP_S,
        end_a * STEP_S,
        start_b * STEP_S,
        end_b * STEP_S,
        alignment.transposition,
        round(slope, 3),
        round(_melody(a.melody[rows_a], melody_b[rows_b]), 3),
        round(_harmony(a.all, all_b, rows_a, rows_b), 3),
    )


def _slope(rows_a: np.ndarray, rows_b: np.ndarray) -> float:
    """Return rows of b in one row of a: the slope of the path, by least squares."""
    if len(rows_a) < _MIN_STEPS or np.ptp(rows_a) == 0:
        return 1.0
    spread_a, spread_b = np.std(rows_a), np.std(rows_b)
    return float(np.clip(spread_b / max(spread_a, 1e-6), 0.5, 2.0))


def _melody(a: np.ndarray, b: np.ndarray) -> float:
    """Return the agreement of two melodies, weighted by how surely each is heard."""
    unit_a, unit_b = unit_rows(a), unit_rows(b)
    weight = np.sqrt(a.max(1) * b.max(1))
    if weight.sum() < 1e-6:
        return 0.0
    same = float((weight * (unit_a * unit_b).sum(1)).sum() / weight.sum())
    mean_a = (weight[:, None] * unit_a).sum(0) / weight.sum()
    mean_b = (weight[:, None] * unit_b).sum(0) / weight.sum()
    chance = float(mean_a @ mean_b)
    return float(np.clip((same - chance) / max(1.0 - chance, 1e-6), 0.0, 1.0))


def _harmony(a: np.ndarray, b: np.ndarray, rows_a: np.ndarray, rows_b: np.ndarray) -> float:
    centred_a, centred_b = a - a.mean(0), b - b.mean(0)
    part_a, part_b = centred_a[rows_a], centred_b[rows_b]
    norm = np.sqrt(float((part_a**2).sum()) * float((part_b**2).sum()))
    return float(np.clip((part_a * part_b).sum() / max(norm, 1e-9), 0.0, 1.0))
