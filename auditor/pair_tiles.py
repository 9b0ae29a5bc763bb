"""All pairs of rows in square tiles: the hits of one tile, and the histogram of its scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from auditor.errors import UsageError
from auditor.pair_blocks import Products
from auditor.vectors import exact_scores

N_BINS = 200
"""Bins of the score histogram, of equal width on [-1, 1]."""

_STRIPE = 1 << 18
"""Scores that are binned at once: few enough to stay in the processor's cache."""


@dataclass(frozen=True)
class Tile:
    """What one tile holds, in the order of rows.

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
    max_pairs : int
        Most hits to hold.
    histogram : bool
        Count the scores; needs ``Float32Products``.
    """

    left: np.ndarray
    right: np.ndarray
    within: bool
    products: Products
    threshold: float
    block: int
    max_pairs: int
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

    def compare(self, corner: tuple[int, int], buffer: np.ndarray) -> Tile:
        """Return what the tile at a corner holds.

        Parameters
        ----------
        corner : tuple of int
            One of ``corners``.
        buffer : numpy.ndarray
            (size,) float32, overwritten.

        Raises
        ------
        UsageError
            If the tile surely holds more than ``max_pairs`` hits.
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
        return Tile(rows_a[keep], rows_b[keep], scores[keep], counts, len(compared))

    def _near(self, product: np.ndarray) -> np.ndarray:
        """Return the places in (m,) products where there could be a hit."""
        margin = self.products.margin
        low, sure = np.float32(self.threshold - margin), np.float32(self.threshold + margin)
        if product.max() < low:
            return np.zeros(0, np.int64)
        if np.count_nonzero(product >= sure) > self.max_pairs:
            raise too_many_pairs(self.threshold, self.max_pairs)
        return np.flatnonzero(product >= low)


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
    """Count (m,) float32 scores in N_BINS bins."""
    import torch

    counts = np.zeros(N_BINS + 1, np.int64)
    for start in range(0, len(scores), _STRIPE):
        bins = scores[start : start + _STRIPE] * np.float32(N_BINS / 2)
        bins += np.float32(N_BINS / 2)
        whole = torch.from_numpy(bins.astype(np.uint8))
        counts += torch.bincount(whole, minlength=N_BINS + 1).numpy()  # numpy's holds threads up
    counts[N_BINS - 1] += counts[N_BINS]  # 1 and its rounding error
    return counts[:N_BINS]
