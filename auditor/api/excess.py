"""How many outputs of a model repeat its training music beyond what held-out music explains.

Music of one kind resembles itself: an honest model matches training tracks now and then, as it
matches tracks that it never saw.  What counts is the difference between both, against sides of one
size.

* **Size.**  The more music there is, the more it matches by chance.  Where one side is larger, an
  output counts with the probability that a random sample of that side, as large as the other one,
  holds a track that it repeats: 1 - C(N - k, n) / C(N, n) for k of N tracks and a sample of n.
  That is the mean of all samples, and no sample has to be drawn.
* **Interval.**  Outputs and artists are drawn with replacement, both at once (Owen 2007): an output
  counts as often as it was drawn, times how often the artist it repeats was drawn.  No draw turns
  0 matches into some, so the interval is at least as wide as that of two independent proportions
  with Wilson's limits (Newcombe 1998, method 10; Wilson 1927).

References
----------
Newcombe (1998), "Interval estimation for the difference between independent proportions", Stat.
Med. 17:873-890.  Owen (2007), "The pigeonhole bootstrap", Ann. Appl. Stat. 1:386-411.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auditor.calibration.bootstrap import MIN_SOURCES
from auditor.calibration.metrics import wilson_interval
from auditor.records import Excess

N_SAMPLES = 4000
"""Bootstrap samples."""

TOLERANCE_S = 0.5
"""Ends of passages are known to so many seconds; a passage of exactly 10 s has 10 s or more."""

SAME_SIZE = 0.95
"""Sides of at least this ratio are of one size."""


@dataclass(frozen=True)
class CountedSide:
    """The tracks of one side that count.

    Attributes
    ----------
    source_of : dict of str to str
        Artist of each track, or the track where no artist is known, by id.
    sampled : float
        Share of the tracks in a sample as large as the other side.
    """

    source_of: Mapping[str, str]
    sampled: float = 1.0

    @property
    def n(self) -> int:
        """Tracks."""
        return len(self.source_of)

    @property
    def n_sampled(self) -> int:
        """Tracks of a sample."""
        return max(1, round(self.sampled * self.n)) if self.n else 0


Repeated = Mapping[str, Mapping[str, float]]
"""Seconds of each track that each output repeats, by output and track."""


def equal_shares(training_s: float, heldout_s: float) -> tuple[float, float]:
    """Return which share of either side is as long as the other one, 1 for the smaller side.

    Examples
    --------
    >>> equal_shares(1000.0, 250.0), equal_shares(1000.0, 990.0)
    ((0.25, 1.0), (1.0, 1.0))
    """
    if min(training_s, heldout_s) >= SAME_SIZE * max(training_s, heldout_s):
        return 1.0, 1.0
    return min(1.0, heldout_s / training_s), min(1.0, training_s / heldout_s)


def sample_holds_one(k: int, n_all: int, n_sampled: int) -> float:
    """Return how likely a sample of some tracks holds one of k.

    Examples
    --------
    >>> sample_holds_one(0, 10, 5), sample_holds_one(1, 10, 5), sample_holds_one(2, 10, 5)
    (0.0, 0.5, 0.7777777777777778)
    """
    if k <= 0 or n_sampled <= 0:
        return 0.0
    if n_sampled >= n_all or k > n_all - n_sampled:
        return 1.0
    none = math.prod((n_all - n_sampled - i) / (n_all - i) for i in range(k))
    return 1.0 - none


@dataclass(frozen=True)
class _Hits:
    """How much each output counts on one side, and which source it repeats most.

    Attributes
    ----------
    weights : numpy.ndarray
        (n_outputs,) float64, 0 to 1.
    sources : list of str
        Of each output; empty where it repeats nothing.
    n_sources : int
        Of the whole side.
    """

    weights: np.ndarray
    sources: list[str]
    n_sources: int


def _hits(outputs: Sequence[str], repeated: Repeated, side: CountedSide, min_s: float) -> _Hits:
    weights, sources = np.zeros(len(outputs)), []
    n_sources = len(set(side.source_of.values()))
    by_track = n_sources < MIN_SOURCES
    for place, output in enumerate(outputs):
        seconds = {
            track: s
            for track, s in repeated.get(output, {}).items()
            if s >= min_s - TOLERANCE_S and track in side.source_of
        }
        weights[place] = sample_holds_one(len(seconds), side.n, side.n_sampled)
        longest = max(seconds, key=lambda track: (seconds[track], track), default="")
        sources.append(longest if by_track or not longest else side.source_of[longest])
    return _Hits(weights, sources, side.n if by_track else n_sources)


def measure_excess(
    outputs: Sequence[str],
    repeated: tuple[Repeated, Repeated],
    sides: tuple[CountedSide, CountedSide],
    *,
    min_s: float,
    what: str = "recording",
    seed: int = 0,
) -> Excess:
    """Return how many outputs repeat one side beyond what the other one explains.

    Parameters
    ----------
    outputs : sequence of str
        Ids of all outputs.
    repeated : tuple of mapping
        What each output repeats of training and held-out music, in seconds.
    sides : tuple of CountedSide
        Training and held-out music.
    min_s : float
        Seconds of one track that an output must repeat to count, less ``TOLERANCE_S``.
    what : str
        See ``records.Excess``.
    seed : int
        Of the bootstrap.
    """
    hits = [_hits(outputs, r, s, min_s) for r, s in zip(repeated, sides, strict=True)]
    training, heldout = (float(one.weights.sum()) for one in hits)
    low, high = _interval(hits[0], hits[1], np.random.default_rng([seed, 20]))
    return Excess(
        what,
        min_s,
        int((hits[0].weights > 0).sum()),
        int((hits[1].weights > 0).sum()),
        round(training, 4),
        round(heldout, 4),
        round(training - heldout, 4),
        round(low, 4),
        round(high, 4),
    )


def _interval(training: _Hits, heldout: _Hits, rng: np.random.Generator) -> tuple[float, float]:
    n = len(training.weights)
    low, high = newcombe_interval(float(training.weights.sum()), float(heldout.weights.sum()), n)
    rows = np.flatnonzero((training.weights > 0) | (heldout.weights > 0))
    if not len(rows):
        return low, high
    drawn = _draw(rng, n, len(rows))
    total = np.zeros(N_SAMPLES)
    for hits, sign in ((training, 1.0), (heldout, -1.0)):
        names, place = np.unique([hits.sources[row] for row in rows], return_inverse=True)
        known = names != ""
        times = np.zeros((N_SAMPLES, len(names)))
        times[:, known] = _draw(rng, hits.n_sources, int(known.sum()))
        total += sign * (drawn * hits.weights[rows] * times[:, place]).sum(axis=1)
    own_low, own_high = np.clip(np.quantile(total, (0.025, 0.975)), -n, n)  # no more outputs
    return min(low, float(own_low)), max(high, float(own_high))


def _draw(rng: np.random.Generator, n_all: int, n_named: int) -> np.ndarray:
    """Return how often each of some units is drawn among all, (N_SAMPLES, n_named) float64."""
    shares = np.full(n_named + 1, 1.0 / max(n_all, 1))
    shares[-1] = max(0.0, 1.0 - n_named / max(n_all, 1))
    return rng.multinomial(n_all, shares / shares.sum(), size=N_SAMPLES)[:, :-1].astype(np.float64)


def newcombe_interval(n_first: float, n_second: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a difference of two counts, both out of ``n``.

    Examples
    --------
    >>> low, high = newcombe_interval(7, 0, 1000)
    >>> round(low, 1), round(high, 1)
    (1.7, 14.4)
    """
    if not n:
        return 0.0, 0.0
    (low_a, high_a), (low_b, high_b) = (wilson_interval(k, n) for k in (n_first, n_second))
    a, b = n_first / n, n_second / n
    low = a - b - math.hypot(a - low_a, high_b - b)
    high = a - b + math.hypot(high_a - a, b - low_b)
    return n * max(-1.0, low), n * min(1.0, high)


def least_excess(n_outputs: int, heldout: float, sampled: float = 1.0) -> float | None:
    """Return how many outputs must repeat the whole training music to be told from chance.

    Parameters
    ----------
    n_outputs : int
    heldout : float
        Outputs that repeat the held-out music.
    sampled : float
        Share of the training music in a sample as large as the held-out one: so much of what
        outputs repeat is counted.

    Returns
    -------
    float or None
        Outputs beyond those that chance explains; None where not even all would do.

    Examples
    --------
    >>> least_excess(1000, 0.0), least_excess(1000, 0.0, 0.25), least_excess(1, 0.0)
    (5.0, 20.0, None)
    """
    for k in range(1, n_outputs + 1):
        if k > heldout and newcombe_interval(k, heldout, n_outputs)[0] > 0.0:
            beyond = (k - heldout) / sampled
            return beyond if beyond <= n_outputs else None
    return None
