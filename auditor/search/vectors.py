"""Unit vectors and their exact score: what the search over all pairs and the index share.

The last bits of a float32 matrix product depend on the shape of its blocks, so a product only
proposes: whatever lies within its rounding error of what is asked for is scored again by
``row_scores`` or ``exact_scores``, and that score alone decides.  The rounding error of a dot
product of unit vectors in ``n_dims`` dimensions, summed in any order, is at most about
``n_dims * 2**-24`` (Higham, 2002, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5,
doi:10.1137/1.9780898718027).
"""

from __future__ import annotations

import numpy as np

NORM_TOLERANCE = 1e-4
"""How far the norm of a row may be from 1."""

_CHUNK = 1024
"""Rows that are checked, or pairs that are held in float64, at once: they stay in the cache."""


def row_scores(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the score of each row with its counterpart, the same bits whatever stands beside it.

    The float32 products are exact in float64, where they are summed row by row; the sum is rounded
    to float32 and clipped.

    Parameters
    ----------
    vectors : numpy.ndarray
        (m, n_dims) float32, unit norm.
    others : numpy.ndarray
        (m, n_dims) float32, unit norm, or one such vector, (n_dims,), for all rows.

    Returns
    -------
    numpy.ndarray
        (m,) float32, in [-1, 1].

    Examples
    --------
    >>> row_scores(np.eye(2, dtype=np.float32), np.array([0.6, 0.8], np.float32)).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    products = vectors.astype(np.float64)
    products *= others
    return np.clip(products.sum(axis=1).astype(np.float32), -1, 1)


def exact_scores(
    embeddings: np.ndarray,
    rows_a: np.ndarray,
    rows_b: np.ndarray,
    *,
    others: np.ndarray | None = None,
) -> np.ndarray:
    """Return the score of each named pair, from ``row_scores``.

    Parameters
    ----------
    embeddings : numpy.ndarray
        (n, n_dims) float32, unit norm.
    rows_a, rows_b : numpy.ndarray
        (m,) integers, rows of ``embeddings`` and of ``others``.
    others : numpy.ndarray, optional
        (n_others, n_dims) float32, unit norm; ``embeddings`` when left out.

    Returns
    -------
    numpy.ndarray
        (m,) float32, in [-1, 1].

    Raises
    ------
    ValueError
        If the rows differ in number or lie outside their array.
    """
    others = embeddings if others is None else others
    rows_a, rows_b = np.asarray(rows_a, np.int64), np.asarray(rows_b, np.int64)
    if rows_a.shape != rows_b.shape or rows_a.ndim != 1:
        raise ValueError(f"rows_a is {rows_a.shape} and rows_b {rows_b.shape}; both must be (m,)")
    check_rows("rows_a", rows_a, len(embeddings))
    check_rows("rows_b", rows_b, len(others))
    scores = np.empty(len(rows_a), np.float32)
    for start in range(0, len(scores), _CHUNK):
        part = slice(start, start + _CHUNK)
        scores[part] = row_scores(embeddings[rows_a[part]], others[rows_b[part]])
    return scores


def rounding_margin(n_dims: int) -> float:
    """Return twice the largest rounding error of a float32 product of two unit vectors."""
    return (n_dims + 2) * float(np.finfo(np.float32).eps)


def rows_within_reach(products: np.ndarray, top: int, n_dims: int) -> np.ndarray:
    """Return the rows whose exact score could be among the ``top`` best, rounding considered.

    Parameters
    ----------
    products : numpy.ndarray
        (n,) float32, the product of each row with one vector.
    top : int
        At least 1.
    n_dims : int
        Dimensions of the vectors.

    Returns
    -------
    numpy.ndarray
        (n_near,) int64, ascending, at least min(top, n) rows.
    """
    n = len(products)
    if top >= n:
        return np.arange(n)
    reach = min(np.partition(products, n - top)[n - top], 1)  # scores are clipped
    return np.flatnonzero(products >= reach - 2 * rounding_margin(n_dims))


def check_rows(name: str, rows: np.ndarray, n: int) -> None:
    """Check that (m,) row numbers count into n rows.

    Raises
    ------
    ValueError
        If one is negative or not below n; names the range.
    """
    if len(rows) and not (rows.min() >= 0 and rows.max() < n):
        raise ValueError(f"{name} runs from {rows.min()} to {rows.max()}; rows are 0 to {n - 1}")


def check_unit_rows(name: str, vectors: np.ndarray) -> None:
    """Check that vectors are (n, n_dims) float32 of unit norm.

    Raises
    ------
    ValueError
        If they are not; names the first row that is wrong.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise ValueError(
            f"{name} is {vectors.shape} {vectors.dtype}; (n, n_dims) float32 was expected"
        )
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK]
        norms = np.sqrt(np.einsum("ij,ij->i", part, part))
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
        if len(wrong):
            raise ValueError(
                f"row {start + wrong[0]} of {name} has norm {norms[wrong[0]]:.6g}; "
                "unit rows are needed (leave silent tracks out)"
            )
