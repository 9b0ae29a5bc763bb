"""Products within their margin, blocks in order on any number of threads."""

from __future__ import annotations

import importlib.util
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditor.search import products as pair_blocks
from auditor.search.vectors import NORM_TOLERANCE


def unit_rows(n: int, n_dims: int, seed: int, spread: float = 9.0) -> np.ndarray:
    """Unit rows around one direction; a small ``spread`` makes all scores high."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal(n_dims) + spread * rng.standard_normal((n, n_dims))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", [pair_blocks.Float32Products, pair_blocks.Bfloat16Products])
@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 300)),
    st.floats(0.01, 9.0),
    st.integers(0, 2**32 - 1),
)
@example((1, 1, 256), 0.01, 0)
@example((1, 64, 128), 1.0, 1)
@example((64, 1, 1), 1.0, 2)
def test_no_product_is_farther_from_the_exact_score_than_the_margin(kind, shape, spread, seed):
    n_left, n_right, n_dims = shape
    left, right = unit_rows(n_left, n_dims, seed, spread), unit_rows(n_right, n_dims, seed, spread)
    left *= np.float32(1 + 0.9 * NORM_TOLERANCE)
    right[0] = left[0]
    exact = left.astype(np.float64) @ right.T.astype(np.float64)
    products = kind(left, right)
    found = np.empty((n_left, n_right), np.float32)
    products(slice(0, n_left), slice(0, n_right), found)
    assert np.abs(found - exact).max() <= products.margin
    part = np.empty((1, n_right - n_right // 2), np.float32)
    products(slice(n_left // 2, n_left // 2 + 1), slice(n_right // 2, n_right), part)
    assert np.abs(part - exact[n_left // 2, n_right // 2 :]).max() <= products.margin


def test_the_margin_of_bfloat16_is_narrow_and_needed():
    rows = unit_rows(10_000, 256, seed=3, spread=0.5)
    products = pair_blocks.Bfloat16Products(rows, rows)
    assert 0.008 < products.margin < 0.009
    found = np.empty((500, 500), np.float32)
    products(slice(0, 500), slice(9500, 10_000), found)
    errors = np.abs(found - rows[:500].astype(np.float64) @ rows[9500:].T.astype(np.float64))
    assert products.margin / 8 < errors.max() <= products.margin


def test_vectors_that_may_not_be_written_to_are_rounded_without_a_warning():
    rows = unit_rows(20, 8, seed=4)
    rows.setflags(write=False)
    out = np.empty((20, 20), np.float32)
    pair_blocks.Bfloat16Products(rows, rows)(slice(0, 20), slice(0, 20), out)
    assert np.diag(out).min() > 0.98


@pytest.mark.parametrize(
    ("n", "able", "kind"),
    [
        (40, True, pair_blocks.Bfloat16Products),
        (40, False, pair_blocks.Float32Products),
        (39, True, pair_blocks.Float32Products),
    ],
)
def test_bfloat16_is_taken_for_many_products_where_the_processor_can(monkeypatch, n, able, kind):
    monkeypatch.setattr(pair_blocks, "_MANY", 1600)
    monkeypatch.setattr(pair_blocks, "has_bfloat16", lambda: able)
    rows = unit_rows(n, 8, seed=5)
    assert type(pair_blocks.quick_products(rows, rows)) is kind


@pytest.mark.parametrize(
    ("capabilities", "able"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)],
)
def test_what_torch_says_of_the_processor_decides(monkeypatch, capabilities, able):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert pair_blocks.has_bfloat16() is able
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert pair_blocks.has_bfloat16() is False  # torch is not installed
    monkeypatch.undo()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert pair_blocks.has_bfloat16() is False


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_order_whichever_is_done_first(jobs):
    def work(part: int, buffer: np.ndarray) -> tuple[int, float]:
        buffer[:] = part
        time.sleep(0.002 * (part % 3 == 0))
        return part, float(buffer.sum())  # another thread would have written over it

    found = list(pair_blocks.map_blocks(work, iter(range(40)), size=5, jobs=jobs))
    assert found == [(part, 5.0 * part) for part in range(40)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_thread_computes_alone_and_the_number_of_threads_is_put_back(jobs):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = list(
            pair_blocks.map_blocks(
                lambda _part, _buffer: (torch.get_num_threads(), threading.get_ident()),
                *(range(50),),
                size=1,
                jobs=jobs,
            )
        )
        assert {n for n, _ in seen} == {1}
        assert (threading.get_ident() in {thread for _, thread in seen}) == (jobs == 1)
        with ThreadPoolExecutor(1) as another:
            assert another.submit(torch.get_num_threads).result() == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_ends_the_work(jobs):
    begun = []

    def work(part: int, _buffer: np.ndarray) -> None:
        begun.append(part)
        if part == 5:
            raise RuntimeError("part 5 is bad")

    with pytest.raises(RuntimeError, match="part 5 is bad"):
        list(pair_blocks.map_blocks(work, iter(range(10_000)), size=1, jobs=jobs))
    assert len(begun) < 100
