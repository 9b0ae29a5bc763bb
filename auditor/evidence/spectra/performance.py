"""Whether a passage is one recording in both tracks, or the same notes played twice.

A close cover (the same arrangement in the same key and tempo) agrees with its original in d-vectors
and spectra.  A copy, however altered, keeps more than the notes: how loud each partial of each note
is beside the others, up to a filter that stays the same, and when each note begins, along one
straight line.  Another performance, or other instruments, keep neither.

Both passages are brought to one time axis and one pitch (``MatchedRange``), and compared where the
spectra have peaks.  ``played_apart`` weighs ten numbers by a logistic model, which was fitted on
altered copies of the validation music and on renderings of scores (``benchmarks/performances.py``).
"""

from __future__ import annotations

import math

import numpy as np

from auditor.embedding.config import SPECTRUM
from auditor.evidence.spectra.pitch_tempo import moved_bands, parabola_peak
from auditor.records import MatchedRange

MAX_S = 40.0
"""The middle of a longer passage stands for it."""

MIN_FRAMES = 50
"""Frames of a passage below which nothing is said, 5 s."""

FEATURES = (
    "correlation",
    "spread",
    "least shared",
    "most shared",
    "unsteadiness",
    "onset agreement",
    "fall 10",
    "fall 15",
    "fall 25",
    "most fall 15",
)
"""Names of what ``performance_features`` returns."""

WEIGHTS = (-2.709, -0.595, -0.246, 18.479, 1.044, 2.111, 1.062, -0.322, 2.675, -0.431)
BIAS = -21.816
"""The logistic model, one weight for each of ``FEATURES``."""

_BLOCK, _HOP, _MAX_LAG = 42, 21, 4
"""Frames of a stretch whose distance in time is measured, to the next one, and furthest lag."""

_PEAK_DB, _TRACK_DB = 25.0, 45.0
"""A peak is at most so far below the loudest band of its frame, and of the passage."""

_MIN_CELLS = 50


def performance_features(found: MatchedRange, a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Return what tells two performances from one recording.

    Parameters
    ----------
    found : MatchedRange
        With pitch and correlation.
    a, b : numpy.ndarray
        (n_frames, n_bands) uint8, spectra of both tracks (``auditor.embedding.spectrogram``).

    Returns
    -------
    numpy.ndarray or None
        (10,) float64, see ``FEATURES``: Fisher's z of the correlation; spread in dB of the levels
        of shared peaks, filter and loudness taken off; share of the peaks of one that are peaks
        of the other, both ways; log of the milliseconds by which onsets leave a straight line, and
        how well they agree; by how many dB peaks of one are lower in the other, for the loudest
        peaks and for more, in the better of both directions, and in the worse one.
        None if the passage is too short, or was not measured.
    """
    if found.pitch_semitones is None or found.correlation is None:
        return None
    x, y = aligned_frames(found, a, b)
    if len(x) < MIN_FRAMES or x.shape[1] < SPECTRUM.n_bands // 2:
        return None
    peaks_x, peaks_y = _peaks(x, _PEAK_DB), _peaks(y, _PEAK_DB)
    high_x, high_y = _widened(x), _widened(y)
    shared = peaks_x & _near(peaks_y)
    shares = (
        shared.sum() / max(1, peaks_x.sum()),
        (peaks_y & _near(peaks_x)).sum() / max(1, peaks_y.sum()),
    )
    levels = _levelled(high_x - high_y, shared)
    spread = 2.0 if levels is None else 1.48 * float(np.median(np.abs(levels)))
    falls = []
    for depth_db in (10.0, 15.0, _PEAK_DB):
        both = []
        for one, other in ((x, high_y), (y, high_x)):
            values = _levelled(other - one, _peaks(one, depth_db))
            if values is not None:
                middle, low = np.percentile(values, (50.0, 16.0))
                both.append(float(middle - low))
        falls.append((min(both, default=2.0), max(both, default=2.0)))
    unsteady_ms, agreement = _onsets(x, y)
    return np.array(
        [
            math.atanh(min(max(found.correlation, 0.0), 0.995)),
            spread,
            min(shares),
            max(shares),
            math.log(min(max(unsteady_ms, 1.0), 200.0)),
            agreement,
            *(least for least, _ in falls),
            falls[1][1],
        ]
    )


def played_apart(found: MatchedRange, a: np.ndarray, b: np.ndarray) -> float | None:
    """Return the log odds that a passage was played twice; None where nothing can be said.

    Parameters are those of ``performance_features``.
    """
    features = performance_features(found, a, b)
    return None if features is None else float(features @ np.array(WEIGHTS) + BIAS)


def aligned_frames(
    found: MatchedRange, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of a passage in both tracks, at one tempo and pitch.

    Returns
    -------
    tuple of numpy.ndarray
        (n_frames, n_bands) float32 each, dB; bands that one of them lacks are left out.
    """
    hop_s = SPECTRUM.frame_hop_s
    length_s = min(MAX_S, found.a_end_s - found.a_start_s)
    first = round((found.a_start_s + 0.5 * (found.a_end_s - found.a_start_s - length_s)) / hop_s)
    rows = np.arange(max(first, 0), min(first + int(length_s / hop_s), len(a)))
    if not len(rows) or len(b) < 2:
        empty = np.zeros((0, SPECTRUM.n_bands), np.float32)
        return empty, empty
    at = (found.b_start_s + found.tempo * (rows * hop_s - found.a_start_s)) / hop_s
    at = np.clip(at, 0.0, len(b) - 1.001)
    low, share = at.astype(int), (at % 1.0).astype(np.float32)[:, None]
    y = b[low] * (1.0 - share) + b[low + 1] * share
    y, there = moved_bands(y, found.pitch_semitones or 0.0, SPECTRUM)
    return a[rows][:, there].astype(np.float32), y.astype(np.float32)


def _near(cells: np.ndarray) -> np.ndarray:
    """Return cells with those beside them in frequency."""
    wide = cells.copy()
    wide[:, 1:] |= cells[:, :-1]
    wide[:, :-1] |= cells[:, 1:]
    return wide


def _widened(frames: np.ndarray) -> np.ndarray:
    """Return the louder of each band and the two beside it."""
    wide = frames.copy()
    np.maximum(wide[:, 1:], frames[:, :-1], out=wide[:, 1:])
    np.maximum(wide[:, :-1], frames[:, 1:], out=wide[:, :-1])
    return wide


def _peaks(frames: np.ndarray, depth_db: float) -> np.ndarray:
    """Return where a band is louder than those beside it, and not far below the loudest one."""
    least = np.maximum(
        frames.max(axis=1, keepdims=True) - depth_db, np.percentile(frames, 99.0) - _TRACK_DB
    )
    return (frames >= _widened(frames)) & (frames > least)


def _levelled(difference: np.ndarray, cells: np.ndarray) -> np.ndarray | None:
    """Return differences of some cells, without what stays in a frame or in a band; (n,)."""
    bands = cells.sum(axis=0) >= 8
    levels = np.where(cells, difference, np.nan)[:, bands]
    levels = levels[cells[:, bands].any(axis=1)]
    if np.isfinite(levels).sum() <= _MIN_CELLS:
        return None
    for _ in range(2):
        levels -= np.nanmedian(levels, axis=1, keepdims=True)
        levels -= np.nanmedian(levels, axis=0, keepdims=True)
    return levels[np.isfinite(levels)]


def _onsets(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return by how many ms the onsets of stretches leave a straight line, and how they agree."""
    rises = [np.maximum(np.diff(frames, axis=0), 0.0) for frames in (x, y)]
    rise_x, rise_y = (rise - rise.mean(axis=0) for rise in rises)
    lags = np.arange(-_MAX_LAG, _MAX_LAG + 1)
    times, distances, agreed = [], [], []
    for start in range(0, len(rise_x) - _BLOCK + 1, _HOP):
        one = rise_x[start : start + _BLOCK]
        rows = np.clip(np.arange(start, start + _BLOCK) + lags[:, None], 0, len(rise_y) - 1)
        other = rise_y[rows]
        power = np.sqrt((one**2).sum() * (other**2).sum(axis=(1, 2)))
        fits = (one * other).sum(axis=(1, 2)) / np.maximum(power, 1e-9)
        best = int(fits.argmax())
        if 0 < best < len(lags) - 1:
            distances.append(lags[best] + parabola_peak(fits, best))
            times.append(start)
            agreed.append(fits[best])
    if len(times) < 4:
        return 3.0, 0.7
    distance_ms = 1000.0 * SPECTRUM.frame_hop_s * np.array(distances)
    one, other = np.triu_indices(len(times), 1)
    time = np.array(times, float)
    slope = np.median((distance_ms[other] - distance_ms[one]) / (time[other] - time[one]))
    left = distance_ms - slope * time
    left -= np.median(left)
    return 1.48 * float(np.median(np.abs(left))), float(np.median(agreed))
