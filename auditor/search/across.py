"""The comparison of two sides of a catalogue: pairs that have one row on either side.

The sides are sets of rows, and may overlap.  A pair counts once, whichever way round it is, and a
row is no pair with itself; so the pairs within one side are those of a side with itself.
Each tile is a call of ``auditor.search.exact``, as in ``auditor.search.all_pairs``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from auditor.parallel import Tiles, ranges
from auditor.search.all_pairs import TILE_ROWS, EmbeddingReader, HitsTile, Part, RowsTile
from auditor.search.exact import (
    MAX_PAIRS,
    PairHits,
    find_cross_pairs,
    find_pairs,
    merge_hits,
    nearest,
)


@dataclass(frozen=True)
class TwoSides:
    """Which rows of a catalogue are on the left and on the right; small, and hashable.

    Attributes
    ----------
    n : int
        Rows of the catalogue.
    left, right : bytes
        A bit for each row (``numpy.packbits``).
    """

    n: int
    left: bytes
    right: bytes

    @classmethod
    def of(cls, left: np.ndarray, right: np.ndarray) -> Self:
        """Return the sides of two (n,) arrays of bool.

        Raises
        ------
        ValueError
            If they are not of one length.

        Examples
        --------
        >>> sides = TwoSides.of(np.array([1, 1, 0], bool), np.array([0, 1, 1], bool))
        >>> sides.n_pairs, sides.rows(left=False).tolist()
        (3, [1, 2])
        """
        if left.shape != right.shape or left.ndim != 1:
            raise ValueError(f"left is {left.shape} and right {right.shape}; (n,) was expected")
        return cls(len(left), np.packbits(left).tobytes(), np.packbits(right).tobytes())

    @property
    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Both sides as (n,) arrays of bool."""
        return unpack_mask(self.left, self.n), unpack_mask(self.right, self.n)

    def rows(self, *, left: bool) -> np.ndarray:
        """Return the rows of one side, (n_rows,) int64, ascending."""
        return np.flatnonzero(self.masks[0 if left else 1])

    @property
    def turned(self) -> TwoSides:
        """The same pairs with the sides exchanged."""
        return TwoSides(self.n, self.right, self.left)

    @property
    def both_ways(self) -> tuple[TwoSides, ...]:
        """These sides, and the exchanged ones unless they are the same."""
        return (self,) if self.left == self.right else (self, self.turned)

    @property
    def n_pairs(self) -> int:
        """Pairs of rows with one on either side."""
        left, right = self.masks
        n_both = int((left & right).sum())
        n_ordered = int(left.sum()) * int(right.sum()) - n_both
        return n_ordered - n_both * (n_both - 1) // 2

    def orient(self, pairs: np.ndarray) -> np.ndarray:
        """Return pairs of rows, (n_pairs, 2) int64, with the left one first, sorted.

        Of pairs that fit either way the smaller row comes first.
        """
        left, right = self.masks
        pairs = np.sort(pairs, axis=1)
        fits = left[pairs[:, 0]] & right[pairs[:, 1]]
        oriented = np.where(fits[:, None], pairs, pairs[:, ::-1])
        return oriented[np.lexsort((oriented[:, 1], oriented[:, 0]))]


def unpack_mask(bits: bytes, n: int) -> np.ndarray:
    """Return a bit for each row as an (n,) array of bool."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=n).astype(bool)


@dataclass(frozen=True)
class NearestAcrossTile(RowsTile):
    """Finds for the left rows of a range the nearest right rows of another one.

    Attributes
    ----------
    reader : EmbeddingReader
    sides : TwoSides
    top : int
        Rows wanted for each.
    """

    reader: EmbeddingReader
    sides: TwoSides
    top: int

    def __call__(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (n, top) int64, and scores float32; fewer columns where there are fewer."""
        start, end, first, last = part
        left, right = self.sides.masks
        queries = self.reader.embeddings(start, end)[left[start:end]]
        others = self.reader.embeddings(first, last)[right[first:last]]
        rows, scores = nearest(queries, others, self.top)
        return (first + np.flatnonzero(right[first:last]))[rows], scores


def nearest_across(
    tiles: Tiles, reader: EmbeddingReader, sides: TwoSides, *, top: int
) -> np.ndarray:
    """Return each left row with the right rows nearest to it, itself left out.

    Parameters
    ----------
    tiles : Tiles
    reader : EmbeddingReader
    sides : TwoSides
    top : int
        Right rows wanted for each.

    Returns
    -------
    numpy.ndarray
        (n_pairs, 2) int64 of left and right rows; equal scores go by row.
    """
    left, right = sides.masks
    asked = top + bool((left & right).any())  # a row on both sides is nearest to itself
    asking = [block for block in ranges(sides.n, TILE_ROWS) if left[slice(*block)].any()]
    blocks = [block for block in ranges(sides.n, TILE_ROWS) if right[slice(*block)].any()]
    work = NearestAcrossTile(reader, sides, asked)
    done = tiles.map(work, [(*a, *b) for a in asking for b in blocks])
    found = [np.zeros((0, 2), np.int64)]
    for start, end in asking if blocks else ():
        parts = list(itertools.islice(done, len(blocks)))
        rows, scores = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
        queries = start + np.flatnonzero(left[start:end])
        scores = np.where(rows == queries[:, None], -np.inf, scores)
        order = np.lexsort((rows, -scores), axis=1)[:, :top]
        near = np.take_along_axis(rows, order, axis=1)
        pairs = np.stack([np.repeat(queries, near.shape[1]), near.ravel()], axis=1)
        found.append(pairs[pairs[:, 0] != pairs[:, 1]])
    return np.concatenate(found)


@dataclass(frozen=True)
class PairsAcrossTile(HitsTile):
    """Finds the pairs of left rows of a range with right rows of another one.

    Attributes
    ----------
    reader : EmbeddingReader
    sides : TwoSides
    threshold : float
        Of the cosine.
    max_pairs : int
        Most pairs of a tile, the best ones; the others are counted.
    """

    reader: EmbeddingReader
    sides: TwoSides
    threshold: float
    max_pairs: int

    def __call__(self, part: Part) -> PairHits:
        """Return the pairs; those of two rows that are on both sides count in one tile only."""
        start, end, first, last = part
        left, right = self.sides.masks
        rows, others = self.reader.embeddings(start, end), self.reader.embeddings(first, last)
        both = left & right
        pieces = [(left & ~right, right), (both, right & ~left)]
        if start < first:
            pieces.append((both, both))
        hits = []
        for mask, other_mask in pieces:
            at, other_at = np.flatnonzero(mask[start:end]), np.flatnonzero(other_mask[first:last])
            if len(at) and len(other_at):
                found = find_cross_pairs(
                    rows[at], others[other_at], self.threshold, max_pairs=self.max_pairs
                )
                hits.append(
                    found.with_rows(start + at[found.rows_a], first + other_at[found.rows_b])
                )
        at = np.flatnonzero(both[start:end])
        if start == first and len(at):
            found = find_pairs(rows[at], self.threshold, max_pairs=self.max_pairs)
            hits.append(found.with_rows(start + at[found.rows_a], start + at[found.rows_b]))
        return merge_hits(hits, self.max_pairs)


def similar_across(
    tiles: Tiles,
    reader: EmbeddingReader,
    sides: TwoSides,
    threshold: float,
    *,
    max_pairs: int = MAX_PAIRS,
) -> PairHits:
    """Return the pairs across two sides that reach a threshold, left rows first.

    Parameters
    ----------
    tiles, reader, sides
        As for ``nearest_across``.
    threshold : float
        In [-1, 1].
    max_pairs : int
        Most pairs to hold, the best ones; the others are counted.
    """
    work = PairsAcrossTile(reader, sides, threshold, max_pairs)
    return merge_hits(tiles.map(work, list(_blocks(sides))), max_pairs)


def _blocks(sides: TwoSides) -> Iterator[Part]:
    left, right = sides.masks
    for a in ranges(sides.n, TILE_ROWS):
        for b in ranges(sides.n, TILE_ROWS):
            if left[slice(*a)].any() and right[slice(*b)].any():
                yield (*a, *b)
