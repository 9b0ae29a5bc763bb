"""The threshold of a run: by hand, by rate, or by an error budget for its number of comparisons.

A budget is the number of false pairs that a whole run may be expected to raise.  Divided by the
pairs compared it is a FAR per pair, and the calibration says which threshold has that FAR.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from auditor.calibration.rates import RateTable
from auditor.calibration.tail import MIN_P_VALUE
from auditor.calibration.thresholds import (
    SCORE,
    Thresholds,
    find_thresholds,
    load_thresholds,
    rounded_up,
)
from auditor.embedding.config import float32_weights_id
from auditor.errors import ThresholdError, show_path
from auditor.metrics import poisson_quantile
from auditor.records import ThresholdUse

LOOSEST_FAR = 0.01
"""No budget, however large for a small run, sets a threshold that flags more of unrelated pairs."""

HIGHEST_THRESHOLD = 0.9999
"""A budget sets none above it: a recording may score less with a lossless copy of itself."""

MIN_PAIRS_TO_JUDGE = 200
TOO_MANY = 5.0
"""A scan with so many times the calibrated share of moderately alike pairs is of other music."""


def find_calibration(
    weights_id: str,
    directories: Sequence[Path],
    *,
    file: Path | None = None,
    score: str = SCORE,
    damaged: list[Path] | None = None,
) -> tuple[Thresholds, Path] | None:
    """Return the calibration named by hand, else the first of these weights in the folders.

    Raises
    ------
    ThresholdError
        If the named file is damaged, of other weights or of another score, or a file of the
        folders is damaged and ``damaged`` is not given to take it.
    """
    if file is None:
        return find_thresholds(weights_id, directories, score=score, damaged=damaged)
    thresholds = load_thresholds(file)
    if thresholds.weights_id not in (weights_id, float32_weights_id(weights_id)):
        raise ThresholdError(
            f"{show_path(file)} was calibrated for weights {thresholds.weights_id}; the "
            f"extractor in use is {weights_id}. Run: audit calibrate"
        )
    if thresholds.score != score:
        raise ThresholdError(
            f"{show_path(file)} was calibrated for the score {thresholds.score!r:.60}; "
            f"{score!r} is needed. Run: audit calibrate"
        )
    return thresholds, Path(file)


def choose_threshold(
    weights_id: str,
    directories: Sequence[Path],
    *,
    threshold: float | None = None,
    far: float | None = None,
    max_false: float | None = None,
    n_comparisons: int | None = None,
    n_one_source: int = 0,
    file: Path | None = None,
    score: str = SCORE,
) -> ThresholdUse:
    """Decide on the threshold of a run and say what is known of its error rate.

    Parameters
    ----------
    weights_id : str
        Of the extractor in use.
    directories : sequence of pathlib.Path
        Where calibrations lie, the user's own before the shipped ones.
    threshold, far, max_false : float, optional
        A threshold, a FAR per pair, or a budget of false pairs for the whole run; at most one of
        them.  Without any it is the calibration's own default.
    n_comparisons : int, optional
        Pairs that the run compares; needed for a budget.
    n_one_source : int
        Those of them whose tracks are of one source (``auditor.catalogue.sources``).
    file : pathlib.Path, optional
        A calibration named by hand.
    score : str
        The score that is compared with the threshold.

    Returns
    -------
    ThresholdUse
        With the expected number of false pairs if ``n_comparisons`` is given.

    Raises
    ------
    ThresholdError
        If nothing is calibrated for these weights and no threshold is given, the rate was not
        counted and there is no tail, the named file is damaged or of other weights, or a file in
        the folders is damaged and no threshold is given.
    ValueError
        If there is a budget without ``n_comparisons``.
    """
    _check_one_of(threshold, far, max_false)
    if max_false is not None and n_comparisons is None:
        raise ValueError("a budget needs n_comparisons")
    damaged: list[Path] | None = None if threshold is None else []
    found = find_calibration(weights_id, directories, file=file, score=score, damaged=damaged)
    notes = [
        f"{show_path(path)} is damaged or cannot be read, and was passed over."
        for path in damaged or ()
    ]
    if found is None:
        if threshold is None:
            raise ThresholdError(
                f"no threshold is calibrated for weights {weights_id}. "
                "Run: audit calibrate DIR, or give --threshold."
            )
        notes.insert(0, "No error rate: nothing is calibrated.")
        return ThresholdUse(
            threshold, "given by hand", note=" ".join(notes), n_comparisons=n_comparisons
        )
    thresholds, path = found
    share = n_one_source / n_comparisons if n_comparisons else 0.0
    source = f"{path.name} ({thresholds.data})"
    chosen, said = thresholds.threshold, ""
    if threshold is not None:
        chosen, source = threshold, f"given by hand; rates from {source}"
    elif far is not None:
        chosen = thresholds.threshold_at(far, one_source=share)
    elif max_false is not None:
        chosen, said = _within_budget(thresholds, path, max_false, n_comparisons or 0, share)
    rate, low, high = thresholds.far_at(chosen, one_source=share)
    if far is not None and high > far:
        said = f"A rate of {far:g} was asked for; it may be up to {rounded_up(high)}."
    if thresholds.weights_id != weights_id:
        notes.append(
            "The rates were counted with float32 arithmetic, this run is of bfloat16 "
            "(docs/calibration.md has the difference). For rates of its own: audit calibrate"
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
        budget=max_false,
        n_comparisons=n_comparisons,
        n_counted=sum(table.n_nonmatching_pairs for table in tables),
        n_one_source=n_one_source if thresholds.one_source is not None else None,
    )
    return use if n_comparisons is None else _expect(use, n_comparisons)


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
        raise ThresholdError(f"{' and '.join(names)} exclude each other. Give one of them.")
    if threshold is not None and not -1.0 <= threshold <= 1.0:
        raise ThresholdError(f"--threshold is {threshold}; a cosine lies in [-1, 1].")
    if far is not None and not 0.0 < far <= 1.0:
        raise ThresholdError(f"--far is {far}; a rate lies in (0, 1].")
    if max_false is not None and not (max_false > 0.0 and math.isfinite(max_false)):
        raise ThresholdError(
            f"the budget is {max_false:g} false pairs; no threshold but one above every score "
            "keeps to 0. Give a small number above 0, such as 0.01."
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
            f"{asked} would allow a rate of {min(far, 1.0):.2g} per pair; "
            f"no budget sets a threshold of more than {LOOSEST_FAR:g}."
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
            f"{asked} needs a rate of {far:.2g}; {show_path(path.name)} has no tail and counted "
            f"only down to {lowest}. Its highest threshold is used, and up to {expected} false "
            "pairs must be expected. Run: audit calibrate"
        )
    if chosen > HIGHEST_THRESHOLD:
        note = (
            f"{asked} cannot be met by the score: at {HIGHEST_THRESHOLD}, the highest threshold "
            "that still finds a recording in another file, more are expected."
        )
    return min(chosen, HIGHEST_THRESHOLD), note


def _range_note(rates: RateTable, chosen: float, rate: float) -> str:
    """Return what must be said of a threshold outside the calibrated range, or of a poor fit."""
    points, tail = rates.operating_points, rates.tail
    if chosen < points[0].threshold:
        return "Below every calibrated threshold: the rate is at least this."
    if tail is None:
        if chosen > points[-1].threshold:
            return "Above every score counted in calibration: only the upper bound is known."
        return ""
    if chosen <= tail.threshold:
        return ""
    if chosen >= tail.end_point:
        ends = f"{tail.end_point:.4f}, where the fitted tail ends"
        return f"Above {ends}: only the upper bound is known."
    if tail.p_value < MIN_P_VALUE:
        return (
            f"The fitted tail agrees poorly with the counted scores (p = {tail.p_value:g}): "
            "take the rate with caution, or calibrate on more music."
        )
    if rate * rates.n_nonmatching_pairs < 1e-3:
        below = math.floor(-math.log10(rate * rates.n_nonmatching_pairs))
        return (
            f"The rate lies {below} powers of ten below what the calibration's "
            f"{rates.n_nonmatching_pairs:,} pairs can count: it rests on the fitted tail "
            "alone. Calibrate on more music for a surer one."
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
    edges = np.asarray(histogram.get("edges", ()), dtype=np.float64)
    counts = np.asarray(histogram.get("counts", ()), dtype=np.float64)
    try:
        level = thresholds.threshold_at(LOOSEST_FAR, one_source=one_source)
    except ThresholdError:
        return ""
    if counts.sum() < MIN_PAIRS_TO_JUDGE or level >= flagged_from:
        return ""
    between = (edges[:-1] >= level) & (edges[1:] <= flagged_from)
    share = float(counts[between].sum() / counts.sum())
    if share <= TOO_MANY * LOOSEST_FAR:
        return ""
    return (
        f"{100 * share:.0f} % of the pairs score {level:.2f} or more, against "
        f"{100 * LOOSEST_FAR:.0f} % in the calibration: this music is more alike than that behind "
        "the stated rates, and more false pairs must be expected. Run: audit calibrate on it."
    )
