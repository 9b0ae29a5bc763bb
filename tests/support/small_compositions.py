"""Compositions by hand: plausible melodies, one a version of the other, for tests of reports."""

from __future__ import annotations

import dataclasses
import math

from small_report import CLIP_S, clip_audio, make_check, make_media, make_scan

from auditor.decisions.apply import pair_id
from auditor.records import (
    CheckResult,
    CompositionMatch,
    Compositions,
    NotComparable,
    ScanResult,
)
from auditor.report.media.model import Clip, Media, PairMedia

STEP_S = 0.384
_TUNE = (
    *(64, 64, 62, 60, 62, 62, 64, 64, 64, 0, 62, 62, 62, 64, 67, 67),
    *(64, 64, 62, 60, 62, 62, 64, 64, 64, 64, 62, 62, 64, 62, 60, 0),
    *(67, 67, 69, 69, 67, 65, 64, 64, 65, 67, 67, 67, 64, 62, 62, 0),
    *(67, 67, 69, 69, 67, 65, 64, 64, 62, 62, 64, 62, 60, 60, 60, 0),
    *(60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65, 64, 62, 60, 60),
)
"""80 steps around C."""

CHORDS = (0,) * 8 + (7,) * 8 + (0,) * 8 + (7,) * 4 + (0,) * 4 + (5,) * 8 + (0,) * 4 + (7,) * 4
CHORDS += (5,) * 8 + (7,) * 6 + (-1,) * 2 + (9 + 12,) * 8 + (7,) * 4 + (0,) * 4


def other_melody() -> tuple[int, ...]:
    """Return the tune an octave lower, with some notes changed and some left out."""
    played = [pitch - 12 if pitch else 0 for pitch in _TUNE]
    for k in (5, 20, 21, 37, 52, 53, 70):
        played[k] += 2
    played[44] = played[45] = 0
    return tuple(played)


def make_match(a: str, b: str, **changes: object) -> CompositionMatch:
    """Return a line of the list: one tune in two keys and octaves."""
    n = len(_TUNE)
    bent = [k + 6.0 * math.sin(math.pi * k / n) for k in range(n)]  # slower first, then faster
    moments_b = tuple(round(47.6 + k * STEP_S * 1.1, 2) for k in bent)
    line = CompositionMatch(
        a, b, 0.4812, "same composition", True, 2.1e-7, 0.04, 0.04, 0.0, 1.0,
        12.3, 12.3 + n * STEP_S, 47.6, 47.6 + n * STEP_S * 1.1,
        3, 1.1, 0.87, 0.91, _TUNE, other_melody(), CHORDS, CHORDS[:70] + (2 + 12,) * 10,
        moments_b,
    )  # fmt: skip
    return dataclasses.replace(line, **changes)  # type: ignore[arg-type]


def make_compositions(result: ScanResult | CheckResult) -> Compositions:
    """Return a list of four lines: two flagged, one that may be chance, one of the same chords."""
    ids = [track.id for track in result.tracks]
    is_check = isinstance(result, CheckResult)
    sha256 = {track.id: track.sha256 for track in result.tracks}
    if isinstance(result, CheckResult):
        sha256 |= {track.id: track.sha256 for track in result.submissions}
    firsts = ["new"] * 4 if is_check else [ids[0], ids[1], ids[2], ids[4]]
    lines = (
        {},
        {"score": 0.44, "transposition": -1, "tempo": 0.875, "expected_by_chance": 0.16,
         "chance_share": 0.08, "chance_share_high": 0.5, "far": 8e-7},
        {"score": 0.38, "flagged": False, "expected_by_chance": 0.9, "chance_share": 0.3,
         "chance_share_high": 1.0, "far": 4e-6},
        {"score": 0.37, "flagged": False, "verdict": "same chords", "melody": 0.12,
         "expected_by_chance": 1.1, "chance_share": 0.275, "chance_share_high": 1.0, "far": 5e-6},
    )  # fmt: skip
    return Compositions(
        tuple(
            make_match(a, b, pair_id=pair_id(sha256[a], sha256[b]), **changes)
            for a, b, changes in zip(firsts, ids[5:9], lines, strict=True)
        ),
        0.1,
        45,
        45,
        "0a1b2c3d",
        "composition-0a1b2c3d.json",
        (NotComparable("new" if is_check else ids[9], "no pitched music to compare"),),
    )


def scan_with_compositions() -> ScanResult:
    """Return a scan with one pair of each verdict, and a list of compositions."""
    scan = make_scan()
    return dataclasses.replace(scan, compositions=make_compositions(scan))


def check_with_compositions() -> CheckResult:
    """Return a check of one submission, clear as a recording, with a list of compositions."""
    check = make_check("clear")
    return dataclasses.replace(check, compositions=make_compositions(check))


def media_with_compositions(result: ScanResult | CheckResult) -> Media:
    """Return the media of a result, with clips of the first three lines of its list."""
    assert result.compositions is not None
    lines = []
    for match in result.compositions.matches[:3]:
        clips = tuple(
            Clip(0, side, start_s + 5.0, start_s + 5.0 + CLIP_S, "audio/ogg; codecs=opus", audio)
            for side, start_s, audio in (
                ("a", match.a_start_s, clip_audio(1)),
                ("b", match.b_start_s, clip_audio(2)),
            )
        )
        lines.append(PairMedia(match.a, match.b, clips))
    return dataclasses.replace(make_media(result), compositions=tuple(lines))
