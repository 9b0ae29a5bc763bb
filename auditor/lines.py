"""Straight lines in the similarity matrix of two tracks: the search.

Every line of a grid of tempo ratios is followed at every offset, and the best stretch of each ratio
and length is kept.  ``auditor.line_fit`` measures them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

_OUTSIDE = -1000.0
"""Stands beside the matrix; a stretch that touches it can never win."""


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
        Followed rows of the shortest stretch.
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


@dataclass(frozen=True)
class Stretch:
    """The best stretch of the search: column ``j0 + tempo * (i - i0)`` for ``n`` rows from i0."""

    score: float
    mean: float
    tempo: float
    i0: int
    j0: int
    n: int


def search_lines(matrix: np.ndarray, *, penalty: float, grid: Grid) -> list[Stretch]:
    """Return the best stretch of each tempo ratio and length, best first.

    Parameters
    ----------
    matrix : numpy.ndarray
        (n_rows, n_columns) float32.
    penalty : float
        A stretch of n rows scores its mean less ``penalty / sqrt(n)`` and the cost of its tempo.
    grid : Grid

    Returns
    -------
    list of Stretch
        Empty where no stretch fits into the matrix.
    """
    n_columns = matrix.shape[1]
    followed = torch.from_numpy(np.ascontiguousarray(matrix[:: grid.step], dtype=np.float32))
    gap = math.ceil((len(followed) - 1) * grid.step * float(grid.tempos.max())) + 1
    padded = torch.full((len(followed), n_columns + 2 * gap), _OUTSIDE)
    padded[:, gap : gap + n_columns] = followed
    found = []
    for tempo in grid.tempos:
        steps = np.round(np.arange(len(followed)) * grid.step * tempo).astype(np.int64)
        for sums, span in _stretch_sums(padded, steps, grid):
            highest = sums.amax(dim=1)  # amax runs on vector instructions, argmax does not
            row = int(highest.argmax())
            line = int(sums[row].argmax())
            mean, n = float(highest[row]) / span, span * grid.step
            if mean > _OUTSIDE / 1000.0:
                score = mean - penalty / math.sqrt(n) - grid.tempo_cost * abs(math.log(tempo)) / n
                j0 = line + int(steps[row]) - gap
                found.append(Stretch(score, mean, float(tempo), row * grid.step, j0, n))
    return sorted(found, key=lambda stretch: -stretch.score)


def _stretch_sums(
    padded: torch.Tensor, steps: np.ndarray, grid: Grid
) -> Iterator[tuple[torch.Tensor, int]]:
    """Yield the sums of all stretches of one slope, (n_starts, n_lines), and their length."""
    width = padded.shape[1] - int(steps[-1])
    columns = torch.from_numpy(steps)[:, None] + torch.arange(width)[None, :]
    lines = padded.gather(1, columns)  # (n_followed, width)
    span = min(grid.span, len(steps))
    sums = lines.unfold(0, span, 1).sum(dim=-1)  # (n_followed - span + 1, width)
    for _ in range(grid.n_doublings + 1):
        yield sums, span
        if 2 * span > len(steps):
            return
        sums = sums[:-span] + sums[span:]
        span *= 2
