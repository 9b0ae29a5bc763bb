"""Submissions against a catalogue."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from auditor.api.compositions import compositions_of_submissions, tracks_of_compositions
from auditor.api.identifiers import conflicts_of_submissions
from auditor.api.run import MAX_FALSE_ALARMS, Options, open_threshold, with_note
from auditor.api.scan import damaged_files
from auditor.api.wide import cost_of_other_ways, require_wide
from auditor.audio.files import is_there
from auditor.calibration.choose import RunThreshold, use_of_submissions
from auditor.catalogue.catalogue import Catalogue
from auditor.catalogue.embedding_table import TrackTable
from auditor.decisions.apply import apply_decisions
from auditor.embedding.config import wide_retunings
from auditor.ingest.prepare import Embedder, PreparedFiles, SerialEmbedder
from auditor.ingest.session import OnEvent, ingest
from auditor.ingest.submissions import Submission, embed_submissions, own_id
from auditor.records import (
    CheckResult,
    Pair,
    SubmissionThreshold,
    ThresholdUse,
    Track,
    floor_rate,
    floor_use,
)
from auditor.scoring.base import RunContext, ScoringResult, open_scorer
from auditor.scoring.identical import SameFiles, identical_files
from auditor.scoring.identifiers import named_tracks
from auditor.workspace import Workspace, make_provenance, require_tracks


def check(
    workspace: Workspace,
    paths: Sequence[str | bytes | os.PathLike[str]],
    *,
    options: Options | None = None,
    add: bool = False,
    may_be_empty: bool = False,
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
        Store the submissions in the catalogue afterwards; it may be empty before.
    may_be_empty : bool
        The catalogue may be empty: the submissions are then compared with nothing, and the result
        says so.
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
        cannot be decoded is in ``skipped``, even if that is everything.  Unless the budget is for
        the whole batch (``Options.per_batch``), what is said of a submission depends on it and the
        catalogue, not on the other submissions.

    Raises
    ------
    AuditError
        If the catalogue is empty, there is no audio file, or no threshold is calibrated.
    ValueError
        If ``add`` and the workspace is not open for writing.
    """
    if add and not workspace.writable:
        raise ValueError("the workspace was opened with write=False; add needs write=True")
    options = (options or Options()).with_budget(MAX_FALSE_ALARMS)
    started = time.monotonic()
    scorer = open_scorer(workspace)
    threshold = open_threshold(workspace, scorer, options)
    stored = workspace.catalogue.table(workspace.weights_id)
    if not (add or may_be_empty):
        require_tracks(workspace, len(stored.tracks))
    if options.wide:
        require_wide(workspace, scorer)
    submitted = embed_submissions(
        workspace,
        paths,
        stored=stored.by_id,
        embedder=embedder,
        on_event=on_event,
        retunings=wide_retunings if options.wide else None,
    )
    if on_submission is not None:
        for submission in submitted.items:
            on_submission(submission)
    compared = [
        dataclasses.replace(s, own_id=own_id(workspace, s.path, s.track.sha256))
        for s in submitted.items
        if not s.track.silent
    ]
    # As it is now: other processes went on while the submissions were decoded.
    table = workspace.catalogue.table(workspace.weights_id)
    distinct, same = table.distinct(), table.same_files()
    own_rows = [table.tracks.row_of(s.own_id) for s in compared]
    n_tracks = len(table.tracks)
    alone = [dataclasses.replace(s, own_id=_own_alone(s.own_id, table)) for s in compared]
    counts = {}
    for s, row in zip(alone, own_rows, strict=True):
        n = len(distinct.tracks) - bool(s.own_id)
        # Heard otherwise, and searched for passages of seconds.
        n_other_ways = 1 + len(s.hearings) if s.hearings else 0
        n_ways = 1 + n_other_ways
        if n_other_ways and options.max_false is not None:
            n_ways = 2  # half of the budget is for the submission as it is, half for all other ways
        of_source = min(n, max(0, workspace.catalogue.n_of_source(s.track) - (row >= 0)))
        counts[s.track.id] = _Comparisons(n_ways * n, n_ways * of_source, n_ways, n_other_ways)
    use, uses = _choose(threshold, counts, options, n_tracks=len(distinct.tracks))
    costs = {
        track_id: _wide_cost(threshold, counts, track_id, each, options)
        for track_id, each in uses.items()
    }
    if options.wide and counts:
        use = dataclasses.replace(use, n_pairs=sum(c.n // c.n_ways for c in counts.values()))
        use = with_note(use, _wide_note(counts, costs, options))
    known = _Tracks(workspace.catalogue, {s.track.id: s.track for s in submitted.items})
    scored = ScoringResult([], 0)
    if compared and len(distinct.tracks):
        contexts = {
            (each, cost): RunContext(threshold, each, options.search, wide_cost=cost)
            for each, cost in zip(uses.values(), costs.values(), strict=True)
        }
        of_submission = {
            track_id: contexts[each, costs[track_id]] for track_id, each in uses.items()
        }
        run = RunContext(threshold, use, options.search, of_submission)
        scored = scorer.check(alone, distinct, known, run=run)
        use = threshold.with_music_note(
            use, scored.cosines, flagged_from=scored.similar_from, pairs=scored.examined
        )
        use = with_note(use, scored.left_out)
    own_ids = {s.track.id: s.own_id for s in compared}
    found = [_without_itself(pair, own_ids[pair.a], same) for pair in scored.pairs]
    firsts = {pair.b for pair in scored.pairs}
    compositions = compositions_of_submissions(
        workspace, alone, distinct, known, found, options=options
    )
    rotten = dict(table.damaged) | scored.damaged
    pairs = apply_decisions(found, known, workspace.catalogue.decisions(), options.same_owner)
    conflicts = conflicts_of_submissions(workspace, compared, table, known, pairs, damaged=rotten)
    wanted = {pair.b for pair in found}.union(*(same.get(first, ()) for first in firsts))
    wanted |= named_tracks(conflicts) - {s.track.id for s in compared}
    wanted |= {
        track_id
        for track_id in tracks_of_compositions(compositions)
        if table.tracks.row_of(track_id) >= 0
    }
    shortest_s = min((s.track.duration_s for s in compared), default=None)
    calibration = threshold.calibration
    result = CheckResult(
        submissions=tuple(s.track for s in submitted.items),
        tracks=tuple(known[track_id] for track_id in sorted(wanted)),
        pairs=pairs,
        skipped=(*submitted.skipped, *damaged_files(workspace, rotten)),
        n_tracks=n_tracks,
        n_pairs_compared=scored.n_compared,
        search=options.search,
        index_recall=scored.recall,
        threshold=floor_use(use),
        provenance=make_provenance(workspace, command=command, started=started),
        detection=threshold.detection(use, shortest_s),
        detection_s=(calibration and calibration.counted_length(shortest_s)) or None,
        identical=identical_files(same, known, firsts),
        compositions=compositions,
        catalogue_sha256=table.fingerprint(),
        thresholds=tuple(
            _of_submission(track_id, each, counts[track_id]) for track_id, each in uses.items()
        ),
        identifiers=conflicts,
    )
    if add:
        here = [s for s in submitted.items if is_there(s.path)]
        prepared = PreparedFiles(
            [(s.path, s.prepared) for s in here if s.prepared],
            SerialEmbedder([workspace.extractor]),
        )
        ingest(workspace, [s.path for s in here], embedder=prepared)
    return result


class _Comparisons(NamedTuple):
    """Comparisons of a submission.

    Attributes
    ----------
    n, n_one_source : int
        All of them, and those with tracks of its own source.
    n_ways : int
        How often each track counts.
    n_other_ways : int
        Ways of ``--wide`` besides the submission as it is.
    """

    n: int
    n_one_source: int
    n_ways: int
    n_other_ways: int


def _choose(
    threshold: RunThreshold,
    counts: Mapping[str, _Comparisons],
    options: Options,
    *,
    n_tracks: int,
) -> tuple[ThresholdUse, dict[str, ThresholdUse]]:
    """Return what is known of the thresholds of a check as a whole, and of each submission.

    Parameters
    ----------
    threshold : RunThreshold
    counts : mapping of id to _Comparisons
    options : Options
    n_tracks : int
        Contents of the catalogue.
    """
    size = options.catalogue_size
    n_comparisons = sum(count.n for count in counts.values())
    n_one_source = sum(count.n_one_source for count in counts.values())
    if options.per_batch or not counts:
        n_ways = sum(count.n_ways for count in counts.values())
        planned = None if size is None else size * n_ways
        whole = threshold.choose(n_comparisons, n_one_source, planned=planned)
        whole = dataclasses.replace(whole, per_submission=not options.per_batch)
        uses = dict.fromkeys(counts, whole)
    else:
        chosen = {
            count: dataclasses.replace(
                threshold.choose(
                    count.n,
                    count.n_one_source,
                    planned=None if size is None else size * count.n_ways,
                ),
                per_submission=True,
                catalogue_size=size,
            )
            for count in set(counts.values())
        }
        uses = {track_id: chosen[count] for track_id, count in counts.items()}
        whole = use_of_submissions(list(uses.values()))
    whole = dataclasses.replace(whole, catalogue_size=size)
    if size is not None and n_tracks > size:
        whole = with_note(
            whole,
            f"The catalogue has {n_tracks:,} tracks and the budget is for {size:,}, so more false "
            "alarms are expected than it allows. Give a larger --catalogue-size.",
        )
    return whole, uses


def _wide_cost(
    threshold: RunThreshold,
    counts: Mapping[str, _Comparisons],
    track_id: str,
    use: ThresholdUse,
    options: Options,
) -> float:
    """Return what the scores of the other ways of a submission are lowered by."""
    count = counts[track_id]
    if not count.n_other_ways or options.max_false is None:
        return 0.0
    of = list(counts.values()) if options.per_batch else [count]
    n, n_one_source, n_ways = (count.n_other_ways * sum(each[i] for each in of) for i in range(3))
    size = options.catalogue_size
    planned = None if size is None else size * n_ways
    return cost_of_other_ways(threshold, use, n, n_one_source, planned=planned)


def _wide_note(
    counts: Mapping[str, _Comparisons], costs: Mapping[str, float], options: Options
) -> str:
    most = max(count.n_other_ways for count in counts.values())
    said = (
        "Each submission was also heard at other pitches and tempos, and searched for passages of "
        f"seconds (--wide), in up to {most} ways"
    )
    if options.max_false is None:
        return f"{said}: each is a further comparison."
    return (
        f"{said}: they have half of the budget, and scores that only they reach are lowered by up "
        f"to {max(costs.values()):.2f}."
    )


def _of_submission(track_id: str, use: ThresholdUse, count: _Comparisons) -> SubmissionThreshold:
    return SubmissionThreshold(
        track_id,
        use.threshold,
        count.n,
        None if use.n_one_source is None else count.n_one_source,
        floor_rate(use.far),
        floor_rate(None if use.far is None else use.far * count.n),
    )


def _own_alone(own_id: str, table: TrackTable) -> str:
    """Return the id of a submission's own track if it alone has its content, else ""."""
    row = table.tracks.row_of(own_id)
    is_alone = row >= 0 and len(table.rows_of_content(table.hashes[row].decode())) == 1
    return own_id if is_alone else ""


def _without_itself(pair: Pair, own_id: str, same: SameFiles) -> Pair:
    """Return a pair with how many files its track stands for, the submission itself left out."""
    copies = same.get(pair.b)
    if copies is None:
        return pair
    others = [track_id for track_id in copies if track_id != own_id]
    return dataclasses.replace(pair, b=others[0], n_files_b=len(others))


class _Tracks(dict[str, Track]):
    """Tracks by id; those of the catalogue are read when they are first asked for."""

    def __init__(self, catalogue: Catalogue, others: Mapping[str, Track]) -> None:
        super().__init__(others)
        self._catalogue = catalogue

    def __missing__(self, track_id: str) -> Track:
        self[track_id] = self._catalogue.track(track_id)
        return self[track_id]
