"""Error rates against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.calibration.metrics import (
    equal_error_rate,
    far_frr,
    recall_at_far,
    threshold_at_far,
    top1_hit_rate,
    wilson_interval,
)

# Few distinct values, so that ties are common.
SCORES = st.lists(st.integers(-20, 20).map(lambda k: k / 20.0), min_size=1, max_size=40)
THRESHOLDS = st.lists(st.integers(-45, 45).map(lambda k: k / 40.0), min_size=1, max_size=20)


@given(SCORES, SCORES, THRESHOLDS)
def test_far_and_frr_are_counts(matching, nonmatching, thresholds):
    far, frr = far_frr(matching, nonmatching, thresholds)
    for i, t in enumerate(thresholds):
        assert far[i] == pytest.approx(sum(s >= t for s in nonmatching) / len(nonmatching))
        assert frr[i] == pytest.approx(sum(s < t for s in matching) / len(matching))


@given(SCORES, SCORES, THRESHOLDS)
def test_far_never_rises_and_frr_never_falls_with_the_threshold(matching, nonmatching, thresholds):
    far, frr = far_frr(matching, nonmatching, np.sort(thresholds))
    assert (np.diff(far) <= 0.0).all()
    assert (np.diff(frr) >= 0.0).all()


@given(SCORES, SCORES)
def test_eer_lies_between_the_rates_at_its_threshold(matching, nonmatching):
    eer, threshold = equal_error_rate(matching, nonmatching)
    far, frr = far_frr(matching, nonmatching, [threshold])
    assert eer == pytest.approx((far[0] + frr[0]) / 2.0)
    every = np.unique([*matching, *nonmatching, 2.0])
    all_far, all_frr = far_frr(matching, nonmatching, every)
    assert abs(far[0] - frr[0]) <= np.abs(all_far - all_frr).min() + 1e-12


@pytest.mark.parametrize(
    ("matching", "nonmatching", "eer"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),
        ([0.1, 0.2], [0.9, 0.8], 1.0),
        ([0.5], [0.5], 0.5),
        ([0.9, 0.8, 0.3, 0.7], [0.1, 0.2, 0.5, 0.0], 0.25),
    ],
)
def test_eer_of_known_scores(matching, nonmatching, eer):
    assert equal_error_rate(matching, nonmatching)[0] == pytest.approx(eer)


def test_eer_of_two_bells_is_what_theory_says():
    rng = np.random.default_rng(0)
    eer, threshold = equal_error_rate(rng.normal(2.0, 1.0, 100_000), rng.normal(0.0, 1.0, 100_000))
    assert eer == pytest.approx(0.1587, abs=0.003)  # the normal tail beyond 1
    assert threshold == pytest.approx(1.0, abs=0.03)


@given(SCORES, st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.3, 0.5, 1.0]))
def test_the_counted_far_does_not_exceed_the_stated_one(nonmatching, far):
    threshold = threshold_at_far(nonmatching, far)
    flagged = np.asarray(nonmatching) >= threshold
    assert flagged.mean() <= far + 1e-9
    # The lowest: the next score below would flag too many.
    below = [s for s in nonmatching if s < threshold]
    if below:
        assert (np.asarray(nonmatching) >= max(below)).mean() > far


def test_recall_at_a_stated_far():
    nonmatching = np.arange(1000) / 1000.0
    matching = np.asarray([0.5, 0.9985, 0.9995, 1.0])
    assert recall_at_far(matching, nonmatching, 1e-3) == pytest.approx(0.75)
    assert recall_at_far(matching, nonmatching, 0.0) == pytest.approx(0.5)
    assert recall_at_far(matching, nonmatching, 1.0) == pytest.approx(1.0)


def test_a_threshold_holds_for_float32_scores_too():
    nonmatching = np.asarray([0.1, 0.7], dtype=np.float32)
    assert recall_at_far(np.asarray([0.7], dtype=np.float32), nonmatching, 0.0) == 0.0


def test_top1_hit_rate():
    scores = np.asarray([[0.9, 0.1], [0.2, 0.3], [0.5, 0.5], [np.nan, 0.1]])
    assert top1_hit_rate(scores, np.asarray([0, 0, 0, 0])) == pytest.approx(0.25)
    assert top1_hit_rate(scores[:2], np.asarray([0, 1])) == 1.0


@pytest.mark.parametrize(
    ("n_hits", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # Newcombe (1998), Statistics in Medicine 17:857-872, method 3
        (1, 29, 0.0061, 0.1718),
        (15, 148, 0.0624, 0.1605),
        (81, 263, 0.2553, 0.3662),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilson_interval_of_the_literature(n_hits, n, low, high):
    assert wilson_interval(n_hits, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 10**6), st.data())
def test_wilson_interval_holds_the_proportion(n, data):
    n_hits = data.draw(st.integers(0, n))
    low, high = wilson_interval(n_hits, n)
    assert 0.0 <= low <= n_hits / n <= high <= 1.0
    mirrored = wilson_interval(n - n_hits, n)
    assert mirrored == pytest.approx((1.0 - high, 1.0 - low), abs=1e-9)


@pytest.mark.parametrize(
    ("matching", "nonmatching", "message"),
    [
        ([], [0.1], "matching is empty; at least one score is needed"),
        ([0.1], [], "nonmatching is empty"),
        ([np.nan], [0.1], "matching holds scores that are not finite"),
        ([0.1], [np.inf], "nonmatching holds scores that are not finite"),
    ],
)
def test_scores_that_say_nothing(matching, nonmatching, message):
    for rate in (equal_error_rate, lambda a, b: recall_at_far(a, b, 0.1)):
        with pytest.raises(ValueError, match=message):
            rate(matching, nonmatching)


@pytest.mark.parametrize("far", [-0.1, 1.1, float("nan")])
def test_a_rate_lies_between_0_and_1(far):
    with pytest.raises(ValueError, match=r"far is .*; it must lie in \[0, 1\]"):
        threshold_at_far([0.1], far)


def test_no_query_has_no_hit_rate():
    with pytest.raises(ValueError, match=r"scores have shape \(0, 3\)"):
        top1_hit_rate(np.zeros((0, 3)), np.zeros(0, dtype=int))


@pytest.mark.parametrize(("n_hits", "n"), [(0, 0), (-1, 2), (3, 2)])
def test_what_is_no_proportion(n_hits, n):
    with pytest.raises(ValueError, match=f"{n_hits} of {n} is not a proportion"):
        wilson_interval(n_hits, n)


@pytest.mark.parametrize("far", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_a_weight_is_so_many_pairs(far):
    rng = np.random.default_rng(0)
    scores, weights = rng.random(40), rng.integers(1, 5, 40)
    assert threshold_at_far(scores, far, weights.astype(float)) == threshold_at_far(
        np.repeat(scores, weights), far
    )
