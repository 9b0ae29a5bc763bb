"""Two sides of a catalogue against each other: every cross pair once, as a loop finds them."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.parallel import LocalTiles
from auditor.search import across
from auditor.search.across import TwoSides, nearest_across, similar_across

N = 300


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Reader:
    def __init__(self, embeddings: np.ndarray) -> None:
        self.rows = embeddings

    def embeddings(self, start: int, end: int) -> np.ndarray:
        return self.rows[start:end]


def sides_of(seed: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(N) < 0.4, rng.random(N) < share


@pytest.mark.parametrize(("seed", "share"), [(0, 0.5), (1, 0.05), (2, 1.0), (3, 0.0)])
@pytest.mark.parametrize("jobs", [1, 3])
def test_pairs_are_those_of_a_loop(monkeypatch, embeddings, seed, share, jobs):
    monkeypatch.setattr(across, "TILE_ROWS", 64)
    left, right = sides_of(seed, share)
    sides = TwoSides.of(left, right)
    every = {
        frozenset((int(i), int(j)))
        for i in np.flatnonzero(left)
        for j in np.flatnonzero(right)
        if i != j
    }
    found = similar_across(LocalTiles(jobs), Reader(embeddings), sides, 0.5)
    pairs = list(zip(found.rows_a.tolist(), found.rows_b.tolist(), strict=True))
    wanted = {pair for pair in every if np.dot(*embeddings[sorted(pair)]) >= 0.5}
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert {frozenset(pair) for pair in pairs} == wanted
    assert all(left[a] and right[b] for a, b in pairs)
    assert found.n_compared == sides.n_pairs == len(every) == found.histogram.sum()
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("share", [0.5, 0.02, 0.0])
def test_the_nearest_are_those_of_a_loop(monkeypatch, embeddings, share):
    monkeypatch.setattr(across, "TILE_ROWS", 64)
    left, right = sides_of(4, share)
    found = nearest_across(LocalTiles(), Reader(embeddings), TwoSides.of(left, right), top=3)
    others = np.flatnonzero(right)
    for row in np.flatnonzero(left):
        ranked = others[np.argsort(-(embeddings[others] @ embeddings[row]))]
        wanted = [int(other) for other in ranked if other != row][:3]
        assert found[found[:, 0] == row][:, 1].tolist() == wanted


def test_a_side_with_itself_is_every_pair():
    everything = np.ones(7, bool)
    sides = TwoSides.of(everything, everything)
    assert sides.n_pairs == 21
    assert sides.both_ways == (sides,)


def test_pairs_are_turned_so_that_the_left_one_is_first():
    sides = TwoSides.of(np.array([0, 1, 1, 0], bool), np.array([1, 0, 1, 1], bool))
    oriented = sides.orient(np.array([[0, 1], [1, 2], [2, 0], [3, 2]]))
    assert oriented.tolist() == [[1, 0], [1, 2], [2, 0], [2, 3]]
    assert len(sides.both_ways) == 2


def test_sides_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match=r"left is \(2,\) and right \(3,\)"):
        TwoSides.of(np.ones(2, bool), np.ones(3, bool))


def test_packed_results_are_the_same(embeddings):
    left, right = sides_of(5, 0.5)
    sides = TwoSides.of(left, right)
    near = across.NearestAcrossTile(Reader(embeddings), sides, 2)
    for a, b in zip(near((0, N, 0, N)), near.unpack(near.pack(near((0, N, 0, N)))), strict=True):
        assert np.array_equal(a, b)
    pairs = across.PairsAcrossTile(Reader(embeddings), sides, 0.5, 50)
    found = pairs((0, N, 0, N))
    again = pairs.unpack(pairs.pack(found))
    assert np.array_equal(found.rows_a, again.rows_a)
    assert (found.n_compared, found.n_left_out) == (again.n_compared, again.n_left_out)
