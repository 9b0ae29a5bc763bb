"""The threshold of a run: by hand, by rate, or by an error budget for its number of comparisons.

A budget is the number of false pairs that a whole run may be expected to raise.  Divided by the
pairs compared it is a FAR per pair, and the calibration says which threshold has that FAR.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.calibration.metrics import poisson_quantile
from auditor.calibration.music import MORE_ALIKE, PairScore, score_note
from auditor.calibration.rates import RateTable
from auditor.calibration.tail import MIN_P_VALUE
from auditor.calibration.thresholds import (
    Thresholds,
    check_scorer,
    find_thresholds,
    load_thresholds,
    rounded_up,
)
from auditor.embedding.config import float32_weights_id
from auditor.errors import ThresholdError, show_path
from auditor.records import Detection, ThresholdUse

LOOSEST_FAR = 0.01
"""No budget, however large for a small run, sets a threshold that flags more of unrelated pairs."""

HIGHEST_THRESHOLD = 0.9999
"""A budget sets none above it: a recording may score less with a lossless copy of itself."""

SIMILAR_FROM = 0.95
"""Cosine from which tracks are said to sound alike where no calibration gives another one."""

SIMILAR_FAR = 1e-4
"""However loose the threshold of a small run, no more of unrelated tracks sound alike."""

MIN_PAIRS_TO_JUDGE = 200
TOO_MANY = 5.0
"""A scan with so many times the calibrated share of moderately alike pairs is of other music."""


@dataclass(frozen=True)
class ThresholdOptions:
    """What sets the threshold of a run: at most one of the three numbers.

    Attributes
    ----------
    threshold : float, optional
        A score, set by hand.
    far : float, optional
        A false alarm rate per pair.
    max_false : float, optional
        A budget: false pairs that the whole run may be expected to raise.
    file : pathlib.Path, optional
        A calibration named by hand.

    Raises
    ------
    ThresholdError
        If more than one number is given, or one is out of range.
    """

    threshold: float | None = None
    far: float | None = None
    max_false: float | None = None
    file: Path | None = None

    def __post_init__(self) -> None:
        _check_one_of(self.threshold, self.far, self.max_false)


class RunThreshold:
    """The calibrations of a run, opened once, and what they say of its threshold and scores.

    Parameters
    ----------
    weights_id : str
        Of the extractor in use.
    directories : sequence of pathlib.Path
        Where calibrations lie, the user's own before the shipped ones.
    scorer : str
        Id of the scoring model that flags pairs.
    options : ThresholdOptions, optional
        Without a number the threshold is the calibration's own default.
    lowest : float
        No budget sets a lower threshold.
    similarity : str, optional
        Id of the scorer of embeddings, if it is another one: from which cosine tracks sound alike.

    Raises
    ------
    ThresholdError
        If nothing is calibrated for these weights and no threshold is given; if the named file is
        damaged, of other weights or of another scorer; or if a file in the folders cannot be used
        and no threshold is given.
    """

    def __init__(
        self,
        weights_id: str,
        directories: Sequence[Path],
        *,
        scorer: str,
        options: ThresholdOptions | None = None,
        lowest: float = -1.0,
        similarity: str = "",
    ) -> None:
        self._options = options or ThresholdOptions()
        self._weights_id, self._lowest = weights_id, lowest
        damaged: list[Path] | None = None if self._options.threshold is None else []
        found = _open_calibration(
            weights_id, directories, scorer=scorer, file=self._options.file, damaged=damaged
        )
        self._damaged = tuple(damaged or ())
        if found is None and self._options.threshold is None:
            raise ThresholdError(
                f"no threshold is calibrated for weights {weights_id}. "
                "Run: audit calibrate DIR, or give --threshold."
            )
        self.calibration: Thresholds | None
        self._path: Path | None
        self.calibration, self._path = found or (None, None)
        self._similarity = self.calibration
        if similarity:
            of_cosine = find_thresholds(weights_id, directories, scorer=similarity, damaged=[])
            self._similarity = of_cosine[0] if of_cosine else None

    def choose(
        self,
        n_comparisons: int | None = None,
        n_one_source: int = 0,
        *,
        planned: int | None = None,
    ) -> ThresholdUse:
        """Return the threshold for a number of comparisons, and what is known of its error rate.

        Parameters
        ----------
        n_comparisons : int, optional
            Pairs that the run compares; needed for a budget.
        n_one_source : int
            Those of them whose tracks are of one source (``auditor.catalogue.sources``).
        planned : int, optional
            Comparisons that a budget is for, where they are not those of the run: those with a
            catalogue of a stated size.

        Returns
        -------
        ThresholdUse
            With the expected number of false pairs if ``n_comparisons`` is given.

        Raises
        ------
        ThresholdError
            If the rate was not counted and there is no tail.
        ValueError
            If there is a budget without ``n_comparisons``.
        """
        options = self._options
        if options.max_false is not None and n_comparisons is None:
            raise ValueError("a budget needs n_comparisons")
        use = self._choose(options, n_comparisons, n_one_source, planned)
        if options.max_false is not None and use.threshold < self._lowest:
            least = self._choose(ThresholdOptions(self._lowest), n_comparisons, n_one_source)
            use = dataclasses.replace(least, source=use.source, budget=use.budget)
        return use

    def recount(self, use: ThresholdUse, n_comparisons: int, n_one_source: int) -> ThresholdUse:
        """Return what is known of a threshold that was chosen, for a run that compares more."""
        again = self._choose(ThresholdOptions(use.threshold), n_comparisons, n_one_source)
        return dataclasses.replace(again, source=use.source, note=use.note)

    def _choose(
        self,
        options: ThresholdOptions,
        n_comparisons: int | None,
        n_one_source: int,
        planned: int | None = None,
    ) -> ThresholdUse:
        notes = [
            f"{show_path(path)} was ignored: it is damaged or cannot be read."
            for path in self._damaged
        ]
        thresholds, path = self.calibration, self._path
        if thresholds is None or path is None:
            assert options.threshold is not None
            notes.insert(0, "The error rate is unknown: no calibration exists.")
            return ThresholdUse(
                options.threshold,
                "the --threshold option",
                note=" ".join(notes),
                n_comparisons=n_comparisons,
            )
        share = n_one_source / n_comparisons if n_comparisons else 0.0
        source = f"{path.name} ({thresholds.data})"
        chosen, said = thresholds.threshold, ""
        if options.threshold is not None:
            chosen, source = options.threshold, f"the --threshold option; rates from {source}"
        elif options.far is not None:
            chosen = thresholds.threshold_at(options.far, one_source=share)
        elif options.max_false is not None:
            n = n_comparisons or 0 if planned is None else planned
            one_source = min(n_one_source, n) / n if n else 0.0
            chosen, said = _within_budget(thresholds, path, options.max_false, n, one_source)
        rate, low, high = thresholds.far_at(chosen, one_source=share)
        if options.far is not None and high > options.far:
            said = (
                f"The requested rate is {options.far:g}; the actual rate may be up to "
                f"{rounded_up(high)}."
            )
        if thresholds.weights_id != self._weights_id:
            notes.append(
                "The rates were measured in float32, but this run uses bfloat16 "
                "(docs/calibration.md shows the difference). To measure them in bfloat16, run: "
                "audit calibrate"
            )
        tables = [thresholds.rates]
        if thresholds.one_source is not None and share:
            tables.append(thresholds.one_source)
        ranges = dict.fromkeys(_range_note(table, chosen, rate) for table in tables)
        notes = [note for note in (said, *ranges, *notes) if note]
        use = ThresholdUse(
            chosen,
            source,
            far=rate,
            far_low=low,
            far_high=high,
            note=" ".join(notes),
            budget=self._options.max_false if options is self._options else None,
            n_comparisons=n_comparisons,
            n_counted=sum(table.n_nonmatching_pairs for table in tables),
            n_one_source=n_one_source if thresholds.one_source is not None else None,
        )
        return use if n_comparisons is None else _expect(use, n_comparisons)

    def far_at(self, score: float, use: ThresholdUse) -> float | None:
        """Return the rate at which unrelated pairs of a run reach a score; None if not counted."""
        if self.calibration is None:
            return None
        return self.calibration.far_at(score, one_source=share_of_one_source(use))[0]

    def similar_from(self, use: ThresholdUse) -> float:
        """Return the cosine that unrelated tracks reach as seldom as the threshold of the run."""
        if self._similarity is None or not use.far:
            return SIMILAR_FROM
        try:
            similar_from = self._similarity.threshold_at(min(use.far, SIMILAR_FAR))
        except ThresholdError:
            return SIMILAR_FROM
        return min(similar_from, HIGHEST_THRESHOLD)

    def with_music_note(
        self,
        use: ThresholdUse,
        cosines: Mapping[str, Sequence[float]],
        *,
        flagged_from: float,
        pairs: Iterable[PairScore],
    ) -> ThresholdUse:
        """Say in the note if tracks are more alike than those of the calibration.

        Parameters
        ----------
        use : ThresholdUse
        cosines : mapping
            Histogram of the cosines of all pairs, see ``music_note``.
        flagged_from : float
            Cosine from which pairs are flagged or sound alike.
        pairs : iterable of PairScore
            Those that were examined, see ``calibration.music.score_note``.
        """
        said = ""
        if self.calibration is not None:
            said = score_note(self.calibration, pairs, use)
        if not said and self._similarity is not None:
            one_source = share_of_one_source(use)
            said = music_note(
                self._similarity, cosines, flagged_from=flagged_from, one_source=one_source
            )
        return dataclasses.replace(use, note=" ".join(part for part in (said, use.note) if part))

    def detection(
        self, use: ThresholdUse, duration_s: float | None = None
    ) -> tuple[Detection, ...]:
        """Return how likely copies are to be found at the threshold of a run, by alteration.

        ``duration_s`` is that of a submission (``Thresholds.counted_length``).
        """
        calibration = self.calibration
        return calibration.detection(use.threshold, duration_s) if calibration else ()


def use_of_submissions(uses: Sequence[ThresholdUse]) -> ThresholdUse:
    """Return what is known of the thresholds of several submissions together.

    Parameters
    ----------
    uses : sequence of ThresholdUse
        One of each submission, at least one; all of one ``RunThreshold`` and with a number of
        comparisons.

    Returns
    -------
    ThresholdUse
        The highest threshold, with its note; the numbers of pairs in all, and the mean rate.
    """
    highest = max(uses, key=lambda use: use.threshold)
    n = sum(use.n_comparisons or 0 for use in uses)
    one_source = [use.n_one_source for use in uses if use.n_one_source is not None]
    pairs = [use.n_pairs for use in uses if use.n_pairs is not None]
    together = dataclasses.replace(
        highest,
        n_comparisons=n,
        n_one_source=sum(one_source) if one_source else None,
        n_pairs=sum(pairs) if pairs else None,
        n_counted=max((use.n_counted for use in uses if use.n_counted), default=None),
        per_submission=True,
    )
    if highest.far is None or not n:
        return together
    far, low, high = (
        sum((getattr(use, name) or 0.0) * (use.n_comparisons or 0) for use in uses) / n
        for name in ("far", "far_low", "far_high")
    )
    return _expect(dataclasses.replace(together, far=far, far_low=low, far_high=high), n)


def share_of_one_source(use: ThresholdUse) -> float:
    """Return the share of a run's pairs whose tracks are of one source."""
    return (use.n_one_source or 0) / use.n_comparisons if use.n_comparisons else 0.0


def _open_calibration(
    weights_id: str,
    directories: Sequence[Path],
    *,
    scorer: str,
    file: Path | None,
    damaged: list[Path] | None,
) -> tuple[Thresholds, Path] | None:
    """Return the calibration named by hand, else the first of these weights in the folders."""
    if file is None:
        return find_thresholds(weights_id, directories, scorer=scorer, damaged=damaged)
    thresholds = load_thresholds(file)
    if thresholds.weights_id not in (weights_id, float32_weights_id(weights_id)):
        raise ThresholdError(
            f"{show_path(file)} was calibrated for weights {thresholds.weights_id}; the "
            f"extractor in use is {weights_id}. Run: audit calibrate"
        )
    check_scorer(thresholds, Path(file), scorer)
    return thresholds, Path(file)


def _expect(use: ThresholdUse, n_comparisons: int) -> ThresholdUse:
    assert use.far is not None
    assert use.far_low is not None
    assert use.far_high is not None
    return dataclasses.replace(
        use,
        expected_false_pairs=use.far * n_comparisons,
        expected_low=poisson_quantile(0.025, use.far_low * n_comparisons),
        expected_high=poisson_quantile(0.975, use.far_high * n_comparisons),
    )


def _check_one_of(threshold: float | None, far: float | None, max_false: float | None) -> None:
    given = {"--threshold": threshold, "--far": far, "a budget of false pairs": max_false}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ThresholdError(f"{' and '.join(names)} cannot be combined. Give one of them.")
    if threshold is not None and not -1.0 <= threshold <= 1.0:
        raise ThresholdError(f"--threshold is {threshold}; a cosine lies in [-1, 1].")
    if far is not None and not 0.0 < far <= 1.0:
        raise ThresholdError(f"--far is {far}; a rate lies in (0, 1].")
    if max_false is not None and not (max_false > 0.0 and math.isfinite(max_false)):
        raise ThresholdError(
            f"the budget is {max_false:g} false pairs; no usable threshold guarantees 0. Give a "
            "small number above 0, such as 0.01."
        )


def _within_budget(
    thresholds: Thresholds, path: Path, max_false: float, n_comparisons: int, one_source: float
) -> tuple[float, str]:
    """Return the threshold for a budget, and what must be said where it is not met as asked."""
    far = max_false / max(1, n_comparisons)
    asked = f"A budget of {max_false:g} expected false pairs among {n_comparisons:,} comparisons"
    note = ""
    if far > LOOSEST_FAR:
        note = (
            f"{asked} allows a rate of {min(far, 1.0):.2g} per pair; the highest rate that a "
            f"budget sets is {LOOSEST_FAR:g}."
        )
        far = LOOSEST_FAR
    try:
        chosen = thresholds.threshold_at(far, one_source=one_source)
    except ThresholdError:
        points = [p for p in thresholds.operating_points if p.threshold <= HIGHEST_THRESHOLD]
        highest = points[-1] if points else thresholds.operating_points[0]
        rates = thresholds.far_at(highest.threshold, one_source=one_source)
        expected = rounded_up(rates[2] * n_comparisons)
        lowest = rounded_up(thresholds.lowest_counted(one_source=one_source))
        return min(highest.threshold, HIGHEST_THRESHOLD), (
            f"{asked} needs a rate of {far:.2g}; {show_path(path.name)} has no fitted tail and "
            f"its lowest rate is {lowest}. Its highest threshold is used; expect up to {expected} "
            "false pairs. Run: audit calibrate"
        )
    if chosen > HIGHEST_THRESHOLD:
        note = (
            f"{asked} cannot be met: {HIGHEST_THRESHOLD} is the highest threshold that still "
            "finds the same recording in another file, and more false pairs are expected there."
        )
    return min(chosen, HIGHEST_THRESHOLD), note


def _range_note(rates: RateTable, chosen: float, rate: float) -> str:
    """Return what must be said of a threshold outside the calibrated range, or of a poor fit."""
    points, tail = rates.operating_points, rates.tail
    if chosen < points[0].threshold:
        return "The threshold is below every calibrated one: the rate is at least this."
    if tail is None:
        if chosen > points[-1].threshold:
            return (
                "The threshold is above every calibration score: only the upper bound of the "
                "rate is known."
            )
        return ""
    if chosen <= tail.threshold:
        return ""
    if chosen >= tail.end_point:
        ends = f"the end of the fitted tail ({tail.end_point:.4f})"
        return f"The threshold is above {ends}: only the upper bound of the rate is known."
    if tail.p_value < MIN_P_VALUE:
        return (
            f"The tail fits the calibration scores poorly (p = {tail.p_value:g}): treat this rate "
            "as approximate, or calibrate on more music."
        )
    if rate * rates.n_nonmatching_pairs < 1e-3:
        below = math.floor(-math.log10(rate * rates.n_nonmatching_pairs))
        return (
            f"The rate is {below} orders of magnitude below what the calibration's "
            f"{rates.n_nonmatching_pairs:,} pairs can measure, so it is purely extrapolated. "
            "Calibrate on more music for a more reliable rate."
        )
    return ""


def music_note(
    thresholds: Thresholds,
    histogram: Mapping[str, Sequence[float]],
    *,
    flagged_from: float,
    one_source: float = 0.0,
) -> str:
    """Return a warning if a scan's scores disagree with the calibration, else an empty text.

    Compared is the share of pairs above the threshold of FAR ``LOOSEST_FAR`` and below that of the
    run, so that the copies which the scan finds do not count.

    Parameters
    ----------
    thresholds : Thresholds
    histogram : mapping
        ``edges`` (n + 1) and ``counts`` (n) of all compared pairs; may be empty.
    flagged_from : float
        The threshold of the run.
    one_source : float
        Share of the compared pairs whose tracks are of one source.
    """
    try:
        level = thresholds.threshold_at(LOOSEST_FAR, one_source=one_source)
    except ThresholdError:
        return ""
    n, n_all = _count_between(histogram, level, flagged_from)
    if n_all < MIN_PAIRS_TO_JUDGE or n / n_all <= TOO_MANY * LOOSEST_FAR:
        return ""
    return (
        f"{100 * n / n_all:.0f} % of the pairs score {level:.2f} or more, against "
        f"{100 * LOOSEST_FAR:.0f} % in the calibration: {MORE_ALIKE}"
    )


def _count_between(
    histogram: Mapping[str, Sequence[float]], low: float, high: float
) -> tuple[float, float]:
    """Return how many pairs of a histogram, which may be empty, score from low to high, and all."""
    edges = np.asarray(histogram.get("edges", ()), dtype=np.float64)
    counts = np.asarray(histogram.get("counts", ()), dtype=np.float64)
    between = (edges[:-1] >= low) & (edges[1:] <= high)
    return float(counts[between].sum()), float(counts.sum())
