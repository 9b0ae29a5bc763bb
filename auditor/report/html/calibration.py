"""The page of a calibration: histograms, the fit of the tail, and what is missed, as inline SVG.

Missed copies against false alarms are drawn as a detection error trade-off (Martin et al. 1997,
Eurospeech), with logarithmic in place of normal axes, because the rates of interest lie far below
those where the two differ little.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from auditor.calibration.rates import RateTable
from auditor.calibration.tail import Tail
from auditor.calibration.thresholds import Thresholds
from auditor.report.html.histogram import Tick
from auditor.report.html.page import content_policy, environment, source
from auditor.report.text.error_rates import show_power, show_rate
from auditor.report.text.general import show_score
from auditor.report.write import write_files

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 30, 48
_N_BINS = 60
_N_STEPS = 120
_LOWEST_FAR = 1e-9
_NONE = np.zeros(0)
_PAIRS = ("unrelated pairs", "unrelated pairs of two sources")


@dataclass(frozen=True)
class Curve:
    """One line, band or row of dots.

    Attributes
    ----------
    path : str
        SVG path.
    kind : str
        CSS class.
    label : str
        For the legend; empty for none.
    """

    path: str
    kind: str
    label: str = ""


@dataclass(frozen=True)
class Plot:
    """What the template draws: curves over two axes."""

    title: str
    hint: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


def write_calibration(
    thresholds: Thresholds,
    nonmatching: np.ndarray,
    matching: Mapping[str, np.ndarray],
    path: str | os.PathLike[str],
    *,
    one_source: np.ndarray = _NONE,
) -> Path:
    """Write the page of a calibration.

    Parameters
    ----------
    thresholds : Thresholds
    nonmatching : numpy.ndarray
        (n_pairs,) scores of unrelated pairs, those that ``one_source`` holds left out.
    matching : mapping of str to numpy.ndarray
        Scores of altered copies with their originals, by alteration; may be empty.
    path : path-like
        The HTML file.
    one_source : numpy.ndarray
        (n_pairs,) scores of unrelated pairs of one source, where they were counted apart.

    Raises
    ------
    AuditError
        If it cannot be written.
    """
    html = render_calibration(thresholds, nonmatching, matching, one_source=one_source)
    write_files({Path(path): html.encode("utf-8")})
    return Path(path)


def render_calibration(
    thresholds: Thresholds,
    nonmatching: np.ndarray,
    matching: Mapping[str, np.ndarray],
    *,
    one_source: np.ndarray = _NONE,
) -> str:
    """Return the page, the same text for the same calibration; parameters as above."""
    pages = environment()
    style = source(pages, "report.css") + source(pages, "calibration.css")
    copies = np.concatenate(list(matching.values())) if matching else np.zeros(0)
    plots = [_histograms(nonmatching, one_source, copies)]
    tables = [(_PAIRS[thresholds.one_source is not None], thresholds.rates)]
    plots.append(_tail_fit(thresholds.rates, nonmatching, tables[0][0]))
    if thresholds.one_source is not None:
        tables.append(("unrelated pairs of one source", thresholds.one_source))
        plots.append(_tail_fit(thresholds.one_source, one_source, tables[1][0]))
    if copies.size:
        plots.append(_trade_off(thresholds, nonmatching, copies, tables[0][0]))
    return pages.get_template("calibration.html.j2").render(
        headline=f"Calibration of {thresholds.extractor} on {thresholds.data}",
        made=thresholds,
        tails=[(kind, rates.tail) for kind, rates in tables],
        plots=plots,
        counted=[
            (
                kind,
                rates.n_nonmatching_pairs,
                [
                    (show_score(p.threshold), *map(show_rate, (p.far, p.far_low, p.far_high)))
                    for p in rates.operating_points
                ],
            )
            for kind, rates in tables
        ],
        show_score=show_score,
        show_rate=show_rate,
        policy=Markup(content_policy(style, "")),
        style=Markup(style),
    )


def _histograms(nonmatching: np.ndarray, one_source: np.ndarray, copies: np.ndarray) -> Plot:
    low = min(float(scores.min(initial=1.0)) for scores in (nonmatching, one_source, copies))
    low, high = math.floor(10 * low) / 10, 1.0
    edges = np.linspace(low, high, _N_BINS + 1)
    x = _linear(low, high, _LEFT, _WIDTH - _RIGHT)
    least = 1.0 / max(nonmatching.size, copies.size)
    y = _logarithmic(least / 2.0, 1.0, _HEIGHT - _BOTTOM, _TOP)
    curves = []
    for scores, kind, label in (
        (nonmatching, "line", "unrelated tracks"),
        (one_source, "line second", "unrelated tracks of one source"),
        (copies, "line marked", "copies and originals"),
    ):
        if scores.size:
            counts = np.histogram(np.clip(scores, low, high), edges)[0] / scores.size
            heights = np.maximum(counts, least / 2.0)
            steps = list(zip(np.repeat(edges, 2)[1:-1], np.repeat(heights, 2), strict=True))
            curves.append(Curve(_path(steps, x, y), kind, label))
    return Plot(
        "Scores of unrelated tracks and of copies",
        "Share of the pairs of each kind in 60 bins, on a logarithmic scale.",
        "score",
        "share",
        tuple(curves),
        _score_ticks(low, high, x),
        _decades(least, 1.0, y),
    )


def _tail_fit(rates: RateTable, nonmatching: np.ndarray, kind: str) -> Plot:
    tail = rates.tail
    begins = tail.threshold if tail else float(np.quantile(nonmatching, 0.9))
    low = math.floor(10 * begins) / 10
    lowest = _LOWEST_FAR if tail else 0.5 / nonmatching.size
    x = _linear(low, 1.0, _LEFT, _WIDTH - _RIGHT)
    y = _logarithmic(lowest, 1.0, _HEIGHT - _BOTTOM, _TOP)
    ordered = np.sort(nonmatching)[::-1]
    shares = np.arange(1, ordered.size + 1) / ordered.size
    shown = ordered >= low
    dots = list(zip(ordered[shown], shares[shown], strict=True))
    dots = dots[:500] + dots[500 :: max(1, len(dots) // 500)]
    curves = [*_tail_curves(tail, lowest, x, y)] if tail else []
    curves.append(Curve(_dots(dots, x, y), "dots", "counted"))
    hint = "Share of unrelated pairs at or above a score: as counted"
    hint += ", by the fitted tail, and its 95 % interval." if tail else "; too few for a tail."
    return Plot(
        f"False alarm rate of {kind}, counted and fitted",
        hint,
        "threshold",
        "FAR",
        tuple(curves),
        _score_ticks(low, 1.0, x),
        _decades(lowest, 1.0, y),
    )


def _tail_curves(
    tail: Tail, lowest: float, x: Callable[[float], float], y: Callable[[float], float]
) -> Iterable[Curve]:
    steps = np.linspace(tail.threshold, min(1.0, tail.bound), _N_STEPS)
    rates = [tail.far_at(float(step)) for step in steps]
    upper = [(step, max(rate[2], lowest)) for step, rate in zip(steps, rates, strict=True)]
    lower = [(step, max(rate[1], lowest)) for step, rate in zip(steps, rates, strict=True)]
    yield Curve(_path(upper + lower[::-1], x, y) + "Z", "band", "95 % interval")
    line = [(step, rate[0]) for step, rate in zip(steps, rates, strict=True) if rate[0] >= lowest]
    yield Curve(_path(line, x, y), "line marked", "fitted tail")


def _trade_off(
    thresholds: Thresholds, nonmatching: np.ndarray, copies: np.ndarray, kind: str
) -> Plot:
    lowest = _LOWEST_FAR if thresholds.tail else 0.5 / nonmatching.size
    ordered = np.sort(nonmatching)
    steps = np.linspace(float(np.quantile(ordered, 0.5)), 1.0, 4 * _N_STEPS)
    points = []
    for step in steps:
        far = float((ordered.size - np.searchsorted(ordered, step)) / ordered.size)
        if thresholds.tail and step > thresholds.tail.threshold:
            far = thresholds.rates.far_at(float(step))[0]
        if far >= lowest:
            points.append((far, float((copies < step).mean())))
    x = _logarithmic(lowest, 1.0, _LEFT, _WIDTH - _RIGHT)
    y = _linear(0.0, 1.0, _HEIGHT - _BOTTOM, _TOP)
    far = thresholds.far_at(thresholds.threshold)[0]
    here = (max(far, lowest), float((copies < thresholds.threshold).mean()))
    return Plot(
        "Missed copies against false alarms",
        f"All copies in the table below, and {kind}; the dot marks the default threshold.",
        "FAR per pair",
        "missed",
        (Curve(_path(points, x, y), "line marked"), Curve(_dots([here], x, y, 4.0), "dots marked")),
        _decades(lowest, 1.0, x),
        tuple(
            Tick(round(y(share), 1), f"{100 * share:.0f} %") for share in (0, 0.25, 0.5, 0.75, 1)
        ),
    )


def _linear(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (end - start) * (value - low) / (high - low)


def _logarithmic(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    along = _linear(math.log10(low), math.log10(high), start, end)
    return lambda value: along(math.log10(value))


def _path(
    points: Sequence[tuple[float, float]],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> str:
    return "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in points) if points else ""


def _dots(
    points: Sequence[tuple[float, float]],
    x: Callable[[float], float],
    y: Callable[[float], float],
    radius: float = 1.5,
) -> str:
    r, d = radius, 2 * radius
    return "".join(
        f"M{x(a) - r:.1f} {y(b):.1f}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 {-d} 0" for a, b in points
    )


def _score_ticks(low: float, high: float, x: Callable[[float], float]) -> tuple[Tick, ...]:
    step = 1 if high - low <= 1.0 else 2
    tenths = range(round(10 * low), round(10 * high) + 1, step)
    return tuple(Tick(round(x(n / 10), 1), f"{n / 10:.1f}".replace("-", "−")) for n in tenths)


def _decades(low: float, high: float, at: Callable[[float], float]) -> tuple[Tick, ...]:
    exponents = range(math.ceil(math.log10(low) - 1e-9), round(math.log10(high)) + 1)
    return tuple(
        Tick(round(at(10.0**n), 1), show_power(10.0**n).removeprefix("1 × ")) for n in exponents
    )
