"""Tests of the two reports on identifiers: which tracks they name, and which they do not."""

from __future__ import annotations

import dataclasses

import pytest
from small_catalogue import make_track
from small_report import make_pair

from auditor.records import DifferingIdentifiers, SharedIdentifier
from auditor.scoring.identifiers import identifier_conflicts

ONE, TWO = "isrc:USRC17607839", "isrc:GBAYE0601498"


def tracks_with(**identifiers: tuple[str, ...]) -> dict:
    return {i: make_track(i, identifiers=own) for i, own in sorted(identifiers.items())}


def conflicts(tracks, pairs=(), same=None):
    return identifier_conflicts(list(tracks.values()), pairs, same or {})


def test_one_identifier_on_two_recordings_is_a_conflict_and_on_copies_is_none():
    tracks = tracks_with(a=(ONE,), b=(ONE,), c=(ONE,), d=(TWO,), e=())
    same = make_pair(tracks["a"], tracks["b"], 0.9, "same recording")
    found = conflicts(tracks, [same])
    assert found.shared == (SharedIdentifier(ONE, (("a", "b"), ("c",))),)
    assert (found.n_tracks, found.differing) == (4, ())
    other = make_pair(tracks["b"], tracks["c"], 0.9, "altered recording")
    assert conflicts(tracks, [same, other]).shared == ()


def test_a_track_without_the_identifier_connects_those_with_it():
    tracks = tracks_with(a=(ONE,), b=(), c=(ONE,))
    pairs = [make_pair(tracks[i], tracks["b"], 0.9, "same recording") for i in "ac"]
    assert conflicts(tracks, pairs).shared == ()


def test_files_of_the_same_bytes_are_one_recording():
    assert conflicts(tracks_with(a=(ONE,), b=(ONE,)), same={"a": ("a", "b")}).shared == ()


@pytest.mark.parametrize(
    ("verdict", "decision", "connects"),
    [
        ("same recording", "", True),
        ("same recording", "licensed", True),
        ("same recording", "false-alarm", False),
        ("altered recording", "cover", False),
        ("shared excerpt", "", False),
        ("sounds alike", "", False),
    ],
)
def test_what_is_one_recording(verdict, decision, connects):
    tracks = tracks_with(a=(ONE,), b=(ONE,))
    pair = make_pair(tracks["a"], tracks["b"], 0.9, verdict, decision=decision)
    if decision:
        pair = dataclasses.replace(pair, flagged=False)
    assert (conflicts(tracks, [pair]).shared == ()) == connects
    tracks = tracks_with(a=(ONE,), b=(TWO,))
    assert len(conflicts(tracks, [pair]).differing) == connects


def test_one_recording_with_disjoint_identifiers_of_one_scheme_is_a_conflict():
    tracks = tracks_with(
        a=(ONE, "acoustid:x", "iswc:T1", "mb-release:x"),
        b=(TWO, "acoustid:y", "mb-release:y"),
        c=(ONE, TWO),
        d=(),
    )
    pairs = [make_pair(tracks["a"], tracks[i], 0.9, "same recording") for i in "bcd"]
    assert conflicts(tracks, pairs).differing == (
        DifferingIdentifiers(pairs[0].pair_id, "a", "b", (ONE,), (TWO,)),
    )


def test_works_releases_and_silent_tracks_share_identifiers_in_peace():
    tracks = tracks_with(a=("iswc:T1", "mb-release:x"), b=("iswc:T1", "mb-release:x"), c=(ONE,))
    silent = make_track("d", identifiers=(ONE,), silent=True)
    found = conflicts(tracks | {"d": silent})
    assert (found.n_tracks, found.shared) == (1, ())
