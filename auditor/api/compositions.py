"""The composition match of a scan or a check, beside that of recordings."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from auditor.api.run import Options
from auditor.catalogue.embedding_table import TrackTable
from auditor.decisions.apply import apply_to_compositions
from auditor.errors import DamagedTrackError, UsageError
from auditor.ingest.submissions import Submission
from auditor.parallel import OnProgress
from auditor.records import Compositions, Decision, Pair, Track, Verdict
from auditor.scoring.composition import (
    CompositionReader,
    comparable_tracks,
    open_rates,
    search_catalogue,
    search_submissions,
    search_track,
)
from auditor.scoring.verdict import may_be_played_apart
from auditor.workspace import Workspace

MAX_SCANNED = 3000
"""Tracks up to which a scan compares compositions unless told otherwise: the first time, a thousand
take some five minutes of one core."""


def compositions_of_catalogue(
    workspace: Workspace,
    ids: Sequence[str],
    tracks: Mapping[str, Track],
    pairs: Iterable[Pair],
    *,
    options: Options,
    on_track: OnProgress | None = None,
    on_pair: OnProgress | None = None,
) -> Compositions | None:
    """Return the list of a scan, None where it was not asked for.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    ids : sequence of str
        One track of each content.
    tracks : mapping of id to Track
    pairs : iterable of Pair
        Those of the recordings; the ones that share a recording are not listed again.
    options : Options
    on_track, on_pair : callables, optional
        Progress of reading pitches, and of aligning pairs.
    """
    if options.compositions is False:
        return None
    chosen = [tracks[i] for i in ids if i in tracks and not tracks[i].silent]
    if options.compositions is None and len(chosen) > MAX_SCANNED:
        return Compositions(
            (),
            options.max_chance_share,
            0,
            0,
            "",
            note=f"Compositions were not compared: there are more than {MAX_SCANNED:,} tracks, and "
            "it would take long. To compare them, give --compositions.",
        )
    with contextlib.closing(CompositionReader(workspace)) as reader:
        reader.bring_up_to_date(chosen, on_track=on_track)
        found = search_catalogue(
            reader,
            chosen,
            known=_one_recording(pairs),
            rates=open_rates(reader.model.id, workspace.threshold_directories),
            max_chance_share=options.max_chance_share,
            on_pair=on_pair,
        )
    return _decided(found, tracks, workspace.catalogue.decisions(), options.same_owner)


def compositions_of_submissions(
    workspace: Workspace,
    submissions: Sequence[Submission],
    table: TrackTable,
    tracks: Mapping[str, Track],
    pairs: Iterable[Pair],
    *,
    options: Options,
) -> Compositions | None:
    """Return the list of a check, None where it was not asked for.

    Parameters
    ----------
    workspace : Workspace
    submissions : sequence of Submission
    table : TrackTable
        One track of each content.
    tracks : mapping of id to Track
        Of the submissions and the catalogue.
    pairs, options
        As in ``compositions_of_catalogue``.
    """
    if options.compositions is False:
        return None
    with contextlib.closing(CompositionReader(workspace)) as reader:
        found = search_submissions(
            reader,
            submissions,
            table,
            known=_one_recording(pairs),
            rates=open_rates(reader.model.id, workspace.threshold_directories),
            max_chance_share=options.max_chance_share,
        )
    readable = tuple(match for match in found.matches if _is_readable(match.b, tracks))
    found = dataclasses.replace(found, matches=readable)
    return _decided(found, tracks, workspace.catalogue.decisions(), options.same_owner)


def _is_readable(track_id: str, tracks: Mapping[str, Track]) -> bool:
    try:
        return bool(tracks[track_id])
    except DamagedTrackError:  # the recordings' comparison or catalogue verify names it
        return False


def versions_of(
    workspace: Workspace,
    track_id: str,
    *,
    top: int = 10,
    leave_out: Collection[str] = (),
    options: Options | None = None,
) -> Compositions:
    """Return the tracks of a catalogue that may be the same piece as one of them.

    Parameters
    ----------
    workspace : Workspace
        May be opened read-only.
    track_id : str
    top : int
        Lines at most.
    leave_out : collection of str
        Ids that are not listed, such as copies of the recording.
    options : Options, optional

    Returns
    -------
    Compositions
        Its lines have the track as ``a``, best first.

    Raises
    ------
    CatalogueError
        If no track has this id.
    UsageError
        If the track has no composition to compare.
    """
    options = options or Options()
    track = workspace.catalogue.track(track_id)
    table = workspace.catalogue.table(workspace.weights_id).distinct()
    with contextlib.closing(CompositionReader(workspace)) as reader:
        own = reader.stored(track.sha256)
        if own.problem:
            raise UsageError(
                f"{track_id} has no composition to compare: {own.problem}. Give another track."
            )
        listed = search_track(
            reader,
            (track_id, track.sha256, own),
            comparable_tracks(reader, table),
            known=lambda _, other: other in leave_out,
            rates=open_rates(reader.model.id, workspace.threshold_directories),
            max_chance_share=options.max_chance_share,
            n_listed=top,
        )
    named = {track.id, *(match.b for match in listed.matches)}
    tracks = {i: workspace.catalogue.track(i) for i in named}
    return _decided(listed, tracks, workspace.catalogue.decisions(), options.same_owner)


def tracks_of_compositions(found: Compositions | None) -> set[str]:
    """Return the ids that a list names."""
    if found is None:
        return set()
    named = {track_id for match in found.matches for track_id in (match.a, match.b)}
    return named | {each.track for each in found.not_comparable}


_SHARED_RECORDING = frozenset(verdict.value for verdict in Verdict if verdict.flagged)


def _one_recording(pairs: Iterable[Pair]) -> Callable[[str, str], bool]:
    """Return what says of two ids whether their tracks share a recording."""
    known = {
        frozenset((pair.a, pair.b))
        for pair in pairs
        if pair.verdict in _SHARED_RECORDING and not may_be_played_apart(pair.evidence)
    }
    return lambda a, b: frozenset((a, b)) in known


def _decided(
    found: Compositions,
    tracks: Mapping[str, Track],
    decisions: Iterable[Decision],
    same_owner: Collection[str],
) -> Compositions:
    matches = apply_to_compositions(found.matches, tracks, decisions, same_owner)
    return dataclasses.replace(found, matches=matches)
