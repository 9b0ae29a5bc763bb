"""Thresholds and error rates in words: what was counted, what is an estimate."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.evidence.match_score import LOWEST_THRESHOLD
from auditor.records import FAR_FLOOR, Pair, ThresholdUse, floor_use
from auditor.report.text.error_rates import (
    chance_words,
    counted_note,
    false_alarm_rate,
    lowest_note,
    pair_meaning,
    score_meaning,
    show_odds,
)


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (1.0, "100 in 100"),
        (0.49, "49 in 100"),
        (1e-6, "1 in 1 million"),
        (9.96e-7, "1 in 1 million"),
        (3.1e-8, "1 in 32 million"),
        (8.1e-5, "1 in 12,000"),
        (9e-10, "less than 1 in a billion"),
    ],
)
def test_odds(rate, said):
    assert show_odds(rate) == said


@given(st.floats(1e-300, 1.0))
def test_odds_never_sound_rarer_than_they_are_by_more_than_rounding(rate):
    said = show_odds(rate)
    found = re.fullmatch(r"(less than )?([\d,]+) in ([\d.,]+|a billion)( million)?", said)
    every = 1e9 if found[3] == "a billion" else float(found[3].replace(",", ""))
    shown = float(found[2]) / (every * (1e6 if found[4] else 1.0))
    assert shown >= 0.85 * rate


def test_a_score_without_a_counted_rate():
    assert score_meaning(None, 4365) == "how many unrelated pairs score this high was not measured"
    assert score_meaning(0.0) == "less than 1 in a billion unrelated pairs score this high"


def test_a_rate_below_what_was_counted_is_said_to_be_an_estimate():
    assert score_meaning(1 / 4365, 4365) == "1 in 4,400 unrelated pairs score this high"
    least = "less than 1 in a billion"
    for far, fitted in ((2e-4, "1 in 5,000"), (1e-9, least), (1e-12, least), (0.0, least)):
        said = "fewer than 1 in 4,365 unrelated pairs score this high"
        said += f" (extrapolated: {fitted})"
        assert score_meaning(far, 4365) == said
    said = counted_note(ThresholdUse(0.9, "x", n_counted=4365))
    assert "Rates down to 1 in 4,400 were counted on 4,365 unrelated pairs; lower rates are" in said
    assert counted_note(ThresholdUse(0.9, "x")) == ""


def test_a_rate_of_a_threshold_says_that_it_was_not_counted():
    use = ThresholdUse(0.9, "x", far=2.2e-4, far_low=0.0, far_high=0.001, n_counted=4365)
    said = "2.2 × 10⁻⁴ per pair (95 % interval 0–0.001)"
    assert false_alarm_rate(use) == f"{said}, extrapolated"
    assert false_alarm_rate(dataclasses.replace(use, n_counted=5000)) == said
    assert false_alarm_rate(dataclasses.replace(use, n_counted=None)) == said


def test_a_negative_match_score_says_that_nothing_lines_up():
    alike = Pair("a", "b", -0.01, flagged=False, far=0.9, verdict="sounds alike")
    assert pair_meaning(alike, 4365) == "below 0: no aligned passage"
    cosine = dataclasses.replace(alike, verdict="")
    assert pair_meaning(cosine) == "90 in 100 unrelated pairs score this high"


@pytest.mark.parametrize(
    ("expected", "n_flagged", "said"),
    [
        (None, 6, ""),
        (0.27, 0, ""),
        (
            0.27,
            6,
            "Most likely none of the 6 flagged pairs is there by chance (probability that one",
        ),
        (
            0.27,
            1,
            "Most likely the flagged pair is not there by chance (probability that it is: 24",
        ),
        (
            1e-6,
            6,
            "Most likely none of the 6 flagged pairs is there by chance (probability that one",
        ),
        (0.7, 6, "About 1 of the 6 flagged pairs may be chance matches."),
        (8.2, 6, "Every flagged pair may be a chance match."),
    ],
)
def test_what_expected_false_pairs_mean_for_those_flagged(expected, n_flagged, said):
    use = ThresholdUse(0.3, "x", expected_false_pairs=expected)
    words = chance_words(use, n_flagged)
    assert words.startswith(said)
    assert bool(words) == bool(said)


def test_a_budget_that_is_not_spent_says_why():
    use = ThresholdUse(LOWEST_THRESHOLD, "x", budget=1.0, expected_false_pairs=0.27)
    said = "This budget allows a threshold below 0.35, but 0.35 is the minimum"
    assert lowest_note(use).startswith(said)
    for changes in (
        {"budget": None},
        {"expected_false_pairs": None},
        {"expected_false_pairs": 1.0},
        {"threshold": 0.31},
    ):
        assert lowest_note(dataclasses.replace(use, **changes)) == ""


def test_no_rate_below_a_billionth_is_printed_as_a_number():
    use = floor_use(ThresholdUse(0.9, "x", 8.5e-31, 1e-40, 3e-20, 4e-29, n_counted=4365))
    assert (use.far, use.far_low, use.far_high) == (FAR_FLOOR, 0.0, FAR_FLOOR)
    assert false_alarm_rate(use) == "below 10⁻⁹ per pair, extrapolated"
    counted = ThresholdUse(0.9, "x", 2e-7, 1e-12, 3e-6)
    assert floor_use(counted) == dataclasses.replace(counted, far_low=0.0)
    assert false_alarm_rate(ThresholdUse(0.9, "x", 8.5e-31)) == "below 10⁻⁹ per pair"
