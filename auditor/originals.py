"""Which track of a cluster is probably the original: a suggestion, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence

from auditor.records import Track

LOSSLESS = ("flac", "alac", "wavpack", "ape", "tta", "shorten")
"""FFmpeg's names of codecs that lose nothing, besides those that begin with ``pcm_``."""

_DATE = re.compile(r"\s*(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?")
_SAME_LENGTH_S = 1.0
FIRST_YEAR = 1860
"""No recording is older."""


def suggest_original(tracks: Sequence[Track]) -> tuple[str, str]:
    """Return the id of the likely original and the reason, in words.

    The earliest release date decides where one is known and earlier than all others; else length
    (a cut copy is shorter), then lossless coding, bit rate and sampling rate.

    Parameters
    ----------
    tracks : sequence of Track
        At least one.
    """
    dated = sorted((date, track.id) for track in tracks if (date := _date(track.date)))
    if dated and (len(dated) == 1 or _is_earlier(dated[0][0], dated[1][0])):
        others = "" if len(dated) == len(tracks) else ", of those with a date"
        return dated[0][1], f"earliest release date{others}"
    longest_s = max(track.duration_s for track in tracks)
    long = [track for track in tracks if track.duration_s >= longest_s - _SAME_LENGTH_S]
    if len(long) == 1:
        return long[0].id, "longest"
    best = max(long, key=_quality)
    if all(_quality(track) < _quality(best) for track in long if track is not best):
        return best.id, "best coding of the longest ones"
    first = min((t for t in long if _quality(t) == _quality(best)), key=lambda t: t.id)
    return first.id, "first of equals: no date, length or coding tells them apart"


def is_lossless(track: Track) -> bool:
    """Say whether a track is coded without loss."""
    return track.codec in LOSSLESS or track.codec.startswith("pcm_")


def _date(text: str) -> tuple[int, ...]:
    found = _DATE.match(text)
    year, *rest = (int(part) for part in found.groups() if part) if found else (0,)
    if year < FIRST_YEAR:  # such as 0000, which stands for none
        return ()
    return (year, *rest) if all(rest) else (year,)


def _is_earlier(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    n = min(len(a), len(b))
    return a[:n] < b[:n]


def _quality(track: Track) -> tuple[bool, int, int]:
    return is_lossless(track), track.bit_rate or 0, track.sample_rate_hz
