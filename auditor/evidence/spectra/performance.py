"""Whether a passage is one recording in both tracks, or the same notes played twice.

A close cover (the same arrangement in the same key and tempo) agrees with its original in d-vectors
and spectra.  A copy, however altered, keeps more than the notes: how loud each partial of each note
is beside the others, up to a filter that stays the same; how the sound moves between two onsets,
where the notes say nothing; and what lies between the partials.  Another performance, or other
instruments, keep none of it.

Both passages are brought to one time axis and one pitch (``MatchedRange``) and compared in
stretches of 11 s, each at its own best distance in time.  ``played_apart`` weighs thirteen numbers
of each stretch by a logistic model, which was fitted on altered copies of the validation music and
on renderings of scores (``benchmarks/performances.py``).  The stretch that most looks like a copy
speaks for the passage, since one is enough to prove a recording.

Nothing is said where the notes are not sure to agree.  Along a wrong line (pieces in another order,
ring modulation) the sound of a copy agrees as little as that of a cover, and the notes do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from auditor.embedding.config import SPECTRUM
from auditor.evidence.spectra.pitch_tempo import moved_bands, parabola_peak
from auditor.records import MatchedRange

MIN_CORRELATION = 0.55
"""Spectral correlation of a passage below which its notes may not agree, and nothing is said."""

MIN_STRETCHES, MAX_STRETCHES = 3, 7
"""Stretches of a passage without which nothing is said, 22 s; and those that stand for a long one,
evenly spread."""

FEATURES = (
    "least shared",
    "most shared",
    "spread",
    "tenth",
    "nine tenths",
    "agreement",
    "steady curvature",
    "moving curvature",
    "steady slope",
    "slope",
    "movement",
    "valleys",
    "flux",
)
"""Names of what ``performance_features`` returns of a stretch."""

WEIGHTS = (
    0.831, -2.602, 1.387, -0.612, 0.408, 7.087, -0.648, 0.353, -5.424, 4.747, -1.07, -4.906, 0.465,
)  # fmt: skip
BIAS = -4.891
"""The logistic model, one weight for each of ``FEATURES``."""

COPY_SIDE = (1, 1, -1, 1, -1, 1, 1, 1, 1, 1, 0, 1, 1)
LIMITS = (
    0.831, 0.935, 2.075, -3.651, 3.392, 0.819, 0.681, 0.739, 0.242, 0.826, 0.0, 0.795, 0.598,
)  # fmt: skip
"""Which side of each feature is that of copies, and how far the stretches of covers by other
instruments go to it: of 95 in 100 such covers none goes beyond.  0 is neither side."""

MAX_DOUBTFUL = 2.5
"""Log odds are no higher where a stretch goes beyond one of ``LIMITS``."""

_STRETCH, _HOP, _MAX_LAG = 112, 56, 4
"""Frames of a stretch, from one to the next, and furthest distance from the line of the passage."""

_PEAK_DB, _TRACK_DB = 25.0, 45.0
"""A peak is at most so far below the loudest band of its frame, and of the stretch."""

_STEADY_DB = 4.0
"""A band is steady where it moves by less in two frames."""

_MIN_CELLS = 60


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
        (n_stretches, 13) float64, see ``FEATURES``: share of the peaks of one that are peaks of the
        other, both ways; spread in dB of the levels of shared peaks, filter and loudness taken off,
        and its first and last tenth; correlation of the spectra without bands' and frames' means;
        of their second differences in time where the sound is loud and steady, and where it moves;
        of their first differences where it is steady, and everywhere; how much it moves where it is
        steady, in dB; correlation between the partials; and of the rises and falls of all bands.
        None if the passage is too short, was not measured, or does not play the same notes.
    """
    if found.pitch_semitones is None or (found.correlation or 0.0) < MIN_CORRELATION:
        return None
    n_frames = int((found.a_end_s - found.a_start_s) / SPECTRUM.frame_hop_s)
    n_stretches = min(MAX_STRETCHES, (n_frames - _STRETCH) // _HOP + 1)
    if n_stretches < MIN_STRETCHES:
        return None
    first = round(found.a_start_s / SPECTRUM.frame_hop_s)
    rows = []
    for start in np.linspace(0, n_frames - _STRETCH, n_stretches).round().astype(int).tolist():
        both = _aligned(found, a, b, first + start)
        measured = None if both is None else _features(*both)
        if measured is not None:
            rows.append(measured)
    return np.array(rows) if len(rows) >= MIN_STRETCHES else None


def played_apart(found: MatchedRange, a: np.ndarray, b: np.ndarray) -> float | None:
    """Return the log odds that a passage was played twice; None where nothing can be said.

    Parameters are those of ``performance_features``.
    """
    features = performance_features(found, a, b)
    return None if features is None else log_odds(features)


def log_odds(
    features: np.ndarray,
    *,
    weights: Sequence[float] = WEIGHTS,
    bias: float = BIAS,
    limits: Sequence[float] = LIMITS,
) -> float:
    """Return the log odds that the stretches of a passage were played twice.

    Parameters
    ----------
    features : numpy.ndarray
        (n_stretches, 13) float64, see ``performance_features``.
    weights, bias, limits : sequence of float, float, sequence of float
        The logistic model, and how far covers go.
    """
    odds = float((features @ np.array(weights) + bias).min())
    beyond = np.array(COPY_SIDE) * (features - np.array(limits)) > 0
    return min(odds, MAX_DOUBTFUL) if beyond.any() else odds


def _aligned(
    found: MatchedRange, a: np.ndarray, b: np.ndarray, first: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a stretch in both tracks, at one tempo and pitch, and at its best distance in time.

    Returns
    -------
    tuple of numpy.ndarray or None
        (n_frames, n_bands) float32 each, dB; bands that one of them lacks are left out.
        None where one of them has too few.
    """
    x = a[first : first + _STRETCH].astype(np.float32)
    if first < 0 or len(x) < _STRETCH or len(b) < 2:
        return None
    hop_s = SPECTRUM.frame_hop_s
    rows = np.arange(first - _MAX_LAG, first + _STRETCH + _MAX_LAG)
    at = (found.b_start_s + found.tempo * (rows * hop_s - found.a_start_s)) / hop_s
    y, there = moved_bands(_at(b, at), found.pitch_semitones or 0.0, SPECTRUM)
    x = x[:, there]
    if x.shape[1] < SPECTRUM.n_bands // 2:
        return None
    fits = np.array([_agreement(x, y[lag : lag + _STRETCH]) for lag in range(2 * _MAX_LAG + 1)])
    lag = float(fits.argmax())
    if 0 < lag < 2 * _MAX_LAG:
        lag += parabola_peak(fits, int(lag))
    return x, _at(y, np.arange(_STRETCH) + lag)


def _at(frames: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return frames at places between them, (n, n_bands) float32; the ends go on for ever."""
    places = np.clip(places, 0.0, len(frames) - 1.001)
    low, share = places.astype(int), (places % 1.0).astype(np.float32)[:, None]
    return (frames[low] * (1.0 - share) + frames[low + 1] * share).astype(np.float32)


def _features(x: np.ndarray, y: np.ndarray) -> list[float] | None:
    """Return the numbers of one stretch; None where too little sounds."""
    peaks_x, peaks_y = _peaks(x), _peaks(y)
    shared = peaks_x & _near(peaks_y)
    shares = (
        shared.sum() / max(1, peaks_x.sum()),
        (peaks_y & _near(peaks_x)).sum() / max(1, peaks_y.sum()),
    )
    levels = _levelled(_widened(x) - _widened(y), shared)
    slopes = [frames[2:] - frames[:-2] for frames in (x, y)]
    curves = [frames[1:-1] - 0.5 * (frames[2:] + frames[:-2]) for frames in (x, y)]
    loud = [frames > frames.max(axis=1, keepdims=True) - _PEAK_DB for frames in (x, y)]
    both_loud = (loud[0] & loud[1])[1:-1]
    steady = both_loud & (np.abs(slopes[0]) < _STEADY_DB) & (np.abs(slopes[1]) < _STEADY_DB)
    moving = both_loud & ~steady
    valleys = ~_near(_near(peaks_x)) & ~_near(_near(peaks_y))
    if levels is None or min(cells.sum() for cells in (steady, moving, valleys)) < _MIN_CELLS:
        return None
    rises = [np.diff(frames, axis=0) for frames in (x, y)]
    return [
        min(shares),
        max(shares),
        1.48 * float(np.median(np.abs(levels))),
        *np.percentile(levels, (10.0, 90.0)).tolist(),
        _agreement(x, y),
        _correlation(*(curve[steady] for curve in curves)),
        _correlation(*(curve[moving] for curve in curves)),
        _correlation(*(slope[steady] for slope in slopes)),
        _correlation(*(slope[both_loud] for slope in slopes)),
        1.48 * float(np.median(np.abs(curves[0][steady]))),
        _correlation(*(_centred(frames)[valleys] for frames in (x, y))),
        _correlation(*(rise - rise.mean(axis=1, keepdims=True) for rise in rises)),
    ]


def _centred(frames: np.ndarray) -> np.ndarray:
    """Return frames without the mean of each band, and then of each frame."""
    frames = frames - frames.mean(axis=0)
    return frames - frames.mean(axis=1, keepdims=True)


def _agreement(x: np.ndarray, y: np.ndarray) -> float:
    return _correlation(_centred(x), _centred(y))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return the correlation of all cells, 0 where one of both does not vary."""
    x, y = x - x.mean(), y - y.mean()
    power = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return float((x * y).sum()) / power if power > 1e-6 else 0.0


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


def _peaks(frames: np.ndarray) -> np.ndarray:
    """Return where a band is louder than those beside it, and not far below the loudest one."""
    least = np.maximum(
        frames.max(axis=1, keepdims=True) - _PEAK_DB, np.percentile(frames, 99.0) - _TRACK_DB
    )
    return (frames >= _widened(frames)) & (frames > least)


def _levelled(difference: np.ndarray, cells: np.ndarray) -> np.ndarray | None:
    """Return differences of some cells, without what stays in a frame or in a band; (n,)."""
    bands = cells.sum(axis=0) >= 8
    levels = np.where(cells, difference, np.nan)[:, bands]
    levels = levels[cells[:, bands].any(axis=1)]
    if np.isfinite(levels).sum() < _MIN_CELLS:
        return None
    for _ in range(2):
        levels -= _median_of_rows(levels)
        levels -= _median_of_rows(levels.T).T
    return levels[np.isfinite(levels)]


def _median_of_rows(values: np.ndarray) -> np.ndarray:
    """Return what ``numpy.nanmedian`` does of each row, (n, 1), in a tenth of its time.

    Each row has a number that is not NaN.

    Examples
    --------
    >>> _median_of_rows(np.array([[5.0, np.nan, 1.0], [2.0, 4.0, 9.0]])).tolist()
    [[3.0], [4.0]]
    """
    ordered = np.sort(values, axis=1)  # NaN comes last
    last = np.isfinite(values).sum(axis=1, keepdims=True) - 1
    low, high = (np.take_along_axis(ordered, at, axis=1) for at in (last // 2, (last + 1) // 2))
    return (low + high) / 2
