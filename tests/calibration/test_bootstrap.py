"""The bootstrap over tracks and sources: what is drawn, and what a pair counts."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.calibration.bootstrap import MIN_SOURCES, UnitBootstrap

N = 40
PAIRS = np.triu(np.ones((N, N), dtype=bool), 1)


def draw(sources, n_samples=300):
    return UnitBootstrap(N, sources, n_samples=n_samples, rng=np.random.default_rng(7))


@pytest.mark.parametrize("n_sources", [N, 8, 2])
def test_totals_are_the_sums_of_multiplicities(n_sources):
    bootstrap = draw([f"s{i % n_sources}" for i in range(N)])
    each = bootstrap.multiplicities(*np.nonzero(PAIRS))
    assert each.shape == (300, PAIRS.sum())
    np.testing.assert_allclose(each.sum(axis=1), bootstrap.totals(PAIRS))


def test_a_pair_of_one_source_counts_as_often_as_its_source_is_drawn():
    sources = [f"s{i // 5}" for i in range(N)]
    bootstrap = draw(sources, n_samples=4000)
    inside = bootstrap.multiplicities(np.array([0]), np.array([1]))[:, 0]
    across = bootstrap.multiplicities(np.array([0]), np.array([39]))[:, 0]
    assert inside.mean() == pytest.approx(1.0, abs=0.06), "one source of eight"
    assert across.mean() == pytest.approx(1.0 - 1.0 / 8.0, abs=0.08)
    assert inside.max() <= 8


def test_of_few_sources_the_tracks_are_drawn():
    few = [f"s{i % (MIN_SOURCES - 1)}" for i in range(N)]
    alone = [str(i) for i in range(N)]
    one = draw(few).multiplicities(np.array([0]), np.array([MIN_SOURCES - 1]))
    other = draw(alone).multiplicities(np.array([0]), np.array([MIN_SOURCES - 1]))
    assert set(np.unique(one)) >= {0.0, 1.0, 2.0}
    assert one.shape == other.shape
    assert one.std() == pytest.approx(other.std(), rel=0.3)


def test_whole_sources_vary_more_than_single_tracks():
    hits = PAIRS.copy()
    hits[:, 5:] = False  # all pairs of the first source
    by_source = draw([f"s{i // 5}" for i in range(N)], 2000)
    by_track = draw([str(i) for i in range(N)], 2000)
    spread = [(b.totals(hits) / b.totals(PAIRS)).std() for b in (by_source, by_track)]
    assert spread[0] > 1.2 * spread[1]
