"""Straight lines in the similarity matrix of two tracks: measured and delimited.

A line that the search found is moved to where the matrix peaks, to a fraction of a window.  The
peak of a row or column lies between windows: it is found by a parabola through three neighbours,
and offset and tempo follow from the peaks by weighted least squares.  Then it is said where the run
along the line begins and ends.

References
----------
J. O. Smith, Spectral Audio Signal Processing, 2011, "Quadratic interpolation of spectral peaks".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from auditor.lines import Stretch

_REACH = 2
"""A row's peak is looked for this many windows to either side of the line."""

_AT_BORDER = 1
"""A run that begins or ends so many windows from the border is taken to reach it."""

_BRIDGE = 0.4
"""Share of its level that a run must reach on average wherever it goes on."""

_N_ERRORS, _FEW_PEAKS, _NEAR_ONE = 3.0, 8.0, 0.1
"""A tempo ratio is taken for 1 if it lies within so many standard errors of 1, more of them where
there are few peaks, and this close.  Windows overlap: their peaks are not independent."""

_SHORT, _AS_GOOD = 24, 0.3
"""Or, in stretches of few windows, if the mean falls by no more than this share over their number:
peaks of so few windows say little."""

_ROUNDS = 3
"""How often peaks and run are taken anew along the line they gave."""


@dataclass(frozen=True)
class Run:
    """A stretch of a line, in fractions of windows.

    Attributes
    ----------
    score : float
        Highest ``mean - penalty / sqrt(windows that count)`` of any stretch of the run.
    mean : float
        Mean value along the run.
    tempo : float
        Columns passed for each row.
    i_start, i_end : float
        Where the similarity along the line rises above half of its level, and where it falls below.
    j_start, j_end : float
        The columns at these rows.
    counted : float
        Windows that count, as a share of those of the run.
    from_border, to_border : bool
        The run begins with the first row of the line inside the matrix; it ends with the last.
    """

    score: float
    mean: float
    tempo: float
    i_start: float
    i_end: float
    j_start: float
    j_end: float
    counted: float
    from_border: bool
    to_border: bool


def measure_line(
    matrix: np.ndarray,
    stretch: Stretch,
    *,
    row_weights: np.ndarray,
    column_weights: np.ndarray,
    penalty: float,
) -> Run | None:
    """Move a line to where the matrix peaks and delimit the run along it.

    Parameters
    ----------
    matrix : numpy.ndarray
        (n_rows, n_columns) float32, about 0 where nothing matches.
    stretch : Stretch
        From ``search_lines``.
    row_weights, column_weights : numpy.ndarray
        (n_rows,) and (n_columns,) in [0, 1]: how much of a new window each one is.
    penalty : float
        As in ``search_lines``, with the sum of the weights for n: the smaller of both sums.

    Returns
    -------
    Run or None
        None if nothing on the line is above 0.
    """
    tempo, offset = _nudge(matrix, stretch)
    simplest = None
    rows = np.arange(stretch.i0, min(stretch.i0 + stretch.n, len(matrix)))
    for _ in range(_ROUNDS):
        tempo, offset, simplest = _fit_peaks(matrix, rows, tempo, offset)
        on_line, values = _follow(matrix, tempo, offset)
        first, last, level = _extent(values)
        if level <= 0.0:
            return None
        rows = on_line[first : last + 1]
    if simplest is None and len(rows) <= _SHORT:
        simplest = _as_good(matrix, rows, tempo, offset)
    if simplest is not None:
        tempo, offset = 1.0, simplest
        on_line, values = _follow(matrix, tempo, offset)
        first, last, level = _extent(values)
        if level <= 0.0:
            return None
    return _scored(
        on_line, values, (first, last, level), tempo, offset, row_weights, column_weights, penalty
    )


def _follow(matrix: np.ndarray, tempo: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows at which the line lies inside the matrix, and its values there."""
    n_rows, n_columns = matrix.shape
    columns = offset + tempo * np.arange(n_rows)
    rows = np.flatnonzero((columns > -0.5) & (columns < n_columns - 0.5))
    return rows, _interpolate(matrix, rows, columns[rows])


def _interpolate(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return values between columns; what lies outside is taken from the border."""
    columns = np.clip(columns, 0.0, matrix.shape[1] - 1.0)
    low = np.minimum(columns.astype(np.int64), max(matrix.shape[1] - 2, 0))
    high = np.minimum(low + 1, matrix.shape[1] - 1)
    share = (columns - low).astype(np.float32)
    return (1.0 - share) * matrix[rows, low] + share * matrix[rows, high]


def _nudge(matrix: np.ndarray, stretch: Stretch) -> tuple[float, float]:
    """Return tempo and offset of the best line within half a step of the grid."""
    rows = np.arange(stretch.i0, min(stretch.i0 + stretch.n, len(matrix)))
    middle = rows.mean()
    tempos = stretch.tempo * (1.0 + np.linspace(-0.02, 0.02, 9))
    shifts = np.linspace(-1.5, 1.5, 13)
    centre = stretch.j0 + stretch.tempo * (middle - stretch.i0)
    columns = (
        centre + shifts[None, :, None] + tempos[:, None, None] * (rows - middle)[None, None, :]
    )  # (9, 13, n)
    values = _interpolate(matrix, np.broadcast_to(rows, columns.shape), columns)
    best, shift = divmod(int(values.sum(axis=-1).argmax()), len(shifts))
    return float(tempos[best]), float(centre + shifts[shift] - tempos[best] * middle)


def _fit_peaks(
    matrix: np.ndarray, rows: np.ndarray, tempo: float, offset: float
) -> tuple[float, float, float | None]:
    """Fit the line to the peaks of rows and of columns, by weighted least squares.

    Returns
    -------
    tempo, offset : float
        Those given where there are too few peaks.
    simplest : float or None
        Offset of the line of tempo 1, if the peaks do not tell it from the fitted one: short
        stretches fit at many tempi, and music is mostly copied at its own.
    """
    line = offset + tempo * rows
    at_rows, p_columns, p_weights = _peaks(matrix, rows, line)
    low, high = np.sort(np.round(line[[0, -1]])).astype(np.int64)
    columns = np.arange(max(low, 0), min(high, matrix.shape[1] - 1) + 1)
    at_columns, q_rows, q_weights = _peaks(matrix.T, columns, (columns - offset) / tempo)
    x = np.concatenate([at_rows, q_rows])
    y = np.concatenate([p_columns, at_columns])
    weights = np.concatenate([p_weights, q_weights])
    if len(x) < 3 or np.ptp(x) < 2.0 or weights.sum() <= 0.0:
        return tempo, offset, None
    x_mean, y_mean = np.average(x, weights=weights), np.average(y, weights=weights)
    leverage = weights * (x - x_mean)
    scatter = np.sum(leverage * (x - x_mean))
    slope = float(np.sum(leverage * (y - y_mean)) / scatter)
    if not abs(slope / tempo - 1.0) < 0.05:
        return tempo, offset, None
    residuals = y - y_mean - slope * (x - x_mean)
    n_free = max(len(x) - 2, 1)
    error = math.sqrt(float(np.sum((leverage * residuals) ** 2)) * len(x) / n_free) / scatter
    near = abs(slope - 1.0) <= min(_N_ERRORS * (1.0 + _FEW_PEAKS / len(x)) * error, _NEAR_ONE)
    return slope, float(y_mean - slope * x_mean), float(y_mean - x_mean) if near else None


def _as_good(matrix: np.ndarray, rows: np.ndarray, tempo: float, offset: float) -> float | None:
    """Return the offset of a line of tempo 1 whose mean is as good, None if there is none."""
    middle = rows.mean()
    offsets = offset + (tempo - 1.0) * middle + np.linspace(-1.5, 1.5, 13)
    columns = offsets[:, None] + rows[None, :]  # (13, n)
    means = _interpolate(matrix, np.broadcast_to(rows, columns.shape), columns).mean(axis=1)
    given = float(_interpolate(matrix, rows, offset + tempo * rows).mean())
    best = int(means.argmax())
    return float(offsets[best]) if means[best] >= given * (1.0 - _AS_GOOD / len(rows)) else None


def _peaks(
    matrix: np.ndarray, rows: np.ndarray, line: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows with a peak near the line, its column, and a weight."""
    centres = np.round(line).astype(np.int64)
    columns = centres[:, None] + np.arange(-_REACH - 1, _REACH + 2)
    inside = (columns[:, 0] >= 0) & (columns[:, -1] < matrix.shape[1])
    rows, columns = rows[inside], columns[inside]
    values = matrix[rows[:, None], columns]  # (n, 2 * _REACH + 3)
    best = 1 + values[:, 1:-1].argmax(axis=1)
    each = np.arange(len(rows))
    left, top, right = values[each, best - 1], values[each, best], values[each, best + 1]
    curvature = 2.0 * top - left - right
    peaked = (top > left) & (top >= right) & (top > 0.0) & (curvature > 1e-6)
    shift = 0.5 * (right - left) / np.where(peaked, curvature, 1.0)
    weights = np.maximum(top, 0.0) * curvature
    return rows[peaked], (columns[each, best] + shift)[peaked], weights[peaked]


def _extent(values: np.ndarray) -> tuple[int, int, float]:
    """Return first and last place of the run, and its level.

    The run is the stretch whose sum over a bridge level is largest, so that it goes on across weak
    windows; its ends are cut back to where half of the level is reached.  Without any value, as on
    a line that leaves the matrix, the level is 0.
    """
    if len(values) == 0:
        return 0, 0, 0.0
    level = float(np.sort(values)[-max(1, min(8, len(values))) :].mean())
    first, last = 0, len(values) - 1
    for _ in range(_ROUNDS):
        if level <= 0.0:
            break
        sums = np.concatenate([[0.0], np.cumsum(values - _BRIDGE * level)])
        gains = sums - np.minimum.accumulate(sums)
        last = int(gains.argmax()) - 1
        first = int(sums[: last + 2].argmin())
        strong = first + np.flatnonzero(values[first : last + 1] >= 0.5 * level)
        if len(strong) == 0:
            break
        first, last = int(strong[0]), int(strong[-1])
        level = float(np.median(values[first : last + 1]))
    return first, max(last, first), level


def _scored(
    rows: np.ndarray,
    values: np.ndarray,
    extent: tuple[int, int, float],
    tempo: float,
    offset: float,
    row_weights: np.ndarray,
    column_weights: np.ndarray,
    penalty: float,
) -> Run:
    first, last, level = extent
    weights = np.minimum(
        row_weights[rows],
        _interpolate(column_weights[None, :], np.zeros(len(rows), int), offset + tempo * rows),
    )[first : last + 1]
    sums = np.concatenate([[0.0], np.cumsum(values[first : last + 1])])
    counts = np.concatenate([[0.0], np.cumsum(weights)])
    n = np.arange(len(sums))
    lengths = n[None, :] - n[:, None]  # (start, end)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (sums[None, :] - sums[:, None]) / lengths
        scores = means - penalty / np.sqrt(np.maximum(counts[None, :] - counts[:, None], 1e-3))
    score = float(scores[lengths > 0].max())
    i_start, i_end = float(rows[first]), float(rows[last])
    if first > 0:
        i_start -= _crossing(values[first], values[first - 1], 0.5 * level)
    if last + 1 < len(values):
        i_end += _crossing(values[last], values[last + 1], 0.5 * level)
    return Run(
        score=score,
        mean=float(sums[-1]) / (last - first + 1),
        tempo=tempo,
        i_start=i_start,
        i_end=i_end,
        j_start=offset + tempo * i_start,
        j_end=offset + tempo * i_end,
        counted=float(weights.mean()),
        from_border=first <= _AT_BORDER,
        to_border=last >= len(values) - 1 - _AT_BORDER,
    )


def _crossing(inside: float, outside: float, level: float) -> float:
    """Return how far from the inner value, 0 to 1, the level is crossed."""
    if inside <= outside:
        return 0.5
    return float(np.clip((inside - level) / (inside - outside), 0.0, 1.0))
