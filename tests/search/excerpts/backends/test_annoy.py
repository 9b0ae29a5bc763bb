"""The backends of an excerpt index: near rows are found, files are the same, and a lack is told."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from auditor.errors import UsageError
from auditor.search.excerpts.backends.annoy import BACKENDS, ExcerptConfig
from auditor.search.excerpts.build import refresh_excerpts
from auditor.search.excerpts.index import ExcerptSource

N_DIMS = 32
BUILT = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"{name} is not installed"
        ),
    )
    for name in BACKENDS
]
EXTRAS = ["faiss", "usearch"]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def clustered(n: int, seed: int = 0) -> np.ndarray:
    """Return (n, N_DIMS) unit rows around two hundred centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(200, N_DIMS))
    return unit(centres[rng.integers(200, size=n)] + 0.4 * rng.normal(size=(n, N_DIMS)))


def saved(name: str, rows: np.ndarray, path, *, at_once: int = 500):
    backend = BACKENDS[name](N_DIMS, ExcerptConfig(backend=name))
    for first in range(0, len(rows), at_once):
        backend.add(rows[first : first + at_once])
    backend.save(path)
    loaded = BACKENDS[name](N_DIMS, ExcerptConfig(backend=name))
    assert loaded.load(path) == len(rows)
    return loaded


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("n", [300, 25_000])
def test_a_row_is_found_by_what_resembles_it(tmp_path, name, n):
    rows = clustered(n)
    wanted = np.arange(0, n, n // 100)
    noise = np.random.default_rng(1).normal(size=(len(wanted), N_DIMS))
    vectors = unit(rows[wanted] + 0.03 * noise)
    which, found, cosines = saved(name, rows, tmp_path / "x.ann").search(vectors, 10, -1)
    assert which.dtype == found.dtype == np.int64
    assert cosines.dtype == np.float32
    assert np.bincount(which).tolist() == [10] * len(wanted)
    first = np.flatnonzero(np.diff(which, prepend=-1))
    hit = [row in found[i : i + 3] for i, row in zip(first, wanted, strict=True)]
    assert np.mean(hit) >= 0.97
    exact = np.einsum("ij,ij->i", rows[found], vectors[which])
    assert np.abs(cosines - exact).mean() < 0.03
    assert (np.diff(cosines)[np.diff(which) == 0] <= 1e-6).all()


@pytest.mark.parametrize("name", BUILT)
def test_the_same_rows_give_the_same_bytes_however_they_are_added(tmp_path, name):
    rows = clustered(25_000)
    saved(name, rows, tmp_path / "a")
    saved(name, rows, tmp_path / "b", at_once=70)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("name", BUILT)
def test_an_empty_shard_and_no_vector_find_nothing(tmp_path, name):
    none = np.zeros((0, N_DIMS), np.float32)
    filled = saved(name, clustered(300), tmp_path / "filled")
    assert [len(column) for column in filled.search(none, 5, -1)] == [0, 0, 0]
    empty = saved(name, none, tmp_path / "empty")
    assert [len(column) for column in empty.search(clustered(3), 5, -1)] == [0, 0, 0]


@pytest.mark.parametrize("name", BUILT)
def test_an_index_of_each_backend_finds_an_excerpt(tmp_path, name):
    tracks = {f"t{i:02}": clustered(60, seed=i) for i in range(12)}

    def read(track_id: str) -> tuple[np.ndarray, np.ndarray]:
        rows = tracks[track_id].astype(np.float16)
        return rows, np.zeros(len(rows), np.float16)

    source = ExcerptSource("0a1b2c3d", N_DIMS, dict.fromkeys(tracks, 0), read)
    config = ExcerptConfig(backend=name)
    index = refresh_excerpts(tmp_path, source, hop_s=0.8, config=config).index
    assert index.candidates(tracks["t05"][20:40])[0].track_id == "t05"
    again = refresh_excerpts(tmp_path, source, hop_s=0.8, config=config)
    assert again.n_tracks == 0
    kept = refresh_excerpts(tmp_path, source, hop_s=0.8)
    assert kept.n_tracks == 0, "who names no backend keeps to the one that is there"
    assert {shard.sidecar.config.backend for shard in kept.index.shards} == {name}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_backend_that_is_not_installed_says_what_to_install(monkeypatch, name):
    for module in (name, f"{name}.index"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"'{name}', which is not installed. Run: pip install 'a"):
        BACKENDS[name](N_DIMS, ExcerptConfig(backend=name))


@pytest.mark.parametrize("name", [p for p in BUILT if p.values[0] in EXTRAS])
def test_a_file_of_something_else_is_refused(tmp_path, name):
    path = tmp_path / "x.ann"
    path.write_bytes(b"no index at all" * 20)
    with pytest.raises(ValueError, match=rf"{name} cannot read x\.ann"):
        BACKENDS[name](N_DIMS, ExcerptConfig(backend=name)).load(path)
