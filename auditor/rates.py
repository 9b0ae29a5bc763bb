"""False alarm rates counted on pairs of known tracks, with intervals by ``auditor.bootstrap``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auditor.bootstrap import UnitBootstrap
from auditor.metrics import threshold_at_far, wilson_interval
from auditor.rate_table import OperatingPoint, RateTable
from auditor.tail import Tail, fit_tail

FARS = (0.3, 0.1, *(m * 10.0**-e for e in range(2, 10) for m in (3.0, 1.0)))
"""Rates at which operating points are set, as far down as the pairs allow."""

N_BOOTSTRAP = 500


def count_rates(
    scores: np.ndarray, nonmatching: np.ndarray, *, sources: Sequence[str] = (), seed: int = 0
) -> RateTable:
    """Count how often pairs reach a score, and fit a tail where they are enough for one.

    Parameters are those of ``operating_points``.
    """
    tail = fit_tail(scores, nonmatching, sources=sources, seed=seed)
    points = operating_points(scores, nonmatching, tail=tail, sources=sources, seed=seed)
    return RateTable(points, int(np.count_nonzero(nonmatching)), tail)


def operating_points(
    scores: np.ndarray,
    nonmatching: np.ndarray,
    *,
    tail: Tail | None = None,
    sources: Sequence[str] = (),
    seed: int = 0,
) -> tuple[OperatingPoint, ...]:
    """Count FAR at falling rates, with intervals by a bootstrap over sources.

    Parameters
    ----------
    scores : numpy.ndarray
        (n_tracks, n_tracks) scores.
    nonmatching : numpy.ndarray
        (n_tracks, n_tracks) bool, the pairs that count, each once.
    tail : Tail, optional
        Where it begins one more point is set, with the tail's own interval.
    sources : sequence of str
        (n_tracks,) source of each track; each is one of its own if left out.
    seed : int

    Returns
    -------
    tuple of OperatingPoint
        By rising threshold; the last lies just above the highest non-matching score.
    """
    counted = scores[nonmatching]
    rng = np.random.default_rng(seed)
    bootstrap = UnitBootstrap(len(scores), sources, n_samples=N_BOOTSTRAP, rng=rng)
    totals = bootstrap.totals(nonmatching)
    found: dict[float, OperatingPoint] = {}
    for rate in [far for far in FARS if far * counted.size >= 1.0] + [0.0]:
        threshold = threshold_at_far(counted, rate)
        n_above = int((counted >= threshold).sum())
        hits = bootstrap.totals(nonmatching & (scores >= threshold))
        far = n_above / counted.size
        low, high = np.percentile(hits / np.maximum(totals, 1.0), [2.5, 97.5])
        wilson = wilson_interval(n_above, counted.size)
        found[far] = OperatingPoint(
            threshold=float(threshold),
            far=far,
            far_low=float(min(low, wilson[0], far)),
            far_high=float(max(high, wilson[1], far)),
        )
    if tail is not None:
        found[tail.share] = OperatingPoint(tail.threshold, *tail.far_at(tail.threshold))
    points: list[OperatingPoint] = []
    for point in sorted(found.values(), key=lambda point: point.threshold):
        if not points or (point.threshold > points[-1].threshold and point.far < points[-1].far):
            points.append(point)
    return tuple(points)
