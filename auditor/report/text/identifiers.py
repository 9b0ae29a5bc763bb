"""Identifiers of tags in words: what they are called, and where they disagree with the sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from auditor.errors import show_text
from auditor.records import (
    IDENTIFIERS,
    CheckResult,
    CompareResult,
    ScanResult,
    Track,
    find_track,
    tracks_by_id,
)
from auditor.report.text.general import show_count

SHARED, DIFFERING = "Same identifier, different audio", "Same audio, different identifiers"
"""Titles of the two reports."""

N_NAMED = 5
"""Tracks named of one recording, and recordings of one identifier, where there are more."""


def show_identifiers(identifiers: Iterable[str]) -> str:
    """Return identifiers with the names of their schemes.

    Examples
    --------
    >>> show_identifiers(["isrc:USRC17607839", "isrc:GBAYE0601498", "iswc:T0345246801"])
    'ISRC USRC17607839, GBAYE0601498; ISWC T0345246801'
    """
    values: dict[str, list[str]] = {}
    for identifier in identifiers:
        scheme, _, value = identifier.partition(":")
        values.setdefault(IDENTIFIERS.get(scheme, scheme), []).append(value)
    return show_text("; ".join(f"{name} {', '.join(own)}" for name, own in values.items()))


def shared_rows(result: ScanResult | CheckResult) -> Iterator[tuple[str, list[str]]]:
    """Yield each identifier of several recordings, and what is said of the tracks of each."""
    tracks = tracks_by_id(result)
    for entry in result.identifiers.shared if result.identifiers else ():
        named = [_named([tracks[i] for i in ids if i in tracks]) for ids in entry.groups[:N_NAMED]]
        n_more = sum(map(len, entry.groups[N_NAMED:])) + entry.n_more
        if n_more:
            named.append(show_count(n_more, "more track"))
        yield show_identifiers([entry.identifier]), named


def differing_rows(
    result: ScanResult | CheckResult,
) -> Iterator[tuple[str, tuple[str, str], tuple[str, str]]]:
    """Yield pair id, and track and identifiers of either side, of each recording with several."""
    tracks = tracks_by_id(result)
    for entry in result.identifiers.differing if result.identifiers else ():
        sides = ((entry.a, entry.identifiers_a), (entry.b, entry.identifiers_b))
        a, b = (
            (_named([find_track(tracks, track_id)]), show_identifiers(identifiers))
            for track_id, identifiers in sides
        )
        yield show_text(entry.pair_id), a, b


def identifiers_hint(result: ScanResult | CheckResult) -> str:
    """Return what a reader must know of both reports; empty if nothing was compared."""
    conflicts = result.identifiers
    if conflicts is None:
        return ""
    what = "submission" if isinstance(result, CheckResult) else "track"
    among = f"{show_count(conflicts.n_tracks, what)} with an identifier of a recording"
    alone = ""
    if isinstance(result, CheckResult):
        alone = " Tracks of the catalogue are compared with the submission, not with each other."
    elif isinstance(result, CompareResult) and not result.within:
        alone = " Tracks of one collection are not compared with each other."
    return (
        f"Where the identifiers in the tags and the sound of the files disagree, among {among}."
        f"{alone} Either may be right: a tag may be wrong, and a remaster or another release may "
        "have an identifier of its own."
    )


def _named(tracks: list[Track]) -> str:
    named = [f"{show_text(track.label)} ({show_text(track.id)})" for track in tracks[:N_NAMED]]
    if len(tracks) > N_NAMED:
        named.append(f"{len(tracks) - N_NAMED:,} more")
    return ", ".join(named)
