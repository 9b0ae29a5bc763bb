"""The audit itself: every flagged pair of a catalogue, and submissions against a catalogue.

``scan`` and ``check`` are the Python API; the commands only parse arguments and print.  With an
extractor whose d-vectors can be aligned, the second witness decides (``auditor.scoring.match``);
with the others the cosine of two embeddings does (``auditor.scoring.cosine``).  An index only ever
proposes.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.audio.files import is_there
from auditor.audio.fma_tags import load_fma
from auditor.calibration.choose import (
    HIGHEST_THRESHOLD,
    choose_threshold,
    find_calibration,
    music_note,
)
from auditor.calibration.thresholds import MATCH_SCORE, SCORE, Thresholds
from auditor.catalogue.catalogue import Catalogue
from auditor.catalogue.sources import n_pairs_of_one_source, track_sources
from auditor.decisions.apply import apply_decisions, check_owner_tags
from auditor.errors import AuditError, ThresholdError
from auditor.evidence.match_score import FLAGGED_FROM, SHOWN_FROM
from auditor.ingest.prepare import Embedder, PreparedFiles, SerialEmbedder
from auditor.ingest.session import OnEvent, ingest
from auditor.ingest.submissions import Submission, embed_submissions, own_id
from auditor.parallel import LocalTiles, Tiles
from auditor.records import (
    CheckResult,
    Cluster,
    Pair,
    ScanResult,
    Skipped,
    ThresholdUse,
    Track,
)
from auditor.scoring.cosine import Similar, named_histogram, similar_pairs, similar_tracks
from auditor.scoring.examine import Examined, Limits
from auditor.scoring.match import Query, examine_catalogue, examine_submissions, publish_tracks
from auditor.scoring.originals import suggest_original
from auditor.scoring.track_reader import TrackReader
from auditor.scoring.verdict import FLAGGED, decide_verdict
from auditor.search.all_pairs import similar_rows
from auditor.search.exact import clusters, n_pairs
from auditor.workspace import Workspace, make_provenance, require_tracks

SEARCHES = ("exact", "annoy")
MAX_FALSE_PAIRS, MAX_FALSE_ALARMS = 1.0, 0.01
"""Error budgets of a scan and of a check: false pairs to be expected of the whole run, at most."""

SIMILAR_FROM = 0.95
"""Cosine from which tracks are said to sound alike where no calibration gives another one."""

SIMILAR_FAR = 1e-4
"""However loose the threshold of a small run, no more of unrelated tracks sound alike."""

OnPair = Callable[[int, int], None]


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
    embedder: Embedder | None = None,
    tiles: Tiles | None = None,
    on_event: OnEvent | None = None,
    on_pair: OnPair | None = None,
    command: str = "",
) -> ScanResult:
    """Embed what is new below some folders and find every flagged pair of the whole catalogue.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    roots : sequence of paths
        Folders, or URLs of object stores; empty scans the catalogue as it is.
    options : Options, optional
    fma : pathlib.Path, optional
        FMA's metadata folder.
    embedder : Embedder, optional
        Embeds what is new; by default one file after the other in this process.
    tiles : Tiles, optional
        Where pairs are looked for; by default here, by one thread.
    on_event, on_pair : callables, optional
        Called after each file; and with the candidate pairs examined and all of them.
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
    _threshold(workspace, options, 1, 0)  # what it refuses, it refuses before anything is decoded
    metadata = load_fma(fma) if fma is not None else None
    ingested = ingest(workspace, roots, fma=metadata, embedder=embedder, on_event=on_event)
    ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    if not roots:
        require_tracks(workspace, len(ids))
    tracks = {track.id: track for track in workspace.catalogue.tracks()}
    n_one_source = n_pairs_of_one_source(track_sources([tracks[track_id] for track_id in ids]))
    use, calibration = _threshold(workspace, options, n_pairs(len(ids)), n_one_source)
    tiles = tiles or LocalTiles()
    reader = publish_tracks(workspace, ids, embeddings, tiles)
    if workspace.aligns:
        similar_from = _similar_from(workspace, use)
        found = examine_catalogue(
            workspace,
            ids,
            embeddings,
            tracks,
            limits=Limits(similar_from, min(SHOWN_FROM, use.threshold)),
            tiles=tiles,
            reader=reader,
            search=options.search,
            on_pair=on_pair,
        )
        judged = (_judge(p, tracks, use, calibration, similar_from) for p in found.pairs)
        pairs = [pair for pair in judged if pair.verdict != "clear"]
        n_compared, recall, histogram = found.n_compared, None, found.histogram
        cosines = _cosines(tiles, reader, len(ids)) if options.search == "exact" else {}
    else:
        similar = similar_pairs(
            workspace,
            ids,
            embeddings,
            threshold=use.threshold,
            search=options.search,
            tiles=tiles,
            reader=reader,
        )
        pairs = _by_similarity(similar, ids, ids, tracks, use)
        n_compared, recall, histogram = similar.n_compared, similar.recall, similar.histogram
        cosines = histogram
    use = _compare_music(workspace, options, use, cosines)
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
        clusters=_clusters(ids, pairs, tracks),
        skipped=_merge_skipped(ingested.skipped, workspace.catalogue.skipped()),
        n_tracks=len(ids),
        n_pairs_compared=n_compared,
        search=options.search,
        index_recall=recall,
        histogram=histogram,
        threshold=use,
        provenance=make_provenance(workspace, command=command, started=started),
        detection=calibration.detection(use.threshold) if calibration else (),
    )


def check(
    workspace: Workspace,
    paths: Sequence[str | bytes | os.PathLike[str]],
    *,
    options: Options | None = None,
    add: bool = False,
    embedder: Embedder | None = None,
    on_event: OnEvent | None = None,
    on_submission: Callable[[Submission], None] | None = None,
    command: str = "",
) -> CheckResult:
    """Compare submissions with the catalogue.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing if ``add``.
    paths : sequence of paths
        Files or folders, or URLs of objects.  A file that is itself in the catalogue is not
        compared with itself.
    options : Options, optional
    add : bool
        Store the submissions in the catalogue afterwards.
    embedder : Embedder, optional
        Embeds the submissions; by default one after the other in this process.
    on_event, on_submission : callables, optional
        Called after each file, and with each submission, for those who show it.
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
    _threshold(workspace, options, 1, 0)  # what it refuses, it refuses before anything is decoded
    stored = workspace.catalogue.table(workspace.weights_id)
    require_tracks(workspace, len(stored.tracks))
    submitted = embed_submissions(
        workspace, paths, stored=stored.by_id, embedder=embedder, on_event=on_event
    )
    for submission in submitted.items if on_submission else ():
        on_submission(submission)
    compared = [s for s in submitted.items if not s.track.silent]
    own = [own_id(workspace, s.path, s.track.sha256) for s in compared]
    # As it is now: other processes went on while the submissions were decoded.
    table = workspace.catalogue.table(workspace.weights_id)
    own_rows = [table.tracks.row_of(name) for name in own]
    n_tracks = len(table.tracks)
    n_own = sum(row >= 0 for row in own_rows)
    n_comparisons = len(compared) * n_tracks - n_own
    n_one_source = min(
        n_comparisons,
        sum(
            max(0, workspace.catalogue.n_of_source(s.track) - (row >= 0))
            for s, row in zip(compared, own_rows, strict=True)
        ),
    )
    use, calibration = _threshold(workspace, options, n_comparisons, n_one_source)
    known = _Tracks(workspace.catalogue, {s.track.id: s.track for s in submitted.items})
    pairs: list[Pair] = []
    n_compared, recall = 0, None
    if compared and workspace.aligns:
        queries = [_query(s, name) for s, name in zip(compared, own, strict=True)]
        shown_from = min(SHOWN_FROM, use.threshold)
        found = examine_submissions(workspace, queries, table, shown_from=shown_from)
        similar_from = _similar_from(workspace, use)
        judged = [_judge(p, known, use, calibration, similar_from) for p in found.pairs]
        pairs, n_compared = _with_nearest(judged), found.n_compared
    elif compared:
        ids = table.tracks.names()
        similar = similar_tracks(
            workspace,
            np.stack([s.embedding for s in compared]),
            own_rows,
            ids,
            table.embeddings,
            threshold=use.threshold,
            search=options.search,
        )
        pairs = _by_similarity(similar, [s.track.id for s in compared], ids, known, use)
        n_compared, recall = similar.n_compared, similar.recall
    wanted = sorted({pair.b for pair in pairs})
    decisions = workspace.catalogue.decisions()
    result = CheckResult(
        submissions=tuple(s.track for s in submitted.items),
        tracks=tuple(known[track_id] for track_id in wanted),
        pairs=apply_decisions(pairs, known, decisions, options.same_owner),
        skipped=submitted.skipped,
        n_tracks=n_tracks,
        n_pairs_compared=n_compared,
        search=options.search,
        index_recall=recall,
        threshold=use,
        provenance=make_provenance(workspace, command=command, started=started),
        detection=calibration.detection(use.threshold) if calibration else (),
    )
    if add:
        here = [s for s in submitted.items if is_there(s.path)]
        prepared = PreparedFiles(
            [(s.path, s.prepared) for s in here if s.prepared],
            SerialEmbedder([workspace.extractor]),
        )
        ingest(workspace, [s.path for s in here], embedder=prepared)
    return result


class _Tracks(dict[str, Track]):
    """Tracks by id; those of the catalogue are read when they are first asked for."""

    def __init__(self, catalogue: Catalogue, others: Mapping[str, Track]) -> None:
        super().__init__(others)
        self._catalogue = catalogue

    def __missing__(self, track_id: str) -> Track:
        self[track_id] = self._catalogue.track(track_id)
        return self[track_id]


def _with_budget(options: Options, max_false: float) -> Options:
    given = (options.threshold, options.far, options.max_false)
    chosen = any(value is not None for value in given)
    return options if chosen else dataclasses.replace(options, max_false=max_false)


def _threshold(
    workspace: Workspace, options: Options, n_comparisons: int, n_one_source: int
) -> tuple[ThresholdUse, Thresholds | None]:
    """Return the threshold of a run, and the calibration behind it where there is one."""
    score = MATCH_SCORE if workspace.aligns else SCORE

    def choose(threshold: float | None, far: float | None, budget: float | None) -> ThresholdUse:
        return choose_threshold(
            workspace.weights_id,
            workspace.threshold_directories,
            threshold=threshold,
            far=far,
            max_false=budget,
            n_comparisons=n_comparisons,
            n_one_source=n_one_source,
            file=options.threshold_file,
            score=score,
        )

    use = choose(options.threshold, options.far, options.max_false)
    if workspace.aligns and options.max_false is not None and use.threshold < FLAGGED_FROM:
        least = choose(FLAGGED_FROM, None, None)
        use = dataclasses.replace(least, source=use.source, budget=use.budget)
    found = find_calibration(
        workspace.weights_id,
        workspace.threshold_directories,
        file=options.threshold_file,
        score=score,
        damaged=[],
    )
    return use, found[0] if found else None


def _similar_from(workspace: Workspace, use: ThresholdUse) -> float:
    """Return the cosine that unrelated tracks reach as seldom as the threshold of the run."""
    found = find_calibration(workspace.weights_id, workspace.threshold_directories, damaged=[])
    if found is None or not use.far:
        return SIMILAR_FROM
    try:
        return min(found[0].threshold_at(min(use.far, SIMILAR_FAR)), HIGHEST_THRESHOLD)
    except ThresholdError:
        return SIMILAR_FROM


def _cosines(tiles: Tiles, reader: TrackReader, n: int) -> dict[str, tuple[float, ...]]:
    """Return the histogram of all cosines; none of a catalogue of too many copies."""
    try:
        return named_histogram(similar_rows(tiles, reader, n, 1.0).histogram)
    except AuditError:
        return {}


def _compare_music(
    workspace: Workspace,
    options: Options,
    use: ThresholdUse,
    cosines: dict[str, tuple[float, ...]],
) -> ThresholdUse:
    """Say in the note if the embeddings are more alike than those of the calibration."""
    file = None if workspace.aligns else options.threshold_file
    found = find_calibration(
        workspace.weights_id, workspace.threshold_directories, file=file, damaged=[]
    )
    if found is None:
        return use
    flagged_from = _similar_from(workspace, use) if workspace.aligns else use.threshold
    said = music_note(
        found[0], cosines, flagged_from=flagged_from, one_source=_share_of_one_source(use)
    )
    return dataclasses.replace(use, note=" ".join(part for part in (said, use.note) if part))


def _share_of_one_source(use: ThresholdUse) -> float:
    return (use.n_one_source or 0) / use.n_comparisons if use.n_comparisons else 0.0


def _judge(
    found: Examined,
    tracks: Mapping[str, Track],
    use: ThresholdUse,
    calibration: Thresholds | None,
    similar_from: float,
) -> Pair:
    identical = tracks[found.a].sha256 == tracks[found.b].sha256
    verdict = decide_verdict(
        found.evidence,
        score=found.score,
        threshold=use.threshold,
        identical_file=identical,
        similarity=found.similarity,
        similar_from=similar_from,
    )
    return Pair(
        found.a,
        found.b,
        found.score,
        identical_file=identical,
        flagged=verdict in FLAGGED,
        similarity=found.similarity,
        far=calibration.far_at(found.score, one_source=_share_of_one_source(use))[0]
        if calibration
        else None,
        verdict=verdict,
        evidence=found.evidence,
    )


def _by_similarity(
    similar: Similar,
    ids_a: Sequence[str],
    ids_b: Sequence[str],
    tracks: Mapping[str, Track],
    use: ThresholdUse,
) -> list[Pair]:
    """Return pairs whose cosine decides."""
    return [
        Pair(
            ids_a[a],
            ids_b[b],
            float(score),
            identical_file=tracks[ids_a[a]].sha256 == tracks[ids_b[b]].sha256,
            flagged=float(score) >= use.threshold,
            similarity=float(score),
        )
        for a, b, score in zip(similar.rows_a, similar.rows_b, similar.scores, strict=True)
    ]


def _query(submission: Submission, own: str) -> Query:
    return Query(
        submission.track,
        submission.embedding,
        submission.dvectors,
        submission.levels,
        submission.spectrum,
        own,
    )


def _with_nearest(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs that are not clear, and the best clear one of each submission."""
    kept: list[Pair] = []
    told: set[str] = set()
    for pair in pairs:
        if pair.verdict != "clear":
            kept.append(pair)
        elif pair.a not in told:
            told.add(pair.a)
            kept.append(pair)
    return sorted(kept, key=lambda pair: (pair.a, -pair.score, pair.b))


def _clusters(
    ids: list[str], pairs: Sequence[Pair], tracks: Mapping[str, Track]
) -> tuple[Cluster, ...]:
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
    members = [tuple(ids[row] for row in group) for group in groups]
    return tuple(
        Cluster(names, score, *suggest_original([tracks[name] for name in names]))
        for names, score in zip(members, highest, strict=True)
    )


def _merge_skipped(*lists: Iterable[Skipped]) -> tuple[Skipped, ...]:
    merged = {skipped.path: skipped for skipped in (s for part in lists for s in part)}
    return tuple(merged[path] for path in sorted(merged))
