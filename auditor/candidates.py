"""Candidate pairs of a whole catalogue: what the index proposes, with an estimate of its recall.

Every track is looked up in the index, and what comes back is rescored exactly.  What the index
misses is estimated on a random sample of tracks whose scores with all others are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from auditor.index import TrackIndex
from auditor.vectors import rounding_margin, row_scores

N_SAMPLE = 1000
"""Tracks whose pairs are all compared to estimate the recall of candidate pairs."""


class Candidates(NamedTuple):
    """Candidate pairs: (n_candidates,) int64 rows a < b, unique and sorted, and their scores.

    ``scores`` is float32 and exact; ``recall`` the estimated share of the pairs at or above the
    threshold that are among them, None when the sample holds no such pair.
    """

    rows_a: np.ndarray
    rows_b: np.ndarray
    scores: np.ndarray
    recall: float | None


def candidate_pairs(
    index: TrackIndex,
    *,
    threshold: float,
    top: int = 20,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Candidates:
    """Return the pairs of each track with its ``top`` nearest ones, whatever their score.

    Parameters
    ----------
    index : TrackIndex
        The catalogue.
    threshold : float
        In [-1, 1]; only for the estimate of recall, made on a random sample of tracks.
    top : int
        Neighbours asked for each track.
    seed : int
        Of the sample.
    progress : callable, optional
        Called with the tracks done and the tracks in all.

    Returns
    -------
    Candidates

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    if not -1 <= threshold <= 1 or top < 1:
        raise ValueError(f"threshold is {threshold} and top {top}; -1 to 1 and at least 1")
    n, embeddings = len(index), index.embeddings
    keys, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for row in range(n):
        rows, found = index.nearest_rows(embeddings[row], top, np.array([row]))
        keys.append(np.minimum(rows, row) * n + np.maximum(rows, row))
        scores.append(found)
        if progress is not None:
            progress(row + 1, n)
    pairs, first = np.unique(np.concatenate(keys), return_index=True)
    n_true = n_found = 0
    low = threshold - rounding_margin(embeddings.shape[1])
    sample = np.random.default_rng(seed).choice(n, min(N_SAMPLE, n), replace=False)
    for part in np.split(sample, range(32, len(sample), 32)):
        for row, products in zip(part, embeddings[part] @ embeddings.T, strict=True):
            near = np.flatnonzero(products >= low)
            near = near[near != row]
            exact = row_scores(embeddings[near], embeddings[row])
            near = near[exact.astype(np.float64) >= threshold]
            wanted = np.minimum(near, row) * n + np.maximum(near, row)
            n_true += len(wanted)
            # pairs are unique and sorted: one that is held lies between two positions.
            held = np.searchsorted(pairs, wanted, "right") > np.searchsorted(pairs, wanted, "left")
            n_found += int(np.count_nonzero(held))
    recall = n_found / n_true if n_true else None
    return Candidates(pairs // max(n, 1), pairs % max(n, 1), np.concatenate(scores)[first], recall)
