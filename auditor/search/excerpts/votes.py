"""Votes of window hits: which tracks a query resembles along a line, not only here and there.

Every hit, a window of the query near a window of a track, votes for the lines that pass through it:
one for each tempo of a grid, told apart by where on the track the query would begin.  A copy's hits
meet on one line; chance hits do not.  A vote weighs what the hit stands out by: its cosine less
that of the last track the same query window hit, so that a drone, which is near everything, says
little; and it is shared among the query windows that hit one reference window beyond the few that
overlap it, so that a window that everything hits says little too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

TEMPOS = np.exp(np.linspace(-1.0, 1.0, 21) * math.log(1.36))
"""(21,) reference seconds passed in one second of the query; the grid of ``align.AlignConfig``."""

BASE_WEIGHT = 0.1
"""What a vote weighs besides what it stands out by, so that many weak votes still count."""

N_NEAR = 4
"""Query windows that hit one reference window before the vote of each is made smaller."""

_MAX_CELLS = 1 << 22
"""Cells of the histogram that is held at once, 32 MiB."""


class Hits(NamedTuple):
    """Windows of tracks near windows of a query; arrays of one length, (n_hits,).

    Attributes
    ----------
    queries : numpy.ndarray
        int64 windows of the query.
    tracks : numpy.ndarray
        int64 numbers of tracks, not negative.
    windows : numpy.ndarray
        int64 windows of those tracks.
    cosines : numpy.ndarray
        float32.
    """

    queries: np.ndarray
    tracks: np.ndarray
    windows: np.ndarray
    cosines: np.ndarray

    def take(self, which: np.ndarray) -> Hits:
        """Return some of the hits, by mask or positions."""
        return Hits(*(values[which] for values in self))


class Lines(NamedTuple):
    """The best line of each track, best first; arrays of one length, (n_tracks,).

    Attributes
    ----------
    tracks : numpy.ndarray
        int64, distinct.
    scores : numpy.ndarray
        float64 sums of the weights of the votes.
    votes : numpy.ndarray
        int64 query windows on the line.
    offsets : numpy.ndarray
        float64 windows of the track at which window 0 of the query would lie.
    tempos : numpy.ndarray
        float64, of ``TEMPOS``.
    """

    tracks: np.ndarray
    scores: np.ndarray
    votes: np.ndarray
    offsets: np.ndarray
    tempos: np.ndarray


def vote_weights(hits: Hits) -> np.ndarray:
    """Return what each hit's vote weighs, (n_hits,) float64; see the module.

    The last track of a query window is the one whose nearest hit is farthest; where only one track
    is hit, nothing is known of the background, and the vote weighs half the cosine.
    """
    if len(hits.queries) == 0:
        return np.zeros(0)
    _, query = np.unique(hits.queries, return_inverse=True)
    n_tracks = int(hits.tracks.max()) + 1
    keys, owner = np.unique(query * n_tracks + hits.tracks, return_inverse=True)
    nearest = np.full(len(keys), -np.inf)
    np.maximum.at(nearest, owner, hits.cosines)
    query_of_key = keys // n_tracks
    last = np.full(query.max() + 1, np.inf)
    np.minimum.at(last, query_of_key, nearest)
    background = last[query]
    alone = np.bincount(query_of_key)[query] == 1
    background[alone] = hits.cosines[alone] / 2.0
    weights = np.maximum(hits.cosines - background, 0.0) + BASE_WEIGHT
    n_windows = int(hits.windows.max()) + 1
    _, row, n_hits = np.unique(
        hits.tracks * n_windows + hits.windows, return_inverse=True, return_counts=True
    )
    return weights / np.maximum(1.0, n_hits[row] / N_NEAR)


def best_lines(hits: Hits, *, top: int, width: int = 2, tempos: np.ndarray = TEMPOS) -> Lines:
    """Return the tracks with the strongest lines.

    Parameters
    ----------
    hits : Hits
    top : int
        Tracks wanted.
    width : int
        Windows of a track that count as one place.  Of the hits of one query window on one place
        the strongest counts, so width and index step should be alike.
    tempos : numpy.ndarray
        (n_tempos,) slopes.

    Returns
    -------
    Lines
        At most ``top``; equal scores by track.  A track with a single vote is left out, unless the
        query hits with one window only.

    Raises
    ------
    ValueError
        If ``top`` or ``width`` is below 1.
    """
    if top < 1 or width < 1:
        raise ValueError(f"top is {top} and width {width}; both must be at least 1")
    hits, weights = _strongest(hits, vote_weights(hits), width)
    tracks, member = np.unique(hits.tracks, return_inverse=True)
    # No line of a track weighs more than all query windows that hit it together.
    bound = _bounds(hits, weights, member, len(tracks))
    n_queries = len(np.unique(hits.queries))
    n_voters = _voters(hits.queries, member, len(tracks))
    order = np.lexsort((tracks, -bound))
    order = order[n_voters[order] >= min(2, n_queries)]
    found: list[Lines] = []
    floor = 0.0
    for start in range(0, len(order), 4 * top):
        part = order[start : start + 4 * top]
        if bound[part[0]] < floor:
            break
        place = np.full(len(tracks), -1)
        place[part] = np.arange(len(part))
        chosen = place[member] >= 0
        lines = _vote(
            hits.take(chosen), weights[chosen], place[member[chosen]], len(part), width, tempos
        )
        found.append(lines._replace(tracks=tracks[part]))
        scores = np.concatenate([lines.scores for lines in found])
        if len(scores) >= top:
            floor = float(np.partition(scores, len(scores) - top)[len(scores) - top])
    if not found:
        return Lines(*(np.zeros(0, np.int64) if i in (0, 2) else np.zeros(0) for i in range(5)))
    merged = Lines(*(np.concatenate(column) for column in zip(*found, strict=True)))
    best = np.lexsort((merged.tracks, -merged.scores))
    best = best[merged.votes[best] >= min(2, n_queries)][:top]
    return Lines(*(column[best] for column in merged))


def _strongest(hits: Hits, weights: np.ndarray, width: int) -> tuple[Hits, np.ndarray]:
    """Keep the strongest hit of each query window on each place of ``width`` windows."""
    order = np.lexsort((hits.windows, -weights, hits.windows // width, hits.tracks, hits.queries))
    hits, weights = hits.take(order), weights[order]
    keys = np.stack([hits.queries, hits.tracks, hits.windows // width])
    first = np.ones(len(weights), bool)
    first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return hits.take(first), weights[first]


def _bounds(hits: Hits, weights: np.ndarray, member: np.ndarray, n_tracks: int) -> np.ndarray:
    """Return the sum over query windows of the strongest hit of each, (n_tracks,)."""
    keys, owner = np.unique(hits.queries * n_tracks + member, return_inverse=True)
    strongest = np.zeros(len(keys))
    np.maximum.at(strongest, owner, weights)
    return np.bincount(keys % n_tracks, strongest, minlength=n_tracks)


def _voters(queries: np.ndarray, member: np.ndarray, n_tracks: int) -> np.ndarray:
    """Return how many query windows hit each track, (n_tracks,)."""
    keys = np.unique(queries * n_tracks + member)
    return np.bincount(keys % n_tracks, minlength=n_tracks)


def _vote(
    hits: Hits,
    weights: np.ndarray,
    member: np.ndarray,
    n_tracks: int,
    width: int,
    tempos: np.ndarray,
) -> Lines:
    """Return the best line of each of ``n_tracks``; a line is two neighbouring half places wide."""
    best = Lines(
        np.zeros(n_tracks, np.int64),
        np.full(n_tracks, -1.0),
        np.zeros(n_tracks, np.int64),
        np.zeros(n_tracks),
        np.ones(n_tracks),
    )
    for tempo in tempos:
        halves = np.floor((hits.windows - tempo * hits.queries) * (2.0 / width)).astype(np.int64)
        low = int(halves.min())
        n_bins = int(halves.max()) - low + 2
        share = max(1, _MAX_CELLS // n_bins)
        for first in range(0, n_tracks, share):
            n_part = min(share, n_tracks - first)
            inside = (member >= first) & (member < first + n_part)
            cells = (member[inside] - first) * n_bins + halves[inside] - low
            shape, n_cells = (n_part, n_bins), n_part * n_bins
            sums = np.bincount(cells, weights[inside], minlength=n_cells).reshape(shape)
            counts = np.bincount(cells, minlength=n_cells).reshape(shape)
            sums[:, :-1] += sums[:, 1:].copy()
            counts[:, :-1] += counts[:, 1:].copy()
            at = sums.argmax(axis=1)
            rows = np.arange(n_part)
            better = sums[rows, at] > best.scores[first : first + n_part] + 1e-12
            to = first + rows[better]
            best.scores[to] = sums[rows, at][better]
            best.votes[to] = counts[rows, at][better]
            best.offsets[to] = (at[better] + low + 1) * (width / 2.0)
            best.tempos[to] = tempo
    return best
