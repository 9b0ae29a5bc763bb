"""Which tracks of the catalogue play in a mix, from when to when: a timeline of one long file."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence

from auditor.api.run import Options, open_threshold
from auditor.api.scan import damaged_files
from auditor.decisions.apply import apply_decisions
from auditor.errors import UsageError, show_path
from auditor.evidence.alignment.ranges import gather_evidence
from auditor.ingest.prepare import Embedder
from auditor.ingest.session import OnEvent
from auditor.ingest.submissions import Submission, embed_submissions, own_id
from auditor.parallel import OnProgress
from auditor.records import MixEntry, MixGap, Pair, Track, TracklistResult, floor_use
from auditor.scoring.base import RunContext, ScoredPair, open_scorer
from auditor.scoring.timeline import TimelineEntry, examine_mix, n_parts
from auditor.scoring.track_reader import CatalogueReader
from auditor.workspace import Workspace, make_provenance, require_tracks

MAX_FALSE_TRACKS = 0.1
"""Error budget: false tracks to be expected of a mix, at most."""

MIN_GAP_S = 10.0
"""Shorter silences between two tracks are no gap."""


def tracklist(
    workspace: Workspace,
    mix: str | bytes | os.PathLike[str],
    *,
    options: Options | None = None,
    embedder: Embedder | None = None,
    on_event: OnEvent | None = None,
    on_part: OnProgress | None = None,
    on_submission: Callable[[Submission], None] | None = None,
    command: str = "",
) -> TracklistResult:
    """Find the tracks of the catalogue in a mix, without adding it.

    Parameters
    ----------
    workspace : Workspace
        It may be open for reading only.
    mix : path
        One file, of any length.
    options : Options, optional
        The budget, ``MAX_FALSE_TRACKS`` by default, covers the whole mix.
    embedder : Embedder, optional
        Embeds the mix.
    on_event, on_part, on_submission : callables, optional
        Called after the file; with the parts examined and all of them; and with the mix.
    command : str
        Kept in the provenance.

    Returns
    -------
    TracklistResult
        ``pairs`` holds one pair for each track in the mix, with all its ranges.

    Raises
    ------
    AuditError
        If the catalogue is empty, the mix cannot be read or is silent, the extractor cannot align
        d-vectors, or no threshold is calibrated.
    """
    started = time.monotonic()
    options = (options or Options()).with_budget(MAX_FALSE_TRACKS)
    scorer = open_scorer(workspace)
    if not scorer.id.startswith("match/"):
        raise UsageError(
            f"the extractor {workspace.extractor.name} tells tracks apart but not when they are "
            "heard, so it makes no tracklist. Leave out --extractor."
        )
    threshold = open_threshold(workspace, scorer, options)
    table = workspace.catalogue.table(workspace.weights_id)
    require_tracks(workspace, len(table.tracks))
    submitted = embed_submissions(
        workspace, [mix], stored=table.by_id, embedder=embedder, on_event=on_event
    )
    if len(submitted.items) != 1:
        shown = show_path(mix)
        if submitted.skipped and not submitted.items:
            raise UsageError(f"{shown} cannot be used: {submitted.skipped[0].reason}.")
        raise UsageError(f"{shown} holds {len(submitted.items):,} files. Give one file: a mix.")
    (query,) = submitted.items
    if on_submission is not None:
        on_submission(query)
    query = dataclasses.replace(query, own_id=own_id(workspace, query.path, query.track.sha256))
    distinct, same = table.distinct(), table.same_files()
    parts = n_parts(query.track.duration_s)
    use = threshold.choose(parts * len(distinct.tracks))
    run = RunContext(threshold, use)
    reader = CatalogueReader.of(workspace, table=distinct)
    found = examine_mix(reader, query, threshold=use.threshold, on_part=on_part)
    ids = {i for e in found.entries for i in (e.track_id, *e.alternatives)}
    ids.update(*(same.get(track_id, ()) for track_id in ids))
    tracks = {track_id: workspace.catalogue.track(track_id) for track_id in sorted(ids)}
    known = {**tracks, query.track.id: query.track}
    pairs = [
        scorer.judge(scored, known, run) for scored in _scored(found.entries, query.track, tracks)
    ]
    pairs = [_with_files(pair, len(same.get(pair.b, (pair.b,)))) for pair in pairs]
    decisions = workspace.catalogue.decisions()
    return TracklistResult(
        submissions=(query.track,),
        tracks=tuple(tracks.values()),
        pairs=apply_decisions(pairs, known, decisions, options.same_owner),
        skipped=(
            *submitted.skipped,
            *damaged_files(workspace, dict(table.damaged) | found.damaged),
        ),
        n_tracks=len(table.tracks),
        n_pairs_compared=found.n_examined,
        search="exact",
        index_recall=None,
        threshold=floor_use(use),
        provenance=make_provenance(workspace, command=command, started=started),
        detection=threshold.detection(use),
        catalogue_sha256=table.fingerprint(),
        entries=tuple(_entries(found.entries)),
        gaps=tuple(find_gaps(found.entries, query.track.duration_s)),
        n_parts=parts,
    )


def _scored(
    entries: Sequence[TimelineEntry], mix: Track, tracks: dict[str, Track]
) -> list[ScoredPair]:
    """Return one pair for each track of a timeline, with all its ranges, best first."""
    pairs = []
    for track_id in sorted({entry.track_id for entry in entries}):
        ranges = [entry.range for entry in entries if entry.track_id == track_id]
        ranges.sort(key=lambda one: (-(one.match_score or 0.0), one.a_start_s))
        score = max(one.match_score or 0.0 for one in ranges)
        evidence = gather_evidence(
            max(one.score for one in ranges),
            ranges,
            a_s=mix.duration_s,
            b_s=tracks[track_id].duration_s,
            background=0.0,
        )
        pairs.append(ScoredPair(mix.id, track_id, -1.0, evidence, score))
    return sorted(pairs, key=lambda pair: (-pair.score, pair.b))


def _with_files(pair: Pair, n_files: int) -> Pair:
    return dataclasses.replace(pair, n_files_b=n_files, similarity=None)


def _entries(entries: Sequence[TimelineEntry]) -> list[MixEntry]:
    made = []
    for i, entry in enumerate(entries):
        one = entry.range
        following = entries[i + 1].range if i + 1 < len(entries) else None
        overlap_s = 0.0 if following is None else one.a_end_s - following.a_start_s
        made.append(
            MixEntry(
                track=entry.track_id,
                start_s=round(one.a_start_s, 3),
                end_s=round(one.a_end_s, 3),
                track_start_s=round(one.b_start_s, 3),
                track_end_s=round(one.b_end_s, 3),
                tempo=round(one.tempo, 5),
                pitch_semitones=one.pitch_semitones,
                score=one.match_score or 0.0,
                overlap_s=round(max(0.0, overlap_s), 3),
                alternatives=entry.alternatives,
            )
        )
    return made


def find_gaps(entries: Sequence[TimelineEntry], duration_s: float) -> list[MixGap]:
    """Return where nothing of the catalogue was found for ``MIN_GAP_S`` and more."""
    gaps, heard_s = [], 0.0
    for start_s, end_s in [
        *((e.range.a_start_s, e.range.a_end_s) for e in entries),
        (duration_s, duration_s),
    ]:
        if start_s - heard_s >= MIN_GAP_S:
            gaps.append(MixGap(round(heard_s, 3), round(start_s, 3)))
        heard_s = max(heard_s, end_s)
    return gaps
