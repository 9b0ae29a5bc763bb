"""False alarm rates counted on pairs of known tracks, with intervals by bootstrap.

``RateTable.far_at`` reads the rate of any threshold off the counted points, and above the threshold
where the tail begins off the tail.  Without a tail only an upper bound is known beyond the highest
counted score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from auditor.calibration.bootstrap import UnitBootstrap
from auditor.calibration.metrics import threshold_at_far, wilson_interval
from auditor.calibration.tail import Tail, fit_tail


@dataclass(frozen=True)
class OperatingPoint:
    """FAR counted at one threshold, per pair, with its 95 % interval."""

    threshold: float
    far: float
    far_low: float
    far_high: float

    def __post_init__(self) -> None:
        if not -1.0 <= self.threshold <= 1.0 + 1e-6:
            raise ValueError(f"threshold is {self.threshold}; a cosine lies in [-1, 1]")
        if not 0.0 <= self.far_low <= self.far <= self.far_high <= 1.0:
            raise ValueError(
                f"far is {self.far} within {self.far_low} to {self.far_high}; "
                "it must lie inside its interval, and that in [0, 1]"
            )


@dataclass(frozen=True)
class RateTable:
    """The rates of one kind of pairs.

    Attributes
    ----------
    operating_points : tuple of OperatingPoint
        By rising threshold; FAR never rises with the threshold.
    n_nonmatching_pairs : int
        The pairs behind the counts.
    tail : Tail, optional
        Of their scores; it begins at an operating point.
    """

    operating_points: tuple[OperatingPoint, ...]
    n_nonmatching_pairs: int
    tail: Tail | None = None

    def __post_init__(self) -> None:
        points = self.operating_points
        if not points:
            raise ValueError("operating_points is empty; at least one is needed")
        for a, b in pairwise(points):
            if not (a.threshold < b.threshold and a.far >= b.far):
                raise ValueError("operating_points must rise in threshold and never rise in far")
        if self.tail is None:
            return
        joint = [point for point in points if point.threshold == self.tail.threshold]
        if not joint or not math.isclose(joint[0].far, self.tail.share, rel_tol=1e-9):
            raise ValueError(
                f"the tail begins at {self.tail.threshold} with a share of {self.tail.share:g}; "
                "an operating point there, of the same rate, is needed"
            )

    def far_at(self, threshold: float) -> tuple[float, float, float]:
        """Return FAR and its 95 % interval at a threshold.

        Between two points the logarithm of the rate is interpolated; where the lower bound is 0 at
        either, it is that of the higher threshold.  Where the tail has begun, it gives the rate.
        Without a tail nothing is known above the last point but that FAR is that point's at most,
        and may be 0.  Below the first, FAR is only known to be at least that point's, and its
        upper bound is 1.

        Examples
        --------
        >>> points = (OperatingPoint(0.5, 0.1, 0.08, 0.12), OperatingPoint(0.9, 0.001, 0.0, 0.01))
        >>> [round(rate, 4) for rate in RateTable(points, 1000).far_at(0.7)]
        [0.01, 0.0, 0.0346]
        """
        points = self.operating_points
        if self.tail is not None and threshold > self.tail.threshold:
            return self.tail.far_at(threshold)
        if threshold > points[-1].threshold:
            return points[-1].far, 0.0, points[-1].far_high
        if threshold < points[0].threshold:
            return points[0].far, points[0].far_low, 1.0
        for a, b in pairwise(points):
            if a.threshold <= threshold <= b.threshold:
                share = (threshold - a.threshold) / (b.threshold - a.threshold)
                far = _interpolate(a.far, b.far, share)
                low = b.far_low if share > 0.0 else a.far_low
                if a.far_low > 0.0 and b.far_low > 0.0:
                    low = _interpolate(a.far_low, b.far_low, share)
                high = _interpolate(a.far_high, b.far_high, share)
                return far, min(far, low), max(far, high)
        return points[0].far, points[0].far_low, points[0].far_high

    def threshold_at(self, far: float) -> float | None:
        """Return the lowest threshold known to have a FAR of at most ``far``, None if none has.

        It is an operating point, or below the rate at which the tail begins the very threshold
        that the tail gives.
        """
        if self.tail is not None and far < self.tail.share:
            return self.tail.threshold_at(far)
        if far >= self.lowest_counted() * (1.0 - 1e-9):
            for point in self._reachable():
                if point.far <= far:
                    return point.threshold
        return None

    def lowest_counted(self) -> float:
        """Return the lowest FAR that was counted: at least one in all the pairs."""
        points = self._reachable()
        return max(1.0 / max(1, self.n_nonmatching_pairs), points[-1].far if points else 1.0)

    def _reachable(self) -> list[OperatingPoint]:
        # Above 1 lies no score: such a threshold would flag nothing at all.
        return [point for point in self.operating_points if point.threshold <= 1.0]


def _interpolate(a: float, b: float, share: float) -> float:
    if share in (0.0, 1.0):  # at a point, the very rate that was counted
        return b if share else a
    if a <= 0.0 or b <= 0.0:
        return a + share * (b - a)
    return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))


FARS = (0.3, 0.1, *(m * 10.0**-e for e in range(2, 10) for m in (3.0, 1.0)))
"""Rates at which operating points are set, as far down as the pairs allow."""

N_BOOTSTRAP = 500


def count_rates(
    scores: np.ndarray,
    nonmatching: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    sources: Sequence[str] = (),
    seed: int = 0,
) -> RateTable:
    """Count how often pairs reach a score, and fit a tail where they are enough for one.

    Parameters are those of ``operating_points``.
    """
    tail = fit_tail(scores, nonmatching, weights=weights, sources=sources, seed=seed)
    points = operating_points(
        scores, nonmatching, tail=tail, weights=weights, sources=sources, seed=seed
    )
    return RateTable(points, int(np.count_nonzero(nonmatching)), tail)


def operating_points(
    scores: np.ndarray,
    nonmatching: np.ndarray,
    *,
    tail: Tail | None = None,
    weights: np.ndarray | None = None,
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
    weights : numpy.ndarray, optional
        (n_tracks, n_tracks) float, how many pairs each of those that count stands for, where they
        are a sample: the shares are then those of Horvitz and Thompson (1952), and the Wilson
        interval that of so many independent pairs as the weights are worth (Kish 1965).
    sources : sequence of str
        (n_tracks,) source of each track; each is one of its own if left out.
    seed : int

    Returns
    -------
    tuple of OperatingPoint
        By rising threshold; the last lies just above the highest non-matching score.
    """
    counted = scores[nonmatching]
    own = None if weights is None else weights[nonmatching]
    each = nonmatching if weights is None else np.where(nonmatching, weights, 0.0)
    n_all = counted.size if own is None else float(own.sum())
    n_worth = counted.size if own is None else math.floor(n_all**2 / float((own**2).sum()))
    rng = np.random.default_rng(seed)
    bootstrap = UnitBootstrap(len(scores), sources, n_samples=N_BOOTSTRAP, rng=rng)
    totals = bootstrap.totals(each)
    found: dict[float, OperatingPoint] = {}
    for rate in [far for far in FARS if far * counted.size >= 1.0] + [0.0]:
        threshold = threshold_at_far(counted, rate, own)
        above = counted >= threshold
        hits = bootstrap.totals(np.where(scores >= threshold, each, 0))
        far = float(above.sum() if own is None else own[above].sum()) / n_all
        low, high = np.percentile(hits / np.maximum(totals, 1.0), [2.5, 97.5])
        wilson = wilson_interval(min(far, 1.0) * n_worth, n_worth)
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
