"""Pairs that the second witness decides on: candidates, evidence, spectra, the match score.

Candidates are what either witness proposes: the tracks nearest by embedding and those that the
excerpt index votes for (``auditor.search.excerpts.index``); in a check also the track of the same
bytes.  Each is then examined exactly; no score comes from an index.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from auditor.catalogue.embedding_table import TrackTable
from auditor.errors import CatalogueError, IndexFileError, show_path
from auditor.evidence.match_score import (
    LOWEST_THRESHOLD,
    MIN_SCORE_TO_CONFIRM,
    MIN_SCORE_TO_SHOW,
    match_score,
)
from auditor.evidence.side import Side, compare_sides
from auditor.ingest.submissions import Submission
from auditor.parallel import LocalTiles, OnProgress, Tiles
from auditor.records import Evidence, Pair, Track, TrackEmbedding, Verdict, floor_rate
from auditor.scoring.base import RunContext, ScoredPair, ScoringResult
from auditor.scoring.candidates import distinct_pairs, voted_across, voted_pairs, with_rows
from auditor.scoring.examine import (
    Candidate,
    Examination,
    ExaminationTile,
    Limits,
    examine_pairs,
    examine_tiles,
    merge_examinations,
)
from auditor.scoring.examined import ExaminedPairs, PairKeys, sides_of
from auditor.scoring.hearings import best_of_ways, ways_of
from auditor.scoring.spectral_candidates import spectral_across
from auditor.scoring.track_reader import CatalogueReader, TrackReader, track_index
from auditor.scoring.verdict import decide_verdict
from auditor.search.across import TwoSides, nearest_across, similar_across
from auditor.search.all_pairs import nearest_rows, similar_rows
from auditor.search.exact import named_histogram, nearest
from auditor.search.excerpts.index import ExcerptSearch
from auditor.search.vectors import exact_scores
from auditor.workspace import Workspace

if TYPE_CHECKING:
    from auditor.embedding.extractor import Extractor

N_NEAREST = 5
"""Candidates of each track by embedding."""

N_EXCERPT = 10
"""Candidates by excerpt of each track of a scan."""

N_CHECKED, CHECKED_S, MAX_CHECKED = 12, 240.0, 120
"""Candidates by excerpt of a submission of up to so many seconds; longer ones have more by their
length, for a mix holds many tracks, up to the last number, that of 40 minutes."""

BLOCK_TRACKS, BLOCK_S = 16, 7200.0
"""Tracks of a block of a matrix, and seconds of them: two blocks are compared at once, and what is
prepared of their tracks is kept."""

MAX_UNCOVERED_TRACKS = 2000
"""Tracks that an excerpt index may lack; a check examines them one by one."""


def examine_catalogue(
    workspace: Workspace,
    ids: list[str],
    embeddings: np.ndarray,
    *,
    limits: Limits,
    tiles: Tiles,
    reader: TrackReader,
    search: str = "exact",
    on_pair: OnProgress | None = None,
) -> Examination:
    """Examine the candidate pairs of a whole catalogue.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    ids, embeddings : list of str, numpy.ndarray
        Of one track of each content; (n, n_dims) float32.
    limits : Limits
    tiles, reader : Tiles, TrackReader
        Where the work is done, and what it reads.
    search : "exact" or "annoy"
        How the nearest embeddings are found.
    on_pair : callable, optional
        Called with the candidates examined and all of them.

    Raises
    ------
    AuditError
        If a part of the workspace is damaged.
    """
    n = len(ids)
    if n < 2:
        return Examination()
    weights_id = workspace.weights_id
    with ExaminedPairs.opened(
        workspace.directory, weights_id, writable=workspace.writable
    ) as examined:
        if isinstance(reader, CatalogueReader):  # the processes of the tiles may not write
            reader.store_spectra(ids)
        table = workspace.catalogue.table(weights_id).distinct()
        keys = pair_keys(workspace, table, shown_from=limits.shown_from)
        state = keys.catalogue(search, N_NEAREST, N_EXCERPT, index_files(workspace))
        rows = examined.candidates(state, n)
        if rows is None:
            top = min(N_NEAREST + 1, n)
            if search == "exact":
                near = nearest_rows(tiles, reader, n, top=top)
            else:
                hits = track_index(workspace, ids, embeddings).query(embeddings, top)
                near = np.array([[row for row, _ in found] for found in hits], np.int64)
            voted = voted_pairs(tiles, reader, n, top=N_EXCERPT)
            rows = distinct_pairs(n, with_rows(near), voted)
            examined.keep_candidates(state, rows)
        return _examine_rows(
            rows,
            ids,
            embeddings,
            limits=limits,
            tiles=tiles,
            reader=reader,
            on_pair=on_pair,
            examined=examined,
            keys=keys,
        )


def examine_across(
    ids: list[str],
    embeddings: np.ndarray,
    sides: TwoSides,
    *,
    limits: Limits,
    tiles: Tiles,
    reader: TrackReader,
    by_spectra: Sequence[TwoSides] = (),
    on_pair: OnProgress | None = None,
) -> Examination:
    """Examine the candidate pairs of two sides of a catalogue, the left track first.

    Each track of either side proposes tracks of the other: a track that has many copies there is
    the nearest one to each of them.  The left tracks of ``by_spectra`` also propose tracks on their
    right by their spectra; pairs that are not across ``sides`` are not meant to be there.  Other
    parameters and errors are those of ``examine_catalogue``.
    """
    if not sides.n_pairs:
        return Examination()
    ways = sides.both_ways
    near = [nearest_across(tiles, reader, way, top=N_NEAREST) for way in ways]
    voted = [voted_across(tiles, reader, way, top=N_EXCERPT) for way in ways]
    if isinstance(reader, CatalogueReader):  # the processes of the tiles may not write
        asked = [np.flatnonzero(mask) for way in by_spectra for mask in way.masks]
        reader.store_spectra(
            ids[row] for row in np.unique(np.concatenate([[], *asked])).astype(int)
        )
    spectral = [spectral_across(tiles, reader, way) for way in by_spectra]
    rows = sides.orient(distinct_pairs(len(ids), *near, *voted, *spectral))
    return _examine_rows(
        rows, ids, embeddings, limits=limits, tiles=tiles, reader=reader, on_pair=on_pair
    )


def _examine_rows(
    rows: np.ndarray,
    ids: list[str],
    embeddings: np.ndarray,
    *,
    limits: Limits,
    tiles: Tiles,
    reader: TrackReader,
    on_pair: OnProgress | None,
    examined: ExaminedPairs | None = None,
    keys: PairKeys | None = None,
) -> Examination:
    """Examine pairs of rows, (n_pairs, 2) int64, sorted."""
    similarities = exact_scores(embeddings, rows[:, 0], rows[:, 1], others=embeddings)
    if isinstance(reader, CatalogueReader):  # the processes of the tiles may not write
        reader.store_spectra(ids[row] for row in np.unique(rows).tolist())
    candidates = [
        (ids[a], ids[b], similarity)
        for (a, b), similarity in zip(rows.tolist(), similarities.tolist(), strict=True)
    ]
    return examine_tiles(
        tiles,
        reader,
        candidates,
        limits=limits,
        on_pair=on_pair,
        examined=examined,
        keys=[] if keys is None else [keys(a, b) for a, b, _ in candidates],
    )


def pair_keys(workspace: Workspace, table: TrackTable, *, shown_from: float) -> PairKeys:
    """Return the keys of what is found of pairs of a catalogue (``examined.PairKeys``).

    Parameters
    ----------
    workspace : Workspace
    table : TrackTable
        Of the tracks that are compared.
    shown_from : float
        See ``Limits``.
    """
    settings = f"{Scorer.id}|{workspace.weights_id}|{shown_from}"
    settings += f"|{workspace.hop_s}|{workspace.window_s}"
    return PairKeys(settings, sides_of(table, workspace.catalogue.spectra()))


def index_files(workspace: Workspace) -> list[tuple[str, int]]:
    """Return the files of the indexes with their sizes: candidates follow from what they hold."""
    root = workspace.index_directory
    files = (path for path in root.rglob("*") if path.is_file()) if root.is_dir() else ()
    return sorted((path.relative_to(root).as_posix(), path.stat().st_size) for path in files)


def n_checked(duration_s: float) -> int:
    """Return how many candidates by excerpt a submission of so many seconds has.

    Examples
    --------
    >>> n_checked(30.0), n_checked(240.0), n_checked(300.0), n_checked(1200.0), n_checked(36_000.0)
    (12, 12, 15, 60, 120)
    """
    return min(max(N_CHECKED, math.ceil(N_CHECKED * duration_s / CHECKED_S)), MAX_CHECKED)


def examine_submissions(
    reader: CatalogueReader,
    queries: Sequence[Submission],
    *,
    shown_from: float | Mapping[str, float] = MIN_SCORE_TO_SHOW,
    wide_costs: Mapping[str, float] | None = None,
) -> Examination:
    """Examine the candidates of submissions; at least one of each is kept.

    Parameters
    ----------
    reader : CatalogueReader
        Its workspace may be open for reading only.
    queries : sequence of Submission
    shown_from : float, or mapping of id to float
        See ``Limits``; one for all submissions, or one for each.
    wide_costs : mapping of id to float, optional
        What is taken off scores that a submission reaches as it was heard otherwise, or by a
        passage of seconds.

    Raises
    ------
    IndexFileError
        If the excerpt index lacks more than ``MAX_UNCOVERED_TRACKS`` tracks.
    """
    table = reader.table
    index, _ = reader.excerpts()
    if len(index.uncovered) > MAX_UNCOVERED_TRACKS:
        raise IndexFileError(
            f"{show_path(reader.index_directory)}: the excerpt index lacks "
            f"{len(index.uncovered):,} tracks. Bring it up to date with: audit scan"
        )
    row_of, id_of = table.tracks.row_of, table.tracks.id_of
    uncovered = {row_of(track_id) for track_id in index.uncovered}
    top = min(N_NEAREST + 1, len(table.tracks))  # one of them may be the submission itself
    ways = [(query, way) for query in queries for way in ways_of(query)]
    near, _ = nearest(np.stack([way.embedding for _, way in ways]), table.embeddings, top)
    candidates: dict[float, list[Candidate]] = {}  # by what is shown of them
    for (submission, query), rows in zip(ways, near, strict=True):
        found = index.candidates(
            query.dvectors,
            levels=query.levels,
            exclude=query.own_id or None,
            search=ExcerptSearch(top=n_checked(query.track.duration_s)),
        )
        own = row_of(query.own_id)
        proposed = set([row for row in rows.tolist() if row != own][:N_NEAREST])
        proposed |= {row_of(hit.track_id) for hit in found}
        proposed |= uncovered | set(table.rows_of_content(query.track.sha256).tolist())
        proposed.discard(own)
        wanted = np.asarray(sorted(proposed), np.int64)
        similarities = exact_scores(
            query.embedding[None], np.zeros(len(wanted), np.int64), wanted, others=table.embeddings
        )
        name = submission.track.id
        shown = shown_from if isinstance(shown_from, float) else shown_from[name]
        candidates.setdefault(shown, []).extend(
            (query.track.id, id_of(row), similarity)
            for row, similarity in zip(wanted, similarities.tolist(), strict=True)
        )
    examiner = reader.examiner
    by_id = {way.track.id: way for _, way in ways}
    costs = wide_costs or {}
    brief_costs = {q.track.id: costs.get(q.track.id, 0.0) for q in queries if q.hearings}

    @functools.lru_cache(maxsize=1)  # candidates are sorted by submission
    def submitted(query_id: str) -> Side:
        query = by_id[query_id]
        duration_s = query.track.duration_s
        return Side(
            query_id,
            query.track.sha256,
            duration_s,
            windows=lambda: examiner.prepare(query.dvectors, query.levels, duration_s),
            frames=lambda: query.spectrum,
            brief_cost=brief_costs.get(query_id),
        )

    with threadpool_limits(1, user_api="blas"):  # products of a pair are too small to share
        examined = merge_examinations(
            examine_pairs(
                part,
                lambda name: submitted(name) if name in by_id else reader.side(name),
                examiner,
                limits=Limits(shown_from=shown),
            )
            for shown, part in candidates.items()
        )
    pairs = best_of_ways(examined.pairs, queries, costs)
    return dataclasses.replace(examined, pairs=pairs, n_compared=len(pairs))


class Scorer:
    """See ``scoring.base.Scorer``.

    Parameters
    ----------
    workspace : Workspace
    """

    id: ClassVar[str] = "match/1"
    lowest: ClassVar[float] = LOWEST_THRESHOLD
    similarity: ClassVar[str] = "cosine/1"
    max_calibrated: ClassVar[int | None] = 300
    asks_wide: ClassVar[bool] = True

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @property
    def weights_id(self) -> str:
        """See ``scoring.base.Scorer``."""
        return self._workspace.weights_id

    @staticmethod
    def fits(extractor: Extractor) -> bool:
        """Say whether d-vectors tell what is played when, so that they can be aligned.

        Those of an extractor that was trained on excerpts do; others only tell tracks or genres
        apart.
        """
        return extractor.summary.get("classes") == "excerpt"

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
        """See ``scoring.base.Scorer``; the excerpt index is brought up to date first."""
        own = CatalogueReader.of(self._workspace, (ids, embeddings))
        own.excerpts()
        reader = tiles.publish(own, with_excerpts=True)
        similar_from = run.similar_from
        found = examine_catalogue(
            self._workspace,
            ids,
            embeddings,
            limits=Limits(similar_from, min(MIN_SCORE_TO_SHOW, run.use.threshold)),
            tiles=tiles,
            reader=reader,
            search=run.search,
            on_pair=on_pair,
        )
        judged = (self.judge(pair, tracks, run) for pair in found.pairs)
        return ScoringResult(
            [pair for pair in judged if pair.verdict != Verdict.CLEAR],
            found.n_compared,
            histogram=found.histogram,
            examined=_scores(found.pairs),
            cosines=_cosines(tiles, reader, len(ids)) if run.search == "exact" else {},
            similar_from=similar_from,
            damaged=found.damaged,
        )

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
        """See ``scoring.base.Scorer``; the excerpt index is brought up to date first."""
        own = CatalogueReader.of(self._workspace, (ids, embeddings))
        own.excerpts()
        reader = tiles.publish(own, with_excerpts=True)
        similar_from = run.similar_from
        found = examine_across(
            ids,
            embeddings,
            sides,
            limits=Limits(similar_from, min(MIN_SCORE_TO_SHOW, run.use.threshold)),
            tiles=tiles,
            reader=reader,
            by_spectra=by_spectra,
            on_pair=on_pair,
        )
        judged = (self.judge(pair, tracks, run) for pair in found.pairs)
        return ScoringResult(
            [pair for pair in judged if pair.verdict != Verdict.CLEAR],
            found.n_compared,
            histogram=found.histogram,
            examined=_scores(found.pairs),
            cosines=named_histogram(similar_across(tiles, reader, sides, 1.0).histogram),
            similar_from=similar_from,
            damaged=found.damaged,
        )

    def check(
        self,
        submissions: Sequence[Submission],
        table: TrackTable,
        tracks: Mapping[str, Track],
        *,
        run: RunContext,
    ) -> ScoringResult:
        """See ``scoring.base.Scorer``."""
        shown_from = {
            s.track.id: min(MIN_SCORE_TO_SHOW, run.of(s.track.id).use.threshold)
            for s in submissions
        }
        found = examine_submissions(
            CatalogueReader.of(self._workspace, table=table),
            submissions,
            shown_from=shown_from,
            wide_costs={s.track.id: run.of(s.track.id).wide_cost for s in submissions},
        )
        judged = [self.judge(pair, tracks, run.of(pair.a)) for pair in found.pairs]
        # Of one heard in several ways each pair is there as often, which nothing was calibrated on.
        as_they_are = not any(s.hearings for s in submissions)
        return ScoringResult(
            _with_nearest(judged),
            found.n_compared,
            histogram=found.histogram if as_they_are else {},
            examined=_scores(found.pairs) if as_they_are else (),
            damaged=found.damaged,
        )

    def judge(self, pair: ScoredPair, tracks: Mapping[str, Track], run: RunContext) -> Pair:
        """See ``scoring.base.Scorer``; the rules are those of ``scoring.verdict``."""
        if pair.evidence is None:
            raise ValueError("a match needs evidence")
        identical = tracks[pair.a].sha256 == tracks[pair.b].sha256
        verdict = decide_verdict(
            pair.evidence,
            score=pair.score,
            threshold=run.use.threshold,
            identical_file=identical,
            similarity=pair.similarity,
            similar_from=run.similar_from,
        )
        return Pair(
            pair.a,
            pair.b,
            pair.score,
            identical_file=identical,
            flagged=verdict.flagged,
            similarity=pair.similarity,
            far=floor_rate(run.threshold.far_at(pair.score, run.use)),
            verdict=verdict,
            evidence=pair.evidence,
        )

    def pair(self, a: Side, b: Side) -> ScoredPair:
        """See ``scoring.base.Scorer``; ranges are kept from the lowest score a threshold may be."""
        evidence = compare_sides(self._reader.examiner, a, b, shown_from=MIN_SCORE_TO_CONFIRM)
        return ScoredPair(a.id, b.id, -1.0, evidence, match_score(evidence))

    def side(self, track_id: str) -> Side:
        """See ``scoring.base.Scorer``."""
        return self._reader.side(track_id)

    def side_of_copy(
        self, copy: TrackEmbedding, *, duration_s: float, spectrum: np.ndarray | None
    ) -> Side:
        """See ``scoring.base.Scorer``."""
        examiner = self._reader.examiner
        return Side(
            "",
            "",
            duration_s,
            windows=lambda: examiner.prepare(copy.dvectors, copy.levels, duration_s),
            frames=lambda: spectrum,
        )

    def matrix(
        self,
        ids: Sequence[str],
        *,
        wanted: np.ndarray | None = None,
        tiles: Tiles | None = None,
        on_pair: OnProgress | None = None,
    ) -> tuple[np.ndarray, dict[tuple[str, str], Evidence]]:
        """See ``scoring.base.Scorer``; a pair takes milliseconds."""
        n = len(ids)
        wanted = np.triu(np.ones((n, n), bool) if wanted is None else wanted, 1)
        self._reader.store_spectra(ids)  # the processes of the tiles may not write
        row_of = {track_id: row for row, track_id in enumerate(ids)}
        parts = list(_matrix_parts(ids, wanted, self._reader))
        scores, evidence, n_done = np.eye(n), {}, 0
        if on_pair is not None:
            on_pair(0, int(wanted.sum()))
        work = MatrixTile(self._reader, Limits(shown_from=MIN_SCORE_TO_CONFIRM))
        for found in (tiles or LocalTiles()).map(work, parts):
            for pair in found.pairs:
                i, j = row_of[pair.a], row_of[pair.b]
                scores[i, j] = scores[j, i] = pair.score
                if pair.evidence is not None and pair.evidence.ranges:
                    evidence[pair.a, pair.b] = pair.evidence
            for problem in found.damaged.values():
                raise CatalogueError(problem)
            n_done += found.n_compared
            if on_pair is not None:
                on_pair(n_done, int(wanted.sum()))
        return scores, evidence

    @functools.cached_property
    def _reader(self) -> CatalogueReader:
        return CatalogueReader.of(self._workspace)


@dataclass(frozen=True)
class MatrixTile(ExaminationTile):
    """Compares some pairs of few tracks, each of which is prepared once."""

    def __call__(self, part: Sequence[Candidate]) -> Examination:
        """Return what was found of some pairs."""
        side = functools.cache(self.reader.side)
        return examine_pairs(part, side, self.reader.examiner, limits=self.limits)


def _matrix_parts(
    ids: Sequence[str], wanted: np.ndarray, reader: TrackReader
) -> Iterator[list[Candidate]]:
    """Yield the wanted pairs of rows, (n, n) bool above the diagonal, block by block."""
    starts, length_s = [0], 0.0
    for row, track_id in enumerate(ids):
        length_s += reader.content(track_id).duration_s
        if row > starts[-1] and (row - starts[-1] >= BLOCK_TRACKS or length_s > BLOCK_S):
            starts.append(row)
            length_s = reader.content(track_id).duration_s
    blocks = [range(a, b) for a, b in pairwise([*starts, len(ids)])]
    for place, rows in enumerate(blocks):
        for columns in blocks[place:]:
            inside = np.argwhere(wanted[rows.start : rows.stop, columns.start : columns.stop])
            if len(inside):
                yield [
                    (ids[rows.start + a], ids[columns.start + b], -1.0) for a, b in inside.tolist()
                ]


def _cosines(tiles: Tiles, reader: TrackReader, n: int) -> dict[str, tuple[float, ...]]:
    """Return the histogram of all cosines."""
    return named_histogram(similar_rows(tiles, reader, n, 1.0).histogram)


def _scores(pairs: Sequence[ScoredPair]) -> tuple[tuple[str, str, float], ...]:
    """Return ids and scores of the pairs of which something matches."""
    return tuple((p.a, p.b, p.score) for p in pairs if p.score >= MIN_SCORE_TO_CONFIRM)


def _with_nearest(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs that are not clear, and the best clear one of each submission."""
    kept: list[Pair] = []
    seen: set[str] = set()
    for pair in pairs:
        if pair.verdict != Verdict.CLEAR:
            kept.append(pair)
        elif pair.a not in seen:
            seen.add(pair.a)
            kept.append(pair)
    return sorted(kept, key=lambda pair: (pair.a, -pair.score, pair.b))
