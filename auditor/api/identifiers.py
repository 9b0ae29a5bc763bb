"""Identifiers of submissions against those of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from auditor.catalogue.embedding_table import TrackTable
from auditor.ingest.submissions import Submission
from auditor.records import IdentifierConflicts, Pair, Track
from auditor.scoring.identifiers import holders_of, merge_conflicts, submission_conflicts
from auditor.workspace import Workspace


def conflicts_of_submissions(
    workspace: Workspace,
    submissions: Sequence[Submission],
    table: TrackTable,
    known: dict[str, Track],
    pairs: Iterable[Pair],
    *,
    damaged: dict[str, str],
) -> IdentifierConflicts:
    """Return where the identifiers and the sound of submissions and the catalogue disagree.

    What is said of a submission does not depend on the others.

    Parameters
    ----------
    workspace : Workspace
    submissions : sequence of Submission
        Those that were compared; ``own_id`` is the track of the catalogue that each is itself,
        with which it was not.
    table : TrackTable
        What they were compared with.
    known : dict of id to Track
        The submissions and the tracks of the pairs; those found here are added.
    pairs : iterable of Pair
        What was found of them; ``a`` is a submission.
    damaged : dict
        What is wrong with tracks by id; they are left out, and what is found damaged here is added.
    """
    wanted = holders_of(s.track for s in submissions).keys()
    tracks = {
        track.id: track
        for track in workspace.catalogue.holders(wanted, damaged=damaged)
        if table.tracks.row_of(track.id) >= 0 and track.id not in damaged
    }
    known |= tracks
    holders = holders_of(tracks.values())
    of_submission: dict[str, list[Pair]] = {s.track.id: [] for s in submissions}
    for pair in pairs:
        of_submission[pair.a].append(pair)
    return merge_conflicts(
        submission_conflicts(s.track, holders, of_submission[s.track.id], known, own_id=s.own_id)
        for s in submissions
    )
