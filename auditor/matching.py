"""Pairs that the second witness decides on: candidates, evidence, spectra, the match score.

Candidates are what either witness proposes: the tracks nearest by embedding, those that the excerpt
index votes for (``auditor.excerpt_index``), and files of the same bytes.  Each is then examined
exactly; no score comes from an index.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auditor.confirm import confirm
from auditor.errors import IndexFileError, show_path
from auditor.excerpt_build import refresh_excerpts
from auditor.excerpt_index import ExcerptIndex, ExcerptSearch, ExcerptSource, open_excerpts
from auditor.excerpt_pairs import excerpt_pairs
from auditor.match_score import CONFIRM_FROM, SHOWN_FROM, match_score
from auditor.pairs import MAX_PAIRS, histogram_edges, nearest, too_many_pairs
from auditor.records import Evidence, MatchedRange, Track
from auditor.search import (
    catalogue_examiner,
    catalogue_spectra,
    named_histogram,
    track_index,
)
from auditor.vectors import exact_scores
from auditor.witness import WitnessTrack
from auditor.workspace import Workspace

N_NEAREST = 5
"""Candidates of each track by embedding."""

N_EXCERPT, N_CHECKED = 10, 20
"""Candidates by excerpt, of each track of a scan and of each submission of a check."""

MAX_UNCOVERED = 2000
"""Tracks that an excerpt index may lack; a check examines them one by one."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Examined:
    """A candidate pair and what both witnesses say of it.

    Attributes
    ----------
    a, b : str
        Ids.
    similarity : float
        Cosine of the embeddings.
    evidence : Evidence
    score : float
        See ``auditor.match_score``.
    """

    a: str
    b: str
    similarity: float
    evidence: Evidence
    score: float


@dataclass(frozen=True)
class Examination:
    """All candidates by falling score, how many there were, and how their scores are spread.

    Of candidates that are nothing but candidates, only the count and the score are kept.
    """

    pairs: tuple[Examined, ...]
    n_compared: int
    histogram: dict[str, tuple[float, ...]]


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


def examine_catalogue(
    workspace: Workspace,
    ids: list[str],
    embeddings: np.ndarray,
    tracks: Mapping[str, Track],
    *,
    similar_from: float,
    shown_from: float = SHOWN_FROM,
    search: str = "exact",
    on_pair: Progress | None = None,
) -> Examination:
    """Examine the candidate pairs of a whole catalogue.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing: its excerpt index is brought up to date.
    ids, embeddings : list of str, numpy.ndarray
        Of the catalogue; (n, n_dims) float32.
    tracks : mapping of id to Track
    similar_from : float
        Cosine from which a pair is kept although nothing matches.
    shown_from : float
        Match score that a range needs to be kept.
    search : "exact" or "annoy"
        How the nearest embeddings are found.
    on_pair : callable, optional
        Called with the candidates examined and all of them.

    Raises
    ------
    AuditError
        If a part of the workspace is damaged, or there are too many copies of the same files.
    """
    if len(ids) < 2:
        return Examination((), 0, {})
    row_of = {track_id: row for row, track_id in enumerate(ids)}
    proposed = _same_bytes(ids, tracks)
    proposed |= _nearest_pairs(workspace, ids, embeddings, search)
    index, source = _excerpts(workspace, ids, embeddings)
    voted = excerpt_pairs(index, source, search=ExcerptSearch(top=N_EXCERPT))
    rows = [row_of[track_id] for track_id in voted.ids]
    proposed |= {
        _in_order(rows[a], rows[b]) for a, b in zip(voted.rows_a, voted.rows_b, strict=True)
    }
    rows = np.asarray(sorted(proposed), np.int64).reshape(-1, 2)
    similarities = exact_scores(embeddings, rows[:, 0], rows[:, 1], others=embeddings)
    examiner = catalogue_examiner(workspace, tracks)
    return _examined(
        ((ids[a], ids[b]) for a, b in rows),
        similarities,
        lambda a, b: examiner.evidence(examiner.track(a), examiner.track(b)),
        catalogue_spectra(workspace, tracks),
        tracks,
        similar_from=similar_from,
        shown_from=shown_from,
        on_pair=on_pair,
    )


def examine_submissions(
    workspace: Workspace,
    queries: Sequence[Query],
    ids: list[str],
    embeddings: np.ndarray,
    tracks: Mapping[str, Track],
    *,
    shown_from: float = SHOWN_FROM,
) -> Examination:
    """Examine the candidates of submissions; at least one of each is kept.

    Parameters are those of ``examine_catalogue``; the workspace may be open for reading only.

    Raises
    ------
    IndexFileError
        If the excerpt index lacks more than ``MAX_UNCOVERED`` tracks.
    """
    index, _ = _excerpts(workspace, ids, embeddings)
    if len(index.uncovered) > MAX_UNCOVERED:
        raise IndexFileError(
            f"{show_path(workspace.index_directory)}: the excerpt index lacks "
            f"{len(index.uncovered):,} tracks. Bring it up to date with: audit scan"
        )
    row_of = {track_id: row for row, track_id in enumerate(ids)}
    rows_by_sha: dict[str, list[int]] = {}
    for row, track_id in enumerate(ids):
        rows_by_sha.setdefault(tracks[track_id].sha256, []).append(row)
    uncovered = {row_of[track_id] for track_id in index.uncovered}
    top = min(N_NEAREST + 1, len(ids))
    near, _ = nearest(np.stack([query.embedding for query in queries]), embeddings, top)
    named: list[tuple[str, str]] = []
    similarities: list[np.ndarray] = []
    for query, rows in zip(queries, near, strict=True):
        found = index.candidates(
            query.dvectors,
            levels=query.levels,
            exclude=query.own_id or None,
            search=ExcerptSearch(top=N_CHECKED),
        )
        proposed = {int(row) for row in rows}
        proposed |= {row_of[hit.track_id] for hit in found}
        proposed |= uncovered | set(rows_by_sha.get(query.track.sha256, ()))
        proposed.discard(row_of.get(query.own_id, -1))
        wanted = np.asarray(sorted(proposed), np.int64)
        named += [(query.track.id, ids[row]) for row in wanted]
        similarities.append(
            exact_scores(
                query.embedding[None], np.zeros(len(wanted), np.int64), wanted, others=embeddings
            )
        )
    examiner = catalogue_examiner(workspace, tracks)
    by_id = {query.track.id: query for query in queries}

    @functools.lru_cache(maxsize=1)
    def submitted(query_id: str) -> WitnessTrack | None:
        query = by_id[query_id]
        return examiner.prepare(query.dvectors, query.levels, query.track.duration_s)

    spectra = catalogue_spectra(workspace, tracks)
    return _examined(
        named,
        np.concatenate(similarities) if similarities else np.zeros(0, np.float32),
        lambda a, b: examiner.evidence(submitted(a), examiner.track(b)),
        lambda name: by_id[name].spectrum if name in by_id else spectra(name),
        dict(tracks) | {query.track.id: query.track for query in queries},
        similar_from=-1.0,
        shown_from=shown_from,
    )


def _examined(
    named: Iterable[tuple[str, str]],
    similarities: np.ndarray,
    compare: Callable[[str, str], Evidence],
    spectrum: Callable[[str], np.ndarray | None],
    tracks: Mapping[str, Track],
    *,
    similar_from: float,
    shown_from: float,
    on_pair: Progress | None = None,
) -> Examination:
    kept = []
    if on_pair is not None:
        on_pair(0, len(similarities))
    edges = histogram_edges()
    counts = np.zeros(len(edges) - 1)
    for n_done, ((a, b), similarity) in enumerate(zip(named, similarities, strict=True), start=1):
        if tracks[a].sha256 == tracks[b].sha256:  # nothing to find out
            evidence = _whole(tracks[a].duration_s)
        else:
            evidence = confirm(
                compare(a, b),
                functools.partial(spectrum, a),
                functools.partial(spectrum, b),
                a_duration_s=tracks[a].duration_s,
                b_duration_s=tracks[b].duration_s,
                shown_from=shown_from,
            )
        score = match_score(evidence)
        counts[min(np.searchsorted(edges, score, side="right") - 1, len(counts) - 1)] += 1
        if score >= CONFIRM_FROM or similarity >= similar_from:
            kept.append(Examined(a, b, float(similarity), evidence, score))
        if on_pair is not None:
            on_pair(n_done, len(similarities))
    kept.sort(key=lambda pair: (-pair.score, pair.a, pair.b))
    return Examination(tuple(kept), len(similarities), named_histogram(counts))


def _whole(duration_s: float) -> Evidence:
    """Return the evidence of two files of the same bytes."""
    found = MatchedRange(0.0, duration_s, 0.0, duration_s, 1.0, 1.0, 0.0, 0.0, 1.0)
    return Evidence(1.0, (found,), 1.0, 1.0, 1.0, 1.0)


def _in_order(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _same_bytes(ids: Sequence[str], tracks: Mapping[str, Track]) -> set[tuple[int, int]]:
    groups: dict[str, list[int]] = {}
    for row, track_id in enumerate(ids):
        groups.setdefault(tracks[track_id].sha256, []).append(row)
    if sum(len(rows) * (len(rows) - 1) // 2 for rows in groups.values()) > MAX_PAIRS:
        raise too_many_pairs(1.0, MAX_PAIRS)
    return {pair for rows in groups.values() for pair in itertools.combinations(rows, 2)}


def _nearest_pairs(
    workspace: Workspace, ids: list[str], embeddings: np.ndarray, search: str
) -> set[tuple[int, int]]:
    top = min(N_NEAREST + 1, len(ids))
    if search == "exact":
        near = nearest(embeddings, embeddings, top)[0].tolist()
    else:
        index = track_index(workspace, ids, embeddings)
        near = [[row for row, _ in hits] for hits in index.query(embeddings, top)]
    return {
        _in_order(row, other) for row, rows in enumerate(near) for other in rows if other != row
    }


def _excerpts(
    workspace: Workspace, ids: list[str], embeddings: np.ndarray
) -> tuple[ExcerptIndex, ExcerptSource]:
    """Open the excerpt index of these tracks, brought up to date if it may be written to."""
    source = ExcerptSource.of(workspace.catalogue, workspace.weights_id, (ids, embeddings))
    folder = workspace.index_directory / "excerpts"
    if not workspace.writable:
        return open_excerpts(folder, source, hop_s=workspace.hop_s), source
    try:
        return refresh_excerpts(folder, source, hop_s=workspace.hop_s).index, source
    except OSError as error:
        raise IndexFileError(
            f"{show_path(folder)}: the excerpt index cannot be written: "
            f"{error.strerror or error}. The catalogue is safe. Free some space or mend the "
            "permissions, then run: audit scan"
        ) from None
