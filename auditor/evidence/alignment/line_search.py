"""Straight lines in the similarity matrix of two tracks: the search.

Every line of a grid of tempo ratios is followed at every offset, and the best segment of each ratio
and length is kept.  ``auditor.evidence.alignment.line_fit`` measures them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_OUTSIDE = -1000.0
"""Stands beside the matrix; a segment that touches it can never win."""

_MAX_CELLS = 1 << 17
"""Cells of the lines that are summed at once: half a megabyte, which a core's cache holds."""


@dataclass(frozen=True)
class Grid:
    """The lines that are searched.

    Attributes
    ----------
    tempos : numpy.ndarray
        (n_tempos,) columns passed for each row.
    step : int
        Only every so many-th row is followed.
    span : int
        Followed rows of the shortest segment.
    n_doublings : int
        It is doubled so often.
    tempo_cost : float
        The mean of n rows loses ``tempo_cost * |ln tempo| / n``: of two short lines that fit alike,
        the one nearer to the original tempo is taken.
    """

    tempos: np.ndarray
    step: int
    span: int
    n_doublings: int
    tempo_cost: float = 0.0


class Segment(NamedTuple):
    """The best segment of the search: column ``j0 + tempo * (i - i0)`` for ``n`` rows from i0."""

    score: float
    mean: float
    tempo: float
    i0: int
    j0: int
    n: int


def search_lines(matrix: np.ndarray, *, penalty: float, grid: Grid) -> list[Segment]:
    """Return the best segment of each tempo ratio and length, best first.

    Parameters
    ----------
    matrix : numpy.ndarray
        (n_rows, n_columns) float32.
    penalty : float
        A segment of n rows scores its mean less ``penalty / sqrt(n)`` and the cost of its tempo.
    grid : Grid

    Returns
    -------
    list of Segment
        Empty where no segment fits into the matrix.
    """
    n_columns = matrix.shape[1]
    followed = np.asarray(matrix[:: grid.step], np.float32)
    rows = np.arange(len(followed))
    steps = np.round(rows * grid.step * grid.tempos[:, None]).astype(np.int64)
    beside = int(steps[:, -1].max())
    padded = np.full((len(followed), n_columns + 2 * beside), np.float32(_OUTSIDE))
    padded[:, beside : beside + n_columns] = followed
    share = max(1, _MAX_CELLS // (len(followed) * (n_columns + beside)))
    found = []
    for first in range(0, len(steps), share):
        part = slice(first, first + share)
        tempos, starts = grid.tempos[part].tolist(), steps[part]  # (n_part, n_followed)
        # Line j begins in column j - margin of the first row.
        margin = int(starts[:, -1].max())
        width = n_columns + margin
        shifted = sliding_window_view(padded, width, axis=1)
        lines = shifted[rows, starts + (beside - margin)]  # (n_part, n_followed, width)
        for highest, cells, span in _best_cells(lines, grid):
            n = span * grid.step
            for tempo, at_start, mean, cell in zip(tempos, starts, highest, cells, strict=True):
                if mean > _OUTSIDE / 1000.0:
                    row, line = divmod(cell, width)
                    score = mean - penalty / math.sqrt(n)
                    score -= grid.tempo_cost * abs(math.log(tempo)) / n
                    j0 = line + int(at_start[row]) - margin
                    found.append(Segment(score, mean, tempo, row * grid.step, j0, n))
    return sorted(found, key=lambda segment: (-segment.score, segment.tempo, segment.n))


def _best_cells(lines: np.ndarray, grid: Grid) -> Iterator[tuple[list[float], list[int], int]]:
    """Yield, for each length, the highest mean of each tempo, its cell, and the rows followed."""
    n_tempos, n_followed, _ = lines.shape
    span = min(grid.span, n_followed)
    n_starts = n_followed - span + 1
    sums = lines[:, :n_starts] + lines[:, 1 : n_starts + 1] if span > 1 else lines
    for i in range(2, span):
        sums += lines[:, i : i + n_starts]
    for _ in range(grid.n_doublings + 1):
        flat = sums.reshape(n_tempos, -1)
        cells = flat.argmax(axis=1)
        highest = flat[np.arange(n_tempos), cells].astype(np.float64) / span
        yield highest.tolist(), cells.tolist(), span
        if 2 * span > n_followed:
            return
        sums = sums[:, :-span] + sums[:, span:]
        span *= 2
