"""The pitches of a track, as they are stored and as they are compared.

One row every 384 ms: how strongly each pitch class sounds as melody, as bass and at all, and the
pitch of the melody (``embedding.salience``).  What is compared is the melody, and half as much all
that sounds: a melody keeps its notes in another arrangement, chords do not have to.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np

from auditor.embedding.config import PITCH_STEP_S

STEP_S = PITCH_STEP_S
"""Seconds from one row to the next."""

MELODY, BASS, ALL, PITCH = slice(0, 12), slice(12, 24), slice(24, 36), 36

MAX_STEPS = 1600
"""Rows that are aligned at once, ten minutes; longer tracks are compared in parts."""

AVERAGED = 6
"""Rows whose similarities are averaged along the diagonal, 2.3 s."""

_ALL_WEIGHT = 0.5
_MELODY_FLOOR = 0.3
_IS_MELODY = 0.35
_MIN_MELODIC_S = 10.0
_MIN_CHANGES = 12
_SHORTEST_FIGURE, _LONGEST_FIGURE = 3, 16


class PitchTrack:
    """A track as one side of a comparison of compositions.

    Parameters
    ----------
    rows : numpy.ndarray
        (n, 37) uint8.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        scaled = rows[:, :36].astype(np.float32) / 255.0
        self.melody, self.all = scaled[:, MELODY], scaled[:, ALL]
        self._bass = scaled[:, BASS]

    def __len__(self) -> int:
        return len(self.rows)

    @functools.cached_property
    def now(self) -> np.ndarray:
        """Melody and all pitch classes of each row, (n, 24) float32."""
        strength = np.linalg.norm(self.melody, axis=1, keepdims=True)
        return np.concatenate(
            [
                self.melody / np.maximum(strength, _MELODY_FLOOR),
                _ALL_WEIGHT * unit_rows(self.all - self.all.mean(0)),
            ],
            axis=1,
        ).astype(np.float32)

    @functools.cached_property
    def stacked(self) -> np.ndarray:
        """``now`` of each row and of those before it, ``AVERAGED`` in all, (n, 24 * AVERAGED)."""
        stacked = np.zeros((len(self), AVERAGED, 24), np.float32)
        for k in range(min(AVERAGED, len(self))):
            stacked[k:, k] = self.now[: len(self) - k]
        return stacked.reshape(len(self), -1)

    @functools.cached_property
    def mean(self) -> np.ndarray:
        """Mean of the rows of ``stacked``, (24 * AVERAGED,) float32."""
        return self.stacked.mean(0)

    @property
    def features(self) -> np.ndarray:
        """What is aligned: ``stacked`` with columns of zero mean.

        The product of two tracks' features is their similarity averaged along the diagonal, less
        its means over rows and columns.
        """
        return self.stacked - self.mean

    @functools.cached_property
    def gram(self) -> np.ndarray:
        """Covariance of the features, (24 * AVERAGED,) squared, float32."""
        features = self.features
        return features.T @ features / max(1, len(self))

    @functools.cached_property
    def profile(self) -> np.ndarray:
        """Share of each pitch class in melody, bass and all, (36,) float32, three unit vectors."""
        parts = [unit_rows(part.mean(0)[None])[0] for part in (self.melody, self._bass, self.all)]
        return np.concatenate([parts[0], 0.5 * parts[1], parts[2]]).astype(np.float32)

    @functools.cached_property
    def is_melodic(self) -> np.ndarray:
        """Rows in which a melody is heard, (n,) bool."""
        return self.melody.max(axis=1, initial=0.0) >= _IS_MELODY

    @functools.cached_property
    def repetition(self) -> float:
        """How far the track repeats one figure of up to six seconds all along, at most 1.

        The highest mean cosine of its rows with those some rows before.  Tunes and recordings of
        the training side reach 0.78 at most; a scale that is played up and down, 0.96.
        """
        if len(self) <= _LONGEST_FIGURE + 1:
            return 0.0
        rows = unit_rows(self.features)
        alike = [
            (rows[lag:] * rows[:-lag]).sum(1)
            for lag in range(_SHORTEST_FIGURE, _LONGEST_FIGURE + 2)
        ]
        # Two neighbours each: the period of a figure need not be a whole number of rows.
        return max(float(np.maximum(a[1:], b).mean()) for a, b in itertools.pairwise(alike))

    @functools.cached_property
    def problem(self) -> str:
        """Why the track cannot be compared as a composition; empty if it can."""
        if self.is_melodic.sum() * STEP_S < _MIN_MELODIC_S:
            return "no pitched music to compare"
        line = self.melody.argmax(1)[self.is_melodic]
        if np.count_nonzero(np.diff(line)) < _MIN_CHANGES:
            return "no melody to compare: the pitch hardly changes"
        return ""

    def part(self, start: int, end: int) -> PitchTrack:
        """Return some of its rows as a track."""
        return PitchTrack(self.rows[start:end])


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Return rows of unit length; rows of zeros stay."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-6)


def transposed(features: np.ndarray, semitones: int) -> np.ndarray:
    """Return features of blocks of 12 pitch classes, moved up by semitones.

    Examples
    --------
    >>> transposed(np.eye(12)[0], 3).argmax()
    np.int64(3)
    """
    return features.take(_sources(features.shape[-1], semitones), axis=-1)


@functools.cache
def _sources(n_features: int, semitones: int) -> np.ndarray:
    """Return which feature moves to each place, (n_features,) int64."""
    return np.roll(np.arange(n_features).reshape(-1, 12), semitones, axis=-1).ravel()
