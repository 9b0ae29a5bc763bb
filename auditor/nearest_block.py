"""The nearest rows of some queries, from rough products of all rows and exact scores of a few.

The highest products of distinct rows seen so far bound from below what the last of the ``top`` rows
scores.  Whatever comes within twice the products' margin of that bound is kept, and scored exactly
at the end.  Rows are seen in groups: one whose highest product is too low is left out as a whole.
"""

from __future__ import annotations

import numpy as np

from auditor.pair_blocks import Float32Products, Products
from auditor.vectors import exact_scores

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
            return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
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
