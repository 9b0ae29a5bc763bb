"""The second witness: planted diagonals are found where they lie, and loops prove nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import auditor.evidence.alignment.ranges
from auditor.evidence.alignment.line_fit import measure_lines
from auditor.evidence.alignment.line_search import Grid, Segment, search_lines
from auditor.evidence.alignment.ranges import (
    WitnessConfig,
    compare_tracks,
    find_evidence,
    prepare_track,
)

HOP_S, WINDOW_S = 0.8, 3.2
TIMES = {"hop_s": HOP_S, "window_s": WINDOW_S}
PER_WINDOW = 16
"""Steps of a synthetic sound in one window; four of them in a hop."""


def sound(duration_s: float, seed: int, *, n_dims: int = 64) -> np.ndarray:
    """Return (n, n_dims) independent moments, 0.2 s each: what the windows are means of."""
    return np.random.default_rng(seed).standard_normal((round(duration_s / 0.2), n_dims))


def faster(moments: np.ndarray, tempo: float) -> np.ndarray:
    """Return the moments at another tempo, each one still 0.2 s."""
    at = np.minimum(np.arange(int(len(moments) / tempo)) * tempo, len(moments) - 1.001)
    low = at.astype(int)
    share = (at - low)[:, None]
    return (1.0 - share) * moments[low] + share * moments[low + 1]


def windows(moments: np.ndarray, *, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return the d-vectors: normalised means over 3.2 s every 0.8 s."""
    sums = np.cumsum(np.pad(moments, ((1, 0), (0, 0))), axis=0)
    starts = np.arange(0, len(moments) - PER_WINDOW + 1, 4)
    rows = sums[starts + PER_WINDOW] - sums[starts]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows + noise * np.random.default_rng(seed).standard_normal(rows.shape) / 8.0
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plant(host: np.ndarray, excerpt: np.ndarray, at_s: float) -> np.ndarray:
    """Return the host with a stretch of it replaced."""
    out = host.copy()
    start = round(at_s / 0.2)
    out[start : start + len(excerpt)] = excerpt
    return out


def times(found) -> tuple[float, float, float, float]:
    return found.a_start_s, found.a_end_s, found.b_start_s, found.b_end_s


@pytest.fixture(scope="module")
def track():
    return sound(120.0, 1)


@pytest.fixture(scope="module")
def other():
    return sound(100.0, 2)


def test_a_track_matches_itself_from_start_to_end(track):
    rows = windows(track)
    found = find_evidence(rows, rows, **TIMES)
    duration_s = (len(rows) - 1) * HOP_S + WINDOW_S
    assert len(found.ranges) == 1
    assert times(found.ranges[0]) == pytest.approx((0.0, duration_s, 0.0, duration_s), abs=0.05)
    assert found.tempo == pytest.approx(1.0, abs=1e-3)
    assert (found.share_a, found.share_b) == pytest.approx((1.0, 1.0), abs=1e-3)
    assert found.score > 0.6


def test_two_tracks_that_share_nothing_have_no_range(track, other):
    found = find_evidence(windows(track), windows(other), **TIMES)
    assert found.ranges == ()
    assert (found.share_a, found.share_b, found.tempo) == (0.0, 0.0, 1.0)
    assert found.score < WitnessConfig().min_score


@pytest.mark.parametrize("length_s", [6.0, 10.0, 30.0])
@pytest.mark.parametrize("at_s", [20.0, 41.4])
def test_an_excerpt_planted_in_another_track_is_found_with_its_times(length_s, at_s, track, other):
    start = round(50.6 / 0.2)
    planted = plant(other, track[start : start + round(length_s / 0.2)], at_s)
    found = find_evidence(windows(planted, noise=0.3), windows(track), **TIMES)
    best = found.ranges[0]
    assert times(best) == pytest.approx((at_s, at_s + length_s, 50.6, 50.6 + length_s), abs=1.0)
    assert found.share_a == pytest.approx(length_s / 100.0, abs=0.02)


@pytest.mark.parametrize("tempo", [0.75, 0.9, 0.97, 1.0, 1.03, 1.2, 1.33])
def test_a_change_of_tempo_is_measured_within_one_per_cent(tempo, track):
    found = find_evidence(windows(faster(track, tempo), noise=0.3), windows(track), **TIMES)
    best = found.ranges[0]
    assert best.tempo == pytest.approx(tempo, rel=0.01)
    assert times(best) == pytest.approx((0.0, 120.0 / tempo, 0.0, 120.0), abs=1.5)


def test_a_short_excerpt_has_its_own_tempo_unless_another_fits_better(track, other):
    planted = plant(other, track[150:200], 30.0)
    found = find_evidence(windows(planted, noise=0.5), windows(track, noise=0.5), **TIMES)
    assert found.ranges[0].tempo == 1.0
    planted = plant(other, faster(track[150:250], 1.25), 30.0)
    found = find_evidence(windows(planted), windows(track), **TIMES)
    assert found.ranges[0].tempo == pytest.approx(1.25, rel=0.03)


def test_three_excerpts_in_one_submission_are_three_ranges(track, other):
    planted, truth = other, []
    for at_s, start_s in ((5.0, 80.0), (35.0, 10.0), (70.0, 45.0)):
        start = round(start_s / 0.2)
        planted = plant(planted, track[start : start + 50], at_s)
        truth.append((at_s, at_s + 10.0, start_s, start_s + 10.0))
    found = find_evidence(windows(planted, noise=0.2), windows(track), **TIMES)
    assert len(found.ranges) == 3
    for best, expected in zip(sorted(found.ranges, key=lambda r: r.a_start_s), truth, strict=True):
        assert times(best) == pytest.approx(expected, abs=1.0)


def test_an_excerpt_used_twice_is_two_ranges_and_a_cut_copy_two_stretches(track, other):
    twice = plant(plant(other, track[200:260], 20.0), track[200:260], 60.0)
    found = find_evidence(windows(twice), windows(track), **TIMES)
    assert sorted(round(r.a_start_s / 20) for r in found.ranges) == [1, 3]
    cut = np.concatenate([track[:200], track[350:]])
    found = find_evidence(windows(cut), windows(track), **TIMES)
    assert len(found.ranges) == 2
    assert found.share_a == pytest.approx(1.0, abs=0.03)


def test_a_chorus_that_returns_inside_a_copy_is_no_second_match(track):
    song = np.concatenate([track[:152], track[300:400], track[152:300], track[300:400]])
    rows = windows(song)
    found = find_evidence(rows, windows(song, noise=0.3), **TIMES)
    assert len(found.ranges) == 1
    assert 0.0 < found.ranges[0].repetition < 0.5


def test_a_loop_in_two_tracks_is_no_evidence_of_a_long_match(other):
    bars = sound(4.0, 7)
    loop = np.resize(np.arange(20), 450)
    a = windows(bars[loop], noise=0.2, seed=1)
    b = windows(bars[loop][5:], noise=0.2, seed=2)
    looped = find_evidence(a, b, **TIMES)
    once = find_evidence(
        windows(plant(other, bars, 30.0)), windows(plant(sound(90.0, 8), bars, 50.0)), **TIMES
    )
    copied = find_evidence(windows(other), windows(other, noise=0.3), **TIMES)
    assert looped.score < once.score + 0.15 < copied.score - 0.2
    assert all(r.repetition > 0.7 for r in looped.ranges)


def test_two_takes_of_noise_prove_nothing_though_each_is_like_the_other():
    rng = np.random.default_rng(4)
    noise = rng.standard_normal(64)
    takes = [
        windows(noise + sound(length_s, seed) * 2.0) for seed, length_s in ((1, 90.0), (2, 120.0))
    ]
    found = find_evidence(*takes, **TIMES)
    without = find_evidence(*takes, **TIMES, config=WitnessConfig(stand_out_cost=0.0))
    assert found.background > 0.7
    assert found.score < without.score - 0.1
    assert found.ranges == ()


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3])
def test_drones_and_noise_prove_nothing(spread):
    rng = np.random.default_rng(3)
    drone = rng.standard_normal(64)
    sides = [drone + spread * rng.standard_normal((n, 64)) for n in (450, 600)]
    found = find_evidence(windows(sides[0]), windows(sides[1]), **TIMES)
    assert found.background > 0.9
    assert found.ranges == ()


def test_silence_proves_nothing_and_does_not_hide_what_is_around_it(track):
    rows = windows(track)
    levels = np.full(len(rows), -10.0)
    silent = np.full(len(rows), -120.0)
    nothing = find_evidence(rows, rows, a_levels=silent, b_levels=silent, **TIMES)
    assert nothing.score <= 0.0
    assert nothing.ranges == ()
    levels[60:66] = -120.0
    found = find_evidence(rows, rows, a_levels=levels, b_levels=levels, **TIMES)
    assert len(found.ranges) == 1
    assert found.share_a == pytest.approx(1.0, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(
    n_a=st.integers(1, 60),
    n_b=st.integers(1, 60),
    shared=st.integers(0, 40),
    seed=st.integers(0, 100),
)
@example(n_a=15, n_b=15, shared=16, seed=0)  # equal tracks: what remains is rounding
def test_exchanging_the_tracks_exchanges_the_result(n_a, n_b, shared, seed):
    a, b = (windows(sound(3.2 + 0.8 * n, seed + i)) for i, n in enumerate((n_a, n_b)))
    n = min(shared, len(a), len(b))
    a[len(a) - n :] = b[:n]
    one, two = find_evidence(a, b, **TIMES), find_evidence(b, a, **TIMES)
    assert (one.score, one.share_a, one.background) == (two.score, two.share_b, two.background)
    exchanged = [(r.b_start_s, r.b_end_s, r.a_start_s, r.a_end_s) for r in two.ranges]
    assert len(one.ranges) == len(exchanged)
    for found, expected in zip(one.ranges, exchanged, strict=True):
        assert times(found) == pytest.approx(expected, abs=1e-4)  # reported to a tenth of a second
    assert [r.tempo for r in one.ranges] == pytest.approx([1.0 / r.tempo for r in two.ranges])


@settings(max_examples=20, deadline=None)
@given(
    n_a=st.integers(1, 80),
    n_b=st.integers(1, 80),
    length=st.integers(1, 80),
    tempo=st.floats(0.75, 1.33),
    seed=st.integers(0, 100),
)
@example(n_a=2, n_b=2, length=1, tempo=1.0, seed=1)  # the line leaves so small a matrix
def test_ranges_lie_inside_the_tracks(n_a, n_b, length, tempo, seed):
    b = sound(2.4 + 0.8 * n_b, seed)
    a = sound(2.4 + 0.8 * n_a, seed + 1)
    excerpt = faster(b, tempo)[: min(length * 4, len(a))]
    a[: len(excerpt)] = excerpt
    rows = windows(a), windows(b)
    found = find_evidence(*rows, **TIMES)
    a_s, b_s = ((len(r) - 1) * HOP_S + WINDOW_S + 1e-6 for r in rows)
    assert -1.0 <= found.score <= 1.0
    assert 0.0 <= found.share_a <= 1.0 + 1e-6
    assert 0.0 <= found.share_b <= 1.0 + 1e-6
    for r in found.ranges:
        assert 0.0 <= r.a_start_s < r.a_end_s <= a_s
        assert 0.0 <= r.b_start_s < r.b_end_s <= b_s
        assert (r.b_end_s - r.b_start_s) / (r.a_end_s - r.a_start_s) == pytest.approx(
            r.tempo, rel=1e-3
        )
        assert 0.0 <= r.repetition <= 1.0
        assert found.score >= r.score >= WitnessConfig().min_score
    assert list(found.ranges) == sorted(found.ranges, key=lambda r: -r.score)


def test_tracks_prepared_once_give_the_same(track, other):
    a, b = windows(plant(other, track[:80], 30.0)), windows(track)
    prepared = [prepare_track(rows, **TIMES) for rows in (a, b)]
    assert compare_tracks(*prepared, **TIMES) == find_evidence(a, b, **TIMES)


def test_stored_d_vectors_of_half_precision_are_good_enough(track, other):
    a, b = windows(plant(other, track[:80], 30.0)), windows(track)
    exact = find_evidence(a, b, **TIMES)
    stored = find_evidence(a.astype(np.float16), b.astype(np.float16), **TIMES)
    assert stored.score == pytest.approx(exact.score, abs=2e-3)
    assert times(stored.ranges[0]) == pytest.approx(times(exact.ranges[0]), abs=0.05)


def test_the_search_keeps_to_the_lines_of_its_grid():
    matrix = np.zeros((40, 60), dtype=np.float32)
    matrix[np.arange(10, 30), np.arange(10, 30) + 15] = 1.0
    grid = Grid(np.asarray([1.0]), 1, 5, 2)
    best = search_lines(matrix, penalty=1.0, grid=grid)[0]
    assert (best.tempo, best.j0 - best.i0, best.n) == (1.0, 15, 20)
    assert best.i0 == 10
    assert search_lines(matrix[:3, :2], penalty=1.0, grid=grid) == []


def test_nothing_above_zero_on_a_line_is_no_run():
    matrix = np.full((20, 20), -0.1, dtype=np.float32)
    assert measure_lines(matrix, [Segment(0.0, 0.0, 1.0, 0, 0, 10)]) == [None]


def test_what_cannot_be_compared_is_refused(track):
    rows = windows(track)
    with pytest.raises(ValueError, match=r"\(0, 64\)"):
        find_evidence(rows[:0], rows, **TIMES)
    with pytest.raises(ValueError, match="2 levels for"):
        find_evidence(rows, rows, a_levels=np.zeros(2), **TIMES)
    with pytest.raises(ValueError, match="64 and 32 dimensions"):
        find_evidence(rows, rows[:, :32], **TIMES)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"max_tempo": 1.0}, "max_tempo is 1.0"),
        ({"n_tempos": 4}, "n_tempos 4"),
        ({"span": 1}, "span is 1"),
        ({"step": 0}, "step is 0"),
        ({"alike": 1.0}, "alike is 1.0"),
        ({"max_ranges": 0}, "max_ranges 0"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(WitnessConfig(), **how)


def test_what_no_line_of_the_search_explains_is_not_measured(track, monkeypatch):
    monkeypatch.setattr(auditor.evidence.alignment.ranges, "measure_lines", pytest.fail)
    others = np.random.default_rng(8).standard_normal((2, 60, 64))
    found = find_evidence(windows(others[0]), windows(others[1]), **TIMES)
    assert -1.0 < found.score <= 0.0
    assert found.ranges == ()
