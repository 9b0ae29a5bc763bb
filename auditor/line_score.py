"""How a run along a line of the similarity matrix scores; the formulae are those of ``witness``."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from auditor.line_fit import Run
from auditor.line_values import LineValues, running_sums


class ScoredRun(NamedTuple):
    """A run, its score, at least -1, and the share of its windows that count, 0 to 1."""

    run: Run
    score: float
    counted: float


def score_run(
    run: Run,
    similarity: np.ndarray,
    around: tuple[np.ndarray, np.ndarray],
    *,
    row_weights: np.ndarray,
    column_weights: np.ndarray,
    penalty: float,
    stand_out: float,
    stand_out_cost: float,
) -> ScoredRun:
    """Return a run with its score: that of its best stretch, less what it fails to stand out by.

    Parameters
    ----------
    run : Run
    similarity : numpy.ndarray
        (n_rows, n_columns) float32, S.
    around : tuple of numpy.ndarray
        (n_rows,) and (n_columns,), means of the rows and columns of S.
    row_weights, column_weights : numpy.ndarray
        (n_rows,) and (n_columns,) in [0, 1]: how much of a new window each one is.
    penalty : float
        As in ``search_lines``, with the sum of the weights for n: the smaller of both sums.
    stand_out, stand_out_cost : float
    """
    of_columns = LineValues.of(column_weights[None, :])
    weights = np.minimum(
        row_weights[run.rows], of_columns.between(np.zeros(len(run.rows), np.int64), run.columns)
    )
    sums, counts = running_sums(run.values), running_sums(weights)
    n = np.arange(len(sums))
    lengths = n[None, :] - n[:, None]  # (start, end)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (sums[None, :] - sums[:, None]) / lengths
        scores = means - penalty / np.sqrt(np.maximum(counts[None, :] - counts[:, None], 1e-3))
    loss = stand_out_cost * max(0.0, stand_out - _standing_out(run, similarity, around))
    score = float(scores[lengths > 0].max())
    return ScoredRun(run, max(score - loss, -1.0), float(weights.mean()))


def _standing_out(run: Run, similarity: np.ndarray, around: tuple[np.ndarray, np.ndarray]) -> float:
    """Return how far the mean along a run is above that of all its rows and columns, 1 for all."""
    n_rows, n_columns = similarity.shape
    rows = np.arange(math.ceil(run.i_start), math.floor(run.i_end) + 1)
    if len(rows) == 0:  # the run lies between two rows
        rows = np.asarray([min(round(run.i_start), n_rows - 1)])
    columns = np.rint(run.j_start + run.tempo * (rows - run.i_start)).astype(np.int64)
    columns = np.minimum(np.maximum(columns, 0), n_columns - 1)
    inside = float(similarity[rows, columns].mean())
    outside = 0.5 * float(around[0][rows].mean() + around[1][columns].mean())
    return (inside - outside) / max(1.0 - outside, 1e-3)
