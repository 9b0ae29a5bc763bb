"""The tail: exact where its distribution is exact, honest two decades below the counts, bounded."""

from __future__ import annotations

import dataclasses
import functools
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from auditor.calibration import tail as tails
from auditor.calibration.rates import count_rates
from auditor.calibration.tail import (
    MIN_P_VALUE,
    Tail,
    _anderson_darling,
    _weighted_anderson_darling,
    fit_tail,
    goodness_of_fit,
)
from auditor.serialisation import from_json, to_json

N_TRACKS = 90
EACH_ONCE = np.triu(np.ones((N_TRACKS, N_TRACKS), dtype=bool), 1)
N_PAIRS = int(EACH_ONCE.sum())
N_DIMS = 12


def sphere_scores(seed: int) -> np.ndarray:
    """Return cosines of random directions: (1 + score) / 2 is beta-distributed."""
    vectors = np.random.default_rng(seed).normal(size=(N_TRACKS, N_DIMS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def sphere_far(threshold: float) -> float:
    half = (N_DIMS - 1) / 2
    return float(stats.beta.sf((1 + threshold) / 2, half, half))


@functools.cache
def fitted(seed: int) -> Tail:
    made = fit_tail(sphere_scores(seed), EACH_ONCE, seed=seed, n_bootstrap=100)
    assert made is not None
    return made


MADE = Tail(0.5, 50, 1000, -0.25, 0.1, 1.0, 0.6, ((-0.2, 0.1, 0.04), (-0.3, 0.12, 0.06)))


@st.composite
def made_tails(draw) -> Tail:
    threshold = draw(st.floats(-0.5, 0.9))
    n_scores = draw(st.integers(100, 10**6))

    def parameters() -> tuple[float, float]:
        shape = draw(st.floats(-0.5, -0.01))
        return shape, draw(st.floats(0.2, 1.0)) * -shape * (1.0 - threshold)

    return Tail(
        threshold,
        draw(st.integers(1, n_scores // 2)),
        n_scores,
        *parameters(),
        1.0,
        0.5,
        tuple((*parameters(), draw(st.floats(0.0, 1.0))) for _ in range(3)),
    )


@settings(deadline=None)
@given(made_tails(), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8))
def test_rates_fall_with_the_threshold_and_lie_in_their_interval(made, steps):
    at = [made.threshold + step * (1.0 - made.threshold) for step in sorted(steps)]
    found = [made.far_at(threshold) for threshold in at]
    for before, after in pairwise(found):
        assert all(b <= a * (1 + 1e-9) for a, b in zip(before, after, strict=True))
    assert all(0.0 <= low <= far <= high <= 1.0 for far, low, high in found)
    assert made.far_at(made.threshold)[0] == pytest.approx(made.share)


@settings(deadline=None)
@given(made_tails(), st.floats(-12.0, 0.0))
def test_the_threshold_of_a_rate_has_that_rate(made, exponent):
    far = made.share * 10.0**exponent
    threshold = made.threshold_at(far)
    assert made.threshold <= threshold <= made.end_point <= 1.0 + 1e-9
    if threshold < made.end_point - 1e-6:  # nearer to it rounding takes over
        assert made.far_at(threshold)[0] == pytest.approx(far, rel=1e-4)


def test_beyond_its_ends():
    assert MADE.threshold_at(0.05) == MADE.threshold_at(0.3) == 0.5
    assert MADE.far_at(0.95)[0] == 0.0
    with pytest.raises(ValueError, match=r"threshold is 0\.4; the tail begins at 0\.5"):
        MADE.far_at(0.4)
    with pytest.raises(ValueError, match="a positive rate is needed"):
        MADE.threshold_at(0.0)


@pytest.mark.parametrize("shape", [-0.1, -0.2, -0.4])
def test_an_exact_pareto_tail_is_found_again(shape):
    rng = np.random.default_rng(11)
    n, begins = 400, 0.4
    scores = np.full((n, n), -1.0)
    above = np.triu(rng.random((n, n)) < 0.03, 1)
    scale = -shape * 0.5  # ends at 0.9
    scores[above] = begins + scale / shape * np.expm1(-shape * np.log(rng.random(above.sum())))
    pairs = np.triu(np.ones((n, n), dtype=bool), 1)
    scores[pairs & ~above] = rng.uniform(-1.0, begins, (pairs & ~above).sum())
    made = fit_tail(scores, pairs, n_bootstrap=50)
    assert made.p_value > MIN_P_VALUE
    assert made.shape == pytest.approx(shape, abs=0.12)
    for share in (1e-3, 1e-4):
        threshold = begins + scale / shape * np.expm1(-shape * np.log(share / 0.03))
        far, low, high = made.far_at(float(threshold))
        assert low <= share <= high
        assert far == pytest.approx(share, rel=0.5)


def test_two_decades_below_the_counts_the_true_rate_lies_in_the_interval():
    far = 0.01 / N_PAIRS
    half = (N_DIMS - 1) / 2
    threshold = 2 * float(stats.beta.isf(far, half, half)) - 1
    assert sphere_far(threshold) == pytest.approx(far)
    found = [fitted(seed).far_at(threshold) for seed in range(20)]
    assert sum(low <= far <= high for _, low, high in found) >= 18
    assert 0.1 * far < np.median([rate for rate, _, _ in found]) < 10 * far
    assert np.median([high for _, _, high in found]) < 100 * far, "and says something"


def test_where_scores_are_plentiful_the_tail_agrees_with_their_count():
    for seed in range(5):
        made, counted = fitted(seed), sphere_scores(seed)[EACH_ONCE]
        for share in (0.03, 0.02, 0.01):
            threshold = float(np.quantile(counted, 1.0 - share))
            if threshold > made.threshold:
                assert made.far_at(threshold)[0] == pytest.approx(share, rel=0.3)
        assert (counted > made.threshold).sum() == made.n_exceedances
        assert (counted >= made.threshold).sum() == made.n_exceedances
        assert made.n_scores == N_PAIRS


def test_no_score_is_expected_above_the_bound():
    for seed in range(5):
        made = fitted(seed)
        assert made.end_point <= 1.0 + 1e-9
        assert made.end_point >= sphere_scores(seed)[EACH_ONCE].max() - 1e-3
        assert made.far_at(1.0) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_scores_at_the_bound_are_borne():
    scores = sphere_scores(0)
    scores[0, 1:4] = 1.0
    made = fit_tail(scores, EACH_ONCE, n_bootstrap=20)
    assert made.far_at(0.99)[0] > 0.0
    assert made.end_point <= 1.0 + 1e-9


def test_the_bootstrap_is_over_tracks():
    """A track that is near many makes the interval wider than as many independent pairs would."""
    rng = np.random.default_rng(3)
    spread = np.where(EACH_ONCE, rng.uniform(-1.0, 0.5, EACH_ONCE.shape), 0.0)
    hub = spread.copy()
    high = rng.uniform(0.5, 0.9, N_TRACKS - 1)
    hub[0, 1:] = high
    rows, columns = np.nonzero(EACH_ONCE)
    chosen = rng.choice(len(rows), N_TRACKS - 1, replace=False)
    spread[rows[chosen], columns[chosen]] = high
    widths = []
    for scores in (hub, spread):
        shares = np.asarray(fit_tail(scores, EACH_ONCE, n_bootstrap=100).bootstrap)[:, 2]
        widths.append(shares.std())
    assert widths[0] > 1.5 * widths[1]


def test_the_tail_begins_where_the_fit_is_good():
    """Above a step in the scores the tail is smooth; a threshold below it must not be taken."""
    rng = np.random.default_rng(5)
    n = 300
    pairs = np.triu(np.ones((n, n), dtype=bool), 1)
    scores = rng.uniform(-1.0, 0.2, (n, n))
    at = np.argwhere(pairs)
    rng.shuffle(at)
    scores[tuple(at[:1300].T)] = rng.uniform(0.2, 0.21, 1300)  # a spike below the tail
    scores[tuple(at[1300:1800].T)] = 0.4 + 0.1 * rng.beta(1, 4, 500)
    made = fit_tail(scores, pairs, n_bootstrap=20)
    assert made.p_value > MIN_P_VALUE
    assert made.threshold > 0.39


def test_a_poor_fit_says_so(monkeypatch):
    monkeypatch.setattr(tails, "SHARES", (0.05,))
    rng = np.random.default_rng(5)
    scores = rng.choice([0.1, 0.5, 0.52, 0.8], p=[0.9, 0.04, 0.04, 0.02], size=EACH_ONCE.shape)
    scores += rng.uniform(0.0, 1e-6, scores.shape)
    assert fit_tail(scores, EACH_ONCE, n_bootstrap=10).p_value < MIN_P_VALUE


def test_goodness_of_fit_is_uniform_under_the_model():
    rng = np.random.default_rng(0)
    values = []
    for _ in range(40):
        excesses = 0.3 * (1.0 - (1.0 - rng.random(60)) ** 0.2)
        values.append(goodness_of_fit(excesses, 0.3, rng, n_samples=19))
    assert np.mean(np.asarray(values) <= 0.1) < 0.3
    assert 0.3 < np.mean(values) < 0.7


def test_too_few_pairs_have_no_tail():
    assert fit_tail(sphere_scores(0)[:20, :20], EACH_ONCE[:20, :20]) is None
    assert fit_tail(np.ones((60, 60)), EACH_ONCE[:60, :60]) is None, "one score is no tail"


def test_the_same_seed_gives_the_same_tail():
    first, again = (fit_tail(sphere_scores(1), EACH_ONCE, n_bootstrap=5, seed=4) for _ in range(2))
    assert first == again


def test_fit_refuses():
    with pytest.raises(ValueError, match=r"\(3, 4\) .* is needed for both"):
        fit_tail(np.zeros((3, 4)), np.ones((3, 4), dtype=bool))
    with pytest.raises(ValueError, match="not finite"):
        fit_tail(np.full((4, 4), np.nan), EACH_ONCE[:4, :4])


@settings(max_examples=20, deadline=None)
@given(made_tails())
def test_a_tail_travels_as_json(made):
    assert from_json(Tail, json.loads(json.dumps(to_json(made)))) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_exceedances": 0}, "0 of 1000 scores exceed"),
        ({"n_exceedances": 1001}, "1001 of 1000 scores"),
        ({"p_value": 1.5}, "p_value is 1.5"),
        ({"bootstrap": ()}, "bootstrap has 0 samples"),
        ({"shape": 0.1}, "a tail has shape 0.1"),
        ({"shape": -0.8}, "a tail has shape -0.8"),
        ({"scale": 0.0}, "scale 0.0"),
        ({"scale": 0.2}, r"a tail ends at 1\.3, above the bound 1\.0"),
        ({"bootstrap": ((-0.2, 0.1, 1.5),)}, "share 1.5"),
        ({"bootstrap": ((-0.2, 0.2, 0.5),)}, "a tail ends at 1.5"),
    ],
)
def test_a_wrong_tail_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(MADE, **change)


def test_equal_weights_change_nothing():
    scores = sphere_scores(2)
    plain = fit_tail(scores, EACH_ONCE, n_bootstrap=5)
    weighted = fit_tail(scores, EACH_ONCE, weights=np.full(scores.shape, 3.0), n_bootstrap=5)
    assert weighted.threshold == plain.threshold
    assert weighted.share == pytest.approx(plain.share)
    assert (weighted.shape, weighted.scale) == pytest.approx((plain.shape, plain.scale))
    values = np.random.default_rng(0).random(40)
    assert _weighted_anderson_darling(values, np.full(40, 7.0)) == pytest.approx(
        _anderson_darling(values)
    )


def test_rates_of_a_weighted_sample_are_those_of_all_pairs_on_average():
    scores = sphere_scores(3)
    rows_a, rows_b = np.nonzero(EACH_ONCE)
    # What decides how likely a pair is drawn resembles its score, as candidates do.
    rng = np.random.default_rng(0)
    near = np.argsort(-(scores[EACH_ONCE] + rng.normal(0.0, scores[EACH_ONCE].std(), len(rows_a))))
    certain, others = np.split(near, [len(near) // 5])
    whole = count_rates(scores, EACH_ONCE)
    found = []
    for seed in range(8):
        weights = np.zeros(scores.shape)
        weights[rows_a[certain], rows_b[certain]] = 1.0
        drawn = np.random.default_rng(seed).choice(others, len(others) // 8, replace=False)
        weights[rows_a[drawn], rows_b[drawn]] = len(others) / len(drawn)
        sample = count_rates(scores, weights > 0, weights=weights, seed=seed)
        found.append([sample.far_at(whole.threshold_at(far)) for far in (0.1, 0.01, 1e-3, 1e-4)])
        assert sample.n_nonmatching_pairs == len(certain) + len(drawn)
    fars = np.asarray(found)[:, :, 0]
    assert fars.mean(axis=0)[:3] == pytest.approx([0.1, 0.01, 1e-3], rel=0.35)
    # Below what is counted the prior weighs more, the fewer the excesses: to the safe side.
    assert 0.5e-4 < np.median(fars[:, 3]) < 5e-4
    for (_, low, high), far in zip(found[0], (0.1, 0.01, 1e-3, 1e-4), strict=True):
        assert low <= far <= high
