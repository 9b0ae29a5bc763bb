"""Where the identifiers of tags and the sound of the files disagree.

An ISRC (ISO 3901) names one recording, and so does the id that MusicBrainz gives it; an AcoustID
names what its fingerprint tells apart.  Two files with one of these and different audio, or with
the same audio and different ones, are mistakes of a catalogue, or deserve a look.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from auditor.records import (
    DecisionKind,
    DifferingIdentifiers,
    IdentifierConflicts,
    Pair,
    SharedIdentifier,
    Track,
    Verdict,
)
from auditor.scoring.identical import SameFiles
from auditor.search.exact import clusters

OF_A_RECORDING = ("isrc", "mb-recording", "acoustid")
"""Schemes whose identifiers name a recording: two recordings with one of them disagree."""

OF_ONE_RECORDING = ("isrc", "mb-recording", "iswc")
"""Schemes of which a recording has one.  AcoustID is not among them, since files of one recording
have several as soon as their fingerprints differ, nor a release, since a recording is on several.
"""

_WHOLE = (Verdict.IDENTICAL_FILE, Verdict.SAME_RECORDING, Verdict.ALTERED_RECORDING, "")
"""The last one stands for pairs of an extractor that compares whole tracks and has no verdicts."""

_DENIED = (DecisionKind.FALSE_ALARM, DecisionKind.COVER)


def of_scheme(track: Track, scheme: str) -> tuple[str, ...]:
    """Return the identifiers of one scheme that a track has."""
    return tuple(i for i in track.identifiers if i.partition(":")[0] == scheme)


def is_one_recording(pair: Pair) -> bool:
    """Say whether a pair was found to be one recording, and nobody has decided otherwise."""
    counts = pair.flagged or pair.decision != ""
    return counts and pair.verdict in _WHOLE and pair.decision not in _DENIED


def identifier_conflicts(
    tracks: Sequence[Track], pairs: Iterable[Pair], same: SameFiles
) -> IdentifierConflicts:
    """Return where identifiers and sound disagree.

    Parameters
    ----------
    tracks : sequence of Track
        All that were compared; silent ones are passed over.
    pairs : iterable of Pair
        What was found of them.
    same : SameFiles
        Files of the same bytes, of which one was compared.

    Returns
    -------
    IdentifierConflicts
        A pair that only shares an excerpt counts as different audio.
    """
    heard = {track.id: track for track in tracks if not track.silent}
    found = [pair for pair in pairs if is_one_recording(pair)]
    group_of = _groups(list(heard), found, same)
    holders: dict[str, list[str]] = {}
    named = set()
    for track in heard.values():
        for scheme in OF_A_RECORDING:
            for identifier in of_scheme(track, scheme):
                holders.setdefault(identifier, []).append(track.id)
                named.add(track.id)
    shared = []
    for identifier, ids in sorted(holders.items()):
        groups: dict[int, list[str]] = {}
        for track_id in sorted(ids):
            groups.setdefault(group_of[track_id], []).append(track_id)
        if len(groups) > 1:
            shared.append(SharedIdentifier(identifier, tuple(map(tuple, groups.values()))))
    return IdentifierConflicts(len(named), tuple(shared), tuple(_differing(found, heard)))


def _differing(pairs: Iterable[Pair], tracks: dict[str, Track]) -> Iterable[DifferingIdentifiers]:
    for pair in pairs:
        if pair.a not in tracks or pair.b not in tracks:
            continue
        for scheme in OF_ONE_RECORDING:
            a, b = (of_scheme(tracks[side], scheme) for side in (pair.a, pair.b))
            if a and b and set(a).isdisjoint(b):
                yield DifferingIdentifiers(pair.pair_id, pair.a, pair.b, a, b)


def _groups(ids: Sequence[str], pairs: Iterable[Pair], same: SameFiles) -> dict[str, int]:
    """Return the number of the group of each track: those that pairs and same bytes connect."""
    row_of = {track_id: row for row, track_id in enumerate(ids)}
    links = [(pair.a, pair.b) for pair in pairs]
    links += [(first, copy) for first, copies in same.items() for copy in copies[1:]]
    rows = [(row_of[a], row_of[b]) for a, b in links if a in row_of and b in row_of]
    rows_a, rows_b = np.asarray(rows, dtype=np.int64).reshape(-1, 2).T
    group_of = dict(zip(ids, range(len(ids)), strict=True))
    for group in clusters(len(ids), rows_a, rows_b):
        for row in group:
            group_of[ids[row]] = group[0]
    return group_of
