"""Thresholds and error rates in words: how often unrelated pairs score so high, and who counted.

A rate is counted on the unrelated pairs of a calibration (``auditor.calibration.thresholds``).
Down to one in so many pairs it is a count; rarer ones are read off a curve that is fitted to the
highest scores, and are said to be estimates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from auditor.errors import show_text
from auditor.evidence.match_score import LOWEST_THRESHOLD
from auditor.records import FAR_FLOOR, CheckResult, Detection, Pair, ScanResult, ThresholdUse
from auditor.report.text.general import show_count, show_number, show_score

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def score_meaning(far: float | None, n_counted: int | None = None) -> str:
    """Return what a score says, by how often unrelated pairs score as high.

    Parameters
    ----------
    far : float or None
        The rate, per pair; None where nobody counted.
    n_counted : int or None
        Unrelated pairs that were counted (``records.ThresholdUse``).

    Examples
    --------
    >>> score_meaning(3.3e-4)
    '1 in 3,000 unrelated pairs score this high'
    >>> score_meaning(3.3e-7, 4365)
    'fewer than 1 in 4,365 unrelated pairs score this high (extrapolated: 1 in 3 million)'
    >>> score_meaning(None)
    'how many unrelated pairs score this high was not measured'
    """
    if far is None:
        return "how many unrelated pairs score this high was not measured"
    if not n_counted or far * n_counted >= 1.0:
        return f"{show_odds(far)} unrelated pairs score this high"
    said = f"fewer than 1 in {n_counted:,} unrelated pairs score this high"
    return f"{said} (extrapolated: {show_odds(far)})"


def pair_meaning(pair: Pair, n_counted: int | None = None) -> str:
    """Return what the score of a pair says; of one file twice and below 0 it is not the rate.

    Examples
    --------
    >>> pair_meaning(Pair("x", "y", 1.0, identical_file=True))
    'identical files'
    >>> pair_meaning(Pair("x", "y", -0.02, flagged=False, far=0.9, verdict="sounds alike"))
    'below 0: no aligned passage'
    """
    if pair.identical_file:
        return "identical files"
    if pair.verdict and pair.score < 0.0:
        return "below 0: no aligned passage"
    return score_meaning(pair.far, n_counted)


def show_odds(rate: float) -> str:
    """Return a rate between 0 and 1 as one would say it.

    Examples
    --------
    >>> show_odds(3.3e-7), show_odds(0.0042), show_odds(0.7), show_odds(4e-13)
    ('1 in 3 million', '1 in 240', '70 in 100', 'less than 1 in a billion')
    """
    if rate >= 0.1:
        return f"{100 if rate >= 1.0 else min(99, round(100.0 * rate))} in 100"
    if rate <= FAR_FLOOR:
        return "less than 1 in a billion"
    every = 1.0 / rate
    digits = max(0, math.floor(math.log10(every)) - 1)
    rounded = round(every / 10**digits) * 10**digits
    return f"1 in {rounded / 1e6:,g} million" if rounded >= 1_000_000 else f"1 in {rounded:,}"


def show_rate(rate: float) -> str:
    """Return an error rate as a power of ten where it is small, as ``FAR_FLOOR`` at the least.

    Examples
    --------
    >>> show_rate(1.2e-7), show_rate(0.025), show_rate(0.0), show_rate(8.5e-31)
    ('1.2 × 10⁻⁷', '0.025', '0', 'below 10⁻⁹')
    """
    return "below 10⁻⁹" if 0.0 < rate <= FAR_FLOOR else show_power(rate)


def show_power(rate: float) -> str:
    """Return a number as a power of ten where it is small.

    Examples
    --------
    >>> show_power(1e-12)
    '1 × 10⁻¹²'
    """
    if rate == 0.0 or rate >= 0.001:
        return f"{rate:.2g}"
    exponent = math.floor(math.log10(rate))
    mantissa = f"{rate / 10.0**exponent:.2g}"
    if mantissa == "10":
        mantissa, exponent = "1", exponent + 1
    return f"{mantissa} × 10{str(exponent).translate(_SUPERSCRIPTS)}"


def false_pairs(use: ThresholdUse, n_pairs_compared: int) -> str:
    """Return the expected number of false pairs and what it may be instead, or ``unknown``.

    Examples
    --------
    >>> use = ThresholdUse(0.9, "song.json", expected_false_pairs=0.8)
    >>> false_pairs(use, 1_000_000)
    '0.8'
    >>> from dataclasses import replace
    >>> false_pairs(replace(use, expected_low=0, expected_high=4), 1_000_000)
    '0.8 (95 % interval 0–4)'
    """
    if use.expected_false_pairs is None:
        return "unknown"
    likely = likely_number(use, n_pairs_compared)
    return show_number(use.expected_false_pairs) + (f" ({likely})" if likely else "")


def _bounds(use: ThresholdUse, n_pairs_compared: int) -> tuple[float | None, float | None]:
    low, high = use.expected_low, use.expected_high
    if low is None and use.far_low is not None:
        low = use.far_low * n_pairs_compared
    if high is None and use.far_high is not None:
        high = use.far_high * n_pairs_compared
    return low, high


def likely_number(use: ThresholdUse, n_pairs_compared: int) -> str:
    """Return between which numbers that of the false pairs lies; empty where it is not known.

    Examples
    --------
    >>> likely_number(ThresholdUse(0.9, "song.json", expected_low=0, expected_high=4), 190)
    '95 % interval 0–4'
    >>> likely_number(ThresholdUse(0.9, "song.json", expected_low=0, expected_high=0), 190)
    '95 % interval 0'
    """
    low, high = _bounds(use, n_pairs_compared)
    if low is None or high is None:
        return ""
    if high == 0.0:
        return "95 % interval 0"
    return f"95 % interval {_from_to(low, high, show_number)}"


def _from_to(low: float, high: float, show: Callable[[float], str]) -> str:
    """Return an interval in words; both ends may be shown as the same."""
    shown_low, shown_high = (show(end).replace("<", "below ") for end in (low, high))
    return shown_high if shown_low == shown_high else f"{shown_low}–{shown_high}"


def _with_confidence(low: float, high: float, show: Callable[[float], str]) -> str:
    """Return the 95 % interval of a rate as a remark behind it."""
    return f" (95 % interval {_from_to(low, high, show)})"


def false_alarm_rate(use: ThresholdUse) -> str:
    """Return the false alarm rate per pair with its 95 % interval, or ``unknown``.

    Examples
    --------
    >>> false_alarm_rate(ThresholdUse(0.9, "song.json", 8e-7, 2e-7, 1.9e-6, n_counted=4365))
    '8 × 10⁻⁷ per pair (95 % interval 2 × 10⁻⁷–1.9 × 10⁻⁶), extrapolated'
    """
    if use.far is None:
        return "unknown"
    said = f"{show_rate(use.far)} per pair"
    if use.far_low is not None and use.far_high is not None and use.far_high > FAR_FLOOR:
        said += _with_confidence(use.far_low, use.far_high, show_rate)
    fitted = use.n_counted and use.far * use.n_counted < 1.0
    return said + (", extrapolated" if fitted else "")


def show_compared(result: ScanResult | CheckResult) -> str:
    """Return how many pairs were compared, and of how many, where an index proposed them."""
    n_compared, n_pairs = result.n_pairs_compared, n_pairs_of(result)
    if n_pairs == n_compared:
        return show_count(n_compared, "pair")
    return f"{n_compared:,} of {show_count(n_pairs, 'pair')}"


def show_comparisons(result: ScanResult | CheckResult) -> str:
    """Return how many pairs could raise a false one: what the expected false pairs are counted of.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> use = ThresholdUse(0.3, "x", n_comparisons=190)
    >>> show_comparisons(SimpleNamespace(threshold=use, n_pairs_compared=136))
    '190 pairs'
    """
    return show_count(n_pairs_of(result), "pair")


def n_pairs_of(result: ScanResult | CheckResult) -> int:
    """Return how many pairs of tracks a result is about, those compared in several ways once.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> use = ThresholdUse(0.3, "x", n_comparisons=56, n_pairs=28)
    >>> n_pairs_of(SimpleNamespace(threshold=use, n_pairs_compared=28))
    28
    """
    use = result.threshold
    numbers = (use.n_pairs, use.n_comparisons, result.n_pairs_compared)
    return next(n for n in numbers if n is not None)


def chance_words(use: ThresholdUse, n_flagged: int) -> str:
    """Return what the expected number of false pairs means for those that are flagged.

    False pairs are taken to come independently, so their number follows Poisson's law, and that
    there is none has the probability ``exp(-expected_false_pairs)``.

    Examples
    --------
    >>> chance_words(ThresholdUse(0.3, "x", expected_false_pairs=0.27), 6)
    'Most likely none of the 6 flagged pairs is there by chance (probability that one is: 24 %).'
    >>> chance_words(ThresholdUse(0.3, "x", expected_false_pairs=2.4), 6)
    'About 2 of the 6 flagged pairs may be chance matches.'
    """
    expected = use.expected_false_pairs
    if expected is None or not n_flagged:
        return ""
    any_false = 1.0 - math.exp(-expected)
    if any_false < 0.5:
        percent = "below 1" if any_false < 0.01 else f"{100.0 * any_false:.0f}"
        none, one = "the flagged pair is not", "it"
        if n_flagged > 1:
            none, one = f"none of the {n_flagged:,} flagged pairs is", "one"
        return f"Most likely {none} there by chance (probability that {one} is: {percent} %)."
    n_false = max(1, round(expected))
    if n_false >= n_flagged:
        return "Every flagged pair may be a chance match."
    return f"About {n_false:,} of the {n_flagged:,} flagged pairs may be chance matches."


def error_line(result: ScanResult | CheckResult) -> str:
    """Return pairs compared, threshold and expected false pairs, in one line."""
    many = per_thousand(result)
    return (
        f"{show_compared(result)} compared, threshold {show_threshold(result)}; "
        f"expected false positives: {false_pairs(result.threshold, result.n_pairs_compared)}"
        f"{f', {many}' if many else ''}"
    )


def show_threshold(result: ScanResult | CheckResult) -> str:
    """Return the threshold of a result; from the lowest to the highest where submissions differ.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> uses = [SimpleNamespace(threshold=t) for t in (0.5, 0.4, 0.5)]
    >>> show_threshold(SimpleNamespace(threshold=ThresholdUse(0.5, "x"), thresholds=uses))
    '0.4000 to 0.5000'
    """
    thresholds = {use.threshold for use in getattr(result, "thresholds", ())}
    highest = show_score(result.threshold.threshold)
    lowest = show_score(min(thresholds)) if thresholds else highest
    return highest if lowest == highest else f"{lowest} to {highest}"


def own_thresholds(result: CheckResult) -> dict[str, str]:
    """Return the threshold of each submission, by its id; empty where all have the same."""
    if len({use.threshold for use in result.thresholds}) < 2:
        return {}
    return {use.submission: show_score(use.threshold) for use in result.thresholds}


def per_thousand(result: ScanResult | CheckResult) -> str:
    """Return how many false alarms a thousand submissions as those of a check would raise.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> use = ThresholdUse(0.5, "x", expected_false_pairs=0.0112, per_submission=True)
    >>> per_thousand(SimpleNamespace(threshold=use, thresholds=[None, None]))
    '5.6 per 1,000 submissions'
    """
    use, n = result.threshold, len(getattr(result, "thresholds", ()))
    if not (n and use.per_submission) or use.expected_false_pairs is None:
        return ""
    return f"{show_number(1000.0 * use.expected_false_pairs / n)} per 1,000 submissions"


def show_budget(use: ThresholdUse) -> str:
    """Return the error budget that was asked for; empty where there was none.

    Examples
    --------
    >>> show_budget(ThresholdUse(0.9, "song.json", budget=1.0))
    '1 false pair'
    >>> show_budget(ThresholdUse(0.9, "song.json", budget=0.01, per_submission=True))
    '10 false alarms per 1,000 submissions to a catalogue of this size'
    """
    if use.budget is None:
        return ""
    if not use.per_submission:
        said = f"{use.budget:,g} false pair{'' if use.budget == 1.0 else 's'}"
        return said + (f" with {use.catalogue_size:,} tracks" if use.catalogue_size else "")
    many = 1000.0 * use.budget
    alarms = f"{many:,g} false alarm{'' if many == 1.0 else 's'} per 1,000 submissions"
    size = f"{use.catalogue_size:,} tracks" if use.catalogue_size else "this size"
    return f"{alarms} to a catalogue of {size}"


def lowest_note(use: ThresholdUse) -> str:
    """Return why a budget is not spent; empty if it is, or if there is none.

    Examples
    --------
    >>> use = ThresholdUse(0.35, "song.json", budget=1.0, expected_false_pairs=0.2)
    >>> lowest_note(use)
    'This budget allows a threshold below 0.35, but 0.35 is the minimum: lower values find almost \
no more copies and flag tracks that merely share an instrument.'
    """
    if use.budget is None or use.expected_false_pairs is None or use.threshold != LOWEST_THRESHOLD:
        return ""
    if use.expected_false_pairs >= use.budget and not use.per_submission:
        return ""
    return (
        f"This budget allows a threshold below {LOWEST_THRESHOLD:g}, but {LOWEST_THRESHOLD:g} "
        "is the minimum: lower values find almost no more copies and flag tracks that merely "
        "share an instrument."
    )


def counted_note(use: ThresholdUse) -> str:
    """Return how far down the rates of a result were counted; empty where that is not known.

    Examples
    --------
    >>> counted_note(ThresholdUse(0.9, "song.json", n_counted=4365)).partition(";")[0]
    'Rates down to 1 in 4,400 were counted on 4,365 unrelated pairs'
    """
    if not use.n_counted:
        return ""
    return (
        f"Rates down to {show_odds(1.0 / use.n_counted)} were counted on {use.n_counted:,} "
        "unrelated pairs; lower rates are extrapolated from a curve fitted to the highest of "
        "those scores. Rates below 1 in a billion are not resolved."
    ) + _source_note(use)


def _source_note(use: ThresholdUse) -> str:
    if use.n_one_source is None:
        return ""
    return (
        f" {show_count(use.n_one_source, 'pair')} in this run come from the same artist (or, "
        "without artist tags, the same album or folder). Such tracks are more alike than others; "
        "the figures above include their higher rate."
    )


def detection_line(detection: Sequence[Detection], duration_s: float | None = None) -> str:
    """Return what share of altered copies the threshold finds, in one line; empty if unknown.

    Parameters
    ----------
    detection : sequence of Detection
    duration_s : float, optional
        Length of the copies; whole tracks without.

    Examples
    --------
    >>> kinds = [Detection("mp3", 40, 40, 0.91, 1.0), Detection("noise", 40, 30, 0.6, 0.86)]
    >>> detection_line(kinds)
    '87.5 % of altered copies score above this threshold; worst case 75 % (noise; \
95 % interval 60 %–86 %)'
    """
    measured = [kind for kind in detection if kind.n_copies]
    if not measured:
        return ""
    mean = sum(kind.n_found / kind.n_copies for kind in measured) / len(measured)
    worst = min(measured, key=lambda kind: kind.n_found / kind.n_copies)
    interval = _from_to(worst.low, worst.high, lambda share: f"{100 * share:.0f} %")
    copies = "altered copies" if duration_s is None else f"altered copies of {duration_s:g} s"
    return (
        f"{100 * mean:.1f} % of {copies} score above this threshold; worst case "
        f"{100 * worst.n_found / worst.n_copies:.0f} % ({show_text(worst.alteration)}; "
        f"95 % interval {interval})"
    )
