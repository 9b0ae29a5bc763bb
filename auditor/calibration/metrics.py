"""Error rates of a score: EER, recall at a stated FAR, top-1 hit rate, Wilson intervals.

A pair is flagged when ``score >= threshold``.  FAR is the share of non-matching pairs flagged, FRR
the share of matching pairs missed, both per pair.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

_MANY = 500.0
"""Poisson means beyond which the normal law is as good."""


def _scores(values: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0:
        raise ValueError(f"{name} is empty; at least one score is needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds scores that are not finite")
    return array


def far_frr(
    matching: np.ndarray, nonmatching: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return FAR and FRR at each threshold.

    Parameters
    ----------
    matching, nonmatching : numpy.ndarray
        Scores of pairs that match and of pairs that do not; any shape, not empty.
    thresholds : numpy.ndarray
        (n,).

    Returns
    -------
    far, frr : numpy.ndarray
        (n,) float64 each, in [0, 1].

    Raises
    ------
    ValueError
        If a set of scores is empty or holds NaN.
    """
    matching = np.sort(_scores(matching, "matching"))
    nonmatching = np.sort(_scores(nonmatching, "nonmatching"))
    thresholds = np.asarray(thresholds, dtype=np.float64)
    far = 1.0 - np.searchsorted(nonmatching, thresholds, side="left") / nonmatching.size
    frr = np.searchsorted(matching, thresholds, side="left") / matching.size
    return far, frr


def equal_error_rate(matching: np.ndarray, nonmatching: np.ndarray) -> tuple[float, float]:
    """Return the rate at which FAR and FRR are equal, and the threshold there.

    The curve is exact at every score; between the two scores around the crossing the rates are
    averaged.

    Examples
    --------
    >>> equal_error_rate([0.9, 0.8], [0.1, 0.2])[0]
    0.0
    """
    thresholds = np.unique(
        np.concatenate([_scores(matching, "matching"), _scores(nonmatching, "nonmatching")])
    )
    thresholds = np.append(thresholds, np.nextafter(thresholds[-1], np.inf))
    far, frr = far_frr(matching, nonmatching, thresholds)
    i = int(np.argmin(np.abs(far - frr)))
    return float((far[i] + frr[i]) / 2.0), float(thresholds[i])


def threshold_at_far(
    nonmatching: np.ndarray, far: float, weights: np.ndarray | None = None
) -> float:
    """Return the lowest threshold whose counted FAR does not exceed ``far``.

    It is just above a non-matching score, so that ``score >= threshold`` holds for at most
    ``floor(far * n)`` of the ``n`` pairs.  With ``weights``, (n_pairs,), a pair counts for so many.

    Raises
    ------
    ValueError
        If ``far`` is not in [0, 1].
    """
    if not 0.0 <= far <= 1.0:
        raise ValueError(f"far is {far}; it must lie in [0, 1]")
    scores = _scores(nonmatching, "nonmatching")
    if weights is None:
        scores = np.sort(scores)
        allowed = math.floor(far * scores.size + 1e-9)
    else:
        order = np.argsort(scores, kind="stable")
        scores = scores[order]
        above = np.cumsum(weights[order][::-1])
        allowed = int(np.searchsorted(above, far * above[-1] * (1.0 + 1e-9), side="right"))
    if allowed >= scores.size:
        return float(scores[0])
    return float(np.nextafter(scores[scores.size - 1 - allowed], np.inf))


def recall_at_far(matching: np.ndarray, nonmatching: np.ndarray, far: float) -> float:
    """Return the share of matching pairs flagged at ``threshold_at_far(nonmatching, far)``."""
    threshold = threshold_at_far(nonmatching, far)
    return float((_scores(matching, "matching") >= threshold).mean())


def top1_hit_rate(scores: np.ndarray, correct: np.ndarray) -> float:
    """Return the share of queries whose best-scored reference is the right one.

    Parameters
    ----------
    scores : numpy.ndarray
        (n_queries, n_references).
    correct : numpy.ndarray
        (n_queries,) int, column of the right reference; a tie at the top counts as a miss.

    Raises
    ------
    ValueError
        If there is no query or no reference.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"scores have shape {scores.shape}; (n_queries, n_references) is needed")
    rows = np.arange(len(scores))
    own = scores[rows, correct]
    return float(((scores >= own[:, None]).sum(axis=1) == 1).mean())


def poisson_quantile(p: float, mean: float) -> int:
    """Return the lowest number that a Poisson variable does not exceed with probability ``p``.

    Examples
    --------
    >>> poisson_quantile(0.975, 1.0), poisson_quantile(0.025, 20.0), poisson_quantile(0.5, 2000.0)
    (3, 12, 2000)

    Raises
    ------
    ValueError
        If ``p`` is not inside (0, 1), or the mean is negative or not finite.
    """
    if not 0.0 < p < 1.0 or not (mean >= 0.0 and math.isfinite(mean)):
        raise ValueError(f"p is {p} and the mean {mean}; p inside (0, 1) and a mean are needed")
    if mean > _MANY:
        return max(0, round(NormalDist(mean, math.sqrt(mean)).inv_cdf(p)))
    n, share = 0, math.exp(-mean)
    total = share
    while total < p:
        n += 1
        share *= mean / n
        total += share
    return n


def wilson_interval(n_hits: float, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, by default of 95 %.

    References
    ----------
    Wilson (1927), JASA 22:209-212.

    Raises
    ------
    ValueError
        If not ``0 <= n_hits <= n`` with ``n`` positive.

    Examples
    --------
    >>> low, high = wilson_interval(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.037)
    """
    if n <= 0 or not 0 <= n_hits <= n:
        raise ValueError(f"{n_hits} of {n} is not a proportion")
    p = n_hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if n_hits == 0 else max(0.0, centre - half)
    high = 1.0 if n_hits == n else min(1.0, centre + half)
    return low, high
