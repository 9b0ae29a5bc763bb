"""False alarm rates counted on pairs of known tracks, with intervals by a bootstrap over tracks."""

from __future__ import annotations

import numpy as np

from auditor.metrics import threshold_at_far, wilson_interval
from auditor.tail import Tail
from auditor.thresholds import OperatingPoint

FARS = (0.3, 0.1, *(m * 10.0**-e for e in range(2, 10) for m in (3.0, 1.0)))
"""Rates at which operating points are set, as far down as the pairs allow."""

N_BOOTSTRAP = 500


def operating_points(
    scores: np.ndarray, nonmatching: np.ndarray, *, tail: Tail | None = None, seed: int = 0
) -> tuple[OperatingPoint, ...]:
    """Count FAR at falling rates, with intervals by a bootstrap over tracks.

    Parameters
    ----------
    scores : numpy.ndarray
        (n_tracks, n_tracks) scores.
    nonmatching : numpy.ndarray
        (n_tracks, n_tracks) bool, the pairs that count, each once.
    tail : Tail, optional
        Where it begins one more point is set, with the tail's own interval.
    seed : int

    Returns
    -------
    tuple of OperatingPoint
        By rising threshold; the last lies just above the highest non-matching score.
    """
    n_tracks = len(scores)
    counted = scores[nonmatching]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_tracks, np.full(n_tracks, 1.0 / n_tracks), size=N_BOOTSTRAP)
    weights = weights.astype(np.float64)
    totals = _weigh(weights, nonmatching)
    found: dict[float, OperatingPoint] = {}
    for rate in [far for far in FARS if far * counted.size >= 1.0] + [0.0]:
        threshold = threshold_at_far(counted, rate)
        n_above = int((counted >= threshold).sum())
        hits = _weigh(weights, nonmatching & (scores >= threshold))
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


def _weigh(weights: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return for each bootstrap sample the pairs, each times its tracks' multiplicities."""
    return np.einsum("bi,ij,bj->b", weights, pairs.astype(np.float64), weights, optimize=True)
