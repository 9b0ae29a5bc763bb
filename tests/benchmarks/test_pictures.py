"""Tests of the curves of the quality benchmark, and that its pictures are drawn."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from evaluation import Pairs
from pictures import det_curve, draw_det, draw_histogram

from auditor.errors import UsageError

PNG = b"\x89PNG\r\n\x1a\n"


def make_pairs(matching: np.ndarray, impostor: np.ndarray) -> Pairs:
    impostor = np.sort(impostor)[::-1]
    nothing = np.zeros(len(impostor), int)
    return Pairs({"eq": matching}, impostor, nothing, nothing, nothing, 0)


def test_a_det_curve_counts_both_rates():
    far, frr = det_curve(np.array([0.9, 0.5, 0.3]), np.array([0.6, 0.4, 0.2, 0.1]))
    np.testing.assert_allclose(far, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(frr, [2 / 3, 1 / 3, 0.0, 0.0])


def test_a_det_curve_of_many_pairs_is_thinned_and_keeps_its_ends():
    rng = np.random.default_rng(0)
    impostor = np.sort(rng.normal(size=50_000))[::-1]
    far, frr = det_curve(rng.normal(2.0, 1.0, 500), impostor)
    assert len(far) < 2500
    assert (far[0], far[-1]) == pytest.approx((1 / 50_000, 1.0))
    assert (np.diff(far) > 0).all()
    assert (np.diff(frr) <= 0).all()


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    pairs = make_pairs(rng.normal(3.0, 1.0, 200), rng.normal(size=5000))
    perfect = make_pairs(np.full(200, 9.0), np.zeros(5000))
    draw_det({"ours": pairs, "perfect": perfect}, tmp_path / "det.png")
    draw_histogram("ours", pairs, {1e-3: 3.1}, tmp_path / "scores.png")
    draw_histogram("perfect", perfect, {}, tmp_path / "perfect.png")
    sizes = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"det", "scores", "perfect"}
    for name in sizes:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
    assert sizes["scores"] > 10_000


def test_without_matplotlib_one_is_told_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(UsageError, match=r"matplotlib is not installed.*pip install"):
        draw_det({}, tmp_path / "det.png")
