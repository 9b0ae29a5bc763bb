"""Every similar pair of a catalogue."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from auditor.api.compositions import compositions_of_catalogue, tracks_of_compositions
from auditor.api.run import MAX_FALSE_PAIRS, Options, open_threshold, with_note
from auditor.api.wide import require_wide, scan_wide
from auditor.audio.fma_tags import load_fma
from auditor.catalogue.sources import n_pairs_of_one_source, track_sources
from auditor.decisions.apply import apply_decisions
from auditor.ingest.prepare import Embedder
from auditor.ingest.session import OnEvent, ingest
from auditor.parallel import LocalTiles, OnProgress, Tiles
from auditor.records import Cluster, Pair, ScanResult, SinceLastScan, Skipped, Track, floor_use
from auditor.scoring.base import RunContext, open_scorer
from auditor.scoring.identical import identical_files, identical_pairs, with_n_files
from auditor.scoring.identifiers import holders_of, identifier_conflicts, named_tracks
from auditor.scoring.losses import LossReader
from auditor.scoring.originals import Measure, suggest_original
from auditor.search.exact import clusters, n_pairs
from auditor.workspace import Workspace, make_provenance, require_tracks


def scan(
    workspace: Workspace,
    roots: Sequence[str | bytes | os.PathLike[str]] = (),
    *,
    options: Options | None = None,
    fma: Path | None = None,
    reread_tags: bool = False,
    embedder: Embedder | None = None,
    tiles: Tiles | None = None,
    on_event: OnEvent | None = None,
    on_pair: OnProgress | None = None,
    on_composition: OnProgress | None = None,
    on_hearing: OnProgress | None = None,
    command: str = "",
    last: ScanResult | None = None,
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
    reread_tags : bool
        Also read the tags of files that have not changed since they were embedded.
    embedder : Embedder, optional
        Embeds what is new; by default one file after the other in this process.
    tiles : Tiles, optional
        Where pairs are looked for; by default here, by one thread.
    on_event, on_pair, on_composition, on_hearing : callables, optional
        Called after each file; with the candidate pairs examined and all of them; with the
        pairs that were compared as compositions and all of them; and with the tracks that were
        heard otherwise (``Options.wide``) and all of them.
    command : str
        Kept in the provenance.
    last : ScanResult, optional
        The scan before, to say what is new since (``decisions.review.last_scan``).

    Returns
    -------
    ScanResult
        Its tracks are those of the pairs and those that deserve a word: truncated, silent, missing.

    Raises
    ------
    AuditError
        If there is no audio, no threshold, or a damaged part of the workspace.
    """
    options = (options or Options()).with_budget(MAX_FALSE_PAIRS)
    started = time.monotonic()
    scorer = open_scorer(workspace)
    threshold = open_threshold(workspace, scorer, options)
    if options.wide:
        require_wide(workspace, scorer)
    metadata = load_fma(fma) if fma is not None else None
    damaged = workspace.catalogue.set_damaged_aside(workspace.weights_id)
    ingested = ingest(
        workspace,
        roots,
        fma=metadata,
        embedder=embedder,
        reread_tags=reread_tags,
        on_event=on_event,
    )
    skipped = workspace.catalogue.skipped()
    if roots:  # what was damaged there is stored anew
        workspace.catalogue.drop_damaged_skipped()
        if damaged:
            workspace.catalogue.drop_lost_rows(workspace.weights_id)
    table = workspace.catalogue.table(workspace.weights_id)
    if not roots:
        require_tracks(workspace, len(table.tracks))
    distinct = table.distinct()
    ids, embeddings = distinct.tracks.names(), distinct.embeddings
    same = table.same_files()
    rotten: dict[str, str] = {}
    tracks = {track.id: track for track in workspace.catalogue.tracks(damaged=rotten)}
    rotten |= {i: damaged.get(i, problem) for i, problem in table.damaged if i not in rotten}
    sources = track_sources([tracks[track_id] for track_id in ids])
    n, n_one_source = n_pairs(len(ids)), n_pairs_of_one_source(sources)
    has_budget = options.max_false is not None
    halves = 2 if options.wide and has_budget else 1  # half is for what --wide compares besides
    use = threshold.choose(halves * n, halves * n_one_source)
    run = RunContext(threshold, use, options.search)
    tiles = tiles or LocalTiles()
    scored = scorer.scan(
        ids,
        embeddings,
        tracks,
        run=run,
        tiles=tiles,
        on_pair=on_pair,
    )
    as_they_are = use if halves == 1 else threshold.recount(use, n, n_one_source)
    noted = threshold.with_music_note(
        as_they_are, scored.cosines, flagged_from=scored.similar_from, pairs=scored.examined
    )
    use = with_note(dataclasses.replace(use, note=noted.note), scored.left_out)
    not_heard: tuple[Skipped, ...] = ()
    if options.wide:
        wide = scan_wide(
            workspace,
            scorer,
            distinct,
            tracks,
            scored.pairs,
            run=run,
            same=same,
            sources=sources,
            has_budget=has_budget,
            tiles=tiles,
            on_track=on_hearing,
        )
        scored = dataclasses.replace(
            scored, pairs=wide.among(scored.pairs), damaged=scored.damaged | wide.damaged
        )
        not_heard = wide.skipped
        if not has_budget:
            use = threshold.recount(use, n + wide.n_comparisons, n_one_source + wide.n_one_source)
        use = with_note(dataclasses.replace(use, n_pairs=n), wide.note)
    found = [*scored.pairs, *identical_pairs(scorer, same, tracks, run)]
    found = [with_n_files(pair, same) for pair in found]
    found.sort(key=lambda pair: (-pair.score, pair.a, pair.b))
    decisions = workspace.catalogue.decisions()
    pairs = apply_decisions(found, tracks, decisions, options.same_owner)
    compositions = compositions_of_catalogue(
        workspace, ids, tracks, pairs, options=options, on_pair=on_composition
    )
    in_pairs = {track_id for pair in pairs for track_id in (pair.a, pair.b)}
    in_pairs.update(*same.values())
    in_pairs.update(tracks_of_compositions(compositions))
    holders = holders_of(
        tracks[track_id]
        for track_id in table.tracks.names()
        if track_id in tracks and track_id not in scored.damaged
    )
    conflicts = identifier_conflicts(holders, holders, pairs, tracks)
    in_pairs |= named_tracks(conflicts)
    return ScanResult(
        tracks=tuple(worth_listing(tracks, in_pairs, tracks)),
        pairs=pairs,
        clusters=flagged_clusters(table.tracks.names(), pairs, tracks, same, LossReader(workspace)),
        skipped=merge_skipped(
            skipped,
            damaged_files(workspace, rotten | scored.damaged),
            not_heard,
            ingested.skipped,
        ),
        n_tracks=len(table.tracks),
        n_pairs_compared=scored.n_compared,
        search=options.search,
        index_recall=scored.recall,
        histogram=scored.histogram,
        threshold=floor_use(use),
        provenance=make_provenance(workspace, command=command, started=started),
        detection=threshold.detection(use),
        identical=identical_files(same, tracks),
        compositions=compositions,
        catalogue_sha256=table.fingerprint(),
        since=compare_with_last(pairs, last, workspace.weights_id),
        identifiers=conflicts,
    )


def compare_with_last(
    pairs: Sequence[Pair], last: ScanResult | None, weights_id: str
) -> SinceLastScan | None:
    """Return what is new among the pairs of a scan; None without an earlier scan of these weights.

    Pairs are compared by their ids, which follow from the contents of both files.
    """
    if last is None or last.provenance.weights_id != weights_id:
        return None
    before = {pair.pair_id for pair in last.pairs if pair.flagged}
    flagged = [pair.pair_id for pair in pairs if pair.flagged]
    return SinceLastScan(
        last.provenance.created,
        tuple(dict.fromkeys(pair_id for pair_id in flagged if pair_id not in before)),
        tuple(sorted(before.difference(flagged))),
    )


def worth_listing(
    tracks: Mapping[str, Track], in_pairs: Container[str], here: Container[str]
) -> list[Track]:
    """Return the tracks of pairs, and those of a run that deserve a word."""
    return [
        track
        for track in tracks.values()
        if track.id in in_pairs
        or (track.id in here and (track.truncated or track.silent or track.missing))
    ]


def damaged_files(workspace: Workspace, damaged: Mapping[str, str]) -> list[Skipped]:
    """Return the tracks that a run goes on without, as files that took no part."""
    return [
        Skipped.of(workspace.catalogue.shown_path(track_id), problem, "damaged-row")
        for track_id, problem in sorted(damaged.items())
    ]


def flagged_clusters(
    ids: list[str],
    pairs: Sequence[Pair],
    tracks: Mapping[str, Track],
    same: Mapping[str, tuple[str, ...]],
    measure: Measure | None = None,
) -> tuple[Cluster, ...]:
    """Return the tracks that flagged pairs connect, with the files of the same bytes.

    Parameters
    ----------
    ids : list of str
        All tracks, sorted.
    pairs : sequence of Pair
    tracks : mapping of id to Track
    same : mapping
        See ``scoring.identical.SameFiles``.
    measure : callable, optional
        See ``scoring.originals.Measure``.
    """
    row_of = {track_id: row for row, track_id in enumerate(ids)}
    flagged = [pair for pair in pairs if pair.flagged]
    links = [(pair.a, pair.b) for pair in flagged]
    linked = {track_id for link in links for track_id in link}
    links += [(a, b) for a, copies in same.items() if a in linked for b in copies[1:]]
    rows_a, rows_b = (
        np.array([row_of[track_id] for track_id in side], dtype=np.int64)
        for side in ([a for a, _ in links], [b for _, b in links])
    )
    groups = clusters(len(ids), rows_a, rows_b)
    number = {row: i for i, group in enumerate(groups) for row in group}
    highest = [-1.0] * len(groups)
    for pair in flagged:
        i = number[row_of[pair.a]]
        highest[i] = max(highest[i], pair.score)
    members = [tuple(ids[row] for row in group) for group in groups]
    return tuple(
        Cluster(names, score, *suggest_original([tracks[name] for name in names], measure))
        for names, score in zip(members, highest, strict=True)
    )


def merge_skipped(*lists: Iterable[Skipped]) -> tuple[Skipped, ...]:
    """Return each skipped path once, sorted; of two reasons the later one."""
    merged = {skipped.path: skipped for skipped in (s for part in lists for s in part)}
    return tuple(merged[path] for path in sorted(merged))
