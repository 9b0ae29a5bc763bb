"""Tests of auditor.search.exact against brute force: order, symmetry, no trace of the blocks."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.search import exact as nearest_block
from auditor.search import exact as pairs
from auditor.search.products import Bfloat16Products, Float32Products
from auditor.search.vectors import exact_scores, rounding_margin


def unit_rows(n: int, n_dims: int, seed: int, n_copies: int = 0) -> np.ndarray:
    """Random unit rows; the last ``n_copies`` are near copies of the first ones."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, n_dims))
    if n_copies:
        rows[-n_copies:] = rows[:n_copies] + 0.05 * rng.standard_normal((n_copies, n_dims))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def brute_force(embeddings: np.ndarray, threshold: float) -> list[tuple[int, int, float]]:
    """Every pair at or above the threshold, one float64 dot product at a time."""
    hits = []
    for a in range(len(embeddings)):
        for b in range(a + 1, len(embeddings)):
            product = float(np.sum(embeddings[a].astype(float) * embeddings[b].astype(float)))
            score = float(np.clip(np.float32(product), -1, 1))
            if score >= threshold:
                hits.append((a, b, score))
    return sorted(hits, key=lambda hit: (-hit[2], hit[0], hit[1]))


def as_list(hits: pairs.PairHits) -> list[tuple[int, int, float]]:
    return list(zip(hits.rows_a.tolist(), hits.rows_b.tolist(), hits.scores.tolist(), strict=True))


cases = st.tuples(
    st.integers(0, 40), st.integers(1, 24), st.integers(0, 2**32 - 1), st.integers(1, 50)
)


@pytest.fixture(params=[Float32Products, Bfloat16Products])
def products(request, monkeypatch):
    """Either kind of products where the processor and the size of the problem would choose."""
    monkeypatch.setattr(pairs, "quick_products", request.param)
    return request.param


@settings(max_examples=60, deadline=None)
@given(cases, st.floats(-1, 1), st.integers(1, 3))
def test_find_pairs_is_brute_force_for_any_block_and_jobs(case, threshold, jobs):
    n, n_dims, seed, block = case
    embeddings = unit_rows(n, n_dims, seed, n_copies=n // 3)
    hits = pairs.find_pairs(embeddings, threshold, block=block, jobs=jobs)
    assert as_list(hits) == brute_force(embeddings, threshold)
    assert (hits.rows_a.dtype, hits.rows_b.dtype, hits.scores.dtype) == ("i8", "i8", "f4")
    assert hits.n_compared == pairs.n_pairs(n)


@settings(max_examples=40, deadline=None)
@given(cases, st.floats(-1, 1))
def test_a_permutation_of_the_tracks_permutes_the_pairs(case, threshold):
    n, n_dims, seed, block = case
    embeddings = unit_rows(n, n_dims, seed, n_copies=n // 3)
    order = np.random.default_rng(seed).permutation(n)
    straight = pairs.find_pairs(embeddings, threshold)
    permuted = pairs.find_pairs(embeddings[order], threshold, block=block)
    back = {(*sorted((int(order[a]), int(order[b]))), score) for a, b, score in as_list(permuted)}
    assert back == set(as_list(straight))


@settings(max_examples=40, deadline=None)
@given(cases, st.integers(1, 30), st.floats(-1, 1))
def test_find_cross_pairs_agrees_with_find_pairs(case, n_queries, threshold):
    n, n_dims, seed, block = case
    both = unit_rows(n_queries + n, n_dims, seed, n_copies=(n_queries + n) // 2)
    hits = pairs.find_cross_pairs(both[:n_queries], both[n_queries:], threshold, block=block)
    expected = [
        (a, b - n_queries, score)
        for a, b, score in brute_force(both, threshold)
        if a < n_queries <= b
    ]
    assert as_list(hits) == expected
    assert hits.n_compared == n_queries * n


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cases, st.floats(-1, 1), st.integers(1, 3))
def test_without_a_histogram_the_pairs_are_the_same(products, case, threshold, jobs):
    n, n_dims, seed, block = case
    embeddings = unit_rows(n, n_dims, seed, n_copies=n // 3)
    hits = pairs.find_pairs(embeddings, threshold, block=block, histogram=False, jobs=jobs)
    assert as_list(hits) == brute_force(embeddings, threshold)
    assert hits.histogram is None and hits.n_compared == pairs.n_pairs(n)
    cross = pairs.find_cross_pairs(
        embeddings[: n // 2], embeddings[n // 2 :], threshold, histogram=False, jobs=jobs
    )
    kept = [(a, b - n // 2, s) for a, b, s in as_list(hits) if a < n // 2 <= b]
    assert as_list(cross) == kept and cross.n_compared == (n // 2) * (n - n // 2)


@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_thresholds_within_rounding_of_a_score_part_the_same_pairs(products, spread):
    rng = np.random.default_rng(11)
    centres = rng.standard_normal((5, 64)).repeat(60, axis=0)  # clusters, and scores all over
    rows = centres + spread * rng.standard_normal(centres.shape)
    embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    plain = exact_scores(embeddings, *np.triu_indices(300, 1)).astype(np.float64)
    for score in rng.choice(plain, 8):
        for threshold in (np.nextafter(score, -2), score, np.nextafter(score, 2)):
            hits = pairs.find_pairs(embeddings, threshold, block=97, histogram=False)
            assert len(hits.scores) == np.count_nonzero(plain >= threshold)


def test_jobs_change_no_bit_of_pairs_histogram_or_nearest():
    embeddings = unit_rows(900, 64, seed=12, n_copies=300)
    alone, together = (pairs.find_pairs(embeddings, 0.3, block=64, jobs=jobs) for jobs in (1, 4))
    assert as_list(alone) == as_list(together) and len(alone.scores) > 300
    assert np.array_equal(alone.histogram, together.histogram)
    alone, together = (
        pairs.nearest(embeddings, embeddings, 5, block=64, jobs=jobs) for jobs in (1, 4)
    )
    assert all(np.array_equal(*found) for found in zip(alone, together, strict=True))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cases, st.integers(1, 12), st.integers(1, 3))
def test_nearest_is_a_full_sort(products, case, top, jobs):
    n, n_dims, seed, block = case
    embeddings = unit_rows(n, n_dims, seed)
    if n > 4:
        embeddings[3] = embeddings[1] = embeddings[4]  # ties go by row
    queries = np.concatenate([unit_rows(3, n_dims, seed + 1), embeddings[1:2]])
    rows, scores = pairs.nearest(queries, embeddings, top, block=block, jobs=jobs)
    assert rows.shape == scores.shape == (len(queries), min(top, n))
    for query, (found, found_scores) in enumerate(zip(rows, scores, strict=True)):
        everything = exact_scores(queries, np.full(n, query), np.arange(n), others=embeddings)
        order = np.lexsort((np.arange(n), -everything))[:top]
        assert found.tolist() == order.tolist()
        assert found_scores.tolist() == everything[order].tolist()


def full_sort(queries: np.ndarray, embeddings: np.ndarray, top: int) -> list[list[int]]:
    n = len(embeddings)
    return [
        np.lexsort(
            (np.arange(n), -exact_scores(queries, np.full(n, q), np.arange(n), others=embeddings))
        )[:top].tolist()
        for q in range(len(queries))
    ]


@pytest.mark.parametrize("block", [8, 40, 1024])
@pytest.mark.parametrize("top", [1, 6, 100])
def test_nearest_among_groups_of_copies_in_every_order(products, block, top):
    kinds = unit_rows(12, 32, seed=13)
    rng = np.random.default_rng(14)
    rows = kinds[rng.integers(0, 12, 600)] + 0.02 * rng.integers(0, 3, (600, 1)) * kinds[0]
    embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    rising = embeddings[np.argsort(embeddings @ embeddings[0])]  # every block beats the last one
    for data in (embeddings, rising, rising[::-1].copy()):
        found, _ = pairs.nearest(data[:50], data, top, block=block)
        assert found.tolist() == full_sort(data[:50], data, top)


def test_nearest_ranks_scores_that_are_clipped_to_one_by_row():
    long, short = np.float32([0.6, 0.8]) * np.float32([[1.00009], [1.00001]])
    embeddings = np.stack([short, long, long])
    rows, scores = pairs.nearest(embeddings[1:], embeddings, 1)
    assert rows.tolist() == [[0], [0]] and scores.tolist() == [[1], [1]]


def test_nearest_of_many_copies_stays_small(products):
    embeddings = unit_rows(1, 4, seed=15).repeat(900, axis=0)  # every pair is within reach
    pairs.nearest(embeddings[:9], embeddings, 2)  # imports
    tracemalloc.start()
    try:
        rows, _ = pairs.nearest(embeddings, embeddings, 2, block=64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows.tolist() == [[0, 1]] * 900
    assert peak < 3e6  # all pairs at once would take 16 MB


def test_finer_products_and_then_fewer_queries_are_taken_where_too_much_is_within_reach(
    monkeypatch,
):
    spans = []

    class Recorded(Bfloat16Products):
        def __call__(self, rows, columns, out):
            spans.append(("rough", columns.stop - columns.start))
            super().__call__(rows, columns, out)

    class RecordedFloat32(Float32Products):
        def __call__(self, rows, columns, out):
            spans.append(("fine", columns.stop - columns.start))
            super().__call__(rows, columns, out)

    monkeypatch.setattr(pairs, "quick_products", Recorded)
    monkeypatch.setattr(nearest_block, "Float32Products", RecordedFloat32)
    rng = np.random.default_rng(16)
    rows = np.eye(1, 16) + 0.002 * rng.standard_normal((500, 16))  # told apart by float32 alone
    embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    found, _ = pairs.nearest(embeddings, embeddings, 3, block=16)
    assert found.tolist() == full_sort(embeddings, embeddings, 3)
    assert {kind for kind, _ in spans} == {"rough", "fine"}
    assert min(n for kind, n in spans if kind == "fine") == 10  # that was enough
    spans.clear()
    copies = embeddings[:1].repeat(100, axis=0)
    assert pairs.nearest(copies, copies, 3, block=16)[0].tolist() == [[0, 1, 2]] * 100
    assert {n for kind, n in spans if kind == "fine"} >= {1, 2, 5}


def test_block_products_do_differ_so_the_exact_score_must_decide():
    embeddings = unit_rows(400, 256, seed=2, n_copies=200)
    rows_a, rows_b = np.triu_indices(400, 1)
    scores = exact_scores(embeddings, rows_a, rows_b)
    products = (embeddings @ embeddings.T)[rows_a, rows_b]
    assert np.any(products != scores)
    assert np.abs(products - scores).max() < rounding_margin(256)
    threshold = float(scores[np.flatnonzero((products < scores) & (scores > 0.9))[0]])
    hits = pairs.find_pairs(embeddings, threshold)
    assert len(hits.scores) == np.count_nonzero(scores.astype(float) >= threshold)


def test_threshold_is_compared_as_a_python_float():
    embeddings = np.array([[1, 0], [0.9, np.sqrt(1 - 0.81)]], np.float32)
    score = float(exact_scores(embeddings, [0], [1])[0])
    assert score < 0.9 < score + 1e-7  # float32(0.9) lies just below 0.9
    assert len(pairs.find_pairs(embeddings, 0.9).scores) == 0
    assert len(pairs.find_pairs(embeddings, score).scores) == 1


def test_identical_rows_score_one_and_reach_the_highest_threshold():
    embeddings = np.repeat(unit_rows(1, 256, seed=3), 3, axis=0)
    hits = pairs.find_pairs(embeddings, 0.999999)
    assert list(zip(hits.rows_a, hits.rows_b, strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert hits.scores.max() <= 1


def test_histogram_counts_every_compared_pair():
    embeddings = unit_rows(500, 16, seed=4, n_copies=100)
    hits = pairs.find_pairs(embeddings, 0.9, block=64)
    scores = exact_scores(embeddings, *np.triu_indices(500, 1))
    expected, _ = np.histogram(scores, pairs.histogram_edges())
    assert hits.histogram.sum() == pairs.n_pairs(500) == hits.n_compared
    assert np.abs(np.cumsum(hits.histogram - expected)).max() <= 2  # float noise at an edge
    assert hits.histogram.shape == (pairs.N_BINS,)


@pytest.mark.parametrize(("other", "expected_bin"), [([1, 0], -1), ([-1, 0], 0), ([0, 1], 100)])
def test_histogram_holds_the_extremes(other, expected_bin):
    embeddings = np.array([[1, 0], other], np.float32)
    histogram = pairs.find_pairs(embeddings, 0.5).histogram
    assert histogram[expected_bin] == 1 and histogram.sum() == 1


def test_histogram_edges_are_exact_hundredths():
    edges = pairs.histogram_edges()
    assert (edges[0], edges[100], edges[-1], edges[185]) == (-1, 0, 1, 0.85)


def test_progress_ends_at_the_number_of_pairs():
    seen = []
    pairs.find_pairs(
        unit_rows(100, 8, 5),
        0.9,
        block=30,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (4950, 4950) and len(seen) == 10
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("block", [7, 2048])
def test_of_too_many_pairs_the_best_are_held_and_the_others_counted(block, jobs):
    embeddings = np.repeat(unit_rows(1, 8, 6), 100, axis=0)
    n = pairs.n_pairs(100)
    every = pairs.find_pairs(embeddings, 0.5, block=block, max_pairs=n, jobs=jobs)
    assert (len(every.scores), every.n_left_out) == (n, 0)
    for most in (n - 1, 1000, 7, 0):
        best = pairs.find_pairs(embeddings, 0.5, block=block, max_pairs=most, jobs=jobs)
        assert best.n_left_out == n - most and best.n_compared == every.n_compared
        for name in ("rows_a", "rows_b", "scores"):
            np.testing.assert_array_equal(getattr(best, name), getattr(every, name)[:most])
    cross = pairs.find_cross_pairs(embeddings[:2], embeddings, 0.5, max_pairs=9)
    assert (len(cross.scores), cross.n_left_out) == (9, 2 * len(embeddings) - 9)


def test_a_scan_holds_no_more_pairs_than_a_report_can():
    embeddings = np.eye(1, 8, dtype=np.float32).repeat(640, 0)
    found = pairs.find_pairs(embeddings, 0.5)
    assert len(found.scores) == pairs.MAX_PAIRS
    assert found.n_left_out == pairs.n_pairs(640) - pairs.MAX_PAIRS
    assert len(pairs.find_pairs(embeddings[:600], 0.5).scores) == pairs.n_pairs(600)


@pytest.mark.parametrize(
    ("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (2.0, "2"), (0.0, "0")]
)
def test_rows_that_are_not_unit_are_refused(value, shown):
    embeddings = unit_rows(5, 4, 7)
    embeddings[3] = [value, 0, 0, 0]
    message = f"row 3 of {{}} has norm {shown}; unit rows"
    with pytest.raises(ValueError, match=message.format("embeddings")):
        pairs.find_pairs(embeddings, 0.5)
    with pytest.raises(ValueError, match=message.format("queries")):
        pairs.find_cross_pairs(embeddings, embeddings[:2], 0.5)
    with pytest.raises(ValueError, match=message.format("embeddings")):
        pairs.nearest(embeddings[:2], embeddings, 1)


def test_callers_mistakes_name_the_value():
    embeddings = unit_rows(5, 4, 8)
    with pytest.raises(ValueError, match=r"threshold is 1\.5"):
        pairs.find_pairs(embeddings, 1.5)
    with pytest.raises(ValueError, match="threshold is nan"):
        pairs.find_pairs(embeddings, float("nan"))
    with pytest.raises(ValueError, match="block is 0"):
        pairs.find_pairs(embeddings, 0.5, block=0)
    with pytest.raises(ValueError, match="jobs 0; they must be at least 1, 0 and 1"):
        pairs.find_pairs(embeddings, 0.5, jobs=0)
    with pytest.raises(ValueError, match="jobs -1; all must be at least 1"):
        pairs.nearest(embeddings, embeddings, 1, jobs=-1)
    with pytest.raises(ValueError, match=r"\(5, 4\) float64; \(n, n_dims\) float32"):
        pairs.find_pairs(embeddings.astype(float), 0.5)
    with pytest.raises(ValueError, match="queries have 3 dimensions and embeddings 4"):
        pairs.nearest(unit_rows(1, 3, 0), embeddings, 1)
    with pytest.raises(ValueError, match="top is 0"):
        pairs.nearest(embeddings, embeddings, 0)
    with pytest.raises(ValueError, match="n is -1"):
        pairs.n_pairs(-1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=25))
def test_clusters_are_the_connected_components(edges):
    edges = [(min(e), max(e)) for e in edges if e[0] != e[1]]
    groups = [{row} for row in range(20)]
    for a, b in edges:
        group_a, group_b = (next(g for g in groups if row in g) for row in (a, b))
        if group_a is not group_b:
            groups.remove(group_b)
            group_a |= group_b
    expected = sorted((sorted(g) for g in groups if len(g) > 1), key=lambda g: (-len(g), g[0]))
    rows_a, rows_b = (np.array([e[k] for e in edges], np.int64) for k in (0, 1))
    assert pairs.clusters(20, rows_a, rows_b) == expected


def test_clusters_refuse_rows_out_of_range():
    with pytest.raises(ValueError, match="rows_b runs from 3 to 3; rows are 0 to 2"):
        pairs.clusters(3, np.array([0]), np.array([3]))
