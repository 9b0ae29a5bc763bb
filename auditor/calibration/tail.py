"""The extreme-value tail of non-matching scores: false alarm rates below what can be counted.

Peaks over threshold: the excesses of scores over a high threshold follow a generalised Pareto
distribution (GPD) whatever the scores' own distribution, the better the higher the threshold
(Pickands 1975; Coles 2001, chapter 4).  A cosine cannot exceed 1, so the shape is negative and the
end point ``threshold - scale / shape`` lies at most at the bound.

* *Fit*: maximum likelihood, penalised by ``PRIOR_EXCEEDANCES * log(room / reach)``, where ``reach``
  is the distance from threshold to end point and ``room`` that from threshold to bound: plain
  likelihood puts the end point just above the highest score seen, and with it a rate of 0 where
  unrelated tracks do score.  The likelihood has its maximum over the shape in closed form for
  every ``reach`` (Grimshaw 1993), so a grid over ``1 / reach`` finds the maximum, for all
  bootstrap samples at once.
* *Threshold*: the lowest of ``SHARES`` whose excesses pass an Anderson-Darling test against the
  fitted GPD, p > ``MIN_P_VALUE`` by parametric bootstrap (Choulakian and Stephens 2001); if none
  does, the one that fits best, and its p-value says so.
* *Interval*: a bootstrap over sources of tracks (``auditor.calibration.bootstrap``).  Its
  parameters are kept, so that an interval can be read at any threshold.

References
----------
Pickands (1975), Annals of Statistics 3:119-131.  Grimshaw (1993), Technometrics 35:185-191.
Choulakian and Stephens (2001), Technometrics 43:478-484.  Coles (2001), An Introduction to
Statistical Modeling of Extreme Values, doi:10.1007/978-1-4471-3675-0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.calibration.bootstrap import UnitBootstrap

SHARES = (0.05, 0.03, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5)
"""Shares of all scores that a candidate threshold leaves above it."""

MIN_EXCEEDANCES, MAX_EXCEEDANCES = 30, 2000
MIN_SCORES = 300
"""So few scores have a tail all the same, of the ``MIN_EXCEEDANCES`` highest."""

MIN_SHAPE = -0.5
"""Below it maximum likelihood is irregular (Smith 1985)."""

PRIOR_EXCEEDANCES = 5.0
MIN_P_VALUE = 0.1
N_BOOTSTRAP = 200
N_GOODNESS = 99
_N_GRID = 128
_CLEARANCE = 1e-4
"""Scores nearer to the bound than this share of the room above the threshold are moved there."""


@dataclass(frozen=True)
class Tail:
    """A generalised Pareto tail; ``far_at`` and ``threshold_at`` read it.

    Attributes
    ----------
    threshold : float
        Where the tail begins; below it rates are counted.
    n_exceedances, n_scores : int
        Non-matching scores above the threshold, and in all.
    shape, scale : float
        Of the GPD; the shape is negative.
    bound : float
        The highest score there can be.
    p_value : float
        Of the goodness of fit; below ``MIN_P_VALUE`` the fit is poor.
    bootstrap : tuple of (float, float, float)
        (shape, scale, share above the threshold) of every bootstrap sample.
    weighted_share : float
        Share of all pairs above the threshold where the scores are those of a sample, of which
        each stands for so many pairs; 0 where all were scored.

    Examples
    --------
    >>> tail = Tail(0.5, 50, 1000, -0.25, 0.1, 1.0, 0.6, ((-0.2, 0.1, 0.04), (-0.3, 0.12, 0.06)))
    >>> round(tail.end_point, 6)
    0.9
    >>> round(tail.threshold_at(1e-6), 4)
    0.8733
    """

    threshold: float
    n_exceedances: int
    n_scores: int
    shape: float
    scale: float
    bound: float
    p_value: float
    bootstrap: tuple[tuple[float, float, float], ...]
    weighted_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.n_exceedances <= self.n_scores:
            raise ValueError(
                f"{self.n_exceedances} of {self.n_scores} scores exceed the tail's threshold; "
                "at least one, and not more than there are, is needed"
            )
        if not 0.0 <= self.p_value <= 1.0:
            raise ValueError(f"p_value is {self.p_value}; it must lie in [0, 1]")
        if not 1 <= len(self.bootstrap) <= 10_000:
            raise ValueError(f"bootstrap has {len(self.bootstrap)} samples; 1 to 10,000 are read")
        for shape, scale, share in ((self.shape, self.scale, self.share), *self.bootstrap):
            if not (MIN_SHAPE - 1e-6 <= shape < 0.0 < scale and 0.0 <= share <= 1.0):
                raise ValueError(
                    f"a tail has shape {shape}, scale {scale} and share {share}; a shape in "
                    f"[{MIN_SHAPE}, 0), a positive scale and a share in [0, 1] are needed"
                )
            if self.threshold - scale / shape > self.bound + 1e-4:
                raise ValueError(
                    f"a tail ends at {self.threshold - scale / shape}, above the bound {self.bound}"
                )

    @property
    def share(self) -> float:
        """Share of all scores above the threshold."""
        return self.weighted_share or self.n_exceedances / self.n_scores

    @property
    def end_point(self) -> float:
        """Score that the fitted tail never reaches."""
        return self.threshold - self.scale / self.shape

    def far_at(self, threshold: float) -> tuple[float, float, float]:
        """Return FAR and its 95 % interval at a threshold not below the tail's own.

        Raises
        ------
        ValueError
            If the threshold lies below the tail, where rates are counted.
        """
        if threshold < self.threshold:
            raise ValueError(f"threshold is {threshold}; the tail begins at {self.threshold}")
        shape, scale, share = np.asarray(self.bootstrap).T
        rates = share * _survival(threshold - self.threshold, shape, scale)
        low, high = np.percentile(rates, [2.5, 97.5])
        own = np.asarray([self.shape]), np.asarray([self.scale])
        far = self.share * float(_survival(threshold - self.threshold, *own)[0])
        return far, float(min(low, far)), float(max(high, far))

    def threshold_at(self, far: float) -> float:
        """Return the threshold of a FAR; the tail's own for any rate it does not reach down from.

        Raises
        ------
        ValueError
            If ``far`` is not positive.
        """
        if not far > 0.0:
            raise ValueError(f"far is {far}; a positive rate is needed")
        if far >= self.share:
            return self.threshold
        log_ratio = math.log(far / self.share)
        return self.threshold + self.scale / self.shape * math.expm1(-self.shape * log_ratio)


def fit_tail(
    scores: np.ndarray,
    nonmatching: np.ndarray,
    *,
    bound: float = 1.0,
    weights: np.ndarray | None = None,
    sources: Sequence[str] = (),
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> Tail | None:
    """Fit the tail of the scores of non-matching pairs of tracks.

    Parameters
    ----------
    scores : numpy.ndarray
        (n_tracks, n_tracks) float.
    nonmatching : numpy.ndarray
        (n_tracks, n_tracks) bool, the pairs that count, each once.
    bound : float
        The highest score there can be.
    weights : numpy.ndarray, optional
        (n_tracks, n_tracks) float, how many pairs each of those that count stands for, where they
        are a sample.
    sources : sequence of str
        (n_tracks,) source of each track; each is one of its own if left out.
    n_bootstrap : int
        Bootstrap samples kept.
    seed : int
        Of the bootstraps.

    Returns
    -------
    Tail or None
        None if fewer than ``MIN_SCORES`` pairs count, or hardly any two scores differ.

    Raises
    ------
    ValueError
        If the shapes differ, or a counted score is not finite.

    Notes
    -----
    The test assumes independent excesses.  Pairs that share a track are not, which makes it reject
    more often and begin the tail higher than needed: less precise, not less true.
    """
    scores = np.asarray(scores, dtype=np.float64)
    nonmatching = np.asarray(nonmatching, dtype=bool)
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or scores.shape != nonmatching.shape:
        raise ValueError(
            f"scores have shape {scores.shape} and nonmatching {nonmatching.shape}; "
            "(n_tracks, n_tracks) is needed for both"
        )
    counted = scores[nonmatching]
    if not np.isfinite(counted).all():
        raise ValueError("a score is not finite")
    rng = np.random.default_rng(seed)
    chosen = _choose_threshold(
        counted, bound, rng, None if weights is None else weights[nonmatching]
    )
    if chosen is None:
        return None
    threshold, p_value = chosen
    rows_a, rows_b = np.nonzero(nonmatching & (scores > threshold))
    excesses = scores[rows_a, rows_b] - threshold
    room = bound - threshold
    each = nonmatching if weights is None else np.where(nonmatching, weights, 0.0)
    of_each = np.ones(len(excesses)) if weights is None else weights[rows_a, rows_b]
    bootstrap = UnitBootstrap(len(scores), sources, n_samples=n_bootstrap, rng=rng)
    totals = bootstrap.totals(each)
    drawn = bootstrap.multiplicities(rows_a, rows_b) * of_each  # (n_bootstrap, n_exceedances)
    worth = float(of_each.sum() / (of_each**2).sum())  # what the prior is weighed against
    shape, scale = (float(values[0]) for values in _fit(excesses, worth * of_each[None], room))
    shapes, scales = _fit(excesses, worth * drawn, room)
    shares = drawn.sum(axis=1) / np.maximum(totals, 1.0)
    return Tail(
        threshold=threshold,
        n_exceedances=len(excesses),
        n_scores=counted.size,
        shape=shape,
        scale=scale,
        bound=bound,
        p_value=round(p_value, 4),
        bootstrap=tuple(
            (float(f"{a:.6g}"), float(f"{b:.6g}"), float(f"{c:.6g}"))
            for a, b, c in zip(shapes, scales, shares, strict=True)
        ),
        weighted_share=0.0 if weights is None else float(of_each.sum() / each.sum()),
    )


def _choose_threshold(
    counted: np.ndarray,
    bound: float,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
) -> tuple[float, float] | None:
    """Return the lowest threshold whose excesses pass the test, with its p-value."""
    n = counted.size
    n_above = [round(share * n) for share in SHARES]
    if weights is not None:
        above = np.cumsum(weights[np.argsort(-counted, kind="stable")])
        n_above = np.searchsorted(above, np.asarray(SHARES) * above[-1], side="right").tolist()
    n_above = [k for k in n_above if MIN_EXCEEDANCES <= k <= min(MAX_EXCEEDANCES, n - 1)]
    if not n_above and n >= MIN_SCORES:
        n_above = [MIN_EXCEEDANCES]
    best: tuple[float, float] | None = None
    if not n_above:
        return None
    order = np.argpartition(counted, n - 1 - n_above[0])[n - 1 - n_above[0] :]
    order = order[np.argsort(-counted[order], kind="stable")]
    highest = counted[order]
    for k in n_above:
        # Between two scores, so that "at least" and "above" mean the same.
        threshold = float((highest[k] + highest[k - 1]) / 2.0)
        excesses = highest[:k] - threshold
        if excesses[-1] <= 0.0 or threshold >= bound:
            continue
        own = None if weights is None else weights[order[:k]]
        p_value = goodness_of_fit(excesses, bound - threshold, rng, weights=own)
        if best is None or p_value > best[1]:
            best = threshold, p_value
        if p_value > MIN_P_VALUE:
            break
    return best


def goodness_of_fit(
    excesses: np.ndarray,
    room: float,
    rng: np.random.Generator,
    *,
    weights: np.ndarray | None = None,
    n_samples: int = N_GOODNESS,
) -> float:
    """Return the p-value of the Anderson-Darling test of excesses against their fitted GPD.

    Parameters
    ----------
    excesses : numpy.ndarray
        (n,) scores less the threshold, positive.
    room : float
        From the threshold to the bound.
    rng : numpy.random.Generator
        Of the parametric bootstrap.
    weights : numpy.ndarray, optional
        (n,) how many pairs each excess stands for; the drawn samples have them in any order.
    n_samples : int
        Samples drawn from the fitted GPD, each fitted anew.
    """
    n = len(excesses)
    each = np.ones(n) if weights is None else weights * weights.sum() / (weights**2).sum()

    def statistic(values: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        shape, scale = _fit(values, each[None], room)
        probabilities = 1.0 - _survival(values, shape, scale)
        if weights is None:
            return _anderson_darling(probabilities), shape, scale
        return _weighted_anderson_darling(probabilities, weights), shape, scale

    observed, shape, scale = statistic(excesses)
    n_larger = 0
    for _ in range(n_samples):
        drawn = scale / shape * np.expm1(-shape * np.log1p(-rng.random(n)))
        n_larger += statistic(drawn)[0] >= observed
    return (1 + n_larger) / (1 + n_samples)


def _fit(excesses: np.ndarray, weights: np.ndarray, room: float) -> tuple[np.ndarray, np.ndarray]:
    """Return shape and scale of the penalised likelihood's maximum, for each row of weights.

    ``excesses`` is (n,), ``weights`` (n_samples, n); both results are (n_samples,).
    """
    excesses = np.minimum(excesses, room * (1.0 - _CLEARANCE))
    # Up to the highest excess: for samples without it the end point stays above it all the same.
    inverse_reach = np.linspace(1.0 / room, (1.0 - 1e-9) / excesses.max(), _N_GRID)
    logs = np.log1p(-excesses[:, None] * inverse_reach[None, :])  # (n, n_grid)
    totals = np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    means = (weights @ logs) / totals  # (n_samples, n_grid): the best shape for each reach
    shapes = np.clip(means, MIN_SHAPE, -1e-9)
    likelihood = -np.log(-shapes / inverse_reach) - (1.0 + 1.0 / shapes) * means
    likelihood -= PRIOR_EXCEEDANCES / totals * np.log(inverse_reach * room)
    best = likelihood.argmax(axis=1)
    shape = shapes[np.arange(len(weights)), best]
    return shape, -shape / inverse_reach[best]


def _survival(excess: np.ndarray | float, shape: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the probability that a GPD exceeds ``excess``; 0 from the end point on."""
    left = np.maximum(1.0 + shape * excess / scale, 0.0)
    with np.errstate(divide="ignore"):
        return np.exp(-np.log(left) / shape)


def _anderson_darling(probabilities: np.ndarray) -> float:
    ordered = np.sort(np.clip(probabilities, 1e-12, 1.0 - 1e-12))
    n = len(ordered)
    odd = 2.0 * np.arange(1, n + 1) - 1.0
    return float(-n - np.mean(odd * (np.log(ordered) + np.log1p(-ordered[::-1]))))


def _weighted_anderson_darling(probabilities: np.ndarray, weights: np.ndarray) -> float:
    """Return the statistic of a weighted sample: that of equal weights where they are equal.

    The integral of ``(F_n - u)**2 / (u (1 - u))``, step by step, times what the sample is worth.
    """
    order = np.argsort(probabilities)
    ends = np.clip(probabilities[order], 1e-12, 1.0 - 1e-12)
    steps = np.cumsum(weights[order]) / weights.sum()  # F_n from each on

    def upto(c: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return the indefinite integral of ``(c - u)**2 / (u (1 - u))``."""
        return c * c * np.log(u) - (1.0 - c) ** 2 * np.log1p(-u) - u

    first = -np.log1p(-ends[0]) - ends[0]
    last = -1.0 - (np.log(ends[-1]) - ends[-1])
    between = upto(steps[:-1], ends[1:]) - upto(steps[:-1], ends[:-1])
    worth = weights.sum() ** 2 / (weights**2).sum()
    return float(worth * (first + between.sum() + last))
