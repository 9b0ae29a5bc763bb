"""Exact search for pairs of track embeddings whose score reaches a threshold.

All pairs are compared by a blocked matrix product (``auditor.search.products``), which for
catalogues of up to some 10^6 tracks is quicker than an approximate index and misses nothing.
Whatever lies within the product's error of the threshold is scored again by
``vectors.exact_scores``, and that score alone decides (see ``auditor.search.vectors``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from auditor.parallel import OnProgress
from auditor.search.products import Float32Products, Products, map_blocks, quick_products
from auditor.search.vectors import check_rows, check_unit_rows, exact_scores

_N_GROUP = 16
"""Most rows whose highest product stands for them all while the nearest rows are looked for."""

_NOWHERE = np.float32(-4)
"""Below every score, and so is its half."""


def nearest_in_block(
    queries: np.ndarray,
    embeddings: np.ndarray,
    products: Products,
    span: slice,
    *,
    top: int,
    buffer: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of highest exact score for some queries; equal scores go by row.

    Where more rows are within reach than the buffer has numbers, finer products are taken, then
    fewer queries at once; so memory, besides the buffer, is some 80 bytes for each of its numbers.

    Parameters
    ----------
    queries, embeddings : numpy.ndarray
        (n_queries, n_dims) and (n, n_dims) float32, unit norm.
    products : Products
        Of ``embeddings`` with ``queries``.
    span : slice
        Start and stop of the queries.
    top : int
        From 1 to n.
    buffer : numpy.ndarray
        (size,) float32, at least as many numbers as the span has queries.

    Returns
    -------
    rows : numpy.ndarray
        (n_span, top) int64.
    scores : numpy.ndarray
        The same shape, float32, descending.
    """
    n_span, n = span.stop - span.start, len(embeddings)
    height = min(len(buffer) // n_span, n)
    n_group = max(1, min(_N_GROUP, height // (8 * top)))
    height -= height % n_group
    best = np.full((top, n_span), _NOWHERE / 2, np.float32)
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    n_kept = 0
    for start in range(0, n, height):
        n_rows = min(height, n - start)
        block = buffer[: height * n_span].reshape(height, n_span)
        products(slice(start, start + n_rows), span, block[:n_rows])
        block[n_rows:] = _NOWHERE
        groups = block.reshape(n_group, -1, n_span)
        highest = groups.max(axis=0)
        better = np.flatnonzero(highest.max(axis=0) > best[0])
        seen = np.concatenate([best[:, better], highest[:, better]])
        best[:, better] = np.partition(seen, -top, axis=0)[-top:]
        reach = _reach(best, products.margin)
        group, query = np.divmod(np.flatnonzero(highest >= reach), n_span)
        members = groups[:, group, query]
        member, hit = np.nonzero(members >= reach[query])
        rows = start + member * len(highest) + group[hit]
        kept.append((query[hit], rows, members[member, hit]))
        n_kept += len(rows)
        if n_kept > len(buffer) and (finer := _finer(queries, embeddings, products, span)):
            parts = [
                nearest_in_block(queries, embeddings, *step, top=top, buffer=buffer)
                for step in finer
            ]
            rows_of, scores_of = zip(*parts, strict=True)
            return np.concatenate(rows_of), np.concatenate(scores_of)
    query, rows, values = (np.concatenate(part) for part in zip(*kept, strict=True))
    near = values >= reach[query]
    query, rows = query[near], rows[near]
    scores = exact_scores(queries, query + span.start, rows, others=embeddings)
    order = np.lexsort((rows, -scores, query))
    first = np.searchsorted(query[order], np.arange(n_span))
    chosen = order[first[:, None] + np.arange(top)]
    return rows[chosen], scores[chosen]


def _reach(best: np.ndarray, margin: float) -> np.ndarray:
    """Return the product from which on a row could be among the best, of each query."""
    return np.minimum(best[0], 1) - np.float32(2 * margin)


def _finer(
    queries: np.ndarray, embeddings: np.ndarray, products: Products, span: slice
) -> list[tuple[Products, slice]]:
    """Return the same task with finer products, or in two halves; nothing where it is smallest."""
    if not isinstance(products, Float32Products):
        return [(Float32Products(embeddings, queries), span)]
    middle = (span.start + span.stop) // 2
    if middle == span.start:
        return []
    return [(products, slice(span.start, middle)), (products, slice(middle, span.stop))]


N_BINS = 200
"""Bins of the score histogram, of equal width on [-1, 1]."""

_STRIPE = 1 << 18
"""Scores that are binned at once: few enough to stay in the processor's cache."""


@dataclass(frozen=True)
class TileHits:
    """The pairs of one tile, in the order of rows.

    Attributes
    ----------
    rows_a, rows_b : numpy.ndarray
        (n_hits,) int64, counted in the whole arrays.
    scores : numpy.ndarray
        (n_hits,) float32, exact.
    counts : numpy.ndarray or None
        (N_BINS,) int64, of all compared pairs; None where it was not asked for.
    n_compared : int
        Pairs that were compared.
    n_left_out : int
        Further pairs that reach the threshold, of lower scores than those that were held.
    """

    rows_a: np.ndarray
    rows_b: np.ndarray
    scores: np.ndarray
    counts: np.ndarray | None
    n_compared: int


@dataclass(frozen=True)
class PairTiles:
    """Every pair of a row of ``left`` and a row of ``right``, in tiles.

    Attributes
    ----------
    left, right : numpy.ndarray
        (n_left, n_dims) and (n_right, n_dims) float32, unit norm.
    within : bool
        Both are one array, and only pairs a < b of it are compared.
    products : Products
        Of ``left`` with ``right``.
    threshold : float
        Of the exact score of a hit.
    block : int
        Rows and columns of a tile.
    histogram : bool
        Count the scores; needs ``Float32Products``.
    """

    left: np.ndarray
    right: np.ndarray
    within: bool
    products: Products
    threshold: float
    block: int
    histogram: bool

    @property
    def size(self) -> int:
        """Products of the largest tile."""
        return min(self.block, len(self.left)) * min(self.block, len(self.right))

    def corners(self) -> Iterator[tuple[int, int]]:
        """Yield the first row and the first column of every tile, in order."""
        for row in range(0, len(self.left), self.block):
            for column in range(row if self.within else 0, len(self.right), self.block):
                yield row, column

    def compare(self, corner: tuple[int, int], buffer: np.ndarray) -> TileHits:
        """Return what the tile at a corner holds.

        Parameters
        ----------
        corner : tuple of int
            One of ``corners``.
        buffer : numpy.ndarray
            (size,) float32, overwritten.
        """
        row, column = corner
        shape = min(self.block, len(self.left) - row), min(self.block, len(self.right) - column)
        rows, columns = slice(row, row + shape[0]), slice(column, column + shape[1])
        product = buffer[: shape[0] * shape[1]].reshape(shape)
        self.products(rows, columns, product)
        compared = product.ravel()
        if self.within and row == column:
            upper = np.triu(np.ones(shape, bool), 1)
            compared = product[upper]
            product[~upper] = -2.0  # below every score
        near = self._near(product.ravel())
        rows_a, rows_b = np.divmod(near, shape[1])
        rows_a += row
        rows_b += column
        scores = exact_scores(self.left, rows_a, rows_b, others=self.right)
        keep = scores.astype(np.float64) >= self.threshold
        counts = _bin_counts(compared) if self.histogram else None
        return TileHits(rows_a[keep], rows_b[keep], scores[keep], counts, len(compared))

    def _near(self, product: np.ndarray) -> np.ndarray:
        """Return the places in (m,) products where there could be a hit."""
        margin = self.products.margin
        low = np.float32(self.threshold - margin)
        if product.max() < low:
            return np.zeros(0, np.int64)
        return np.flatnonzero(product >= low)


class BestPairs:
    """The best pairs of those that come, and how many the others are; the order does not matter.

    Parameters
    ----------
    max_pairs : int
        Most pairs to keep: those of the highest score, equal ones by row a, then row b.

    Attributes
    ----------
    n_left_out : int
    """

    def __init__(self, max_pairs: int) -> None:
        self._max_pairs, self.n_left_out, self._n_held = max_pairs, 0, 0
        self._parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]

    def add(self, rows_a: np.ndarray, rows_b: np.ndarray, scores: np.ndarray) -> None:
        """Take pairs in, (n,) each."""
        if len(scores):
            self._parts.append((rows_a, rows_b, scores))
            self._n_held += len(scores)
            if self._n_held > 2 * self._max_pairs + BLOCK:
                self.sort()

    def sort(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rows a, rows b and scores of those that are kept, the best first."""
        rows_a, rows_b, scores = (
            np.concatenate(columns) for columns in zip(*self._parts, strict=True)
        )
        best = np.lexsort((rows_b, rows_a, -scores))[: self._max_pairs]
        self.n_left_out += len(scores) - len(best)
        self._parts, self._n_held = [(rows_a[best], rows_b[best], scores[best])], len(best)
        return self._parts[0]


def _bin_counts(scores: np.ndarray) -> np.ndarray:
    """Count (m,) float32 scores in N_BINS bins."""
    counts = np.zeros(N_BINS + 1, np.int64)
    for start in range(0, len(scores), _STRIPE):
        bins = scores[start : start + _STRIPE] * np.float32(N_BINS / 2)
        bins += np.float32(N_BINS / 2)
        whole = bins.astype(np.uint8)
        n_even = len(whole) & ~1
        # Two at a time: counting takes half the time, and other threads wait for it.
        twos = np.bincount(whole[:n_even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
        counts += (twos.sum(axis=0) + twos.sum(axis=1))[: N_BINS + 1]
        counts[whole[n_even:]] += 1
    counts[N_BINS - 1] += counts[N_BINS]  # 1 and its rounding error
    return counts[:N_BINS]


MAX_PAIRS = 200_000
"""Most flagged pairs of one scan: more fill no report that can be read, and much memory."""

BLOCK = 1024
"""Rows and columns of a block of products, unless said otherwise: they stay in the cache."""


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
    n_left_out: int = 0

    def with_rows(self, rows_a: np.ndarray, rows_b: np.ndarray) -> PairHits:
        """Return the same pairs under other row numbers."""
        return dataclasses.replace(self, rows_a=rows_a, rows_b=rows_b)


def merge_hits(parts: Iterable[PairHits], max_pairs: int) -> PairHits:
    """Return the pairs of several parts that share no pair, the best ones; others are counted."""
    kept = BestPairs(max_pairs)
    histogram = np.zeros(N_BINS, np.int64)
    n_compared = 0
    for found in parts:
        kept.add(found.rows_a, found.rows_b, found.scores)
        kept.n_left_out += found.n_left_out
        if found.histogram is not None:
            histogram += found.histogram
        n_compared += found.n_compared
    return PairHits(*kept.sort(), histogram, n_compared, kept.n_left_out)


def histogram_edges() -> np.ndarray:
    """Return the (N_BINS + 1,) float64 edges of ``PairHits.histogram``, from -1 to 1."""
    return np.arange(-N_BINS // 2, N_BINS // 2 + 1) / (N_BINS / 2)


def named_histogram(counts: np.ndarray | None) -> dict[str, tuple[float, ...]]:
    """Return the counts of ``histogram_edges`` as results hold them; none of None."""
    if counts is None:
        return {}
    return {
        "edges": tuple(float(edge) for edge in histogram_edges()),
        "counts": tuple(float(count) for count in counts),
    }


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
    on_progress: OnProgress | None = None,
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
        Most hits to hold, the best ones; the others are counted.
    histogram : bool
        Count all scores too.  That takes float32 products; without it many pairs are compared in
        bfloat16 first, where the processor can (``pair_blocks``), for the same hits in less time.
    jobs : int
        Threads that work at once; they cannot change the result.
    on_progress : callable, optional
        Called with the pairs compared so far and the pairs to compare in all.

    Returns
    -------
    PairHits

    Raises
    ------
    ValueError
        If the embeddings are not finite float32 unit rows, or a number is out of range.
    """
    check_unit_rows("embeddings", embeddings)
    limits = _Limits(block, max_pairs, histogram, jobs, on_progress)
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
    from scipy.sparse import coo_array  # with what it imports, 0.3 s, which no check needs
    from scipy.sparse.csgraph import connected_components

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
    on_progress: OnProgress | None

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
        *(limits.block, limits.histogram),
    )
    n_total = n_pairs(len(left)) if within else len(left) * len(right)
    n_compared = 0
    kept = BestPairs(limits.max_pairs)
    histogram = np.zeros(N_BINS, np.int64) if limits.histogram else None
    done = map_blocks(tiles.compare, tiles.corners(), size=tiles.size, jobs=limits.jobs)
    with closing(done):
        for tile in done:
            kept.add(tile.rows_a, tile.rows_b, tile.scores)
            if histogram is not None and tile.counts is not None:
                histogram += tile.counts
            n_compared += tile.n_compared
            if limits.on_progress is not None:
                limits.on_progress(n_compared, n_total)
    return PairHits(*kept.sort(), histogram, n_compared, kept.n_left_out)


def _check_same_dims(queries: np.ndarray, embeddings: np.ndarray) -> None:
    if queries.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} dimensions and embeddings {embeddings.shape[1]}; "
            "both must come from one extractor"
        )
