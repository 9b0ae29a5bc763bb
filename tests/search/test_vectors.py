"""Scores with the same bits everywhere, and rows that are not unit vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.search import vectors


def unit_rows(n: int, n_dims: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, n_dims))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_exact_scores_have_the_same_bits_alone_together_and_swapped(monkeypatch):
    embeddings = unit_rows(300, 256, seed=1)
    rows_a, rows_b = np.triu_indices(300, 1)
    scores = vectors.exact_scores(embeddings, rows_a, rows_b)
    assert np.array_equal(scores, vectors.exact_scores(embeddings, rows_b, rows_a))
    monkeypatch.setattr(vectors, "_CHUNK", 7)
    assert np.array_equal(scores, vectors.exact_scores(embeddings, rows_a, rows_b))
    alone = [
        vectors.exact_scores(embeddings, rows_a[i : i + 1], rows_b[i : i + 1])[0]
        for i in range(500)
    ]
    assert scores[:500].tolist() == alone
    assert scores.min() >= -1 and scores.max() <= 1


def test_row_scores_against_one_vector_have_the_bits_of_exact_scores():
    rows, vector = unit_rows(500, 256, seed=2), unit_rows(1, 256, seed=3)
    exact = vectors.exact_scores(vector, np.zeros(500, int), np.arange(500), others=rows)
    assert np.array_equal(vectors.row_scores(rows, vector[0]), exact)
    assert np.array_equal(vectors.row_scores(rows, np.repeat(vector, 500, axis=0)), exact)
    assert exact.dtype == np.float32


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 24), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_the_exact_best_are_always_within_reach(n, n_dims, top, seed):
    rows, vector = unit_rows(n, n_dims, seed), unit_rows(1, n_dims, seed + 1)[0]
    rows[n // 2 :] = rows[: n - n // 2]  # ties
    near = vectors.rows_within_reach(rows @ vector, top, n_dims)
    scores = vectors.row_scores(rows, vector)
    assert min(top, n) <= len(near) <= n
    assert np.sort(scores[near])[-top:].tolist() == np.sort(scores)[-top:].tolist()
    assert np.all(np.diff(near) > 0)


def test_rows_that_lie_clearly_lower_are_out_of_reach():
    assert vectors.rows_within_reach(np.array([0.1, 0.9, 0.8, 0.2]), 2, 256).tolist() == [1, 2]


def test_products_above_one_are_all_within_reach_of_each_other():
    products = np.array([0.5, 1.00005, 1.00019], np.float32)  # the scores of both are clipped to 1
    assert vectors.rows_within_reach(products, 1, 4).tolist() == [1, 2]


@pytest.mark.parametrize("row", [3, 9000])
@pytest.mark.parametrize(
    ("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (2.0, "2"), (0.0, "0")]
)
def test_the_first_row_that_is_not_unit_is_named_beyond_the_first_chunk_too(row, value, shown):
    rows = unit_rows(10_000, 4, seed=4)
    vectors.check_unit_rows("queries", rows)
    rows[row] = [value, 0, 0, 0]
    with pytest.raises(ValueError, match=f"row {row} of queries has norm {shown}; unit rows"):
        vectors.check_unit_rows("queries", rows)


def test_callers_mistakes_name_the_value():
    rows = unit_rows(5, 4, seed=5)
    with pytest.raises(ValueError, match="rows_b runs from -1 to 0; rows are 0 to 4"):
        vectors.exact_scores(rows, [0, 1], [-1, 0])
    with pytest.raises(ValueError, match="rows_a runs from 0 to 5; rows are 0 to 4"):
        vectors.exact_scores(rows, [0, 5], [0, 0])
    with pytest.raises(ValueError, match=r"rows_a is \(2,\) and rows_b \(1,\)"):
        vectors.exact_scores(rows, [0, 1], [0])
    with pytest.raises(ValueError, match=r"rows is \(4,\) float32; \(n, n_dims\) float32"):
        vectors.check_unit_rows("rows", rows[0])
    with pytest.raises(ValueError, match=r"rows is \(5, 4\) float64"):
        vectors.check_unit_rows("rows", rows.astype(float))
