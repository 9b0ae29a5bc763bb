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
from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np

from auditor.evidence.alignment.line_search import Segment


class LineValues(NamedTuple):
    """A matrix as ``flat``: to look values up there takes half the time of rows and columns."""

    flat: np.ndarray
    n_rows: int
    n_columns: int

    @classmethod
    def of(cls, matrix: np.ndarray) -> LineValues:
        """Return those of a matrix, (n_rows, n_columns) float32."""
        return cls(np.ascontiguousarray(matrix).reshape(-1), *matrix.shape)

    def between(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return values between columns; what lies outside is taken from the border.

        Parameters
        ----------
        rows : numpy.ndarray
            (n,) int64, inside the matrix.
        columns : numpy.ndarray
            (..., n) float64.

        Returns
        -------
        numpy.ndarray
            (..., n) float32.

        Examples
        --------
        >>> line = LineValues.of(np.asarray([[0.0, 1.0, 4.0]], np.float32))
        >>> line.between(np.zeros(3, np.int64), np.asarray([0.5, 1.25, 9.0])).tolist()
        [0.5, 1.75, 4.0]
        """
        columns = np.minimum(np.maximum(columns, 0.0), self.n_columns - 1.0)
        low = np.minimum(columns.astype(np.int64), max(self.n_columns - 2, 0))
        share = (columns - low).astype(np.float32)
        at = rows * self.n_columns + low
        beside = 1 if self.n_columns > 1 else 0
        return (1.0 - share) * self.flat.take(at) + share * self.flat.take(at + beside)


def running_sums(values: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, 2 ... values, (n + 1,) float64, in their own precision."""
    sums = np.zeros(len(values) + 1)
    sums[1:] = values.cumsum()
    return sums


def mean_of(values: np.ndarray) -> np.ndarray:
    """Return the means along the last axis, as ``numpy.mean`` does, in a fifth of its time.

    Examples
    --------
    >>> float(mean_of(np.array([1.0, 2.0, 6.0], np.float32)))
    3.0
    """
    return np.add.reduce(values, axis=-1) / values.dtype.type(values.shape[-1])


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
"""Or, in segments of few windows, if the mean falls by no more than this share over their number:
peaks of so few windows say little."""

_ROUNDS = 3
"""How often peaks and run are taken anew along the line they gave."""

_AROUND = np.arange(-_REACH - 1, _REACH + 2)
_TEMPOS, _SHIFTS = 1.0 + np.linspace(-0.02, 0.02, 9), np.linspace(-1.5, 1.5, 13)
"""Lines within half a step of the search's grid: shares of the tempo, and windows."""


class Run(NamedTuple):
    """A segment of a line, in fractions of windows.

    Attributes
    ----------
    mean : float
        Mean value along the run.
    tempo : float
        Columns passed for each row.
    i_start, i_end : float
        Where the similarity along the line rises above half of its level, and where it falls below.
    j_start, j_end : float
        The columns at these rows.
    from_border, to_border : bool
        The run begins with the first row of the line inside the matrix; it ends with the last.
    rows : numpy.ndarray
        (n,) int64, rows of the matrix along the run.
    columns : numpy.ndarray
        (n,) float64, columns of the line there.
    values : numpy.ndarray
        (n,) float32, values of the matrix there.
    """

    mean: float
    tempo: float
    i_start: float
    i_end: float
    j_start: float
    j_end: float
    from_border: bool
    to_border: bool
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray


Places = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Rows (n,) int64 and the columns (n,) float64 at which a line passes them; likewise columns."""

Peaks = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows, columns and weights of peaks, (n_peaks,) float64; those of rows come first."""

Part = TypeVar("Part")
Measurement = Generator[Places, Peaks, Part]
"""Part of a measurement: it asks for the peaks near its line as often as it needs some."""


def measure_lines(matrix: np.ndarray, segments: Sequence[Segment]) -> list[Run | None]:
    """Move lines to where the matrix peaks and delimit the run along each.

    No line changes another one; the peaks that they ask for are looked up together, since calls
    for small arrays cost more than what they compute.

    Parameters
    ----------
    matrix : numpy.ndarray
        (n_rows, n_columns) float32, about 0 where nothing matches.
    segments : sequence of Segment
        From ``search_lines``.

    Returns
    -------
    list of Run or None
        One for each segment; None if nothing on its line is above 0.
    """
    along = LineValues.of(matrix)
    lines = [_measured(along, segment) for segment in segments]
    found: list[Run | None] = [None] * len(lines)
    asking = [(k, next(line)) for k, line in enumerate(lines)]
    while asking:
        peaks = _peaks(along, [places for _, places in asking])
        asked, asking = asking, []
        for (k, _), of_line in zip(asked, peaks, strict=True):
            try:
                asking.append((k, lines[k].send(of_line)))
            except StopIteration as end:
                found[k] = end.value
    return found


def _measured(along: LineValues, segment: Segment) -> Measurement[Run | None]:
    """Return the run along a line; None where there is none."""
    tempo, offset = _nudge(along, segment)
    simplest = None
    rows = np.arange(segment.i0, min(segment.i0 + segment.n, along.n_rows))
    for _ in range(_ROUNDS):
        before = tempo, offset, rows[0], rows[-1]
        tempo, offset, simplest = yield from _fit_peaks(along, rows, tempo, offset)
        n_before, values = _follow(along, tempo, offset)
        first, last, level = _extent(values)
        if level <= 0.0:
            return None
        rows = np.arange(n_before + first, n_before + last + 1)
        if (tempo, offset, rows[0], rows[-1]) == before:
            break
    if simplest is None and len(rows) <= _SHORT:
        simplest = _as_good(along, rows, tempo, offset)
    if simplest is not None:
        tempo, offset = 1.0, simplest
        n_before, values = _follow(along, tempo, offset)
        first, last, level = _extent(values)
        if level <= 0.0:
            return None
    i_start, i_end = float(n_before + first), float(n_before + last)
    if first > 0:
        i_start -= _crossing(values[first], values[first - 1], 0.5 * level)
    if last + 1 < len(values):
        i_end += _crossing(values[last], values[last + 1], 0.5 * level)
    n_on_line = len(values)
    rows = np.arange(n_before + first, n_before + last + 1)
    values = values[first : last + 1]
    return Run(
        mean=float(values.cumsum()[-1]) / len(values),
        tempo=tempo,
        i_start=i_start,
        i_end=i_end,
        j_start=offset + tempo * i_start,
        j_end=offset + tempo * i_end,
        from_border=first <= _AT_BORDER,
        to_border=last >= n_on_line - 1 - _AT_BORDER,
        rows=rows,
        columns=offset + tempo * rows,
        values=values,
    )


def _follow(matrix: LineValues, tempo: float, offset: float) -> tuple[int, np.ndarray]:
    """Return the first row at which the line lies inside the matrix, and its values from there."""
    rows = np.arange(matrix.n_rows)
    columns = offset + tempo * rows
    first, last = columns.searchsorted((-0.5, matrix.n_columns - 0.5))
    first += first < len(columns) and columns[first] == -0.5
    inside = slice(first, last)
    return int(first), matrix.between(rows[inside], columns[inside])


def _nudge(matrix: LineValues, segment: Segment) -> tuple[float, float]:
    """Return tempo and offset of the best line within half a step of the grid."""
    rows = np.arange(segment.i0, min(segment.i0 + segment.n, matrix.n_rows))
    middle = 0.5 * (rows[0] + rows[-1])
    tempos = segment.tempo * _TEMPOS
    centre = segment.j0 + segment.tempo * (middle - segment.i0)
    columns = (
        centre + _SHIFTS[None, :, None] + tempos[:, None, None] * (rows - middle)[None, None, :]
    )  # (9, 13, n)
    best, shift = divmod(int(matrix.between(rows, columns).sum(axis=-1).argmax()), len(_SHIFTS))
    return float(tempos[best]), float(centre + _SHIFTS[shift] - tempos[best] * middle)


def _fit_peaks(
    matrix: LineValues, rows: np.ndarray, tempo: float, offset: float
) -> Measurement[tuple[float, float, float | None]]:
    """Fit the line to the peaks of rows and of columns, by weighted least squares.

    Returns
    -------
    tempo, offset : float
        Those given where there are too few peaks.
    simplest : float or None
        Offset of the line of tempo 1, if the peaks do not tell it from the fitted one: short
        segments fit at many tempi, and music is mostly copied at its own.
    """
    line = offset + tempo * rows
    low, high = sorted((round(line[0]), round(line[-1])))
    columns = np.arange(max(low, 0), min(high, matrix.n_columns - 1) + 1)
    x, y, weights = yield rows, line, columns, (columns - offset) / tempo
    total = weights.sum()
    if len(x) < 3 or x.max() - x.min() < 2.0 or total <= 0.0:
        return tempo, offset, None
    x_mean, y_mean = (x * weights).sum() / total, (y * weights).sum() / total
    away, above = x - x_mean, y - y_mean
    leverage = weights * away
    scatter = (leverage * away).sum()
    slope = float((leverage * above).sum() / scatter)
    if not abs(slope / tempo - 1.0) < 0.05:
        return tempo, offset, None
    residuals = leverage * (above - slope * away)
    n_free = max(len(x) - 2, 1)
    error = math.sqrt(float((residuals**2).sum()) * len(x) / n_free) / scatter
    near = abs(slope - 1.0) <= min(_N_ERRORS * (1.0 + _FEW_PEAKS / len(x)) * error, _NEAR_ONE)
    return slope, float(y_mean - slope * x_mean), float(y_mean - x_mean) if near else None


def _as_good(matrix: LineValues, rows: np.ndarray, tempo: float, offset: float) -> float | None:
    """Return the offset of a line of tempo 1 whose mean is as good, None if there is none."""
    offsets = offset + (tempo - 1.0) * 0.5 * (rows[0] + rows[-1]) + _SHIFTS
    means = mean_of(matrix.between(rows, offsets[:, None] + rows[None, :]))  # (13,)
    given = float(mean_of(matrix.between(rows, offset + tempo * rows)))
    best = int(means.argmax())
    return float(offsets[best]) if means[best] >= given * (1.0 - _AS_GOOD / len(rows)) else None


def _peaks(matrix: LineValues, lines: Sequence[Places]) -> list[Peaks]:
    """Return where rows and columns peak near lines, for each of them."""
    rows, columns_there, columns, rows_there = zip(*lines, strict=True)
    places = np.concatenate([*rows, *columns])
    centres = np.rint(np.concatenate([*columns_there, *rows_there]))
    ends = np.array([len(part) for part in (*rows, *columns)]).cumsum()
    n = ends[len(lines) - 1]
    inside = centres > _REACH
    inside[:n] &= centres[:n] < matrix.n_columns - _REACH - 1
    inside[n:] &= centres[n:] < matrix.n_rows - _REACH - 1
    which = inside.nonzero()[0]
    places, centres = places[which], centres[which].astype(np.int64)
    # Of rows the columns beside the line are looked at, of columns the rows.
    n = which.searchsorted(n)
    at, steps = np.empty(len(which), np.int64), np.empty((len(which), 1), np.int64)
    at[:n] = places[:n] * matrix.n_columns + centres[:n]
    at[n:] = places[n:] + centres[n:] * matrix.n_columns
    steps[:n], steps[n:] = 1, matrix.n_columns
    values = matrix.flat.take(at[:, None] + _AROUND * steps)  # (n, 2 * _REACH + 3)
    best = 1 + values[:, 1:-1].argmax(axis=1)
    place = np.arange(0, values.size, len(_AROUND)) + best
    left, top, right = (values.take(place + side) for side in (-1, 0, 1))
    curvature = 2.0 * top - left - right
    peaked = ((top > left) & (top >= right) & (top > 0.0) & (curvature > 1e-6)).nonzero()[0]
    top, curvature = top[peaked], curvature[peaked]
    peaks = centres[peaked] + (best[peaked] - _REACH - 1) + 0.5 * (right - left)[peaked] / curvature
    places, weights = places[peaked], (top * curvature).astype(np.float64)
    bounds = which[peaked].searchsorted(ends).tolist()
    parts = [slice(*ends) for ends in pairwise([0, *bounds])]
    return [
        (
            np.concatenate([places[of_rows], peaks[of_columns]]),
            np.concatenate([peaks[of_rows], places[of_columns]]),
            np.concatenate([weights[of_rows], weights[of_columns]]),
        )
        for of_rows, of_columns in zip(parts[: len(lines)], parts[len(lines) :], strict=True)
    ]


def _extent(values: np.ndarray) -> tuple[int, int, float]:
    """Return first and last place of the run, and its level.

    The run is the segment whose sum over a bridge level is largest, so that it goes on across weak
    windows; its ends are cut back to where half of the level is reached.  Without any value, as on
    a line that leaves the matrix, the level is 0.
    """
    if len(values) == 0:
        return 0, 0, 0.0
    level = float(mean_of(np.sort(values)[-8:]))
    first, last = 0, len(values) - 1
    for _ in range(_ROUNDS):
        if level <= 0.0:
            break
        before = level
        sums = running_sums(values - _BRIDGE * level)
        gains = sums - np.minimum.accumulate(sums)
        last = int(gains.argmax()) - 1
        first = int(sums[: last + 2].argmin())
        strong = (values[first : last + 1] >= 0.5 * level).nonzero()[0]
        if len(strong) == 0:
            break
        first, last = first + int(strong[0]), first + int(strong[-1])
        level = _median(values[first : last + 1])
        if level == before:
            break
    return first, max(last, first), level


def _median(values: np.ndarray) -> float:
    """Return what ``numpy.median`` does, in a fifth of its time."""
    ordered, middle = np.sort(values), len(values) // 2
    if len(values) % 2:
        return float(ordered[middle])
    return float((ordered[middle - 1] + ordered[middle]) / 2)


def _crossing(inside: float, outside: float, level: float) -> float:
    """Return how far from the inner value, 0 to 1, the level is crossed."""
    if inside <= outside:
        return 0.5
    return min(max(float((inside - level) / (inside - outside)), 0.0), 1.0)
