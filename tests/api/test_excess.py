"""The excess over held-out music: samples of one size, intervals, and what they cost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from auditor.api.excess import (
    CountedSide,
    equal_shares,
    least_excess,
    measure_excess,
    newcombe_interval,
    sample_holds_one,
)

OUTPUTS = [f"o{i}" for i in range(200)]


def side(n: int, sampled: float = 1.0, per_artist: int = 1) -> CountedSide:
    return CountedSide({f"t{i}": f"a{i // per_artist}" for i in range(n)}, sampled)


def excess(training, heldout, sides=None, **how):
    sides = sides or (side(100), side(100))
    return measure_excess(OUTPUTS, (training, heldout), sides, min_s=how.pop("min_s", 10.0), **how)


def test_the_chance_of_a_sample_is_that_of_all_samples():
    for n, k, m in ((5, 2, 2), (6, 1, 3), (6, 3, 2), (4, 4, 1)):
        samples = list(itertools.combinations(range(n), m))
        hit = sum(any(i < k for i in sample) for sample in samples) / len(samples)
        assert sample_holds_one(k, n, m) == pytest.approx(hit)


def test_only_long_repeats_of_counted_tracks_count():
    repeated = {"o1": {"t1": 12.0}, "o2": {"t2": 9.0}, "o3": {"gone": 30.0}}
    one = excess(repeated, {})
    assert (one.n_training, one.training, one.excess) == (1, 1.0, 1.0)
    assert excess(repeated, {}, min_s=5.0).n_training == 2


def test_nothing_on_either_side_is_no_excess():
    none = excess({}, {})
    assert none.excess == 0.0
    assert none.low < 0.0 < none.high


def test_a_sample_of_the_larger_side_counts_less_and_tells_less():
    repeated = {f"o{i}": {f"t{i}": 20.0} for i in range(20)}
    whole, part = excess(repeated, {}), excess(repeated, {}, (side(100, 0.25), side(25)))
    assert part.training == pytest.approx(whole.training / 4)
    assert part.n_training == whole.n_training == 20
    assert whole.low > 0.0 > excess({"o1": {"t1": 20.0}}, {}).low
    assert least_excess(200, 0.0, 0.25) == 4 * least_excess(200, 0.0)


def test_outputs_that_repeat_one_artist_say_less_than_those_that_repeat_many():
    sides = side(100, per_artist=10), side(100, per_artist=10)
    one = {f"o{i}": {"t1": 20.0} for i in range(20)}
    many = {f"o{i}": {f"t{5 * i}": 20.0} for i in range(20)}
    narrow, wide = excess(many, {}, sides), excess(one, {}, sides)
    assert narrow.excess == wide.excess == 20.0
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_an_interval_is_the_same_with_the_same_seed():
    repeated = {f"o{i}": {f"t{i}": 20.0} for i in range(20)}
    assert excess(repeated, {"o3": {"t3": 11.0}}, seed=4) == excess(
        repeated, {"o3": {"t3": 11.0}}, seed=4
    )


def test_intervals_hold_zero_where_both_sides_are_alike():
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sides = tuple(
            {
                f"o{i}": {f"t{int(rng.integers(100))}": 15.0}
                for i in np.flatnonzero(rng.random(200) < 0.05).tolist()
            }
            for _ in range(2)
        )
        one = excess(sides[0], sides[1], seed=seed)
        held += one.low <= 0.0 <= one.high
    assert held >= 57


@pytest.mark.parametrize(
    ("first", "second", "n", "interval"),
    [
        (9, 3, 10, (0.1705, 0.8090)),
        (6, 2, 7, (0.0582, 0.8062)),
        (0, 0, 10, (-0.2775, 0.2775)),
        (10, 0, 10, (0.6075, 1.0)),
    ],
)
def test_the_interval_is_that_of_newcombe(first, second, n, interval):
    """Contrasts (b), (c), (f) and (h) of his table II, method 10."""
    low, high = newcombe_interval(first, second, n)
    assert (low / n, high / n) == pytest.approx(interval, abs=1e-4)


def test_sides_of_about_one_length_are_not_sampled():
    assert equal_shares(100.0, 96.0) == (1.0, 1.0)
    assert equal_shares(50.0, 100.0) == (1.0, 0.5)
