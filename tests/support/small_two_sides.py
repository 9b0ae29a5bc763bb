"""Small results of comparisons of collections, made of those of ``small_report``, for pages."""

from __future__ import annotations

import dataclasses
from typing import Any

from small_report import HOSTILE, make_check, make_scan

from auditor.records import (
    ComparedCollection,
    CompareResult,
    Excess,
    GeneratedOutput,
    GeneratedResult,
    HeldTrack,
    LeakResult,
    MixEntry,
    MixGap,
    ReferenceSide,
    Repeat,
    RepeatedTrack,
    Replication,
    Result,
    Split,
    SplitGroup,
    TrackClips,
    TracklistResult,
)


def make_two_sides(kind: str) -> Result:
    """Return a result of ``compare``, ``leak``, ``tracklist`` or ``generated``."""
    return {
        "compare": make_compare,
        "leak": make_leak,
        "tracklist": make_tracklist,
        "generated": make_generated,
    }[kind]()


def _fields(result: Result, kind: str) -> dict[str, Any]:
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return fields | {"kind": kind}


def make_compare() -> CompareResult:
    """Return a comparison of two collections, one of a hostile name."""
    sides = (
        ComparedCollection("catalogue", "folder", 5000, 4990, 1e6),
        ComparedCollection(HOSTILE, "list", 3000, 3000, 6e5),
    )
    notes = ("3 files are in both collections; a file is not compared with itself.",)
    return CompareResult(**_fields(make_scan(), "compare"), collections=sides, notes=notes)


def make_leak() -> LeakResult:
    """Return leaks of three pairs, a duplicate, a file in both splits, and clips of one track."""
    scan = make_scan()
    ids = [track.id for track in scan.tracks]
    return LeakResult(
        **_fields(scan, "leak"),
        within=True,
        splits=(
            Split("train", HOSTILE, 6000, 5990, 1e6, 0, 0.0),
            Split("test", "test", 2000, 2000, 3e5, 3, 512.0),
        ),
        split_of={track_id: ("train", "test")[i % 2] for i, track_id in enumerate(ids)},
        listed_twice={ids[8]: ("train", "test")},
        duplicates=(dataclasses.replace(scan.pairs[0], a=ids[0], b=ids[2]),),
        groups=(
            SplitGroup((ids[0], ids[1]), ("train", "test"), True, 0.95),
            SplitGroup((ids[2], ids[3]), ("train", "test"), True, 0.85),
        ),
        held=(HeldTrack(ids[1], "test", 60.0, 200.0),),
        same_track=(TrackClips(HOSTILE, "Blue", "One", (ids[6], ids[7])),),
    )


def make_tracklist() -> TracklistResult:
    """Return a mix of two tracks that overlap, with a gap."""
    check = make_check("altered recording", "shared excerpt")
    first, second = (pair.b for pair in check.pairs)
    return TracklistResult(
        **_fields(check, "tracklist"),
        entries=(
            MixEntry(first, 0.0, 80.0, 12.0, 95.0, 1.04, 0.7, 0.9, 8.0, ()),
            MixEntry(second, 72.0, 150.0, 103.0, 181.0, 1.0, 0.0, 0.8, 0.0, (first,)),
        ),
        gaps=(MixGap(150.0, 204.0),),
        n_parts=3,
    )


def make_generated() -> GeneratedResult:
    """Return generated music of three pairs, one output with a hostile prompt."""
    scan = make_scan()
    pairs = scan.pairs[:3]
    heldout = scan.tracks[9].id
    repeats = [
        Repeat(p.a, p.b, "training", 10.0, 20.0, 30.0, 40.0, 1.04, -1.0, p.score, i != 2)
        for i, p in enumerate(pairs)
    ]
    repeats.append(
        Repeat(pairs[0].a, heldout, "heldout", 50.0, 58.0, 1.0, 9.0, 1.0, None, 0.5, True)
    )
    return GeneratedResult(
        **_fields(dataclasses.replace(scan, pairs=pairs), "generated"),
        collections=(
            ComparedCollection("outputs.csv", "list", 1000, 1000, 3e4),
            ComparedCollection(HOSTILE, "folder", 900, 890, 2e5),
            ComparedCollection("heldout", "folder", 900, 900, 2e5),
        ),
        statement="of 1,000 outputs 2 (95 %: −1 to 7) repeat 10 s or more of the training music "
        "beyond what held-out music explains; 1 of H",
        excess=(Excess("recording", 10.0, 3, 1, 3.0, 1.0, 2.0, -1.2, 6.8),),
        outputs=tuple(
            GeneratedOutput(p.a, 39, 10.0, 8.0 * (i == 0), {"prompt": HOSTILE, "seed": str(i)})
            for i, p in enumerate(pairs)
        ),
        repeats=tuple(repeats),
        repeated=tuple(
            RepeatedTrack(p.b, 1, 10.0, (heldout,) * (i == 0), "artist" * (i == 2))
            for i, p in enumerate(pairs)
        ),
        sides=(
            ReferenceSide("training", 880, 2e5, 8, 2, 0, 1.0),
            ReferenceSide("heldout", 890, 2e5, 8, 2, 0, 1.0),
        ),
        replications=tuple(
            Replication(name, share, 30 * share, 8, n, 0.2, 0.9)
            for name, n in (("pasted", 8), ("pitch +1 semitone", 6))
            for share in (0.05, 0.1, 0.15, 0.25, 0.5)
        ),
        segment_s=10.0,
        step_s=5.0,
        n_segments=39_000,
    )
