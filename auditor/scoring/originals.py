"""Which track of a cluster is probably the original, and which of two came first: and why."""

from __future__ import annotations

import re
from collections.abc import Sequence

from auditor.audio.formats import LOSSLESS_CODECS
from auditor.records import Track

_DATE = re.compile(r"\s*(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?")
_SAME_LENGTH_S = 1.0
FIRST_YEAR = 1860
"""No recording is older."""

NOTHING_TELLS = "first of equals: no date, length or coding tells them apart"
"""Why a track is suggested of which no more is known than of the others."""


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
        if len(dated) == 1 < len(tracks):
            return dated[0][1], "the only track with a release date"
        others = "" if len(dated) == len(tracks) else ", of those with a date"
        return dated[0][1], f"earliest release date{others}"
    longest_s = max(track.duration_s for track in tracks)
    long = [track for track in tracks if track.duration_s >= longest_s - _SAME_LENGTH_S]
    if len(long) == 1:
        return long[0].id, "longest"
    best = max(long, key=_quality)
    if all(_quality(track) < _quality(best) for track in long if track is not best):
        return best.id, "best encoding among the longest"
    first = min((t for t in long if _quality(t) == _quality(best)), key=lambda t: t.id)
    return first.id, NOTHING_TELLS


def first_released(a: Track, b: Track) -> Track | None:
    """Return which of two tracks was released first; None where their dates do not tell."""
    date_a, date_b = _date(a.date), _date(b.date)
    if not date_a or not date_b:
        return None
    return a if _is_earlier(date_a, date_b) else b if _is_earlier(date_b, date_a) else None


def which_first(a: Track, b: Track) -> str:
    """Return which of two tracks that match was there first, as a sentence; dates are as tagged.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> new, old, bare = (SimpleNamespace(date=date) for date in ("2024-02-11", "2019", ""))
    >>> which_first(new, old)
    'B came first and A would be the copy, if the release dates are right: A 2024-02-11, B 2019.'
    >>> which_first(bare, old)
    'It is not known which came first: A has no release date.'
    """
    dates = f"A {a.date}, B {b.date}"
    if (first := first_released(a, b)) is not None:
        said = "A came first and B" if first is a else "B came first and A"
        return f"{said} would be the copy, if the release dates are right: {dates}."
    undated = [side for side, track in (("A", a), ("B", b)) if not _date(track.date)]
    why = f"the release dates do not decide it ({dates})"
    if undated:
        why = f"{' and '.join(undated)} {'have' if len(undated) > 1 else 'has'} no release date"
    return f"It is not known which came first: {why}."


def is_lossless(track: Track) -> bool:
    """Say whether a track is coded without loss."""
    return track.codec in LOSSLESS_CODECS or track.codec.startswith("pcm_")


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
