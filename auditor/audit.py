"""The audit itself: every flagged pair of a catalogue, and submissions against a catalogue.

``scan`` and ``check`` are the Python API; the commands only parse arguments and print.  The exact
pass over all pairs is the default; ``search="annoy"`` lets the index propose candidates instead.
Either way a score is the cosine of two stored embeddings, computed exactly.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import auditor
from auditor.embed import embed_file
from auditor.errors import AudioError, UsageError, show_path
from auditor.fma import FmaMetadata, load_fma
from auditor.index import candidate_pairs, refresh_index
from auditor.ingest import OnEvent, IngestEvent, describe, failure_reason, hash_file, ingest
from auditor.pairs import clusters, find_cross_pairs, find_pairs, histogram_edges, n_pairs, nearest
from auditor.records import (
    CheckResult,
    Cluster,
    Pair,
    Provenance,
    ScanResult,
    Skipped,
    ThresholdUse,
    Track,
)
from auditor.thresholds import choose_threshold
from auditor.walk import find_audio
from auditor.workspace import Workspace, require_tracks

SEARCHES = ("exact", "annoy")
N_CANDIDATES = 50
"""Neighbours that the index is asked for, for each track."""


@dataclass(frozen=True)
class Options:
    """How pairs are searched and flagged.

    Attributes
    ----------
    threshold, far : float, optional
        Given by hand, at most one; else the calibrated default.
    search : "exact" or "annoy"
    threshold_file : pathlib.Path, optional
        A calibration named by hand.
    """

    threshold: float | None = None
    far: float | None = None
    search: str = "exact"
    threshold_file: Path | None = None

    def __post_init__(self) -> None:
        if self.search not in SEARCHES:
            raise ValueError(f"search is {self.search!r}; it must be exact or annoy")


def scan(
    workspace: Workspace,
    roots: Sequence[str | bytes | os.PathLike[str]] = (),
    *,
    options: Options | None = None,
    fma: Path | None = None,
    on_event: OnEvent | None = None,
    command: str = "",
) -> ScanResult:
    """Embed what is new below some folders and find every flagged pair of the whole catalogue.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    roots : sequence of paths
        Folders; empty scans the catalogue as it is.
    options : Options, optional
    fma : pathlib.Path, optional
        FMA's metadata folder.
    on_event : callable, optional
        Called after each file.
    command : str
        Kept in the provenance.

    Returns
    -------
    ScanResult
        Its tracks are those of the pairs and those that deserve a word: truncated, silent, missing.

    Raises
    ------
    AuditError
        If there is no audio, no threshold, or a damaged part of the workspace.
    """
    options = options or Options()
    started = time.monotonic()
    use = _threshold(workspace, options)
    metadata = load_fma(fma) if fma is not None else None
    ingested = ingest(workspace, roots, fma=metadata, on_event=on_event)
    ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    if not roots:
        require_tracks(workspace, len(ids))
    rows_a, rows_b, scores, search = _all_pairs(workspace, ids, embeddings, use, options)
    tracks = {track.id: track for track in workspace.catalogue.tracks()}
    pairs = tuple(
        Pair(ids[a], ids[b], float(score), tracks[ids[a]].sha256 == tracks[ids[b]].sha256)
        for a, b, score in zip(rows_a, rows_b, scores, strict=True)
    )
    in_pairs = {track_id for pair in pairs for track_id in (pair.a, pair.b)}
    told = [
        track
        for track in tracks.values()
        if track.id in in_pairs or track.truncated or track.silent or track.missing
    ]
    return ScanResult(
        tracks=tuple(told),
        pairs=pairs,
        clusters=_clusters(ids, rows_a, rows_b, scores),
        skipped=_merge_skipped(ingested.skipped, workspace.catalogue.skipped()),
        n_tracks=len(ids),
        n_pairs_compared=search.n_compared,
        search=options.search,
        index_recall=search.recall,
        histogram=search.histogram,
        threshold=_expect(use, search.n_compared),
        provenance=make_provenance(workspace, command, started),
    )


def check(
    workspace: Workspace,
    paths: Sequence[str | bytes | os.PathLike[str]],
    *,
    options: Options | None = None,
    add: bool = False,
    on_event: OnEvent | None = None,
    command: str = "",
) -> CheckResult:
    """Compare submissions with the catalogue.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing if ``add``.
    paths : sequence of paths
        Files or folders.  A file that is itself in the catalogue is not compared with itself.
    options : Options, optional
    add : bool
        Store the submissions in the catalogue afterwards.
    on_event : callable, optional
        Called after each file.
    command : str
        Kept in the provenance.

    Returns
    -------
    CheckResult
        For each submission its flagged pairs and the nearest track that is not flagged.

    Raises
    ------
    AuditError
        If the catalogue is empty, nothing can be decoded, or no threshold is calibrated.
    """
    options = options or Options()
    started = time.monotonic()
    use = _threshold(workspace, options)
    ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    require_tracks(workspace, len(ids))
    submitted = _embed_submissions(workspace, paths, on_event)
    known = {path: entry[0] for path, entry in workspace.catalogue.stamps().items()}
    compared = [s for s in submitted.items if not s.track.silent]
    own = [known.get(s.path) for s in compared]
    pairs, n_compared, recall = _submission_pairs(
        workspace, compared, own, ids, embeddings, use, options
    )
    wanted = {pair.b for pair in pairs}
    by_id = {track.id: track for track in workspace.catalogue.tracks() if track.id in wanted}
    hashes = {s.track.id: s.track.sha256 for s in submitted.items}
    result = CheckResult(
        submissions=tuple(s.track for s in submitted.items),
        tracks=tuple(by_id.values()),
        pairs=tuple(
            dataclasses.replace(pair, identical_file=hashes[pair.a] == by_id[pair.b].sha256)
            for pair in pairs
        ),
        skipped=submitted.skipped,
        n_tracks=len(ids),
        n_pairs_compared=n_compared,
        search=options.search,
        index_recall=recall,
        threshold=_expect(use, n_compared),
        provenance=make_provenance(workspace, command, started),
    )
    if add:
        ingest(workspace, [s.path for s in submitted.items])
    return result


def make_provenance(workspace: Workspace, command: str, started: float) -> Provenance:
    """Return what made a result; ``started`` is ``time.monotonic()`` at its beginning."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return Provenance(
        version=auditor.__version__,
        command=command,
        created=now.isoformat().replace("+00:00", "Z"),
        extractor=workspace.extractor.name,
        weights_id=workspace.weights_id,
        workspace=show_path(workspace.directory),
        platform=f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        seconds=round(time.monotonic() - started, 3),
    )


@dataclass(frozen=True)
class _Search:
    n_compared: int
    recall: float | None
    histogram: dict[str, tuple[float, ...]]


def _threshold(workspace: Workspace, options: Options) -> ThresholdUse:
    return choose_threshold(
        workspace.weights_id,
        workspace.threshold_directories,
        threshold=options.threshold,
        far=options.far,
        file=options.threshold_file,
    )


def _expect(use: ThresholdUse, n_compared: int) -> ThresholdUse:
    if use.far is None:
        return use
    return dataclasses.replace(use, expected_false_pairs=use.far * n_compared)


def _all_pairs(
    workspace: Workspace,
    ids: list[str],
    embeddings: np.ndarray,
    use: ThresholdUse,
    options: Options,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, _Search]:
    if len(ids) < 2:
        none = np.zeros(0, np.int64)
        return none, none, np.zeros(0, np.float32), _Search(0, None, {})
    index = refresh_index(workspace.index_directory, workspace.weights_id, ids, embeddings).index
    if options.search == "exact":
        hits = find_pairs(embeddings, use.threshold)
        histogram = {
            "edges": tuple(float(edge) for edge in histogram_edges()),
            "counts": tuple(float(count) for count in hits.histogram),
        }
        search = _Search(n_pairs(len(ids)), None, histogram)
        return hits.rows_a, hits.rows_b, hits.scores, search
    found = candidate_pairs(
        index, threshold=use.threshold, top=min(N_CANDIDATES, len(ids) - 1)
    )
    kept = found.scores.astype(np.float64) >= use.threshold
    order = np.lexsort((found.rows_b[kept], found.rows_a[kept], -found.scores[kept]))
    search = _Search(len(found.scores), found.recall, {})
    return (
        found.rows_a[kept][order],
        found.rows_b[kept][order],
        found.scores[kept][order],
        search,
    )


def _clusters(
    ids: list[str], rows_a: np.ndarray, rows_b: np.ndarray, scores: np.ndarray
) -> tuple[Cluster, ...]:
    groups = clusters(len(ids), rows_a, rows_b)
    number = {row: i for i, group in enumerate(groups) for row in group}
    highest = [-1.0] * len(groups)
    for a, score in zip(rows_a, scores, strict=True):
        i = number[int(a)]
        highest[i] = max(highest[i], float(score))
    return tuple(
        Cluster(tuple(ids[row] for row in group), score)
        for group, score in zip(groups, highest, strict=True)
    )


def _merge_skipped(*lists: Iterable[Skipped]) -> tuple[Skipped, ...]:
    merged = {skipped.path: skipped for skipped in (s for part in lists for s in part)}
    return tuple(merged[path] for path in sorted(merged))


@dataclass(frozen=True)
class _Submission:
    path: bytes
    track: Track
    embedding: np.ndarray


@dataclass(frozen=True)
class _Submitted:
    items: list[_Submission]
    skipped: tuple[Skipped, ...]


def _embed_submissions(
    workspace: Workspace,
    paths: Sequence[str | bytes | os.PathLike[str]],
    on_event: OnEvent | None,
) -> _Submitted:
    walk = find_audio(paths)
    if not walk.files and not walk.unreadable:
        shown = ", ".join(show_path(path) for path in paths)
        raise UsageError(f"{shown}: no audio file was found. Give a file or a folder of music.")
    items: list[_Submission] = []
    skipped = list(walk.unreadable)
    taken: set[str] = set()
    audio_s = 0.0
    for n_done, found in enumerate(walk.files, start=1):
        reason = ""
        try:
            sha256 = hash_file(found.path)
            embedded = embed_file(found.path, [workspace.extractor])
        except (AudioError, OSError) as error:
            reason = failure_reason(found.path, error)
            skipped.append(Skipped(show_path(found.path), reason))
        else:
            track_id = _submission_id(sha256, taken)
            fma: FmaMetadata | None = None
            track = describe(found, sha256, embedded, fma=fma, track_id=track_id)
            embedding = embedded.embeddings[workspace.weights_id].embedding
            items.append(_Submission(found.path, track, embedding))
            audio_s += embedded.duration_s
        if on_event:
            outcome = "skipped" if reason else "embedded"
            shown = show_path(found.path)
            on_event(IngestEvent(shown, outcome, reason, n_done, len(walk.files), audio_s))
    skipped.sort(key=lambda s: s.path)
    return _Submitted(items, tuple(skipped))


def _submission_id(sha256: str, taken: set[str]) -> str:
    """Return ``new-`` and 8 hex digits of the content, numbered for further files of it."""
    base = f"new-{sha256[:8]}"
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base}-{n}"
    taken.add(name)
    return name


def _submission_pairs(
    workspace: Workspace,
    submissions: list[_Submission],
    own: Sequence[str | None],
    ids: list[str],
    embeddings: np.ndarray,
    use: ThresholdUse,
    options: Options,
) -> tuple[list[Pair], int, float | None]:
    """Return flagged pairs and nearest unflagged ones, pairs compared, and index recall."""
    if not submissions:
        return [], 0, None
    queries = np.stack([s.embedding for s in submissions])
    recall = None
    n_own = sum(track_id in set(ids) for track_id in own if track_id)
    if options.search == "exact":
        hits = find_cross_pairs(queries, embeddings, use.threshold)
        flagged = list(zip(hits.rows_a, hits.rows_b, hits.scores, strict=True))
        n_compared = len(queries) * len(ids) - n_own
    else:
        index = refresh_index(
            workspace.index_directory, workspace.weights_id, ids, embeddings
        ).index
        found = index.query(queries, min(N_CANDIDATES, len(ids)))
        flagged = [
            (i, row, score)
            for i, hit in enumerate(found)
            for row, score in hit
            if score >= use.threshold
        ]
        n_compared = sum(len(hit) for hit in found) - n_own
        recall = index.recall()
    of: list[list[tuple[int, float]]] = [[] for _ in submissions]
    for i, row, score in flagged:
        if ids[int(row)] != own[int(i)]:
            of[int(i)].append((int(row), float(score)))
    most = max(len(rows) for rows in of)
    rows, scores = nearest(queries, embeddings, min(len(ids), most + 2))
    pairs: list[Pair] = []
    for i, submission in enumerate(submissions):
        taken: Collection[int] = {row for row, _ in of[i]}
        hits_i = sorted(of[i], key=lambda hit: (-hit[1], ids[hit[0]]))
        pairs += [Pair(submission.track.id, ids[row], score) for row, score in hits_i]
        for row, score in zip(rows[i], scores[i], strict=True):
            if int(row) not in taken and ids[int(row)] != own[i]:
                pair = Pair(submission.track.id, ids[int(row)], float(score), flagged=False)
                if pair.score < use.threshold:
                    pairs.append(pair)
                break
    return pairs, n_compared, recall
