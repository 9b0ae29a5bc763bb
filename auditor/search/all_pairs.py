"""The comparison of all pairs of embeddings, as tiles of rows with rows.

Each tile is a call of ``auditor.search.exact``; its scores are exact, so what comes of all tiles is
what one call with all rows returns, histogram and all.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from auditor.parallel import Tiles, pack_arrays, ranges, unpack_arrays
from auditor.search.exact import (
    MAX_PAIRS,
    PairHits,
    find_cross_pairs,
    find_pairs,
    merge_hits,
    nearest,
)

TILE_ROWS = 16_384
"""Embeddings on either side of a tile; whole blocks (``pairs.BLOCK``), so that scores are counted
in the same bins as by one call."""

Part = tuple[int, int, int, int]
"""Start and end of the rows on either side."""


class EmbeddingReader(Protocol):
    """What tells embeddings; see ``track_reader.TrackReader``."""

    def embeddings(self, start: int, end: int) -> np.ndarray:
        """Return the embeddings of a range of rows, (end - start, n_dims) float32."""


class RowsTile:
    """Work whose result is rows and their scores."""

    shares_memory: ClassVar[bool] = True

    def pack(self, result: tuple[np.ndarray, np.ndarray]) -> bytes:
        """Return a result as bytes."""
        return pack_arrays(*result)

    def unpack(self, data: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Return the result of which ``pack`` made these bytes."""
        rows, scores = unpack_arrays(data, 2)
        return rows, scores


class HitsTile:
    """Work whose result is pairs, with the histogram of all that were compared."""

    shares_memory: ClassVar[bool] = True

    def pack(self, result: PairHits) -> bytes:
        """Return a result as bytes."""
        assert result.histogram is not None  # it is counted
        columns = result.rows_a, result.rows_b, result.scores, result.histogram
        return pack_arrays(*columns, np.array([result.n_compared, result.n_left_out]))

    def unpack(self, data: bytes) -> PairHits:
        """Return the result of which ``pack`` made these bytes."""
        rows_a, rows_b, scores, histogram, counts = unpack_arrays(data, 5)
        return PairHits(rows_a, rows_b, scores, histogram, *counts.tolist())


@dataclass(frozen=True)
class NearestTile(RowsTile):
    """Finds among some rows of a catalogue those nearest to some others.

    Attributes
    ----------
    reader : EmbeddingReader
    top : int
        Rows wanted for each, of all rows together.
    """

    reader: EmbeddingReader
    top: int

    def __call__(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (n, top) int64, and scores float32, of the first range in the second one."""
        start, end, first, last = part
        queries, others = self.reader.embeddings(start, end), self.reader.embeddings(first, last)
        rows, scores = nearest(queries, others, self.top)
        return rows + first, scores


@dataclass(frozen=True)
class PairsTile(HitsTile):
    """Finds the pairs of some rows with some others whose score reaches a threshold.

    Attributes
    ----------
    reader : EmbeddingReader
    threshold : float
    max_pairs : int
        Most pairs of a tile, the best ones; the others are counted.
    """

    reader: EmbeddingReader
    threshold: float
    max_pairs: int

    def __call__(self, part: Part) -> PairHits:
        """Return the pairs of the first range with the second one, or within it if they are one."""
        start, end, first, last = part
        rows = self.reader.embeddings(start, end)
        if start == first:
            found = find_pairs(rows, self.threshold, max_pairs=self.max_pairs)
        else:
            others = self.reader.embeddings(first, last)
            found = find_cross_pairs(rows, others, self.threshold, max_pairs=self.max_pairs)
        return found.with_rows(found.rows_a + start, found.rows_b + first)


def nearest_rows(tiles: Tiles, reader: EmbeddingReader, n: int, *, top: int) -> np.ndarray:
    """Return the rows nearest to each row of a catalogue, as ``pairs.nearest`` does.

    Parameters
    ----------
    tiles : Tiles
    reader : EmbeddingReader
    n : int
        Rows of the catalogue.
    top : int
        Rows wanted for each, itself among them.

    Returns
    -------
    numpy.ndarray
        (n, min(top, n)) int64, best first; equal scores go by row.
    """
    blocks = ranges(n, TILE_ROWS)
    done = tiles.map(NearestTile(reader, top), [(*a, *b) for a in blocks for b in blocks])
    found = []
    for _ in blocks:
        rows, scores = (
            np.concatenate(side, axis=1)
            for side in zip(*itertools.islice(done, len(blocks)), strict=True)
        )
        order = np.lexsort((rows, -scores), axis=1)[:, :top]
        found.append(np.take_along_axis(rows, order, axis=1))
    return np.concatenate(found)


def similar_rows(
    tiles: Tiles,
    reader: EmbeddingReader,
    n: int,
    threshold: float,
    *,
    max_pairs: int = MAX_PAIRS,
) -> PairHits:
    """Return the pairs of a catalogue that reach a threshold, as ``pairs.find_pairs`` does.

    Parameters
    ----------
    tiles, reader, n
        As for ``nearest_rows``.
    threshold : float
        In [-1, 1].
    max_pairs : int
        Most pairs to hold, the best ones; the others are counted.
    """
    blocks = ranges(n, TILE_ROWS)
    parts = [(*a, *b) for i, a in enumerate(blocks) for b in blocks[i:]]
    return merge_hits(tiles.map(PairsTile(reader, threshold, max_pairs), parts), max_pairs)
