"""Exact search for pairs of track embeddings whose score reaches a threshold.

All pairs are compared by a blocked matrix product (``auditor.pair_blocks``), which for catalogues
of up to some 10^6 tracks is quicker than an approximate index and misses nothing.  Whatever lies
within the product's error of the threshold is scored again by ``vectors.exact_scores``, and that
score alone decides (see ``auditor.vectors``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from auditor.nearest_block import nearest_in_block
from auditor.pair_blocks import Float32Products, map_blocks, quick_products
from auditor.pair_tiles import N_BINS, PairTiles, too_many_pairs
from auditor.vectors import check_rows, check_unit_rows

MAX_PAIRS = 200_000
"""Most flagged pairs of one scan: more fill no report that can be read, and much memory."""

BLOCK = 1024
"""Rows and columns of a block of products, unless said otherwise: they stay in the cache."""

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
    histogram : numpy.ndarray or None
        (N_BINS,) int64, how many of all compared pairs fall in each bin of ``histogram_edges``;
        a score within rounding error of an edge may count on either side, and which depends on
        the block but not on the number of jobs.  None where it was not asked for.
    n_compared : int
        Pairs that were compared.
    """

    rows_a: np.ndarray
    rows_b: np.ndarray
    scores: np.ndarray
    histogram: np.ndarray | None
    n_compared: int


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
    block: int = BLOCK,
    max_pairs: int = MAX_PAIRS,
    histogram: bool = True,
    jobs: int = 1,
    progress: Progress | None = None,
) -> PairHits:
    """Return every pair of rows a < b whose exact score is at or above the threshold.

    Memory, besides the embeddings and the hits, is some 10 bytes for each number of one block and
    job, and another half of the embeddings where bfloat16 is used.

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
    histogram : bool
        Count all scores too.  That takes float32 products; without it many pairs are compared in
        bfloat16 first, where the processor can (``pair_blocks``), for the same hits in less time.
    jobs : int
        Threads that work at once; they cannot change the result.
    progress : callable, optional
        See ``Progress``.

    Returns
    -------
    PairHits

    Raises
    ------
    UsageError
        If more than ``max_pairs`` pairs reach the threshold.
    ValueError
        If the embeddings are not finite float32 unit rows, or a number is out of range.
    """
    check_unit_rows("embeddings", embeddings)
    limits = _Limits(block, max_pairs, histogram, jobs, progress)
    return _search(embeddings, None, threshold, limits)


def find_cross_pairs(
    queries: np.ndarray,
    embeddings: np.ndarray,
    threshold: float,
    *,
    block: int = BLOCK,
    max_pairs: int = 5_000_000,
    histogram: bool = True,
    jobs: int = 1,
) -> PairHits:
    """Return every pair (a row of queries, b row of embeddings) at or above the threshold.

    Parameters and errors are those of ``find_pairs``; ``queries`` is (n_queries, n_dims) float32,
    unit norm.
    """
    check_unit_rows("queries", queries)
    check_unit_rows("embeddings", embeddings)
    _check_same_dims(queries, embeddings)
    limits = _Limits(block, max_pairs, histogram, jobs, None)
    return _search(queries, embeddings, threshold, limits)


def nearest(
    queries: np.ndarray,
    embeddings: np.ndarray,
    top: int,
    *,
    block: int = BLOCK,
    jobs: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of highest exact score for each query; equal scores go by row.

    Parameters
    ----------
    queries, embeddings : numpy.ndarray
        (n_queries, n_dims) and (n, n_dims) float32, unit norm; one array may be both.
    top : int
        Rows wanted for each query; fewer when n is smaller.
    block : int
        Bounds the products held at once to block**2 for each job; it cannot change the answer.
    jobs : int
        Threads that work at once; they cannot change the answer.

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
    if top < 1 or block < 1 or jobs < 1:
        raise ValueError(f"top is {top}, block {block} and jobs {jobs}; all must be at least 1")
    top = min(top, len(embeddings))
    if not len(queries) or not top:
        shape = len(queries), top
        return np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    products = quick_products(embeddings, queries)
    step = max(1, min(block, block * block // (8 * top)))
    spans = [slice(i, min(i + step, len(queries))) for i in range(0, len(queries), step)]

    def best_of(span: slice, buffer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return nearest_in_block(queries, embeddings, products, span, top=top, buffer=buffer)

    found = map_blocks(best_of, spans, size=block * block, jobs=jobs)
    rows, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
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
    histogram: bool
    jobs: int
    progress: Progress | None

    def __post_init__(self) -> None:
        if self.block < 1 or self.max_pairs < 0 or self.jobs < 1:
            raise ValueError(
                f"block is {self.block}, max_pairs {self.max_pairs} and jobs {self.jobs}; "
                "they must be at least 1, 0 and 1"
            )


def _search(
    left: np.ndarray, right: np.ndarray | None, threshold: float, limits: _Limits
) -> PairHits:
    """Compare all of left with all of right, or left's own pairs a < b where right is None."""
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it must lie between -1 and 1")
    within = right is None
    right = left if right is None else right
    products = (Float32Products if limits.histogram else quick_products)(left, right)
    tiles = PairTiles(
        *(left, right, within, products, threshold),
        *(limits.block, limits.max_pairs, limits.histogram),
    )
    n_total = n_pairs(len(left)) if within else len(left) * len(right)
    n_found = n_compared = 0
    histogram = np.zeros(N_BINS, np.int64) if limits.histogram else None
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    done = map_blocks(tiles.compare, tiles.corners(), size=tiles.size, jobs=limits.jobs)
    with closing(done):
        for tile in done:
            n_found += len(tile.scores)
            if n_found > limits.max_pairs:
                raise too_many_pairs(threshold, limits.max_pairs)
            if len(tile.scores):
                found.append((tile.rows_a, tile.rows_b, tile.scores))
            if histogram is not None:
                histogram += tile.counts
            n_compared += tile.n_compared
            if limits.progress is not None:
                limits.progress(n_compared, n_total)
    rows_a, rows_b, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((rows_b, rows_a, -scores))
    return PairHits(rows_a[order], rows_b[order], scores[order], histogram, n_compared)


def _check_same_dims(queries: np.ndarray, embeddings: np.ndarray) -> None:
    if queries.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} dimensions and embeddings {embeddings.shape[1]}; "
            "both must come from one extractor"
        )
