"""Whether the scores of a run are those of music like the calibration's, so that its rates hold.

The calibration says how many unrelated pairs reach each of several levels, and how uncertain that
is.  Where more do, the music is more alike than that of the calibration: drones of one synthesiser,
say, or scores that one sampler plays.  Copies must not count.  Nearly all altered copies score
above a level that the calibration knows, too: pairs above it tell nothing, tracks that they connect
are taken for one, of several pairs between two of these the highest counts, and as many pairs are
expected besides as copies leave below that level.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable

from auditor.calibration.metrics import poisson_quantile
from auditor.calibration.thresholds import Thresholds
from auditor.errors import ThresholdError
from auditor.records import ThresholdUse

LEVEL_FARS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""Rates of the levels from which pairs are counted."""

MISSED_COPIES = 0.005
"""Share of the altered copies of a calibration that may score below what copies score."""

SPREAD, SURPRISE = 1.5, 1e-3
"""How many times the upper bound of a rate a collection may have, and how seldom chance exceeds
that: chosen on the music of ``train``."""

FEWEST = 5
"""So many pairs at least tell of a collection; fewer may be excerpts that tracks really share."""

MORE_ALIKE = (
    "these tracks are more alike than the calibration music, so expect more false positives. "
    "Run: audit calibrate on it."
)

PairScore = tuple[str, str, float]
"""Ids of two tracks, and the score of the pair."""


def score_note(thresholds: Thresholds, pairs: Iterable[PairScore], use: ThresholdUse) -> str:
    """Return a warning if more pairs reach a level than the calibration explains, else no text.

    Parameters
    ----------
    thresholds : Thresholds
    pairs : iterable of PairScore
        Those that were examined; such as score below every level need not be among them.
    use : ThresholdUse
        Of the run, with its number of comparisons.
    """
    n_comparisons = use.n_comparisons
    if not n_comparisons:
        return ""
    one_source = (use.n_one_source or 0) / n_comparisons
    copies = sorted(score for recall in thresholds.recalls for score in recall.scores)
    top = copies[math.floor(MISSED_COPIES * len(copies))] if copies else use.threshold
    scores, n_copies = scores_apart(pairs, top)
    exceeded, said = 1.0, ""
    for far in LEVEL_FARS:
        try:
            level = thresholds.threshold_at(far, one_source=one_source)
        except ThresholdError:
            break
        n = len(scores) - bisect.bisect_left(scores, level)
        if level >= top or n < FEWEST:
            break
        n_below = bisect.bisect_left(copies, top) - bisect.bisect_left(copies, level)
        left = n_copies * n_below / max(1, len(copies) - bisect.bisect_left(copies, top))
        unrelated = thresholds.far_at(level, one_source=one_source)[2] * n_comparisons
        most = poisson_quantile(1.0 - SURPRISE, SPREAD * unrelated + left)
        if n > exceeded * max(1, most):
            exceeded = n / max(1, most)
            said = (
                f"{n:,} pairs score {level:.2f} to {top:.2f}, where the calibration expects "
                f"{most:,} at most: {MORE_ALIKE}"
            )
    return said


def scores_apart(pairs: Iterable[PairScore], top: float) -> tuple[list[float], int]:
    """Return the scores below a level, rising, that pairs above it do not explain.

    Tracks that pairs from ``top`` on connect are one; of each two of these the highest score counts
    once.

    Returns
    -------
    list of float, int
        Scores below ``top``, and how many pairs reach it.

    Examples
    --------
    >>> scores_apart([("a", "b", 0.9), ("a", "c", 0.4), ("b", "c", 0.5), ("c", "d", 0.3)], 0.7)
    ([0.3, 0.5], 1)
    """
    parent: dict[str, str] = {}

    def group(track_id: str) -> str:
        while (above := parent.get(track_id, track_id)) != track_id:
            parent[track_id] = parent.get(above, above)
            track_id = above
        return track_id

    below: list[PairScore] = []
    n_above = 0
    for a, b, score in pairs:
        if score < top:
            below.append((a, b, score))
            continue
        n_above += 1
        parent[group(a)] = group(b)
    highest: dict[tuple[str, str], float] = {}
    for a, b, score in below:
        one, other = sorted((group(a), group(b)))
        if one != other:
            highest[one, other] = max(score, highest.get((one, other), score))
    return sorted(highest.values()), n_above
