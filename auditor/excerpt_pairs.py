"""Candidate pairs of a whole catalogue by excerpt: every track asks the excerpt index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from auditor.excerpt_index import ExcerptIndex, ExcerptSearch, ExcerptSource


class ExcerptPairs(NamedTuple):
    """Pairs of tracks that may share an excerpt, unique and sorted; arrays of one length, (n,).

    Attributes
    ----------
    ids : tuple of str
        Track ids, to which the rows count.
    rows_a, rows_b : numpy.ndarray
        int64, a < b.
    scores : numpy.ndarray
        float64, the higher one where each track proposed the other.
    votes : numpy.ndarray
        int64, of the proposal with that score.
    offsets_s, tempos : numpy.ndarray
        float64: a moment t of a is ``offset_s + tempo * t`` of b.
    """

    ids: tuple[str, ...]
    rows_a: np.ndarray
    rows_b: np.ndarray
    scores: np.ndarray
    votes: np.ndarray
    offsets_s: np.ndarray
    tempos: np.ndarray


def excerpt_pairs(
    index: ExcerptIndex,
    source: ExcerptSource,
    *,
    ids: Sequence[str] | None = None,
    search: ExcerptSearch | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExcerptPairs:
    """Return the pairs of each track with its candidates, for exact alignment.

    Tracks are read one at a time; what is kept is one line of numbers for each candidate.

    Parameters
    ----------
    index : ExcerptIndex
    source : ExcerptSource
        What the index was opened with.
    ids : sequence of str, optional
        Tracks that ask; all of them when left out, the new ones when the others have been asked.
    search : ExcerptSearch, optional
    progress : callable, optional
        Called with the tracks done and the tracks in all.

    Raises
    ------
    ValueError
        If an id is not in the index.
    CatalogueError
        If d-vectors cannot be read.
    """
    row_of = index.tracks.row_of
    asking = index.ids if ids is None else tuple(ids)
    if unknown := [i for i in asking if row_of(i) < 0]:
        raise ValueError(f"the track {unknown[0]!r:.80} is not in the index; refresh it first")
    columns: list[np.ndarray] = [np.zeros((0, 6))]
    for n_done, track_id in enumerate(asking, 1):
        dvectors, levels = source.read(track_id)
        found = index.candidates(dvectors, levels=levels, exclude=track_id, search=search)
        own = row_of(track_id)
        columns.append(
            np.array(
                [(own, row_of(c.track_id), c.score, c.votes, c.offset_s, c.tempo) for c in found],
                np.float64,
            ).reshape(-1, 6)
        )
        if progress is not None:
            progress(n_done, len(asking))
    table = np.concatenate(columns)
    turned = table[:, 0] > table[:, 1]
    table[turned, :2] = table[turned, 1::-1]
    table[turned, 4] /= -table[turned, 5]
    table[turned, 5] = 1.0 / table[turned, 5]
    table = table[np.lexsort((-table[:, 2], table[:, 1], table[:, 0]))]
    first = np.ones(len(table), bool)
    first[1:] = (table[1:, :2] != table[:-1, :2]).any(axis=1)
    a, b, scores, votes, offsets_s, tempos = table[first].T
    return ExcerptPairs(
        index.ids,
        a.astype(np.int64),
        b.astype(np.int64),
        scores,
        votes.astype(np.int64),
        offsets_s,
        tempos,
    )
