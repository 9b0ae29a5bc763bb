"""Which pairs of a catalogue are worth an examination: candidates by embedding and by excerpt.

Every track proposes the tracks nearest to it by embedding and those that the excerpt index votes
for.  Files of the same bytes are one track here (``TrackTable.distinct``), or the copies of one
file would fill the places of all others.  No score comes from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.parallel import Tiles, Work, pack_arrays, ranges, unpack_arrays
from auditor.scoring.track_reader import TrackReader
from auditor.search.across import TwoSides
from auditor.search.excerpts.index import ExcerptSearch, excerpt_pairs

TILE_TRACKS = 64
"""Tracks of one tile that ask the excerpt index."""


@dataclass(frozen=True)
class ProposingTile:
    """Lets a range of tracks propose others, as pairs of rows; a subclass says how.

    Attributes
    ----------
    reader : TrackReader
    """

    reader: TrackReader
    shares_memory: ClassVar[bool] = False

    def pack(self, result: np.ndarray) -> bytes:
        """Return a result as bytes."""
        return pack_arrays(result)

    def unpack(self, data: bytes) -> np.ndarray:
        """Return the result of which ``pack`` made these bytes."""
        return unpack_arrays(data, 1)[0]


def proposed_pairs(
    tiles: Tiles, work: Work[tuple[int, int], np.ndarray], n: int, *, at_once: int
) -> np.ndarray:
    """Return the pairs of rows that ``n`` tracks propose, (n_pairs, 2) int64.

    Parameters
    ----------
    tiles : Tiles
    work : ProposingTile
    n : int
    at_once : int
        Tracks of one tile.
    """
    found = tiles.map(work, ranges(n, at_once))
    return np.concatenate([np.zeros((0, 2), np.int64), *found])


@dataclass(frozen=True)
class ExcerptTile(ProposingTile):
    """Lets some tracks of a catalogue ask the excerpt index.

    Attributes
    ----------
    search : ExcerptSearch
    """

    search: ExcerptSearch

    def __call__(self, part: tuple[int, int]) -> np.ndarray:
        """Return the pairs that a range of tracks proposes, (n, 2) int64 rows, a < b."""
        index, source = self.reader.excerpts()
        ids = index.ids[slice(*part)]
        found = excerpt_pairs(index, source, ids=ids, search=self.search)
        return np.stack([found.rows_a, found.rows_b], axis=1)


def voted_pairs(tiles: Tiles, reader: TrackReader, n: int, *, top: int) -> np.ndarray:
    """Return the pairs that any track proposes by excerpt, (n_pairs, 2) int64 rows, a < b.

    Parameters
    ----------
    tiles : Tiles
    reader : TrackReader
    n : int
        Tracks of the catalogue.
    top : int
        The most candidates of each track.
    """
    work = ExcerptTile(reader, ExcerptSearch(top=top))
    return proposed_pairs(tiles, work, n, at_once=TILE_TRACKS)


N_ACROSS, ACROSS_S = 12, 240.0
"""Candidates of a track on the other side for each so many seconds: a mix holds many tracks."""


@dataclass(frozen=True)
class AcrossTile(ProposingTile):
    """Lets some tracks of the left side ask the excerpt index for tracks of the right one.

    Attributes
    ----------
    sides : TwoSides
    top : int
        The most candidates of a short track; longer ones have more by their length.
    """

    sides: TwoSides
    top: int

    def __call__(self, part: tuple[int, int]) -> np.ndarray:
        """Return what a range of the left rows proposes, (n, 2) int64 rows, left and right."""
        index, source = self.reader.excerpts()
        among = self.reader.excerpts_among(self.sides.right)
        found: list[tuple[int, int]] = []
        for row in self.sides.rows(left=True)[slice(*part)].tolist():
            track_id = index.tracks.id_of(row)
            dvectors, levels = source.read(track_id)
            duration_s = self.reader.content(track_id).duration_s
            top = max(self.top, math.ceil(N_ACROSS * duration_s / ACROSS_S))
            proposed = among.candidates(
                dvectors, levels=levels, exclude=track_id, search=ExcerptSearch(top=top)
            )
            found += [(row, index.tracks.row_of(other.track_id)) for other in proposed]
        return np.array(found, np.int64).reshape(-1, 2)


def voted_across(tiles: Tiles, reader: TrackReader, sides: TwoSides, *, top: int) -> np.ndarray:
    """Return the pairs that left tracks propose by excerpt, (n_pairs, 2) int64, left rows first.

    Parameters
    ----------
    tiles, reader
        As for ``voted_pairs``.
    sides : TwoSides
    top : int
        The most candidates of a short track.
    """
    n_left = len(sides.rows(left=True))
    return proposed_pairs(tiles, AcrossTile(reader, sides, top), n_left, at_once=TILE_TRACKS)


def distinct_pairs(n: int, *proposed: np.ndarray) -> np.ndarray:
    """Return each pair of rows below ``n`` once, a < b, sorted; a row with itself is no pair.

    Parameters
    ----------
    n : int
        Rows of the catalogue.
    proposed : numpy.ndarray
        (n_pairs, 2) int64, in any order.

    Examples
    --------
    >>> distinct_pairs(9, np.array([[3, 1], [2, 2]]), np.array([[1, 3], [0, 8]])).tolist()
    [[0, 8], [1, 3]]
    """
    pairs = np.sort(np.concatenate(proposed), axis=1)
    keys = np.unique(pairs[pairs[:, 0] < pairs[:, 1]] @ np.array([n, 1]))
    return np.stack(np.divmod(keys, n), axis=1)


def with_rows(near: np.ndarray) -> np.ndarray:
    """Return each row with each of the (n, top) rows beside it, (n * top, 2) int64."""
    rows = np.repeat(np.arange(len(near)), near.shape[1])
    return np.stack([rows, near.ravel()], axis=1)
