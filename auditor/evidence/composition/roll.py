"""What a picture of a shared composition shows: both melodies in one key, and the chords below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auditor.evidence.composition.align import Alignment, lead_in
from auditor.evidence.composition.pitches import ALL, BASS, PITCH, STEP_S, PitchTrack

CHORD_NAMES = tuple(
    f"{name}{kind}"
    for kind in ("", "m")
    for name in ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
)
"""Major and minor triads, in the order of ``chords``."""

_TRIADS = np.zeros((24, 12), np.float32)
for _root in range(12):
    _TRIADS[_root, [_root, (_root + 4) % 12, (_root + 7) % 12]] = 1.0
    _TRIADS[12 + _root, [_root, (_root + 3) % 12, (_root + 7) % 12]] = 1.0
_MIN_CHORD = 0.5
_SMOOTHED = 5


def melody_line(track: PitchTrack, rows: np.ndarray, transposition: int = 0) -> tuple[int, ...]:
    """Return the MIDI pitch of the melody in some rows, transposed; 0 where none is heard."""
    pitch = track.rows[rows, PITCH].astype(int)
    heard = track.is_melodic[rows] & (pitch > 0)
    return tuple(np.where(heard, pitch + transposition, 0).tolist())


def chords(track: PitchTrack, rows: np.ndarray, transposition: int = 0) -> tuple[int, ...]:
    """Return the triad that fits each of some rows best, 0 to 23, transposed; -1 for none."""
    heard = track.rows[:, ALL].astype(np.float32) + 0.5 * track.rows[:, BASS].astype(np.float32)
    kernel = np.ones(_SMOOTHED, np.float32) / _SMOOTHED
    smooth = np.apply_along_axis(lambda c: np.convolve(c, kernel, "same"), 0, heard)[rows]
    fit = smooth @ _TRIADS.T / np.sqrt(3.0)
    best = fit.argmax(1)
    sure = fit.max(1) >= _MIN_CHORD * np.maximum(np.linalg.norm(smooth, axis=1), 40.0)
    moved = best // 12 * 12 + (best + transposition) % 12
    return tuple(np.where(sure, moved, -1).tolist())


@dataclass(frozen=True)
class PassageLines:
    """What a passage of two tracks plays, a value for each row of a: even steps in the time of a.

    Attributes
    ----------
    melody_a, melody_b : tuple of int
        See ``melody_line``; b in the key of a, moved by whole octaves to lie nearest to most of a.
    chords_a, chords_b : tuple of int
        See ``chords``; b in the key of a.
    moments_b : tuple of float
        The time in b beside each row of a, in seconds.
    """

    melody_a: tuple[int, ...]
    melody_b: tuple[int, ...]
    chords_a: tuple[int, ...]
    chords_b: tuple[int, ...]
    moments_b: tuple[float, ...]


def lines_of(a: PitchTrack, b: PitchTrack, alignment: Alignment) -> PassageLines:
    """Return what both tracks play along a path, from the start of the passage to its end."""
    rows_a, beside = _even_rows(alignment.path)
    rows_b = np.rint(beside).astype(np.int64)
    shift = alignment.transposition
    line_a, line_b = melody_line(a, rows_a), melody_line(b, rows_b, shift)
    both = [(x, y) for x, y in zip(line_a, line_b, strict=True) if x and y]
    octaves = 12 * round(float(np.median([x - y for x, y in both])) / 12) if both else 0
    line_b = tuple(y + octaves if y else 0 for y in line_b)
    moments_b = tuple(np.round(beside * STEP_S, 2).tolist())
    return PassageLines(line_a, line_b, chords(a, rows_a), chords(b, rows_b, shift), moments_b)


def _even_rows(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every row of a in a passage, and where in b, in rows, the path sets them."""
    first_a, first_b = lead_in(path)
    rows_a = np.arange(first_a, int(path[-1, 0]) + 1)
    known_a = np.concatenate([[first_a], path[:, 0]])
    known_b = np.concatenate([[first_b], path[:, 1]])
    return rows_a, np.interp(rows_a, known_a, known_b)
