"""Candidate pairs: the true ones with their exact scores, and an honest recall."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.scoring.cosine import candidate_pairs
from auditor.search import exact as pairs
from auditor.search.annoy_index import build_index
from auditor.search.vectors import exact_scores

WEIGHTS = "0a1b2c3d"


def unit_rows(n: int, n_dims: int = 32, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, n_dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def names(n: int) -> list[str]:
    return [f"t{row:05}" for row in range(n)]


def planted(n: int = 600, n_copies: int = 100) -> np.ndarray:
    embeddings = unit_rows(n, 32, seed=3)
    embeddings[-n_copies:] = embeddings[:n_copies] + 0.05 * unit_rows(n_copies, 32, seed=4)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def test_candidate_pairs_hold_the_true_pairs_with_the_exact_scores(tmp_path):
    embeddings = planted()
    index = build_index(tmp_path, WEIGHTS, names(600), embeddings)
    seen = []
    found = candidate_pairs(
        index, threshold=0.9, top=5, on_progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (600, 600)
    assert np.all(found.rows_a < found.rows_b)
    keys = list(zip(found.rows_a.tolist(), found.rows_b.tolist(), strict=True))
    assert keys == sorted(set(keys))
    exact = exact_scores(embeddings, found.rows_a, found.rows_b)
    assert np.array_equal(found.scores, exact)
    truth = pairs.find_pairs(embeddings, 0.9)
    assert set(zip(truth.rows_a.tolist(), truth.rows_b.tolist(), strict=True)) <= set(keys)
    assert len(truth.rows_a) >= 100
    assert found.recall == 1.0


def test_pair_recall_is_the_true_share_when_every_track_is_sampled(tmp_path):
    embeddings = unit_rows(500, 64, seed=5)
    index = build_index(tmp_path, WEIGHTS, names(500), embeddings, n_trees=1)
    found = candidate_pairs(index, threshold=0.3, top=3)
    truth = pairs.find_pairs(embeddings, 0.3)
    keys = set(zip(found.rows_a.tolist(), found.rows_b.tolist(), strict=True))
    true_keys = set(zip(truth.rows_a.tolist(), truth.rows_b.tolist(), strict=True))
    assert 0 < found.recall < 1
    assert found.recall == pytest.approx(len(keys & true_keys) / len(true_keys))
    assert candidate_pairs(index, threshold=1.0, top=3).recall is None


@pytest.mark.parametrize("n", [0, 1])
def test_a_catalogue_too_small_for_a_pair_has_none(tmp_path, n):
    index = build_index(tmp_path, WEIGHTS, names(n), unit_rows(n))
    found = candidate_pairs(index, threshold=0.5)
    assert len(found.rows_a) == len(found.rows_b) == len(found.scores) == 0
    assert found.recall is None


@pytest.mark.parametrize("how", [{"threshold": 2.0}, {"threshold": -1.5}, {"top": 0}])
def test_callers_mistakes_name_the_value(tmp_path, how):
    index = build_index(tmp_path, WEIGHTS, names(3), unit_rows(3))
    how = {"threshold": 0.5} | how
    message = f"threshold is {how['threshold']} and top {how.get('top', 20)};"
    with pytest.raises(ValueError, match=message):
        candidate_pairs(index, **how)
