"""The choice of a threshold: by hand, by rate, by an error budget, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_thresholds import OTHERS, POINTS, TAIL, WEIGHTS, choose_threshold, make, make_tailed

from auditor.calibration.choose import (
    HIGHEST_THRESHOLD,
    LOOSEST_FAR,
    RunThreshold,
    ThresholdOptions,
    music_note,
)
from auditor.calibration.metrics import poisson_quantile
from auditor.calibration.rates import OperatingPoint, RateTable
from auditor.calibration.thresholds import save_thresholds
from auditor.errors import ThresholdError


def test_choose_takes_the_calibrated_default_with_its_rates(tmp_path):
    save_thresholds(make(), tmp_path / "a.json")
    use = choose_threshold(WEIGHTS, [tmp_path])
    assert (use.threshold, use.far, use.far_low, use.far_high) == pytest.approx(
        (0.7, 0.01, 0.005, 0.02)
    )
    assert use.source == "a.json (tunes)"
    assert use.note == ""
    assert use.expected_false_pairs is None


def test_choose_by_rate_and_by_hand(tmp_path):
    save_thresholds(make(), tmp_path / "a.json")
    assert choose_threshold(WEIGHTS, [tmp_path], far=0.1).threshold == 0.5
    by_hand = choose_threshold(WEIGHTS, [tmp_path], threshold=0.6)
    assert by_hand.source == "the --threshold option; rates from a.json (tunes)"
    assert 0.01 < by_hand.far < 0.1
    above = choose_threshold(WEIGHTS, [tmp_path], threshold=0.95)
    assert (above.far, above.far_high) == (0.0, 0.004)
    assert "only the upper bound of the rate is known" in above.note
    below = choose_threshold(WEIGHTS, [tmp_path], threshold=0.3)
    assert below.far_high == 1.0
    assert "at least this" in below.note


def test_choose_by_rate_tells_where_the_interval_reaches_above_it(tmp_path):
    save_thresholds(make(), tmp_path / "a.json")
    use = choose_threshold(WEIGHTS, [tmp_path], far=0.001)
    assert (use.threshold, use.far, use.far_high) == (0.9, 0.0, 0.004)
    assert use.note == "The requested rate is 0.001; the actual rate may be up to 0.004."
    assert choose_threshold(WEIGHTS, [tmp_path], far=0.05).note == ""


def test_a_damaged_file_does_not_stop_a_threshold_by_hand(tmp_path):
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    own.mkdir()
    (own / "bad.json").write_text("{")
    with pytest.raises(ThresholdError, match="bad.json is not a threshold file"):
        choose_threshold(WEIGHTS, [own])
    with pytest.raises(ThresholdError, match="bad.json is not a threshold file"):
        choose_threshold(WEIGHTS, [own], far=0.1)
    use = choose_threshold(WEIGHTS, [own, shipped], threshold=0.7)
    assert (use.threshold, use.far) == (0.7, None)
    assert "no calibration exists" in use.note
    assert "bad.json was ignored: it is damaged or cannot be read" in use.note
    save_thresholds(make(), shipped / "a.json")
    use = choose_threshold(WEIGHTS, [own, shipped], threshold=0.7)
    assert (use.threshold, use.far) == (0.7, 0.01)
    assert "bad.json was ignored: it is damaged or cannot be read" in use.note


def test_choose_by_hand_without_a_calibration_states_no_rate(tmp_path):
    use = choose_threshold(WEIGHTS, [tmp_path], threshold=0.9)
    assert (use.threshold, use.far, use.far_low, use.far_high) == (0.9, None, None, None)
    assert "no calibration exists" in use.note


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "no threshold is calibrated for weights 0a1b2c3d. Run: audit calibrate"),
        ({"far": 0.01}, "no threshold is calibrated"),
        ({"threshold": 0.9, "far": 0.01}, "--threshold and --far cannot be combined"),
        ({"far": 0.01, "max_false": 1.0}, "--far and a budget of false pairs cannot be combined"),
        (
            {"max_false": 0.0, "n_comparisons": 9},
            "the budget is 0 false pairs; no usable threshold",
        ),
        ({"max_false": float("nan"), "n_comparisons": 9}, "the budget is nan"),
        ({"max_false": 1.0, "n_comparisons": 9}, "no threshold is calibrated"),
        ({"threshold": 1.1}, "--threshold is 1.1; a cosine"),
        ({"threshold": float("nan")}, "--threshold is nan"),
        ({"far": 0.0}, "--far is 0.0; a rate"),
        ({"far": 2.0}, "--far is 2.0; a rate"),
    ],
)
def test_choose_refuses(tmp_path, how, message):
    with pytest.raises(ThresholdError, match=message):
        choose_threshold(WEIGHTS, [tmp_path], **how)


def test_a_budget_needs_the_number_of_comparisons(tmp_path):
    save_thresholds(make(), tmp_path / "a.json")
    with pytest.raises(ValueError, match="a budget needs n_comparisons"):
        choose_threshold(WEIGHTS, [tmp_path], max_false=1.0)


def test_a_file_named_by_hand_must_be_of_these_weights(tmp_path):
    path = save_thresholds(make(weights_id=OTHERS), tmp_path / "named.json")
    with pytest.raises(ThresholdError, match=f"calibrated for weights {OTHERS}; .* is {WEIGHTS}"):
        choose_threshold(WEIGHTS, [], file=path)
    named = save_thresholds(make(threshold=0.9), tmp_path / "named.json")
    save_thresholds(make(), tmp_path / "own" / "a.json")
    assert choose_threshold(WEIGHTS, [tmp_path / "own"], file=named).threshold == 0.9


# Budgets.


@pytest.fixture(scope="module")
def tailed(tmp_path_factory):
    """Return a folder with a calibration that has a tail."""
    folder = tmp_path_factory.mktemp("tailed")
    save_thresholds(make_tailed(), folder / "a.json")
    return folder


@settings(deadline=None, max_examples=30)
@given(st.floats(1e-3, 100.0), st.integers(100, 10**9))
def test_a_budget_is_met_whatever_the_number_of_comparisons(tailed, budget, n):
    use = choose_threshold(WEIGHTS, [tailed], max_false=budget, n_comparisons=n)
    assert use.expected_false_pairs <= budget * (1 + 1e-4)
    if use.far < LOOSEST_FAR:
        assert use.expected_false_pairs == pytest.approx(budget, rel=1e-4)
    assert use.expected_low <= use.expected_false_pairs <= use.expected_high + 1.0
    assert (use.budget, use.n_comparisons) == (budget, n)
    assert use.expected_low == poisson_quantile(0.025, use.far_low * n)
    assert use.expected_high == poisson_quantile(0.975, use.far_high * n)
    more = choose_threshold(WEIGHTS, [tailed], max_false=budget, n_comparisons=2 * n)
    assert more.threshold >= use.threshold, "more comparisons need a higher threshold"


def test_a_budget_within_the_counted_range_says_nothing(tailed):
    use = choose_threshold(WEIGHTS, [tailed], max_false=1.0, n_comparisons=10_000)
    assert (use.note, use.source) == ("", "a.json (tunes)")
    assert use.threshold == TAIL.threshold_at(1e-4)


def test_a_large_budget_for_a_small_run_does_not_flag_the_unrelated(tailed):
    use = choose_threshold(WEIGHTS, [tailed], max_false=1.0, n_comparisons=21)
    assert (use.threshold, use.far) == (0.7, 0.01)
    assert use.expected_false_pairs == pytest.approx(0.21)
    assert use.note == (
        "A budget of 1 expected false pairs among 21 comparisons allows a rate of 0.048 per "
        "pair; the highest rate that a budget sets is 0.01."
    )
    none = choose_threshold(WEIGHTS, [tailed], max_false=1.0, n_comparisons=0)
    assert (none.threshold, none.expected_false_pairs) == (0.7, 0.0)


def test_far_below_the_counted_range_the_note_says_what_the_rate_rests_on(tailed):
    counted = choose_threshold(WEIGHTS, [tailed], max_false=1.0, n_comparisons=17_700 * 900)
    assert counted.note == ""
    use = choose_threshold(WEIGHTS, [tailed], max_false=1.0, n_comparisons=17_700 * 20_000)
    assert (
        "4 orders of magnitude below what the calibration's 17,700 pairs can measure"
    ) in use.note
    assert "is purely extrapolated" in use.note


def test_a_budget_beyond_every_score_is_told_and_not_raised(tmp_path):
    flat = make_tailed(
        tail=type(TAIL)(0.7, 177, 17700, -0.5, 0.15, 1.0, 0.5, ((-0.5, 0.15, 0.01),))
    )
    save_thresholds(flat, tmp_path / "a.json")
    use = choose_threshold(WEIGHTS, [tmp_path], max_false=1e-9, n_comparisons=10**6)
    assert use.threshold == HIGHEST_THRESHOLD
    assert use.expected_false_pairs > 1e-9
    assert "cannot be met: 0.9999 is the highest threshold" in use.note


def test_a_budget_without_a_tail_takes_the_highest_threshold_and_says_so(tmp_path):
    save_thresholds(make(), tmp_path / "old.json")
    use = choose_threshold(WEIGHTS, [tmp_path], max_false=1.0, n_comparisons=10**6)
    assert (use.threshold, use.expected_false_pairs, use.expected_high) == (0.9, 0.0, 4124)
    assert use.note == (
        "A budget of 1 expected false pairs among 1,000,000 comparisons needs a rate of 1e-06; "
        "old.json has no fitted tail and its lowest rate is 0.00057. Its highest threshold is "
        "used; expect up to 4000 false pairs. Run: audit calibrate"
    )
    within = choose_threshold(WEIGHTS, [tmp_path], max_false=1.0, n_comparisons=1000)
    assert (within.threshold, within.note) == (0.9, "")


def test_expected_numbers_are_told_of_every_way_to_choose(tailed):
    for how in ({}, {"far": 1e-3}, {"threshold": 0.8}):
        use = choose_threshold(WEIGHTS, [tailed], **how, n_comparisons=1000)
        assert use.expected_false_pairs == pytest.approx(1000 * use.far)
        assert use.budget is None


def test_above_the_tail_and_with_a_poor_fit_the_note_says_so(tmp_path, tailed):
    above = choose_threshold(WEIGHTS, [tailed], threshold=0.99)
    assert above.far == 0.0
    assert "above the end of the fitted tail (0.9800)" in above.note
    poor = type(TAIL)(0.7, 177, 17700, -0.25, 0.07, 1.0, 0.02, TAIL.bootstrap)
    save_thresholds(make_tailed(tail=poor), tmp_path / "a.json")
    use = choose_threshold(WEIGHTS, [tmp_path], max_false=1.0, n_comparisons=10_000)
    assert "fits the calibration scores poorly (p = 0.02)" in use.note


def test_a_named_file_must_be_of_this_scorer(tmp_path):
    path = save_thresholds(make(scorer="cosine/2"), tmp_path / "named.json")
    with pytest.raises(ThresholdError, match=r"scorer 'cosine/2'; 'cosine/1' is in use"):
        choose_threshold(WEIGHTS, [], file=path)
    assert choose_threshold(WEIGHTS, [], file=path, scorer="cosine/2").threshold == 0.7


def test_rates_of_another_version_of_the_scorer_are_refused(tmp_path):
    save_thresholds(make(scorer="cosine/2"), tmp_path / "a.json")
    with pytest.raises(ThresholdError, match=r"'cosine/2'; 'cosine/1' is in use. Run: audit cal"):
        choose_threshold(WEIGHTS, [tmp_path])


def test_rates_of_another_scorer_are_passed_over(tmp_path):
    save_thresholds(make(scorer="match/1", threshold=0.9), tmp_path / "a.json")
    save_thresholds(make(), tmp_path / "b.json")
    assert choose_threshold(WEIGHTS, [tmp_path]).threshold == 0.7
    assert choose_threshold(WEIGHTS, [tmp_path], scorer="match/1").threshold == 0.9


def test_no_budget_sets_a_threshold_below_the_lowest_of_the_scorer(tmp_path):
    save_thresholds(make_tailed(), tmp_path / "a.json")
    options = ThresholdOptions(max_false=5.0)
    free, bounded = (
        RunThreshold(WEIGHTS, [tmp_path], scorer="cosine/1", options=options, lowest=lowest)
        for lowest in (-1.0, 0.99)
    )
    assert free.choose(100).threshold < 0.99
    use = bounded.choose(100)
    assert (use.threshold, use.budget) == (0.99, 5.0)
    assert use.source == free.choose(100).source


# Music unlike the calibration's.


def histogram(scores: np.ndarray) -> dict[str, tuple[float, ...]]:
    edges = np.linspace(-1.0, 1.0, 401)
    counts = np.histogram(scores, edges)[0]
    return {"edges": tuple(edges.tolist()), "counts": tuple(counts.astype(float).tolist())}


def test_homogeneous_music_is_told():
    rng = np.random.default_rng(0)
    made = make_tailed()
    alike = np.concatenate([rng.uniform(-0.5, 0.7, 900), rng.uniform(0.71, 0.9, 100)])
    said = music_note(made, histogram(alike), flagged_from=0.95)
    assert said.startswith("10 % of the pairs score 0.70 or more, against 1 % in the calibration")
    assert said.endswith("Run: audit calibrate on it.")
    usual = np.concatenate([rng.uniform(-0.5, 0.7, 970), rng.uniform(0.71, 0.9, 30)])
    assert music_note(made, histogram(usual), flagged_from=0.95) == ""
    assert music_note(made, histogram(alike[-150:]), flagged_from=0.95) == "", "too few to judge"
    copies = np.concatenate([rng.uniform(-0.5, 0.7, 900), np.full(100, 0.97)])
    assert music_note(made, histogram(copies), flagged_from=0.95) == "", "what is found is no sign"
    assert music_note(made, histogram(alike), flagged_from=0.6) == ""
    assert music_note(made, {}, flagged_from=0.95) == ""
    assert music_note(make(operating_points=POINTS[:1]), histogram(alike), flagged_from=0.95) == ""


def test_a_budget_counts_pairs_of_one_source_at_their_own_rate(tmp_path):
    close = RateTable((OperatingPoint(0.5, 0.4, 0.3, 0.5), OperatingPoint(0.9, 0.0, 0.0, 0.1)), 300)
    save_thresholds(make(one_source=close), tmp_path / "t.json")
    apart, mixed = (
        choose_threshold(WEIGHTS, [tmp_path], threshold=0.5, n_comparisons=100, n_one_source=n)
        for n in (0, 50)
    )
    assert (apart.expected_false_pairs, apart.n_one_source, apart.n_counted) == (10.0, 0, 1770)
    assert mixed.expected_false_pairs == pytest.approx(25.0)
    assert (mixed.n_one_source, mixed.n_counted) == (50, 2070)
    plain = choose_threshold(WEIGHTS, [tmp_path], threshold=0.5)
    assert plain.far == apart.far
