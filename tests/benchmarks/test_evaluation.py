"""Tests of the error rates of the quality benchmark, on scores whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation import (
    FARS,
    Scores,
    combine,
    equal_error_rate_of_sorted,
    evaluate,
    on_common_copies,
    related,
    split_pairs,
    stand_to_targets,
    targets,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.augment.alterations import ALTERATIONS
from auditor.calibration.metrics import equal_error_rate, recall_at_far

N = 40
NAMES = [f"track-{i}" for i in range(N)]
ALL = np.arange(N)


def make_scores(*kinds: str, own: float = 0.9, other: float = 0.1, n: int = N) -> Scores:
    """Return scores of copies of every track: ``own`` with their original, else ``other``."""
    originals = np.full((n, n), other)
    np.fill_diagonal(originals, 1.0)
    copies = {}
    for kind in kinds:
        copies[kind] = np.full((n, n), other)
        np.fill_diagonal(copies[kind], own)
    return Scores(originals, copies, {kind: np.arange(n) for kind in kinds})


def draw_scores(seed: int, *kinds: str, n: int = 60, apart: float = 3.0) -> Scores:
    rng = np.random.default_rng(seed)
    copies = {kind: rng.normal(size=(n, n)) + apart * np.eye(n) for kind in kinds}
    return Scores(rng.normal(size=(n, n)), copies, {kind: np.arange(n) for kind in kinds})


def test_scores_survive_a_file_and_name_their_alterations(tmp_path):
    scores = draw_scores(0, "pitch+1", "mp3-32k")
    scores.save(tmp_path / "new" / "scores.npz")
    loaded = Scores.load(tmp_path / "new" / "scores.npz")
    assert list(loaded.copies) == ["pitch+1", "mp3-32k"]
    np.testing.assert_array_equal(loaded.originals, scores.originals)
    for kind in scores.rows:
        np.testing.assert_array_equal(loaded.copies[kind], scores.copies[kind])
        np.testing.assert_array_equal(loaded.rows[kind], scores.rows[kind])
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["scores.npz"]


def test_scores_that_do_not_fit_are_refused():
    square = np.zeros((3, 3))
    with pytest.raises(ValueError, match=r"originals have shape \(2, 3\)"):
        Scores(np.zeros((2, 3)), {}, {})
    with pytest.raises(ValueError, match="copies of"):
        Scores(square, {"eq": square}, {})
    with pytest.raises(ValueError, match=r"eq: copies \(3, 3\), need \(2, 3\)"):
        Scores(square, {"eq": square}, {"eq": np.arange(2)})
    missing = square.copy()
    missing[1, 1] = np.nan
    with pytest.raises(ValueError, match="eq: a copy was not compared with its own original"):
        Scores(square, {"eq": missing}, {"eq": np.arange(3)})


def test_a_threshold_lies_above_ties_of_one_impostor_too_many():
    scores = make_scores("eq", "noise0")
    n_pairs = N * (N - 1) // 2 + 2 * N * (N - 1)  # 3,900, of which 3 may be flagged at 1e-3
    scores.copies["eq"][0, 1] = 0.8
    for i in range(5):
        scores.copies["noise0"][i, i + 1] = 0.7
    scores.copies["eq"][ALL[:10], ALL[:10]] = 0.7
    scores.copies["eq"][ALL[10:20], ALL[10:20]] = 0.7000001
    found = evaluate(NAMES, ALL, scores, n_draws=0)
    assert found.n_impostor_pairs == n_pairs
    assert found.thresholds[0] == np.nextafter(0.7, 1.0)
    assert found.rows[0].recalls[0] == 0.75
    assert found.rows[1].recalls[0] == 1.0  # the same threshold for all
    assert found.mean_recalls[0] == 0.875


def test_a_far_that_cannot_be_counted_has_no_figures():
    found = evaluate(NAMES, ALL, make_scores("eq", "noise0"), n_draws=3)  # 3,900 impostor pairs
    assert FARS[1:] == (1e-4, 1e-5)
    assert found.thresholds[1:] == (None, None)
    assert found.rows[0].recalls == (1.0, None, None)
    assert found.mean_recalls == (1.0, None, None)
    assert found.mean_intervals == ((1.0, 1.0), None, None)


def test_a_hundred_thousand_impostors_are_enough_for_the_last_far():
    found = evaluate([f"{i}" for i in range(260)], np.arange(260), make_scores("eq", n=260))
    assert found.n_impostor_pairs == 260 * 259 * 3 // 2  # 101,010: one false pair is allowed
    assert found.rows[0].recalls == (1.0, 1.0, 1.0)


def test_float32_scores_at_a_threshold_are_not_flagged_by_rounding():
    scores = make_scores("eq", "noise0", own=0.5, other=0.5)
    scores = Scores(
        scores.originals.astype(np.float32),
        {kind: copies.astype(np.float32) for kind, copies in scores.copies.items()},
        scores.rows,
    )
    found = evaluate(NAMES, ALL, scores, n_draws=2)
    assert found.mean_recalls[0] == 0.0
    assert found.mean_intervals[0] == (0.0, 0.0)
    assert found.mean_top1 == 0.0  # ties are misses


def test_hosts_are_neither_impostors_nor_rivals():
    scores = make_scores("mix", "eq")
    hosts = (ALL + N // 2) % N
    scores.copies["mix"][ALL, hosts] = 0.95
    found = evaluate(NAMES, ALL, scores, n_draws=0)
    mixed, _ = found.rows
    assert (mixed.top1, mixed.recalls[0]) == (1.0, 1.0)
    assert found.n_impostor_pairs == N * (N - 1) // 2 + N * (N - 2) + N * (N - 1)
    scores.copies["eq"][ALL, hosts] = 0.95  # but of a copy without a host they are
    found = evaluate(NAMES, ALL, scores, n_draws=0)
    assert found.rows[1].top1 == 0.0
    assert found.rows[1].recalls[0] == 0.0


def test_the_duplicates_of_a_host_are_hosts():
    groups = np.array([0, 1, 2, 3, 2, 5])  # track 4 is track 2 again; 5 hosts 2, and 4 hosts 1
    found = related(groups, np.array([1, 5]), hosted=True)
    np.testing.assert_array_equal(np.flatnonzero(found[0]), [1, 2, 4])
    np.testing.assert_array_equal(np.flatnonzero(found[1]), [2, 4, 5])


def test_natural_duplicates_are_found_or_not_and_are_no_impostors():
    scores, groups = make_scores("eq", "noise0"), ALL.copy()
    groups[7] = 3
    groups[9] = 8
    scores.originals[3, 7] = 0.99
    scores.originals[8, 9] = 0.05
    scores.copies["eq"][3, 7] = 0.99
    found = evaluate(NAMES, groups, scores, n_draws=0)
    assert found.rows[0].top1 == 1.0
    assert [(p.query, p.reference, p.flagged) for p in found.duplicates] == [
        ("track-3", "track-7", (True, None, None)),
        ("track-8", "track-9", (False, None, None)),
    ]
    assert all(pair.score < 0.9 for pair in (*found.hardest_originals, *found.hardest_copies))


def test_hardest_impostors_are_named_once_by_their_worst_copy():
    scores = make_scores("eq", "noise0")
    scores.originals[2, 5] = 0.6
    scores.originals[5, 2] = 0.99  # below the diagonal: not used
    scores.copies["eq"][2, 5] = 0.65
    scores.copies["noise0"][5, 2] = 0.85
    scores.copies["noise0"][11, 4] = 0.75
    found = evaluate(NAMES, ALL, scores, n_draws=0)
    first = found.hardest_originals[0]
    assert (first.query, first.alteration, first.reference) == ("track-2", "", "track-5")
    assert first.score == 0.6
    worst = [(p.query, p.alteration, p.reference, p.score) for p in found.hardest_copies[:3]]
    assert worst[:2] == [
        ("track-5", "noise0", "track-2", 0.85),
        ("track-11", "noise0", "track-4", 0.75),
    ]
    assert worst[2][3] == 0.1


def test_what_was_not_compared_is_left_out():
    scores = make_scores("eq", "noise0")
    scores.originals[:, 5] = scores.originals[5] = np.nan
    scores.copies["eq"][0, 1] = np.nan
    found = evaluate(NAMES, ALL, scores, n_draws=2)
    assert found.n_impostor_pairs == 3900 - (N - 1) - 1
    assert found.rows[0].top1 == 1.0


def test_a_given_threshold_is_counted():
    scores = make_scores("eq", "noise0")
    scores.originals[1, 2] = 0.85
    scores.copies["eq"][0, 0] = 0.7
    found = evaluate(NAMES, ALL, scores, threshold=0.8, n_draws=0)
    assert (found.given_threshold, found.n_false) == (0.8, 1)
    assert [row.n_flagged for row in found.rows] == [N - 1, N]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(-4, 8), min_size=1, max_size=12),
    st.lists(st.integers(-8, 4), min_size=1, max_size=30),
)
def test_the_eer_by_bisection_is_that_of_the_metrics(matching, impostor):
    matching = np.asarray(matching, np.float64)
    impostor = np.sort(np.asarray(impostor, np.float64))[::-1]
    expected = equal_error_rate(matching, impostor)[0]
    assert equal_error_rate_of_sorted(matching, impostor) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_a_bootstrap_draw_is_that_of_repeated_pairs(seed):
    scores, groups = draw_scores(seed, "eq", "mix"), np.arange(60)
    groups[1] = 0
    found = evaluate([f"{i}" for i in range(60)], groups, scores, n_draws=1, seed=seed)
    units = np.random.default_rng(seed).multinomial(59, np.full(59, 1 / 59))
    times = units[np.unique(groups, return_inverse=True)[1]]
    pairs = split_pairs(groups, scores)
    impostor = np.repeat(pairs.impostor, times[pairs.query] * times[pairs.reference])
    expected = [
        recall_at_far(np.concatenate([np.repeat(own, times)]), impostor, 1e-3)
        for own in pairs.matching.values()
    ]
    assert found.mean_intervals[0] == pytest.approx((np.mean(expected), np.mean(expected)))


def test_the_bootstrap_interval_holds_the_mean_and_is_seeded():
    scores, names = draw_scores(5, "eq", "mix"), [f"{i}" for i in range(60)]
    found = evaluate(names, np.arange(60), scores)
    low, high = found.mean_intervals[0]
    assert low < found.mean_recalls[0] < high
    assert high - low < 0.5
    assert evaluate(names, np.arange(60), scores) == found


def test_systems_are_restricted_to_the_copies_of_all():
    a, b = make_scores("eq", "mix", "noise0"), make_scores("noise0", "eq")
    b = b.every(3)
    both = on_common_copies({"a": a, "b": b})
    assert list(both["a"].rows) == list(both["b"].rows) == ["noise0", "eq"]
    for scores in both.values():
        np.testing.assert_array_equal(scores.rows["eq"], np.arange(0, N, 3))
        assert scores.copies["eq"].shape == (14, N)
    mean = combine(both["a"], make_scores("noise0", "eq", own=0.5).every(3), 0.25)
    assert mean.copies["eq"][1, 3] == pytest.approx(0.8)


def test_mistakes_of_a_caller_are_named():
    scores = make_scores("eq")
    with pytest.raises(ValueError, match="3 names, 40 groups, 40 originals"):
        evaluate(["a", "b", "c"], ALL, scores)
    with pytest.raises(ValueError, match="no copy was scored"):
        evaluate(NAMES, ALL, make_scores())
    with pytest.raises(ValueError, match="no impostor pair"):
        evaluate(NAMES, np.zeros(N, int), scores)


def test_targets_cover_every_alteration():
    asked = {target.group: target.recalls for target in targets()}
    assert {row.group for row in ALTERATIONS.values()} | {"mean"} == set(asked)
    assert asked["light"] == {1e-4: 0.995, 1e-5: 0.99}
    assert asked["mean"] == {1e-4: 0.985, 1e-5: 0.97}


def test_a_group_is_met_by_every_row_or_by_its_mean_or_is_short():
    n = 160
    scores = make_scores("eq", "clipping", "voice", "babble5", "crop10", n=n)
    for kind, missed in (("voice", 4), ("babble5", 1), ("crop10", 40)):
        scores.copies[kind][ALL[:missed], ALL[:missed]] = 0.0
    found = evaluate([f"{i}" for i in range(n)], np.arange(n), scores, n_draws=0)
    at_1e4 = {s.target.group: s for s in stand_to_targets(found) if s.far == 1e-4}
    assert at_1e4["light"].verdict == "met"
    assert (at_1e4["medium"].verdict, at_1e4["medium"].lowest_row) == ("mean met", "voice")
    assert at_1e4["medium"].lowest == pytest.approx(0.975)
    assert at_1e4["heavy"].verdict == "short"
    assert at_1e4["heavy"].mean == pytest.approx(0.75)
    assert at_1e4["planted"].verdict == "not measured"
    assert at_1e4["mean"].verdict == "short"


def test_the_target_of_the_mean_asks_for_the_mean_only():
    n = 160
    scores = make_scores("eq", "clipping", "band", "fades", n=n)
    scores.copies["eq"][ALL[:8], ALL[:8]] = 0.0
    found = evaluate([f"{i}" for i in range(n)], np.arange(n), scores, n_draws=0)
    at_1e4 = {s.target.group: s.verdict for s in stand_to_targets(found) if s.far == 1e-4}
    assert at_1e4 == {
        "light": "short",
        "medium": "not measured",
        "heavy": "not measured",
        "planted": "not measured",
        "mean": "met",
    }
