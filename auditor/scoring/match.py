"""Pairs that the second witness decides on: candidates, evidence, spectra, the match score.

Candidates are what either witness proposes: the tracks nearest by embedding, those that the excerpt
index votes for (``auditor.search.excerpts.index``), and files of the same bytes.  Each is then
examined exactly; no score comes from an index.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from auditor.catalogue.embedding_table import TrackTable
from auditor.errors import IndexFileError, show_path
from auditor.evidence.alignment.ranges import WitnessTrack
from auditor.evidence.match_score import SHOWN_FROM
from auditor.parallel import Tiles
from auditor.records import Track
from auditor.scoring.candidates import distinct_pairs, same_bytes, voted_pairs, with_rows
from auditor.scoring.cosine import track_index
from auditor.scoring.examine import (
    Candidate,
    Examination,
    Limits,
    Progress,
    examine_pairs,
    examine_tiles,
)
from auditor.scoring.track_reader import CatalogueReader, Content, TrackReader
from auditor.search.all_pairs import nearest_rows
from auditor.search.exact import nearest
from auditor.search.excerpts.index import ExcerptSearch
from auditor.search.vectors import exact_scores
from auditor.workspace import Workspace

N_NEAREST = 5
"""Candidates of each track by embedding."""

N_EXCERPT = 10
"""Candidates by excerpt of each track of a scan."""

N_CHECKED, CHECKED_S, MAX_CHECKED = 12, 240.0, 120
"""Candidates by excerpt of a submission of up to so many seconds; longer ones have more by their
length, for a mix holds many tracks, up to the last number, that of 40 minutes."""

MAX_UNCOVERED = 2000
"""Tracks that an excerpt index may lack; a check examines them one by one."""


@dataclass(frozen=True)
class Query:
    """A submission as ``examine_submissions`` needs it.

    Attributes
    ----------
    track : Track
    embedding : numpy.ndarray
        (n_dims,) float32.
    dvectors, levels : numpy.ndarray
        (n_windows, n_dims) and (n_windows,).
    spectrum : numpy.ndarray or None
        (n_frames, n_bands) uint8.
    own_id : str
        The track of the catalogue that it is itself, which is left out; empty for none.
    """

    track: Track
    embedding: np.ndarray
    dvectors: np.ndarray
    levels: np.ndarray
    spectrum: np.ndarray | None
    own_id: str = ""


def publish_tracks(
    workspace: Workspace, ids: list[str], embeddings: np.ndarray, tiles: Tiles
) -> TrackReader:
    """Return what the tiles of a scan read, the excerpt index brought up to date before.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    ids, embeddings : list of str, numpy.ndarray
        Of the catalogue; (n, n_dims) float32.
    tiles : Tiles

    Raises
    ------
    IndexFileError
        If the index cannot be written.
    """
    reader = CatalogueReader.of(workspace, (ids, embeddings))
    if workspace.aligns:
        reader.excerpts()
    return tiles.publish(reader, with_excerpts=workspace.aligns)


def examine_catalogue(
    workspace: Workspace,
    ids: list[str],
    embeddings: np.ndarray,
    tracks: Mapping[str, Track],
    *,
    limits: Limits,
    tiles: Tiles,
    reader: TrackReader,
    search: str = "exact",
    on_pair: Progress | None = None,
) -> Examination:
    """Examine the candidate pairs of a whole catalogue.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    ids, embeddings : list of str, numpy.ndarray
        Of the catalogue; (n, n_dims) float32.
    tracks : mapping of id to Track
    limits : Limits
    tiles, reader : Tiles, TrackReader
        Where the work is done, and what ``publish_tracks`` returned.
    search : "exact" or "annoy"
        How the nearest embeddings are found.
    on_pair : callable, optional
        Called with the candidates examined and all of them.

    Raises
    ------
    AuditError
        If a part of the workspace is damaged, or there are too many copies of the same files.
    """
    n = len(ids)
    if n < 2:
        return Examination()
    identical = same_bytes([tracks[track_id].sha256 for track_id in ids])
    top = min(N_NEAREST + 1, n)
    if search == "exact":
        near = nearest_rows(tiles, reader, n, top=top)
    else:
        hits = track_index(workspace, ids, embeddings).query(embeddings, top)
        near = np.array([[row for row, _ in found] for found in hits], np.int64)
    voted = voted_pairs(tiles, reader, n, top=N_EXCERPT)
    rows = distinct_pairs(n, identical, with_rows(near), voted)
    similarities = exact_scores(embeddings, rows[:, 0], rows[:, 1], others=embeddings)
    if isinstance(reader, CatalogueReader):  # the processes of the tiles may not write
        reader.store_spectra(ids[row] for row in np.unique(rows).tolist())
    candidates = [
        (ids[a], ids[b], similarity)
        for (a, b), similarity in zip(rows.tolist(), similarities.tolist(), strict=True)
    ]
    return examine_tiles(tiles, reader, candidates, limits=limits, on_pair=on_pair)


def n_checked(duration_s: float) -> int:
    """Return how many candidates by excerpt a submission of so many seconds has.

    Examples
    --------
    >>> n_checked(30.0), n_checked(240.0), n_checked(300.0), n_checked(1200.0), n_checked(36_000.0)
    (12, 12, 15, 60, 120)
    """
    return min(max(N_CHECKED, math.ceil(N_CHECKED * duration_s / CHECKED_S)), MAX_CHECKED)


def examine_submissions(
    workspace: Workspace,
    queries: Sequence[Query],
    table: TrackTable,
    *,
    shown_from: float = SHOWN_FROM,
) -> Examination:
    """Examine the candidates of submissions; at least one of each is kept.

    Parameters
    ----------
    workspace : Workspace
        It may be open for reading only.
    queries : sequence of Query
    table : TrackTable
        Of the catalogue.
    shown_from : float
        See ``Limits``.

    Raises
    ------
    IndexFileError
        If the excerpt index lacks more than ``MAX_UNCOVERED`` tracks.
    """
    reader = CatalogueReader.of(workspace, table=table)
    index, _ = reader.excerpts()
    if len(index.uncovered) > MAX_UNCOVERED:
        raise IndexFileError(
            f"{show_path(workspace.index_directory)}: the excerpt index lacks "
            f"{len(index.uncovered):,} tracks. Bring it up to date with: audit scan"
        )
    row_of, id_of = table.tracks.row_of, table.tracks.id_of
    uncovered = {row_of(track_id) for track_id in index.uncovered}
    top = min(N_NEAREST + 1, len(table.tracks))  # one of them may be the submission itself
    near, _ = nearest(np.stack([query.embedding for query in queries]), table.embeddings, top)
    candidates: list[Candidate] = []
    for query, rows in zip(queries, near, strict=True):
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
        candidates += [
            (query.track.id, id_of(row), similarity)
            for row, similarity in zip(wanted, similarities.tolist(), strict=True)
        ]
    examiner = reader.examiner
    by_id = {query.track.id: query for query in queries}

    @functools.lru_cache(maxsize=1)
    def submitted(query_id: str) -> WitnessTrack | None:
        query = by_id[query_id]
        return examiner.prepare(query.dvectors, query.levels, query.track.duration_s)

    def content(name: str) -> Content:
        if name not in by_id:
            return reader.content(name)
        return Content(by_id[name].track.sha256, by_id[name].track.duration_s)

    with threadpool_limits(1, user_api="blas"):  # products of a pair are too small to share
        return examine_pairs(
            candidates,
            lambda a, b: examiner.evidence(submitted(a), examiner.track(b)),
            lambda name: by_id[name].spectrum if name in by_id else reader.spectrum(name),
            content,
            limits=Limits(shown_from=shown_from),
        )
