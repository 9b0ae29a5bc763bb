"""The audit itself: every flagged pair of a catalogue, and submissions against a catalogue.

``scan`` and ``check`` are the Python API; the commands only parse arguments and print.  The exact
pass over all pairs is the default; ``search="annoy"`` lets the index propose candidates instead.
Either way a score is the cosine of two stored embeddings, computed exactly.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.candidates import candidate_pairs
from auditor.decisions import apply_decisions, check_owner_tags
from auditor.errors import IndexFileError, show_path
from auditor.fma import load_fma
from auditor.index import TrackIndex, open_index, refresh_index
from auditor.ingest import OnEvent, ingest
from auditor.pairs import (
    MAX_PAIRS,
    clusters,
    find_cross_pairs,
    find_pairs,
    histogram_edges,
    n_pairs,
    nearest,
    too_many_pairs,
)
from auditor.records import (
    CheckResult,
    Cluster,
    Pair,
    ScanResult,
    Skipped,
    ThresholdUse,
)
from auditor.submissions import Submission, embed_submissions, own_id
from auditor.threshold_choice import choose_threshold, find_calibration, music_note
from auditor.workspace import Workspace, make_provenance, require_tracks

SEARCHES = ("exact", "annoy")
MAX_FALSE_PAIRS, MAX_FALSE_ALARMS = 1.0, 0.01
"""Error budgets of a scan and of a check: false pairs to be expected of the whole run, at most."""

N_CANDIDATES = 50
"""Neighbours that the index is asked for, for each track."""


@dataclass(frozen=True)
class Options:
    """How pairs are searched and flagged.

    Attributes
    ----------
    threshold, far, max_false : float, optional
        A score, a false alarm rate per pair, or the false pairs that the whole run may be expected
        to raise; at most one of them.  By default ``max_false`` is ``MAX_FALSE_PAIRS`` in a scan
        and ``MAX_FALSE_ALARMS`` in a check.
    search : "exact" or "annoy"
    threshold_file : pathlib.Path, optional
        A calibration named by hand.
    same_owner : tuple of str
        Tags of ``decisions.OWNER_TAGS``; a pair that shares one of them is not flagged.
    """

    threshold: float | None = None
    far: float | None = None
    search: str = "exact"
    threshold_file: Path | None = None
    same_owner: tuple[str, ...] = ()
    max_false: float | None = None

    def __post_init__(self) -> None:
        if self.search not in SEARCHES:
            raise ValueError(f"search is {self.search!r}; it must be exact or annoy")
        check_owner_tags(self.same_owner)


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
        If there is no audio, no threshold, or a damaged part of the workspace, or more than
        ``pairs.MAX_PAIRS`` pairs are flagged.
    """
    options = _with_budget(options or Options(), MAX_FALSE_PAIRS)
    started = time.monotonic()
    _threshold(workspace, options, 1)  # what it refuses, it refuses before anything is decoded
    metadata = load_fma(fma) if fma is not None else None
    ingested = ingest(workspace, roots, fma=metadata, on_event=on_event)
    ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    if not roots:
        require_tracks(workspace, len(ids))
    use = _threshold(workspace, options, n_pairs(len(ids)))
    rows_a, rows_b, scores, search = _all_pairs(workspace, ids, embeddings, use, options)
    use = _compare_music(workspace, options, use, search.histogram)
    tracks = {track.id: track for track in workspace.catalogue.tracks()}
    pairs = tuple(
        Pair(ids[a], ids[b], float(score), tracks[ids[a]].sha256 == tracks[ids[b]].sha256)
        for a, b, score in zip(rows_a, rows_b, scores, strict=True)
    )
    pairs = apply_decisions(pairs, tracks, workspace.catalogue.decisions(), options.same_owner)
    in_pairs = {track_id for pair in pairs for track_id in (pair.a, pair.b)}
    told = [
        track
        for track in tracks.values()
        if track.id in in_pairs or track.truncated or track.silent or track.missing
    ]
    return ScanResult(
        tracks=tuple(told),
        pairs=pairs,
        clusters=_clusters(ids, pairs),
        skipped=_merge_skipped(ingested.skipped, workspace.catalogue.skipped()),
        n_tracks=len(ids),
        n_pairs_compared=search.n_compared,
        search=options.search,
        index_recall=search.recall,
        histogram=search.histogram,
        threshold=use,
        provenance=make_provenance(workspace, command=command, started=started),
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
        For each submission its flagged pairs and the nearest track that is not flagged.  What
        cannot be decoded is in ``skipped``, even if that is everything.

    Raises
    ------
    AuditError
        If the catalogue is empty, there is no audio file, or no threshold is calibrated.
    ValueError
        If ``add`` and the workspace is not open for writing.
    """
    if add and not workspace.writable:
        raise ValueError("the workspace was opened with write=False; add needs write=True")
    options = _with_budget(options or Options(), MAX_FALSE_ALARMS)
    started = time.monotonic()
    _threshold(workspace, options, 1)  # what it refuses, it refuses before anything is decoded
    ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    require_tracks(workspace, len(ids))
    stored = dict(zip(ids, embeddings, strict=True))
    submitted = embed_submissions(workspace, paths, stored=stored, keep=add, on_event=on_event)
    compared = [s for s in submitted.items if not s.track.silent]
    own = [own_id(workspace, s.path, s.track.sha256) for s in compared]
    n_own = sum(name in stored for name in own)
    use = _threshold(workspace, options, len(compared) * len(ids) - n_own)
    pairs, n_compared, recall = _submission_pairs(
        workspace, compared, own, ids, embeddings, use, options
    )
    wanted = {pair.b for pair in pairs}
    by_id = {track.id: track for track in workspace.catalogue.tracks() if track.id in wanted}
    known = by_id | {s.track.id: s.track for s in submitted.items}
    pairs = [
        dataclasses.replace(pair, identical_file=known[pair.a].sha256 == known[pair.b].sha256)
        for pair in pairs
    ]
    decisions = workspace.catalogue.decisions()
    result = CheckResult(
        submissions=tuple(s.track for s in submitted.items),
        tracks=tuple(by_id.values()),
        pairs=apply_decisions(pairs, known, decisions, options.same_owner),
        skipped=submitted.skipped,
        n_tracks=len(ids),
        n_pairs_compared=n_compared,
        search=options.search,
        index_recall=recall,
        threshold=use,
        provenance=make_provenance(workspace, command=command, started=started),
    )
    if add:
        here = [s for s in submitted.items if os.path.exists(s.path)]
        prepared = {os.path.realpath(s.path): s.prepared for s in here if s.prepared}
        ingest(workspace, [s.path for s in here], prepared=prepared)
    return result


@dataclass(frozen=True)
class _Search:
    n_compared: int
    recall: float | None
    histogram: dict[str, tuple[float, ...]]


def _with_budget(options: Options, max_false: float) -> Options:
    given = (options.threshold, options.far, options.max_false)
    chosen = any(value is not None for value in given)
    return options if chosen else dataclasses.replace(options, max_false=max_false)


def _threshold(workspace: Workspace, options: Options, n_comparisons: int) -> ThresholdUse:
    return choose_threshold(
        workspace.weights_id,
        workspace.threshold_directories,
        threshold=options.threshold,
        far=options.far,
        max_false=options.max_false,
        n_comparisons=n_comparisons,
        file=options.threshold_file,
    )


def _compare_music(
    workspace: Workspace,
    options: Options,
    use: ThresholdUse,
    histogram: dict[str, tuple[float, ...]],
) -> ThresholdUse:
    """Say in the note if the scores disagree with those of the calibration."""
    found = find_calibration(
        workspace.weights_id,
        workspace.threshold_directories,
        file=options.threshold_file,
        damaged=[],
    )
    if found is None:
        return use
    said = music_note(found[0], histogram, flagged_from=use.threshold)
    return dataclasses.replace(use, note=" ".join(part for part in (said, use.note) if part))


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
    index = _index(workspace, ids, embeddings)
    if options.search == "exact":
        hits = find_pairs(embeddings, use.threshold, max_pairs=MAX_PAIRS)
        histogram = {
            "edges": tuple(float(edge) for edge in histogram_edges()),
            "counts": tuple(float(count) for count in hits.histogram),
        }
        search = _Search(n_pairs(len(ids)), None, histogram)
        return hits.rows_a, hits.rows_b, hits.scores, search
    found = candidate_pairs(index, threshold=use.threshold, top=min(N_CANDIDATES, len(ids) - 1))
    kept = found.scores.astype(np.float64) >= use.threshold
    if np.count_nonzero(kept) > MAX_PAIRS:
        raise too_many_pairs(use.threshold, MAX_PAIRS)
    order = np.lexsort((found.rows_b[kept], found.rows_a[kept], -found.scores[kept]))
    search = _Search(len(found.scores), found.recall, {})
    return (
        found.rows_a[kept][order],
        found.rows_b[kept][order],
        found.scores[kept][order],
        search,
    )


def _index(workspace: Workspace, ids: list[str], embeddings: np.ndarray) -> TrackIndex:
    """Open the index, brought up to date if the workspace may be written to."""
    folder, weights_id = workspace.index_directory, workspace.weights_id
    try:
        if workspace.writable:
            return refresh_index(folder, weights_id, ids, embeddings).index
        return open_index(folder, weights_id, ids, embeddings)
    except FileNotFoundError:
        raise IndexFileError(f"{show_path(folder)} holds no index yet. Run: audit scan") from None
    except OSError as error:
        raise IndexFileError(
            f"{show_path(folder)}: the index cannot be written: {error.strerror or error}. The "
            "catalogue is safe. Free some space or mend the permissions, then run: audit scan"
        ) from None


def _clusters(ids: list[str], pairs: Sequence[Pair]) -> tuple[Cluster, ...]:
    row_of = {track_id: row for row, track_id in enumerate(ids)}
    flagged = [pair for pair in pairs if pair.flagged]
    rows_a, rows_b = (
        np.array([row_of[track_id] for track_id in side], dtype=np.int64)
        for side in ([pair.a for pair in flagged], [pair.b for pair in flagged])
    )
    groups = clusters(len(ids), rows_a, rows_b)
    number = {row: i for i, group in enumerate(groups) for row in group}
    highest = [-1.0] * len(groups)
    for pair in flagged:
        i = number[row_of[pair.a]]
        highest[i] = max(highest[i], pair.score)
    return tuple(
        Cluster(tuple(ids[row] for row in group), score)
        for group, score in zip(groups, highest, strict=True)
    )


def _merge_skipped(*lists: Iterable[Skipped]) -> tuple[Skipped, ...]:
    merged = {skipped.path: skipped for skipped in (s for part in lists for s in part)}
    return tuple(merged[path] for path in sorted(merged))


def _submission_pairs(
    workspace: Workspace,
    submissions: list[Submission],
    own: Sequence[str],
    ids: list[str],
    embeddings: np.ndarray,
    use: ThresholdUse,
    options: Options,
) -> tuple[list[Pair], int, float | None]:
    """Return flagged pairs and nearest unflagged ones, pairs compared, and index recall."""
    if not submissions:
        return [], 0, None
    queries = np.stack([s.embedding for s in submissions])
    row_of = {track_id: row for row, track_id in enumerate(ids)}
    own_rows = [row_of.get(name, -1) for name in own]
    if options.search == "exact":
        hits = find_cross_pairs(queries, embeddings, use.threshold, max_pairs=MAX_PAIRS)
        flagged = hits.rows_a
        top = int(np.bincount(flagged, minlength=1).max()) + 2  # itself, and the first unflagged
        rows, scores = nearest(queries, embeddings, min(len(ids), top))
        ranked = [list(zip(*hits, strict=True)) for hits in zip(rows, scores, strict=True)]
        n_compared = len(queries) * len(ids) - sum(row >= 0 for row in own_rows)
        recall = None
    else:
        index = _index(workspace, ids, embeddings)
        ranked = index.query(queries, min(N_CANDIDATES + 1, len(ids)))
        n_compared = sum(
            row != itself for hits, itself in zip(ranked, own_rows, strict=True) for row, _ in hits
        )
        recall = index.recall()
    pairs: list[Pair] = []
    for submission, itself, hits in zip(submissions, own_rows, ranked, strict=True):
        for row, score in hits:
            if row == itself:
                continue
            is_flagged = float(score) >= use.threshold
            pairs.append(Pair(submission.track.id, ids[row], float(score), flagged=is_flagged))
            if not is_flagged:
                break
    return pairs, n_compared, recall
