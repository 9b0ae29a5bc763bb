"""Tests of the two reports on identifiers: which tracks they name, and which they do not."""

from __future__ import annotations

import dataclasses

import pytest
from small_catalogue import make_track
from small_report import make_pair

from auditor.records import DifferingIdentifiers, SharedIdentifier
from auditor.scoring.identifiers import (
    MAX_LISTED,
    conflicts_of,
    holders_of,
    identifier_conflicts,
    merge_conflicts,
    submission_conflicts,
    with_new_id,
)

ONE, TWO = "isrc:USRC17607839", "isrc:GBAYE0601498"


def tracks_with(**identifiers: tuple[str, ...]) -> dict:
    return {i: make_track(i, identifiers=own) for i, own in sorted(identifiers.items())}


def conflicts(tracks, pairs=()):
    holders = holders_of(tracks.values())
    return identifier_conflicts(holders, holders, pairs, tracks)


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
    tracks = tracks_with(a=(ONE,), b=(ONE,), c=(ONE,))
    tracks["b"] = dataclasses.replace(tracks["b"], sha256=tracks["a"].sha256)
    assert conflicts(tracks).shared == (SharedIdentifier(ONE, (("a", "b"), ("c",))),)


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


def test_works_and_releases_share_identifiers_in_peace():
    tracks = tracks_with(a=("iswc:T1", "mb-release:x"), b=("iswc:T1", "mb-release:x"), c=(ONE,))
    found = conflicts(tracks)
    assert (found.n_tracks, found.shared) == (1, ())


def test_tracks_of_one_side_are_not_held_against_each_other():
    tracks = tracks_with(a=(ONE,), b=(ONE,), c=(TWO,), x=(ONE,))
    left, right = (holders_of(tracks[i] for i in ids) for ids in ("abc", "x"))
    nobody = holders_of([tracks["c"]])
    assert identifier_conflicts(left, nobody, (), tracks).shared == ()
    pairs = [make_pair(tracks["b"], tracks["x"], 0.9, "same recording")]
    found = identifier_conflicts(left, right, pairs, tracks)
    assert found.shared == (SharedIdentifier(ONE, (("a",), ("b", "x"))),)
    pairs.append(make_pair(tracks["a"], tracks["x"], 0.9, "same recording"))
    assert identifier_conflicts(left, right, pairs, tracks).shared == ()


def checked(submission, tracks, pairs=(), own_id=""):
    holders = holders_of(tracks.values())
    every = tracks | {submission.id: submission}
    return submission_conflicts(submission, holders, pairs, every, own_id=own_id)


def test_a_submission_comes_first_and_is_not_held_against_its_own_track():
    tracks = tracks_with(a=(ONE,), b=(TWO,), c=(ONE, TWO))
    new = make_track("new-1", identifiers=(ONE,))
    found = checked(new, tracks, [make_pair(new, tracks["a"], 0.9, "same recording")])
    assert found.shared == (SharedIdentifier(ONE, (("new-1", "a"), ("c",))),)
    assert (found.n_tracks, found.differing) == (1, ())
    assert checked(new, tracks, own_id="c").shared == (SharedIdentifier(ONE, (("new-1",), ("a",))),)
    plain = make_track("new-2")
    assert (checked(plain, tracks).n_tracks, checked(plain, tracks).shared) == (0, ())


def test_the_tracks_of_a_widespread_identifier_are_bounded_and_counted():
    tracks = tracks_with(**{f"t{i:03}": (ONE,) for i in range(3 * MAX_LISTED)})
    new = make_track("new-1", identifiers=(ONE,))
    (entry,) = checked(new, tracks).shared
    assert sum(map(len, entry.groups)) == MAX_LISTED
    assert (entry.groups[0], entry.n_more) == (("new-1",), 2 * MAX_LISTED + 1)


def test_what_is_said_of_a_submission_is_found_again_and_goes_with_its_id():
    tracks = tracks_with(a=(ONE,), b=(TWO,))
    new, other = (make_track(name, identifiers=(ONE,)) for name in ("new-1", "new-2"))
    pair = make_pair(new, tracks["b"], 0.9, "same recording")
    first, second = checked(new, tracks, [pair]), checked(other, tracks)
    both = merge_conflicts([first, second])
    assert both.n_tracks == 2
    for name, part in (("new-1", first), ("new-2", second)):
        assert dataclasses.replace(conflicts_of(both, name), n_tracks=1) == part
    moved = with_new_id(first, "new-9")
    assert moved.shared == (SharedIdentifier(ONE, (("new-9",), ("a",))),)
    assert [entry.a for entry in moved.differing] == ["new-9"]
