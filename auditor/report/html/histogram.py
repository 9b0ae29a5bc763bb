"""Geometry of the score histogram: an inline SVG with a logarithmic count axis.

The page has two drawings of the same histogram, a wide and a narrow one, so that the labels keep
their size on a phone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.errors import ResultError

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 30, 44
_FLOOR = 0.5
"""Count at the foot of the axis, so that a single pair is still a bar."""


@dataclass(frozen=True)
class Tick:
    """One labelled position on an axis, in SVG units."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """What the template draws.

    Attributes
    ----------
    width, height : int
        Size of the view box.
    left, right, top, bottom : int
        Edges of the plot in the view box.
    below, above : str
        SVG paths of the bars below the threshold, and at or above it.
    threshold_x : float
        Where the threshold line stands.
    threshold_anchor : str
        ``start`` or ``end``: on which side of the line its label has room.
    """

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    below: str
    above: str
    threshold_x: float
    threshold_anchor: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def bins(histogram: Mapping[str, Sequence[float]]) -> list[tuple[float, float, int]]:
    """Return the bins that hold pairs as (low edge, high edge, count); empty without a histogram.

    Raises
    ------
    ResultError
        If the edges do not rise, or do not enclose the counts.
    """
    edges, counts = histogram.get("edges", ()), histogram.get("counts", ())
    if not edges and not counts:
        return []
    rising = all(low < high for low, high in itertools.pairwise(edges))
    if len(edges) != len(counts) + 1 or not rising or min(counts, default=0) < 0:
        raise ResultError(
            f"the histogram has {len(edges)} edges for {len(counts)} counts; "
            "rising edges, one more than counts, are needed. Give a file that audit wrote."
        )
    triples = zip(edges[:-1], edges[1:], counts, strict=True)
    return [(low, high, int(count)) for low, high, count in triples if count]


def draw(filled: Sequence[tuple[float, float, int]], threshold: float, *, width: int) -> Chart:
    """Return the chart of at least one filled bin.

    Parameters
    ----------
    filled : sequence of (float, float, int)
        Bins that hold pairs, as ``bins`` returns them.
    threshold : float
        Score of the threshold line.
    width : int
        Width of the view box in SVG units, which are CSS pixels at full size.
    """
    height = 280 if width > 480 else 240
    right, bottom = width - _RIGHT, height - _BOTTOM
    x_low = math.floor(round(10 * min(filled[0][0], threshold), 6)) / 10
    x_high = math.ceil(round(10 * max(filled[-1][1], threshold), 6)) / 10
    x_high = max(x_high, x_low + 0.1)
    n_decades = max(1, math.ceil(math.log10(max(count for _, _, count in filled))))
    log_floor = math.log10(_FLOOR)

    def at_x(score: float) -> float:
        return _LEFT + (right - _LEFT) * (score - x_low) / (x_high - x_low)

    def at_y(count: float) -> float:
        return bottom - (bottom - _TOP) * (math.log10(count) - log_floor) / (n_decades - log_floor)

    paths: dict[bool, list[str]] = {False: [], True: []}
    for low, high, count in filled:
        middle = min(max(threshold, low), high)
        for start, end, is_above in ((low, middle, False), (middle, high, True)):
            if end > start:
                x, y = f"{at_x(start):.1f}", f"{at_y(count):.1f}"
                paths[is_above].append(f"M{x} {bottom}V{y}H{at_x(end):.1f}V{bottom}Z")
    line_x = round(at_x(threshold), 1)
    y_step = math.ceil(n_decades / 6)
    return Chart(
        width=width,
        height=height,
        left=_LEFT,
        right=right,
        top=_TOP,
        bottom=bottom,
        below="".join(paths[False]),
        above="".join(paths[True]),
        threshold_x=line_x,
        threshold_anchor="end" if line_x > width / 2 else "start",
        x_ticks=tuple(
            Tick(round(at_x(score), 1), f"{score:.1f}".replace("-", "−"))
            for score in _x_scores(x_low, x_high, (right - _LEFT) // 52)
        ),
        y_ticks=tuple(
            Tick(round(at_y(10**decade), 1), _short(10**decade))
            for decade in range(0, n_decades + 1, y_step)
        ),
    )


def _x_scores(low: float, high: float, n_ticks: int) -> list[float]:
    step = next((step for step in (0.1, 0.2, 0.5, 1.0) if (high - low) / step <= n_ticks), None)
    if step is None:
        return [low, high]
    first, last = math.ceil(round(low / step, 6)), math.floor(round(high / step, 6))
    return [i * step for i in range(first, last + 1)]


def _short(n: int) -> str:
    for factor, unit in ((10**9, " bn"), (10**6, " M"), (1000, " k")):
        if n >= factor:
            return f"{n // factor}{unit}"
    return str(n)
