"""Exact search for pairs of track embeddings whose score reaches a threshold.

All pairs are compared by a blocked float32 matrix product, which for catalogues of up to some
10^6 tracks is quicker than an approximate index and misses nothing.  Whatever lies within the
product's rounding error of the threshold is scored again by ``vectors.exact_scores``, and that
score alone decides (see ``auditor.vectors``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from auditor.errors import UsageError
from auditor.vectors import (
    check_rows,
    check_unit_rows,
    exact_scores,
    rounding_margin,
    rows_within_reach,
)

N_BINS = 200
"""Bins of the score histogram, of equal width on [-1, 1]."""

MAX_PAIRS = 200_000
"""Most flagged pairs of one scan: more fill no report that can be read, and much memory."""

_STRIPE = 1 << 18
"""Scores that are binned at once: few enough to stay in the processor's cache."""

Progress = Callable[[int, int], None]
"""Called with the pairs compared so far and the pairs to compare in all."""


@dataclass(frozen=True)
class PairHits:
    """Pairs at or above a threshold, by score descending, then row a, then row b.

    Attributes
    ----------
    rows_a, rows_b : numpy.ndarray
        (n_hits,) int64.
    scores : numpy.ndarray
        (n_hits,) float32, in [-1, 1], from ``vectors.exact_scores``.
    histogram : numpy.ndarray
        (N_BINS,) int64, how many of all compared pairs fall in each bin of ``histogram_edges``;
        a score within rounding error of an edge may count on either side.
    """

    rows_a: np.ndarray
    rows_b: np.ndarray
    scores: np.ndarray
    histogram: np.ndarray

    @property
    def n_compared(self) -> int:
        """Pairs that were compared."""
        return int(self.histogram.sum())


def histogram_edges() -> np.ndarray:
    """Return the (N_BINS + 1,) float64 edges of ``PairHits.histogram``, from -1 to 1."""
    return np.arange(-N_BINS // 2, N_BINS // 2 + 1) / (N_BINS / 2)


def n_pairs(n: int) -> int:
    """Return the number of unordered pairs of n tracks.

    Raises
    ------
    ValueError
        If n is negative.

    Examples
    --------
    >>> n_pairs(4)
    6
    """
    if n < 0:
        raise ValueError(f"n is {n}; it must not be negative")
    return n * (n - 1) // 2


def find_pairs(
    embeddings: np.ndarray,
    threshold: float,
    *,
    block: int = 2048,
    max_pairs: int = MAX_PAIRS,
    progress: Progress | None = None,
) -> PairHits:
    """Return every pair of rows a < b whose exact score is at or above the threshold.

    Memory is one block of products, 4 * block**2 bytes, besides the embeddings and the hits.

    Parameters
    ----------
    embeddings : numpy.ndarray
        (n, n_dims) float32, unit norm.
    threshold : float
        In [-1, 1]; compared as ``float(score) >= threshold``.
    block : int
        Rows and columns of one block; it cannot change the hits.
    max_pairs : int
        Most hits to hold.
    progress : callable, optional
        See ``Progress``.

    Returns
    -------
    PairHits
        With the histogram of all ``n_pairs(n)`` scores.

    Raises
    ------
    UsageError
        If more than ``max_pairs`` pairs reach the threshold.
    ValueError
        If the embeddings are not finite float32 unit rows, or a number is out of range.
    """
    check_unit_rows("embeddings", embeddings)
    return _search(embeddings, None, threshold, _Limits(block, max_pairs, progress))


def find_cross_pairs(
    queries: np.ndarray,
    embeddings: np.ndarray,
    threshold: float,
    *,
    block: int = 2048,
    max_pairs: int = 5_000_000,
) -> PairHits:
    """Return every pair (a row of queries, b row of embeddings) at or above the threshold.

    Parameters and errors are those of ``find_pairs``; ``queries`` is (n_queries, n_dims) float32,
    unit norm.
    """
    check_unit_rows("queries", queries)
    check_unit_rows("embeddings", embeddings)
    _check_same_dims(queries, embeddings)
    return _search(queries, embeddings, threshold, _Limits(block, max_pairs, None))


def nearest(
    queries: np.ndarray, embeddings: np.ndarray, top: int, *, block: int = 2048
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of highest exact score for each query; equal scores go by row.

    Parameters
    ----------
    queries, embeddings : numpy.ndarray
        (n_queries, n_dims) and (n, n_dims) float32, unit norm.
    top : int
        Rows wanted for each query; fewer when n is smaller.
    block : int
        Bounds the products held at once to block**2; it cannot change the answer.

    Returns
    -------
    rows : numpy.ndarray
        (n_queries, min(top, n)) int64.
    scores : numpy.ndarray
        The same shape, float32, descending.

    Raises
    ------
    ValueError
        If the vectors are not finite float32 unit rows, or a number is out of range.
    """
    check_unit_rows("queries", queries)
    check_unit_rows("embeddings", embeddings)
    _check_same_dims(queries, embeddings)
    if top < 1 or block < 1:
        raise ValueError(f"top is {top} and block {block}; both must be at least 1")
    n, n_dims = embeddings.shape
    top = min(top, n)
    rows = np.empty((len(queries), top), np.int64)
    scores = np.empty((len(queries), top), np.float32)
    step = max(1, block * block // max(n, 1))
    for start in range(0, len(queries) if top else 0, step):
        for query, products in enumerate(queries[start : start + step] @ embeddings.T, start):
            near = rows_within_reach(products, top, n_dims)
            exact = exact_scores(queries, np.full(len(near), query), near, others=embeddings)
            order = np.lexsort((near, -exact))[:top]
            rows[query], scores[query] = near[order], exact[order]
    return rows, scores


def clusters(n: int, rows_a: np.ndarray, rows_b: np.ndarray) -> list[list[int]]:
    """Return the rows that pairs connect, as sorted lists of two and more.

    Parameters
    ----------
    n : int
        Number of tracks.
    rows_a, rows_b : numpy.ndarray
        (n_hits,) integers below n.

    Returns
    -------
    list of list of int
        Largest first; of one size, that of the smallest row first.

    Raises
    ------
    ValueError
        If a row is negative or not below n.

    Examples
    --------
    >>> clusters(6, np.array([0, 1, 3]), np.array([4, 5, 5]))
    [[1, 3, 5], [0, 4]]
    """
    rows_a, rows_b = np.asarray(rows_a, np.int64), np.asarray(rows_b, np.int64)
    check_rows("rows_a", rows_a, n)
    check_rows("rows_b", rows_b, n)
    if not len(rows_a):
        return []
    graph = coo_array((np.ones(len(rows_a), np.int8), (rows_a, rows_b)), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    linked = np.unique(np.concatenate([rows_a, rows_b]))
    linked = linked[np.argsort(labels[linked], kind="stable")]
    starts = np.flatnonzero(np.diff(labels[linked])) + 1
    groups = [group.tolist() for group in np.split(linked, starts)]
    return sorted((g for g in groups if len(g) > 1), key=lambda g: (-len(g), g[0]))


@dataclass(frozen=True)
class _Limits:
    block: int
    max_pairs: int
    progress: Progress | None

    def __post_init__(self) -> None:
        if self.block < 1 or self.max_pairs < 0:
            raise ValueError(
                f"block is {self.block} and max_pairs {self.max_pairs}; "
                "they must be at least 1 and at least 0"
            )


def _search(
    left: np.ndarray, right: np.ndarray | None, threshold: float, limits: _Limits
) -> PairHits:
    """Compare all of left with all of right, or left's own pairs a < b where right is None."""
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it must lie between -1 and 1")
    within = right is None
    right = left if right is None else right
    block, n_found, n_done = limits.block, 0, 0
    n_total = n_pairs(len(left)) if within else len(left) * len(right)
    counts = np.zeros(N_BINS + 1, np.int64)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    margin = rounding_margin(left.shape[1])
    low, sure = np.float32(threshold - margin), np.float32(threshold + margin)
    buffer = np.empty(min(block, len(left)) * min(block, len(right)), np.float32)
    for row in range(0, len(left), block):
        for column in range(row if within else 0, len(right), block):
            a, b = left[row : row + block], right[column : column + block]
            product = buffer[: len(a) * len(b)].reshape(len(a), len(b))
            np.matmul(a, b.T, out=product)
            if within and row == column:
                upper = np.triu(np.ones(product.shape, bool), 1)
                counts += _bin_counts(product[upper])
                n_done += n_pairs(len(a))
                product[~upper] = -2.0
            else:
                counts += _bin_counts(product.ravel())
                n_done += product.size
            near = product >= low
            if near.any():
                if n_found + np.count_nonzero(product >= sure) > limits.max_pairs:
                    raise too_many_pairs(threshold, limits.max_pairs)
                rows_a, rows_b = np.nonzero(near)
                rows_a += row
                rows_b += column
                scores = exact_scores(left, rows_a, rows_b, others=right)
                keep = scores.astype(np.float64) >= threshold
                found.append((rows_a[keep], rows_b[keep], scores[keep]))
                n_found += np.count_nonzero(keep)
                if n_found > limits.max_pairs:
                    raise too_many_pairs(threshold, limits.max_pairs)
            if limits.progress is not None:
                limits.progress(n_done, n_total)
    counts[N_BINS - 1] += counts[N_BINS]
    empty = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    rows_a, rows_b, scores = (np.concatenate(parts) for parts in zip(empty, *found, strict=True))
    order = np.lexsort((rows_b, rows_a, -scores))
    return PairHits(rows_a[order], rows_b[order], scores[order], counts[:N_BINS])


def too_many_pairs(threshold: float, max_pairs: int) -> UsageError:
    """Return the error of a threshold that more than ``max_pairs`` pairs reach."""
    if threshold >= 1.0:
        return UsageError(
            f"more than {max_pairs:,} pairs score {threshold:g} or above: the catalogue holds "
            "many copies of the same tracks. Remove some with: audit catalogue remove"
        )
    return UsageError(
        f"more than {max_pairs:,} pairs score {threshold:g} or above: the threshold is too low to "
        f"tell tracks apart. Give a higher one, for example --threshold {(threshold + 1) / 2:.2f}"
    )


def _bin_counts(scores: np.ndarray) -> np.ndarray:
    """Count (m,) float32 scores in N_BINS + 1 bins; the last one holds 1 and its rounding error."""
    counts = np.zeros(N_BINS + 1, np.int64)
    for start in range(0, len(scores), _STRIPE):
        bins = scores[start : start + _STRIPE] * np.float32(N_BINS / 2)
        bins += np.float32(N_BINS / 2)
        counts += np.bincount(bins.astype(np.uint8), minlength=N_BINS + 1)
    return counts


def _check_same_dims(queries: np.ndarray, embeddings: np.ndarray) -> None:
    if queries.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} dimensions and embeddings {embeddings.shape[1]}; "
            "both must come from one extractor"
        )
