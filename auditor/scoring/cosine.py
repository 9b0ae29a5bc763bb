"""The cosine of two embeddings as a score, for extractors whose d-vectors cannot be aligned.

Every pair is compared exactly, or those that the Annoy index proposes are rescored exactly.  What
the index misses is estimated on a random sample of tracks, each compared with all others.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from auditor.catalogue.embedding_table import TrackTable
from auditor.evidence.side import Side
from auditor.ingest.submissions import Submission
from auditor.parallel import OnProgress, Tiles
from auditor.records import Evidence, Pair, Track, TrackEmbedding
from auditor.scoring.base import RunContext, ScoredPair, ScoringResult
from auditor.scoring.track_reader import CatalogueReader, track_index
from auditor.search.across import TwoSides, similar_across
from auditor.search.all_pairs import EmbeddingReader, similar_rows
from auditor.search.annoy_index import TrackIndex
from auditor.search.exact import (
    MAX_PAIRS,
    PairHits,
    find_cross_pairs,
    n_pairs,
    named_histogram,
    nearest,
)
from auditor.search.vectors import rounding_margin, row_scores
from auditor.workspace import Workspace

if TYPE_CHECKING:
    from auditor.embedding.extractor import Extractor

N_SAMPLE = 1000
"""Tracks whose pairs are all compared to estimate the recall of candidate pairs."""


class Candidates(NamedTuple):
    """Candidate pairs: (n_candidates,) int64 rows a < b, unique and sorted, and their scores.

    ``scores`` is float32 and exact; ``recall`` the estimated share of the pairs at or above the
    threshold that are among them, None when the sample holds no such pair.
    """

    rows_a: np.ndarray
    rows_b: np.ndarray
    scores: np.ndarray
    recall: float | None


def candidate_pairs(
    index: TrackIndex,
    *,
    threshold: float,
    top: int = 20,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Candidates:
    """Return the pairs of each track with its ``top`` nearest ones, whatever their score.

    Parameters
    ----------
    index : TrackIndex
        The catalogue.
    threshold : float
        In [-1, 1]; only for the estimate of recall, made on a random sample of tracks.
    top : int
        Neighbours asked for each track.
    seed : int
        Of the sample.
    on_progress : callable, optional
        Called with the tracks done and the tracks in all.

    Returns
    -------
    Candidates

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    if not -1 <= threshold <= 1 or top < 1:
        raise ValueError(f"threshold is {threshold} and top {top}; -1 to 1 and at least 1")
    n, embeddings = len(index), index.embeddings
    keys, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for row in range(n):
        rows, found = index.nearest_rows(embeddings[row], top, np.array([row]))
        keys.append(np.minimum(rows, row) * n + np.maximum(rows, row))
        scores.append(found)
        if on_progress is not None:
            on_progress(row + 1, n)
    pairs, first = np.unique(np.concatenate(keys), return_index=True)
    n_true = n_found = 0
    low = threshold - rounding_margin(embeddings.shape[1])
    sample = np.random.default_rng(seed).choice(n, min(N_SAMPLE, n), replace=False)
    for part in np.split(sample, range(32, len(sample), 32)):
        for row, products in zip(part, embeddings[part] @ embeddings.T, strict=True):
            near = np.flatnonzero(products >= low)
            near = near[near != row]
            exact = row_scores(embeddings[near], embeddings[row])
            near = near[exact.astype(np.float64) >= threshold]
            wanted = np.minimum(near, row) * n + np.maximum(near, row)
            n_true += len(wanted)
            # pairs are unique and sorted: one that is held lies between two positions.
            held = np.searchsorted(pairs, wanted, "right") > np.searchsorted(pairs, wanted, "left")
            n_found += int(np.count_nonzero(held))
    recall = n_found / n_true if n_true else None
    return Candidates(pairs // max(n, 1), pairs % max(n, 1), np.concatenate(scores)[first], recall)


N_CANDIDATES = 50
"""Neighbours that the index is asked for, for each track."""


@dataclass(frozen=True)
class Similar:
    """Pairs by the cosine of their embeddings, best first; arrays of one length, (n,).

    Attributes
    ----------
    rows_a, rows_b : numpy.ndarray
        int64; in a search for submissions ``rows_a`` are those of the queries.
    scores : numpy.ndarray
        float32.
    n_compared : int
        Pairs whose score was computed.
    recall : float or None
        Estimated share of the true pairs that an index proposed; None for the exact search.
    histogram : dict
        ``edges`` and ``counts`` of all scores; empty where not all were computed.
    left_out : str
        How many pairs beyond ``MAX_PAIRS`` reach the threshold, as a sentence; empty if none does.
    """

    rows_a: np.ndarray
    rows_b: np.ndarray
    scores: np.ndarray
    n_compared: int
    recall: float | None = None
    histogram: dict[str, tuple[float, ...]] = field(default_factory=dict)
    left_out: str = ""


def similar_pairs(
    workspace: Workspace,
    ids: list[str],
    embeddings: np.ndarray,
    *,
    threshold: float,
    search: str,
    tiles: Tiles,
    reader: EmbeddingReader,
) -> Similar:
    """Return every pair of the catalogue at or above a threshold.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing: its index is brought up to date.
    ids, embeddings : list of str, numpy.ndarray
        Of the catalogue; (n, n_dims) float32.
    threshold : float
    search : "exact" or "annoy"
    tiles, reader : Tiles, EmbeddingReader
        Where the exact search is done.

    Raises
    ------
    AuditError
        If the index cannot be used.
    """
    if len(ids) < 2:
        none = np.zeros(0, np.int64)
        return Similar(none, none, np.zeros(0, np.float32), 0)
    index = track_index(workspace, ids, embeddings)
    if search == "exact":
        hits = similar_rows(tiles, reader, len(ids), threshold, max_pairs=MAX_PAIRS)
        histogram = named_histogram(hits.histogram)
        return Similar(
            *(hits.rows_a, hits.rows_b, hits.scores, n_pairs(len(ids))),
            histogram=histogram,
            left_out=left_out_note(hits.n_left_out, len(hits.scores), threshold),
        )
    found = candidate_pairs(index, threshold=threshold, top=min(N_CANDIDATES, len(ids) - 1))
    kept = found.scores.astype(np.float64) >= threshold
    n_left_out = max(0, int(np.count_nonzero(kept)) - MAX_PAIRS)
    order = np.lexsort((found.rows_b[kept], found.rows_a[kept], -found.scores[kept]))[:MAX_PAIRS]
    rows_a, rows_b, scores = (
        values[kept][order] for values in (found.rows_a, found.rows_b, found.scores)
    )
    note = left_out_note(n_left_out, len(scores), threshold, at_least=True)
    return Similar(rows_a, rows_b, scores, len(found.scores), found.recall, left_out=note)


def similar_tracks(
    workspace: Workspace,
    queries: np.ndarray,
    own_rows: list[int],
    ids: list[str],
    embeddings: np.ndarray,
    *,
    threshold: float | np.ndarray,
    search: str,
) -> Similar:
    """Return for each query the tracks at or above a threshold, and the nearest one below it.

    Parameters
    ----------
    queries : numpy.ndarray
        (n_queries, n_dims) float32, unit norm.
    own_rows : list of int
        Row of the track that a query itself is, which is left out; -1 where it is none.
    threshold : float or numpy.ndarray
        Of all queries, or (n_queries,) one of each.
    search : "exact" or "annoy"
    """
    thresholds = np.broadcast_to(np.asarray(threshold, np.float64), len(queries))
    lowest = float(thresholds.min(initial=1.0))
    if search == "exact":
        reaching = find_cross_pairs(
            queries, embeddings, lowest, max_pairs=MAX_PAIRS, histogram=False
        )
        if reaching.n_left_out:
            return _best_of_all(queries, own_rows, embeddings, reaching, thresholds)
        top = (
            int(np.bincount(reaching.rows_a, minlength=1).max()) + 2
        )  # itself, and the first below
        rows, scores = nearest(queries, embeddings, min(len(ids), top))
        ranked: list[list[tuple[int, float]]] = [
            list(zip(*found, strict=True)) for found in zip(rows, scores, strict=True)
        ]
        n_compared = len(queries) * len(ids) - sum(row >= 0 for row in own_rows)
        recall = None
    else:
        index = track_index(workspace, ids, embeddings)
        ranked = index.query(queries, min(N_CANDIDATES + 1, len(ids)))
        n_compared = sum(
            row != itself for hits, itself in zip(ranked, own_rows, strict=True) for row, _ in hits
        )
        recall = index.recall()
    kept: list[tuple[int, int, float]] = []
    for query, (itself, hits) in enumerate(zip(own_rows, ranked, strict=True)):
        for row, score in hits:
            if row == itself:
                continue
            kept.append((query, int(row), float(score)))
            if float(score) < thresholds[query]:
                break
    return Similar(
        np.asarray([a for a, _, _ in kept], np.int64),
        np.asarray([b for _, b, _ in kept], np.int64),
        np.asarray([score for _, _, score in kept], np.float32),
        n_compared,
        recall,
    )


def _best_of_all(
    queries: np.ndarray,
    own_rows: list[int],
    embeddings: np.ndarray,
    reaching: PairHits,
    thresholds: np.ndarray,
) -> Similar:
    """Return the best pairs of submissions where more reach the threshold than are held.

    A submission that has none of them gets its nearest track, as ever.
    """
    own = np.asarray(own_rows, np.int64)
    strange = reaching.rows_b != own[reaching.rows_a]
    n_strange = int(np.count_nonzero(strange))
    strange &= reaching.scores.astype(np.float64) >= thresholds[reaching.rows_a]
    rows_a, rows_b, scores = (
        column[strange] for column in (reaching.rows_a, reaching.rows_b, reaching.scores)
    )
    n_own = int(np.count_nonzero(own >= 0))
    n_left_out = len(reaching.scores) + reaching.n_left_out - n_own - n_strange
    note = left_out_note(max(0, n_left_out), len(scores), float(thresholds.min()))
    without = np.setdiff1d(np.arange(len(queries)), rows_a)
    near, near_scores = nearest(queries[without], embeddings, min(2, len(embeddings)))
    place = (near == own[without, None])[:, :1].astype(np.int64)  # itself may be the first
    known = place[:, 0] < near.shape[1]
    without, place = without[known], place[known]
    rows_a = np.concatenate([rows_a, without])
    rows_b = np.concatenate([rows_b, np.take_along_axis(near[known], place, 1)[:, 0]])
    scores = np.concatenate([scores, np.take_along_axis(near_scores[known], place, 1)[:, 0]])
    order = np.lexsort((rows_b, -scores, rows_a))
    n_compared = len(queries) * len(embeddings) - n_own
    return Similar(*(rows_a[order], rows_b[order], scores[order], n_compared), left_out=note)


def left_out_note(n_left_out: int, n_kept: int, threshold: float, *, at_least: bool = False) -> str:
    """Return how many pairs are not listed, as a sentence; empty if all are.

    Examples
    --------
    >>> left_out_note(4449, 200_000, 0.5)
    'The best 200,000 pairs are listed; 4,449 more score 0.5 or above.'
    """
    if n_left_out == 0:
        return ""
    more = f"{'at least ' if at_least else ''}{n_left_out:,}"
    return f"The best {n_kept:,} pairs are listed; {more} more score {threshold:g} or above."


class Scorer:
    """See ``scoring.base.Scorer``.

    Parameters
    ----------
    workspace : Workspace
    """

    id: ClassVar[str] = "cosine/1"
    lowest: ClassVar[float] = -1.0
    similarity: ClassVar[str] = ""
    max_calibrated: ClassVar[int | None] = None
    asks_wide: ClassVar[bool] = False

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @property
    def weights_id(self) -> str:
        """See ``scoring.base.Scorer``."""
        return self._workspace.weights_id

    @staticmethod
    def fits(extractor: Extractor) -> bool:
        """Return True: every track has an embedding."""
        return True

    def scan(
        self,
        ids: list[str],
        embeddings: np.ndarray,
        tracks: Mapping[str, Track],
        *,
        run: RunContext,
        tiles: Tiles,
        on_pair: OnProgress | None = None,
    ) -> ScoringResult:
        """See ``scoring.base.Scorer``."""
        reader = tiles.publish(
            CatalogueReader.of(self._workspace, (ids, embeddings)), with_excerpts=False
        )
        found = similar_pairs(
            self._workspace,
            ids,
            embeddings,
            threshold=run.use.threshold,
            search=run.search,
            tiles=tiles,
            reader=reader,
        )
        return self._scored(found, ids, ids, tracks, run)

    def compare(
        self,
        ids: list[str],
        embeddings: np.ndarray,
        tracks: Mapping[str, Track],
        *,
        sides: TwoSides,
        run: RunContext,
        tiles: Tiles,
        by_spectra: Sequence[TwoSides] = (),
        on_pair: OnProgress | None = None,
    ) -> ScoringResult:
        """See ``scoring.base.Scorer``."""
        own = CatalogueReader.of(self._workspace, (ids, embeddings))
        reader = tiles.publish(own, with_excerpts=False)
        hits = similar_across(tiles, reader, sides, run.use.threshold, max_pairs=MAX_PAIRS)
        found = Similar(
            *(hits.rows_a, hits.rows_b, hits.scores, sides.n_pairs),
            histogram=named_histogram(hits.histogram),
            left_out=left_out_note(hits.n_left_out, len(hits.scores), run.use.threshold),
        )
        return self._scored(found, ids, ids, tracks, run)

    def check(
        self,
        submissions: Sequence[Submission],
        table: TrackTable,
        tracks: Mapping[str, Track],
        *,
        run: RunContext,
    ) -> ScoringResult:
        """See ``scoring.base.Scorer``."""
        ids = table.tracks.names()
        found = similar_tracks(
            self._workspace,
            np.stack([submission.embedding for submission in submissions]),
            [table.tracks.row_of(submission.own_id) for submission in submissions],
            ids,
            table.embeddings,
            threshold=np.array([run.of(s.track.id).use.threshold for s in submissions]),
            search=run.search,
        )
        return self._scored(found, [s.track.id for s in submissions], ids, tracks, run)

    def judge(self, pair: ScoredPair, tracks: Mapping[str, Track], run: RunContext) -> Pair:
        """See ``scoring.base.Scorer``; there is no verdict but the flag."""
        return Pair(
            pair.a,
            pair.b,
            pair.score,
            identical_file=tracks[pair.a].sha256 == tracks[pair.b].sha256,
            flagged=pair.score >= run.use.threshold,
            similarity=pair.similarity,
        )

    def pair(self, a: Side, b: Side) -> ScoredPair:
        """See ``scoring.base.Scorer``; both sides need their embedding."""
        if a.embedding is None or b.embedding is None:
            raise ValueError("a cosine needs the embeddings of both sides")
        score = float(a.embedding @ b.embedding)
        return ScoredPair(a.id, b.id, score, None, score)

    def side(self, track_id: str) -> Side:
        """See ``scoring.base.Scorer``."""
        return _side(track_id, self._embedding_of[track_id])

    def side_of_copy(
        self, copy: TrackEmbedding, *, duration_s: float, spectrum: np.ndarray | None
    ) -> Side:
        """See ``scoring.base.Scorer``."""
        return _side("", copy.embedding)

    def matrix(
        self,
        ids: Sequence[str],
        *,
        wanted: np.ndarray | None = None,
        tiles: Tiles | None = None,
        on_pair: OnProgress | None = None,
    ) -> tuple[np.ndarray, dict[tuple[str, str], Evidence]]:
        """See ``scoring.base.Scorer``."""
        rows = np.stack([self._embedding_of[track_id] for track_id in ids])
        # float64, so that a threshold just above a score is not rounded down onto it.
        return (rows @ rows.T).astype(np.float64), {}

    @functools.cached_property
    def _embedding_of(self) -> dict[str, np.ndarray]:
        ids, embeddings = self._workspace.catalogue.embeddings(self._workspace.weights_id)
        return dict(zip(ids, embeddings, strict=True))

    def _scored(
        self,
        found: Similar,
        ids_a: Sequence[str],
        ids_b: Sequence[str],
        tracks: Mapping[str, Track],
        run: RunContext,
    ) -> ScoringResult:
        pairs = [
            self.judge(
                ScoredPair(ids_a[a], ids_b[b], float(score), None, float(score)),
                tracks,
                run.of(ids_a[a]),
            )
            for a, b, score in zip(found.rows_a, found.rows_b, found.scores, strict=True)
        ]
        return ScoringResult(
            pairs,
            found.n_compared,
            found.recall,
            found.histogram,
            cosines=found.histogram,
            similar_from=run.use.threshold,
            left_out=found.left_out,
        )


def _side(track_id: str, embedding: np.ndarray) -> Side:
    return Side(track_id, "", 0.0, windows=lambda: None, frames=lambda: None, embedding=embedding)
