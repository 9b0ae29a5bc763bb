"""Which track of a cluster is probably the original, and which of two came first: and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from auditor.audio.formats import LOSSLESS_CODECS
from auditor.audio.losses import Losses
from auditor.records import Track

_DATE = re.compile(r"\s*(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?")
_SAME_LENGTH_S = 1.0
FIRST_YEAR = 1860
"""No recording is older."""

BAND_HZ = 800.0
"""Two bands that end so far apart are not the same one."""

HOLES, HOLE_RATIO = 0.004, 1.25
"""More holes by so much and by so many times are those of a further lossy encoding."""

UNCUT = 0.98
"""A band that reaches this share of half the sampling rate was cut by no encoder."""

NOTHING_TELLS = "first of equals: no date, length, band or coding tells them apart"
"""Why a track is suggested of which no more is known than of the others."""

Measure = Callable[[Sequence[Track]], Sequence[Losses | None]]
"""Returns what encoders took from some tracks; None where it is not known."""


def suggest_original(tracks: Sequence[Track], measure: Measure | None = None) -> tuple[str, str]:
    """Return the id of the likely original and the reason, in words.

    The earliest release date decides where one is known and earlier than all others; else length
    (a cut copy is shorter).  Among the longest, one is the original that is better than each of the
    others: its band reaches higher, its spectrum has fewer holes, or it is coded without loss and
    nothing says that it was made from a lossy file.  More bits a second are not more quality, and
    decide nothing.

    Parameters
    ----------
    tracks : sequence of Track
        At least one.
    measure : callable, optional
        See ``Measure``; asked only where dates and lengths do not decide.
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
    contents: dict[str, Track] = {}
    for track in sorted(long, key=_by_id):
        contents.setdefault(track.sha256, track)
    long = list(contents.values())
    losses = measure(long) if measure is not None and len(long) > 1 else [None] * len(long)
    each = list(zip(long, losses, strict=True))
    for track, left in each:
        reasons = [_why_better((track, left), other) for other in each if other[0] is not track]
        if reasons and all(reasons):
            return track.id, f"{' and '.join(dict.fromkeys(reasons))}, among the longest"
    return long[0].id, NOTHING_TELLS


def _by_id(track: Track) -> str:
    return track.id


def _why_better(one: tuple[Track, Losses | None], other: tuple[Track, Losses | None]) -> str:
    """Return what one track has that a copy cannot have got back; empty if nothing tells."""
    (track, left), (rival, rival_left) = one, other
    if left is not None and rival_left is not None:
        if abs(left.band_hz - rival_left.band_hz) >= BAND_HZ:
            wider = left.band_hz > rival_left.band_hz
            return f"band up to {left.band_hz / 1000.0:.0f} kHz" if wider else ""
        fewest, most = sorted((left.hole_share, rival_left.hole_share))
        if most - fewest >= HOLES and most >= HOLE_RATIO * fewest:
            return "fewest holes in the spectrum" if left.hole_share == fewest else ""
    if is_lossless(track) and not is_lossless(rival):
        cut = left is not None and left.band_hz < UNCUT * track.sample_rate_hz / 2.0
        return "" if cut else "lossless"
    return ""


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
