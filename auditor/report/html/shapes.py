"""Geometry of the pictures of a case: waveforms, ranges that link them, lines over the matrix.

Waveforms and the ribbons between them are drawn in boxes that stretch with the page, so lengths
are in shares of a track's duration.  The page's script draws the same shapes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from auditor.records import MatchedRange
from auditor.report.media.model import MAX_PEAK
from auditor.report.text.general import show_duration

N_PEAKS = 240
"""Stretches of a waveform at most; more than there are pixels on a phone."""

N_MARKS = 5
"""Marks of a ruler at most."""

_STEPS_S = (5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)

LEVELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
"""Characters that stand for the 64 levels of packed peaks."""


@dataclass(frozen=True)
class Ribbon:
    """A range on both waveforms, in per cent of either's width, and the band between, of 1000."""

    a_x: float
    a_width: float
    b_x: float
    b_width: float
    band: str


@dataclass(frozen=True)
class Line:
    """A range on the similarity matrix, in thousandths of its width (b) and height (a)."""

    number: int
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Mark:
    """A mark of the ruler over a waveform: in per cent of its width, with its time."""

    x: float
    label: str


def thin_peaks(peaks: Sequence[int], n: int = N_PEAKS) -> tuple[int, ...]:
    """Return at most ``n`` peaks: the highest of equal groups.

    Examples
    --------
    >>> thin_peaks([1, 5, 2, 2, 9], 3)
    (1, 5, 9)
    """
    if len(peaks) <= n:
        return tuple(peaks)
    edges = [i * len(peaks) // n for i in range(n + 1)]
    return tuple(max(peaks[start:end]) for start, end in itertools.pairwise(edges))


def raise_peaks(peaks: Sequence[int]) -> tuple[int, ...]:
    """Return peaks raised alike until the highest is full, so that a quiet track has a shape, too.

    Examples
    --------
    >>> raise_peaks([0, 10, 20]), raise_peaks([0])
    ((0, 50, 100), (0,))
    """
    highest = max(peaks, default=0)
    return tuple(round(peak * MAX_PEAK / highest) for peak in peaks) if highest else tuple(peaks)


def pack_peaks(peaks: Sequence[int]) -> str:
    """Return peaks as one character each, for the script.

    Examples
    --------
    >>> pack_peaks([0, 50, 100])
    'Ag/'
    """
    return "".join(LEVELS[round(peak * (len(LEVELS) - 1) / MAX_PEAK)] for peak in peaks)


def draw_wave(peaks: Sequence[int]) -> str:
    """Return peaks as a closed SVG path in a box of ``len(peaks)`` by 100; empty without any.

    Examples
    --------
    >>> draw_wave([100, 40])
    'M0 2H1V31H2V69H1V98H0Z'
    """
    if not peaks:
        return ""
    halves = [max(1, round(peak * 48 / MAX_PEAK)) for peak in peaks]
    over = "".join(f"V{50 - half}H{i + 1}" for i, half in enumerate(halves))[1:]
    under = "".join(f"V{50 + halves[i]}H{i}" for i in reversed(range(len(halves))))
    return f"M0 {over}{under}Z"


def draw_ribbon(heard: MatchedRange, a_s: float, b_s: float) -> Ribbon:
    """Return a range on tracks of ``a_s`` and ``b_s`` seconds.

    Examples
    --------
    >>> draw_ribbon(MatchedRange(5.0, 10.0, 0.0, 5.0, 1.0, 0.9, 0.0, 0.0), 20.0, 10.0)
    Ribbon(a_x=25.0, a_width=25.0, b_x=0.0, b_width=50.0, band='250,0 500,0 500,100 0,100')
    """
    a_x, a_end = _share(heard.a_start_s, a_s), _share(heard.a_end_s, a_s)
    b_x, b_end = _share(heard.b_start_s, b_s), _share(heard.b_end_s, b_s)
    corners = ((a_x, 0), (a_end, 0), (b_end, 100), (b_x, 100))
    return Ribbon(
        a_x=a_x,
        a_width=round(a_end - a_x, 2),
        b_x=b_x,
        b_width=round(b_end - b_x, 2),
        band=" ".join(f"{10.0 * x:.4g},{y}" for x, y in corners),
    )


def draw_ruler(duration_s: float) -> tuple[Mark, ...]:
    """Return the marks of a ruler: round times, few enough for a phone, none close to the end.

    Examples
    --------
    >>> draw_ruler(12.5), draw_ruler(0.0)
    ((Mark(x=40.0, label='0:05'), Mark(x=80.0, label='0:10')), ())
    """
    step = round_step_s(duration_s)
    n_marks = min(N_MARKS, math.floor(0.9 * duration_s / step))
    return tuple(
        Mark(_share(i * step, duration_s), show_duration(i * step)) for i in range(1, n_marks + 1)
    )


def round_step_s(duration_s: float) -> int:
    """Return seconds between the marks of a ruler of some seconds, few enough for a phone.

    Examples
    --------
    >>> round_step_s(12.5), round_step_s(200.0)
    (5, 60)
    """
    return next((s for s in _STEPS_S if duration_s / s <= N_MARKS), _STEPS_S[-1])


def draw_lines(ranges: Sequence[MatchedRange], a_s: float, b_s: float) -> tuple[Line, ...]:
    """Return ranges on a matrix that spans ``a_s`` downwards and ``b_s`` rightwards, in seconds."""
    return tuple(
        Line(
            number,
            x1=round(10.0 * _share(heard.b_start_s, b_s)),
            y1=round(10.0 * _share(heard.a_start_s, a_s)),
            x2=round(10.0 * _share(heard.b_end_s, b_s)),
            y2=round(10.0 * _share(heard.a_end_s, a_s)),
        )
        for number, heard in enumerate(ranges, start=1)
    )


def _share(time_s: float, whole_s: float) -> float:
    return round(100.0 * min(1.0, max(0.0, time_s / whole_s)), 2) if whole_s > 0.0 else 0.0
