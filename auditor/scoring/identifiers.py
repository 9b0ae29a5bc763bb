"""Where the identifiers of tags and the sound of the files disagree.

An ISRC (ISO 3901) names one recording, and so does the id that MusicBrainz gives it; an AcoustID
names what its fingerprint tells apart.  Two files with one of these and different audio, or with
the same audio and different ones, are mistakes of a catalogue, or deserve a look.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from auditor.records import (
    CheckResult,
    DecisionKind,
    DifferingIdentifiers,
    IdentifierConflicts,
    Pair,
    SharedIdentifier,
    Track,
    Verdict,
    tracks_by_id,
)

OF_A_RECORDING = ("isrc", "mb-recording", "acoustid")
"""Schemes whose identifiers name a recording: two recordings with one of them disagree."""

OF_ONE_RECORDING = ("isrc", "mb-recording", "iswc")
"""Schemes of which a recording has one.  AcoustID is not among them, since files of one recording
have several as soon as their fingerprints differ, nor a release, since a recording is on several.
"""

MAX_LISTED = 20
"""Tracks of one identifier that a check lists, the submission among them."""

_WHOLE = (Verdict.IDENTICAL_FILE, Verdict.SAME_RECORDING, Verdict.ALTERED_RECORDING, "")
"""The last one stands for pairs of an extractor that compares whole tracks and has no verdicts."""

_DENIED = (DecisionKind.FALSE_ALARM, DecisionKind.COVER)

Holders = Mapping[str, Mapping[str, str]]
"""By identifier the tracks that have it: SHA-256 by id."""


def of_scheme(track: Track, scheme: str) -> tuple[str, ...]:
    """Return the identifiers of one scheme that a track has."""
    return tuple(i for i in track.identifiers if i.partition(":")[0] == scheme)


def is_one_recording(pair: Pair) -> bool:
    """Say whether a pair was found to be one recording, and nobody has decided otherwise."""
    counts = pair.flagged or pair.decision != ""
    return counts and pair.verdict in _WHOLE and pair.decision not in _DENIED


def holders_of(tracks: Iterable[Track]) -> dict[str, dict[str, str]]:
    """Return who has each identifier of a recording."""
    holders: dict[str, dict[str, str]] = {}
    for track in tracks:
        for scheme in OF_A_RECORDING:
            for identifier in of_scheme(track, scheme):
                holders.setdefault(identifier, {})[track.id] = track.sha256
    return holders


def identifier_conflicts(
    left: Holders, right: Holders, pairs: Iterable[Pair], tracks: Mapping[str, Track]
) -> IdentifierConflicts:
    """Return where identifiers and sound disagree.

    Parameters
    ----------
    left, right : Holders
        Of the tracks of two sides that were compared with each other; one object twice for all
        pairs of one catalogue.
    pairs : iterable of Pair
        What was found of them.
    tracks : mapping of id to Track
        The tracks of the pairs.

    Returns
    -------
    IdentifierConflicts
        A pair that only shares an excerpt counts as different audio, and files of the same bytes
        as one recording.
    """
    found = [pair for pair in pairs if is_one_recording(pair)]
    named = {track_id for side in (left, right) for held in side.values() for track_id in held}
    return IdentifierConflicts(
        len(named),
        tuple(_shared(left, right, found, tracks)),
        tuple(_differing(found, tracks)),
    )


def submission_conflicts(
    submission: Track,
    holders: Holders,
    pairs: Iterable[Pair],
    tracks: Mapping[str, Track],
    *,
    own_id: str = "",
) -> IdentifierConflicts:
    """Return where the identifiers and the sound of a submission and a catalogue disagree.

    Parameters
    ----------
    submission : Track
    holders : Holders
        Of the tracks of the catalogue that it was compared with.
    pairs : iterable of Pair
        What was found of the submission.
    tracks : mapping of id to Track
        The tracks of the pairs.
    own_id : str
        The track of the catalogue that it is itself, with which it was not compared.
    """
    own = holders_of([submission])
    theirs = {
        identifier: {i: sha256 for i, sha256 in holders[identifier].items() if i != own_id}
        for identifier in own.keys() & holders.keys()
    }
    found = identifier_conflicts(own, theirs, pairs, tracks)
    return dataclasses.replace(
        found, n_tracks=int(bool(own)), shared=tuple(map(_cut, found.shared))
    )


def merge_conflicts(parts: Iterable[IdentifierConflicts]) -> IdentifierConflicts:
    """Return what was said of several submissions, one after the other, as one."""
    parts = list(parts)
    return IdentifierConflicts(
        sum(part.n_tracks for part in parts),
        tuple(entry for part in parts for entry in part.shared),
        tuple(entry for part in parts for entry in part.differing),
    )


def conflicts_of(conflicts: IdentifierConflicts, submission: str) -> IdentifierConflicts:
    """Return what a check says of one submission."""
    return dataclasses.replace(
        conflicts,
        shared=tuple(e for e in conflicts.shared if e.groups[0][0] == submission),
        differing=tuple(e for e in conflicts.differing if e.a == submission),
    )


def with_new_id(conflicts: IdentifierConflicts, submission: str) -> IdentifierConflicts:
    """Return what a check says of a single submission, which gets another id."""
    return dataclasses.replace(
        conflicts,
        shared=tuple(
            dataclasses.replace(e, groups=((submission, *e.groups[0][1:]), *e.groups[1:]))
            for e in conflicts.shared
        ),
        differing=tuple(dataclasses.replace(e, a=submission) for e in conflicts.differing),
    )


def conflicts_anew(result: CheckResult) -> IdentifierConflicts | None:
    """Return the conflicts of a check whose pairs were decided since."""
    if result.identifiers is None:
        return None
    tracks = tracks_by_id(result)
    listed = named_tracks(result.identifiers) | {pair.b for pair in result.pairs}
    holders = holders_of(track for track in result.tracks if track.id in listed)
    parts = []
    for track in result.submissions:
        pairs = [pair for pair in result.pairs if pair.a == track.id]
        before = conflicts_of(result.identifiers, track.id)
        n_more = {entry.identifier: entry.n_more for entry in before.shared}
        found = submission_conflicts(track, holders, pairs, tracks)
        shared = [
            dataclasses.replace(entry, n_more=entry.n_more + n_more.get(entry.identifier, 0))
            for entry in found.shared
        ]
        parts.append(dataclasses.replace(found, shared=tuple(shared)))
    return merge_conflicts(parts)


def named_tracks(conflicts: IdentifierConflicts) -> set[str]:
    """Return the tracks that a result has to list for the sake of their identifiers."""
    return {track_id for entry in conflicts.shared for group in entry.groups for track_id in group}


def _cut(entry: SharedIdentifier) -> SharedIdentifier:
    """Return an entry with at most ``MAX_LISTED`` tracks."""
    left, groups = MAX_LISTED, []
    for group in entry.groups:
        groups.append(group[:left])
        left -= len(groups[-1])
    n_more = sum(map(len, entry.groups)) - (MAX_LISTED - left)
    return SharedIdentifier(entry.identifier, tuple(filter(None, groups)), n_more)


def _shared(
    left: Holders, right: Holders, found: Iterable[Pair], tracks: Mapping[str, Track]
) -> Iterator[SharedIdentifier]:
    recording_of = _Recordings()
    for pair in found:
        recording_of.join(tracks[pair.a].sha256, tracks[pair.b].sha256)
    for identifier in sorted(left.keys() & right.keys()):
        a, b = left[identifier], right[identifier]
        groups: dict[str, list[str]] = {}
        for track_id, sha256 in (dict(sorted(a.items())) | dict(sorted(b.items()))).items():
            groups.setdefault(recording_of[sha256], []).append(track_id)
        if len(groups) > 1 and a and b:
            yield SharedIdentifier(identifier, tuple(map(tuple, groups.values())))


def _differing(
    found: Iterable[Pair], tracks: Mapping[str, Track]
) -> Iterator[DifferingIdentifiers]:
    for pair in found:
        for scheme in OF_ONE_RECORDING:
            a, b = (of_scheme(tracks[side], scheme) for side in (pair.a, pair.b))
            if a and b and set(a).isdisjoint(b):
                yield DifferingIdentifiers(pair.pair_id, pair.a, pair.b, a, b)


class _Recordings(dict[str, str]):
    """By content one content of its recording, the same for all that pairs connect."""

    def __missing__(self, sha256: str) -> str:
        return sha256

    def __getitem__(self, sha256: str) -> str:
        while (other := super().__getitem__(sha256)) != sha256:
            self[sha256] = super().__getitem__(other)  # so that ways stay short
            sha256 = other
        return sha256

    def join(self, a: str, b: str) -> None:
        """Say that two contents are one recording."""
        self[self[a]] = self[b]
