"""The aligned score: the right line is found, and none leads from one reference to the next."""

from __future__ import annotations

import numpy as np
import pytest
from aligned_score import (
    AlignConfig,
    References,
    aligned_scores,
    best_alignment,
    line_means,
    weigh_windows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

CONFIG = AlignConfig()


def walk(n: int, seed: int, *, n_dims: int = 32) -> np.ndarray:
    """Return (n, n_dims) unit rows in which neighbours are alike, as windows that overlap are."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(n + 2, n_dims))
    rows = steps[2:] + steps[1:-1] + steps[:-2]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def tracks():
    return [walk(n, seed) for seed, n in enumerate((60, 113, 80, 30))]


def test_an_excerpt_is_found_where_it_lies(tracks):
    query = tracks[1][20:70]
    scores = aligned_scores(query, References.of(tracks), config=CONFIG)
    found = best_alignment(query, tracks[1], config=CONFIG)
    assert scores.argmax() == 1
    assert np.sort(scores)[-2] < scores[1] - 0.3
    assert (found.tempo, found.query_start, found.reference_start) == (1.0, 0, 20)
    assert found.score == pytest.approx(scores[1], abs=1e-5)


@pytest.mark.parametrize("tempo", [0.8, 0.95, 1.06, 1.25])
def test_a_change_of_tempo_is_found_and_measured(tempo, tracks):
    reference = tracks[1]
    at = np.arange(int(80 / tempo)) * tempo
    low = np.floor(at).astype(int)
    share = (at - low)[:, None]
    query = (1 - share) * reference[low] + share * reference[low + 1]
    query = (query / np.linalg.norm(query, axis=1, keepdims=True)).astype(np.float32)
    found = best_alignment(query, reference, config=CONFIG)
    assert found.tempo == pytest.approx(tempo, rel=0.03)
    assert aligned_scores(query, References.of(tracks), config=CONFIG).argmax() == 1


def test_a_stretch_planted_in_another_track_is_found_in_both(tracks):
    host = walk(100, 99)
    host[40:56] = tracks[0][10:26]
    scores = aligned_scores(host, References.of(tracks), config=CONFIG)
    found = best_alignment(host, tracks[0], config=CONFIG)
    assert scores.argmax() == 0
    middle = found.query_start + found.span / 2
    assert 40 <= middle <= 56
    assert found.reference_start - found.query_start == pytest.approx(-30, abs=3)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    n_query=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_a_reference_scores_the_same_alone_and_among_others(lengths, n_query, seed):
    tracks = [walk(n, seed + i) for i, n in enumerate(lengths)]
    query = walk(n_query, seed + 77)
    together = aligned_scores(query, References.of(tracks), config=CONFIG)
    alone = [aligned_scores(query, References.of([t]), config=CONFIG)[0] for t in tracks]
    np.testing.assert_allclose(together, alone, atol=2e-5)


def test_an_excerpt_that_runs_over_the_seam_of_two_references_matches_neither_in_full(tracks):
    seam = np.concatenate([tracks[0][-20:], tracks[1][:20]])
    whole = best_alignment(seam, np.concatenate([tracks[0], tracks[1]]), config=CONFIG)
    scores = aligned_scores(seam, References.of(tracks[:2]), config=CONFIG)
    assert whole.score > scores.max() + 0.05


def test_with_full_contrast_two_drones_prove_nothing():
    drone = np.tile(walk(1, 3), (60, 1))
    noisy = drone + 0.05 * walk(60, 4)
    noisy = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    track = walk(60, 5)
    strict = AlignConfig(contrast=1.0)
    of_drones = aligned_scores(noisy, References.of([drone]), config=strict)[0]
    of_a_copy = aligned_scores(track, References.of([track]), config=strict)[0]
    assert of_drones < of_a_copy - 0.3


def test_longer_stretches_need_a_lower_mean(tracks):
    lines = line_means(tracks[1], References.of(tracks), config=CONFIG)
    assert lines.spans == (5, 10, 20, 40)
    assert lines.means.shape == (4, 4)
    unrelated = lines.means[:, 0]
    assert (np.diff(unrelated[np.isfinite(unrelated) & (unrelated > -1)]) < 0).all()


def test_a_reference_shorter_than_any_stretch_scores_lowest(tracks):
    short = tracks[0][:4]
    assert aligned_scores(tracks[0], References.of([short]), config=CONFIG)[0] == -1.0
    assert best_alignment(tracks[0], short, config=CONFIG).span == 0


def test_nothing_to_align_is_refused(tracks):
    with pytest.raises(ValueError, match="the query has no window"):
        aligned_scores(tracks[0][:0], References.of(tracks), config=CONFIG)
    with pytest.raises(ValueError, match="every one needs a window"):
        References.of([tracks[0], tracks[0][:0]])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"max_tempo": 1.0}, "max_tempo is 1.0"),
        ({"n_tempos": 4}, "n_tempos 4"),
        ({"span": 1}, "span is 1"),
        ({"query_step": 0}, "query_step 0"),
    ],
)
def test_a_grid_that_cannot_be_searched_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        AlignConfig(**how)


def test_loops_weigh_less_and_what_is_heard_once_weighs_all(tracks):
    once = tracks[1]
    bar = walk(8, 9)
    looped = np.tile(bar, (10, 1))
    silent = np.concatenate([once, np.zeros((5, once.shape[1]), np.float32)])
    assert np.linalg.norm(weigh_windows(once, overlap=4.0), axis=1).mean() > 0.99
    assert np.linalg.norm(weigh_windows(looped, overlap=4.0), axis=1).max() < 0.97
    assert not weigh_windows(silent, overlap=4.0)[-5:].any()


def test_two_tracks_over_one_loop_score_less_when_loops_are_weighed():
    loop = np.tile(walk(6, 9), (12, 1))
    rng = np.random.default_rng(0)

    def over(n: int) -> np.ndarray:
        rows = loop + 0.1 * rng.normal(size=loop.shape).astype(np.float32)
        return np.concatenate([walk(n, n), rows / np.linalg.norm(rows, axis=1, keepdims=True)])

    one, other = over(20), over(31)
    plain = aligned_scores(one, References.of([other]), config=CONFIG)
    weighed = aligned_scores(
        weigh_windows(one, overlap=4.0),
        References.of([weigh_windows(other, overlap=4.0)]),
        config=CONFIG,
    )
    assert weighed[0] < plain[0] - 0.05
